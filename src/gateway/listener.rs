//! The gateway listener: actix-server accepts, [`ClientStream`] wraps, actix-http parses, [`serve`] answers.
//!
//! actix-web's own `HttpServer` knows no stream but tokio's, so its few lines of wiring are repeated here around ours. Its
//! `App` is left out: it would hold every request's head until the answer, and its routing is not the gateway's.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use actix_http::body::BoxBody;
use actix_http::{HttpService, KeepAlive, Protocol, Request, Response};
use actix_server::{GracefulShutdownSignal, Server, ServerHandle};
use actix_service::{Service as _, ServiceFactory, ServiceFactoryExt as _, apply_fn_factory, fn_service};
use futures_util::future::Either;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::downstream::turns::in_turns;
use super::downstream::{ClientSocket, ClientStream, ConnState, Limits};
use super::shared::Shared;
use super::worker::Worker;
use super::{refuse_uninvited, serve};
use crate::config::settings;

/// HTTP/2's connection preface (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of an answer that are collected before they are written; what is there is written when the upstream pauses.
const WRITE_BUFFER: usize = 64 * 1024;
/// How long a connection that has not yet said what it speaks may outlive the stop: what it sends may be on its way.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// How long actix reads on after an answer to a request whose body it had not read.
const UNREAD_LINGER: Duration = Duration::from_secs(1);

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
    let mend = match error.kind() {
        io::ErrorKind::AddrInUse => format!("another process listens there; stop it or change {key}.port"),
        io::ErrorKind::PermissionDenied => format!("ports below 1024 need a privilege; change {key}.port"),
        io::ErrorKind::AddrNotAvailable => format!("this machine has no such address; change {key}.host"),
        _ => format!("check {key}.host and {key}.port"),
    };
    Err(io::Error::new(error.kind(), format!("cannot listen on {address}: {error}: {mend}")))
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
    /// A second handle on the socket, for whoever looks after the connections that come too late.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn try_clone(&self) -> io::Result<TcpListener> {
        self.listener.try_clone()
    }

    /// The bare listener, for a server of another kind.
    pub fn into_listener(self) -> TcpListener {
        self.listener
    }

    /// The server, to be awaited, and its handle.
    ///
    /// # Errors
    /// When the listener cannot be registered.
    pub fn serve(
        self,
        shared: Arc<Shared>,
        server: &settings::Server,
        workers: usize,
        tls: Option<Arc<crate::tls::ServerTls>>,
    ) -> io::Result<(Server, ServerHandle)> {
        let builder = Server::build()
            .workers(workers)
            .max_concurrent_connections(server.max_connections)
            // Whoever stops it bounds the time.
            .shutdown_timeout(u64::from(u32::MAX))
            .disable_signals();
        let signal = builder.graceful_shutdown_signal();
        let address = self.address;
        let server = builder
            .listen("gateway", self.listener, move || {
                let (signal, draining) = (signal.clone(), signal.clone());
                let http = http(shared.clone(), signal.clone(), address).map_err(|_| ());
                connections(shared.clone(), signal, tls.clone()).and_then(apply_fn_factory(
                    http,
                    move |accepted: (ClientStream, Protocol, Option<SocketAddr>), http| {
                        let state = accepted.0.state.clone();
                        let connection = http.call(accepted);
                        let connection = match state.http2 {
                            true => Either::Left(until_drained(state.clone(), draining.clone(), connection)),
                            false => Either::Right(connection),
                        };
                        in_turns(state, connection)
                    },
                ))
            })?
            .run();
        let handle = server.handle();
        Ok((server, handle))
    }
}

/// An HTTP/2 connection until it ends. actix does not tell it that the server stops.
async fn until_drained<F: Future>(
    state: Rc<ConnState>,
    signal: GracefulShutdownSignal,
    connection: F,
) -> F::Output {
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        biased;
        ended = &mut connection => return ended,
        () = signal.notified() => state.close_soon(),
    }
    connection.await
}

