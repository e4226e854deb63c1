//! Which pooled connection a request gets: the one that was used last.
//!
//! awc hands out the connection that has rested longest. Once a burst has opened hundreds, all of them stay in turn for
//! ever, and each has left the processor's cache, on both sides, when its turn comes. So every connection is filed under
//! a name of its own, and the names lie on a stack: a few connections do most of the work, and the rest goes idle.

use std::cell::RefCell;
use std::io;
use std::rc::{Rc, Weak};
use std::time::Duration;

use actix_http::Uri;

use super::transport::Transport;
use crate::gateway::socket::Socket;

/// How long an idle connection stays in the pool. Below the usual upstream's own limit, where there is one; a connection
/// that the upstream closed first is noticed and replaced.
pub const POOL_IDLE: Duration = Duration::from_secs(15);
/// How often they are looked at, and after how many looks without a request a connection is closed.
const ROUND: Duration = Duration::from_secs(5);
const IDLE_ROUNDS: u32 = (POOL_IDLE.as_secs() / ROUND.as_secs()) as u32;

/// The names of one pool.
#[derive(Default)]
pub struct Slots {
    names: RefCell<Vec<Uri>>,
    free: RefCell<Vec<usize>>,
}

/// A name in use; dropping it gives it back.
pub struct Slot {
    slots: Rc<Slots>,
    index: usize,
}

impl Slots {
    /// The name given back last, or a new one.
    pub fn take(self: &Rc<Self>) -> (Uri, Slot) {
        let mut names = self.names.borrow_mut();
        let index = self.free.borrow_mut().pop().unwrap_or_else(|| {
            let name = Uri::builder().scheme("http").authority(names.len().to_string()).path_and_query("/");
            // A number is a valid host.
            names.push(name.build().unwrap_or_default());
            names.len() - 1
        });
        (names[index].clone(), Slot { slots: self.clone(), index })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.free.borrow_mut().push(self.index);
    }
}

/// The connections of one pool, to be closed when nobody uses them: awc looks at an idle connection only when a request
/// asks for it.
#[derive(Clone, Default)]
pub struct Opened(Rc<RefCell<Vec<Weak<Transport>>>>);

impl Opened {
    /// Adds one.
    pub fn add(&self, transport: &Rc<Transport>) {
        let mut opened = self.0.borrow_mut();
        if opened.len() == opened.capacity() {
            // To an upstream that closes after each answer many are opened between two rounds.
            opened.retain(|transport| transport.strong_count() > 0);
        }
        opened.push(Rc::downgrade(transport));
    }

    /// Looks after them for as long as the pool is there.
    pub fn watch(&self) {
        let opened = Rc::downgrade(&self.0);
        actix_rt::spawn(async move {
            loop {
                tokio::time::sleep(ROUND).await;
                let Some(opened) = opened.upgrade() else { return };
                opened.borrow_mut().retain(|transport| {
                    transport.upgrade().is_some_and(|transport| !transport.close_if_idle(IDLE_ROUNDS))
                });
            }
        });
    }
}

impl Transport {
    /// Closes the connection if it has carried nothing for `rounds` calls of this, or if the upstream has closed it.
    pub fn close_if_idle(&self, rounds: u32) -> bool {
        let mut inner = self.inner.borrow_mut();
        if !inner.is_idle() {
            return false;
        }
        inner.seen = match inner.seen {
            (requests, idle) if requests == inner.requests => (requests, idle + 1),
            _ => (inner.requests, 0),
        };
        // Neither its end nor a byte that nobody asked for may be there.
        let is_quiet = |socket: &Socket| match socket.tcp().try_read(&mut [0]) {
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            Ok(_) => false,
        };
        if inner.seen.1 >= rounds || !inner.socket.as_ref().is_some_and(is_quiet) {
            // awc finds the end of stream when it comes to this connection.
            inner.socket = None;
        }
        inner.socket.is_none()
    }
}

#[cfg(test)]
mod tests {
    use aegis_actors::TargetCells;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::super::transport::UpstreamStream;
    use super::*;

    /// A connection and its other end.
    async fn connected() -> (UpstreamStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ours = TcpStream::connect(address).await.unwrap();
        let (theirs, _) = listener.accept().await.unwrap();
        let cells = TargetCells::new("b", "http://a.test", vec![address]);
        (UpstreamStream::new(Socket::Tcp(ours), address, cells), theirs)
    }

    #[actix_rt::test]
    async fn a_connection_that_nobody_uses_is_closed() {
        let (stream, mut theirs) = connected().await;
        assert!(!stream.transport().close_if_idle(2) && !stream.transport().close_if_idle(2));
        assert!(stream.transport().close_if_idle(2));
        assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0, "the upstream sees its end");
    }

    #[actix_rt::test]
    async fn a_connection_that_the_upstream_has_closed_does_not_linger() {
        let (stream, theirs) = connected().await;
        drop(theirs);
        while !stream.transport().close_if_idle(u32::MAX) {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn the_name_given_back_last_is_taken_first() {
        let slots = Rc::new(Slots::default());
        let (one, first) = slots.take();
        let (two, second) = slots.take();
        assert_ne!(one.authority(), two.authority());
        drop(first);
        drop(second);
        assert_eq!(slots.take().0, two);
        let (_, _held) = slots.take();
        assert_eq!(slots.take().0, one);
    }
}
