//! The socket below awc: every byte of an upstream connection passes here.
//!
//! awc finds a connection, or has one opened, and keeps it for the next request. What goes over it is the transport's: it
//! writes the request as the exchange has it, reading while it writes, and reads the answer through [`Framing`]. awc itself
//! writes an empty request and is told of an empty answer; both are constants. A connection that is not clean is kept out
//! of the pool: awc asks an idle one whether it is alive by reading from it, and one that is not reusable answers with end of
//! stream.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use actix_rt::net::{ActixStream, Ready};
use aegis_actors::TargetState;
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use super::body::Body;
use super::connector::Terms;
use super::exchange::Exchange;
use super::framing::{Asked, Framing, Head, Violation};
use super::sending::Sending;
use crate::gateway::incoming::Incoming;
use crate::gateway::socket::Socket;

/// What awc is told of every answer.
const EMPTY: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// How old a pooled connection may grow (ten minutes): a load balancer behind the name may have moved its traffic.
const LIFETIME: Duration = Duration::from_secs(600);
/// An idle connection is given up this long before the upstream says that it closes it, so that no request crosses the close.
const MARGIN: Duration = Duration::from_secs(1);

/// One upstream connection.
pub struct Transport {
    pub(super) inner: RefCell<Inner>,
    /// It was one client's alone, and that client has gone: not to be used again.
    pub(super) ended: Cell<bool>,
}

/// Where the connection stands.
enum Stage {
    /// In the pool, or new.
    Idle,
    /// The answer's head is awaited.
    Head(Rc<Exchange>),
    /// The forwarder has its [`Body`].
    Body,
}

pub(super) struct Inner {
    /// `None` once a connection that is not reusable has served its last response.
    pub(super) socket: Option<Socket>,
    peer: SocketAddr,
    shared: Arc<TargetState>,
    stage: Stage,
    framing: Framing,
    sending: Sending,
    incoming: Incoming,
    /// Bytes of data at the front of `incoming`.
    data: usize,
    opened: Instant,
    used: bool,
    /// It belongs to one client's connection.
    pub(super) private: bool,
    /// Since when it is idle.
    rests: Instant,
    terms: Terms,
    /// How long it may be idle by the upstream's `Keep-Alive`, less [`MARGIN`] (half of it where that is less).
    keeps: Option<Duration>,
    /// Not to be used for another request.
    not_reusable: bool,
}

impl Transport {
    fn poll_ready(&self, cx: &mut Context<'_>, interest: Interest) -> Poll<io::Result<Ready>> {
        let inner = self.inner.borrow();
        let Some(socket) = &inner.socket else { return Poll::Ready(Err(gone())) };
        let ready = socket.tcp().ready(interest);
        std::pin::pin!(ready).poll(cx)
    }
}

impl Inner {
    /// Whether it is in the pool.
    pub fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Idle)
    }

    /// Whether it has been idle for longer than `poolIdleMs`, or so long that the upstream may be about to close it.
    pub fn is_due(&self, now: Instant) -> bool {
        let rested = now.saturating_duration_since(self.rests);
        !self.private && rested >= self.terms.idle || self.keeps.is_some_and(|keeps| rested >= keeps)
    }

    fn begin(&mut self, exchange: Rc<Exchange>) {
        exchange.reused.set(std::mem::replace(&mut self.used, true));
        self.incoming.clear();
        self.data = 0;
        self.framing = Framing::new(exchange.asked, self.terms.head);
        self.sending.begin(exchange.clone());
        self.stage = Stage::Head(exchange);
    }

    /// Reads until the final head is complete.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Head>> {
        let (Stage::Head(exchange), Some(socket)) = (&self.stage, &mut self.socket) else {
            return Poll::Ready(Err(gone()));
        };
        self.sending.drive(cx, socket)?;
        loop {
            let got = ready!(self.incoming.poll_fill(socket, cx))?;
            if got == 0 {
                return Poll::Ready(Err(violated(exchange, Violation::Truncated)));
            }
            exchange.answered.set(true);
            // Heads end in a line feed; without a new one there is nothing new to find.
            let bytes = self.incoming.bytes();
            if memchr::memchr(b'\n', &bytes[bytes.len() - got..]).is_none()
                && bytes.len() <= self.terms.head.bytes
            {
                continue;
            }
            let (used, head) = self.framing.head(bytes).map_err(|violation| violated(exchange, violation))?;
            self.incoming.consume(used);
            if let Some(head) = head {
                self.not_reusable |= !head.reusable;
                self.keeps = head.keeps.map(|keeps| keeps - MARGIN.min(keeps / 2));
                return Poll::Ready(Ok(head));
            }
        }
    }

    /// Whether [`Inner::data`] holds bytes of the body; `false` at its end.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Violation>> {
        let Some(socket) = &mut self.socket else {
            return Poll::Ready(if self.framing.is_done() { Ok(false) } else { Err(Violation::Truncated) });
        };
        // An answer may come before its request has been sent, and does not stop it.
        if self.sending.is_open() && self.sending.drive(cx, socket).is_err() {
            return Poll::Ready(Err(Violation::Truncated));
        }
        while self.data == 0 {
            if self.framing.is_done() {
                self.end_body();
                return Poll::Ready(Ok(false));
            }
            if self.incoming.bytes().is_empty() {
                match ready!(self.incoming.poll_fill(socket, cx)) {
                    Ok(0) => self.framing.end()?,
                    Ok(_) => {}
                    // Also of a body that the end of the connection delimits: this was none (RFC 9112 §8).
                    Err(_) => return Poll::Ready(Err(Violation::Truncated)),
                }
                continue;
            }
            let next = self.framing.next(self.incoming.bytes())?;
            self.data = next.data;
            self.incoming.consume(next.coding);
        }
        Poll::Ready(Ok(true))
    }

    /// Bytes of the body that are there.
    pub fn data(&mut self) -> &[u8] {
        &self.incoming.bytes()[..self.data]
    }

    /// Those that have been taken.
    pub fn consume(&mut self, n: usize) {
        self.data -= n;
        self.incoming.consume(n);
    }

    /// Whether the upstream has sent all of the body.
    pub fn has_arrived(&self) -> bool {
        self.framing.is_done()
    }

    /// Nobody reads on. The connection is closed where the body or the request is incomplete, or bytes follow the answer.
    pub fn end_body(&mut self) {
        if !matches!(self.stage, Stage::Body) {
            return;
        }
        self.rests = Instant::now();
        self.not_reusable |= !self.private && self.rests.saturating_duration_since(self.opened) >= LIFETIME;
        let clean = self.framing.is_done() && self.incoming.bytes().is_empty() && !self.sending.is_open();
        if !clean || self.not_reusable {
            self.socket = None;
        }
        self.incoming.clear();
        self.sending = Sending::default();
        self.stage = Stage::Idle;
    }

    /// Behind a 101.
    pub fn take_socket(&mut self) -> Option<(Socket, BytesMut)> {
        if self.sending.is_open() {
            return None;
        }
        Some((self.socket.take()?, self.incoming.take_all()))
    }

    /// awc reads from an idle connection to see whether it is alive: end of stream says that it is not.
    fn poll_idle(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let is_reusable = !self.not_reusable
            && self.is_idle()
            && !self.is_due(Instant::now())
            && self.shared.addresses.load().contains(&self.peer);
        match &mut self.socket {
            Some(socket) if is_reusable => Pin::new(socket).poll_read(cx, buf),
            _ => Poll::Ready(Ok(())),
        }
    }
}

fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

fn violated(exchange: &Exchange, violation: Violation) -> io::Error {
    exchange.violation.set(Some(violation));
    io::Error::new(io::ErrorKind::InvalidData, violation)
}

/// The handle that awc owns.
pub struct UpstreamStream(Rc<Transport>);

impl UpstreamStream {
    /// Wraps a connected socket of one target, held to `terms`.
    pub fn new(socket: Socket, peer: SocketAddr, shared: Arc<TargetState>, terms: Terms) -> Self {
        let now = Instant::now();
        Self(Rc::new(Transport {
            ended: Cell::new(false),
            inner: RefCell::new(Inner {
                socket: Some(socket),
                peer,
                shared,
                stage: Stage::Idle,
                framing: Framing::new(Asked::default(), terms.head),
                sending: Sending::default(),
                incoming: Incoming::default(),
                data: 0,
                opened: now,
                used: false,
                private: false,
                rests: now,
                terms,
                keeps: None,
                not_reusable: false,
            }),
        }))
    }

    /// The connection behind the handle.
    pub fn transport(&self) -> &Rc<Transport> {
        &self.0
    }
}

impl AsyncRead for UpstreamStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.inner.borrow_mut();
        if !matches!(inner.stage, Stage::Head(_)) {
            return if self.0.ended.get() { Poll::Ready(Ok(())) } else { inner.poll_idle(cx, buf) };
        }
        let head = ready!(inner.poll_head(cx));
        inner.sending.answered();
        let Stage::Head(exchange) = std::mem::replace(&mut inner.stage, Stage::Idle) else {
            return Poll::Ready(Err(gone()));
        };
        match head {
            Ok(head) => {
                inner.stage = Stage::Body;
                exchange.answer.replace(Some((head, Body::new(self.0.clone()))));
                buf.put_slice(EMPTY);
                Poll::Ready(Ok(()))
            }
            Err(error) => {
                inner.not_reusable = true;
                inner.socket = None;
                Poll::Ready(Err(error))
            }
        }
    }
}

impl AsyncWrite for UpstreamStream {
    /// awc writes nothing but the head of its empty request.
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut inner = self.0.inner.borrow_mut();
        let Some(exchange) = Exchange::current().filter(|_| buf.ends_with(b"\r\n\r\n")) else {
            return Poll::Ready(Err(io::Error::other("written to outside an exchange")));
        };
        inner.private |= exchange.key.connected(&self.0);
        inner.begin(exchange);
        let Inner { sending, socket: Some(socket), .. } = &mut *inner else {
            return Poll::Ready(Err(gone()));
        };
        if sending.is_bare() {
            let _ = sending.poll_out(cx, socket)?;
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What has not gone out goes out while the answer is awaited.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0.inner.borrow_mut().socket {
            Some(socket) => Pin::new(socket).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl ActixStream for UpstreamStream {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        self.0.poll_ready(cx, Interest::READABLE)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        self.0.poll_ready(cx, Interest::WRITABLE)
    }
}

impl fmt::Debug for UpstreamStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamStream").finish_non_exhaustive()
    }
}
