//! Which alerts are open: rules judged, the store's word taken, and what there is to say about it.
//!
//! No clock, no I/O: every method is told the time (milliseconds since the Unix epoch) and answers what is to be logged and
//! published. What the ledger is to be told waits in the journal, what webhooks are to be sent in the delivery queue.
//! `agree` is the part that
//! deals with the ledger, `show` the one that deals with people.

mod agree;
mod show;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use super::alert::{Alert, Push, Told};
use super::delivery_queue::{Delivery, DeliveryQueue, Failure};
use super::journal::{Journal, Write};
use super::ledger::{AHEAD_MS, Entered, Entry, Resolution};
use super::measure::Measured;
use super::messages::{AlertChanged, Change};
use super::settings::{Condition, Rule, Settings};

/// Alerts that have ended, remembered for when there is no store.
const CLOSED: usize = 200;
/// How long an alert of a rule that this instance does not have waits for an instance that has it: ten minutes.
const STRANGERS_MS: i64 = 600_000;
/// Two seconds are added to what other instances and the store may take.
const SLACK_MS: i64 = 2_000;
/// Six seconds: the store may take five for one answer.
const LEASE_MS: i64 = 6_000;

/// Whose alerts these are.
#[derive(Clone, Debug)]
pub struct Who {
    /// As in the metrics store.
    pub instance: String,
    /// This start of it.
    pub boot: String,
}

/// What is to be said.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    Log(log::Level, String),
    Publish(Box<AlertChanged>),
}

/// What the ledger says before a look at the rules.
#[derive(Clone, Debug)]
pub enum View {
    /// There is none.
    Alone,
    /// Every open alert.
    Open(Vec<Alert>),
    Away(String),
}

/// The ledger's answer to a [`Write`].
#[derive(Clone, Debug)]
pub enum Answer {
    Entered(Entered),
    Resolved(Option<Alert>),
    Acknowledged(Option<Alert>),
    Done,
}

/// What is to be said to the ledger now.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    Enter(Box<Entry>),
    Hold { alert: String, instance: String, at_ms: i64 },
    Resolve(Resolution),
    Acknowledge { alert: String, at_ms: i64 },
    Pushed(Push),
}

/// How a rule stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is wrong, or nothing could be measured.
    Quiet,
    /// The condition holds, but not long enough yet.
    Pending,
    /// The condition holds; the rule fired a short time ago.
    Cooling,
    Firing,
}

/// A rule for the admin interface.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleReport {
    pub rule: Rule,
    pub standing: Standing,
    /// What was measured last.
    pub value: Option<f64>,
    pub last_fired_ms: Option<i64>,
}

#[derive(Debug, Default)]
struct Watched {
    /// Since when the condition holds without a break.
    since: Option<i64>,
    value: Option<f64>,
    last_fired_ms: Option<i64>,
}

/// What the ledger knows of an open alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LedgerState {
    /// It is being asked whether the alert may fire; no webhook has been told.
    Asked,
    /// It fires, and the ledger knows nothing of it.
    Here,
    Known,
}

#[derive(Debug)]
struct Open {
    alert: Alert,
    ledger: LedgerState,
    /// Its rule was this instance's own, until a reload took it away.
    dropped: bool,
}

impl Open {
    /// What the ledger says of it. That somebody knows of it may be still on its way there.
    fn renew(&mut self, stored: Alert) {
        let known = self.alert.acknowledged_at_ms;
        self.alert = Alert { acknowledged_at_ms: stored.acknowledged_at_ms.or(known), ..stored };
    }
}

/// See the module.
pub struct AlertsState {
    who: Who,
    settings: Arc<Settings>,
    rules: BTreeMap<String, Watched>,
    /// By rule: there is one at most.
    open: BTreeMap<String, Open>,
    closed: VecDeque<Alert>,
    journal: Journal,
    deliveries: DeliveryQueue,
    /// There is a ledger.
    has_ledger: bool,
    /// The ledger has said at least once what is open.
    seen: bool,
    /// Why it does not answer.
    away: Option<String>,
    claim_due: bool,
    rng: fastrand::Rng,
}

enum Verdict {
    Bad(f64),
    Good,
    /// Too little has been seen to call an alert over.
    Unknown,
}

