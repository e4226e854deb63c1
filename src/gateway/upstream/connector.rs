//! How connections to one target come to be: every address tried, TLS inside, [`UpstreamStream`] around it.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::Uri;
use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use aegis_actors::TargetCells;
use futures_core::future::LocalBoxFuture;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;

use super::slots::Opened;
use super::socket::Socket;
use super::transport::UpstreamStream;

/// TLS towards one target.
#[derive(Clone)]
pub struct TargetTls {
    /// Roots, verification and ALPN `http/1.1`.
    pub config: Arc<rustls::ClientConfig>,
    /// Name to verify and to send as SNI.
    pub name: ServerName<'static>,
}

/// Opens connections to one target; what awc calls when its pool has none.
#[derive(Clone)]
pub struct Dialer(Rc<Dial>);

struct Dial {
    cells: Arc<TargetCells>,
    tls: Option<TargetTls>,
    timeout: Duration,
    next: Cell<usize>,
    opened: Opened,
}

impl Dialer {
    /// A dialer for the target behind `cells`; `timeout` covers all addresses and the TLS handshake.
    pub fn new(cells: Arc<TargetCells>, tls: Option<TargetTls>, timeout: Duration) -> Self {
        Self(Rc::new(Dial { cells, tls, timeout, next: Cell::new(0), opened: Opened::default() }))
    }

    /// The connections that it has opened.
    pub(super) fn opened(&self) -> &Opened {
        &self.0.opened
    }
}

impl Dial {
    async fn connect(&self) -> io::Result<UpstreamStream> {
        let addresses = self.cells.addresses.load_full();
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the host name has no address (yet)"));
        }
        let first = self.next.replace(self.next.get().wrapping_add(1));
        // Each address gets its share of the time, so that a silent first one does not hide a working second.
        let share = self.timeout / addresses.len() as u32;
        let mut last = None;
        for i in 0..addresses.len() {
            let address = addresses[(first + i) % addresses.len()];
            match tokio::time::timeout(share, self.open(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = Some(error),
                Err(_) => last = Some(io::ErrorKind::TimedOut.into()),
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
    }

    async fn open(&self, address: SocketAddr) -> io::Result<UpstreamStream> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let socket = match &self.tls {
            None => Socket::Tcp(tcp),
            Some(tls) => {
                let connector = tokio_rustls::TlsConnector::from(tls.config.clone());
                Socket::Tls(Box::new(connector.connect(tls.name.clone(), tcp).await?))
            }
        };
        let stream = UpstreamStream::new(socket, address, self.cells.clone());
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
