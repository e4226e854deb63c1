//! Answers as HTTP/1 bytes: the head in front, then the body as it comes.

use std::io::{self, Write as _};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use actix_http::StatusCode;

use super::client::Client;
use crate::gateway::deadline::{Deadline, saturating_deadline};
use crate::gateway::headers::add_bytes;
use crate::gateway::outbox::Outbox;
use crate::gateway::response::{Length, Response};

/// Bytes that are collected before they are written; what is there is written when the upstream pauses.
const COLLECTED: usize = 64 * 1024;
/// Pieces from this size on are written from where they are.
const DIRECT: usize = 16 * 1024;
/// Room for most heads.
const HEAD: usize = 1024;

/// How an answer's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// By its length, or by the end of the connection.
    Plain,
    /// So many bytes of the chunk that has been begun are still to come.
    Chunked(usize),
}

/// How the connection goes on behind an answer.
#[derive(Clone, Copy, Debug)]
pub struct Persistence {
    pub persists: bool,
    /// The client speaks HTTP/1.1.
    pub modern: bool,
}

/// An answer on its way out.
pub struct Outgoing {
    out: Outbox,
    framing: Framing,
    stall: Stall,
}

impl Outgoing {
    /// Begins with the head of `response`, behind bytes that must go out before it. Answers whether the connection can go on.
    pub fn new(response: &Response, before: &[u8], how: Persistence) -> (Self, bool) {
        let mut out = Outbox::with_capacity(HEAD);
        let head = out.tail();
        head.extend_from_slice(before);
        let status = response.status;
        let reason = response.reason.as_deref().or_else(|| status.canonical_reason());
        for part in ["HTTP/1.1 ", status.as_str(), " ", reason.unwrap_or(""), "\r\n"] {
            head.extend_from_slice(part.as_bytes());
        }
        response.fields.write(head);
        let mut persists = how.persists;
        let mut framing = Framing::Plain;
        match response.length {
            Length::None => {}
            Length::Stated(n) | Length::Sized(n) => {
                add_bytes(head, "content-length", itoa::Buffer::new().format(n).as_bytes());
            }
            Length::Unknown if how.modern => {
                framing = Framing::Chunked(0);
                add_bytes(head, "transfer-encoding", b"chunked");
            }
            // RFC 9112 §6.1: no chunked coding to a client that may not know it.
            Length::Unknown => persists = false,
        }
        if status == StatusCode::SWITCHING_PROTOCOLS {
            add_bytes(head, "connection", b"upgrade");
        } else if !persists {
            add_bytes(head, "connection", b"close");
        } else if !how.modern {
            add_bytes(head, "connection", b"keep-alive");
        }
        head.extend_from_slice(b"\r\n");
        (Self { out, framing, stall: Stall::new(response.write_limit) }, persists)
    }

    /// Takes some of `data`, part of the body: into what is collected, or to the client.
    ///
    /// # Errors
    /// The socket's, or the client takes nothing for too long.
    pub fn poll_put(
        &mut self,
        client: &Client,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.framing == Framing::Chunked(0) {
            let _ = write!(self.out.tail(), "{:x}\r\n", data.len());
            self.framing = Framing::Chunked(data.len());
        }
        let data = match self.framing {
            Framing::Plain => data,
            Framing::Chunked(left) => &data[..left.min(data.len())],
        };
        let taken = if data.len() < DIRECT && self.out.len() < COLLECTED {
            self.out.tail().extend_from_slice(data);
            data.len()
        } else {
            loop {
                let (out, stall) = (&mut self.out, &mut self.stall);
                let written =
                    stall.watch(cx, |cx| out.poll_write(cx, data, |cx, parts| client.poll_write(cx, parts)));
                match ready!(written)? {
                    0 => {}
                    n => break n,
                }
            }
        };
        if let Framing::Chunked(left) = &mut self.framing {
            *left -= taken;
            if *left == 0 {
                self.out.tail().extend_from_slice(b"\r\n");
            }
        }
        Poll::Ready(Ok(taken))
    }

    /// The body is complete.
    pub fn end(&mut self) {
        if let Framing::Chunked(_) = self.framing {
            self.out.tail().extend_from_slice(b"0\r\n\r\n");
        }
    }

    /// Writes what is collected.
    ///
    /// # Errors
    /// As [`Outgoing::poll_put`].
    pub fn poll_flush(&mut self, client: &Client, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (out, stall) = (&mut self.out, &mut self.stall);
        while out.len() > 0 {
            let written =
                stall.watch(cx, |cx| out.poll_write(cx, b"", |cx, parts| client.poll_write(cx, parts)));
            ready!(written)?;
        }
        stall.watch(cx, |cx| client.poll_flush(cx))
    }
}

/// How long a client may take nothing of what is written to it.
pub struct Stall {
    limit: Duration,
    /// Armed while it does.
    waits: Option<Deadline>,
}

impl Stall {
    /// It may for so long.
    pub fn new(limit: Duration) -> Self {
        Self { limit, waits: None }
    }

    /// Tries to write.
    ///
    /// # Errors
    /// The write's, or it has come to nothing for too long.
    pub fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(&mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let written = write(cx);
        if written.is_ready() {
            self.waits = None;
            return written;
        }
        let waits =
            self.waits.get_or_insert_with(|| Deadline::at(saturating_deadline(Instant::now(), self.limit)));
        ready!(waits.poll_passed(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}
