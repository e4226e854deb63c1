//! What one worker thread keeps to itself: pools, the log buffer, outcomes not yet reported, random numbers.
//!
//! Everything here is thread-local and written without a lock. What must leave the thread leaves in batches: outcomes
//! every 600 ms (a failure at once), what was counted five times a second, log lines ten times.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aegis_actors::TargetId;
use aegis_actors::circuit_breaker::{Outcome, Outcomes};
use aegis_actors::metrics_aggregator::{Labels, Record, Sample};

use super::actor_handle::ActorHandle;
use super::counting::{Counting, SampleReason};
use super::rate_limit::Asking;
use super::shared::Shared;
use super::snapshot::{Backend, Snapshot, SnapshotRef, Target};
use super::upstream::{Dialer, Pool};
use crate::auth::TokenCache;
use crate::logging;

/// Log bytes that leave the thread at once rather than at the next beat.
const LOG_BATCH: usize = 32 * 1024;
/// How often log lines leave the thread.
const BEAT: Duration = Duration::from_millis(100);
/// Beats between two reports of what was counted.
const COUNT_BEATS: u32 = 2;
/// Beats between two reports of outcomes without a failure.
const REPORT_BEATS: u32 = 6;

thread_local! {
    static WORKER: RefCell<Option<Rc<Worker>>> = const { RefCell::new(None) };
}

/// One worker thread of the gateway listener.
pub struct Worker {
    /// 0, 1, 2 …
    pub index: usize,
    /// What all workers share.
    pub shared: Arc<Shared>,
    snapshot: RefCell<SnapshotRef>,
    outcomes: RefCell<Outcomes>,
    breaker: ActorHandle<Outcomes>,
    /// Towards the rate limiter actor.
    pub asking: Asking,
    /// Tokens that were verified here.
    pub tokens: RefCell<TokenCache>,
    /// Towards the metrics aggregator.
    counting: Counting,
    log: RefCell<String>,
    random: RefCell<fastrand::Rng>,
    beats: Cell<u32>,
}

impl Worker {
    /// The worker of this thread, made on first use.
    pub fn here(shared: &Arc<Shared>) -> Rc<Self> {
        WORKER.with_borrow_mut(|slot| {
            slot.get_or_insert_with(|| {
                let worker = Rc::new(Self::new(shared.clone()));
                actix_rt::spawn(beat(Rc::downgrade(&worker)));
                worker
            })
            .clone()
        })
    }

    fn new(shared: Arc<Shared>) -> Self {
        let index = shared.next_worker();
        Self {
            index,
            snapshot: RefCell::new(SnapshotRef::new(shared.snapshot.load_full(), None)),
            shared,
            outcomes: RefCell::new(Outcomes { worker: index, runs: Vec::new() }),
            breaker: ActorHandle::default(),
            asking: Asking::default(),
            tokens: RefCell::new(TokenCache::new(0)),
            counting: Counting::default(),
            log: RefCell::default(),
            random: RefCell::new(fastrand::Rng::new()),
            beats: Cell::new(0),
        }
    }

    /// The current snapshot. The first look after a reload lets go of the pools of targets that are gone.
    pub fn snapshot(&self) -> SnapshotRef {
        let current = self.shared.snapshot.load();
        let known = self.snapshot.borrow().is(&current);
        if !known {
            let next = SnapshotRef::new(current.clone(), Some(&self.snapshot.borrow()));
            *self.snapshot.borrow_mut() = next;
        }
        self.snapshot.borrow().clone()
    }

    /// This worker's connections to a target of `backend`.
    pub fn pool(
        &self,
        snapshot: &SnapshotRef,
        backend: &Backend,
        target: &Target,
        position: usize,
    ) -> Rc<Pool> {
        let pool = snapshot.local(backend).pools[position].get_or_init(|| {
            Rc::new(Pool::new(Dialer::new(target.shared.clone(), target.tls.clone(), target.terms)))
        });
        pool.clone()
    }

    /// Random numbers, not for secrets.
    pub fn random<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.random.borrow_mut())
    }

    /// Notes how a call to a target ended; a failure, and whatever a half-open breaker waits for, is told at once.
    pub fn outcome(&self, target: TargetId, epoch: u64, outcome: Outcome, slow: bool, urgent: bool) {
        self.outcomes.borrow_mut().add(target, epoch, outcome, slow);
        if urgent || outcome.is_failure() {
            self.report();
        }
    }

    /// Sends the outcomes collected so far; what cannot be sent now is kept and merged into the next batch.
    fn report(&self) {
        if self.outcomes.borrow().runs.is_empty() {
            return;
        }
        let empty = Outcomes { worker: self.index, runs: Vec::new() };
        let batch = self.outcomes.replace(empty);
        if let Err(batch) = self.breaker.send(&self.shared.outcomes, batch) {
            self.outcomes.replace(batch);
        }
    }

    /// Appends one line to the log buffer.
    pub fn log(&self, write: impl FnOnce(&mut String)) {
        let mut log = self.log.borrow_mut();
        write(&mut log);
        if log.len() >= LOG_BATCH {
            logging::access(&log);
            log.clear();
        }
    }

    fn flush_log(&self) {
        let mut log = self.log.borrow_mut();
        if !log.is_empty() {
            logging::access(&log);
            log.clear();
        }
    }

    /// A request begins.
    pub fn in_flight_begin(&self) {
        self.shared.started.add(self.index, 1);
    }

    /// It is over.
    pub fn in_flight_end(&self) {
        self.shared.ended.add(self.index, 1);
    }

    /// Keeps a request with its trace for the store, where there is room for it.
    pub fn record_sample(&self, labels: &Arc<Labels>, reason: SampleReason, sample: impl FnOnce() -> Sample) {
        self.counting.record_sample(labels, reason, sample);
    }

    /// Counts a finished request; `refused`: the gateway has answered it itself.
    pub fn count(&self, snapshot: &Snapshot, record: Record, refused: bool) {
        let class = usize::from(record.status / 100).clamp(1, 5) - 1;
        self.shared.statuses[class].add(self.index, 1);
        if refused {
            self.shared.refused.add(self.index, 1);
        }
        if snapshot.metrics {
            self.counting.note(&self.shared, &snapshot.labels, record);
        }
    }

    /// The worker of this thread, where there is one.
    pub fn current() -> Option<Rc<Self>> {
        WORKER.with_borrow(Clone::clone)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.flush_log();
        self.report();
        self.counting.report(&self.shared);
        self.shared.ended_workers.fetch_add(1, Ordering::Release);
    }
}

async fn beat(worker: std::rc::Weak<Worker>) {
    loop {
        tokio::time::sleep(BEAT).await;
        let Some(worker) = worker.upgrade() else { return };
        worker.flush_log();
        // A worker without requests lets go of what a reload has removed, too.
        let _ = worker.snapshot();
        worker.beats.set(worker.beats.get() + 1);
        let wanted = worker.shared.report_wanted.load(Ordering::Relaxed) || worker.shared.is_draining();
        let due = worker.beats.get().is_multiple_of(COUNT_BEATS);
        if due {
            worker.counting.allow();
        }
        if wanted || due {
            worker.counting.report(&worker.shared);
        }
        if worker.beats.get() >= REPORT_BEATS {
            worker.beats.set(0);
            worker.report();
            worker.report_sightings();
        }
    }
}

/// Lets this thread's worker go and writes out what it holds.
pub fn flush_here() {
    if let Some(worker) = WORKER.with_borrow(Clone::clone) {
        worker.flush_log();
        worker.report();
        worker.counting.report(&worker.shared);
    }
}
