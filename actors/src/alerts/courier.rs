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
pub struct Parcel {
    pub webhook: Webhook,
    pub alert: Alert,
    pub told: Told,
}

/// What came of a try.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub push: Push,
    pub alert: Alert,
    /// Until the next try; `None` = there is none to come.
    pub wait: Option<Duration>,
    pub failed: Option<String>,
}

#[derive(Debug)]
struct Delivery {
    alert: Alert,
    push: Push,
    /// Known to the ledger; let go of when it does not renew the lease.
    leased: bool,
}

/// What a delivery is worth when not all can stay, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    /// There is nothing left to tell.
    Told,
    /// The ledger has it, and leases it again.
    Kept,
    /// Nobody has heard of it, and a newer alert of its rule waits for the same webhook.
    Superseded,
    /// There is a newer one, but the receiver waits for the end of this one.
    Begun,
    /// The newest that there is to tell of its rule.
    News,
}

#[derive(Debug, Default)]
struct Line {
    /// The alert that it is being told of.
    sending: Option<String>,
    failures: u32,
    not_before_ms: i64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Courier {
    /// There is a ledger. What has been told stays in hand until the ledger has heard of it: it may lease it once more
    /// until then.
    kept: bool,
    queue: VecDeque<Delivery>,
    lines: HashMap<String, Line>,
}

impl Courier {
    /// Nothing in hand. `kept`: there is a ledger.
    pub fn new(kept: bool) -> Self {
        Self { kept, ..Self::default() }
    }

    /// Takes on an alert that the ledger does not know of. Answers how many pushes had to make room that are never made.
    pub fn add(&mut self, alert: &Alert, webhooks: &[String]) -> usize {
        for webhook in webhooks {
            let push = Push::new(&alert.id, webhook);
            self.queue.push_back(Delivery { alert: alert.clone(), push, leased: false });
        }
        let mut lost = 0;
        while self.queue.len() > MOST
            && let Some((worth, at)) = self.least()
        {
            self.queue.remove(at);
            lost += usize::from(worth > Worth::Kept);
        }
        lost
    }

    /// What can be done without first: of several alike, what is of the oldest alert. Never what is being sent.
    fn least(&self) -> Option<(Worth, usize)> {
        let age = |at: usize| (self.queue[at].alert.fired_at_ms, at);
        let mut newest: HashMap<(&str, &str), usize> = HashMap::new();
        for (at, delivery) in self.queue.iter().enumerate() {
            let of = newest.entry((&delivery.alert.rule, &delivery.push.webhook)).or_insert(at);
            if age(*of) < age(at) {
                *of = at;
            }
        }
        let idle = |(_, delivery): &(usize, &Delivery)| {
            let line = self.lines.get(&delivery.push.webhook);
            line.is_none_or(|line| line.sending.as_ref() != Some(&delivery.alert.id))
        };
        let worth = |(at, delivery): (usize, &Delivery)| {
            let is_newest = newest.get(&(&*delivery.alert.rule, &*delivery.push.webhook)) == Some(&at);
            let worth = match (delivery.push.told, is_newest) {
                (Some(Told::Resolved), _) => Worth::Told,
                _ if delivery.leased => Worth::Kept,
                (_, true) => Worth::News,
                (None, false) => Worth::Superseded,
                (Some(Told::Fired), false) => Worth::Begun,
            };
            (worth, age(at))
        };
        let least = self.queue.iter().enumerate().filter(idle).map(worth).min();
        least.map(|(worth, (_, at))| (worth, at))
    }

    /// Takes what the ledger has leased to this instance, and lets go of what it has not.
    pub fn leased(&mut self, rows: Vec<(Alert, Push)>) {
        let wanted: HashMap<(String, String), (Alert, Push)> = rows
            .into_iter()
            .map(|(alert, push)| ((push.alert.clone(), push.webhook.clone()), (alert, push)))
            .collect();
        let key = |push: &Push| (push.alert.clone(), push.webhook.clone());
        self.queue.retain(|delivery| !delivery.leased || wanted.contains_key(&key(&delivery.push)));
        let mut wanted = wanted;
        for delivery in &mut self.queue {
            if let Some((alert, _)) = wanted.remove(&key(&delivery.push)) {
                // How far it has come is known here best.
                (delivery.alert, delivery.leased) = (alert, true);
            }
        }
        let mut new: Vec<_> = wanted.into_values().collect();
        new.sort_by(|(a, _), (b, _)| (a.fired_at_ms, &a.id).cmp(&(b.fired_at_ms, &b.id)));
        self.queue.extend(new.into_iter().map(|(alert, push)| Delivery { alert, push, leased: true }));
    }

    /// The ledger knows of an alert and how far its pushes have come.
    pub fn entered(&mut self, alert: &str) {
        self.queue.iter_mut().filter(|delivery| delivery.alert.id == alert).for_each(|d| d.leased = true);
    }

