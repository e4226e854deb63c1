//! One circuit breaker per target.
//!
//! Owns: the count of failures per target, and the decision whether requests may go there. Refuses: outcomes
//! of calls that began before the last transition. Driven by: batches of [`Outcomes`] from the workers, the
//! supervisor's [`Watch`], the operator's [`Hold`], health checks that passed ([`Well`]), its own timer, and the
//! connections that it tries while a target refuses them (`knock`).
//!
//! The decision is published as a [`Gate`] in the target's [`GateCell`]; the request path asks
//! [`GateCell::admit`], which sends no message and takes no lock. A gate holds all that a replaced actor needs
//! to carry on, save the counts of the current window.

mod actor;
mod gate;
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
pub use gate::{Admission, Gate, GateCell, Held, Phase, Refusal, State};
pub use messages::{
    Hold, HoldState, Inspect, Outcomes, Report, Run, Transition, TripReason, UnknownBackend, Watch, Well,
};
pub use outcome::{Fault, Outcome, UNJUDGED};
pub use permits::{Permits, ProbePermit};
pub use settings::Settings;
