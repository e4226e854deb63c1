//! What a client connection and the requests on it tell each other.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use actix_http::header::HeaderValue;
use bytes::Bytes;
use tokio::sync::Notify;

use super::pump::Pump;
use super::stream::LINGER;
use crate::gateway::answer::Cause;

/// Room for the lines of most answers, in bytes: an id, `Via` and the fields of a limit.
const LINES: usize = 320;

/// Requests that may be open at once on one HTTP/2 connection. A proxy in front may well have hundreds.
const STREAMS: u32 = 1000;

/// Time limits of a listener's connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Whole request head, from its first byte (from the accept for the first one).
    pub head: Duration,
    /// Between two requests.
    pub keep_alive: Duration,
}

impl Limits {
    /// Whoever looks this often misses no limit.
    pub fn shortest(&self) -> Duration {
        self.head.min(self.keep_alive)
    }
}

/// Where a connection stands between its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing of a next request has arrived, since then.
    Idle(Instant),
    /// Part of a head has arrived, the first byte then.
    Head(Instant),
    /// At least one request is being served.
    Busy,
}

/// What actix has encoded and not yet written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoded {
    /// Nothing: the head that it encodes next stands at the start of its next write.
    Nothing,
    /// At most some of an answer that is under way; the rest is still to come.
    Part,
    /// At most the end of an answer.
    End,
}

/// Client bytes on their way into a tunnel.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub bytes: VecDeque<Bytes>,
    pub size: usize,
    pub ended: bool,
    /// Waits for bytes.
    pub reader: Option<Waker>,
    /// Waits for room.
    pub writer: Option<Waker>,
}

impl Taken {
    pub fn put(&mut self, bytes: Bytes) {
        self.size += bytes.len();
        self.bytes.push_back(bytes);
        self.reader.take().into_iter().for_each(Waker::wake);
    }
}

/// The reading end of a connection that a tunnel has taken over.
pub struct TakenOver(Rc<ConnState>);

impl TakenOver {
    /// The next bytes from the client; `None` when it has closed.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut taken = self.0.taken.borrow_mut();
        let Some(taken) = taken.as_mut() else { return Poll::Ready(None) };
        if let Some(bytes) = taken.bytes.pop_front() {
            taken.size -= bytes.len();
            taken.writer.take().into_iter().for_each(Waker::wake);
            return Poll::Ready(Some(bytes));
        }
        if taken.ended {
            return Poll::Ready(None);
        }
        taken.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// One of the open connections.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Shared by a connection's stream and the requests that it carries; one thread.
pub struct ConnState {
    /// Socket peer.
    pub peer: SocketAddr,
    /// TLS towards the client.
    pub secure: bool,
    /// HTTP/2: many requests at once, so the phases say nothing.
    pub http2: bool,
    /// Time limits.
    pub limits: Limits,
    /// Counts the connection among the open ones until it ends.
    _counted: Option<Counted>,
    /// `peer.ip()` as a header value, made once.
    peer_value: OnceCell<HeaderValue>,
    pub(super) phase: Cell<Phase>,
    requests: Cell<u32>,
    begun: Cell<u32>,
    /// Requests that were refused for being too many, since there were few.
    refusals: Cell<u32>,
    pub(super) gone: Cell<bool>,
    /// Tells who wants to know that an HTTP/2 connection is gone.
    pub(super) going: Option<Arc<Notify>>,
    /// Something of the next request has arrived behind the one that is being served.
    pub(super) pipelined: Cell<bool>,
    /// Whatever arrives is for actix: what follows the head is not to be told apart.
    pub(super) raw: Cell<bool>,
    /// The request before is answered, so that actix may be given the next one.
    pub(super) next: Cell<bool>,
    /// The request's body is no chunked body.
    pub(super) malformed: Cell<bool>,
    /// Waits to read on.
    pub(super) reader: RefCell<Option<Waker>>,
    /// Requests whose body has not arrived completely.
    open_bodies: Cell<u32>,
    /// How long a write may make no progress.
    pub(super) write_limit: Cell<Duration>,
    /// End the connection with a reset: something on it broke off.
    pub(super) abort: Cell<bool>,
    /// Since when the answers that are under way are the last ones.
    closing: Cell<Option<Instant>>,
    /// For the head that actix encodes next.
    lines: Cell<Vec<u8>>,
    encoded: Cell<Encoded>,
    /// Writes a body past actix; see `pump`.
    pub(super) pump: RefCell<Option<Rc<dyn Pump>>>,
    /// Waits for its turn to begin a request, and may begin one; see `turns`.
    pub(super) queued: Cell<bool>,
    pub(super) admitted: Cell<bool>,
    pub(super) ended: Cell<bool>,
    pub(super) taken: RefCell<Option<Taken>>,
    /// The gateway closes this connection: read what still comes for a moment, so that the answer survives.
    pub(super) linger: Cell<bool>,
}

impl ConnState {
    /// State of a connection accepted just now.
    pub fn new(peer: SocketAddr, secure: bool, http2: bool, limits: Limits) -> Self {
        Self {
            peer,
            secure,
            http2,
            limits,
            _counted: None,
            peer_value: OnceCell::new(),
            phase: Cell::new(Phase::Idle(Instant::now())),
            requests: Cell::new(0),
            refusals: Cell::new(0),
            begun: Cell::new(0),
            gone: Cell::new(false),
            going: http2.then(Arc::default),
            pipelined: Cell::new(false),
            raw: Cell::new(http2),
            next: Cell::new(true),
            malformed: Cell::new(false),
            reader: RefCell::new(None),
            open_bodies: Cell::new(0),
            write_limit: Cell::new(Duration::from_secs(60)),
            abort: Cell::new(false),
            closing: Cell::new(None),
            lines: Cell::default(),
            encoded: Cell::new(Encoded::Nothing),
            pump: RefCell::default(),
            queued: Cell::new(false),
            admitted: Cell::new(false),
            ended: Cell::new(false),
            taken: RefCell::new(None),
            linger: Cell::new(false),
        }
    }

