//! What the actor understands and what it publishes.

use std::sync::Arc;
use std::time::Duration;

use actix::Message;

use super::alert::Alert;
use super::settings::Settings;
use crate::target::TargetState;

/// The rules and the targets after a start or a reload. Alerts of rules that are gone resolve.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Watch {
    /// `None` = there is no `alerts` section.
    pub settings: Option<Arc<Settings>>,
    /// Every target of every backend.
    pub targets: Vec<WatchTarget>,
}

/// One target, and how old it must be until its published state says something.
#[derive(Clone, Debug)]
pub struct WatchTarget {
    pub shared: Arc<TargetState>,
    /// Until checks can have called it unhealthy; zero where none run.
    pub health_settles: Duration,
    /// The window of its breaker.
    pub breaker_settles: Duration,
}

/// Somebody knows of an alert.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Acknowledged")]
pub struct Acknowledge {
    pub alert: String,
}

/// The answer to [`Acknowledge`].
#[derive(Clone, Debug, PartialEq)]
pub enum Acknowledged {
    /// As it is now.
    Yes(Box<Alert>),
    NoSuch,
    /// Another instance of the actor has taken over: it is to be asked.
    Replaced,
    /// The store would have to be asked, and does not answer.
    Away(String),
}

/// Something happened to an alert. Published to the recipient that the actor was given.
#[derive(Clone, Debug, PartialEq, Message)]
#[rtype(result = "()")]
pub struct AlertChanged {
    pub what: Change,
    pub alert: Alert,
}

/// What happened to an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Fired,
    /// It was firing already: fired by another instance, or before a restart.
    Seen,
    Acknowledged,
    Resolved,
}
