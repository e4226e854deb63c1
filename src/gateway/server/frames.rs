//! The socket below HTTP/2's library, and what that does not bound.
//!
//! The library bounds the bytes of a header block, but not the time that one may take, and it waits for ever for a client
//! that takes nothing. So the borders of frames are followed here, and nothing else of them (RFC 9113 §4.1).

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf as _, BytesMut};
use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::encode::Stall;
use super::h1::{LINGER, LINGER_BYTES};
use crate::gateway::deadline::{Deadline, saturating_deadline};
use crate::gateway::socket::Socket;

/// HTTP/2's connection preface (RFC 9113 §3.4).
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
/// Bytes that are read without a pause.
const TURN: usize = 64 * 1024;
/// How long a client may take nothing of what is written to it.
const WRITE_LIMIT: Duration = Duration::from_secs(60);

/// Follows the borders of frames.
#[derive(Debug)]
struct Frames {
    /// Bytes of the preface, or of a frame's payload, that are still to come.
    skip: usize,
    head: [u8; 9],
    have: usize,
    /// A header block has begun whose last frame has not.
    in_block: bool,
    /// The frame is part of one.
    of_block: bool,
    /// No frame has been seen.
    is_first: bool,
    /// Frames that have begun, those that go on with a block not counted.
    begun: u64,
}

/// The first frame is another one than RFC 9113 §3.4 asks for.
struct NoSettings;

impl Frames {
    fn new() -> Self {
        Self {
            skip: PREFACE,
            head: [0; 9],
            have: 0,
            in_block: false,
            of_block: false,
            is_first: true,
            begun: 0,
        }
    }

    /// Whether a header block has begun and has not ended, or the head of a frame.
    fn is_unfinished(&self) -> bool {
        self.in_block || (self.of_block && self.skip > 0) || self.have > 0
    }

    fn scan(&mut self, mut bytes: &[u8]) -> Result<(), NoSettings> {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let n = bytes.len().min(self.head.len() - self.have);
            if n == 0 {
                return Ok(());
            }
            self.head[self.have..self.have + n].copy_from_slice(&bytes[..n]);
            self.have += n;
            bytes = &bytes[n..];
            if self.have < self.head.len() {
                return Ok(());
            }
            self.have = 0;
            let [a, b, c, kind, flags, ..] = self.head;
            if std::mem::take(&mut self.is_first) && kind != SETTINGS {
                return Err(NoSettings);
            }
            self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            self.begun += u64::from(kind != CONTINUATION);
            self.of_block = kind == HEADERS || kind == CONTINUATION;
            if self.of_block {
                self.in_block = flags & END_HEADERS == 0;
            }
        }
    }
}

/// What is seen of a connection below the library, for whoever drives it.
#[derive(Default)]
pub struct Seen {
    /// Why the connection is to end.
    pub offence: Cell<Option<Reason>>,
    /// Told when there is such a reason.
    pub ends: Notify,
}

/// See the module.
pub struct Watched {
    socket: Socket,
    /// Read before it was known what the client speaks.
    ahead: BytesMut,
    frames: Frames,
    /// How long a header block may take, and what is left of that of the one which has begun: by its number, since on a busy
    /// connection every read may end in the middle of another one.
    limit: Duration,
    block: Option<(u64, Deadline)>,
    stall: Stall,
    /// Bytes that have been read without a pause.
    turn: usize,
    /// Ours is closed: how long the client may go on, and with how many bytes.
    lingers: Option<(Deadline, usize)>,
    seen: Rc<Seen>,
}

impl Watched {
    /// The socket of a connection of which `ahead` has been read.
    pub fn new(socket: Socket, ahead: BytesMut, limit: Duration, seen: Rc<Seen>) -> Self {
        let (frames, stall) = (Frames::new(), Stall::new(WRITE_LIMIT));
        Self { socket, ahead, frames, limit, block: None, stall, turn: 0, lingers: None, seen }
    }

