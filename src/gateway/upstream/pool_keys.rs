//! Which pooled connection a request gets: the one that was used last.
//!
//! awc hands out the connection that has rested longest. Once a burst has opened hundreds, all of them stay in turn for
//! ever, and each has left the processor's cache, on both sides, when its turn comes. awc keys its pool by authority: so every
//! connection gets a key of its own, an authority that is a number, and free keys are taken last in, first out. A few
//! connections do most of the work, and the rest goes idle.

use std::cell::RefCell;
use std::io;
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use actix_http::Uri;

use super::transport::Transport;
use crate::gateway::socket::Socket;

/// How often idle connections are looked at; more often where they may rest for less.
const ROUND: Duration = Duration::from_secs(5);

/// The keys of one pool.
#[derive(Default)]
pub struct PoolKeys {
    all: RefCell<Vec<Uri>>,
    free: RefCell<Vec<usize>>,
}

/// A key in use; dropping it gives it back.
pub struct PoolKey {
    keys: Rc<PoolKeys>,
    index: usize,
    /// The connection under this key, where it is one client's alone and ends with the key.
    private: Weak<Transport>,
}

/// The upstream connections that one client's connection has for itself, as long as none of its requests uses them.
///
/// NTLM and Negotiate authenticate a connection, not a request (RFC 4559 §6): what has come of it must answer nobody else.
/// Behind a proxy one connection carries several clients; each has its own.
#[derive(Default)]
pub struct Private(RefCell<Vec<(IpAddr, PoolKey)>>);

/// A client, and what its connection has for itself.
pub type Owner = (Rc<Private>, IpAddr);

/// As many a connection keeps for a client and pool; an HTTP/2 client might ask for hundreds at once.
const OWNED: usize = 8;

impl Private {
    /// The one to the target of this pool that was used last: of several, a handshake in two steps stays with one.
    fn take(&self, keys: &Rc<PoolKeys>, client: IpAddr) -> Option<PoolKey> {
        let at = self.places(keys, client).next_back()?;
        Some(self.0.borrow_mut().remove(at).1)
    }

    /// Puts one back; the one that has rested longest goes where there are too many.
    fn keep(&self, client: IpAddr, key: PoolKey) {
        let mut places = self.places(&key.keys, client);
        let oldest = places.next().filter(|_| places.count() + 1 >= OWNED);
        let gone = oldest.map(|at| self.0.borrow_mut().remove(at));
        self.0.borrow_mut().push((client, key));
        drop(gone);
    }

    /// Whether there is none at the moment.
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Whether there is one to the target of this pool.
    pub(super) fn has(&self, keys: &Rc<PoolKeys>, client: IpAddr) -> bool {
        self.places(keys, client).next().is_some()
    }

    /// Where those to the target of this pool stand, the one used last at the end.
    fn places(&self, keys: &Rc<PoolKeys>, client: IpAddr) -> impl DoubleEndedIterator<Item = usize> + use<> {
        let held = self.0.borrow();
        let is = |(whose, key): &(IpAddr, PoolKey)| *whose == client && Rc::ptr_eq(&key.keys, keys);
        let places: Vec<usize> = (0..held.len()).filter(|at| is(&held[*at])).collect();
        places.into_iter()
    }
}

/// What an exchange holds: the key of its connection, and who gets it then if the connection is one client's alone.
#[derive(Default)]
pub struct HeldKey {
    key: RefCell<Option<PoolKey>>,
    owner: RefCell<Option<Owner>>,
}

impl HeldKey {
    /// Takes a key of this pool; the owner's, where it has one.
    pub(super) fn fill(&self, keys: &Rc<PoolKeys>) -> Uri {
        let owned = self.owner.borrow().as_ref().and_then(|(owner, client)| owner.take(keys, *client));
        let key = owned.unwrap_or_else(|| keys.take());
        let uri = keys.all.borrow()[key.index].clone();
        self.key.replace(Some(key));
        uri
    }

    /// The connection, whichever it will be, is to be that client's alone.
    pub fn bind(&self, owner: Owner) {
        self.owner.replace(Some(owner));
    }

    /// Whether it is.
    pub fn is_bound(&self) -> bool {
        self.owner.borrow().is_some()
    }

    /// It is this one: whether it is somebody's alone.
    pub(super) fn connected(&self, transport: &Rc<Transport>) -> bool {
        let bound = self.is_bound();
        if let Some(key) = self.key.borrow_mut().as_mut().filter(|_| bound) {
            key.private = Rc::downgrade(transport);
        }
        bound
    }
}

impl Drop for HeldKey {
    fn drop(&mut self) {
        if let (Some((owner, client)), Some(key)) = (self.owner.take(), self.key.take()) {
            owner.keep(client, key);
        }
    }
}

