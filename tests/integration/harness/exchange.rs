//! One request as an upstream's handler sees it: the parsed head, a body that is read only on demand, and
//! the bare connection to answer on in any way, lawful or not.

use std::io;
use std::time::Duration;

use serde_json::json;

use super::head::{Framing, Head};
use super::upstream::Shared;
use super::wire::Wire;

/// What becomes of the connection after the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Wait for the next request.
    Keep,
    /// End our side, and close when the peer has ended its own.
    Close,
    /// Close both ways at once.
    Drop,
    /// Close with a reset (RST).
    Reset,
}

/// See the module.
pub struct Exchange<'a> {
    pub head: &'a Head,
    pub wire: &'a mut Wire,
    /// Requests that this upstream had seen before, over all connections.
    pub number: usize,
    /// Requests that this connection had seen before.
    pub nth: usize,
    pub(super) framing: Framing,
    pub(super) unread: bool,
    pub(super) shared: &'a Shared,
}

impl Exchange<'_> {
    /// The request's method.
    pub fn method(&self) -> &str {
        self.head.start.split(' ').next().unwrap_or_default()
    }

    /// The request target as it was received.
    pub fn target(&self) -> &str {
        self.head.start.split(' ').nth(1).unwrap_or_default()
    }

    /// Reads the body and keeps it in the record; empty when it was read before.
    pub fn body(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if !self.unread {
            return Ok(body);
        }
        self.read_body(&mut |piece| body.extend_from_slice(piece))?;
        let kept = body.clone();
        // Both at once: who finds a complete request finds its body.
        self.shared.amend(self.number, |request| (request.body, request.complete) = (kept, true));
        Ok(body)
    }

    /// Reads the body (once) and only counts it.
    pub fn count_body(&mut self) -> io::Result<u64> {
        let mut length = 0;
        if self.unread {
            self.read_body(&mut |piece| length += piece.len() as u64)?;
            self.shared.amend(self.number, |request| request.complete = true);
        }
        Ok(length)
    }

    fn read_body(&mut self, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        self.unread = false;
        self.wire.body(self.framing, sink)?;
        Ok(())
    }

    /// Reads the request's body and answers. Adds a content-length unless `headers` frame the body already.
    pub fn reply(&mut self, status: u16, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Then> {
        self.body()?;
        let mut head = format!("HTTP/1.1 {status} Status\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        let framed =
            |n: &str| n.eq_ignore_ascii_case("content-length") || n.eq_ignore_ascii_case("transfer-encoding");
        if !headers.iter().any(|(name, _)| framed(name)) && status != 204 && status != 304 {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        let mut bytes = (head + "\r\n").into_bytes();
        if self.method() != "HEAD" {
            bytes.extend_from_slice(body);
        }
        self.wire.write(bytes)?;
        Ok(Then::Keep)
    }

    /// 200 with `body`.
    pub fn ok(&mut self, body: &str) -> io::Result<Then> {
        self.reply(200, &[], body.as_bytes())
    }

    /// 200 with what arrived, as JSON: `method`, `target`, `headers` (pairs), `body`.
    pub fn echo(&mut self) -> io::Result<Then> {
        let body = self.body()?;
        let seen = json!({
            "method": self.method(), "target": self.target(), "headers": self.head.headers,
            "body": String::from_utf8_lossy(&body),
        });
        self.reply(200, &[("Content-Type", "application/json")], seen.to_string().as_bytes())
    }

    /// Reads the request, then writes `bytes` as they are.
    pub fn answer(&mut self, bytes: impl AsRef<[u8]>, then: Then) -> io::Result<Then> {
        self.body()?;
        self.wire.write(bytes)?;
        Ok(then)
    }

    /// Blocks until the peer closes or resets, ten seconds at most; true when it did.
    pub fn wait_for_close(&mut self) -> bool {
        self.wire.timeout(Duration::from_secs(10));
        match self.wire.body(Framing::Close, &mut |_| {}) {
            Ok(()) => true,
            Err(e) => !matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        }
    }
}
