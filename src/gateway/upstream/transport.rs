//! The socket below awc: every byte of an upstream connection passes here, through [`Framing`].
//!
//! On the way out it finishes the request's head (awc adds a `date` and knows no body) and sends the body by itself,
//! reading while it writes: awc would write a body to its end before it looked for an answer. On the way in it feeds
//! awc exactly one well-framed response per request, turns an end of stream inside a message into an error, and keeps
//! a connection that is not clean out of the pool: awc asks an idle connection whether it is alive by reading from it,
//! and an unfit one answers with end of stream.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use actix_rt::net::{ActixStream, Ready};
use aegis_actors::TargetCells;
use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use super::exchange::Exchange;
use super::framing::{Framing, Violation};
use super::incoming::Incoming;
use super::socket::Socket;
use crate::gateway::request_body::{BodyReader, RequestFraming};

/// awc reads eight KiB at a time; of a body that has more than this to come, more is taken from the socket at once.
const LARGE: u64 = 16 * 1024;

/// One upstream connection.
pub struct Transport {
    pub(super) inner: RefCell<Inner>,
}

pub(super) struct Inner {
    /// `None` once an unfit connection has served its last response.
    pub(super) socket: Option<Socket>,
    peer: SocketAddr,
    cells: Arc<TargetCells>,
    /// The request in progress; `None` while idle.
    pub(super) active: Option<(Rc<Exchange>, Framing)>,
    /// Request bytes that the socket has not taken yet: the head and the coding around chunks, then a chunk.
    out: Vec<u8>,
    out_from: usize,
    chunk: Bytes,
    upload: Option<BodyReader>,
    /// The response's head as it arrives, then what awc has not taken yet.
    pub(super) incoming: Incoming,
    pub(super) head_ready: bool,
    /// Where awc is given the head alone: how much of it awc has not taken yet.
    pub(super) head_left: Option<usize>,
    /// The body that awc was not told of.
    pub(super) detached: Option<Framing>,
    /// Why no head will come any more.
    failed: Option<io::ErrorKind>,
    pub(super) requests: u64,
    /// What it was when nobody's use was last looked for, and how often in a row it was the same.
    pub(super) seen: (u64, u32),
    /// The last read of a body of unknown length left no room.
    full_reads: bool,
    /// Not to be used for another request.
    pub(super) unfit: bool,
    /// All of the request has been taken, and TLS has not got rid of it.
    flushing: bool,
    /// The upstream takes no more of the request; what it said before decides.
    deaf: bool,
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
    fn awaits_head(&self) -> bool {
        !self.head_ready && self.active.as_ref().is_some_and(|(_, framing)| framing.awaits_head())
    }

    /// Begins a request with its head as awc wrote it.
    fn begin(&mut self, exchange: Rc<Exchange>, head: &[u8]) {
        exchange.reused.set(self.requests > 0);
        self.requests += 1;
        self.out.clear();
        self.out_from = 0;
        self.incoming.keep(0..0);
        self.head_ready = false;
        self.head_left = None;
        self.failed = None;
        self.flushing = false;
        let end = head.len() - 2; // the blank line
        // awc adds its own only where there is none, and the client's goes as one of the gateway's lines.
        self.out.extend_from_slice(&head[..added_date(head).unwrap_or(end)]);
        self.out.extend_from_slice(&exchange.lines);
        self.upload = exchange.body.borrow_mut().take();
        match self.upload.as_ref().map(BodyReader::framing) {
            None | Some(RequestFraming::None) => {}
            Some(RequestFraming::Chunked) => self.out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            Some(RequestFraming::Length(length)) => {
                let _ = write!(self.out, "content-length: {length}\r\n");
            }
        }
        self.out.extend_from_slice(b"\r\n");
        let framing = Framing::new(exchange.asked);
        self.active = Some((exchange, framing));
    }

