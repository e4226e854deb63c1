//! What an upstream's bytes mean: the response side of one HTTP/1 connection as a pure state machine.
//!
//! awc decides the borders of a response by itself, and gets some of them wrong without saying so: a body that
//! runs until close comes out empty, a 1xx becomes the answer, a 304 with a length waits for bytes that never
//! come, a truncated body ends cleanly. So every byte passes here first. [`Framing`] takes interim heads out,
//! rewrites the few bytes of a head that would mislead awc, follows the body to its end, and names every
//! violation. It owns no socket and no clock; `transport.rs` drives it.

use std::mem::MaybeUninit;

use thiserror::Error;

use crate::gateway::chunked::Chunked;

/// Bytes a response head, interim heads excluded, may have.
const HEAD_LIMIT: usize = 96 * 1024;
/// Header fields of one head; awc's own bound.
const FIELD_LIMIT: usize = 96;
/// Interim (1xx) heads before one answer.
const INTERIM_LIMIT: u32 = 64;

/// Names that hide `content-length` and `transfer-encoding` from awc where the answer has no body whatever they
/// say (RFC 9112 §6.3 item 1). Same length as the originals, and dropped from every answer.
pub const HIDDEN_LENGTH: &str = "x-no-body-leng";
/// See [`HIDDEN_LENGTH`].
pub const HIDDEN_CODING: &str = "x-no-body-codings";

/// Why an upstream's bytes cannot be passed on.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Violation {
    /// Not an HTTP/1 response head (RFC 9112 §4, §5).
    #[error("malformed response head")]
    Head,
    /// More than 96 KiB or 96 fields.
    #[error("response head too large")]
    HeadTooLarge,
    /// More than 64 interim heads.
    #[error("too many interim responses")]
    TooManyInterim,
    /// A 101 that nobody asked for (RFC 9110 §7.8).
    #[error("unsolicited 101")]
    UnsolicitedUpgrade,
    /// Invalid, repeated or contradictory `content-length` (RFC 9112 §6.3 item 5).
    #[error("invalid content-length")]
    ContentLength,
    /// A transfer coding other than `chunked` alone (RFC 9112 §6.1).
    #[error("unsupported transfer-encoding")]
    TransferEncoding,
    /// Bytes that are no chunked body (RFC 9112 §7.1).
    #[error("malformed chunked body")]
    ChunkedBody,
    /// The connection ended inside a response (RFC 9112 §8).
    #[error("response ended early")]
    Truncated,
}

/// What the request asked for, as far as it bears on the answer's framing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// The method was HEAD.
    pub head: bool,
    /// The request offered an upgrade, so that a 101 is an answer.
    pub upgrade: bool,
    /// A body of known length and at least this many bytes is taken from the transport; awc is told of none.
    pub detach: Option<u64>,
}

/// Where a body ends.
#[derive(Clone, Debug)]
enum Body {
    Length(u64),
    Chunked(Chunked),
    UntilClose,
    Tunnel,
}

/// Position in the response.
#[derive(Clone, Debug)]
enum At {
    Head,
    Body(Body),
    Done,
}

/// A complete final head, found at the front of the bytes given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of interim heads in front of it, to be dropped.
    pub skip: usize,
    /// Bytes of the head itself, blank line included.
    pub len: usize,
    /// Status code, 101 or 200–999.
    pub status: u16,
    /// The connection may carry another request after this response.
    pub reusable: bool,
    /// `content-length` where it counts, whether or not a body follows.
    pub content_length: Option<u64>,
    /// awc has been told of no body although one follows; see [`Asked::detach`].
    pub detached: bool,
}

/// The state machine for one response.
#[derive(Clone, Debug)]
pub struct Framing {
    at: At,
    asked: Asked,
}

impl Framing {
    /// Waits for the response to a request like `asked`.
    pub fn new(asked: Asked) -> Self {
        Self { at: At::Head, asked }
    }

    /// Leaves the body to awc whatever was asked.
    pub fn keep_attached(&mut self) {
        self.asked.detach = None;
    }

    /// Whether the final head has not been seen yet.
    pub fn awaits_head(&self) -> bool {
        matches!(self.at, At::Head)
    }

    /// Whether the response is complete.
    pub fn is_done(&self) -> bool {
        matches!(self.at, At::Done)
    }

    /// Bytes of the body that are still to come, where that is known.
    pub fn left(&self) -> Option<u64> {
        match self.at {
            At::Body(Body::Length(left)) => Some(left),
            At::Done => Some(0),
            At::Head | At::Body(_) => None,
        }
    }

    /// Looks for the final head in `bytes`, which hold everything received for this response so far. `None`: not
    /// complete yet. The head found is patched in place so that awc reads its borders right.
    ///
    /// # Errors
    /// Any [`Violation`] of a head.
    pub fn head(&mut self, bytes: &mut [u8]) -> Result<Option<Head>, Violation> {
        let (mut skip, mut interim) = (0, 0);
        loop {
            let Some(parsed) = parse(&bytes[skip..])? else {
                let rest = bytes.len() - skip;
                return if rest > HEAD_LIMIT { Err(Violation::HeadTooLarge) } else { Ok(None) };
            };
            if (100..200).contains(&parsed.status) && parsed.status != 101 {
                interim += 1;
                if interim > INTERIM_LIMIT {
                    return Err(Violation::TooManyInterim);
                }
                skip += parsed.len;
                continue;
            }
            let (body, keep) = self.body_of(&parsed)?;
            let detached = keep
                && matches!((&body, self.asked.detach), (Some(Body::Length(n)), Some(least)) if *n >= least);
            self.patch(&mut bytes[skip..skip + parsed.len], &parsed, body.as_ref().filter(|_| !detached));
            self.at = match body {
                None => At::Done,
                Some(body) => At::Body(body),
            };
            return Ok(Some(Head {
                skip,
                len: parsed.len,
                status: parsed.status,
                reusable: keep,
                // Beside a coding a length says nothing (RFC 9112 §6.3 item 3).
                content_length: parsed.length.filter(|_| !parsed.chunked),
                detached,
            }));
        }
    }

