//! The last things that happened, for the status page.

use std::collections::{BTreeSet, VecDeque};
use std::time::SystemTime;

use actix::Handler;
use aegis_actors::alerts::{AlertChanged, Change};
use aegis_actors::circuit_breaker::{CircuitBreakerActor, Transition, Well};
use aegis_actors::health_check::HealthChanged;
use aegis_actors::rate_limiter::{Mode, ModeChanged};
use aegis_actors::supervision::count_message;
use serde::Serialize;

use super::Supervisor;

/// How many are kept.
const KEPT: usize = 100;

/// One thing that happened.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    #[serde(serialize_with = "super::messages::rfc3339")]
    pub at: SystemTime,
    /// `breaker`, `health`, `limiter`, `alert`, `drain`, `reload`.
    pub kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// One phrase.
    pub what: String,
}

impl Event {
    /// An operator drained a target or undid it.
    pub fn drain(backend: &str, target: &str, drained: bool) -> Self {
        let what = if drained { "draining" } else { "takes requests again" };
        Self::of("drain", Some(backend), Some(target), what.to_owned())
    }

    /// A reload, applied or refused.
    pub fn reload(what: String) -> Self {
        Self::of("reload", None, None, what)
    }

    fn of(kind: &'static str, backend: Option<&str>, target: Option<&str>, what: String) -> Self {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Self { at: SystemTime::now(), kind, backend: own(backend), target: own(target), what }
    }
}

/// The newest events.
#[derive(Debug, Default)]
pub struct Ring(VecDeque<Event>);

impl Ring {
    /// Adds one; the oldest makes room.
    pub fn push(&mut self, event: Event) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(event);
    }

    /// Newest first.
    pub fn recent(&self) -> Vec<Event> {
        self.0.iter().rev().cloned().collect()
    }
}

impl Supervisor {
    /// Drops the counts of targets that are gone, so that they do not pile up where targets come and go.
    pub(super) fn forget_transitions(&mut self) {
        let snapshot = self.shared.snapshot.load();
        let mut there = BTreeSet::new();
        for backend in &snapshot.backends {
            there.extend(backend.targets.iter().map(|target| (&*backend.name, &*target.shared.url)));
        }
        self.transitions.retain(|(backend, target, _), _| there.contains(&(&**backend, &**target)));
    }
}

impl Handler<Transition> for Supervisor {
    type Result = ();

    fn handle(&mut self, change: Transition, _: &mut Self::Context) {
        count_message();
        let what = format!("{} to {}: {}", change.from.as_str(), change.to.as_str(), change.reason);
        let key = (change.backend.clone(), change.target.clone(), change.to.as_str());
        *self.transitions.entry(key).or_default() += 1;
        self.events.push(Event::of("breaker", Some(&change.backend), Some(&change.target), what));
    }
}

impl Handler<HealthChanged> for Supervisor {
    type Result = ();

    fn handle(&mut self, change: HealthChanged, _: &mut Self::Context) {
        count_message();
        let what = format!("{}: {}", if change.healthy { "healthy" } else { "unhealthy" }, change.reason);
        self.events.push(Event::of("health", Some(&change.backend), Some(&change.target), what));
    }
}

impl Handler<Well> for Supervisor {
    type Result = ();

    /// Passed on to whichever instance is the breakers' now.
    fn handle(&mut self, well: Well, _: &mut Self::Context) {
        count_message();
        if let Some(breaker) = self.children.addresses().of::<CircuitBreakerActor>() {
            breaker.do_send(well);
        }
    }
}

impl Handler<ModeChanged> for Supervisor {
    type Result = ();

    fn handle(&mut self, change: ModeChanged, _: &mut Self::Context) {
        count_message();
        let what = match change.mode {
            Mode::Local => "limits are this instance's own".to_owned(),
            Mode::Shared => "limits are shared through Redis".to_owned(),
            Mode::Degraded => {
                let why = change.error.unwrap_or_default();
                format!("Redis is away: {}", why.strip_prefix("redis is away: ").unwrap_or(&why))
            }
        };
        self.events.push(Event::of("limiter", None, None, what));
    }
}

impl Handler<AlertChanged> for Supervisor {
    type Result = ();

    fn handle(&mut self, change: AlertChanged, _: &mut Self::Context) {
        count_message();
        let AlertChanged { what, alert } = change;
        let why = alert.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let what = match what {
            Change::Fired => format!("{} ({}) fires: {}", alert.rule, alert.severity, alert.message),
            Change::Seen => format!("{} ({}) fires already: {}", alert.rule, alert.severity, alert.message),
            Change::Acknowledged => format!("{} is acknowledged", alert.rule),
            Change::Resolved => format!("{} is resolved{why}", alert.rule),
        };
        self.events.push(Event::of("alert", alert.backend.as_deref(), None, what));
    }
}