    /// Counts it among the open connections.
    pub fn counted(self, open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self { _counted: Some(Counted(open.clone())), ..self }
    }

    /// `peer.ip()`, an IPv4-mapped address as IPv4.
    pub fn peer_ip(&self) -> IpAddr {
        self.peer.ip().to_canonical()
    }

    /// The peer's address as a header value; cloning it copies nothing.
    pub fn peer_value(&self) -> &HeaderValue {
        self.peer_value.get_or_init(|| {
            HeaderValue::from_maybe_shared(Bytes::from(self.peer_ip().to_string()))
                .unwrap_or_else(|_| HeaderValue::from_static("unknown"))
        })
    }

    /// A request begins, with or without a body to come. Behind a `raw` one no other follows.
    pub fn begin(&self, has_body: bool, raw: bool) {
        self.requests.set(self.requests.get() + 1);
        self.begun.set(self.begun.get().wrapping_add(1));
        self.phase.set(Phase::Busy);
        if has_body {
            self.body_opened();
        }
        if raw && !self.raw.replace(true) {
            self.read_on();
        }
    }

    /// Whether another request may be served. HTTP/2 has no other bound on streams here, and no end that tells the client to
    /// open no more.
    ///
    /// # Errors
    /// [`Cause::Overloaded`] and [`Cause::Draining`].
    pub fn admit(&self) -> Result<(), Cause> {
        if !self.http2 {
            return Ok(());
        }
        if self.requests.get() > STREAMS {
            self.refusals.set(self.refusals.get() + 1);
            if self.refusals.get() > STREAMS {
                // Whoever goes on after so many takes no answers.
                self.close_now();
            }
            return Err(Cause::Overloaded);
        }
        if self.closing.get().is_some_and(|since| since.elapsed() > LINGER) {
            return Err(Cause::Draining);
        }
        Ok(())
    }

    /// Whoever reads may do so now.
    fn read_on(&self) {
        self.reader.take().into_iter().for_each(Waker::wake);
    }

