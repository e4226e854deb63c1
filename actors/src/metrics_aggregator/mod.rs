//! What happened, counted: rollups of all requests, merged from the workers' batches.
//!
//! | file | holds |
//! |---|---|
//! | `histogram` | durations that merge exactly |
//! | `rollup` | what is counted, per stretch of time, and the trait of the store behind it |

mod histogram;
mod rollup;

pub use histogram::{Histogram, HistogramSum};
pub use rollup::{
    Batch, ConfigChange, FINEST, LimitRollup, LimitTally, RESOLUTIONS, Rollup, Sample, Series, Sink,
    SinkError, Tally, Writer,
};
