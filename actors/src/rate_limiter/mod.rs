//! Rate limits: how much of each is used up, by whom, and how instances share them.
//!
//! A limit is decided where the request is: its buckets are words that all workers count in with single atomic
//! steps ([`Buckets`]), so that a limit is exact over any number of workers without a message or a lock. The actor owns
//! the rest: it frees idle buckets and holds their number within bounds, keeps the lists of the busiest and most limited
//! clients, and, where Redis is configured, fetches leases that the workers then spend. It refuses to know what a request
//! is: who is charged, and under which rule, the gateway decides.
//!
//! | file | holds |
//! |---|---|
//! | `limit` | what an algorithm is asked and answers |
//! | `token_bucket`, `sliding_window`, `fixed_window` | the algorithms: pure, `now` as an argument |
//! | `buckets` | all buckets of one limit, shared by the workers |
//! | `settings` | `rateLimit` and `redis` |
//! | `shared_store` | limits kept in Redis for several instances |

pub mod settings;

mod limit;
pub mod shared_store;

pub use limit::{Plan, Refusal, Standing};