    /// RFC 9112 §6.3: the body this head announces, and whether the connection outlives it.
    fn body_of(&self, head: &Parsed) -> Result<(Option<Body>, bool), Violation> {
        if head.status == 101 {
            return if self.asked.upgrade {
                Ok((Some(Body::Tunnel), false))
            } else {
                Err(Violation::UnsolicitedUpgrade)
            };
        }
        if self.asked.head || head.status == 204 || head.status == 304 {
            return Ok((None, head.keep_alive));
        }
        if head.chunked {
            // A length beside the coding is faulty; the coding wins and the connection is not trusted again.
            return Ok((Some(Body::Chunked(Chunked::default())), head.keep_alive && head.length.is_none()));
        }
        Ok(match head.length {
            Some(0) => (None, head.keep_alive),
            Some(n) => (Some(Body::Length(n)), head.keep_alive),
            None => (Some(Body::UntilClose), false),
        })
    }

    /// Changes the few bytes that would make awc see another body than [`Self::body_of`] does.
    fn patch(&self, head: &mut [u8], parsed: &Parsed, body: Option<&Body>) {
        match body {
            Some(Body::UntilClose) => head[7] = b'0', // "HTTP/1.1" → "HTTP/1.0": awc reads those until close
            None => {
                if let Some(at) = parsed.length_at
                    && parsed.length != Some(0)
                {
                    head[at..at + HIDDEN_LENGTH.len()].copy_from_slice(HIDDEN_LENGTH.as_bytes());
                }
                if let Some(at) = parsed.coding_at {
                    head[at..at + HIDDEN_CODING.len()].copy_from_slice(HIDDEN_CODING.as_bytes());
                }
            }
            _ => {}
        }
    }

    /// Takes in bytes behind the head and returns how many belong to this response; the rest is not part of it.
    ///
    /// # Errors
    /// [`Violation::ChunkedBody`].
    pub fn body(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        let used = match &mut self.at {
            At::Head | At::Done => 0,
            At::Body(Body::UntilClose | Body::Tunnel) => bytes.len(),
            At::Body(Body::Length(left)) => {
                let n = (*left).min(bytes.len() as u64);
                *left -= n;
                if *left == 0 {
                    self.at = At::Done;
                }
                n as usize
            }
            At::Body(Body::Chunked(chunked)) => {
                let n = chunked.scan(bytes).map_err(|_| Violation::ChunkedBody)?;
                if chunked.is_done() {
                    self.at = At::Done;
                }
                n
            }
        };
        Ok(used)
    }

    /// The connection ended. A clean end only where the framing says so.
    ///
    /// # Errors
    /// [`Violation::Truncated`] inside a head or a framed body.
    pub fn end(&mut self) -> Result<(), Violation> {
        match self.at {
            At::Done => Ok(()),
            At::Body(Body::UntilClose | Body::Tunnel) => {
                self.at = At::Done;
                Ok(())
            }
            At::Head | At::Body(_) => Err(Violation::Truncated),
        }
    }
}

/// What one head says.
struct Parsed {
    len: usize,
    status: u16,
    keep_alive: bool,
    chunked: bool,
    length: Option<u64>,
    length_at: Option<usize>,
    coding_at: Option<usize>,
}

fn parse(bytes: &[u8]) -> Result<Option<Parsed>, Violation> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELD_LIMIT];
    let mut response = httparse::Response::new(&mut []);
    let len = match httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        bytes,
        &mut fields,
    ) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Violation::HeadTooLarge),
        Err(_) => return Err(Violation::Head),
    };
    if len > HEAD_LIMIT {
        return Err(Violation::HeadTooLarge);
    }
    let (Some(status), Some(minor)) = (response.code, response.version) else { return Err(Violation::Head) };
    if status < 100 || !bytes.starts_with(b"HTTP/1.") {
        return Err(Violation::Head);
    }
    let mut parsed = Parsed {
        len,
        status,
        keep_alive: minor == 1,
        chunked: false,
        length: None,
        length_at: None,
        coding_at: None,
    };
    for field in response.headers.iter() {
        let at = field.name.as_ptr() as usize - bytes.as_ptr() as usize;
        match field.name.len() {
            14 if field.name.eq_ignore_ascii_case("content-length") => {
                let n = decimal(field.value).ok_or(Violation::ContentLength)?;
                // Even equal duplicates: a second reader may pick either (RFC 9112 §6.3 item 5).
                if parsed.length.replace(n).is_some() {
                    return Err(Violation::ContentLength);
                }
                parsed.length_at = Some(at);
            }
            17 if field.name.eq_ignore_ascii_case("transfer-encoding") => {
                if parsed.chunked || minor == 0 || !field.value.trim_ascii().eq_ignore_ascii_case(b"chunked")
                {
                    return Err(Violation::TransferEncoding);
                }
                parsed.chunked = true;
                parsed.coding_at = Some(at);
            }
            10 if field.name.eq_ignore_ascii_case("connection") => {
                for option in field.value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
                    if option.eq_ignore_ascii_case(b"close") {
                        parsed.keep_alive = false;
                    } else if minor == 0 && option.eq_ignore_ascii_case(b"keep-alive") {
                        parsed.keep_alive = true;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(Some(parsed))
}

fn decimal(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
