//! The body of an upstream's answer, from the buffer that it was read into to whoever takes it.
//!
//! awc is told of no body at all: it takes the answer for complete and gives the connection back to its pool, where nobody
//! finds it as long as its key is taken (see `pool_keys`). So there is one decoder of bodies, and nobody to copy them.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::BytesMut;

use super::exchange::Exchange;
use super::framing::Violation;
use super::pool_keys::Owner;
use super::transport::Transport;
use crate::gateway::socket::Socket;

/// The rest of a response. Dropped before its end, it ends the connection.
pub struct Body(Rc<Transport>);

/// Takes bytes and says how many it took.
pub type Write<'a> = dyn FnMut(&mut Context<'_>, &[u8]) -> Poll<io::Result<usize>> + 'a;

/// Why a transfer paused or ended.
pub enum Transfer {
    /// All of it has been taken.
    Done,
    /// Nothing more is there yet.
    AwaitsUpstream,
    /// The reader takes no more at the moment.
    AwaitsReader,
    /// The upstream broke off, or the client whose request it was still reading.
    Broken(Violation),
    /// The reader failed.
    Unread(io::Error),
}

impl Body {
    pub(super) fn new(transport: Rc<Transport>) -> Self {
        Self(transport)
    }

    /// Gives what there is to `write`, which says how many bytes it took, until one side has to wait or all is done.
    pub fn transfer(&self, cx: &mut Context<'_>, write: &mut Write<'_>) -> Transfer {
        let mut inner = self.0.inner.borrow_mut();
        loop {
            match inner.poll_data(cx) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => return Transfer::Done,
                Poll::Ready(Err(violation)) => return Transfer::Broken(violation),
                Poll::Pending => return Transfer::AwaitsUpstream,
            }
            match write(cx, inner.data()) {
                Poll::Ready(Ok(n)) => inner.consume(n),
                Poll::Ready(Err(error)) => return Transfer::Unread(error),
                Poll::Pending => return Transfer::AwaitsReader,
            }
        }
    }

    /// The connection is `owner`'s alone from now on.
    pub fn bind(&self, exchange: &Exchange, owner: Owner) {
        exchange.key.bind(owner);
        self.0.inner.borrow_mut().private |= exchange.key.connected(&self.0);
    }

    /// Whether the upstream has sent all of it.
    pub fn has_arrived(&self) -> bool {
        self.0.inner.borrow().has_arrived()
    }

    /// The connection itself, behind a 101, and what has arrived on it. `None` where the request has not gone out whole.
    pub fn into_tunnel(self) -> Option<(Socket, BytesMut)> {
        self.0.inner.borrow_mut().take_socket()
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.0.inner.borrow_mut().end_body();
    }
}
