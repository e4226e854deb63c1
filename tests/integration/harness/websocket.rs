//! Both ends of a websocket: the client that goes through the gateway, and the upstream that echoes.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::client::{Call, Client};
use super::exchange::{Exchange, Then};
use super::frames::{Frame, Opcode};
use super::response::Response;
use super::wire::{Wire, invalid};

/// The pair of RFC 6455 section 1.3, so that nobody here needs SHA-1.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The opening handshake as a client sends it.
pub fn upgrade_request(target: &str) -> Call {
    Call::get(target)
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", KEY)
}

/// A client's end of an open websocket.
pub struct WebSocket {
    wire: Wire,
    /// The 101.
    pub handshake: Response,
}

impl WebSocket {
    /// Opens a websocket at `target`.
    pub fn open(addr: SocketAddr, target: &str) -> Self {
        Self::open_with(addr, &upgrade_request(target))
    }

    /// Opens a websocket with a handshake of the caller's.
    pub fn open_with(addr: SocketAddr, call: &Call) -> Self {
        let mut client = Client::connect(addr);
        let handshake = client.send(call);
        assert_eq!(handshake.status, 101, "{handshake:?}");
        assert_eq!(handshake.header("sec-websocket-accept"), Some(ACCEPT));
        assert!(handshake.head.lists("connection", "upgrade"), "{handshake:?}");
        assert!(handshake.head.lists("upgrade", "websocket"), "{handshake:?}");
        Self { wire: client.into_wire(), handshake }
    }

    /// Sends a frame.
    pub fn send(&mut self, frame: &Frame) {
        self.wire.write(frame.bytes(Some(MASK))).expect("the tunnel takes the frame");
    }

    /// Sends a text message.
    pub fn text(&mut self, text: &str) {
        self.send(&Frame::new(Opcode::Text, text));
    }

    /// Reads a frame.
    pub fn try_read(&mut self) -> io::Result<Frame> {
        match Frame::read(&mut self.wire)? {
            (frame, false) => Ok(frame),
            (_, true) => Err(invalid("a masked frame from the server".into())),
        }
    }

    /// Reads a frame that must come.
    pub fn read(&mut self) -> Frame {
        self.try_read().expect("a frame comes back")
    }

    /// Sends a text and expects it back.
    pub fn assert_echo(&mut self, text: &str) {
        self.text(text);
        assert_eq!(self.read(), Frame::new(Opcode::Text, text));
    }

    /// True when the tunnel ends within five seconds without another frame.
    pub fn ends(&mut self) -> bool {
        self.wire.timeout(Duration::from_secs(5));
        let silent = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut];
        self.try_read().is_err_and(|e| !silent.contains(&e.kind()))
    }
}

/// An upstream's handler: accepts the handshake, chooses the last subprotocol that was offered, and echoes.
/// Answers a ping with a pong, a close with the same close, and the text `ping me` with a ping.
pub fn echo_websocket(exchange: &mut Exchange) -> io::Result<Then> {
    if exchange.head.get("sec-websocket-key") != Some(KEY) || !exchange.head.lists("connection", "upgrade") {
        return exchange.ok("no handshake");
    }
    let mut answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {ACCEPT}\r\n"
    );
    if let Some(last) =
        exchange.head.get("sec-websocket-protocol").and_then(|offer| offer.split(',').next_back())
    {
        answer += &format!("Sec-WebSocket-Protocol: {}\r\n", last.trim());
    }
    exchange.wire.write(answer + "\r\n")?;
    exchange.wire.timeout(Duration::from_secs(60));
    loop {
        let (frame, masked) = Frame::read(exchange.wire)?;
        if !masked {
            return Err(invalid("an unmasked frame from the client".into()));
        }
        let reply = match frame.opcode {
            Opcode::Ping => Frame { opcode: Opcode::Pong, ..frame },
            Opcode::Text if frame.payload == b"ping me" => Frame::new(Opcode::Ping, "are you there"),
            _ => frame,
        };
        exchange.wire.write(reply.bytes(None))?;
        if reply.opcode == Opcode::Close {
            return Ok(Then::Close);
        }
    }
}