    /// Writes out what is ready of the request. `Ready` when there is nothing left of that.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.deaf {
            let Some(socket) = &mut self.socket else { return Poll::Ready(Err(gone())) };
            let head = &self.out[self.out_from..];
            let ready = if head.is_empty() { &self.chunk[..] } else { head };
            if ready.is_empty() {
                let flushed = socket.poll_flush(cx);
                // Under TLS what was taken may wait for a peer that has stopped reading.
                self.flushing = flushed.is_pending();
                if let Some((exchange, _)) = &self.active {
                    exchange.blocked.set(self.flushing);
                }
                return flushed;
            }
            let taken = socket.poll_write(cx, ready);
            if let Some((exchange, _)) = &self.active {
                exchange.blocked.set(taken.is_pending());
            }
            match ready!(taken) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(n) => {
                    if head.is_empty() {
                        self.chunk.advance(n)
                    } else {
                        self.out_from += n
                    }
                    if let Some((exchange, _)) = &self.active {
                        exchange.sent.set(true);
                        exchange.written.set(exchange.written.get() + n as u64);
                    }
                }
                Err(error) => self.write_error(error)?,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends as much of the request as the client has given and the upstream takes. `Err` is the client's failure;
    /// everything else shows in what the upstream answers.
    fn drive_upload(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        loop {
            if self.poll_out(cx)?.is_pending() {
                return Ok(());
            }
            if self.deaf {
                self.upload = None;
            }
            let Some(upload) = &mut self.upload else { break };
            let chunked = upload.framing() == RequestFraming::Chunked;
            let Poll::Ready(next) = upload.poll_next(cx) else { return Ok(()) };
            self.out.clear();
            self.out_from = 0;
            match next {
                Some(Ok(bytes)) if chunked => {
                    let _ = write!(self.out, "{:x}\r\n", bytes.len());
                    self.out.extend_from_slice(&bytes);
                    self.out.extend_from_slice(b"\r\n");
                }
                Some(Ok(bytes)) => self.chunk = bytes,
                Some(Err(failure)) => {
                    self.unfit = true;
                    return Err(io::Error::other(failure));
                }
                None => {
                    self.upload = None;
                    if chunked {
                        self.out.extend_from_slice(b"0\r\n\r\n");
                    }
                }
            }
        }
        if let Some((exchange, _)) = &self.active {
            exchange.complete.set(true);
        }
        Ok(())
    }

    /// Whether part of the request has not gone out.
    fn is_uploading(&self) -> bool {
        self.upload.is_some() || self.out_from < self.out.len() || !self.chunk.is_empty() || self.flushing
    }

    /// A broken pipe does not end the exchange if part of the request went out: the upstream may have answered
    /// before it closed, and that answer is worth more than the error.
    fn write_error(&mut self, error: io::Error) -> io::Result<()> {
        self.unfit = true;
        if self.active.as_ref().is_some_and(|(exchange, _)| exchange.sent.get()) {
            self.deaf = true;
            return Ok(());
        }
        Err(error)
    }

