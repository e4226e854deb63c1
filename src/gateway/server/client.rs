//! A client's HTTP/1 connection: the socket, what has been read from it ahead, and where the request that is being served
//! ends.
//!
//! The connection's function and the body of its request share it; both run in the one task of the connection. Whether a
//! request is at its end is known here and nowhere else.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWrite as _;

use crate::gateway::chunked::Chunked;
use crate::gateway::deadline::Deadline;
use crate::gateway::incoming::Incoming;
use crate::gateway::message::Rest;
use crate::gateway::peer::Peer;
use crate::gateway::request_body::{BodyFailure, RequestFraming, Source};
use crate::gateway::socket::Socket;

/// Bytes of later requests that are read while one is being served; the client's end is seen behind no more than these.
const AHEAD: usize = 64 * 1024;
/// How long a client that has closed its sending side may wait for an answer. A plain close looks the same until
/// something is written, so a client that went away holds its upstream request no longer than this.
const HALF_CLOSED: Duration = Duration::from_secs(1);

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// See the module.
pub struct Client {
    pub peer: Rc<Peer>,
    inner: RefCell<Inner>,
}

struct Inner {
    /// `None` once somebody else has it.
    socket: Option<Socket>,
    ahead: Incoming,
    /// What is still to come of the request that is being served, or why nobody can tell.
    rest: Result<Rest, BodyFailure>,
    /// What of `100 Continue` is still to be written once the body is asked for.
    invitation: &'static [u8],
    /// Since the client's end has been seen: when that will mean that it is gone.
    end: Option<Deadline>,
    /// Something has been written since.
    written: bool,
}

impl Client {
    /// A connection that has just been accepted.
    pub fn new(socket: Socket, peer: Rc<Peer>) -> Rc<Self> {
        let inner = Inner {
            socket: Some(socket),
            ahead: Incoming::default(),
            rest: Ok(Rest::Nothing),
            invitation: b"",
            end: None,
            written: false,
        };
        Rc::new(Self { peer, inner: RefCell::new(inner) })
    }

