//! Which webhook is told of which alert next, and when: one thing at a time per webhook, an alert's end never before its
//! beginning, again until it is taken.
//!
//! A webhook that does not take what it is sent is left alone for a while, longer each time; what waits for it meanwhile
//! takes turns, so that one alert that it chokes on does not keep the others from it.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::alert::{Alert, Push, Told};
use super::settings::Webhook;

/// Pushes in hand at most.
pub const MOST: usize = 1_000;

/// The first wait after a failure, and the longest; each is twice the one before.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The longest that a receiver may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(3_600);

/// Why a webhook did not take what it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// An operator's phrase, without any part of the URL but its host.
    pub what: String,
    pub then: Then,
}

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Try again later.
    Again,
    /// Try again, not before that time has passed: the receiver said so.
    After(Duration),
    /// It will never take it.
    GiveUp,
}

/// Something to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    pub webhook: Webhook,
    pub alert: Alert,
    pub told: Told,
}

/// What came of a try.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    pub push: Push,
    pub alert: Alert,
    /// Until the next try; `None` = there is none to come.
    pub wait: Option<Duration>,
    pub failed: Option<String>,
}

#[derive(Debug)]
struct Queued {
    alert: Alert,
    push: Push,
    /// Known to the ledger; let go of when it does not renew the lease.
    leased: bool,
}

/// Which queued delivery goes first when not all can stay, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// There is nothing left to send.
    Done,
    /// The ledger has it, and leases it again.
    InLedger,
    /// Nobody has heard of it, and a newer alert of its rule waits for the same webhook.
    Superseded,
    /// There is a newer one, but the receiver waits for the end of this one.
    HalfDone,
    /// The newest alert of its rule.
    Newest,
}

#[derive(Debug, Default)]
struct Receiver {
    /// The alert that it is being told of.
    sending: Option<String>,
    failures: u32,
    not_before_ms: i64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct DeliveryQueue {
    /// There is a ledger. What has been told stays in hand until the ledger has heard of it: it may lease it once more
    /// until then.
    has_ledger: bool,
    queue: VecDeque<Queued>,
    receivers: HashMap<String, Receiver>,
}

impl DeliveryQueue {
    /// Nothing in hand. `has_ledger`: there is a ledger.
    pub fn new(has_ledger: bool) -> Self {
        Self { has_ledger, ..Self::default() }
    }

    /// Takes on an alert that the ledger does not know of. Answers how many pushes had to make room that are never made.
    pub fn add(&mut self, alert: &Alert, webhooks: &[String]) -> usize {
        for webhook in webhooks {
            let push = Push::new(&alert.id, webhook);
            self.queue.push_back(Queued { alert: alert.clone(), push, leased: false });
        }
        let mut lost = 0;
        while self.queue.len() > MOST
            && let Some((rank, at)) = self.least()
        {
            self.queue.remove(at);
            lost += usize::from(rank > Rank::InLedger);
        }
        lost
    }

    /// What can be done without first: of several alike, what is of the oldest alert. Never what is being sent.
    fn least(&self) -> Option<(Rank, usize)> {
        let age = |at: usize| (self.queue[at].alert.fired_at_ms, at);
        let mut newest: HashMap<(&str, &str), usize> = HashMap::new();
        for (at, queued) in self.queue.iter().enumerate() {
            let of = newest.entry((&queued.alert.rule, &queued.push.webhook)).or_insert(at);
            if age(*of) < age(at) {
                *of = at;
            }
        }
        let idle = |(_, queued): &(usize, &Queued)| {
            let receiver = self.receivers.get(&queued.push.webhook);
            receiver.is_none_or(|receiver| receiver.sending.as_ref() != Some(&queued.alert.id))
        };
        let rank = |(at, queued): (usize, &Queued)| {
            let is_newest = newest.get(&(&*queued.alert.rule, &*queued.push.webhook)) == Some(&at);
            let rank = match (queued.push.told, is_newest) {
                (Some(Told::Resolved), _) => Rank::Done,
                _ if queued.leased => Rank::InLedger,
                (_, true) => Rank::Newest,
                (None, false) => Rank::Superseded,
                (Some(Told::Fired), false) => Rank::HalfDone,
            };
            (rank, age(at))
        };
        let least = self.queue.iter().enumerate().filter(idle).map(rank).min();
        least.map(|(rank, (_, at))| (rank, at))
    }

    /// Takes what the ledger has leased to this instance, and lets go of what it has not.
    pub fn leased(&mut self, rows: Vec<(Alert, Push)>) {
        let wanted: HashMap<(String, String), (Alert, Push)> = rows
            .into_iter()
            .map(|(alert, push)| ((push.alert.clone(), push.webhook.clone()), (alert, push)))
            .collect();
        let key = |push: &Push| (push.alert.clone(), push.webhook.clone());
        self.queue.retain(|queued| !queued.leased || wanted.contains_key(&key(&queued.push)));
        let mut wanted = wanted;
        for queued in &mut self.queue {
            if let Some((alert, _)) = wanted.remove(&key(&queued.push)) {
                // How far it has come is known here best.
                (queued.alert, queued.leased) = (alert, true);
            }
        }
        let mut new: Vec<_> = wanted.into_values().collect();
        new.sort_by(|(a, _), (b, _)| (a.fired_at_ms, &a.id).cmp(&(b.fired_at_ms, &b.id)));
        self.queue.extend(new.into_iter().map(|(alert, push)| Queued { alert, push, leased: true }));
    }

