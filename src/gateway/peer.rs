//! Whose connection a request came on.

use std::cell::{Cell, OnceCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use rustls::ServerConnection;

use super::client_certificate::ClientCertificate;
use super::upstream::Private;

/// The other end of a client connection; one for all requests on it.
pub struct Peer {
    /// Of the socket.
    pub address: SocketAddr,
    /// TLS towards the client.
    pub secure: bool,
    /// The host that it asked for in the handshake (SNI), in lower case.
    pub server_name: Option<Box<str>>,
    /// It was asked for a certificate.
    pub asked: bool,
    /// The certificate that it has shown.
    pub certificate: Option<Rc<ClientCertificate>>,
    unfit: Cell<bool>,
    /// Upstream connections that are this client's alone.
    pub private: Rc<Private>,
    text: OnceCell<Box<str>>,
}

impl Peer {
    /// That of a connection accepted just now.
    pub fn new(address: SocketAddr, secure: bool) -> Self {
        Self {
            address,
            secure,
            server_name: None,
            asked: false,
            certificate: None,
            unfit: Cell::new(false),
            private: Rc::default(),
            text: OnceCell::new(),
        }
    }

    /// That of a connection whose handshake is over.
    pub fn with_session(
        address: SocketAddr,
        session: &ServerConnection,
        asked: bool,
        certificate: Option<ClientCertificate>,
    ) -> Self {
        let (server_name, certificate) = (session.server_name().map(Box::from), certificate.map(Rc::new));
        Self { server_name, asked, certificate, ..Self::new(address, true) }
    }

    /// Whether it asked for another host in the handshake than for this one. Who asked for none may mean any.
    pub fn asked_for_other_than(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        self.server_name.as_ref().is_some_and(|name| !name.eq_ignore_ascii_case(host))
    }

    /// Its connection lacks what only another one can have, and ends behind what is under way on it.
    pub fn is_unfit(&self) -> bool {
        self.unfit.get()
    }

    /// Has the connection end.
    pub fn make_unfit(&self) {
        self.unfit.set(true);
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
