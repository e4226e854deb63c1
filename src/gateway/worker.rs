//! What one worker thread keeps to itself: pools, the log buffer, outcomes not yet reported, random numbers.
//!
//! Everything here is thread-local and written without a lock. What must leave the thread leaves in batches: outcomes
//! every 600 ms (a failure at once), what was counted five times a second, log lines ten times.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use actix_http::{ConnectionType, RequestHead};
use aegis_actors::TargetId;
use aegis_actors::circuit_breaker::Outcomes;
use aegis_actors::metrics_aggregator::{LimitCounts, Record, Sample, method_index};

use super::answer::Cause;
use super::counting::Counting;
use super::deadline;
use super::downstream::{ConnState, turns};
use super::mailbox::Mailbox;
use super::rate_limit::Asking;
use super::record::RequestRecord;
use super::shared::Shared;
use super::snapshot::{Backend, SnapshotRef, Target};
use super::story::Worth;
use super::upstream::{Dialer, Pool};
use crate::config::settings::LogFormat;
use crate::logging;

/// Request heads kept for the next requests, 7 KiB each; one for every request that is in flight at once.
const SPARE_HEADS: usize = 1024;
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
    heads: RefCell<Vec<Rc<RequestHead>>>,
    outcomes: RefCell<Outcomes>,
    breaker: Mailbox<Outcomes>,
    /// Towards the rate limiter actor.
    pub asking: Asking,
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
                deadline::start();
                turns::start();
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
            heads: RefCell::default(),
            outcomes: RefCell::new(Outcomes { worker: index, runs: Vec::new() }),
            breaker: Mailbox::default(),
            asking: Asking::default(),
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
            let dialer = Dialer::new(target.cells.clone(), target.tls.clone(), target.connect_timeout);
            Rc::new(Pool::new(dialer, target.connect_timeout))
        });
        pool.clone()
    }

    /// A request head to fill in, from those given back.
    pub fn take_head(&self) -> Rc<RequestHead> {
        self.heads.borrow_mut().pop().unwrap_or_default()
    }

    /// Gives a request head back. Its tables are the largest allocations of a request, so they are used again.
    pub fn give_head(&self, mut head: Rc<RequestHead>) {
        let mut heads = self.heads.borrow_mut();
        // A head's flags cannot be taken back, so one that offered an upgrade is not used again.
        if heads.len() < SPARE_HEADS
            && head.connection_type() == ConnectionType::KeepAlive
            && let Some(own) = Rc::get_mut(&mut head)
        {
            own.headers.clear();
            heads.push(head);
        }
    }

    /// Random numbers, not for secrets.
    pub fn random<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.random.borrow_mut())
    }

    /// Notes how a call to a target ended; a failure, and whatever a half-open breaker waits for, is told at once.
    pub fn outcome(&self, target: TargetId, epoch: u64, success: bool, slow: bool, urgent: bool) {
        self.outcomes.borrow_mut().add(target, epoch, success, slow);
        if urgent || !success {
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

    /// Keeps a request's story for the store, where there is room for it.
    pub fn tell(&self, worth: Worth, story: impl FnOnce() -> Sample) {
        self.counting.tell(worth, story);
    }

    /// Counts a finished request.
    pub fn count(&self, record: &RequestRecord, status: u16, took: Duration) {
        if record.snapshot.metrics {
            self.counting.note(self, &record.snapshot, record.counted(status, took));
        }
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.shared.statuses[class].add(self.index, 1);
        if record.cause.is_some() && !record.is_abandoned() {
            self.shared.refused.add(self.index, 1);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.flush_log();
        self.report();
        self.counting.report(&self.shared);
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

/// A new request id: UUIDv7 (RFC 9562 §5.7). Sortable by time; its random part comes from a fast generator, since an
/// id names a request and guards nothing.
pub fn new_request_id(now_ms: u64) -> [u8; 36] {
    let mut random = [0; 10];
    fastrand::fill(&mut random);
    let id = uuid::Builder::from_unix_timestamp_millis(now_ms, &random).into_uuid();
    let mut text = [0; 36];
    id.hyphenated().encode_lower(&mut text);
    text
}

/// [`new_request_id`] as text.
pub fn request_id() -> String {
    String::from_utf8_lossy(&new_request_id(unix_millis())).into_owned()
}

/// Logs a request that never reached a handler.
pub fn log_refused(connection: &ConnState, cause: Cause, request_id: &str) {
    let Some(worker) = WORKER.with_borrow(Clone::clone) else { return };
    worker.shared.refused.add(worker.index, 1);
    worker.in_flight_begin();
    worker.in_flight_end();
    let class = usize::from(cause.status().as_u16() / 100).clamp(1, 5) - 1;
    worker.shared.statuses[class].add(worker.index, 1);
    let snapshot = worker.snapshot();
    if snapshot.metrics {
        let record = Record {
            ended_ms: worker.shared.metrics.now_ms() as u64,
            route: None,
            method: method_index(""),
            status: cause.status().as_u16(),
            reason: Some(cause.code()),
            duration_us: 0,
            upstream_us: None,
            overhead_us: None,
            bytes_in: 0,
            bytes_out: 0,
            limits: LimitCounts::default(),
        };
        worker.counting.note(&worker, &snapshot, record);
    }
    if !snapshot.access_log {
        return;
    }
    let time = humantime::format_rfc3339_millis(SystemTime::now());
    let (status, code) = (cause.status().as_u16(), cause.code());
    let client = connection.peer_ip();
    worker.log(|out| {
        use std::fmt::Write as _;
        let _ = match snapshot.log_format {
            LogFormat::Json => writeln!(
                out,
                r#"{{"time":"{time}","type":"access","requestId":"{request_id}","clientIp":"{client}","status":{status},"reason":"{code}"}}"#
            ),
            LogFormat::Text => writeln!(out, "{time} {client} - - {status} reason={code} id={request_id}"),
        };
    });
}

/// Milliseconds since the Unix epoch.
pub fn unix_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// `Instant` arithmetic without panic on absurd configuration values.
pub fn after(from: Instant, duration: Duration) -> Instant {
    from.checked_add(duration).unwrap_or_else(|| from + Duration::from_secs(365 * 24 * 3600))
}