    /// Lets `look` see what has been read ahead.
    pub fn ahead<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        look(self.inner.borrow().ahead.bytes())
    }

    /// Drops the first `n` bytes of it.
    pub fn consume(&self, n: usize) {
        self.inner.borrow_mut().ahead.consume(n);
    }

    /// Waits until a read may find something. Under TLS that cannot be told without reading.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.inner.borrow_mut();
        match &inner.socket {
            Some(Socket::Tcp(tcp)) => tcp.poll_read_ready(cx).map(drop),
            Some(Socket::Tls(_)) => inner.poll_fill(cx).map(drop),
            None => Poll::Ready(()),
        }
    }

    /// Reads once, behind what is there; `false` where the client sends nothing more.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_fill(&self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.inner.borrow_mut().poll_fill(cx)
    }

    /// Keeps no more room for what has been read than it takes.
    pub fn shrink(&self) {
        self.inner.borrow_mut().ahead.shrink();
    }

    /// A request begins whose head has been consumed; its body, where one is to come.
    pub fn begin(self: &Rc<Self>, framing: RequestFraming, expects: bool) -> Option<Box<dyn Source>> {
        let mut inner = self.inner.borrow_mut();
        inner.rest = Ok(match framing {
            RequestFraming::None => Rest::Nothing,
            RequestFraming::Length(length) => Rest::Length(length),
            RequestFraming::Chunked => Rest::Chunks(Chunked::default()),
        });
        if inner.end.is_some() {
            (inner.written, inner.end) = (false, Some(Deadline::at(Instant::now() + HALF_CLOSED)));
        }
        let has_body = framing.has_bytes();
        inner.invitation = if has_body && expects { CONTINUE } else { b"" };
        has_body.then(|| Box::new(Arriving(self.clone())) as Box<dyn Source>)
    }

    /// An answer is about to be given: nobody is invited any more to send a body, and what of an invitation is already out
    /// must be completed by what is returned.
    pub fn withdraw_invitation(&self) -> &'static [u8] {
        let invitation = std::mem::take(&mut self.inner.borrow_mut().invitation);
        if invitation.len() < CONTINUE.len() { invitation } else { b"" }
    }

    /// Reads what has arrived of a body that nobody wants: a small one is there already, and its connection can go on.
    pub async fn skim(&self) {
        std::future::poll_fn(|cx| {
            let mut inner = self.inner.borrow_mut();
            let mut left = AHEAD;
            while left > 0
                && let Poll::Ready(Some(Ok(bytes))) = inner.poll_body(cx)
            {
                left = left.saturating_sub(bytes.len());
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Whether all of the request that is being served has arrived and has been read.
    pub fn is_at_end(&self) -> bool {
        self.inner.borrow().is_at_end()
    }

    /// `Ready` when the client has gone. It may have closed its sending side only; it then has a second for each answer, or
    /// as long as it takes what is written.
    pub fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.inner.borrow_mut();
        // While part of a body is still to come the client's end cannot be seen: it is behind that body.
        while inner.end.is_none() && inner.is_at_end() && inner.ahead.bytes().len() < AHEAD {
            match inner.poll_fill(cx) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => {
                    inner.written = false;
                    inner.end = Some(Deadline::at(Instant::now() + HALF_CLOSED));
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        let Some(end) = &mut inner.end else { return Poll::Pending };
        ready!(end.poll_passed(cx));
        // A client that has closed its socket answers a write with a reset; one that only half-closed it does not.
        let reads = inner.written
            && inner.socket.as_ref().is_some_and(|socket| matches!(socket.tcp().take_error(), Ok(None)));
        if reads { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Whether nothing more will come of the client.
    pub fn is_over(&self) -> bool {
        let inner = self.inner.borrow();
        inner.end.is_some() && inner.ahead.bytes().is_empty()
    }

    /// Writes some of `parts`.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_write(&self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut inner = self.inner.borrow_mut();
        let Some(socket) = &mut inner.socket else { return Poll::Ready(Err(gone())) };
        let written = match parts {
            [one] => Pin::new(socket).poll_write(cx, one),
            _ => Pin::new(socket).poll_write_vectored(cx, parts),
        };
        inner.written |= written.is_ready();
        written
    }

    /// Under TLS, sees that what was written is on its way.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner.borrow_mut().socket {
            Some(Socket::Tcp(_)) | None => Poll::Ready(Ok(())),
            Some(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    /// Hands the connection over: the socket, and what has been read from it.
    pub fn take(&self) -> Option<(Socket, BytesMut)> {
        let mut inner = self.inner.borrow_mut();
        let ahead = inner.ahead.take_all();
        inner.socket.take().map(|socket| (socket, ahead))
    }
}

impl Inner {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let Some(socket) = &mut self.socket else { return Poll::Ready(Err(gone())) };
        self.ahead.poll_fill(socket, cx).map_ok(|n| n > 0)
    }

    fn is_at_end(&self) -> bool {
        self.rest.as_ref().is_ok_and(Rest::is_nothing)
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFailure>>> {
        loop {
            match &mut self.rest {
                Err(failure) => return Poll::Ready(Some(Err(*failure))),
                Ok(rest) if rest.is_nothing() => return Poll::Ready(None),
                Ok(rest) => match rest.next(self.ahead.bytes()) {
                    Err(_) => self.rest = Err(BodyFailure::Malformed),
                    Ok(piece) => {
                        self.ahead.consume(piece.coding);
                        if piece.data > 0 {
                            return Poll::Ready(Some(Ok(self.ahead.take(piece.data))));
                        }
                        if piece.coding == 0 {
                            ready!(self.poll_more(cx));
                        }
                    }
                },
            }
        }
    }

    /// Reads more of the body, whose client may wait to be asked for it.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let invited = self.poll_invite(cx);
        match invited.is_ok().then(|| self.poll_fill(cx)) {
            Some(Poll::Pending) => return Poll::Pending,
            Some(Poll::Ready(Ok(true))) => {}
            _ => self.rest = Err(BodyFailure::ClientGone),
        }
        Poll::Ready(())
    }

    /// Writes `100 Continue`, where it is waited for; what does not fit is written with the next try.
    fn poll_invite(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        // Who has begun to send needs no invitation.
        if !self.ahead.bytes().is_empty() && self.invitation.len() == CONTINUE.len() {
            self.invitation = b"";
        }
        while !self.invitation.is_empty() {
            let Some(socket) = &mut self.socket else { return Err(gone()) };
            match Pin::new(socket).poll_write(cx, self.invitation)? {
                Poll::Ready(n) => self.invitation = &self.invitation[n..],
                Poll::Pending => return Ok(()),
            }
        }
        if let Some(Socket::Tls(tls)) = &mut self.socket {
            let _ = Pin::new(tls).poll_flush(cx)?;
        }
        Ok(())
    }
}

fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

/// The body of the request that is being served.
struct Arriving(Rc<Client>);

impl Source for Arriving {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFailure>>> {
        self.0.inner.borrow_mut().poll_body(cx)
    }

    fn is_at_end(&self) -> bool {
        self.0.inner.borrow().is_at_end()
    }
}