    /// An alert has changed.
    pub fn update(&mut self, alert: &Alert) {
        for delivery in self.queue.iter_mut().filter(|delivery| delivery.alert.id == alert.id) {
            delivery.alert = alert.clone();
        }
    }

    /// How far the webhooks have been told of an alert, as far as that is in hand here.
    pub fn pushes(&self, alert: &str) -> Vec<Push> {
        let of = |delivery: &&Delivery| delivery.push.alert == alert;
        self.queue.iter().filter(of).map(|delivery| delivery.push.clone()).collect()
    }

    /// What is to be sent now; it counts as being sent from here on.
    pub fn due(&mut self, webhooks: &[Webhook], now: i64) -> Vec<Parcel> {
        let mut parcels = Vec::new();
        for webhook in webhooks {
            let line = self.lines.entry(webhook.name.clone()).or_default();
            // A clock that was set back must not make anybody wait for longer than they were to.
            line.not_before_ms = line.not_before_ms.min(now.saturating_add(millis(LONGEST_ASKED)));
            if line.sending.is_some() || line.not_before_ms > now {
                continue;
            }
            let next = self.queue.iter().find_map(|delivery| {
                let told = delivery.push.next(&delivery.alert)?;
                (delivery.push.webhook == webhook.name).then_some((delivery, told))
            });
            if let Some((delivery, told)) = next {
                line.sending = Some(delivery.alert.id.clone());
                parcels.push(Parcel { webhook: webhook.clone(), alert: delivery.alert.clone(), told });
            }
        }
        parcels
    }

    /// A try has ended. `draw` is uniform in 0–1. `None` when nobody waits for it any more.
    pub fn ended(
        &mut self,
        parcel: &Parcel,
        result: Result<(), Failure>,
        now: i64,
        draw: f64,
    ) -> Option<Outcome> {
        let line = self.lines.entry(parcel.webhook.name.clone()).or_default();
        if line.sending.as_ref() == Some(&parcel.alert.id) {
            line.sending = None;
        }
        let then = result.as_ref().err().map(|failure| failure.then);
        let wait = match then {
            None | Some(Then::GiveUp) => {
                (line.failures, line.not_before_ms) = (0, 0);
                None
            }
            Some(again) => {
                line.failures = line.failures.saturating_add(1);
                let mut wait = backoff(line.failures, draw);
                if let Then::After(asked) = again {
                    wait = wait.max(asked.min(LONGEST_ASKED));
                }
                line.not_before_ms = now.saturating_add(millis(wait));
                Some(wait)
            }
        };
        let is = |delivery: &Delivery| {
            delivery.push.alert == parcel.alert.id && delivery.push.webhook == parcel.webhook.name
        };
        let mut delivery = self.queue.remove(self.queue.iter().position(is)?)?;
        let push = &mut delivery.push;
        push.at_ms = Some(now);
        push.error = result.err().map(|failure| failure.what);
        match wait {
            None => (push.told, push.attempts) = (Some(parcel.told), 0),
            Some(_) => push.attempts = push.attempts.saturating_add(1),
        }
        let (push, alert) = (push.clone(), delivery.alert.clone());
        if self.kept || push.told != Some(Told::Resolved) {
            self.queue.push_back(delivery);
        }
        Some(Outcome { failed: push.error.clone(), push, alert, wait })
    }

    /// When the next webhook that is waited for may be tried again.
    pub fn next_due(&self) -> Option<i64> {
        let waits = |delivery: &&Delivery| delivery.push.next(&delivery.alert).is_some();
        let line = |delivery: &Delivery| self.lines.get(&delivery.push.webhook);
        let idle = |line: &&Line| line.sending.is_none();
        let lines = self.queue.iter().filter(waits).filter_map(line).filter(idle);
        lines.map(|line| line.not_before_ms).min()
    }

    /// Lets go of webhooks that are no longer there. Answers the pushes that nobody else will make.
    pub fn keep(&mut self, webhooks: &[Webhook]) -> Vec<Push> {
        let there = |name: &str| webhooks.iter().any(|webhook| webhook.name == name);
        self.lines.retain(|name, _| there(name));
        let mut gone = Vec::new();
        self.queue.retain(|delivery| {
            let stays = there(&delivery.push.webhook);
            if !stays && !delivery.leased && delivery.push.next(&delivery.alert).is_some() {
                gone.push(delivery.push.clone());
            }
            stays
        });
        gone
    }

    /// Nothing is being sent: whoever was sending has died.
    pub fn interrupted(&mut self) {
        self.lines.values_mut().for_each(|line| line.sending = None);
    }

    /// Whether there is something still to be sent.
    pub fn is_idle(&self) -> bool {
        self.queue.iter().all(|delivery| delivery.push.next(&delivery.alert).is_none())
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
