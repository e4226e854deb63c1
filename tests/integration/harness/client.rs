//! An HTTP/1.1 client over a blocking socket: it sends any bytes and reads responses strictly.

use std::fmt::Write as _;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};
use rustls_pki_types::ServerName;

use super::head::{Framing, Head};
use super::response::Response;
use super::wire::Wire;

/// A request to send.
#[derive(Clone, Debug)]
pub struct Call {
    method: String,
    target: String,
    version: &'static str,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Call {
    /// A request without a body.
    pub fn new(method: &str, target: &str) -> Self {
        let (method, target) = (method.to_owned(), target.to_owned());
        Self { method, target, version: "HTTP/1.1", headers: Vec::new(), body: Vec::new() }
    }

    /// `GET target`.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// `POST target` with a body and its content-length.
    pub fn post(target: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", target).body(body)
    }

    /// Adds a header line.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Speaks HTTP/1.0.
    pub fn http10(mut self) -> Self {
        self.version = "HTTP/1.0";
        self
    }

    /// A body with its content-length.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        let length = self.body.len().to_string();
        self.header("Content-Length", &length)
    }

    /// A chunked body, one chunk for each piece.
    pub fn chunks(mut self, pieces: &[&[u8]]) -> Self {
        for piece in pieces {
            self.body.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            self.body.extend_from_slice(piece);
            self.body.extend_from_slice(b"\r\n");
        }
        self.body.extend_from_slice(b"0\r\n\r\n");
        self.header("Transfer-Encoding", "chunked")
    }

    /// The bytes on the wire; `host` is used when no `Host` was given.
    pub fn bytes(&self, host: &str) -> Vec<u8> {
        let mut head = format!("{} {} {}\r\n", self.method, self.target, self.version);
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            let _ = write!(head, "Host: {host}\r\n");
        }
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head += "\r\n";
        [head.as_bytes(), &self.body].concat()
    }
}

/// Why there is no whole response.
#[derive(Debug)]
pub enum Broken {
    /// The connection ended (or was reset) before the first byte of a response.
    Closed,
    /// The connection ended inside the response; what came until then.
    Cut(Box<Response>),
    /// Nothing came in time.
    Silent,
    /// What came is not HTTP.
    Malformed(#[expect(dead_code, reason = "shown when the test fails")] String),
}

/// See the module.
pub struct Client {
    wire: Wire,
    host: String,
}

impl Client {
    /// Connects; reads time out after ten seconds.
    pub fn connect(addr: SocketAddr) -> Self {
        Self::try_connect(addr).unwrap_or_else(|e| panic!("cannot connect to {addr}: {e}"))
    }

    /// Connects if somebody listens.
    pub fn try_connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, Duration::from_secs(5))?;
        Ok(Self { wire: Wire::new(stream), host: addr.to_string() })
    }

    /// Connects under TLS and shakes hands; tells the server's certificate (DER) too.
    pub fn secure(addr: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<(Self, Vec<u8>)> {
        Self::secure_for(&addr.ip().to_string(), addr, config).map(|(client, shown, _)| (client, shown))
    }

    /// The same, asking for this name, and whether the handshake was a whole one or resumed a session.
    pub fn secure_for(
        name: &str,
        addr: SocketAddr,
        config: &Arc<ClientConfig>,
    ) -> io::Result<(Self, Vec<u8>, HandshakeKind)> {
        let mut stream = TcpStream::connect_timeout(&addr, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let mut session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        let certificate = session.peer_certificates().and_then(|chain| chain.first()).unwrap().to_vec();
        let kind = session.handshake_kind().unwrap();
        let wire = Wire::new(StreamOwned::new(session, stream));
        Ok((Self { wire, host: addr.to_string() }, certificate, kind))
    }

    /// The connection itself.
    pub fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// Gives the connection away, for another protocol on it.
    pub fn into_wire(self) -> Wire {
        self.wire
    }

    /// Sends `GET target` and reads the answer.
    pub fn get(&mut self, target: &str) -> Response {
        self.send(&Call::get(target))
    }

    /// Sends a request and reads the answer.
    pub fn send(&mut self, call: &Call) -> Response {
        self.try_send(call).unwrap_or_else(|broken| panic!("{} {}: {broken:?}", call.method, call.target))
    }

    /// Sends a request and reads the answer, which may come before everything is sent.
    pub fn try_send(&mut self, call: &Call) -> Result<Response, Broken> {
        let _ = self.wire.write(call.bytes(&self.host));
        self.read(&call.method)
    }

    /// Sends a request and does not wait for the answer.
    pub fn start(&mut self, call: &Call) {
        self.wire.write(call.bytes(&self.host)).expect("the gateway takes the request");
    }

    /// Sends bytes as they are, as far as the gateway takes them.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.wire.write(bytes);
    }

    /// Reads the response to a request with `method`.
    pub fn read(&mut self, method: &str) -> Result<Response, Broken> {
        let mut response = self.read_head(method)?;
        let mut body = Vec::new();
        let end = self.wire.body(response.framing, &mut |piece| body.extend_from_slice(piece));
        response.body = body;
        match end {
            Ok(()) => Ok(response),
            Err(e) if e.kind() == io::ErrorKind::InvalidData => Err(Broken::Malformed(e.to_string())),
            Err(e) if timed_out(&e) => Err(Broken::Silent),
            Err(_) => Err(Broken::Cut(Box::new(response))),
        }
    }

    /// Reads the head of the final response and leaves the body on the wire.
    pub fn read_head(&mut self, method: &str) -> Result<Response, Broken> {
        let mut interim = Vec::new();
        loop {
            let bytes = match self.wire.through(b"\r\n\r\n") {
                Ok(Some(bytes)) => bytes,
                Err(e) if timed_out(&e) => return Err(Broken::Silent),
                Ok(None) | Err(_) if self.wire.pending().is_empty() => return Err(Broken::Closed),
                _ => {
                    let pending = String::from_utf8_lossy(self.wire.pending()).into_owned();
                    return Err(Broken::Malformed(format!("head cut after {pending:?}")));
                }
            };
            let head = Head::parse(&bytes).map_err(Broken::Malformed)?;
            let (version, status) = status_line(&head.start).map_err(Broken::Malformed)?;
            if (100..200).contains(&status) && status != 101 {
                interim.push(status);
                continue;
            }
            let stated = head.framing().map_err(Broken::Malformed)?;
            let empty = method == "HEAD" || status == 204 || status == 304 || status == 101;
            let framing = if empty { Framing::Nothing } else { stated.unwrap_or(Framing::Close) };
            return Ok(Response { status, version, head, body: Vec::new(), framing, interim });
        }
    }

    /// True when the connection ends within five seconds and nothing more comes on it.
    pub fn ends(&mut self) -> bool {
        self.wire.timeout(Duration::from_secs(5));
        let mut more = 0;
        let end = self.wire.body(Framing::Close, &mut |piece| more += piece.len());
        more == 0 && end.err().is_none_or(|e| !timed_out(&e))
    }
}

fn timed_out(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn status_line(line: &str) -> Result<(String, u16), String> {
    let bad = || format!("status line {line:?}");
    let (version, rest) = line.split_once(' ').ok_or_else(bad)?;
    let code = rest.split(' ').next().unwrap_or_default();
    if !["HTTP/1.1", "HTTP/1.0"].contains(&version) || code.len() != 3 {
        return Err(bad());
    }
    Ok((version.to_owned(), code.parse().map_err(|_| bad())?))
}
