//! A large body on its way past awc.
//!
//! awc reads eight KiB at a time and makes an allocation of each; actix-http copies them into its own buffer again. Of a
//! body whose length is known, awc is told nothing ([`super::framing::Asked::detach`]): it takes the answer for complete
//! and gives the connection back to its pool, where nobody finds it, for its name is still taken (see `slots`). The bytes
//! go from the buffer that they were read into to wherever the reader of this wants them.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::framing::Violation;
use super::transport::{Inner, Transport};

/// The rest of a response. Dropped before its end, it ends the connection.
pub struct Detached(Rc<Transport>);

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
    /// The upstream broke off.
    Broken(Violation),
    /// The reader failed.
    Unread(io::Error),
}

impl Detached {
    /// Takes the body over from the exchange that is active on `transport`.
    pub(super) fn new(transport: Rc<Transport>) -> Self {
        Self(transport)
    }

    /// Gives what there is to `write`, which says how many bytes it took, until one side has to wait or all is done.
    pub fn transfer(&self, cx: &mut Context<'_>, write: &mut Write<'_>) -> Transfer {
        let mut inner = self.0.inner.borrow_mut();
        loop {
            match inner.fill_detached(cx) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => return Transfer::Done,
                Poll::Ready(Err(violation)) => return Transfer::Broken(violation),
                Poll::Pending => return Transfer::AwaitsUpstream,
            }
            match write(cx, inner.incoming.bytes()) {
                Poll::Ready(Ok(n)) => inner.incoming.consume(n),
                Poll::Ready(Err(error)) => return Transfer::Unread(error),
                Poll::Pending => return Transfer::AwaitsReader,
            }
        }
    }

    /// Whether the upstream has sent all of it.
    pub fn has_arrived(&self) -> bool {
        self.0.inner.borrow().detached.as_ref().is_none_or(|framing| framing.is_done())
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        let mut inner = self.0.inner.borrow_mut();
        if inner.detached.take().is_some() {
            inner.incoming.keep(0..0);
            inner.socket = None;
        }
    }
}

impl Inner {
    /// Leaves the body to whoever takes it from the exchange; for awc the response is over.
    pub(super) fn detach(&mut self, transport: &Rc<Transport>) {
        self.head_left = None;
        self.head_ready = false;
        if let Some((exchange, framing)) = self.active.take() {
            self.detached = Some(framing);
            exchange.detached.replace(Some(Detached::new(transport.clone())));
        }
    }

    /// Whether bytes of the body are in `incoming`; `false` at its end.
    fn fill_detached(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Violation>> {
        if !self.incoming.is_empty() {
            return Poll::Ready(Ok(true));
        }
        let (Some(framing), Some(socket)) = (&mut self.detached, &mut self.socket) else {
            return Poll::Ready(Ok(false));
        };
        if framing.is_done() {
            self.detached = None;
            if self.unfit {
                self.socket = None;
            }
            return Poll::Ready(Ok(false));
        }
        let got = match self.incoming.poll_fill(socket, cx) {
            Poll::Ready(got) => got.unwrap_or(0),
            Poll::Pending => return Poll::Pending,
        };
        if got == 0 {
            return Poll::Ready(Err(Violation::Truncated));
        }
        let used = framing.body(self.incoming.bytes())?;
        self.unfit |= used < got;
        self.incoming.keep(0..used);
        Poll::Ready(Ok(true))
    }
}
