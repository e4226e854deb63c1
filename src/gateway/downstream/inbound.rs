//! Where a request ends in what a client sends.

use super::head_lines::HeadLines;
use crate::gateway::chunked::Chunked;
use crate::gateway::request_body::RequestFraming;

/// Follows one request, so that actix is given no byte of the next one before this one is answered: it would decode it
/// at once, and what it has decoded last decides how it encodes the answers of all that wait (whether they have a body
/// at all, their version, the end of the connection).
#[derive(Debug)]
pub enum Inbound {
    /// Within the head, or in front of it.
    Head(HeadLines),
    /// So many bytes of the body are still to come.
    Body(u64),
    /// Within a chunked body.
    Chunks(Chunked),
    /// In front of the first byte of a chunked body that is none. It is kept from actix, which takes some of what is
    /// refused here, and drops the connection without an answer where it does not.
    Malformed,
    /// All of it has been seen.
    Done,
}

/// A line of a request head does not end in CRLF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BareLineFeed;

impl Default for Inbound {
    fn default() -> Self {
        Self::Head(HeadLines::default())
    }
}

impl Inbound {
    /// Takes in `bytes` and answers how many of them belong to this request.
    ///
    /// # Errors
    /// [`BareLineFeed`] in the head.
    pub fn accept(&mut self, bytes: &[u8]) -> Result<usize, BareLineFeed> {
        let mut own = 0;
        if let Self::Head(lines) = self {
            own = lines.accept(bytes).ok_or(BareLineFeed)?;
            *self = match lines.body() {
                None => return Ok(own),
                Some(RequestFraming::None | RequestFraming::Length(0)) => Self::Done,
                Some(RequestFraming::Length(length)) => Self::Body(length),
                Some(RequestFraming::Chunked) => Self::Chunks(Chunked::default()),
            };
        }
        let rest = &bytes[own..];
        Ok(own + self.accept_body(rest))
    }

    fn accept_body(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::Head(_) | Self::Malformed | Self::Done => 0,
            Self::Body(left) => {
                let own = (*left).min(bytes.len() as u64);
                *left -= own;
                if *left == 0 {
                    *self = Self::Done;
                }
                // At most `bytes.len()`.
                own as usize
            }
            Self::Chunks(chunks) => match chunks.scan(bytes) {
                Ok(own) => {
                    if chunks.is_done() {
                        *self = Self::Done;
                    }
                    own
                }
                Err(malformed) => {
                    *self = Self::Malformed;
                    malformed.fine
                }
            },
        }
    }

    /// Whether what comes next cannot be its body.
    pub fn is_malformed(&self) -> bool {
        matches!(self, Self::Malformed)
    }

    /// Whether all of it has been seen.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_end_where_the_next_one_begins_however_they_arrive() {
        let requests = [
            "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n",
            "\r\nPOST /2 HTTP/1.1\r\nContent-Length: 7\r\n\r\na\nb\r\n\r\n",
            "POST /3 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nGET \r\n0\r\nX: y\r\n\r\n",
            "HEAD /4 HTTP/1.0\r\ncontent-length: 0\r\n\r\n",
        ];
        let all = requests.concat();
        for step in 1..=all.len() {
            let mut found = vec![String::new()];
            let mut inbound = Inbound::default();
            for piece in all.as_bytes().chunks(step) {
                let mut left = piece;
                while !left.is_empty() {
                    if inbound.is_done() {
                        inbound = Inbound::default();
                        found.push(String::new());
                    }
                    let own = inbound.accept(left).unwrap();
                    found.last_mut().unwrap().push_str(std::str::from_utf8(&left[..own]).unwrap());
                    left = &left[own..];
                }
            }
            assert!(inbound.is_done());
            assert_eq!(found, requests, "{step} bytes at once");
        }
    }

    #[test]
    fn nothing_behind_a_malformed_chunk_is_taken_for_a_body_or_a_request() {
        let head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let long = format!("5;{}\r\n", "x".repeat(20_000));
        for (body, own) in [("x\r\n", 0), ("0\r\nA\x01\r\n\r\n", 4), (long.as_str(), 2 + 16 * 1024)] {
            let mut inbound = Inbound::default();
            assert_eq!(inbound.accept(head), Ok(head.len()));
            assert!(!inbound.is_malformed());
            assert_eq!(inbound.accept(body.as_bytes()), Ok(own), "{}", &body[..3]);
            assert!(inbound.is_malformed() && !inbound.is_done());
            assert_eq!(inbound.accept(b"GET / HTTP/1.1\r\n\r\n"), Ok(0));
        }
    }
}
