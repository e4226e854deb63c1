//! A worker's finished requests, collected until they go to the metrics aggregator.

use std::cell::RefCell;
use std::sync::Arc;

use aegis_actors::metrics_aggregator::{Labels, Record, Records, Sample};

use super::mailbox::Mailbox;
use super::shared::Shared;
use super::snapshot::SnapshotRef;
use super::worker::Worker;

/// Records that are sent at once rather than at the next beat.
const BATCH: usize = 1024;

/// Records that wait while the aggregator is being replaced; beyond, the oldest batch is lost.
const MOST: usize = 64 * BATCH;

/// Requests that are kept in whole between two reports, at most.
const SAMPLES: usize = 200;

/// See the module.
#[derive(Default)]
pub struct Counting {
    /// Of one configuration each, oldest first: what a record's numbers mean changes with a reload.
    batches: RefCell<Vec<(Arc<Labels>, Vec<Record>)>>,
    samples: RefCell<Vec<Sample>>,
    aggregator: Mailbox<Records>,
}

impl Counting {
    /// Notes a finished request.
    pub fn note(&self, worker: &Worker, snapshot: &SnapshotRef, record: Record) {
        let mut batches = self.batches.borrow_mut();
        let full = match batches.last_mut().filter(|(labels, _)| Arc::ptr_eq(labels, &snapshot.labels)) {
            Some((_, records)) => {
                records.push(record);
                records.len() >= BATCH
            }
            None => {
                let mut records = Vec::with_capacity(BATCH);
                records.push(record);
                batches.push((snapshot.labels.clone(), records));
                false
            }
        };
        drop(batches);
        if full {
            self.report(&worker.shared);
        }
    }

    /// Whether a further request may be kept in whole. Beyond a bound per report the rest is only counted: a flood of
    /// refusals must not become a flood of stories, nor cost the writing of them.
    pub fn has_room_for_samples(&self) -> bool {
        self.samples.borrow().len() < SAMPLES
    }

    /// Keeps a request in whole.
    pub fn tell(&self, sample: Sample) {
        self.samples.borrow_mut().push(sample);
    }

    /// Sends what was collected; what cannot be sent now is kept.
    pub fn report(&self, shared: &Shared) {
        let mut kept = Vec::new();
        for (labels, records) in self.batches.take() {
            if !kept.is_empty() {
                kept.push((labels, records));
                continue;
            }
            let message = Records { labels, records, samples: self.samples.take() };
            if let Err(Records { labels, records, samples }) = self.aggregator.send(&shared.records, message)
            {
                kept.push((labels, records));
                *self.samples.borrow_mut() = samples;
            }
        }
        while kept.iter().map(|(_, records)| records.len()).sum::<usize>() > MOST {
            kept.remove(0);
        }
        *self.batches.borrow_mut() = kept;
    }
}
