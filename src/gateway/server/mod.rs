//! The gateway listener: actix-server accepts, a connection is given to the protocol that it speaks, and each of its requests
//! goes through [`super::serve`].
//!
//! One function owns a connection, from its first byte to its last: [`h1::connection`] or [`h2::connection`]. `decode` and
//! `encode` are the pure parts of HTTP/1, `client` is its socket with what has been read ahead; `frames` watches what HTTP/2's
//! library does not bound, `convert` is the one place that knows its types. Nothing here knows an upstream.

mod admission;
mod client;
mod convert;
mod decode;
mod encode;
mod frames;
mod h1;
mod h2;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_server::{GracefulShutdownSignal, Server, ServerHandle};
use actix_service::{fn_factory, fn_service};
use rustls::server::Acceptor;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

use self::client::Client;
use self::decode::HeadEnd;
use super::answer::Cause;
use super::client_certificate::ClientCertificate;
use super::listener::Bound;
use super::peer::Peer;
use super::request_parts::RequestParts;
use super::shared::Shared;
use super::socket::Socket;
use super::worker::Worker;
use crate::config::settings::{self, HeadBounds};
use crate::tls::ServerTls;

/// What a listener's connections are held to.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Whole request head, from its first byte (from the accept for the first one).
    head: Duration,
    /// Between two requests.
    keep_alive: Duration,
    /// Of a request's head.
    bounds: HeadBounds,
}

/// Reads a whole head of HTTP/1, as a connection does that has received it.
///
/// # Errors
/// Why it is refused.
pub fn head(bytes: &[u8], bounds: HeadBounds) -> Result<RequestParts, Cause> {
    match HeadEnd::default().find(bytes, bounds)? {
        Some(end) => decode::decode(&bytes[..end], bounds),
        None => Err(Cause::BadRequest("The request head is incomplete.")),
    }
}

/// Serves a bound listener: the server, to be awaited, its handle, and who looks after those that come as it closes.
///
/// # Errors
/// When the listener cannot be registered.
pub fn serve(
    bound: Bound,
    shared: Arc<Shared>,
    server: &settings::Server,
    workers: usize,
    tls: Option<Arc<ServerTls>>,
) -> io::Result<(Server, ServerHandle, Latecomers)> {
    let listener = bound.into_listener();
    let again = listener.try_clone()?;
    let builder = Server::build()
        .workers(workers)
        .max_concurrent_connections(server.max_connections)
        // Whoever stops it bounds the time.
        .shutdown_timeout(u64::from(u32::MAX))
        .disable_signals();
    let stop = builder.graceful_shutdown_signal();
    let late = Latecomers { listener: again, shared: shared.clone(), stop: stop.clone(), tls: tls.clone() };
    let server = builder
        .listen("gateway", listener, move || {
            let (shared, stop, tls) = (shared.clone(), stop.clone(), tls.clone());
            fn_factory(move || {
                // Also for the connections whose first request never comes to be one.
                let (worker, stop, tls) = (Worker::here(&shared), stop.clone(), tls.clone());
                admission::start();
                let service = fn_service(move |tcp: TcpStream| {
                    let (worker, stop, tls) = (worker.clone(), stop.clone(), tls.clone());
                    async move {
                        let _open = Open::new(&worker.shared.connections);
                        connection(worker, tcp, stop, tls).await.map_err(drop)
                    }
                });
                async { Ok::<_, ()>(service) }
            })
        })?
        .run();
    let handle = server.handle();
    Ok((server, handle, late))
}

/// How long the accept thread may take to put its listener down.
const CLOSING: Duration = Duration::from_millis(50);

/// Who has connected when the server is told to stop, and that it has not accepted. A socket that is closed resets the
/// connections in its queue, so a second handle on it is kept: they are served on the thread that stops the server.
pub struct Latecomers {
    listener: TcpListener,
    shared: Arc<Shared>,
    stop: GracefulShutdownSignal,
    tls: Option<Arc<ServerTls>>,
}

