//! Every piece of mutable state in AEGIS, one folder per actor.
//!
//! Each folder holds a pure core (`state.rs`: input and `now` in, outputs out), the messages it understands
//! and publishes, the settings of its section of the configuration, and a thin actix shell with the mailbox,
//! the timers and the I/O. This crate knows nothing of HTTP routing, YAML or databases: it takes settings
//! structs, `Recipient`s and traits.
//!
//! | module | owns | publishes into |
//! |---|---|---|
//! | [`alerts`] | which alerts are open, and who has been told | (asked by the admin interface) |
//! | [`circuit_breaker`] | one breaker per target | [`TargetState::breaker`] |
//! | [`health_check`] | the verdict of active checks per target | [`TargetState::health`] |
//! | [`identity`] | the keys of token issuers, fetched from them | [`identity::Provider`] |
//! | [`metrics_aggregator`] | what was counted of all requests | (asked by the admin interface) |
//! | [`rate_limiter`] | the limits of clients, alone and shared through Redis | (its buckets are shared state) |
//! | [`resolver`] | the addresses behind host names | [`TargetState::addresses`] |
//! | [`traffic`] | counters that each worker keeps for itself | (summed by whoever asks) |
//! | [`supervision`] | what the supervisor needs of every actor | |

pub mod alerts;
pub mod circuit_breaker;
pub mod health_check;
pub mod identity;
pub mod metrics_aggregator;
pub mod rate_limiter;
pub mod resolver;
pub mod supervision;
pub mod traffic;

mod clock;
mod slow_start;
mod target;
#[cfg(test)]
mod testing;

pub use clock::{Reading, WallClock};
pub use slow_start::{COLD, SLOW_START};
pub use target::{TargetId, TargetState};