    /// Reads until the final head is complete, then leaves it in `incoming` for awc.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(kind) = self.failed {
            return Poll::Ready(Err(kind.into()));
        }
        let outcome = ready!(self.read_head(cx));
        if let Err(error) = &outcome {
            self.unfit = true;
            self.failed = Some(error.kind());
        }
        Poll::Ready(outcome)
    }

    fn read_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_uploading = self.deaf || self.is_uploading();
        loop {
            let (Some((exchange, framing)), Some(socket)) = (&mut self.active, &mut self.socket) else {
                return Poll::Ready(Err(gone()));
            };
            let got = ready!(self.incoming.poll_fill(socket, cx))?;
            if got == 0 {
                return Poll::Ready(Err(truncated(exchange)));
            }
            exchange.answered.set(true);
            // Heads end in a line feed; without a new one there is nothing new to find.
            let bytes = self.incoming.bytes();
            let old = bytes.len() - got;
            if memchr::memchr(b'\n', &bytes[old..]).is_none() && bytes.len() < 64 * 1024 {
                continue;
            }
            if is_uploading {
                framing.keep_attached();
            }
            let found = match framing.head(bytes) {
                Ok(found) => found,
                Err(violation) => return Poll::Ready(Err(violated(exchange, violation))),
            };
            let Some(head) = found else { continue };
            exchange.content_length.set(head.content_length);
            let body_from = head.skip + head.len;
            let used = match framing.body(&bytes[body_from..]) {
                Ok(used) => used,
                Err(violation) => return Poll::Ready(Err(violated(exchange, violation))),
            };
            self.unfit |= !head.reusable || body_from + used < bytes.len();
            self.head_left = head.detached.then_some(head.len);
            self.incoming.keep(head.skip..body_from + used);
            self.head_ready = true;
            return Poll::Ready(Ok(()));
        }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (Some((exchange, framing)), Some(socket)) = (&mut self.active, &mut self.socket) else {
            return Poll::Ready(Err(gone()));
        };
        if framing.left().map_or(self.full_reads, |left| left > LARGE) {
            return self.read_ahead(cx, buf);
        }
        let room = buf.remaining();
        let old = buf.filled().len();
        if let Err(error) = ready!(socket.poll_read(cx, buf)) {
            self.unfit = true;
            return Poll::Ready(Err(error));
        }
        let got = buf.filled().len() - old;
        self.full_reads = got == room;
        if got == 0 {
            self.unfit = true;
            return Poll::Ready(framing.end().map_err(|_| truncated(exchange)));
        }
        match framing.body(&buf.filled()[old..]) {
            Ok(used) => {
                self.unfit |= used < got;
                buf.set_filled(old + used);
                self.finish_if_done();
                Poll::Ready(Ok(()))
            }
            Err(violation) => {
                self.unfit = true;
                Poll::Ready(Err(violated(exchange, violation)))
            }
        }
    }

    /// Reads part of a large body, to be handed over from here.
    fn read_ahead(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (Some((exchange, framing)), Some(socket)) = (&mut self.active, &mut self.socket) else {
            return Poll::Ready(Err(gone()));
        };
        let got = match ready!(self.incoming.poll_fill(socket, cx)) {
            Ok(got) => got,
            Err(error) => {
                self.unfit = true;
                return Poll::Ready(Err(error));
            }
        };
        if got == 0 {
            self.unfit = true;
            return Poll::Ready(framing.end().map_err(|_| truncated(exchange)));
        }
        match framing.body(self.incoming.bytes()) {
            Ok(used) => {
                self.unfit |= used < got;
                self.incoming.keep(0..used);
                self.incoming.deliver(buf, usize::MAX);
                self.finish_if_done();
                Poll::Ready(Ok(()))
            }
            Err(violation) => {
                self.unfit = true;
                self.incoming.keep(0..0);
                Poll::Ready(Err(violated(exchange, violation)))
            }
        }
    }

    fn finish_if_done(&mut self) {
        if !self.incoming.is_empty() {
            return;
        }
        if self.active.as_ref().is_some_and(|(_, framing)| framing.is_done()) {
            // An upload that was never finished leaves the connection in the middle of a request.
            self.unfit |= self.deaf || self.is_uploading();
            self.upload = None;
            self.active = None;
            self.head_ready = false;
            self.full_reads = false;
            if self.unfit {
                self.socket = None;
            }
        }
    }

    /// The pool's question, asked by a read while no request is active: end of stream keeps it out of use.
    fn poll_idle(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Some(socket)
                if !self.unfit
                    && self.detached.is_none()
                    && self.cells.addresses.load().contains(&self.peer) =>
            {
                socket.poll_read(cx, buf)
            }
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

fn truncated(exchange: &Exchange) -> io::Error {
    exchange.violation.set(Some(Violation::Truncated));
    io::Error::new(io::ErrorKind::UnexpectedEof, Violation::Truncated)
}

/// Where the `date` field begins that awc's encoder puts last in every head it writes.
fn added_date(head: &[u8]) -> Option<usize> {
    const LINE: usize = "date: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n".len();
    let from = head.len().checked_sub(LINE)?;
    head[from - 2..].starts_with(b"\r\ndate: ").then_some(from)
}

/// The handle that awc owns.
pub struct UpstreamStream(Rc<Transport>);

impl UpstreamStream {
    /// Wraps a connected socket of one target.
    pub fn new(socket: Socket, peer: SocketAddr, cells: Arc<TargetCells>) -> Self {
        Self(Rc::new(Transport {
            inner: RefCell::new(Inner {
                socket: Some(socket),
                peer,
                cells,
                active: None,
                out: Vec::new(),
                out_from: 0,
                chunk: Bytes::new(),
                upload: None,
                incoming: Incoming::default(),
                head_ready: false,
                head_left: None,
                detached: None,
                failed: None,
                requests: 0,
                seen: (u64::MAX, 0),
                full_reads: false,
                unfit: false,
                flushing: false,
                deaf: false,
            }),
        }))
    }

    /// What the handle is one of.
    pub fn transport(&self) -> &Rc<Transport> {
        &self.0
    }
}

impl AsyncRead for UpstreamStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.inner.borrow_mut();
        if inner.active.is_none() {
            return inner.poll_idle(cx, buf);
        }
        if inner.is_uploading() {
            inner.drive_upload(cx)?;
        }
        if inner.awaits_head() {
            ready!(inner.poll_head(cx))?;
        }
        if let Some(left) = inner.head_left {
            let delivered = inner.incoming.deliver(buf, left);
            inner.head_left = Some(left - delivered);
            if delivered == left {
                inner.detach(&self.0);
            }
            return Poll::Ready(Ok(()));
        }
        if inner.head_ready && inner.incoming.deliver(buf, usize::MAX) > 0 {
            inner.finish_if_done();
            return Poll::Ready(Ok(()));
        }
        inner.poll_body(cx, buf)
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut inner = self.0.inner.borrow_mut();
        if inner.active.is_none() {
            let Some(exchange) = Exchange::current() else {
                return Poll::Ready(Err(io::Error::other("written to outside an exchange")));
            };
            if !buf.ends_with(b"\r\n\r\n") {
                return Poll::Ready(Err(io::Error::other("a request begins with its whole head")));
            }
            inner.begin(exchange, buf);
            let _ = inner.poll_out(cx)?;
            return Poll::Ready(Ok(buf.len()));
        }
        // A tunnel's bytes.
        ready!(inner.poll_out(cx))?;
        match &mut inner.socket {
            Some(socket) => socket.poll_write(cx, buf),
            None => Poll::Ready(Err(gone())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.inner.borrow_mut();
        inner.poll_out(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0.inner.borrow_mut().socket {
            Some(socket) => socket.poll_shutdown(cx),
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

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}