    /// Reads no more: whoever drives the connection ends it.
    fn offend(&self, reason: Reason) -> Poll<io::Result<()>> {
        self.seen.offence.set(Some(reason));
        self.seen.ends.notify_one();
        Poll::Pending
    }
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.seen.offence.get().is_some() {
            return Poll::Pending;
        }
        if this.turn > TURN {
            // The library deals with all that it can read; others are to have their turn in between.
            this.turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if this.ahead.is_empty() {
            let read = Pin::new(&mut this.socket).poll_read(cx, buf);
            if read.is_pending() {
                this.turn = 0;
                let Some((_, block)) = &mut this.block else { return Poll::Pending };
                ready!(block.poll_passed(cx));
                return this.offend(Reason::ENHANCE_YOUR_CALM);
            }
            ready!(read)?;
        } else {
            let n = this.ahead.len().min(buf.remaining());
            buf.put_slice(&this.ahead[..n]);
            this.ahead.advance(n);
        }
        let read = &buf.filled()[before..];
        this.turn += read.len();
        if this.frames.scan(read).is_err() {
            return this.offend(Reason::PROTOCOL_ERROR);
        }
        if !this.frames.is_unfinished() {
            this.block = None;
            return Poll::Ready(Ok(()));
        }
        let (begun, limit) = (this.frames.begun, this.limit);
        let (_, block) = match &mut this.block {
            Some(block) if block.0 == begun => block,
            other => other.insert((begun, Deadline::at(saturating_deadline(Instant::now(), limit)))),
        };
        match block.poll_passed(cx) {
            Poll::Ready(()) => this.offend(Reason::ENHANCE_YOUR_CALM),
            Poll::Pending => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let socket = &mut this.socket;
        this.stall.watch(cx, |cx| Pin::new(socket).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let socket = &mut this.socket;
        this.stall.watch(cx, |cx| Pin::new(socket).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let socket = &mut this.socket;
        this.stall.watch(cx, |cx| Pin::new(socket).poll_flush(cx))
    }

    /// Closes our side and then takes what the client still sends: a socket that is closed with bytes in it that nobody has
    /// read is reset, and the reset destroys what the client has not read yet (RFC 9112 §9.6 says so of HTTP/1).
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingers.is_none() {
            ready!(Pin::new(&mut this.socket).poll_shutdown(cx))?;
        }
        let (until, left) = this
            .lingers
            .get_or_insert_with(|| (Deadline::at(saturating_deadline(Instant::now(), LINGER)), LINGER_BYTES));
        let mut bytes = [0; 4096];
        loop {
            if until.poll_passed(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut buf = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut this.socket).poll_read(cx, &mut buf));
            let taken = buf.filled().len();
            *left = left.saturating_sub(taken);
            if read.is_err() || taken == 0 || *left == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let mut out = (payload as u32).to_be_bytes()[1..].to_vec();
        out.extend_from_slice(&[kind, flags, 0, 0, 0, 1]);
        out.resize(out.len() + payload, CONTINUATION);
        out
    }

    #[test]
    fn the_first_frame_must_be_settings() {
        let mut frames = Frames::new();
        assert!(frames.scan(&[b'x'; PREFACE]).is_ok());
        assert!(frames.scan(&frame(6, 0, 8)).is_err());
    }

    #[test]
    fn a_header_block_is_open_from_its_first_frame_to_its_last() {
        let parts = [
            (vec![b'x'; PREFACE], false),
            (frame(4, 0, 30), false),
            (frame(HEADERS, 0, 300), true),
            (frame(CONTINUATION, 0, 0), true),
            (frame(CONTINUATION, END_HEADERS, 5), false),
            (frame(0, 1, 70_000), false),
            (frame(HEADERS, END_HEADERS | 1, 10), false),
        ];
        for step in [1, 2, 7, 9, 10, 1000, 100_000] {
            let mut frames = Frames::new();
            for (bytes, open) in &parts {
                bytes.chunks(step).for_each(|piece| assert!(frames.scan(piece).is_ok()));
                assert_eq!(frames.is_unfinished(), *open, "{step}");
            }
            assert_eq!((frames.skip, frames.have), (0, 0));
            for short in 1..40 {
                assert!(frames.scan(&frame(HEADERS, END_HEADERS, 31)[short - 1..short]).is_ok());
                assert!(frames.is_unfinished(), "{short}");
            }
        }
    }
}
