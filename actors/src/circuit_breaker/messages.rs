//! What the breaker understands and what it publishes.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use actix::Message;
use serde::{Deserialize, Serialize};

use super::breaker_state::CircuitState;
use super::outcome::Outcome;
use super::settings::Settings;
use crate::target::{TargetId, TargetState};

/// One worker's outcomes since its last batch, oldest first. Sent every 600 ms; a failure
/// and a probe at once. Outcomes for a target that is not watched are dropped.
#[derive(Clone, Debug, Default, Message)]
#[rtype(result = "()")]
pub struct Outcomes {
    /// Index of the worker that sends it.
    pub worker: usize,
    /// In the order in which the calls ended.
    pub runs: Vec<Run>,
}

impl Outcomes {
    /// Adds the outcome of one call: `slow` is whether it took the target's `slow_call` or longer.
    ///
    /// A call that says nothing about the target (the client went away, a pooled connection had been closed)
    /// is not to be added at all.
    pub fn add(&mut self, target: TargetId, epoch: u64, outcome: Outcome, slow: bool) {
        let last = self.runs.iter_mut().rev().find(|run| run.target == target);
        match last.filter(|run| run.epoch == epoch && run.takes(outcome)) {
            Some(run) => run.add(outcome, slow),
            None => {
                let mut run = Run { target, epoch, ..Run::default() };
                run.add(outcome, slow);
                self.runs.push(run);
            }
        }
    }
}

/// Calls to one target, admitted in one epoch: first those that were answered, good answers before bad ones, then
/// those that were not. What does not fit into this order begins another run, so that rows of failures and probes
/// are judged as the worker saw them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// Whom the calls went to.
    pub target: TargetId,
    /// The epoch of their [`Admission`](super::Admission).
    pub epoch: u64,
    /// [`Outcome::Answered`], slow ones included.
    pub answered: u32,
    /// [`Outcome::Reached`].
    pub reached: u32,
    /// [`Outcome::Failed`].
    pub failed: u32,
    /// [`Outcome::BrokeOff`]: of calls that are among `answered` already.
    pub broke_off: u32,
    /// [`Outcome::Refused`] and [`Outcome::Unanswered`].
    pub lost: u32,
    /// Whether the last of `lost` was refused.
    pub refused: bool,
    /// How many of all these took `slow_call` or longer; 0 while that rule is off.
    pub slow: u32,
}

impl Run {
    fn takes(&self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Refused | Outcome::Unanswered => true,
            Outcome::Answered => self.lost == 0 && self.failed == 0,
            Outcome::Failed | Outcome::Reached | Outcome::BrokeOff => self.lost == 0,
        }
    }

    fn add(&mut self, outcome: Outcome, slow: bool) {
        let count = match outcome {
            Outcome::Answered => &mut self.answered,
            Outcome::Reached => &mut self.reached,
            Outcome::Failed => &mut self.failed,
            Outcome::BrokeOff => &mut self.broke_off,
            Outcome::Refused | Outcome::Unanswered => {
                self.refused = outcome == Outcome::Refused;
                &mut self.lost
            }
        };
        *count += 1;
        self.slow += u32::from(slow && outcome != Outcome::Reached);
    }
}

/// A target takes connections or answers checks, as far as who sends this can tell. Only an open breaker minds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Well {
    /// Who.
    pub target: TargetId,
    /// Before, it did not.
    pub again: bool,
    /// When it was asked: what was found out before the breaker opened is no news.
    pub asked: Instant,
}

/// The complete set of targets after a start or a reload. Targets that are not listed are forgotten; those
/// that are known keep their state under the new settings; new ones start from the state that is published, closed
/// if nobody has ever published there, and join a hold on their backend.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Watch {
    /// Every target of every backend.
    pub targets: Vec<(Arc<TargetState>, Settings)>,
}

/// What an operator wants a backend's breakers to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HoldState {
    /// Let nothing pass.
    Open,
    /// Let everything pass; outcomes are counted but decide nothing.
    Closed,
    /// End the hold: carry on from what each breaker had decided before it, with empty counts.
    Auto,
}

/// Holds all breakers of a backend, or lets go of them. Answers how many breakers it has.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<usize, UnknownBackend>")]
pub struct Hold {
    /// Name of the backend.
    pub backend: String,
    /// What to do.
    pub state: HoldState,
    /// When the hold ends by itself; `None` until `Auto`. Ignored for `Auto`.
    pub ttl: Option<Duration>,
}

