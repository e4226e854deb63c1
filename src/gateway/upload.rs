//! A try with a request body: which time limit applies in which phase of it.

use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::deadline::{Deadline, after};
use super::record::Decider;
use super::request_body::RequestBody;
use super::upstream::Exchange;

/// Time limits of a try with a body.
pub struct UploadLimits {
    /// Of the whole request.
    pub overall: Instant,
    /// From the end of the body to the response head.
    pub first_byte: Duration,
    /// How long the upstream may take nothing of a stream.
    pub idle: Duration,
}

/// Where an upload stands; each phase has a limit of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum UploadPhase {
    /// A small body is on its way: the request's own limit rules.
    Small,
    /// A stream has as long as it makes progress. The client's part of that is watched by the body itself; here it is
    /// how many bytes the upstream had taken.
    Stream { written: u64 },
    /// The answer is awaited.
    Sent,
}

/// Watches `sending`, which sends `body` and waits for the answer. `None`: the limit of the phase it was in has passed.
pub async fn upload<F: Future>(
    sending: F,
    exchange: &Exchange,
    body: &RequestBody,
    limits: UploadLimits,
) -> Option<F::Output> {
    let mut sending = pin!(sending);
    let mut current: Option<(UploadPhase, Deadline)> = None;
    std::future::poll_fn(|cx| {
        if let Poll::Ready(sent) = sending.as_mut().poll(cx) {
            return Poll::Ready(Some(sent));
        }
        let phase = match (exchange.complete.get(), body.is_stream()) {
            (true, _) => UploadPhase::Sent,
            (false, true) => UploadPhase::Stream { written: exchange.written.get() },
            (false, false) => UploadPhase::Small,
        };
        let (_, deadline) = match &mut current {
            Some(current) if current.0 == phase => current,
            changed => changed.insert((phase, Deadline::at(due(phase, exchange, body, &limits)))),
        };
        if matches!(phase, UploadPhase::Stream { .. }) && !exchange.blocked.get() {
            // Every byte taken moves the deadline; while the client is the slow one, the body's own limit rules.
            current = None;
            return Poll::Pending;
        }
        deadline.poll_passed(cx).map(|()| None)
    })
    .await
}

/// Which limit has ended a try that began at `started`: that of the phase it was in, of two the one that came first.
pub fn ended_by(started: Instant, exchange: &Exchange, body: &RequestBody, limits: &UploadLimits) -> Decider {
    let stalled = body.failure().is_some();
    let sent = match body.framing().has_bytes() {
        true => exchange.uploaded.get().filter(|_| exchange.complete.get()),
        false => Some(started),
    };
    match sent {
        _ if stalled => Decider::Idle,
        None if body.is_stream() => Decider::Idle,
        None => Decider::Timeout,
        Some(sent) if body.is_stream() || after(sent, limits.first_byte) <= limits.overall => {
            Decider::FirstByte
        }
        Some(_) => Decider::Timeout,
    }
}

/// When a phase that begins now has to be over.
fn due(phase: UploadPhase, exchange: &Exchange, body: &RequestBody, limits: &UploadLimits) -> Instant {
    let now = Instant::now();
    match phase {
        UploadPhase::Small => limits.overall,
        UploadPhase::Stream { .. } => after(now, limits.idle),
        UploadPhase::Sent => {
            exchange.uploaded.set(Some(now));
            let answer_by = after(now, limits.first_byte);
            if body.is_stream() { answer_by } else { answer_by.min(limits.overall) }
        }
    }
}