impl PoolKeys {
    /// The key given back last, or a new one.
    fn take(self: &Rc<Self>) -> PoolKey {
        let index = self.free.borrow_mut().pop().unwrap_or_else(|| {
            let mut all = self.all.borrow_mut();
            let uri = Uri::builder().scheme("http").authority(all.len().to_string()).path_and_query("/");
            // A number is a valid host.
            all.push(uri.build().unwrap_or_default());
            all.len() - 1
        });
        PoolKey { keys: self.clone(), index, private: Weak::new() }
    }
}

impl Drop for PoolKey {
    fn drop(&mut self) {
        if let Some(transport) = self.private.upgrade() {
            transport.end();
        }
        self.keys.free.borrow_mut().push(self.index);
    }
}

/// The connections of one pool, to be closed when nobody uses them: awc looks at an idle connection only when a request
/// asks for it.
#[derive(Clone, Default)]
pub struct OpenConnections(Rc<RefCell<Vec<Weak<Transport>>>>);

impl OpenConnections {
    /// Adds one.
    pub fn add(&self, transport: &Rc<Transport>) {
        let mut opened = self.0.borrow_mut();
        if opened.len() == opened.capacity() {
            // To an upstream that closes after each answer many are opened between two rounds.
            opened.retain(|transport| transport.strong_count() > 0);
        }
        opened.push(Rc::downgrade(transport));
    }

    /// Looks after them, which may rest for `idle`, for as long as the pool is there.
    pub fn watch(&self, idle: Duration) {
        let opened = Rc::downgrade(&self.0);
        let round = ROUND.min(idle.max(Duration::from_millis(100)));
        actix_rt::spawn(async move {
            loop {
                tokio::time::sleep(round).await;
                let Some(opened) = opened.upgrade() else { return };
                let now = Instant::now();
                let stays = |transport: Rc<Transport>| !transport.close_if_idle(now);
                opened.borrow_mut().retain(|transport| transport.upgrade().is_some_and(stays));
            }
        });
    }
}

impl Transport {
    /// Closes the connection if it has rested for too long at that time, or if the upstream has closed it.
    fn close_if_idle(&self, now: Instant) -> bool {
        let mut inner = self.inner.borrow_mut();
        if !inner.is_idle() {
            return false;
        }
        // Neither its end nor a byte that nobody asked for may be there.
        let is_quiet = |socket: &Socket| match socket.tcp().try_read(&mut [0]) {
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            Ok(_) => false,
        };
        if self.ended.get() || inner.is_due(now) || !inner.socket.as_ref().is_some_and(is_quiet) {
            // awc finds the end of stream when it comes to this connection.
            inner.socket = None;
        }
        inner.socket.is_none()
    }

    /// Nobody may use it any more.
    fn end(&self) {
        self.ended.set(true);
        // One that is in use is asked before its next use.
        if let Ok(mut inner) = self.inner.try_borrow_mut()
            && inner.is_idle()
        {
            inner.socket = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use aegis_actors::TargetState;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::super::connector::Terms;
    use super::super::transport::UpstreamStream;
    use super::*;

    /// A connection and its other end.
    async fn connected() -> (UpstreamStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ours = TcpStream::connect(address).await.unwrap();
        let (theirs, _) = listener.accept().await.unwrap();
        let shared = TargetState::new("b", "http://a.test", vec![address]);
        (UpstreamStream::new(Socket::Tcp(ours), address, shared, Terms::of(ROUND)), theirs)
    }

    #[actix_rt::test]
    async fn a_connection_that_nobody_uses_is_closed() {
        let (stream, mut theirs) = connected().await;
        let now = Instant::now();
        assert!(!stream.transport().close_if_idle(now + Duration::from_secs(14)));
        assert!(stream.transport().close_if_idle(now + Duration::from_secs(15)));
        assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0, "the upstream sees its end");
    }

    #[actix_rt::test]
    async fn a_connection_that_the_upstream_has_closed_does_not_linger() {
        let (stream, theirs) = connected().await;
        drop(theirs);
        while !stream.transport().close_if_idle(Instant::now()) {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn the_key_given_back_last_is_taken_first() {
        let keys = Rc::new(PoolKeys::default());
        let (first, second) = (HeldKey::default(), HeldKey::default());
        let (one, two) = (first.fill(&keys), second.fill(&keys));
        assert_ne!(one.authority(), two.authority());
        drop(first);
        drop(second);
        let (first, second) = (HeldKey::default(), HeldKey::default());
        assert_eq!((first.fill(&keys), second.fill(&keys)), (two, one));
    }
}