/// No target of a backend of this name is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownBackend(pub String);

impl fmt::Display for UnknownBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no backend is named {:?}", self.0)
    }
}

impl std::error::Error for UnknownBackend {}

/// Asks for a report on every target, ordered by backend and target.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Vec<Report>")]
pub struct Inspect;

/// One breaker as an operator wants to see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Whom it guards.
    pub target: TargetId,
    /// Name of the backend.
    pub backend: String,
    /// URL of the target.
    pub url: String,
    /// What it does with requests.
    pub state: CircuitState,
    /// True while an operator holds it.
    pub forced: bool,
    /// Calls that have not reached it since the last one that did, over all workers.
    pub consecutive_failures: u32,
    /// Calls in the sliding window.
    pub calls: u64,
    /// Failed calls in the window.
    pub failures: u64,
    /// Slow calls in the window.
    pub slow: u64,
    /// `failures / calls`, 0–1; 0 without calls.
    pub failure_rate: f64,
    /// `slow / calls`, 0–1; 0 without calls.
    pub slow_rate: f64,
    /// How often it has opened.
    pub opened: u64,
    /// Time until probes begin or the hold ends; `None` unless open with a known end.
    pub retry_in: Option<Duration>,
    /// When its state last changed; `None` if it never did.
    pub last_transition: Option<SystemTime>,
}

/// A breaker's state changed. Published to the recipient that the actor was given.
#[derive(Clone, Debug, PartialEq, Message)]
#[rtype(result = "()")]
pub struct Transition {
    /// Name of the backend.
    pub backend: String,
    /// URL of the target.
    pub target: String,
    /// The state before.
    pub from: CircuitState,
    /// The state since.
    pub to: CircuitState,
    /// Why.
    pub reason: TripReason,
    /// When, by the wall clock.
    pub at: SystemTime,
}

/// Why a breaker changed its state; `Display` gives a phrase for logs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TripReason {
    /// That many calls in a row have not reached it.
    ConsecutiveFailures(u32),
    /// That share of the calls in the window failed, 0–1.
    FailureRate(f64),
    /// That share of the calls in the window was slow, 0–1.
    SlowCallRate(f64),
    /// A probe failed.
    ProbeFailed,
    /// A probe was slow, and slow calls count.
    ProbeSlow,
    /// The open time is over.
    WaitOver,
    /// A check has passed, or a connection was taken.
    FoundWell,
    /// Enough probes succeeded.
    ProbesPassed,
    /// An operator holds it.
    Held,
    /// The hold was ended or has run out.
    HoldEnded,
    /// The configuration turns it off.
    TurnedOff,
}

impl TripReason {
    /// A stable code for events and metrics, such as `consecutive_failures`.
    pub fn code(self) -> &'static str {
        match self {
            Self::ConsecutiveFailures(_) => "consecutive_failures",
            Self::FailureRate(_) => "failure_rate",
            Self::SlowCallRate(_) => "slow_call_rate",
            Self::ProbeFailed => "probe_failed",
            Self::ProbeSlow => "probe_slow",
            Self::WaitOver => "wait_over",
            Self::FoundWell => "found_well",
            Self::ProbesPassed => "probes_passed",
            Self::Held => "held",
            Self::HoldEnded => "hold_ended",
            Self::TurnedOff => "turned_off",
        }
    }
}

impl fmt::Display for TripReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConsecutiveFailures(count) => write!(f, "{count} calls in a row did not reach it"),
            Self::FailureRate(rate) => write!(f, "{:.0} % of the calls failed", rate * 100.0),
            Self::SlowCallRate(rate) => write!(f, "{:.0} % of the calls were slow", rate * 100.0),
            Self::ProbeFailed => f.write_str("a probe failed"),
            Self::ProbeSlow => f.write_str("a probe was slow"),
            Self::WaitOver => f.write_str("the wait is over"),
            Self::FoundWell => f.write_str("the target was found well"),
            Self::ProbesPassed => f.write_str("probes succeeded"),
            Self::Held => f.write_str("held by an operator"),
            Self::HoldEnded => f.write_str("the operator's hold ended"),
            Self::TurnedOff => f.write_str("it is turned off"),
        }
    }
}