/// From an accepted socket to a stream whose protocol is known.
fn connections(
    shared: Arc<Shared>,
    signal: GracefulShutdownSignal,
    tls: Option<Arc<crate::tls::ServerTls>>,
) -> impl ServiceFactory<
    TcpStream,
    Config = (),
    Response = (ClientStream, Protocol, Option<SocketAddr>),
    Error = (),
    InitError = (),
> {
    fn_service(move |tcp: TcpStream| {
        let acceptor = tls.as_ref().map(|tls| tls.acceptor());
        let signal = signal.clone();
        let server = shared.server.load();
        let limits = Limits { head: server.header_timeout, keep_alive: server.keep_alive };
        let open = shared.connections.clone();
        async move {
            let stopping = async {
                signal.notified().await;
                tokio::time::sleep(LAST_WORDS).await;
            };
            tokio::select! {
                accepted = tokio::time::timeout(limits.head, accept(tcp, acceptor, limits, &open)) => {
                    accepted.map_err(|_| ())?.map_err(|_| ())
                }
                // Whoever has said nothing has nothing to lose, and must not hold up the stop.
                () = stopping => Err(()),
            }
        }
    })
}

async fn accept(
    tcp: TcpStream,
    acceptor: Option<TlsAcceptor>,
    limits: Limits,
    open: &Arc<AtomicUsize>,
) -> io::Result<(ClientStream, Protocol, Option<SocketAddr>)> {
    let peer = tcp.peer_addr()?;
    tcp.set_nodelay(true)?;
    let secure = acceptor.is_some();
    let (socket, protocol) = match acceptor {
        None => {
            let protocol = if speaks_http2(&tcp).await? { Protocol::Http2 } else { Protocol::Http1 };
            (ClientSocket::Tcp(tcp), protocol)
        }
        Some(acceptor) => {
            let stream = acceptor.accept(tcp).await?;
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            (ClientSocket::Tls(Box::new(stream)), if h2 { Protocol::Http2 } else { Protocol::Http1 })
        }
    };
    let state = Rc::new(ConnState::new(peer, secure, protocol == Protocol::Http2, limits).counted(open));
    Ok((ClientStream::new(socket, state), protocol, Some(peer)))
}

/// Whether the client opens with HTTP/2's preface (prior knowledge). Looks at as few bytes as decide it.
async fn speaks_http2(tcp: &TcpStream) -> io::Result<bool> {
    let mut seen = [0; PREFACE.len()];
    let mut before = 0;
    loop {
        let n = tcp.peek(&mut seen).await?;
        if n == 0 || seen[..n] != PREFACE[..n] {
            return Ok(false);
        }
        if n == PREFACE.len() {
            return Ok(true);
        }
        if n == before {
            // Peeking does not wait for more than is there already.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        before = n;
    }
}

/// HTTP on such a stream.
fn http(
    shared: Arc<Shared>,
    signal: GracefulShutdownSignal,
    address: SocketAddr,
) -> impl ServiceFactory<
    (ClientStream, Protocol, Option<SocketAddr>),
    Config = (),
    Response = (),
    Error = actix_http::error::DispatchError,
    InitError = (),
> {
    let (expecting, connecting) = (shared.clone(), shared.clone());
    let service = fn_service(move |request: Request| serve(Worker::here(&shared), request));
    let expect = fn_service(move |mut request: Request| {
        let worker = Worker::here(&expecting);
        async move {
            match refuse_uninvited(worker, &mut request).await {
                None => Ok(request),
                Some(refusal) => Err(Response::<BoxBody>::from(refusal)),
            }
        }
    });
    HttpService::build()
        .graceful_shutdown_signal(move || {
            let signal = signal.clone();
            async move { signal.notified().await }
        })
        // The stream below has these limits for every request, actix for the first one only.
        .keep_alive(KeepAlive::Os)
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(UNREAD_LINGER)
        .h1_allow_half_closed(true)
        .h1_write_buffer_size(WRITE_BUFFER)
        .local_addr(address)
        .expect(expect)
        .on_connect_ext(move |stream: &ClientStream, data| {
            // Also for the connections whose first request never reaches a handler.
            let _ = Worker::here(&connecting);
            data.insert(stream.state.clone());
        })
        .finish(service)
}
