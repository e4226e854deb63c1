//! What one try came to, in one place: the breaker, the metrics, the status page and the request's story read it here.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aegis_actors::circuit_breaker::{Outcome, ProbePermit};

use super::attempt::Failure;
use super::record::{RequestRecord, Try, TryOutcome};
use super::relayed::Blame;
use super::request_body::RequestBody;
use super::snapshot::{Backend, Target};
use super::upstream::{Body, Exchange, Head};
use super::worker::Worker;

/// A try whose end is known.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub target: &'a Target,
    /// Of the target's breaker, when it admitted the try.
    pub epoch: u64,
    /// It was a probe of a half-open breaker.
    pub is_probe: bool,
    /// The request has told of this target before.
    pub is_repeat: bool,
    /// The client had sent all of its body before.
    pub was_complete: bool,
    pub started: Instant,
    pub ended: Instant,
}

/// What it came to.
pub struct TryReport<'a> {
    call: Call<'a>,
    end: TryOutcome,
    /// What the breaker is told, where the end says anything about the target.
    outcome: Option<Outcome>,
    /// The breaker's settings call it slow.
    slow: bool,
    took: Duration,
    /// The part of `took` in which the client sent its body.
    uploading: Duration,
    /// That body was a stream.
    streamed: bool,
    connected: bool,
    reused: bool,
    /// What went wrong, for operators.
    why: Option<Box<str>>,
}

impl<'a> TryReport<'a> {
    /// The report of `call`; takes the words for operators out of a failure.
    pub fn new(
        call: Call<'a>,
        backend: &Backend,
        body: &RequestBody,
        exchange: &Exchange,
        sent: &mut Result<(Head, Body), Failure>,
    ) -> Self {
        let settings = &backend.settings.circuit_breaker;
        let (end, outcome, why) = match sent {
            Ok((head, _)) => {
                let status = head.status.as_u16();
                (TryOutcome::Status(status), Some(settings.judge(status)), None)
            }
            Err(failure) => (TryOutcome::Failed(failure.cause.code()), failure.outcome, failure.why.take()),
        };
        let took = call.ended.saturating_duration_since(call.started);
        // The time that the client takes for its body is not held against the upstream.
        let uploading = match (exchange.uploaded.get(), end) {
            _ if call.was_complete || !exchange.sent.get() => Duration::ZERO,
            (Some(uploaded), _) => uploaded.saturating_duration_since(call.started),
            (None, TryOutcome::Failed(_)) => took,
            // Answered before it was all there.
            (None, TryOutcome::Status(_)) => Duration::ZERO,
        };
        // Slow or not is counted from when the upstream had the whole request; it is never slow before.
        let asked = exchange.uploaded.get().or_else(|| (!body.framing().has_bytes()).then_some(call.started));
        let waited = asked.map_or(Duration::ZERO, |asked| call.ended.saturating_duration_since(asked));
        let slow = !settings.slow_call.is_zero() && waited >= settings.slow_call;
        let streamed = body.is_stream() && !uploading.is_zero();
        let (connected, reused) = (exchange.connected.get(), exchange.reused.get());
        Self { call, end, outcome, slow, took, uploading, streamed, connected, reused, why }
    }

    /// Until the response head, but for the time that the client took for its body.
    fn answering(&self) -> Duration {
        self.took.saturating_sub(self.uploading)
    }

    /// Tells the breaker; who is to be blamed if the answer breaks off later. Who has told of a target before adds only what
    /// [`Outcome::again`] leaves; a probe is asked by itself.
    pub fn tell_breaker(&self, worker: &Worker, probe: Option<ProbePermit>) -> Option<Blame> {
        let (target, epoch) = (self.call.target.shared.id, self.call.epoch);
        let first = !self.call.is_repeat || self.call.is_probe;
        let outcome = self.outcome.and_then(|outcome| if first { Some(outcome) } else { outcome.again() })?;
        worker.outcome(target, epoch, outcome, self.slow, self.call.is_probe);
        probe.into_iter().for_each(|probe| probe.end(outcome, self.slow));
        (outcome == Outcome::Answered).then_some(Blame { target, epoch })
    }

    /// Counts it for the metrics, and notes a failure for the status page.
    pub fn count(&self, worker: &Worker, backend: &Backend) {
        let (own, all, index) = (&self.call.target.counters, &backend.counters, worker.index);
        if self.connected {
            let kinds = match self.reused {
                true => [&own.connections_reused, &all.connections_reused],
                false => [&own.connections_new, &all.connections_new],
            };
            kinds.iter().for_each(|kind| kind.add(index, 1));
        }
        if self.outcome.is_some_and(Outcome::is_failure) {
            own.failures.add(index, 1);
        }
        if let TryOutcome::Status(status) = self.end {
            own.latency.record(index, self.answering().as_micros() as u64);
            all.statuses[usize::from(status / 100).clamp(1, 5) - 1].add(index, 1);
        }
        if let (Some(why), Some(_)) = (&self.why, self.outcome) {
            own.last_failure.store(Some(Arc::new((SystemTime::now(), why.clone()))));
        }
    }

    /// Adds it to the request's record; `target` by its position.
    pub fn record(self, record: &mut RequestRecord, target: usize) {
        record.waited += self.took;
        record.uploading += self.uploading;
        record.streamed |= self.streamed;
        if let TryOutcome::Status(_) = self.end {
            record.upstream = Some(self.answering());
            record.answered = Some(self.call.ended.saturating_duration_since(record.started));
        }
        let Self { took, end: outcome, reused, why, .. } = self;
        record.request_trace.tries.push(Try { target, took, outcome, reused, why });
    }
}
