//! What an upstream's bytes mean: the response side of one HTTP/1 connection as a pure state machine.
//!
//! [`Framing`] finds the final head behind interim ones, follows the body to its end by that head alone, and names every
//! violation. It owns no socket and no clock; `transport.rs` drives it.

use std::mem::MaybeUninit;

use actix_http::StatusCode;
use thiserror::Error;

use crate::gateway::chunked::{Chunked, Piece};
use crate::gateway::fields::{Fields, decimal};

/// Bytes a response head, interim heads excluded, may have.
const HEAD_LIMIT: usize = 256 * 1024;
/// Header fields of one head.
const FIELD_LIMIT: usize = 512;
/// Interim (1xx) heads before one answer.
const INTERIM_LIMIT: u32 = 64;

/// Why an upstream's bytes cannot be passed on.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Violation {
    /// Not an HTTP/1 response head (RFC 9112 §4, §5).
    #[error("malformed response head")]
    Head,
    /// More than 256 KiB or 512 fields.
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
}

/// Where a body ends.
#[derive(Clone, Debug)]
enum Body {
    Length(u64),
    Chunked(Chunked),
    /// Or until the tunnel ends that the connection has become.
    UntilClose,
}

/// Position in the response.
#[derive(Clone, Debug)]
enum At {
    Head,
    Body(Body),
    Done,
}

/// A complete final head.
#[derive(Debug)]
pub struct Head {
    /// 101 or 200-999.
    pub status: StatusCode,
    /// Where it is not the status's usual one.
    pub reason: Option<Box<str>>,
    pub fields: Fields,
    /// `content-length` where it counts, whether or not a body follows.
    pub content_length: Option<u64>,
    /// The connection may carry another request after this response.
    pub reusable: bool,
}

/// The state machine for one response.
#[derive(Clone, Debug)]
pub struct Framing {
    at: At,
    asked: Asked,
    /// Interim heads so far.
    interim: u32,
}

impl Framing {
    /// Waits for the response to a request like `asked`.
    pub fn new(asked: Asked) -> Self {
        Self { at: At::Head, asked, interim: 0 }
    }

    /// Whether the response is complete.
    pub fn is_done(&self) -> bool {
        matches!(self.at, At::Done)
    }

    /// Looks for the final head in `bytes`, received for this response and not used yet: how many of them are used, by interim
    /// heads and by the final one, once it is complete.
    ///
    /// # Errors
    /// Any [`Violation`] of a head.
    pub fn head(&mut self, bytes: &[u8]) -> Result<(usize, Option<Head>), Violation> {
        let mut used = 0;
        loop {
            let Some(parsed) = parse(&bytes[used..])? else {
                let rest = bytes.len() - used;
                return if rest > HEAD_LIMIT { Err(Violation::HeadTooLarge) } else { Ok((used, None)) };
            };
            used += parsed.len;
            if parsed.head.status.is_informational() && parsed.head.status != StatusCode::SWITCHING_PROTOCOLS
            {
                self.interim += 1;
                if self.interim > INTERIM_LIMIT {
                    return Err(Violation::TooManyInterim);
                }
                continue;
            }
            let (body, reusable) = self.body_of(&parsed)?;
            self.at = body.map_or(At::Done, At::Body);
            let Parsed { head, chunked, .. } = parsed;
            // Beside a coding a length says nothing (RFC 9112 §6.3 item 3).
            let content_length = head.content_length.filter(|_| !chunked);
            return Ok((used, Some(Head { reusable, content_length, ..head })));
        }
    }

    /// RFC 9112 §6.3: the body this head announces, and whether the connection outlives it.
    fn body_of(&self, parsed: &Parsed) -> Result<(Option<Body>, bool), Violation> {
        let head = &parsed.head;
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return if self.asked.upgrade {
                Ok((Some(Body::UntilClose), false))
            } else {
                Err(Violation::UnsolicitedUpgrade)
            };
        }
        let bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&head.status);
        if self.asked.head || bodiless {
            return Ok((None, head.reusable));
        }
        if parsed.chunked {
            // A length beside the coding is faulty; the coding wins and the connection is not trusted again.
            let reusable = head.reusable && head.content_length.is_none();
            return Ok((Some(Body::Chunked(Chunked::default())), reusable));
        }
        Ok(match head.content_length {
            Some(0) => (None, head.reusable),
            Some(n) => (Some(Body::Length(n)), head.reusable),
            None => (Some(Body::UntilClose), false),
        })
    }

    /// What stands next in `bytes` behind the head; nothing of them behind the end.
    ///
    /// # Errors
    /// [`Violation::ChunkedBody`].
    pub fn next(&mut self, bytes: &[u8]) -> Result<Piece, Violation> {
        match &mut self.at {
            At::Head | At::Done => Ok(Piece::default()),
            At::Body(Body::UntilClose) => Ok(Piece { coding: 0, data: bytes.len() }),
            At::Body(Body::Length(left)) => {
                // At most `bytes.len()`.
                let data = (*left).min(bytes.len() as u64) as usize;
                *left -= data as u64;
                if *left == 0 {
                    self.at = At::Done;
                }
                Ok(Piece { coding: 0, data })
            }
            At::Body(Body::Chunked(chunked)) => {
                let piece = chunked.decode(bytes).map_err(|_| Violation::ChunkedBody)?;
                if chunked.is_done() {
                    self.at = At::Done;
                }
                Ok(piece)
            }
        }
    }

    /// The connection ended. A clean end only where the framing says so.
    ///
    /// # Errors
    /// [`Violation::Truncated`] inside a head or a framed body.
    pub fn end(&mut self) -> Result<(), Violation> {
        match self.at {
            At::Done => Ok(()),
            At::Body(Body::UntilClose) => {
                self.at = At::Done;
                Ok(())
            }
            At::Head | At::Body(_) => Err(Violation::Truncated),
        }
    }
}

/// What one head says, interim or final.
struct Parsed {
    len: usize,
    chunked: bool,
    head: Head,
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
    let status = StatusCode::from_u16(status).map_err(|_| Violation::Head)?;
    if !bytes.starts_with(b"HTTP/1.") {
        return Err(Violation::Head);
    }
    let reason = response.reason.filter(|reason| Some(*reason) != status.canonical_reason());
    let mut parsed = Parsed {
        len,
        chunked: false,
        head: Head {
            status,
            reason: reason.map(Box::from),
            fields: Fields::parsed(&bytes[..len], response.headers),
            content_length: None,
            reusable: minor == 1,
        },
    };
    for field in response.headers.iter() {
        match field.name.len() {
            14 if field.name.eq_ignore_ascii_case("content-length") => {
                let n = decimal(field.value).ok_or(Violation::ContentLength)?;
                // Even equal duplicates: a second reader may pick either (RFC 9112 §6.3 item 5).
                if parsed.head.content_length.replace(n).is_some() {
                    return Err(Violation::ContentLength);
                }
            }
            17 if field.name.eq_ignore_ascii_case("transfer-encoding") => {
                if parsed.chunked || minor == 0 || !field.value.trim_ascii().eq_ignore_ascii_case(b"chunked")
                {
                    return Err(Violation::TransferEncoding);
                }
                parsed.chunked = true;
            }
            10 if field.name.eq_ignore_ascii_case("connection") => {
                for option in field.value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
                    if option.eq_ignore_ascii_case(b"close") {
                        parsed.head.reusable = false;
                    } else if minor == 0 && option.eq_ignore_ascii_case(b"keep-alive") {
                        parsed.head.reusable = true;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(Some(parsed))
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
