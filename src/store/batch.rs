//! A batch as rows: sorted, and each key once.

use std::collections::BTreeMap;

use aegis_actors::metrics_aggregator::{Batch, Writer};

use super::rows::{RollupRow, StoredChange, StoredSample};

/// What a writer tells of itself with every write.
#[derive(Clone, Debug)]
pub(super) struct Signature {
    pub instance: String,
    pub boot: String,
    /// Larger with every attempt.
    pub attempt: i64,
    /// Rows that end at or before it are not written again.
    pub committed: i64,
    /// By the writer's clock, Unix seconds.
    pub now: i64,
}

impl Signature {
    pub fn new(writer: &Writer, attempt: i64, committed: i64, now: i64) -> Self {
        let (instance, boot) = (writer.instance.to_string(), writer.boot.to_string());
        Self { instance, boot, attempt, committed, now }
    }
}

/// What one transaction writes.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    pub rollups: Vec<RollupRow>,
    pub samples: Vec<StoredSample>,
    pub changes: Vec<StoredChange>,
}

impl Rows {
    /// Of two rows with the same key, the later one holds. The order is the keys': transactions that meet take their locks
    /// in the same order.
    pub fn new(writer: &Writer, batch: Batch) -> Self {
        let Batch { rollups, samples, changes } = batch;
        let rollups: BTreeMap<_, _> =
            rollups.iter().map(|rollup| ((rollup.start, rollup.seconds, &rollup.series), rollup)).collect();
        Self {
            rollups: rollups.values().map(|rollup| RollupRow::new(writer, rollup)).collect(),
            samples: samples.into_iter().map(StoredSample::from).collect(),
            changes: changes.into_iter().map(StoredChange::from).collect(),
        }
    }
}
