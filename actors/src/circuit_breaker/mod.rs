//! One circuit breaker per target.
//!
//! Owns: the count of failures per target, and the decision whether requests may go there. Refuses: outcomes
//! of calls that began before the last transition. Driven by: batches of [`Outcomes`] from the workers, the
//! supervisor's [`Watch`], the operator's [`Hold`], health checks that passed ([`Well`]), its own timer, and the
//! connections that it tries while a target refuses them (`knock`).
//!
//! The decision is published as a [`BreakerState`] in the target's [`SharedBreakerState`]; the request path asks
//! [`SharedBreakerState::admit`], which sends no message and takes no lock. It holds all that a replaced actor needs
//! to carry on, save the counts of the current window.

mod actor;
mod breaker_state;
mod knock;
mod messages;
mod outcome;
mod permits;
mod settings;
mod state;
#[cfg(test)]
mod tests;
mod window;

pub use actor::{CircuitBreakerActor, Deps};
pub use breaker_state::{Admission, BreakerState, CircuitState, Held, Phase, Refusal, SharedBreakerState};
pub use messages::{
    Hold, HoldState, Inspect, Outcomes, Report, Run, Transition, TripReason, UnknownBackend, Watch, Well,
};
pub use outcome::{Fault, Outcome, UNJUDGED};
pub use permits::{Permits, ProbePermit};
pub use settings::Settings;
