//! A listening socket, bound before anything is served on it.

use std::io;
use std::net::{SocketAddr, TcpListener};

/// A listener that is bound but does not serve yet.
pub struct Bound {
    listener: TcpListener,
    /// The address it listens on, the real port included.
    pub address: SocketAddr,
}

/// Binds `server.host`:`server.port`.
///
/// # Errors
/// What the system says, with the address and what to do about it.
pub fn bind(host: &str, port: u16, key: &str) -> io::Result<Bound> {
    let addresses = std::net::ToSocketAddrs::to_socket_addrs(&(host, port)).map_err(|e| {
        io::Error::new(e.kind(), format!("{key}.host {host:?} is not an address or a known name: {e}"))
    })?;
    let mut last = None;
    for address in addresses {
        match listen(address) {
            Ok(listener) => return Ok(Bound { address: listener.local_addr()?, listener }),
            Err(error) => last = Some((address, error)),
        }
    }
    let Some((address, error)) = last else {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("{key}.host {host:?} has no address")));
    };
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => format!("another process listens there; stop it or change {key}.port"),
        io::ErrorKind::PermissionDenied => format!("ports below 1024 need a privilege; change {key}.port"),
        io::ErrorKind::AddrNotAvailable => format!("this machine has no such address; change {key}.host"),
        _ => format!("check {key}.host and {key}.port"),
    };
    Err(io::Error::new(error.kind(), format!("cannot listen on {address}: {error}: {hint}")))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

impl Bound {
    /// The bare listener, for a server of another kind.
    pub fn into_listener(self) -> TcpListener {
        self.listener
    }
}
