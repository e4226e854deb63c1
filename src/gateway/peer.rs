//! Whose connection a request came on.

use std::cell::OnceCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use super::upstream::Private;

/// The other end of a client connection; one for all requests on it.
pub struct Peer {
    /// Of the socket.
    pub address: SocketAddr,
    /// TLS towards the client.
    pub secure: bool,
    /// Upstream connections that are this client's alone.
    pub private: Rc<Private>,
    text: OnceCell<Box<str>>,
}

impl Peer {
    /// That of a connection accepted just now.
    pub fn new(address: SocketAddr, secure: bool) -> Self {
        Self { address, secure, private: Rc::default(), text: OnceCell::new() }
    }

    /// `address.ip()`, an IPv4-mapped address as IPv4.
    pub fn ip(&self) -> IpAddr {
        self.address.ip().to_canonical()
    }

    /// The same as text, made once.
    pub fn ip_text(&self) -> &str {
        self.text.get_or_init(|| self.ip().to_string().into())
    }
}
