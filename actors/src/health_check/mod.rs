//! Active health checks, one schedule per target.
//!
//! Owns: the verdict whether a target is healthy. Refuses: a second check of a target while one is in flight.
//! Driven by: the supervisor's [`Watch`] and its own timers; the I/O is a [`Prober`] of the gateway's making.
//!
//! The verdict is published as [`Health`] in the target's [`HealthCell`]. Only checks decide it: what real
//! requests meet is the circuit breaker's business.

mod actor;
mod cell;
mod messages;
mod settings;
mod state;
#[cfg(test)]
mod tests;

pub use actor::{Deps, HealthCheckActor, ProbeFuture, Prober, ProberFactory};
pub use cell::{Health, HealthCell};
pub use messages::{HealthChanged, Inspect, Report, Watch, WatchTarget};
pub use settings::Settings;