impl Latecomers {
    /// Takes what is in the queue and closes the listener, for good and for a successor to bind; returns when everybody
    /// has been served. To be called when the server has been told to stop.
    pub async fn serve(self) {
        let Self { listener, shared, stop, tls } = self;
        let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
        let mut open = JoinSet::new();
        let closing = tokio::time::Instant::now() + CLOSING;
        while let Ok(accepted) = tokio::time::timeout_at(closing, listener.accept()).await {
            // One that has gone meanwhile is not the last.
            let Ok((tcp, _)) = accepted else { continue };
            let (worker, stop, tls) = (Worker::here(&shared), stop.clone(), tls.clone());
            admission::start();
            open.spawn_local(async move {
                let _open = Open::new(&worker.shared.connections);
                connection(worker, tcp, stop, tls).await
            });
        }
        drop(listener);
        log::info!("the gateway listener is closed; {} requests in flight", shared.in_flight());
        while open.join_next().await.is_some() {}
    }
}

/// One connection, from the accept to its end.
async fn connection(
    worker: Rc<Worker>,
    tcp: TcpStream,
    stop: GracefulShutdownSignal,
    tls: Option<Arc<ServerTls>>,
) -> io::Result<()> {
    worker.shared.accepted.add(worker.index, 1);
    let server = worker.shared.server.load();
    let limits = Limits { head: server.header_timeout, keep_alive: server.keep_alive, bounds: server.head() };
    drop(server);
    let address = tcp.peer_addr()?;
    tcp.set_nodelay(true)?;
    let (socket, peer) = match tls {
        None => (Socket::Tcp(tcp), Peer::new(address, false)),
        Some(tls) => {
            let handshake = Box::pin(tokio::time::timeout(limits.head, secure(&tls, tcp, address)));
            tokio::select! {
                secured = handshake => match secured?? {
                    Ok(secured) => secured,
                    Err(plain) => {
                        let peer = Rc::new(Peer::new(address, true));
                        Box::pin(h1::turn_away(&Client::new(plain, peer), PLAIN)).await;
                        return Ok(());
                    }
                },
                // A handshake has no request to lose, and must not hold up the stop.
                () = h1::stopped(stop.clone()) => return Ok(()),
            }
        }
    };
    let speaks_h2 = matches!(&socket, Socket::Tls(tls) if tls.get_ref().1.alpn_protocol() == Some(b"h2"));
    let peer = Rc::new(peer);
    let client = Client::new(socket, peer.clone());
    if speaks_h2 || h1::connection(worker.clone(), &client, limits, stop.clone()).await {
        let Some((socket, ahead)) = client.take() else { return Ok(()) };
        drop(client);
        Box::pin(h2::connection(worker, socket, ahead, peer, limits, stop)).await;
    }
    Ok(())
}

/// What is said to those who speak HTTP without TLS where TLS is spoken.
const PLAIN: Cause = Cause::BadRequest("This port speaks TLS, and the request came without: use https.");

/// Shakes hands with a client; gives the socket back, unread, where the client speaks HTTP in plain. A TLS record begins
/// with its type (RFC 8446 §5.1), which is no letter.
async fn secure(
    tls: &Arc<ServerTls>,
    tcp: TcpStream,
    address: SocketAddr,
) -> io::Result<Result<(Socket, Peer), Socket>> {
    let mut first = [0];
    if tcp.peek(&mut first).await? == 1 && first[0].is_ascii_alphabetic() {
        return Ok(Err(Socket::Tcp(tcp)));
    }
    let served = tls.current();
    let (stream, asked) = if served.asks_somebody() {
        let hello = LazyConfigAcceptor::new(Acceptor::default(), tcp).await?;
        let (config, asked) = served.config(hello.client_hello().server_name());
        (hello.into_stream(config).await?, asked)
    } else {
        (TlsAcceptor::from(served.config(None).0).accept(tcp).await?, false)
    };
    let session = stream.get_ref().1;
    let certificate = ClientCertificate::of(session, tls, &served);
    let peer = Peer::with_session(address, session, asked, certificate);
    Ok(Ok((Socket::Tls(Box::new(stream.into())), peer)))
}

/// Counts a connection among the open ones.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(open.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
