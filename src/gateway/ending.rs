//! The end of a request: counted, kept where it is worth it, and logged.

use std::time::Instant;

use aegis_actors::metrics_aggregator::{LimitCounts, Record, method_index};

use super::answer::{CLIENT_CLOSED_REQUEST, Cause};
use super::peer::Peer;
use super::record::RequestRecord;
use super::worker::Worker;
use super::{access_log, story};

impl Drop for RequestRecord {
    fn drop(&mut self) {
        let now = Instant::now();
        let worker = self.worker.clone();
        worker.in_flight_end();
        if std::thread::panicking() {
            self.refuse(Cause::Internal);
        } else if !self.complete && !self.broken && self.cause.is_none() {
            // The connection dropped the request or its answer: nobody is there any more.
            self.cause = Some(Cause::ClientGone);
        }
        let status = if self.status == 0 { CLIENT_CLOSED_REQUEST } else { self.status };
        let took = now.saturating_duration_since(self.started);
        match self.own {
            Some(own) => self.snapshot.own_paths.all[own].requests.add(worker.index, 1),
            None => worker.count(&self.snapshot, self.counted(status, took), self.is_refused()),
        }
        if self.snapshot.metrics
            && let Some(worth) = story::worth(self, took)
        {
            worker.tell(&self.snapshot.labels, worth, || story::sample(self, status, took));
        }
        let logging = &self.snapshot.logging;
        if logging.access_log && (logging.probes || !self.is_probe()) {
            worker.log(|out| access_log::write(out, self, status, took));
        }
    }
}

/// Counts and logs a request that never became one.
pub fn log_refused(peer: &Peer, cause: Cause, request_id: &str) {
    let Some(worker) = Worker::current() else { return };
    worker.in_flight_begin();
    worker.in_flight_end();
    let snapshot = worker.snapshot();
    let record = Record {
        ended_ms: worker.shared.metrics.now_ms() as u64,
        route: None,
        method: method_index(""),
        status: cause.status().as_u16(),
        reason: Some(cause.code()),
        duration_us: 0,
        upstream_us: None,
        overhead_us: None,
        stream_us: None,
        bytes_in: 0,
        bytes_out: 0,
        limits: LimitCounts::default(),
    };
    worker.count(&snapshot, record, true);
    if snapshot.logging.access_log {
        worker
            .log(|out| access_log::write_refused(out, snapshot.logging.format, peer.ip(), cause, request_id));
    }
}
