//! A try with a request body: which time limit applies in which phase of it.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::deadline::{Deadline, after};
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

pin_project_lite::pin_project! {
    /// Sends a request with a body. `None`: the limit of the phase it was in has passed.
    pub struct Upload<'a, F> {
        #[pin]
        sending: F,
        exchange: &'a Rc<Exchange>,
        body: &'a Rc<RequestBody>,
        limits: UploadLimits,
        phase: Option<(UploadPhase, Deadline)>,
    }
}

impl<'a, F> Upload<'a, F> {
    /// Watches `sending`, which sends `body` and waits for the answer.
    pub fn new(
        sending: F,
        exchange: &'a Rc<Exchange>,
        body: &'a Rc<RequestBody>,
        limits: UploadLimits,
    ) -> Self {
        Self { sending, exchange, body, limits, phase: None }
    }
}

impl<F: Future> Future for Upload<'_, F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(sent) = this.sending.poll(cx) {
            return Poll::Ready(Some(sent));
        }
        let stream = this.body.is_stream();
        let phase = match (this.exchange.complete.get(), stream) {
            (true, _) => UploadPhase::Sent,
            (false, true) => UploadPhase::Stream { written: this.exchange.written.get() },
            (false, false) => UploadPhase::Small,
        };
        if !matches!(this.phase, Some((current, _)) if *current == phase) {
            if phase == UploadPhase::Sent {
                this.exchange.uploaded.set(Some(Instant::now()));
            }
            let answer_by = after(Instant::now(), this.limits.first_byte);
            let at = match phase {
                UploadPhase::Small => this.limits.overall,
                UploadPhase::Sent if stream => answer_by,
                UploadPhase::Sent => answer_by.min(this.limits.overall),
                UploadPhase::Stream { .. } => after(Instant::now(), this.limits.idle),
            };
            *this.phase = Some((phase, Deadline::at(at)));
        }
        match this.phase {
            Some((UploadPhase::Small | UploadPhase::Sent, deadline)) => {
                deadline.poll_passed(cx).map(|()| None)
            }
            Some((UploadPhase::Stream { .. }, deadline)) => {
                // Every byte taken moves the deadline; while the client is the slow one, the body's own limit rules.
                if !this.exchange.blocked.get() {
                    *this.phase = None;
                    return Poll::Pending;
                }
                deadline.poll_passed(cx).map(|()| None)
            }
            None => Poll::Pending,
        }
    }
}
