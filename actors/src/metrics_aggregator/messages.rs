//! What the actor understands.

use std::sync::Arc;

use actix::Message;

use super::record::{Labels, Record};
use super::rollup::{ConfigChange, Sample};

/// Requests that a worker has finished since it last told.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Records {
    /// What the records' numbers mean.
    pub labels: Arc<Labels>,
    pub records: Vec<Record>,
    pub samples: Vec<Sample>,
}

/// The configuration has changed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Changed(pub ConfigChange);

/// Write what waits for the store now. Answered when it is written, or cannot be.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Written")]
pub struct Flush;

/// The answer to [`Flush`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The store has everything that had been reported.
    All,
    /// The store did not take it; it waits in memory.
    NotYet,
    /// There is no store.
    Nowhere,
}
