//! Fresh addresses for every target that is named by host name.
//!
//! Owns: the schedule of look-ups and each name's last answer. Refuses: a second look-up of a name while one is
//! in flight, and an empty answer. Driven by: the supervisor's [`Watch`] and its own timers.
//!
//! An answer is published in the [`addresses`](crate::TargetState::addresses) of every target of that name; a
//! failed look-up leaves them as they are, so a broken name server takes no traffic away.

mod actor;
mod lookup;
mod messages;
mod state;
#[cfg(test)]
mod tests;

pub use actor::{Deps, REFRESH, RETRY, ResolverActor};
pub use lookup::{Lookup, LookupFactory, LookupFuture, SystemLookup};
pub use messages::{Inspect, Report, Watch};
