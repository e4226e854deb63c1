//! A local port that stays ours while nobody listens on it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// A bound socket that never listens: connections are refused, and no other test can be given the port.
pub struct Port {
    _hold: Socket,
    addr: SocketAddr,
}

impl Port {
    /// Reserves a free port of 127.0.0.1.
    pub fn reserve() -> Self {
        let hold = bound(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let addr = hold.local_addr().unwrap().as_socket().unwrap();
        Self { _hold: hold, addr }
    }

    /// Where connections are refused, until [`listen`](Self::listen).
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Accepts connections until the listener is dropped.
    pub fn listen(&self) -> TcpListener {
        let socket = bound(self.addr);
        socket.listen(1024).unwrap();
        socket.into()
    }
}

fn bound(addr: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    // Lets the listener share the port with the socket that holds it, which never listens.
    socket.set_reuse_address(true).unwrap();
    socket.bind(&addr.into()).unwrap();
    socket
}
