//! Counters that the request path counts up without two cores ever sharing a cache line.
//!
//! One cell per worker; the worker adds to its own, whoever asks sums them all. Sums are not a snapshot: an
//! addition that runs beside the sum may or may not be in it, and will be in the next.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics_aggregator::{BOUNDS, BOUNDS_US, Buckets, bucket};

/// A cell on cache lines of its own: 128 bytes, because x86 prefetches lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded(AtomicU64);

/// A monotonic counter with one cell per worker.
#[derive(Debug)]
pub struct Counters {
    shards: Box<[Padded]>,
}

impl Counters {
    /// A counter at 0 for that many workers (128 bytes for each and for all others together).
    pub fn new(workers: usize) -> Self {
        Self { shards: (0..=workers).map(|_| Padded::default()).collect() }
    }

    /// Adds `n` to the worker's cell, which nobody else may write: workers are numbered from 0, and one that is
    /// started in place of another gets a new number. Numbers beyond those the counter was made for share a cell.
    #[inline]
    pub fn add(&self, worker: usize, n: u64) {
        let shared = self.shards.len() - 1;
        add(&self.shards[worker.min(shared)].0, n, worker < shared);
    }

    /// The sum over all workers; wraps around after 2^64.
    pub fn sum(&self) -> u64 {
        self.shards.iter().fold(0, |sum, cell| sum.wrapping_add(cell.0.load(Ordering::Relaxed)))
    }
}

#[inline]
fn add(cell: &AtomicU64, n: u64, alone: bool) {
    if alone {
        // With a single writer a load and a store lose nothing, and cost a fraction of a locked add.
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    } else {
        cell.fetch_add(n, Ordering::Relaxed);
    }
}

/// One worker's part of [`Timings`].
#[derive(Debug, Default)]
#[repr(align(128))]
struct Row {
    counts: [AtomicU64; BOUNDS + 1],
    sum_us: AtomicU64,
}

/// A histogram of durations over [`BOUNDS_US`], counted as [`Counters`] are.
#[derive(Debug)]
pub struct Timings {
    rows: Box<[Row]>,
}

impl Timings {
    /// An empty one for that many workers (256 bytes for each and for all others together).
    pub fn new(workers: usize) -> Self {
        Self { rows: (0..=workers).map(|_| Row::default()).collect() }
    }

    /// Counts one in the worker's row; see [`Counters::add`].
    pub fn record(&self, worker: usize, micros: u64) {
        let shared = self.rows.len() - 1;
        let row = &self.rows[worker.min(shared)];
        add(&row.counts[bucket(&BOUNDS_US, micros)], 1, worker < shared);
        add(&row.sum_us, micros, worker < shared);
    }

    /// The sum over all workers.
    pub fn sum(&self) -> Buckets {
        let mut sum = Buckets::default();
        for row in &self.rows {
            let counts = row.counts.each_ref().map(|count| count.load(Ordering::Relaxed));
            sum.merge(&Buckets { counts, sum_us: row.sum_us.load(Ordering::Relaxed) });
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_when_workers_count_at_once() {
        let counters = Counters::new(2);
        std::thread::scope(|scope| {
            for worker in 0..5 {
                let counters = &counters;
                scope.spawn(move || (0..1_000).for_each(|_| counters.add(worker, 2)));
            }
        });
        assert_eq!(counters.sum(), 10_000);
    }

    #[test]
    fn timings_of_all_workers_come_to_one_histogram() {
        let timings = Timings::new(2);
        std::thread::scope(|scope| {
            for worker in 0..5 {
                let timings = &timings;
                scope.spawn(move || {
                    [500, 501, 130_000_000].iter().for_each(|us| timings.record(worker, *us));
                });
            }
        });
        let sum = timings.sum();
        assert_eq!((sum.counts[0], sum.counts[1], sum.counts[BOUNDS], sum.count()), (5, 5, 5, 15));
        assert_eq!(sum.sum_us, 5 * 130_001_001);
    }

    #[test]
    fn a_counter_for_no_workers_still_counts() {
        let counters = Counters::new(0);
        counters.add(7, 3);
        assert_eq!(counters.sum(), 3);
    }

    #[test]
    fn cells_do_not_share_a_cache_line() {
        assert_eq!((size_of::<Padded>(), size_of::<Row>()), (128, 256));
    }
}
