//! The request body on its way to the upstream: bounded, watched, and kept for a retry while it is small.
//!
//! The client's payload is read once, here, whatever number of tries reads from it. Up to [`REPLAY_LIMIT`] the bytes
//! are kept, so that a later try can start over; beyond that the body streams on and is simply not retried.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_http::Payload;
use actix_http::error::PayloadError;
use bytes::Bytes;
use futures_core::Stream;
use thiserror::Error;

use super::answer::Cause;
use super::deadline::Deadline;
use super::downstream::ConnState;

/// Bytes of a body that are kept for a retry.
pub const REPLAY_LIMIT: usize = 64 * 1024;

/// Why a body did not arrive whole.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BodyFailure {
    /// The client went away.
    #[error("the client went away during its request body")]
    ClientGone,
    /// No byte for the idle timeout.
    #[error("the request body stalled")]
    Stalled,
    /// More bytes than the limit allows.
    #[error("the request body is too large")]
    TooLarge,
    /// The client's chunked coding was broken.
    #[error("the request body is malformed")]
    Malformed,
}

/// How the client frames its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFraming {
    /// No body.
    None,
    /// `Content-Length: N`, 0 included.
    Length(u64),
    /// Chunked, or an HTTP/2 stream without a length.
    Chunked,
}

impl BodyFailure {
    /// The answer to a request whose body failed like this.
    pub fn cause(self) -> Cause {
        match self {
            Self::ClientGone => Cause::ClientGone,
            Self::Stalled => Cause::BodyTimeout,
            Self::TooLarge => Cause::BodyTooLarge,
            Self::Malformed => Cause::BadRequest("The request body is not valid chunked coding."),
        }
    }
}

impl RequestFraming {
    /// Whether bytes follow the head.
    pub fn has_bytes(self) -> bool {
        !matches!(self, Self::None | Self::Length(0))
    }
}

/// One client body, shared by the tries that send it.
pub struct RequestBody {
    payload: RefCell<Payload>,
    framing: RequestFraming,
    limit: u64,
    idle: Duration,
    received: Cell<u64>,
    kept: RefCell<Vec<Bytes>>,
    replayable: Cell<bool>,
    complete: Cell<bool>,
    failure: Cell<Option<BodyFailure>>,
    stall: RefCell<Option<Deadline>>,
    /// Told when nothing more of the body is awaited on it; knows why it broke off.
    connection: Option<Rc<ConnState>>,
}

impl RequestBody {
    /// A body not yet read. `limit` 0 = unlimited; `idle` is the longest pause.
    pub fn new(
        payload: Payload,
        framing: RequestFraming,
        limit: u64,
        idle: Duration,
        connection: Option<Rc<ConnState>>,
    ) -> Self {
        let connection = connection.filter(|_| framing.has_bytes());
        let complete = framing == RequestFraming::Length(0) || matches!(payload, Payload::None);
        Self {
            payload: RefCell::new(payload),
            framing,
            limit,
            idle,
            received: Cell::new(0),
            kept: RefCell::default(),
            replayable: Cell::new(true),
            complete: Cell::new(complete),
            failure: Cell::new(None),
            stall: RefCell::new(None),
            connection,
        }
    }

    /// No body at all; one for all requests of a thread.
    pub fn none() -> Rc<Self> {
        thread_local! {
            static NONE: Rc<RequestBody> =
                Rc::new(RequestBody::new(Payload::None, RequestFraming::None, 0, Duration::ZERO, None));
        }
        NONE.with(Rc::clone)
    }

    /// Finds out whether an HTTP/2 request has a body at all: its end is known at once when it has none.
    pub async fn resolve_framing(mut self) -> Self {
        let first = std::future::poll_fn(|cx| Poll::Ready(self.poll_client(cx))).await;
        self.framing = match first {
            Poll::Ready(None) => RequestFraming::None,
            _ => RequestFraming::Chunked,
        };
        self
    }

