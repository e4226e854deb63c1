//! The request body on its way to the upstream: bounded, watched, and kept for a retry while it is small.
//!
//! The client's bytes are read once, here, whatever number of tries reads from them. Up to [`REPLAY_LIMIT`] they are kept,
//! so that a later try can start over; beyond that the body streams on and is simply not retried. Where the body ends is not
//! decided here: its [`Source`] knows.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use thiserror::Error;

use super::answer::Cause;
use super::deadline::Deadline;
use super::snapshot::Meter;

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
    /// The client has said another length.
    #[error("the request body is not as long as its content-length")]
    WrongLength,
}

/// Where a request's body comes from.
pub trait Source {
    /// The next bytes, never none of them; `None` at the end, and from then on.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFailure>>>;

    /// Whether all of it has been given.
    fn is_at_end(&self) -> bool;
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
            Self::WrongLength => Cause::BadRequest("The request body is not as long as its content-length."),
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
    source: RefCell<Option<Box<dyn Source>>>,
    framing: RequestFraming,
    limit: u64,
    idle: Duration,
    received: Cell<u64>,
    meter: Option<Meter>,
    kept: RefCell<Vec<Bytes>>,
    replayable: Cell<bool>,
    complete: Cell<bool>,
    failure: Cell<Option<BodyFailure>>,
    stall: RefCell<Option<Deadline>>,
}

impl RequestBody {
    /// A body not yet read. `limit` 0 = unlimited; `idle` is the longest pause.
    pub fn new(source: Option<Box<dyn Source>>, framing: RequestFraming, limit: u64, idle: Duration) -> Self {
        Self {
            complete: Cell::new(source.as_ref().is_none_or(|source| source.is_at_end())),
            source: RefCell::new(source),
            framing,
            limit,
            idle,
            received: Cell::new(0),
            meter: None,
            kept: RefCell::default(),
            replayable: Cell::new(true),
            failure: Cell::new(None),
            stall: RefCell::new(None),
        }
    }

    /// The same, counted as it comes.
    pub fn metered(self, meter: Option<Meter>) -> Self {
        Self { meter, ..self }
    }

    /// No body at all; one for all requests of a thread.
    pub fn none() -> Rc<Self> {
        thread_local! {
            static NONE: Rc<RequestBody> =
                Rc::new(RequestBody::new(None, RequestFraming::None, 0, Duration::ZERO));
        }
        NONE.with(Rc::clone)
    }

    /// One that is there already.
    pub fn whole(bytes: Bytes) -> Self {
        let framing = RequestFraming::Length(bytes.len() as u64);
        let source = Box::new(Whole(Some(bytes).filter(|bytes| !bytes.is_empty())));
        Self::new(Some(source), framing, 0, Duration::ZERO)
    }

    /// Looks at what has arrived of the body before anything is sent, so that one that is broken from the start is refused
    /// rather than begun; at all of it, where that is `whole` to be kept.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn look(&self, whole: bool) -> Result<(), BodyFailure> {
        std::future::poll_fn(|cx| {
            while whole || self.received.get() < REPLAY_LIMIT as u64 {
                match self.poll_client(cx) {
                    Poll::Ready(Some(Err(failure))) => return Poll::Ready(Err(failure)),
                    // The chunk that was too much to be kept for a retry still has to be sent once.
                    Poll::Ready(Some(Ok(bytes))) if !self.replayable.get() => {
                        self.kept.borrow_mut().push(bytes)
                    }
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Pending if whole => return Poll::Pending,
                    Poll::Ready(None) | Poll::Pending => break,
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Whether nothing more is kept of it than a declared length allows.
    pub fn is_small(&self) -> bool {
        matches!(self.framing, RequestFraming::Length(length) if length <= REPLAY_LIMIT as u64)
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
        let polled = match &mut *self.source.borrow_mut() {
            Some(source) => source.poll_next(cx),
            None => Poll::Ready(None),
        };
        match polled {
            Poll::Ready(Some(Ok(bytes))) => {
                *self.stall.borrow_mut() = None;
                let received = self.received.get() + bytes.len() as u64;
                self.received.set(received);
                self.meter.iter().for_each(|meter| meter.count(bytes.len() as u64));
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
                let at_end = self.source.borrow().as_ref().is_none_or(|source| source.is_at_end());
                self.complete.set(at_end);
                Poll::Ready(Some(Ok(bytes)))
            }
            Poll::Ready(None) => {
                *self.stall.borrow_mut() = None;
                self.complete.set(true);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(failure))) => Poll::Ready(Some(Err(self.fail(failure)))),
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
}

/// A body that is there already.
struct Whole(Option<Bytes>);

impl Source for Whole {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFailure>>> {
        Poll::Ready(self.0.take().map(Ok))
    }

    fn is_at_end(&self) -> bool {
        self.0.is_none()
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
