//! What happened, counted: sums since the start, rollups by time, samples of requests.
//!
//! The workers report what they have finished in batches of small records; the actor counts them and hands rollups to the
//! store, which it never waits for. Everything counted is kept in [`Metrics`], outside of the actor's instances, so that
//! one that dies takes at most a batch with it. Series are bounded: every part of one comes from the configuration or from
//! a fixed list.
//!
//! | file | holds |
//! |---|---|
//! | `histogram` | durations that merge exactly |
//! | `record` | what a worker notes of a request |
//! | `rollup` | what is counted, per stretch of time, and the trait of the store behind it |
//! | `recent` | the rollups in memory, and which of them the store has not got |
//! | `totals` | sums since the start |
//! | `waiting` | requests in whole and changes of the configuration, until the store has them |
//! | `state`, `shared_state` | all of it in one place |
//! | `messages`, `actor` | the mailbox around it |

mod actor;
mod histogram;
mod messages;
mod recent;
mod record;
mod rollup;
mod shared_state;
mod state;
#[cfg(test)]
mod tests;
mod totals;
mod waiting;

pub use actor::{Deps, MetricsAggregatorActor};
pub use histogram::{Histogram, HistogramSum};
pub use messages::{Changed, Flush, Records, Written};
pub use recent::{IN_MEMORY_SECONDS, Recent};
pub use record::{Labels, LimitCounts, METHODS, Micros, NONE, Record, method_index, micros};
pub use rollup::{
    Batch, ConfigChange, FINEST, LimitTally, RESOLUTIONS, Rollup, Sample, Series, Sink, SinkError, Tally,
    Writer,
};
pub use shared_state::Metrics;
pub use state::MetricsState;
pub(crate) use totals::bucket;
pub use totals::{
    BOUNDS, BOUNDS_US, BackendTotals, Buckets, Codes, OVERHEAD_BOUNDS_US, RouteNames, RouteTotals,
    STREAM_BOUNDS_US, Totals,
};
