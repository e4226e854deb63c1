//! The lines of a request head.

use crate::gateway::request_body::RequestFraming;

/// Follows the lines of a request head: httparse takes a bare line feed for a line end, other parsers do not, and what
/// two parsers read differently is refused (RFC 9112 §2.2).
#[derive(Clone, Debug)]
pub struct HeadLines {
    /// A line whose end has not arrived.
    partial: Vec<u8>,
    /// A line with content has been seen.
    begun: bool,
    /// The blank line has been seen; what follows is no head.
    done: bool,
    body: RequestFraming,
}

impl Default for HeadLines {
    fn default() -> Self {
        Self { partial: Vec::new(), begun: false, done: false, body: RequestFraming::None }
    }
}

impl HeadLines {
    /// How many of `bytes` belong to the head; `None` when a line of it does not end in CRLF.
    pub fn accept(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut from = 0;
        while !self.done {
            let Some(at) = memchr::memchr(b'\n', &bytes[from..]) else {
                self.partial.extend_from_slice(&bytes[from..]);
                return Some(bytes.len());
            };
            let end = &bytes[from..from + at];
            from += at + 1;
            if self.partial.is_empty() {
                self.line(end)?;
            } else {
                let mut line = std::mem::take(&mut self.partial);
                line.extend_from_slice(end);
                self.line(&line)?;
            }
        }
        Some(from)
    }

    fn line(&mut self, line: &[u8]) -> Option<()> {
        let line = line.strip_suffix(b"\r")?;
        self.done = line.is_empty() && self.begun;
        self.begun |= !line.is_empty();
        match framing_of(line) {
            // Beside a coding a length says nothing (RFC 9112 §6.3).
            Some(framing) if self.body != RequestFraming::Chunked => self.body = framing,
            _ => {}
        }
        Some(())
    }

    /// The body that the head announces, once it is complete.
    pub fn body(&self) -> Option<RequestFraming> {
        self.done.then_some(self.body)
    }
}

/// What one line says of the body. Names and numbers that are not well-formed say nothing: actix refuses their heads.
fn framing_of(line: &[u8]) -> Option<RequestFraming> {
    let (b'c' | b'C' | b't' | b'T') = line.first()? else { return None };
    let (name, value) = line.split_at(memchr::memchr(b':', line)?);
    if name.eq_ignore_ascii_case(b"transfer-encoding") {
        return Some(RequestFraming::Chunked);
    }
    if !name.eq_ignore_ascii_case(b"content-length") {
        return None;
    }
    let length = std::str::from_utf8(&value[1..]).ok()?.trim().parse().ok()?;
    Some(RequestFraming::Length(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(head: &str, step: usize) -> bool {
        let mut lines = HeadLines::default();
        head.as_bytes().chunks(step).all(|piece| lines.accept(piece).is_some())
    }

    #[test]
    fn a_bare_line_feed_in_a_head_is_seen_however_it_arrives() {
        for step in 1..12 {
            assert!(accepts("GET / HTTP/1.1\r\nHost: a\r\n\r\nbody\nwith\nlines", step), "{step}");
            assert!(accepts("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nbody\n", step), "{step}");
            assert!(!accepts("GET / HTTP/1.1\nHost: a\r\n\r\n", step), "{step}");
            assert!(!accepts("GET / HTTP/1.1\r\nHost: a\n\r\n", step), "{step}");
            assert!(!accepts("GET / HTTP/1.1\r\nHost: a\r\n\n", step), "{step}");
        }
    }

    #[test]
    fn the_body_that_a_head_announces_is_known_however_the_head_arrives() {
        for (fields, body) in [
            ("Host: a\r\n", RequestFraming::None),
            ("content-length:5\r\n", RequestFraming::Length(5)),
            ("CONTENT-LENGTH: \t17 \r\nHost: a\r\n", RequestFraming::Length(17)),
            ("Transfer-Encoding: chunked\r\n", RequestFraming::Chunked),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", RequestFraming::Chunked),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", RequestFraming::Chunked),
            ("X-Content-Length: 5\r\nContent-Lengths: 5\r\nTrailer: x\r\n", RequestFraming::None),
        ] {
            let head = format!("POST / HTTP/1.1\r\n{fields}\r\n");
            for step in 1..=head.len() {
                let mut lines = HeadLines::default();
                let whole = format!("{head}more");
                let own: usize =
                    whole.as_bytes().chunks(step).map(|piece| lines.accept(piece).unwrap()).sum();
                assert_eq!((own, lines.body()), (head.len(), Some(body)), "{head:?} {step}");
            }
        }
    }
}
