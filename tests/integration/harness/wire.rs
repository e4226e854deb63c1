//! A buffered connection that reads HTTP/1 pieces exactly and never more leniently than RFC 9112.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::head::Framing;

/// A socket, plain or under TLS.
pub trait Stream: Read + Write + Send {
    /// The TCP socket underneath, for timeouts and shutdown.
    fn tcp(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Stream for rustls::StreamOwned<rustls::ServerConnection, TcpStream> {
    fn tcp(&self) -> &TcpStream {
        &self.sock
    }
}

impl Stream for rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    fn tcp(&self) -> &TcpStream {
        &self.sock
    }
}

/// A connection and what was read from it but not yet used.
pub struct Wire {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
    at: usize,
}

impl Wire {
    /// Takes the socket over, with a read and write timeout of ten seconds.
    pub fn new(stream: impl Stream + 'static) -> Self {
        let wire = Self { stream: Box::new(stream), buffer: Vec::new(), at: 0 };
        wire.timeout(Duration::from_secs(10));
        let _ = wire.tcp().set_write_timeout(Some(Duration::from_secs(10)));
        let _ = wire.tcp().set_nodelay(true);
        wire
    }

    /// The TCP socket underneath.
    pub fn tcp(&self) -> &TcpStream {
        self.stream.tcp()
    }

    /// Sets how long one read may take.
    pub fn timeout(&self, limit: Duration) {
        let _ = self.tcp().set_read_timeout(Some(limit));
    }

    /// Writes all of `bytes`.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())?;
        self.stream.flush()
    }

    /// Tells the peer that nothing more will be sent.
    pub fn finish_writing(&self) {
        let _ = self.tcp().shutdown(Shutdown::Write);
    }

    /// Makes the close that follows a reset (RST) instead of an orderly end (FIN).
    pub fn reset_on_close(&self) {
        let _ = socket2::SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO));
    }

    /// What has arrived and was not used yet.
    pub fn pending(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    fn fill(&mut self) -> io::Result<usize> {
        if self.at > 0 {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        let mut chunk = [0; 65536];
        let read = loop {
            match self.stream.read(&mut chunk) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // A TLS peer that goes away without close_notify.
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => break 0,
                other => break other?,
            }
        };
        self.buffer.extend_from_slice(&chunk[..read]);
        Ok(read)
    }

    fn need(&mut self) -> io::Result<()> {
        match self.fill()? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// The bytes up to and including `end`; `None` when the peer closed before the first of them.
    pub fn through(&mut self, end: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut from = 0;
        loop {
            if let Some(i) = self.pending()[from..].windows(end.len()).position(|w| w == end) {
                let stop = self.at + from + i + end.len();
                let bytes = self.buffer[self.at..stop].to_vec();
                self.at = stop;
                return Ok(Some(bytes));
            }
            from = self.pending().len().saturating_sub(end.len());
            if self.fill()? == 0 {
                return if self.pending().is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// Exactly `count` bytes.
    pub fn exact(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(count);
        self.body(Framing::Length(count as u64), &mut |piece| bytes.extend_from_slice(piece))?;
        Ok(bytes)
    }

    /// Reads a body and hands it to `sink` in pieces as they come.
    pub fn body(&mut self, framing: Framing, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        match framing {
            Framing::Nothing => Ok(()),
            Framing::Length(length) => self.pass(length, sink),
            Framing::Close => loop {
                sink(self.pending());
                self.at = self.buffer.len();
                if self.fill()? == 0 {
                    return Ok(());
                }
            },
            Framing::Chunked => loop {
                let size = self.chunk_size()?;
                if size == 0 {
                    while self.line()? != b"\r\n" {}
                    return Ok(());
                }
                self.pass(size, sink)?;
                if self.line()? != b"\r\n" {
                    return Err(invalid("no CRLF after chunk data".into()));
                }
            },
        }
    }

    fn pass(&mut self, mut left: u64, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        while left > 0 {
            if self.pending().is_empty() {
                self.need()?;
            }
            let take = self.pending().len().min(usize::try_from(left).unwrap_or(usize::MAX));
            sink(&self.buffer[self.at..self.at + take]);
            self.at += take;
            left -= take as u64;
        }
        Ok(())
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        self.through(b"\r\n")?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn chunk_size(&mut self) -> io::Result<u64> {
        let line = self.line()?;
        let text = String::from_utf8_lossy(&line[..line.len() - 2]).into_owned();
        let digits = text.split(';').next().unwrap_or_default();
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(invalid(format!("chunk size {text:?}")));
        }
        u64::from_str_radix(digits, 16).map_err(|_| invalid(format!("chunk size {text:?}")))
    }
}

pub fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
