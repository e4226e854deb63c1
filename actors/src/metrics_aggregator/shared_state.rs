//! What the aggregator has counted, kept outside of its instances: one that dies takes at most a batch with it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::record::Record;
use super::state::MetricsState;
use crate::clock::WallClock;
use crate::supervision::Fence;

/// Emptied buffers that are kept.
const SPARE: usize = 16;

/// See the module. Read by the administration interface; a request comes here for a buffer, once in hundreds, and waits for
/// nobody.
#[derive(Default)]
pub struct Metrics {
    clock: WallClock,
    state: Mutex<MetricsState>,
    spare: Mutex<Vec<Vec<Record>>>,
    store_up: AtomicBool,
    waiting: AtomicUsize,
    uncounted: AtomicU64,
    store_error: Mutex<Option<String>>,
}

impl Metrics {
    /// Nothing counted yet, by another clock than the machine's.
    pub fn with_clock(clock: WallClock) -> Self {
        Self { clock, ..Self::default() }
    }

    /// The time that is counted by, milliseconds since the Unix epoch; it never goes back.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// The same, and the moment that it was.
    pub fn stamp(&self) -> (i64, Instant) {
        self.clock.stamp()
    }

    /// Everything counted. An instance that died in the middle of a batch has left the rest of it uncounted and nothing
    /// broken.
    pub fn state(&self) -> MutexGuard<'_, MetricsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same for an instance of the actor; `None` once it has been replaced. The question is asked under the lock, so
    /// that nothing of the successor's comes between it and what follows.
    pub(super) fn state_for(&self, fence: &Fence) -> Option<MutexGuard<'_, MetricsState>> {
        let state = self.state();
        fence.is_current().then_some(state)
    }

    /// An empty buffer for about `records`: one that has been counted just now and is still in the processor's cache, or a
    /// new one.
    pub fn buffer(&self, records: usize) -> Vec<Record> {
        let spare = self.spare.try_lock().ok().and_then(|mut spare| spare.pop());
        spare.unwrap_or_else(|| Vec::with_capacity(records))
    }

    pub(super) fn give_back(&self, mut buffer: Vec<Record>) {
        if let Ok(mut spare) = self.spare.try_lock()
            && spare.len() < SPARE
        {
            buffer.clear();
            spare.push(buffer);
        }
    }

    /// Of `ended` requests, how many are still to be counted.
    pub fn missing(&self, ended: u64) -> u64 {
        self.state().missing(ended)
    }

    /// What is missing of `ended` requests is not waited for any more.
    pub fn give_up(&self, ended: u64) {
        self.state().give_up(ended);
    }

    /// Whether the last write has gone through.
    pub fn store_up(&self) -> bool {
        self.store_up.load(Ordering::Relaxed)
    }

    /// Why it has not.
    pub fn store_error(&self) -> Option<String> {
        self.store_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Rollups that wait for the store, when they were last counted.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// A worker could not keep so many finished requests until the aggregator took them.
    pub fn lose(&self, requests: u64) {
        self.uncounted.fetch_add(requests, Ordering::Relaxed);
    }

    /// How many those are in all.
    pub fn uncounted(&self) -> u64 {
        self.uncounted.load(Ordering::Relaxed)
    }

    pub(super) fn set_store(&self, error: Option<String>) {
        self.store_up.store(error.is_none(), Ordering::Relaxed);
        *self.store_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    pub(super) fn set_waiting(&self, waiting: usize) {
        self.waiting.store(waiting, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_that_were_counted_are_filled_again_and_few_are_kept() {
        let metrics = Metrics::default();
        let buffers: Vec<_> = (0..SPARE + 5).map(|_| metrics.buffer(7)).collect();
        let last = buffers[SPARE - 1].as_ptr();
        buffers.into_iter().for_each(|buffer| metrics.give_back(buffer));
        let again = metrics.buffer(7);
        assert_eq!((again.as_ptr(), again.len()), (last, 0));
        assert_eq!(metrics.spare.lock().unwrap().len(), SPARE - 1);
    }
}
