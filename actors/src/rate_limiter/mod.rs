//! Rate limits: how much of each is used up, by whom, and how instances share them.
//!
//! A limit is decided where the request is: its buckets are values that all workers replace in single atomic steps
//! ([`Buckets`]), so that a limit is exact over any number of workers without a message or a lock. The actor owns the
//! rest: it frees idle buckets and holds their number within bounds, keeps the lists of the busiest and most limited
//! clients, and, where Redis is configured, fetches leases that the workers then spend. It refuses to know what a request
//! is: who is charged, and under which rule, the gateway decides. The supervisor starts it.
//!
//! | file | holds |
//! |---|---|
//! | `settings` | `rateLimit` and `redis` |
//! | `limit` | what an algorithm is asked and answers |
//! | `token_bucket`, `sliding_window`, `fixed_window` | the algorithms: pure, `now` as an argument |
//! | `algorithm` | what the gateway asks of all of them |
//! | `buckets` | all buckets of one limit, shared by the workers |
//! | `slots` | where they lie, by key: packed into one number each, or sliding windows |
//! | `key` | who is charged |
//! | `shared_limit` | everything of one limit, and what all limits have in common |
//! | `lease` | what was leased from the shared store, per key |
//! | `shared_store` | limits kept in Redis for several instances |
//! | `state`, `health` | what the shared store is asked next, and whether it is worth asking |
//! | `sweep`, `top` | bounds on memory; the most frequent clients |
//! | `messages`, `actor` | the mailbox around it |

mod actor;
mod algorithm;
mod buckets;
mod clock;
mod fixed_window;
mod health;
mod key;
mod lease;
mod limit;
mod messages;
mod redis_url;
pub mod settings;
mod shared_limit;
pub mod shared_store;
mod sliding_window;
mod slots;
mod state;
mod sweep;
#[cfg(test)]
mod tests;
mod token_bucket;
mod top;

pub use actor::{Deps, LIST, RateLimiterActor, StoreFactory};
pub use buckets::{Buckets, KeyQuota};
pub use clock::Clock;
pub use key::{Fingerprints, Key, KeyedBy, OwnedKey, Subject};
pub use lease::Spending;
pub use limit::{Plan, Refusal, Standing};
pub use messages::{Ask, Asks, Inspect, ModeChanged, Reply, Report, Sighted, Sightings, Watch};
pub use shared_limit::{Decisions, LimitId, Limiter, Mode, Share, SharedLimit};
pub use top::{Entry, Top};
