//! A try with a request body: which time limit applies in which phase of it.

use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::deadline::{Deadline, saturating_deadline};
use super::record::Decider;
use super::request_body::RequestBody;
use super::upstream::Exchange;

/// The time limits of a try.
#[derive(Clone, Copy)]
pub struct Times {
    pub started: Instant,
    /// When all tries must be over.
    pub deadline: Instant,
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
    times: Times,
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
            changed => changed.insert((phase, Deadline::at(due(phase, exchange, body, times)))),
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

/// Which limit has ended a try: that of the phase it was in, of two the one that came first.
pub fn ended_by(exchange: &Exchange, body: &RequestBody, times: Times) -> Decider {
    let stalled = body.failure().is_some();
    let sent = match body.framing().has_bytes() {
        true => exchange.uploaded.get().filter(|_| exchange.complete.get()),
        false => Some(times.started),
    };
    match sent {
        _ if stalled => Decider::Idle,
        None if body.is_stream() => Decider::Idle,
        None => Decider::Timeout,
        Some(sent) if body.is_stream() || saturating_deadline(sent, times.first_byte) <= times.deadline => {
            Decider::FirstByte
        }
        Some(_) => Decider::Timeout,
    }
}

/// When a phase that begins now has to be over.
fn due(phase: UploadPhase, exchange: &Exchange, body: &RequestBody, times: Times) -> Instant {
    let now = Instant::now();
    match phase {
        UploadPhase::Small => times.deadline,
        UploadPhase::Stream { .. } => saturating_deadline(now, times.idle),
        UploadPhase::Sent => {
            exchange.uploaded.set(Some(now));
            let answer_by = saturating_deadline(now, times.first_byte);
            if body.is_stream() { answer_by } else { answer_by.min(times.deadline) }
        }
    }
}
