//! The line ends of a request head.

/// Follows the lines of a request head: httparse takes a bare line feed for a line end, other parsers do not, and what
/// two parsers read differently is refused (RFC 9112 §2.2).
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadLines {
    /// The last byte was a carriage return.
    cr: bool,
    /// Bytes of the current line, up to 2 of interest.
    line: usize,
    /// A line with content has been seen.
    begun: bool,
    /// The blank line has been seen; what follows is no head.
    done: bool,
}

impl HeadLines {
    /// How many of `bytes` lie behind the head; `None` when a line of it does not end in CRLF.
    pub fn accept(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut from = 0;
        while !self.done {
            let Some(at) = memchr::memchr(b'\n', &bytes[from..]) else { break };
            let end = from + at;
            let cr = if end > 0 { bytes[end - 1] == b'\r' } else { self.cr };
            if !cr {
                return None;
            }
            let blank = self.line + at == 1;
            self.done = blank && self.begun;
            self.begun |= !blank;
            self.line = 0;
            from = end + 1;
        }
        self.line += bytes.len() - from;
        self.cr = bytes.last() == Some(&b'\r');
        Some(if self.done { bytes.len() - from } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::HeadLines;

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
}
