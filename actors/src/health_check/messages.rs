//! What the health checks understand and what they publish.

use std::sync::Arc;
use std::time::SystemTime;

use actix::Message;

use super::cell::Health;
use super::settings::Settings;
use crate::target::{TargetId, TargetState};

/// The complete set of targets after a start or a reload. Targets that are not listed are forgotten; those
/// that are known keep their counts and their schedule; what a new one's cell already holds is carried on.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Watch {
    /// Every target of every backend, those without checks included.
    pub targets: Vec<WatchTarget>,
}

/// One target and how to check it.
#[derive(Clone, Debug)]
pub struct WatchTarget {
    /// Whom to check and where the verdict goes.
    pub shared: Arc<TargetState>,
    /// `None` when its backend has no `healthCheck`; a target that loses it becomes healthy at once.
    pub settings: Option<Settings>,
}

/// Asks for a report on every checked target, ordered by backend and target.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Vec<Report>")]
pub struct Inspect;

/// The checks of one target as an operator wants to see them.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Who is checked.
    pub target: TargetId,
    /// Name of the backend.
    pub backend: String,
    /// URL of the target.
    pub url: String,
    /// The verdict and what led to it.
    pub health: Health,
    /// True while a check is in flight.
    pub checking: bool,
}

/// A target became healthy or unhealthy. Published to the recipient that the actor was given.
#[derive(Clone, Debug, PartialEq, Message)]
#[rtype(result = "()")]
pub struct HealthChanged {
    /// Name of the backend.
    pub backend: String,
    /// URL of the target.
    pub target: String,
    /// The new verdict.
    pub healthy: bool,
    /// Why, such as `3 checks failed in a row: connection refused`; for operators only.
    pub reason: String,
    /// When, by the wall clock.
    pub at: SystemTime,
}
