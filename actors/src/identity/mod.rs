//! The keys of providers: fetched, kept fresh, and published for whoever verifies tokens.
//!
//! Owns: which keys each provider has, when they are fetched next, and who waits for that. Refuses: a second fetch of a
//! provider while one is in flight, or within [`QUIET`] of the last on somebody's asking; nothing takes a set away but another
//! set. Driven by: the supervisor's [`Watch`], its own timers, and the [`Ask`]s of requests whose token names a key that
//! nobody knows.
//!
//! What keys are is the root crate's: here they can be compared ([`Keys`]), and a [`Fetcher`] brings them. A request reads
//! [`Provider::current`], without a lock; only where that does not do it asks ([`Asker::fresh`]).

mod actor;
mod asker;
mod fetcher;
mod messages;
mod provider;
mod state;
#[cfg(test)]
mod tests;

pub use actor::{Deps, IdentityActor, Pace};
pub use asker::{Asker, MOST_WAITING, PATIENCE};
pub use fetcher::{FetchFuture, Fetched, Fetcher, FetcherFactory};
pub use messages::{Ask, Watch};
pub use provider::{Fetches, Keys, Provider, Published, Remote};
pub use state::{FETCH_TIMEOUT, QUIET};
