//! A body that goes to the client past actix: its bytes are written from where they were read to.
//!
//! actix-http has encoded the head and believes that the body delivers nothing, slowly. What the dispatcher does at the
//! end of every poll, flushing the stream, drives the body; the head goes out in one write with its first bytes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite as _;

use super::stream::{ClientSocket, ClientStream};
use crate::gateway::upstream::Write;

/// Such a body.
pub trait Pump {
    /// Gives `write` what there is. `Ready` when nothing more will come, because all is written or something broke; the
    /// body says which when it is asked next.
    ///
    /// # Errors
    /// Those of `write`.
    fn poll_pump(&self, cx: &mut Context<'_>, write: &mut Write<'_>) -> Poll<io::Result<()>>;
}

impl ClientStream {
    /// Writes as much of the body as both sides allow.
    pub(super) fn poll_pump(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
        let pump = self.state.pump.borrow().clone();
        if let Some(pump) = &pump {
            let mut held = std::mem::take(&mut self.held);
            let mut blocked = None;
            let mut socket = self.socket();
            let polled = pump.poll_pump(cx, &mut |cx, bytes| {
                let written = write_behind(socket.as_mut(), cx, &mut held, bytes);
                blocked = Some(written.is_pending());
                written
            });
            self.held = held;
            if let Some(blocked) = blocked {
                self.wrote(cx, blocked)?;
            }
            if polled?.is_ready() {
                self.state.set_pump(None);
                // The body has to be told, and asked for its end.
                cx.waker().wake_by_ref();
            } else if blocked.is_some() {
                return Ok(Poll::Pending);
            }
        }
        self.poll_held(cx)
    }

    /// Writes a head that nothing follows for the moment.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
        while !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            let written = self.socket().poll_write(cx, &held);
            self.held = held;
            self.wrote(cx, written.is_pending())?;
            match written? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(n) => drop(self.held.drain(..n)),
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
        Ok(Poll::Ready(()))
    }
}

/// Writes `bytes` behind `held`; how many of `bytes` the socket took.
fn write_behind(
    mut socket: Pin<&mut ClientSocket>,
    cx: &mut Context<'_>,
    held: &mut Vec<u8>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    loop {
        let written = match held.is_empty() {
            true => socket.as_mut().poll_write(cx, bytes)?,
            false => socket.as_mut().poll_write_vectored(cx, &[IoSlice::new(held), IoSlice::new(bytes)])?,
        };
        match written {
            Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(n) if n < held.len() => drop(held.drain(..n)),
            Poll::Ready(n) => {
                let n = n - held.len();
                held.clear();
                if n > 0 {
                    return Poll::Ready(Ok(n));
                }
            }
            Poll::Pending => return Poll::Pending,
        }
    }
}
