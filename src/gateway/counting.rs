//! A worker's finished requests, collected until they go to the metrics aggregator.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use aegis_actors::metrics_aggregator::{Labels, Metrics, Record, Records, Sample};

use super::actor_handle::ActorHandle;
use super::shared::Shared;

/// Records of one message: so many are sent at once rather than at the next beat. A message costs a worker about as much as
/// two requests, for what the aggregator pushes out of the processor's cache.
const BATCH: usize = 2048;

/// Records that wait while the aggregator is being replaced; beyond, the oldest are lost, and counted as that.
const MOST: usize = 32 * BATCH;

/// Requests that are kept in whole between two calls of [`Counting::allow`], at most.
const SAMPLES: usize = 200;

/// Why a request is kept as a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleReason {
    /// The gateway answered itself, or the upstream with a 5xx, or the request was slow, or its answer broke off.
    Remarkable,
    /// Drawn among those that went well.
    Random,
}

/// See the module.
#[derive(Default)]
pub struct Counting {
    /// Of one configuration and at most [`BATCH`] records each, oldest first: what a record's numbers mean changes with a
    /// reload.
    batches: RefCell<Vec<(Arc<Labels>, Vec<Record>)>>,
    samples: RefCell<Vec<Sample>>,
    /// How many have been kept since they were last allowed, and whether one of them went well.
    recorded: Cell<usize>,
    drawn: Cell<bool>,
    aggregator: ActorHandle<Records>,
    /// Records lost since the aggregator has taken all.
    lost: Cell<u64>,
}

impl Counting {
    /// Notes a finished request.
    pub fn note(&self, shared: &Shared, labels: &Arc<Labels>, record: Record) {
        if self.add(&shared.metrics, labels, record) {
            self.report(shared);
        }
    }

    /// Whether that makes a batch full.
    fn add(&self, metrics: &Metrics, labels: &Arc<Labels>, record: Record) -> bool {
        let mut batches = self.batches.borrow_mut();
        let last = batches.last_mut();
        match last.filter(|(known, records)| Arc::ptr_eq(known, labels) && records.len() < BATCH) {
            Some((_, records)) => {
                records.push(record);
                records.len() == BATCH
            }
            None => {
                let mut records = metrics.buffer(BATCH);
                records.push(record);
                batches.push((labels.clone(), records));
                false
            }
        }
    }

    /// Lets further requests be kept in whole; called by the clock.
    pub fn allow(&self) {
        self.recorded.set(0);
        self.drawn.set(false);
    }

    /// Keeps a request in whole, where there is room for it. Beyond a bound the rest is only counted: a flood of refusals
    /// must not become a flood of samples, nor cost the writing of them. Of what went well one at a time is enough: the
    /// store keeps a hundred thousand in all, and they must not push out what did not.
    pub fn record_sample(&self, labels: &Arc<Labels>, reason: SampleReason, sample: impl FnOnce() -> Sample) {
        let recorded = self.recorded.get();
        // Those of before may still be here, while the aggregator is being replaced.
        let room = recorded < SAMPLES && self.samples.borrow().len() < SAMPLES;
        if room && (reason == SampleReason::Remarkable || !self.drawn.replace(true)) {
            self.recorded.set(recorded + 1);
            self.samples.borrow_mut().push(sample());
            if self.batches.borrow().is_empty() {
                // Samples go with records, and a request for one of the gateway's own paths has none.
                self.batches.borrow_mut().push((labels.clone(), Vec::new()));
            }
        }
    }

    /// Sends what was collected; what cannot be sent now is kept.
    pub fn report(&self, shared: &Shared) {
        self.send(&shared.metrics, |message| self.aggregator.send(&shared.records, message));
    }

    fn send(&self, metrics: &Metrics, mut send: impl FnMut(Records) -> Result<(), Records>) {
        let mut kept = Vec::new();
        for (labels, records) in self.batches.take() {
            if !kept.is_empty() {
                kept.push((labels, records));
                continue;
            }
            let message = Records { labels, records, samples: self.samples.take() };
            if let Err(Records { labels, records, samples }) = send(message) {
                kept.push((labels, records));
                *self.samples.borrow_mut() = samples;
            }
        }
        let lost = drop_oldest(&mut kept, MOST);
        if lost > 0 {
            metrics.lose(lost);
            if self.lost.replace(self.lost.get() + lost) == 0 {
                log::warn!(
                    "the metrics aggregator takes no finished requests, and too many wait: the oldest are not counted"
                );
            }
        } else if kept.is_empty() && self.lost.get() > 0 {
            let lost = self.lost.take();
            log::warn!(
                "the metrics aggregator takes finished requests again; {lost} of one worker were not counted"
            );
        }
        *self.batches.borrow_mut() = kept;
    }
}

/// Leaves the newest `most` records. Answers how many had to go.
fn drop_oldest(batches: &mut Vec<(Arc<Labels>, Vec<Record>)>, most: usize) -> u64 {
    let excess = batches.iter().map(|(_, records)| records.len()).sum::<usize>().saturating_sub(most);
    if excess == 0 {
        return 0;
    }
    let mut left = excess;
    for (_, records) in batches.iter_mut() {
        let some = left.min(records.len());
        records.drain(..some);
        left -= some;
    }
    batches.retain(|(_, records)| !records.is_empty());
    excess as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: usize) -> Record {
        Record { ended_ms: number as u64, status: 200, ..Record::default() }
    }

    #[test]
    fn a_flood_does_not_become_one_of_samples_and_what_went_well_leaves_room_for_what_did_not() {
        let counting = Counting::default();
        let sample = || Sample { path: "/".to_owned(), ..Sample::default() };
        let recorded = |reason, times| {
            (0..times).for_each(|_| counting.record_sample(&Arc::default(), reason, sample));
            counting.samples.take().len()
        };
        assert_eq!(recorded(SampleReason::Random, 1_000), 1);
        assert_eq!(recorded(SampleReason::Remarkable, 1_000), SAMPLES - 1, "though a report came between");
        assert_eq!(recorded(SampleReason::Random, 1), 0);
        counting.allow();
        assert_eq!(recorded(SampleReason::Random, 2), 1);
    }

    #[test]
    fn while_nobody_takes_them_only_what_is_beyond_the_bound_is_lost_and_that_is_counted() {
        let (counting, metrics) = (Counting::default(), Metrics::default());
        let (old, new) = (Arc::new(Labels::default()), Arc::new(Labels::default()));
        for number in 0..MOST + 10 {
            // One configuration for nearly all of them.
            if counting.add(&metrics, if number < MOST { &old } else { &new }, record(number)) {
                counting.send(&metrics, Err);
            }
        }
        counting.send(&metrics, Err);
        assert_eq!(metrics.uncounted(), 10);
        // How many records in each message, and the number of the first.
        let mut sent = Vec::new();
        counting.send(&metrics, |batch| {
            sent.push((batch.records.len(), batch.records[0].ended_ms));
            Ok(())
        });
        assert_eq!(sent.iter().map(|(records, _)| records).sum::<usize>(), MOST);
        assert_eq!(sent[..2], [(BATCH - 10, 10), (BATCH, BATCH as u64)]);
        assert_eq!((sent.last(), metrics.uncounted()), (Some(&(10, MOST as u64)), 10));
        counting.send(&metrics, |_| panic!("nothing is left"));
    }
}