impl AlertsState {
    /// Nothing open, nothing judged. `has_ledger`: alerts are kept in a store. Any seed will do.
    pub fn new(who: Who, has_ledger: bool, seed: u64) -> Self {
        let settings = Settings { enabled: false, ..Settings::default() };
        Self {
            who,
            settings: Arc::new(settings),
            rules: BTreeMap::new(),
            open: BTreeMap::new(),
            closed: VecDeque::new(),
            journal: Journal::default(),
            deliveries: DeliveryQueue::new(has_ledger),
            has_ledger,
            seen: false,
            away: None,
            claim_due: false,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// Another instance of the actor goes on.
    pub fn taken_over(&mut self) {
        self.journal.interrupted();
        self.deliveries.interrupted();
    }

    /// Applies other settings. Rules of the same id go on; what is open of those that are gone is resolved at the next look.
    pub fn watch(&mut self, settings: Arc<Settings>) -> Vec<Output> {
        let mut out = Vec::new();
        let rules = if settings.enabled { &settings.rules[..] } else { &[] };
        let there: HashSet<&str> = rules.iter().map(|rule| rule.id.as_str()).collect();
        for (rule, open) in &mut self.open {
            open.dropped = !there.contains(rule.as_str()) && (open.dropped || self.rules.contains_key(rule));
        }
        self.rules.retain(|rule, _| there.contains(rule.as_str()));
        for rule in rules {
            let same = self.rule(&rule.id).is_some_and(|old| old.condition == rule.condition);
            let watched = self.rules.entry(rule.id.clone()).or_default();
            if !same {
                (watched.since, watched.value) = (None, None);
            }
        }
        for push in self.deliveries.keep(&settings.webhooks) {
            let what = format!("webhook {} is gone: it is not told of alert {}", push.webhook, push.alert);
            out.push(Output::Log(log::Level::Warn, what));
        }
        self.settings = settings;
        out
    }

    /// Whether there is anything to look at. Without rules, the ledger is still asked once what this instance has left open.
    pub fn is_active(&self) -> bool {
        self.is_pressing() || (self.has_ledger && !self.seen)
    }

    /// Whether that is to be looked at right after a start or a reload.
    pub fn is_pressing(&self) -> bool {
        !self.rules.is_empty()
            || !self.open.is_empty()
            || !self.journal.is_empty()
            || !self.deliveries.is_idle()
    }

    /// What runs.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    fn rule(&self, id: &str) -> Option<&Rule> {
        self.settings.rules.iter().find(|rule| rule.id == id)
    }

    /// A look at every rule; `place` says where it is met, for whoever is told.
    pub fn look(
        &mut self,
        now: i64,
        view: View,
        mut measure: impl FnMut(&Condition) -> Measured,
        place: impl Fn(&Condition) -> String,
    ) -> Vec<Output> {
        let mut out = Vec::new();
        match view {
            View::Alone => {}
            View::Open(open) => {
                if self.away.take().is_some() {
                    out.push(Output::Log(log::Level::Info, "the store of alerts answers again".to_owned()));
                }
                self.adopt(now, open, &mut out);
                self.claim_due = true;
            }
            View::Away(error) => self.is_away(error, &mut out),
        }
        let settings = self.settings.clone();
        for rule in settings.rules.iter().filter(|_| settings.enabled) {
            let verdict = self.judge(now, rule, measure(&rule.condition));
            match (self.open.get(&rule.id).map(|open| open.ledger), verdict) {
                (None, Verdict::Bad(value)) => self.fire(now, rule, value, &place, &mut out),
                (Some(LedgerState::Known), Verdict::Bad(_)) => self.hold(&rule.id),
                (Some(LedgerState::Known | LedgerState::Here), Verdict::Good) => {
                    self.resolve(now, &rule.id, None, &mut out)
                }
                _ => {}
            }
        }
        let unknown: Vec<String> =
            self.open.keys().filter(|rule| !self.rules.contains_key(*rule)).cloned().collect();
        for rule in unknown {
            let why = if settings.enabled { "its rule is gone" } else { "alerts are switched off" };
            self.resolve(now, &rule, Some(why), &mut out);
        }
        out
    }

    /// What a measurement says of a rule.
    fn judge(&mut self, now: i64, rule: &Rule, measured: Measured) -> Verdict {
        let Condition { metric, operator, threshold, window, .. } = &rule.condition;
        let watched = self.rules.entry(rule.id.clone()).or_default();
        watched.value = measured.value;
        match measured.value.filter(|value| operator.holds(*value, *threshold)) {
            Some(value) => {
                // The clock may have been set back.
                let since = *watched.since.insert(watched.since.map_or(now, |since| since.min(now)));
                let long = !metric.is_gauge() || now - since >= millis(window);
                // One that fires already goes on firing.
                if long || self.open.contains_key(&rule.id) { Verdict::Bad(value) } else { Verdict::Unknown }
            }
            None => {
                watched.since = None;
                if measured.whole { Verdict::Good } else { Verdict::Unknown }
            }
        }
    }

    fn fired(&mut self, rule: &str, at: i64) {
        if let Some(watched) = self.rules.get_mut(rule) {
            let later =
                watched.last_fired_ms.filter(|last| *last > at && *last <= at.saturating_add(AHEAD_MS));
            watched.last_fired_ms = later.or(Some(at));
        }
    }

    fn is_cooling(&self, rule: &str, now: i64) -> bool {
        let last = self.rules.get(rule).and_then(|watched| watched.last_fired_ms);
        last.is_some_and(|last| now - last < millis(&self.settings.cooldown) && last <= now + AHEAD_MS)
    }

    fn fire(
        &mut self,
        now: i64,
        rule: &Rule,
        value: f64,
        place: impl Fn(&Condition) -> String,
        out: &mut Vec<Output>,
    ) {
        if self.is_cooling(&rule.id, now) {
            return;
        }
        let id = format!("{now:011x}-{:012x}", self.rng.u64(..1 << 48));
        let alert = Alert::of(rule, id, value, &place(&rule.condition), &self.who.instance, now);
        let told = !self.has_ledger || self.away.is_some();
        if self.has_ledger {
            self.note(Write::Enter { alert: Box::new(alert.clone()), told }, out);
        }
        let ledger = if told { LedgerState::Here } else { LedgerState::Asked };
        self.open.insert(rule.id.clone(), Open { alert: alert.clone(), ledger, dropped: false });
        if told {
            self.notify(&alert, out);
        }
    }

    /// An alert fires without the ledger's word.
    fn notify(&mut self, alert: &Alert, out: &mut Vec<Output>) {
        let webhooks: Option<Vec<String>> =
            self.rule(&alert.rule).map(|rule| rule.webhooks().map(str::to_owned).collect());
        let lost = self.deliveries.add(alert, &webhooks.unwrap_or_default());
        if lost > 0 {
            let what = format!("{lost} alerts are not sent to their webhooks: too many wait");
            out.push(Output::Log(log::Level::Error, what));
        }
        self.announce(Change::Fired, alert, out);
    }

    fn announce(&mut self, change: Change, alert: &Alert, out: &mut Vec<Output>) {
        if change == Change::Fired {
            self.fired(&alert.rule, alert.fired_at_ms);
        }
        // A rule that is gone cannot say any more whether its end is to be logged.
        if self.rule(&alert.rule).is_none_or(Rule::logs) {
            let (level, what) = match change {
                Change::Fired => (log::Level::Warn, format!("fires: {}", alert.message)),
                _ => (log::Level::Info, resolved(alert)),
            };
            let Alert { id, severity, rule, name, .. } = alert;
            let named = if rule == name { String::new() } else { format!(" ({name})") };
            out.push(Output::Log(level, format!("alert {rule}{named}, {severity}, {what} [{id}]")));
        }
        publish(out, change, alert);
    }

    fn hold(&mut self, rule: &str) {
        let Some(open) = self.open.get(rule) else { return };
        let alert = open.alert.id.clone();
        let hold = Write::Hold { alert };
        if self.has_ledger && self.away.is_none() && !self.journal.any(|write| *write == hold) {
            self.journal.push(hold);
        }
    }

    /// The condition of an open alert is over, or its rule gone.
    fn resolve(&mut self, now: i64, rule: &str, reason: Option<&str>, out: &mut Vec<Output>) {
        let Some(open) = self.open.get(rule) else { return };
        let id = open.alert.id.clone();
        match open.ledger {
            LedgerState::Asked => {}
            LedgerState::Here => {
                let reason = reason.map(str::to_owned);
                let alert = Alert { resolved_at_ms: Some(now), reason, ..open.alert.clone() };
                if let Some(unwritten) = self.journal.unwritten(&id) {
                    *unwritten = alert.clone();
                } else if self.has_ledger {
                    // Its entry is under way: its end is told behind it.
                    let reason = alert.reason.clone();
                    self.note(Write::Resolve(self.resolution(id, now, reason, i64::MAX)), out);
                }
                self.close(alert, true, out);
            }
            LedgerState::Known => {
                let asked = |write: &Write| matches!(write, Write::Resolve(asked) if asked.alert == id);
                if self.away.is_some() || self.journal.any(asked) {
                    // It is the instances' common alert: its end waits for the store.
                    return;
                }
                let known = self.rules.contains_key(rule);
                let own = known || open.dropped || open.alert.instance == self.who.instance;
                let window = i64::from(open.alert.window_seconds).saturating_mul(1_000);
                let trust = if own { window + self.beats(3) + SLACK_MS } else { STRANGERS_MS };
                let resolution = self.resolution(id, now, reason.map(str::to_owned), now - trust);
                self.journal.push(Write::Resolve(resolution));
            }
        }
    }

    fn resolution(&self, alert: String, at_ms: i64, reason: Option<String>, stale_ms: i64) -> Resolution {
        Resolution { alert, at_ms, reason, instance: self.who.instance.clone(), stale_ms }
    }

    /// So many check intervals.
    fn beats(&self, count: i64) -> i64 {
        millis(&self.settings.check_interval).saturating_mul(count)
    }

    fn close(&mut self, alert: Alert, aloud: bool, out: &mut Vec<Output>) {
        self.open.remove(&alert.rule);
        self.deliveries.update(&alert);
        self.claim_due = true;
        if aloud {
            self.announce(Change::Resolved, &alert, out);
        } else {
            publish(out, Change::Resolved, &alert);
        }
        self.closed.push_back(alert);
        if self.closed.len() > CLOSED {
            self.closed.pop_front();
        }
    }

    fn note(&mut self, write: Write, out: &mut Vec<Output>) {
        if !self.journal.push(write) {
            let what = "the store has been away for long: something about alerts is never written to it";
            out.push(Output::Log(log::Level::Error, what.to_owned()));
        }
    }

    /// What is to be sent now.
    pub fn due(&mut self, now: i64) -> Vec<Delivery> {
        self.deliveries.due(&self.settings.webhooks, now)
    }

    /// When something is to be sent next, unless something happens before.
    pub fn next_due(&self) -> Option<i64> {
        self.deliveries.next_due()
    }

    /// A try to send has ended.
    pub fn sent(&mut self, now: i64, delivery: &Delivery, result: Result<(), Failure>) -> Vec<Output> {
        let draw = self.rng.f64();
        let mut out = Vec::new();
        let Some(outcome) = self.deliveries.ended(delivery, result, now, draw) else { return out };
        let (name, what) = (&delivery.webhook.name, delivery.told.as_str());
        let subject = format!("alert {} {what} [{}]", delivery.alert.rule, delivery.alert.id);
        match (&outcome.failed, outcome.wait) {
            (None, _) => out.push(Output::Log(log::Level::Debug, format!("webhook {name} took {subject}"))),
            (Some(why), Some(wait)) => {
                let (tries, ms) = (outcome.push.attempts, wait.as_millis());
                let what = format!(
                    "webhook {name} did not take {subject}: {why}; try {} in {ms} ms",
                    tries.saturating_add(1)
                );
                out.push(Output::Log(log::Level::Warn, what));
            }
            (Some(why), None) => {
                let what = format!("webhook {name} refuses {subject}: {why}; it is not tried again");
                out.push(Output::Log(log::Level::Error, what));
            }
        }
        if self.has_ledger {
            self.note(Write::Pushed(outcome.push), &mut out);
        }
        out
    }
}

fn publish(out: &mut Vec<Output>, what: Change, alert: &Alert) {
    out.push(Output::Publish(Box::new(AlertChanged { what, alert: alert.clone() })));
}

fn resolved(alert: &Alert) -> String {
    let lasted = alert.resolved_at_ms.map_or(0, |at| (at - alert.fired_at_ms).max(0)) / 1_000;
    let why = alert.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    format!("{} after {lasted} s{why}", Told::Resolved.as_str())
}

fn millis(duration: &std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
