//! Where an upstream's bytes wait between the socket and whoever takes them.
//!
//! A connection has a buffer while it has bytes in it, and none otherwise. The buffer given back last is the next one
//! taken, so most reads of all connections go through the same few, which are still in the processor's cache, and an
//! idle connection holds nothing.

use std::cell::RefCell;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead as _, ReadBuf};

use crate::gateway::socket::Socket;

/// Bytes of a buffer: as much as is read at once.
const SIZE: usize = 64 * 1024;
/// By how much a buffer grows under a head that is longer.
const GROWTH: usize = 8 * 1024;
/// Spare buffers that a worker keeps.
const SPARE: usize = 16;

thread_local! {
    static BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// See the module.
#[derive(Default)]
pub struct Incoming {
    /// Empty while there are no bytes.
    buffer: Vec<u8>,
    from: usize,
    to: usize,
}

impl Incoming {
    /// Reads once, behind what is there already; how many bytes came, 0 at the end of the stream.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_fill(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buffer.is_empty() {
            self.buffer = BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; SIZE]);
        } else if self.to == self.buffer.len() {
            self.buffer.resize(self.to + GROWTH, 0);
        }
        let mut space = ReadBuf::new(&mut self.buffer[self.to..]);
        let read = Pin::new(socket).poll_read(cx, &mut space);
        let got = space.filled().len();
        self.keep(self.from..self.to + got);
        ready!(read)?;
        Poll::Ready(Ok(got))
    }

    /// What is there.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.from..self.to]
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.from == self.to
    }

    /// Leaves of the buffer's bytes those in `range`; without any, the buffer goes back.
    pub fn keep(&mut self, range: Range<usize>) {
        (self.from, self.to) = (range.start, range.end);
        if self.is_empty() {
            (self.from, self.to) = (0, 0);
            let buffer = std::mem::take(&mut self.buffer);
            BUFFERS.with_borrow_mut(|spare| {
                if buffer.len() == SIZE && spare.len() < SPARE {
                    spare.push(buffer);
                }
            });
        }
    }

    /// Drops the first `n` bytes.
    pub fn consume(&mut self, n: usize) {
        self.keep(self.from + n..self.to);
    }
}
