//! The end of a request: counted, kept where it is worth it, and logged.

use std::time::Instant;

use super::answer::{CLIENT_CLOSED_REQUEST, Cause};
use super::record::RequestRecord;
use super::{access_log, request_trace};

impl Drop for RequestRecord {
    fn drop(&mut self) {
        let now = Instant::now();
        let worker = self.worker.clone();
        worker.in_flight_end();
        if std::thread::panicking() {
            self.refuse(Cause::Internal);
        } else if !self.complete && !self.broken && self.cause.is_none() {
            // The connection dropped the request or its answer: nobody is there any more, or there is no more time.
            match worker.shared.is_cutting() {
                false => self.cause = Some(Cause::ClientGone),
                true if self.status == 0 => self.refuse(Cause::Draining),
                true => self.cut = true,
            }
        }
        let status = if self.status == 0 { CLIENT_CLOSED_REQUEST } else { self.status };
        let took = now.saturating_duration_since(self.started);
        match self.own {
            Some(own) => self.snapshot.own_paths.all[own].requests.add(worker.index, 1),
            None => worker.count(&self.snapshot, self.counted(status, took), self.is_refused()),
        }
        if self.snapshot.metrics
            && let Some(reason) = request_trace::sample_reason(self, took)
        {
            worker.record_sample(&self.snapshot.labels, reason, || request_trace::sample(self, status, took));
        }
        let logging = &self.snapshot.logging;
        if logging.access_log && (logging.probes || !self.is_probe()) {
            worker.log(|out| access_log::write(out, self, status, took));
        }
    }
}
