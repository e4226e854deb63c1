//! An HTTP/2 client: with prior knowledge, or under TLS with ALPN `h2`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Request};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Runs the client's side of a test; panics when it takes longer than a minute. Some send bodies of 64 MiB.
pub fn block_on<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limited = async { tokio::time::timeout(Duration::from_secs(60), test).await };
    runtime.block_on(limited).expect("the HTTP/2 client waits for ever")
}

/// Waits until `condition` holds, without holding up the connection.
#[must_use]
pub async fn comes_true(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(limit, waiting).await.is_ok()
}

/// A whole response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// The only value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let values = self.headers.get_all(name).iter().collect::<Vec<_>>();
        assert!(values.len() <= 1, "{name} is repeated: {values:?}");
        values.first().map(|value| value.to_str().unwrap())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {:?}", self.text()))
    }
}

/// One connection.
pub struct Http2 {
    sender: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
    scheme: &'static str,
}

impl Http2 {
    /// Connects with prior knowledge.
    pub async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream, "http").await
    }

    /// Connects under TLS; the server must choose `h2`.
    pub async fn connect_tls(addr: SocketAddr, config: Arc<ClientConfig>) -> Self {
        Self::connect_tls_for(&addr.ip().to_string(), addr, config).await
    }

    /// The same, asking for this name, which the server's certificate must have.
    pub async fn connect_tls_for(name: &str, addr: SocketAddr, config: Arc<ClientConfig>) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let stream = tokio_rustls::TlsConnector::from(config).connect(name, stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        Self::over(stream, "https").await
    }

    async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        scheme: &'static str,
    ) -> Self {
        let (sender, connection) = h2::client::Builder::new()
            // One stream that is not read must not hold up the others.
            .initial_connection_window_size(16 << 20)
            .handshake(stream)
            .await
            .unwrap();
        Self { sender, connection: tokio::spawn(connection), scheme }
    }

    /// A request for `path` of the host `a.test`.
    pub fn request(&self, method: &str, path: &str) -> Request<()> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let uri = format!("{}://a.test{path}", self.scheme);
        Request::builder().method(method).uri(uri).body(()).unwrap()
    }

    /// Sends a head; `end` when no body follows.
    pub async fn start(&mut self, request: Request<()>, end: bool) -> (ResponseFuture, SendStream<Bytes>) {
        std::future::poll_fn(|cx| self.sender.poll_ready(cx)).await.expect("another stream may be opened");
        self.sender.send_request(request, end).unwrap()
    }

    /// Sends a head without a body.
    ///
    /// # Errors
    /// When the connection takes no more requests.
    pub async fn try_start(
        &mut self,
        request: Request<()>,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        std::future::poll_fn(|cx| self.sender.poll_ready(cx)).await?;
        self.sender.send_request(request, true)
    }

    /// `GET path`, answered whole.
    pub async fn get(&mut self, path: &str) -> Answer {
        let (answer, _) = self.start(self.request("GET", path), true).await;
        read(answer).await.unwrap_or_else(|e| panic!("GET {path}: {e}"))
    }

    /// `POST path` with a body, answered whole.
    pub async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> Answer {
        let (answer, mut sender) = self.start(self.request("POST", path), false).await;
        let sending = send(&mut sender, body.into(), true);
        let (sent, answer) = futures_util::future::join(sending, read(answer)).await;
        sent.unwrap_or_else(|e| panic!("POST {path}: {e}"));
        answer.unwrap_or_else(|e| panic!("POST {path}: {e}"))
    }

    /// Closes the connection at once, whatever is under way.
    pub fn vanish(self) {
        self.connection.abort();
    }

    /// Waits until the gateway ends the connection.
    pub async fn ended(&mut self) -> Result<(), h2::Error> {
        (&mut self.connection).await.unwrap()
    }
}

/// Sends a piece of a body as far as flow control allows, to its end.
pub async fn send(sender: &mut SendStream<Bytes>, mut bytes: Bytes, end: bool) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        sender.reserve_capacity(bytes.len());
        let Some(room) = std::future::poll_fn(|cx| sender.poll_capacity(cx)).await else { break };
        let piece = bytes.split_to(room?.min(bytes.len()));
        sender.send_data(piece, end && bytes.is_empty())?;
        if end && bytes.is_empty() {
            return Ok(());
        }
    }
    if end { sender.send_data(Bytes::new(), true) } else { Ok(()) }
}

/// Reads a response whole.
pub async fn read(answer: ResponseFuture) -> Result<Answer, h2::Error> {
    let (head, mut stream) = answer.await?.into_parts();
    let mut body = Vec::new();
    let length =
        head.headers.get("content-length").map(|length| length.to_str().unwrap().parse::<usize>().unwrap());
    while let Some(bytes) = stream.data().await {
        match bytes {
            Ok(bytes) => {
                release(&mut stream, bytes.len());
                body.extend_from_slice(&bytes);
            }
            // RFC 9113 §8.1: whole, and the rest of the request is not wanted.
            Err(e) if e.reason() == Some(Reason::NO_ERROR) && length == Some(body.len()) => break,
            Err(e) => return Err(e),
        }
    }
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
}

/// Tells the gateway that these bytes were used.
pub fn release(stream: &mut RecvStream, bytes: usize) {
    stream.flow_control().release_capacity(bytes).unwrap();
}