    /// The ledger knows of an alert and how far its pushes have come.
    pub fn entered(&mut self, alert: &str) {
        self.queue.iter_mut().filter(|queued| queued.alert.id == alert).for_each(|d| d.leased = true);
    }

    /// An alert has changed.
    pub fn update(&mut self, alert: &Alert) {
        for queued in self.queue.iter_mut().filter(|queued| queued.alert.id == alert.id) {
            queued.alert = alert.clone();
        }
    }

    /// How far the webhooks have been told of an alert, as far as that is in hand here.
    pub fn pushes(&self, alert: &str) -> Vec<Push> {
        let of = |queued: &&Queued| queued.push.alert == alert;
        self.queue.iter().filter(of).map(|queued| queued.push.clone()).collect()
    }

    /// What is to be sent now; it counts as being sent from here on.
    pub fn due(&mut self, webhooks: &[Webhook], now: i64) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        for webhook in webhooks {
            let receiver = self.receivers.entry(webhook.name.clone()).or_default();
            // A clock that was set back must not make anybody wait for longer than they were to.
            receiver.not_before_ms = receiver.not_before_ms.min(now.saturating_add(millis(LONGEST_ASKED)));
            if receiver.sending.is_some() || receiver.not_before_ms > now {
                continue;
            }
            let next = self.queue.iter().find_map(|queued| {
                let told = queued.push.next(&queued.alert)?;
                (queued.push.webhook == webhook.name).then_some((queued, told))
            });
            if let Some((queued, told)) = next {
                receiver.sending = Some(queued.alert.id.clone());
                deliveries.push(Delivery { webhook: webhook.clone(), alert: queued.alert.clone(), told });
            }
        }
        deliveries
    }

    /// A try has ended. `draw` is uniform in 0–1. `None` when nobody waits for it any more.
    pub fn ended(
        &mut self,
        delivery: &Delivery,
        result: Result<(), Failure>,
        now: i64,
        draw: f64,
    ) -> Option<Attempt> {
        let receiver = self.receivers.entry(delivery.webhook.name.clone()).or_default();
        if receiver.sending.as_ref() == Some(&delivery.alert.id) {
            receiver.sending = None;
        }
        let then = result.as_ref().err().map(|failure| failure.then);
        let wait = match then {
            None | Some(Then::GiveUp) => {
                (receiver.failures, receiver.not_before_ms) = (0, 0);
                None
            }
            Some(again) => {
                receiver.failures = receiver.failures.saturating_add(1);
                let mut wait = backoff(receiver.failures, draw);
                if let Then::After(asked) = again {
                    wait = wait.max(asked.min(LONGEST_ASKED));
                }
                receiver.not_before_ms = now.saturating_add(millis(wait));
                Some(wait)
            }
        };
        let is = |queued: &Queued| {
            queued.push.alert == delivery.alert.id && queued.push.webhook == delivery.webhook.name
        };
        let mut queued = self.queue.remove(self.queue.iter().position(is)?)?;
        let push = &mut queued.push;
        push.at_ms = Some(now);
        push.error = result.err().map(|failure| failure.what);
        match wait {
            None => (push.told, push.attempts) = (Some(delivery.told), 0),
            Some(_) => push.attempts = push.attempts.saturating_add(1),
        }
        let (push, alert) = (push.clone(), queued.alert.clone());
        if self.has_ledger || push.told != Some(Told::Resolved) {
            self.queue.push_back(queued);
        }
        Some(Attempt { failed: push.error.clone(), push, alert, wait })
    }

    /// When the next webhook that is waited for may be tried again.
    pub fn next_due(&self) -> Option<i64> {
        let waits = |queued: &&Queued| queued.push.next(&queued.alert).is_some();
        let receiver = |queued: &Queued| self.receivers.get(&queued.push.webhook);
        let idle = |receiver: &&Receiver| receiver.sending.is_none();
        let receivers = self.queue.iter().filter(waits).filter_map(receiver).filter(idle);
        receivers.map(|receiver| receiver.not_before_ms).min()
    }

    /// Lets go of webhooks that are no longer there. Answers the pushes that nobody else will make.
    pub fn keep(&mut self, webhooks: &[Webhook]) -> Vec<Push> {
        let there = |name: &str| webhooks.iter().any(|webhook| webhook.name == name);
        self.receivers.retain(|name, _| there(name));
        let mut gone = Vec::new();
        self.queue.retain(|queued| {
            let stays = there(&queued.push.webhook);
            if !stays && !queued.leased && queued.push.next(&queued.alert).is_some() {
                gone.push(queued.push.clone());
            }
            stays
        });
        gone
    }

    /// Nothing is being sent: the instance that was sending has died.
    pub fn interrupted(&mut self) {
        self.receivers.values_mut().for_each(|receiver| receiver.sending = None);
    }

    /// Whether there is something still to be sent.
    pub fn is_idle(&self) -> bool {
        self.queue.iter().all(|queued| queued.push.next(&queued.alert).is_none())
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// The wait after so many failures in a row: half of it fixed, half drawn, so that instances do not march in step.
fn backoff(failures: u32, draw: f64) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(16)));
    let whole = doubled.min(LONGEST_WAIT);
    whole / 2 + (whole / 2).mul_f64(draw.clamp(0.0, 1.0))
}
