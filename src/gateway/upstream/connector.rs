//! How connections to one target come to be: every address tried, TLS inside, [`UpstreamStream`] around it.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_http::Uri;
use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use aegis_actors::TargetState;
use futures_core::future::LocalBoxFuture;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;

use super::pool_keys::OpenConnections;
use super::transport::UpstreamStream;
use crate::config::settings::{Backend, HeadBounds};
use crate::gateway::socket::Socket;

/// What the connections to a target are held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// In place of the one that the target's addresses have.
    pub port: Option<u16>,
    /// For all addresses and the TLS handshake.
    pub connect_timeout: Duration,
    /// How long a connection may rest in the pool.
    pub idle: Duration,
    /// Of a response.
    pub head: HeadBounds,
}

impl Terms {
    /// The usual ones, for a request of the gateway's own.
    pub fn of(timeout: Duration) -> Self {
        let usual = Backend::default();
        Self { port: None, connect_timeout: timeout, idle: usual.pool_idle, head: usual.head() }
    }
}

/// TLS towards one target.
#[derive(Clone)]
pub struct TargetTls {
    /// Roots, verification and ALPN `http/1.1`.
    pub config: Arc<rustls::ClientConfig>,
    /// Name to verify and to send as SNI.
    pub name: ServerName<'static>,
}

/// How long an address may be silent before the next one is tried beside it.
const HEAD_START: Duration = Duration::from_millis(250);
/// How often a host name's first look-up is looked for.
const UNRESOLVED: Duration = Duration::from_millis(5);

/// Opens connections to one target; what awc calls when its pool has none.
#[derive(Clone)]
pub struct Dialer(Rc<Dial>);

struct Dial {
    shared: Arc<TargetState>,
    tls: Option<TargetTls>,
    terms: Terms,
    next: Cell<usize>,
    opened: OpenConnections,
}

impl Dialer {
    /// A dialer for the target behind `shared`.
    pub fn new(shared: Arc<TargetState>, tls: Option<TargetTls>, terms: Terms) -> Self {
        Self(Rc::new(Dial { shared, tls, terms, next: Cell::new(0), opened: OpenConnections::default() }))
    }

    /// What its connections are held to.
    pub(super) fn terms(&self) -> Terms {
        self.0.terms
    }

    /// The connections that it has opened.
    pub(super) fn opened(&self) -> &OpenConnections {
        &self.0.opened
    }
}

impl Dial {
    async fn connect(&self) -> io::Result<UpstreamStream> {
        match tokio::time::timeout(self.terms.connect_timeout, self.dial()).await {
            Ok(opened) => opened,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn dial(&self) -> io::Result<UpstreamStream> {
        // The first request after a start or a reload may be quicker than the first look-up.
        while self.shared.unresolved.load(Ordering::Acquire) {
            tokio::time::sleep(UNRESOLVED).await;
        }
        let addresses = self.shared.addresses.load_full();
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the host name has no address (yet)"));
        }
        let first = self.next.replace(self.next.get().wrapping_add(1));
        let mut left = (0..addresses.len()).map(|i| {
            let address = addresses[(first + i) % addresses.len()];
            SocketAddr::new(address.ip(), self.terms.port.unwrap_or(address.port()))
        });
        // So that each address is tried within the connect timeout.
        let head_start = HEAD_START.min(self.terms.connect_timeout / addresses.len() as u32);
        self.race(&mut left, head_start).await
    }

    /// The first of `addresses` that answers. One that is silent does not hide the next, nor is it given up for it, for it may
    /// only be far away (RFC 8305 §5).
    async fn race(
        &self,
        addresses: &mut (dyn Iterator<Item = SocketAddr> + '_),
        head_start: Duration,
    ) -> io::Result<UpstreamStream> {
        let mut tries = FuturesUnordered::new();
        let mut last = io::ErrorKind::NotFound.into();
        loop {
            let begun = addresses.next().map(|address| tries.push(self.open(address))).is_some();
            let wait = if begun { head_start } else { self.terms.connect_timeout };
            match tokio::time::timeout(wait, tries.next()).await {
                Ok(Some(Ok(stream))) => return Ok(stream),
                Ok(Some(Err(error))) => last = error,
                Ok(None) => return Err(last),
                Err(_) => {}
            }
        }
    }

    async fn open(&self, address: SocketAddr) -> io::Result<UpstreamStream> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let socket = match &self.tls {
            None => Socket::Tcp(tcp),
            Some(tls) => {
                let connector = tokio_rustls::TlsConnector::from(tls.config.clone());
                Socket::Tls(Box::new(connector.connect(tls.name.clone(), tcp).await?.into()))
            }
        };
        let stream = UpstreamStream::new(socket, address, self.shared.clone(), self.terms);
        self.opened.add(stream.transport());
        Ok(stream)
    }
}

impl Service<ConnectInfo<Uri>> for Dialer {
    type Response = Connection<Uri, UpstreamStream>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    actix_service::always_ready!();

