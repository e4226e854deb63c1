//! Answers as they come back on one connection, read strictly, every byte kept for the report.

use std::io::{self, Read as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::{Framing, Head, Response};

/// How long nothing may come that has to.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Why nothing more comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The gateway has ended its side.
    Closed,
    /// By a reset.
    Reset,
    /// Nothing came for [`PATIENCE`].
    Silence,
    /// What came is not HTTP.
    Malformed(String),
}

/// An answer, or as much as came of it.
pub struct Came {
    pub response: Response,
    /// What ended it early.
    pub cut: Option<End>,
}

/// The client's reading side.
pub struct Answers {
    stream: TcpStream,
    /// All that came.
    pub bytes: Vec<u8>,
    at: usize,
}

impl Answers {
    /// Reads from this socket.
    pub fn new(stream: TcpStream) -> Self {
        let _ = stream.set_read_timeout(Some(PATIENCE));
        Self { stream, bytes: Vec::new(), at: 0 }
    }

    /// What has come and belongs to no answer yet.
    pub fn pending(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    fn more(&mut self) -> Result<(), End> {
        let mut chunk = [0; 65536];
        loop {
            return match self.stream.read(&mut chunk) {
                Ok(0) => Err(End::Closed),
                Ok(read) => {
                    self.bytes.extend_from_slice(&chunk[..read]);
                    Ok(())
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    Err(End::Silence)
                }
                Err(_) => Err(End::Reset),
            };
        }
    }

    /// Exactly so many bytes.
    pub fn take(&mut self, count: usize) -> Result<Vec<u8>, End> {
        while self.pending().len() < count {
            self.more()?;
        }
        self.at += count;
        Ok(self.bytes[self.at - count..self.at].to_vec())
    }

    /// The bytes through this mark.
    pub fn through(&mut self, mark: &[u8]) -> Result<Vec<u8>, End> {
        let mut from = 0;
        loop {
            if let Some(found) = self.pending()[from..].windows(mark.len()).position(|w| w == mark) {
                return self.take(from + found + mark.len());
            }
            from = self.pending().len().saturating_sub(mark.len());
            self.more()?;
        }
    }

    /// The next head, an interim one or a final one: its status and itself.
    pub fn head(&mut self) -> Result<(u16, Head), End> {
        let bytes = match self.through(b"\r\n\r\n") {
            Ok(bytes) => bytes,
            Err(end) if self.pending().is_empty() => return Err(end),
            Err(end) => return Err(End::Malformed(format!("{end:?} within a head"))),
        };
        let head = Head::parse(&bytes).map_err(End::Malformed)?;
        let status = head.start.strip_prefix("HTTP/1.1 ").or(head.start.strip_prefix("HTTP/1.0 "));
        let status =
            status.and_then(|rest| rest.get(..3)?.parse().ok().filter(|_| rest[3..].starts_with(' ')));
        let status = status.ok_or_else(|| End::Malformed(format!("status line {:?}", head.start)))?;
        Ok((status, head))
    }

    /// The body behind a final head, which answers a request with this method.
    pub fn body(&mut self, status: u16, head: Head, method: &str) -> Result<Came, End> {
        let stated = head.framing().map_err(End::Malformed)?;
        let empty = method == "HEAD" || matches!(status, 101 | 204 | 304);
        if matches!(status, 101 | 204) && stated.is_some() {
            return Err(End::Malformed(format!("{stated:?} in a {status}")));
        }
        let framing = if empty { Framing::Nothing } else { stated.unwrap_or(Framing::Close) };
        let mut body = Vec::new();
        let end = self.read_body(framing, &mut body);
        let version = head.start[..8].to_owned();
        let response = Response { status, version, head, body, framing, interim: Vec::new() };
        match end {
            Ok(()) => Ok(Came { response, cut: None }),
            Err(End::Malformed(what)) => Err(End::Malformed(what)),
            Err(end) => Ok(Came { response, cut: Some(end) }),
        }
    }

    fn read_body(&mut self, framing: Framing, body: &mut Vec<u8>) -> Result<(), End> {
        match framing {
            Framing::Nothing => Ok(()),
            Framing::Length(length) => self.pass(length as usize, body),
            Framing::Close => loop {
                body.extend_from_slice(&self.bytes[self.at..]);
                self.at = self.bytes.len();
                match self.more() {
                    Ok(()) => {}
                    Err(End::Closed) => return Ok(()),
                    Err(end) => return Err(end),
                }
            },
            Framing::Chunked => loop {
                let line = self.through(b"\r\n")?;
                let line = String::from_utf8_lossy(&line[..line.len() - 2]).into_owned();
                let hex = !line.is_empty() && line.bytes().all(|b| b.is_ascii_hexdigit());
                let size = hex.then(|| usize::from_str_radix(&line, 16).ok()).flatten();
                let size = size.ok_or_else(|| End::Malformed(format!("chunk size {line:?}")))?;
                if size == 0 {
                    let mut trailers = b"TRAILERS\r\n".to_vec();
                    while !trailers.ends_with(b"\r\n\r\n") {
                        trailers.extend(self.through(b"\r\n")?);
                    }
                    return Head::parse(&trailers).map(drop).map_err(End::Malformed);
                }
                self.pass(size, body)?;
                if self.take(2)? != b"\r\n" {
                    return Err(End::Malformed(format!("no CRLF behind a chunk of {size} bytes")));
                }
            },
        }
    }

    fn pass(&mut self, mut left: usize, body: &mut Vec<u8>) -> Result<(), End> {
        while left > 0 {
            if self.pending().is_empty() {
                self.more()?;
            }
            let piece = self.take(left.min(self.pending().len()))?;
            left -= piece.len();
            body.extend(piece);
        }
        Ok(())
    }

    /// All that comes until the gateway ends its side.
    pub fn rest(&mut self) -> (Vec<u8>, End) {
        let end = loop {
            if let Err(end) = self.more() {
                break end;
            }
        };
        let rest = self.pending().to_vec();
        self.at = self.bytes.len();
        (rest, end)
    }
}