    /// Its response is complete, or given up, since `now`.
    pub fn end(&self, now: Instant) {
        let left = self.requests.get().saturating_sub(1);
        self.requests.set(left);
        if left < STREAMS / 2 {
            self.refusals.set(0);
        }
        if self.encoded.get() == Encoded::Part {
            self.encoded.set(Encoded::End);
        }
        if left == 0 {
            // Part of the next head may be here already; its time runs from now.
            self.phase.set(if self.pipelined.get() { Phase::Head(now) } else { Phase::Idle(now) });
            self.next.set(true);
            if self.pipelined.get() {
                self.read_on();
            }
        }
    }

    /// Whether the request's body broke off because what came next is no chunked body.
    pub fn has_malformed_body(&self) -> bool {
        self.malformed.get()
    }

    fn body_opened(&self) {
        self.open_bodies.set(self.open_bodies.get() + 1);
    }

    /// It has arrived, or nobody wants it any more.
    pub fn body_closed(&self) {
        self.open_bodies.set(self.open_bodies.get().saturating_sub(1));
    }

    /// Whether some request's body has not arrived completely.
    pub fn awaits_body(&self) -> bool {
        self.open_bodies.get() > 0
    }

    /// HTTP/1, and nothing of a next request has been read.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.phase.get(), Phase::Idle(_)) && !self.http2
    }

    /// The connection's stream has been dropped.
    pub(super) fn set_gone(&self) {
        self.gone.set(true);
        self.going.iter().for_each(|going| going.notify_waiters());
    }

    /// From now on, or no longer, `pump` follows every head that goes out.
    pub fn set_pump(&self, pump: Option<Rc<dyn Pump>>) {
        *self.pump.borrow_mut() = pump;
    }

    /// Whether lines can be added to the head of the answer that is being made. Where not, its fields go to actix.
    pub fn takes_lines(&self) -> bool {
        self.encoded.get() == Encoded::Nothing && !self.http2
    }

    /// Adds lines to the head of the answer that is being made, which must [take](ConnState::takes_lines) them and go out:
    /// `write` puts them, each with its line end, behind those that are there.
    pub fn add_lines(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut lines = self.lines.take();
        if lines.is_empty() {
            lines.reserve(LINES);
        }
        write(&mut lines);
        self.lines.set(lines);
    }

    /// The lines for the head that actix writes now; empty where there are none.
    pub(super) fn take_lines(&self) -> Vec<u8> {
        self.lines.take()
    }

    /// Whether nothing of a handler's answer is encoded and unwritten, nor to come.
    pub(super) fn has_written_all(&self) -> bool {
        self.encoded.get() == Encoded::Nothing
    }

    /// actix is about to encode an answer, or an invitation to send a body.
    pub fn answers(&self) {
        self.encoded.set(Encoded::Part);
    }

    /// actix has written all that it had encoded. While an answer is under way more of it may be encoded before the next
    /// write, and the next answer's head behind that.
    pub(super) fn all_written(&self) {
        if self.encoded.get() == Encoded::End {
            self.encoded.set(Encoded::Nothing);
        }
    }

    /// actix has written the head of an answer whose body goes past it, and encodes nothing more of it.
    pub(super) fn head_written(&self) {
        self.encoded.set(Encoded::Nothing);
    }

    /// A write that makes no progress for this long ends the connection.
    pub fn set_write_limit(&self, limit: Duration) {
        self.write_limit.set(limit);
    }

    /// The answer under way is the last on this connection: nothing more is waited for than what was announced.
    pub fn close_soon(&self) {
        self.closing.set(self.closing.get().or_else(|| Some(Instant::now())));
        self.linger.set(true);
    }

    /// Requests that have ever begun.
    pub(super) fn begun(&self) -> u32 {
        self.begun.get()
    }

    /// Since when that holds.
    pub(super) fn closes_since(&self) -> Option<Instant> {
        self.closing.get()
    }

    /// The connection has served its purpose: its next read ends it.
    pub fn close_now(&self) {
        self.ended.set(true);
        self.linger.set(true);
    }

    /// From now on everything the client sends belongs to a tunnel, not to actix.
    pub fn take_over(self: &Rc<Self>) -> TakenOver {
        *self.taken.borrow_mut() = Some(Taken::default());
        self.read_on();
        TakenOver(self.clone())
    }

    /// The response broke off: the client must see a reset, never a clean end.
    pub fn abort(&self) {
        self.abort.set(true);
    }
}
