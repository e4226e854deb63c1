//! A request on its way to the upstream: its head, then its body as the client sends it and the upstream takes it.

use std::io::{self, Write as _};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::AsyncWrite as _;

use super::exchange::Exchange;
use crate::gateway::outbox::Outbox;
use crate::gateway::request_body::{BodyReader, RequestFraming};
use crate::gateway::socket::Socket;

/// Bytes that wait for the upstream before the client is asked for more.
const COLLECTED: usize = 16 * 1024;

/// What of a request has not gone out.
#[derive(Default)]
pub struct Sending {
    /// Told of what goes out, until the answer is there.
    exchange: Option<Rc<Exchange>>,
    /// The head and the coding around chunks, then a chunk.
    out: Outbox,
    chunk: Bytes,
    body: Option<BodyReader>,
    /// Bytes that the body has still to give, where that has been said.
    left: Option<u64>,
    /// All of the request has been taken, and TLS has not got rid of it.
    flushing: bool,
    /// A write has failed: nothing more is sent, and what the upstream answers decides.
    write_closed: bool,
}

impl Sending {
    /// Begins a request.
    pub fn begin(&mut self, exchange: Rc<Exchange>) {
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        let lines = out.tail();
        let (line, fields) = exchange.lines.parts();
        for part in [line, b"Host: ", exchange.host.as_bytes(), b"\r\n", fields] {
            lines.extend_from_slice(part);
        }
        let body = exchange.body.borrow_mut().take();
        let mut left = None;
        match body.as_ref().map(BodyReader::framing) {
            None | Some(RequestFraming::None) => {}
            Some(RequestFraming::Chunked) => lines.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            Some(RequestFraming::Length(length)) => {
                left = Some(length);
                let _ = write!(lines, "Content-Length: {length}\r\n");
            }
        }
        lines.extend_from_slice(b"\r\n");
        *self = Self { exchange: Some(exchange), out, body, left, ..Self::default() };
    }

    /// The answer is there: nobody asks any more how far the request has come.
    pub fn answered(&mut self) {
        self.exchange = None;
    }

    /// Whether it has no body, so that its head need not wait for one.
    pub fn is_bare(&self) -> bool {
        self.body.is_none()
    }

    /// Whether part of the request has not gone out, or never will.
    pub fn is_open(&self) -> bool {
        self.write_closed || self.body.is_some() || self.has_bytes() || self.flushing
    }

    fn has_bytes(&self) -> bool {
        self.out.len() > 0 || !self.chunk.is_empty()
    }

    /// Writes out what is ready of the request. `Ready` when there is nothing left of that.
    pub fn poll_out(&mut self, cx: &mut Context<'_>, socket: &mut Socket) -> Poll<io::Result<()>> {
        while !self.write_closed && self.has_bytes() {
            let waited = self.out.len();
            let taken = self.out.poll_write(cx, &self.chunk, |cx, parts| match parts {
                [one] => Pin::new(&mut *socket).poll_write(cx, one),
                _ => Pin::new(&mut *socket).poll_write_vectored(cx, parts),
            });
            self.note_blocked(taken.is_pending());
            match ready!(taken) {
                Ok(n) => {
                    self.chunk.advance(n);
                    if let Some(exchange) = &self.exchange {
                        let written = waited - self.out.len() + n;
                        exchange.sent.set(true);
                        exchange.written.set(exchange.written.get() + written as u64);
                    }
                }
                // A broken pipe does not end the exchange if part of the request went out: the upstream may have answered
                // before it closed, and that answer is worth more than the error.
                Err(error) if self.exchange.as_ref().is_some_and(|exchange| !exchange.sent.get()) => {
                    return Poll::Ready(Err(error));
                }
                Err(_) => self.write_closed = true,
            }
        }
        if self.write_closed {
            return Poll::Ready(Ok(()));
        }
        let flushed = Pin::new(socket).poll_flush(cx);
        // Under TLS what was taken may wait for a peer that has stopped reading.
        self.flushing = flushed.is_pending();
        self.note_blocked(self.flushing);
        flushed
    }

    fn note_blocked(&self, blocked: bool) {
        self.exchange.iter().for_each(|exchange| exchange.blocked.set(blocked));
    }

    /// Sends as much of the request as the client has given and the upstream takes.
    ///
    /// # Errors
    /// The client's failure, or nothing of the request can go out; everything else shows in what the upstream answers.
    pub fn drive(&mut self, cx: &mut Context<'_>, socket: &mut Socket) -> io::Result<()> {
        while !self.write_closed {
            // What of the body is there goes out with the head.
            let room = self.chunk.is_empty() && self.out.len() < COLLECTED;
            let waits = room && self.poll_body(cx)?.is_pending();
            if self.poll_out(cx, socket)?.is_pending() || waits {
                return Ok(());
            }
            if self.body.is_none() && !self.has_bytes() {
                break;
            }
        }
        self.exchange.iter().for_each(|exchange| exchange.complete.set(true));
        Ok(())
    }

    /// Takes the next piece of the body.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
        let Some(body) = &mut self.body else { return Ok(Poll::Ready(())) };
        let chunked = body.framing() == RequestFraming::Chunked;
        let Poll::Ready(next) = body.poll_next(cx) else { return Ok(Poll::Pending) };
        match next {
            Some(Ok(bytes)) if chunked => {
                let out = self.out.tail();
                let _ = write!(out, "{:x}\r\n", bytes.len());
                out.extend_from_slice(&bytes);
                out.extend_from_slice(b"\r\n");
            }
            Some(Ok(bytes)) => {
                self.left = self.left.map(|left| left.saturating_sub(bytes.len() as u64));
                self.chunk = bytes;
            }
            Some(Err(failure)) => return Err(io::Error::other(failure)),
            // Shorter than its content-length: the upstream would take the next request for the rest of this one.
            None if self.left.is_some_and(|left| left > 0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            None => {
                self.body = None;
                if chunked {
                    self.out.tail().extend_from_slice(b"0\r\n\r\n");
                }
            }
        }
        Ok(Poll::Ready(()))
    }
}
