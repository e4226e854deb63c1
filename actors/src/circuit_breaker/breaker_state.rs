//! What the breaker publishes and the request path reads: whether a target may be called, without asking.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::outcome::Fault;
use super::permits::{Permits, ProbePermit};
use crate::slow_start;

/// `Refusal::retry_after` where no time is known: no probe is free, or an operator holds without an end.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What a breaker does with requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum CircuitState {
    /// Lets all pass.
    #[default]
    Closed,
    /// Lets a few probes pass.
    HalfOpen,
    /// Lets none pass.
    Open,
}

impl CircuitState {
    /// `closed`, `half-open` or `open`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half-open",
            Self::Open => "open",
        }
    }

    /// The value of `aegis_circuit_state`: 0 closed, 1 half-open, 2 open.
    pub fn code(self) -> u8 {
        self as u8
    }
}

/// An operator's hold on a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Held open (true) or held closed.
    pub open: bool,
    /// When the hold ends by itself; `None` until somebody ends it.
    pub until: Option<Instant>,
}

/// What the breaker itself has decided, whatever an operator holds over it.
#[derive(Clone, Debug, Default)]
pub enum Phase {
    /// All pass.
    #[default]
    Closed,
    /// None pass.
    Open {
        /// When probes begin.
        until: Instant,
        /// How often in a row a probe has opened it again; each doubles the wait.
        reopened: u32,
        /// What is held against the target.
        fault: Fault,
    },
    /// As many pass as there are permits.
    HalfOpen {
        /// The permits of this half-open spell.
        permits: Arc<Permits>,
        /// As in `Open`.
        reopened: u32,
    },
}

/// The published, immutable state of one breaker. The default is closed since ever, epoch 0.
#[derive(Clone, Debug, Default)]
pub struct BreakerState {
    /// Counts transitions; a call belongs to the epoch in which it was admitted.
    pub epoch: u64,
    /// What the breaker decided.
    pub phase: Phase,
    /// What an operator decided instead; it wins over `phase`.
    pub held: Option<Held>,
    /// When the state that the request path sees last changed; `None` if it never did.
    pub changed: Option<Instant>,
    /// How often it has opened since the target was first watched.
    pub opened: u64,
}

impl BreakerState {
    /// The state that the request path sees: the hold if there is one, else the phase.
    pub fn circuit(&self) -> CircuitState {
        match (&self.held, &self.phase) {
            (Some(held), _) if held.open => CircuitState::Open,
            (Some(_), _) | (None, Phase::Closed) => CircuitState::Closed,
            (None, Phase::HalfOpen { .. }) => CircuitState::HalfOpen,
            (None, Phase::Open { .. }) => CircuitState::Open,
        }
    }

    /// True while an operator holds it.
    pub fn forced(&self) -> bool {
        self.held.is_some()
    }

    /// When an open breaker will next let somebody pass; `None` if it is not open or has no known end.
    pub fn opens_until(&self) -> Option<Instant> {
        match (&self.held, &self.phase) {
            (Some(held), _) if held.open => held.until,
            (None, Phase::Open { until, .. }) => Some(*until),
            _ => None,
        }
    }

    fn admit(&self, now: Instant) -> Result<Admission, Refusal> {
        let probe = match (self.circuit(), &self.phase) {
            (CircuitState::Closed, _) => None,
            (CircuitState::HalfOpen, Phase::HalfOpen { permits, .. }) => {
                Some(permits.take().ok_or(Refusal { retry_after: ASK_AGAIN })?)
            }
            _ => return Err(self.refusal(now)),
        };
        Ok(Admission { epoch: self.epoch, probe })
    }

    /// What [`SharedBreakerState::admit`] would answer; takes no permit.
    ///
    /// # Errors
    /// As there.
    pub fn would_admit(&self, now: Instant) -> Result<(), Refusal> {
        match (self.circuit(), &self.phase) {
            (CircuitState::Closed, _) => Ok(()),
            (CircuitState::HalfOpen, Phase::HalfOpen { permits, .. }) if permits.free() > 0 => Ok(()),
            (CircuitState::HalfOpen, _) => Err(Refusal { retry_after: ASK_AGAIN }),
            (CircuitState::Open, _) => Err(self.refusal(now)),
        }
    }

    /// What an open breaker answers.
    fn refusal(&self, now: Instant) -> Refusal {
        let wait = self.opens_until().map(|until| until.saturating_duration_since(now));
        Refusal { retry_after: wait.unwrap_or(ASK_AGAIN) }
    }
}

/// Leave to make one call.
#[derive(Debug)]
pub struct Admission {
    /// To be reported with the call's outcome.
    pub epoch: u64,
    /// Present when the call is a probe of a half-open breaker; to be kept until its outcome is known.
    pub probe: Option<ProbePermit>,
}

/// The breaker does not let this call pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// When asking again makes sense; zero when the breaker is just about to let probes pass.
    pub retry_after: Duration,
}

/// One target's breaker state, shared: written by the breaker actor, read by every request.
#[derive(Debug, Default)]
pub struct SharedBreakerState(ArcSwap<BreakerState>);

impl SharedBreakerState {
    /// Replaces the state; requests that were admitted before keep their permits.
    pub fn publish(&self, state: BreakerState) {
        self.0.store(Arc::new(state));
    }

    /// Asks to make one call. Neither locks, sends nor allocates (a probe clones one `Arc`).
    ///
    /// # Errors
    /// [`Refusal`] while the breaker is open, or half-open with every permit taken.
    #[inline]
    pub fn admit(&self, now: Instant) -> Result<Admission, Refusal> {
        self.0.load().admit(now)
    }

    /// The state that a request would meet; takes no permit. A balancer must let half-open targets have a
    /// request now and then, else they never close.
    #[inline]
    pub fn peek(&self) -> CircuitState {
        self.0.load().circuit()
    }

    /// The state as last published.
    pub fn load(&self) -> Arc<BreakerState> {
        self.0.load_full()
    }

    /// 0.1 rising to 1.0 over ten seconds after the breaker closed; 1.0 in every other case.
    pub fn warmth(&self, now: Instant) -> f32 {
        let state = self.0.load();
        match state.circuit() {
            CircuitState::Closed => slow_start::warmth(state.changed, now),
            CircuitState::HalfOpen | CircuitState::Open => 1.0,
        }
    }
}
