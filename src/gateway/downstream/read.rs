//! What actix-http is given to read: one request at a time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};

use super::inbound::Inbound;
use super::state::Phase;
use super::stream::{ClientStream, HALF_CLOSED};

/// Bytes of later requests that are read while one is being served; the client's end is seen behind no more than these.
const AHEAD_LIMIT: usize = 64 * 1024;
/// Client bytes that wait for a tunnel's upstream, and how many are read at once.
const TAKEN_LIMIT: usize = 64 * 1024;
const TAKEN_READ: usize = 16 * 1024;

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // A body that is none ends here for actix, which leaves the answer to the handler.
        if this.state.ended.get() || this.state.malformed.get() {
            return Poll::Ready(Ok(()));
        }
        if this.state.taken.borrow().is_some() {
            return this.poll_taken(cx);
        }
        // Behind the last answer there may be the rest of its request, but no other request.
        if this.state.next.get() && this.state.closes_since().is_none() {
            this.state.next.set(false);
            this.inbound = Inbound::default();
        }
        if this.inbound.is_done() && !this.state.raw.get() {
            return this.poll_ahead(cx, buf);
        }
        if !this.ahead.is_empty() {
            return Poll::Ready(this.give_ahead(buf));
        }
        let before = buf.filled().len();
        let read = if this.half_closed.is_some() { Poll::Pending } else { this.socket().poll_read(cx, buf) };
        match read {
            Poll::Ready(Ok(())) if buf.filled().len() > before => {
                // Nothing of it, where a body goes on as none: actix takes that for the end.
                let own = before + this.accept(&buf.filled()[before..])?;
                if own < buf.filled().len() {
                    this.keep(&buf.filled()[own..], cx);
                    buf.set_filled(own);
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Ok(())) => this.end_of_stream(cx),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending if this.half_closed.is_some() && this.state.phase.get() != Phase::Busy => {
                Poll::Ready(Ok(()))
            }
            Poll::Pending => this.poll_alarm(cx).map(Err),
        }
    }
}

impl ClientStream {
    /// Takes in what has arrived and answers how many bytes of it are for actix now.
    fn accept(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.seen_bytes = true;
        if let Phase::Idle(_) = self.state.phase.get() {
            self.state.phase.set(Phase::Head(Instant::now()));
        }
        if self.state.raw.get() {
            return Ok(bytes.len());
        }
        let own = self.inbound.accept(bytes).map_err(|_| self.refuse_line_ends())?;
        self.state.malformed.set(self.inbound.is_malformed());
        Ok(own)
    }

    /// Keeps what belongs to later requests; the connection's task runs again when they may begin.
    fn keep(&mut self, bytes: &[u8], cx: &Context<'_>) {
        self.ahead.extend_from_slice(bytes);
        self.note_ahead();
        *self.state.reader.borrow_mut() = Some(cx.waker().clone());
    }

    fn note_ahead(&self) {
        // Line ends that some clients add to a body begin no request (RFC 9112 §2.2).
        self.state.pipelined.set(self.ahead.iter().any(|byte| !matches!(byte, b'\r' | b'\n')));
    }

    /// Gives actix what had been kept for now.
    fn give_ahead(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<()> {
        let mut ahead = std::mem::take(&mut self.ahead);
        let own = self.accept(&ahead[..ahead.len().min(buf.remaining())])?;
        buf.put_slice(&ahead[..own]);
        ahead.advance(own);
        // An empty one is given back to the allocator.
        self.ahead = if ahead.is_empty() { BytesMut::new() } else { ahead };
        self.note_ahead();
        Ok(())
    }

    /// Reads while a request that has arrived is being served: to see the client's end, and what it sends ahead.
    fn poll_ahead(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        while self.half_closed.is_none() && self.ahead.len() < AHEAD_LIMIT {
            match self.socket().poll_read(cx, buf) {
                Poll::Ready(Ok(())) if buf.filled().len() > before => {
                    self.keep(&buf.filled()[before..], cx);
                    buf.set_filled(before);
                }
                Poll::Ready(Ok(())) => return self.end_of_stream(cx),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => break,
            }
        }
        if !self.ahead.is_empty() {
            *self.state.reader.borrow_mut() = Some(cx.waker().clone());
        }
        self.poll_alarm(cx).map(Err)
    }

    /// Reads for the tunnel that has taken this connection over; actix sees nothing of it, not even the end: the
    /// tunnel ends the connection.
    fn poll_taken(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = self.state.clone();
        let mut taken = state.taken.borrow_mut();
        let Some(taken) = taken.as_mut() else { return Poll::Pending };
        if !self.ahead.is_empty() {
            taken.put(self.ahead.split().freeze());
        }
        while !taken.ended {
            if taken.size >= TAKEN_LIMIT {
                taken.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let mut space = BytesMut::zeroed(TAKEN_READ);
            let mut buf = ReadBuf::new(&mut space);
            match self.socket().poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    let n = buf.filled().len();
                    space.truncate(n);
                    taken.put(space.freeze());
                }
                Poll::Ready(Ok(())) => taken.ended = true,
                Poll::Ready(Err(error)) => {
                    taken.ended = true;
                    taken.reader.take().into_iter().for_each(Waker::wake);
                    return Poll::Ready(Err(error));
                }
                Poll::Pending => break,
            }
            taken.reader.take().into_iter().for_each(Waker::wake);
        }
        Poll::Pending
    }

    /// The client has closed its side. While an answer is being made, the end is held back for a moment.
    fn end_of_stream(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A head that has just arrived is a request about to begin.
        let idle = matches!(self.state.phase.get(), Phase::Idle(_));
        let arrived = self.inbound.is_done() || !self.state.awaits_body();
        let waits = !idle && arrived && !self.state.http2;
        if !waits {
            return Poll::Ready(Ok(()));
        }
        self.half_closed = Some(Instant::now());
        self.alarm.as_mut().reset((Instant::now() + HALF_CLOSED).into());
        self.alarm_set = false;
        self.poll_alarm(cx).map(Err)
    }
}