    /// Looks at what has arrived of the body before anything is sent: actix hands a request over before it decodes the
    /// bytes behind its head, and a body that is broken from the start is refused rather than begun.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn look(&self) -> Result<(), BodyFailure> {
        tokio::task::yield_now().await;
        std::future::poll_fn(|cx| {
            while self.received.get() < REPLAY_LIMIT as u64 {
                match self.poll_client(cx) {
                    Poll::Ready(Some(Err(failure))) => return Poll::Ready(Err(failure)),
                    // The chunk that was too much to be kept for a retry still has to be sent once.
                    Poll::Ready(Some(Ok(bytes))) if !self.replayable.get() => {
                        self.kept.borrow_mut().push(bytes)
                    }
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(None) | Poll::Pending => break,
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Larger than what is kept: a stream, which has as long as it makes progress.
    pub fn is_stream(&self) -> bool {
        !self.replayable.get() || matches!(self.framing, RequestFraming::Length(n) if n > REPLAY_LIMIT as u64)
    }

    /// How the client frames it.
    pub fn framing(&self) -> RequestFraming {
        self.framing
    }

    /// Whether a further try could send it again from the start.
    pub fn can_replay(&self) -> bool {
        self.replayable.get() && self.failure.get().is_none()
    }

    /// Whether the client has sent all of it.
    pub fn is_complete(&self) -> bool {
        self.complete.get()
    }

    /// Why it will never be complete.
    pub fn failure(&self) -> Option<BodyFailure> {
        self.failure.get()
    }

    /// Bytes received from the client.
    pub fn received(&self) -> u64 {
        self.received.get()
    }

    /// A reader from the start, for one try; `None` where there is nothing to say about a body at all.
    pub fn reader(self: &Rc<Self>) -> Option<BodyReader> {
        (self.framing != RequestFraming::None).then(|| BodyReader { body: self.clone(), next: 0 })
    }

    fn fail(&self, failure: BodyFailure) -> BodyFailure {
        self.failure.set(Some(failure));
        failure
    }

    fn poll_client(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFailure>>> {
        if let Some(failure) = self.failure.get() {
            return Poll::Ready(Some(Err(failure)));
        }
        let mut polled = Pin::new(&mut *self.payload.borrow_mut()).poll_next(cx);
        // An empty DATA frame of HTTP/2; as a chunk it would end the body.
        while matches!(&polled, Poll::Ready(Some(Ok(bytes))) if bytes.is_empty()) {
            polled = Pin::new(&mut *self.payload.borrow_mut()).poll_next(cx);
        }
        match polled {
            Poll::Ready(Some(Ok(bytes))) => {
                *self.stall.borrow_mut() = None;
                let received = self.received.get() + bytes.len() as u64;
                self.received.set(received);
                if self.limit != 0 && received > self.limit {
                    return Poll::Ready(Some(Err(self.fail(BodyFailure::TooLarge))));
                }
                if self.replayable.get() {
                    if received <= REPLAY_LIMIT as u64 {
                        self.kept.borrow_mut().push(bytes.clone());
                    } else {
                        // What no try has sent yet stays until the first one has.
                        self.replayable.set(false);
                    }
                }
                if self.framing == RequestFraming::Length(received) {
                    // The decoder says so too, but only when asked again.
                    self.mark_complete();
                }
                Poll::Ready(Some(Ok(bytes)))
            }
            Poll::Ready(None) => {
                *self.stall.borrow_mut() = None;
                self.mark_complete();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(self.fail(match error {
                PayloadError::EncodingCorrupted => BodyFailure::Malformed,
                _ if self.connection.as_ref().is_some_and(|connection| connection.has_malformed_body()) => {
                    BodyFailure::Malformed
                }
                PayloadError::Overflow => BodyFailure::TooLarge,
                _ => BodyFailure::ClientGone,
            })))),
            Poll::Pending => {
                let mut stall = self.stall.borrow_mut();
                let deadline = stall.get_or_insert_with(|| Deadline::at(Instant::now() + self.idle));
                match deadline.poll_passed(cx) {
                    Poll::Ready(()) => Poll::Ready(Some(Err(self.fail(BodyFailure::Stalled)))),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }

    fn mark_complete(&self) {
        if !self.complete.replace(true)
            && let Some(connection) = &self.connection
        {
            connection.body_closed();
        }
    }
}

/// One try's way through the body, from the start.
pub struct BodyReader {
    body: Rc<RequestBody>,
    /// Which of the kept chunks comes next.
    next: usize,
}

impl BodyReader {
    /// How the body is framed, for the head in front of it.
    pub fn framing(&self) -> RequestFraming {
        self.body.framing
    }

    /// The next bytes; `None` at the end.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFailure>>> {
        if let Some(bytes) = self.body.kept.borrow_mut().get_mut(self.next) {
            self.next += 1;
            // Without a further try to come, what has been sent need not be kept.
            let again = self.body.replayable.get();
            return Poll::Ready(Some(Ok(if again { bytes.clone() } else { std::mem::take(bytes) })));
        }
        if self.body.complete.get() {
            return Poll::Ready(None);
        }
        let polled = self.body.poll_client(cx);
        if let Poll::Ready(Some(Ok(_))) = &polled {
            self.next = self.body.kept.borrow().len();
        }
        polled
    }
}
