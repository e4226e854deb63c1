//! What has been read from a socket, a client's or an upstream's, and not used yet.
//!
//! A connection has a buffer while it has bytes in it, and none otherwise. The buffer given back last is the next one
//! lent, so most reads of all connections go through the same few, which are still in the processor's cache.

use std::cell::RefCell;
use std::future::Future as _;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::AsyncReadExt as _;

use super::socket::Socket;

/// Bytes that are read at once.
const READ: usize = 64 * 1024;
/// Buffers that a worker keeps to lend.
const SPARE: usize = 16;
/// Pieces up to this are copied out of the lent buffer, larger ones take it with them.
const COPIED: usize = 16 * 1024;

thread_local! {
    static BUFFERS: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// See the module.
#[derive(Default)]
pub struct Incoming(BytesMut);

impl Incoming {
    /// Reads once, behind what is there; how many bytes came, 0 at the end of the stream.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_fill(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut lent = BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_else(|| BytesMut::with_capacity(READ));
        let read = pin!(socket.read_buf(&mut lent)).poll(cx);
        if self.0.is_empty() && !lent.is_empty() {
            std::mem::swap(&mut self.0, &mut lent);
        } else {
            // The rest of a head, or what is read while another request is served.
            self.0.extend_from_slice(&lent);
        }
        give_back(lent);
        Poll::Ready(Ok(ready!(read)?))
    }

    /// What is there.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Forgets what is there.
    pub fn clear(&mut self) {
        give_back(self.take_all());
    }

    /// Drops the first `n` bytes.
    pub fn consume(&mut self, n: usize) {
        self.0.advance(n);
        if self.0.is_empty() {
            self.clear();
        }
    }

    /// Takes the first `n` bytes out.
    pub fn take(&mut self, n: usize) -> Bytes {
        if n > COPIED {
            return self.0.split_to(n).freeze();
        }
        let bytes = Bytes::copy_from_slice(&self.0[..n]);
        self.consume(n);
        bytes
    }

    /// Takes all that is there.
    pub fn take_all(&mut self) -> BytesMut {
        std::mem::take(&mut self.0)
    }

    /// Keeps no more room for what is there than it takes.
    pub fn shrink(&mut self) {
        if self.0.capacity() > 2 * self.0.len() {
            let small = BytesMut::from(&self.0[..]);
            give_back(std::mem::replace(&mut self.0, small));
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Puts a buffer back among those to be lent, if nobody holds a part of it.
fn give_back(mut buffer: BytesMut) {
    buffer.clear();
    if buffer.capacity() > 0 && buffer.try_reclaim(READ) {
        BUFFERS.with_borrow_mut(|spare| {
            if spare.len() < SPARE {
                spare.push(buffer);
            }
        });
    }
}
