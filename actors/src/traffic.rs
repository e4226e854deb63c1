//! Counters that the request path counts up without two cores ever sharing a cache line.
//!
//! One cell per worker; the worker adds to its own, whoever asks sums them all. Sums are not a snapshot: an
//! addition that runs beside the sum may or may not be in it, and will be in the next.

use std::sync::atomic::{AtomicU64, Ordering};

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
        let cell = &self.shards[worker.min(shared)].0;
        if worker < shared {
            // With a single writer a load and a store lose nothing, and cost a fraction of a locked add.
            cell.store(cell.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
        } else {
            cell.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// The sum over all workers; wraps around after 2^64.
    pub fn sum(&self) -> u64 {
        self.shards.iter().fold(0, |sum, cell| sum.wrapping_add(cell.0.load(Ordering::Relaxed)))
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
    fn a_counter_for_no_workers_still_counts() {
        let counters = Counters::new(0);
        counters.add(7, 3);
        assert_eq!(counters.sum(), 3);
    }

    #[test]
    fn cells_do_not_share_a_cache_line() {
        assert_eq!(size_of::<Padded>(), 128);
    }
}