    fn call(&self, info: ConnectInfo<Uri>) -> Self::Future {
        let dial = self.0.clone();
        Box::pin(async move {
            let stream = dial.connect().await.map_err(ConnectError::Io)?;
            Ok(Connection::new(info.request().clone(), stream))
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    fn any() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    /// An address that neither takes a connection nor refuses one, as long as the rest is kept.
    async fn silent() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(any()).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        let patience = Duration::from_millis(100);
        while let Ok(connected) = tokio::time::timeout(patience, TcpStream::connect(address)).await {
            waiting.push(connected.unwrap());
        }
        (address, listener, waiting)
    }

    fn dialer(addresses: Vec<SocketAddr>, timeout: Duration) -> Dialer {
        Dialer::new(TargetState::new("b", "http://h:1", addresses), None, Terms::of(timeout))
    }

    #[actix_rt::test]
    async fn an_address_that_is_silent_or_refuses_hides_none_that_answers() {
        let (lost, _listener, _waiting) = silent().await;
        let refusing = TcpListener::bind(any()).await.unwrap().local_addr().unwrap();
        let live = TcpListener::bind(any()).await.unwrap();
        let mut addresses = vec![lost; 2];
        addresses.push(refusing);
        addresses.extend([lost; 2]);
        addresses.push(live.local_addr().unwrap());
        let dialer = dialer(addresses, Duration::from_secs(10));
        // Whichever of them is the first.
        for _ in 0..6 {
            assert!(dialer.0.connect().await.is_ok());
        }
    }

    #[actix_rt::test]
    async fn one_that_is_far_away_is_waited_for_while_others_are_tried() {
        // It takes the connection only after several times its head start.
        let (far, listener, waiting) = silent().await;
        let (lost, _listener, _waiting) = silent().await;
        let dialer = dialer(vec![far, lost, lost, lost], Duration::from_secs(10));
        let connecting = dialer.0.connect();
        let opening = async {
            tokio::time::sleep(4 * HEAD_START).await;
            drop(waiting);
            loop {
                listener.accept().await.unwrap();
            }
        };
        tokio::select! {
            connected = connecting => assert!(connected.is_ok()),
            () = opening => {}
        }
    }

    #[actix_rt::test]
    async fn without_any_that_answers_the_time_is_kept_and_a_refusal_is_told() {
        let (lost, _listener, _waiting) = silent().await;
        let timeout = Duration::from_millis(300);
        let error = dialer(vec![lost, lost], timeout).0.connect().await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let refusing = TcpListener::bind(any()).await.unwrap().local_addr().unwrap();
        let error = dialer(vec![refusing; 3], timeout).0.connect().await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[actix_rt::test]
    async fn the_first_look_up_of_a_name_is_waited_for_and_no_other() {
        let live = TcpListener::bind(any()).await.unwrap();
        let dialer = dialer(Vec::new(), Duration::from_secs(10));
        let (shared, address) = (dialer.0.shared.clone(), live.local_addr().unwrap());
        let looked_up = async {
            tokio::task::yield_now().await;
            shared.addresses.store(Arc::new(vec![address]));
            shared.unresolved.store(false, Ordering::Release);
        };
        let (opened, ()) = tokio::join!(dialer.0.connect(), looked_up);
        assert!(opened.is_ok());
        shared.addresses.store(Arc::default());
        let error = dialer.0.connect().await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
