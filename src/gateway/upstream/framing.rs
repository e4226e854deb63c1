//! What an upstream's bytes mean: the response side of one HTTP/1 connection as a pure state machine.
//!
//! [`Framing`] finds the final head behind interim ones, follows the body to its end by that head alone, and names every
//! violation. It owns no socket and no clock; `transport.rs` drives it.

use std::mem::MaybeUninit;
use std::time::Duration;

use actix_http::StatusCode;
use thiserror::Error;

use crate::config::settings::HeadBounds;
use crate::gateway::bounds::room;
use crate::gateway::chunked::{Chunked, Piece};
use crate::gateway::fields::Fields;
use crate::gateway::message::{Ambiguous, Rest, Said};

/// Interim (1xx) heads before one answer.
const INTERIM_LIMIT: u32 = 64;

/// Why an upstream's bytes cannot be passed on.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Violation {
    /// Not an HTTP/1 response head (RFC 9112 §4, §5).
    #[error("malformed response head")]
    Head,
    #[error("response head larger than maxHeadBytes ({0})")]
    HeadBytes(usize),
    #[error("more response fields than maxHeadFields ({0})")]
    HeadFields(usize),
    #[error("more than 64 interim responses")]
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
    /// How long the upstream says that it keeps an idle connection.
    pub keeps: Option<Duration>,
}

/// The state machine for one response.
#[derive(Clone, Debug)]
pub struct Framing {
    asked: Asked,
    bounds: HeadBounds,
    /// Interim heads so far.
    interim: u32,
    /// Of the body, behind the head.
    rest: Rest,
}

impl Framing {
    /// Waits for the response to a request like `asked`.
    pub fn new(asked: Asked, bounds: HeadBounds) -> Self {
        Self { asked, bounds, interim: 0, rest: Rest::Nothing }
    }

    /// Whether the response is complete, whose head is.
    pub fn is_done(&self) -> bool {
        self.rest.is_nothing()
    }

    /// Looks for the final head in `bytes`, received for this response and not used yet: how many of them are used, by interim
    /// heads and by the final one, once it is complete.
    ///
    /// # Errors
    /// Any [`Violation`] of a head.
    pub fn head(&mut self, bytes: &[u8]) -> Result<(usize, Option<Head>), Violation> {
        let mut used = 0;
        loop {
            let Some((len, mut head, said)) = parse(&bytes[used..], self.bounds)? else {
                return if bytes.len() - used > self.bounds.bytes {
                    Err(Violation::HeadBytes(self.bounds.bytes))
                } else {
                    Ok((used, None))
                };
            };
            used += len;
            if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
                self.interim += 1;
                if self.interim > INTERIM_LIMIT {
                    return Err(Violation::TooManyInterim);
                }
                continue;
            }
            self.rest = self.body_of(&head, &said)?;
            // A length beside the coding is faulty; the coding wins and the connection is not trusted again.
            head.reusable &=
                !(said.chunked && said.length.is_some() || matches!(self.rest, Rest::UntilClose));
            return Ok((used, Some(head)));
        }
    }

    /// RFC 9112 §6.3: the body that this head announces.
    fn body_of(&self, head: &Head, said: &Said) -> Result<Rest, Violation> {
        Ok(match head.status {
            StatusCode::SWITCHING_PROTOCOLS if self.asked.upgrade => Rest::UntilClose,
            StatusCode::SWITCHING_PROTOCOLS => return Err(Violation::UnsolicitedUpgrade),
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => Rest::Nothing,
            _ if self.asked.head => Rest::Nothing,
            _ if said.chunked => Rest::Chunks(Chunked::default()),
            _ => said.length.map_or(Rest::UntilClose, Rest::Length),
        })
    }

    /// What stands next in `bytes` behind the head; nothing of them behind the end.
    ///
    /// # Errors
    /// [`Violation::ChunkedBody`].
    pub fn next(&mut self, bytes: &[u8]) -> Result<Piece, Violation> {
        self.rest.next(bytes).map_err(|_| Violation::ChunkedBody)
    }

    /// The connection ended behind the head. A clean end only where the framing says so.
    ///
    /// # Errors
    /// [`Violation::Truncated`] inside a framed body.
    pub fn end(&mut self) -> Result<(), Violation> {
        match std::mem::take(&mut self.rest) {
            rest if rest.is_nothing() => Ok(()),
            Rest::UntilClose => Ok(()),
            _ => Err(Violation::Truncated),
        }
    }
}

/// Reads one head, interim or final: how long it is, and what it says.
fn parse(bytes: &[u8], bounds: HeadBounds) -> Result<Option<(usize, Head, Said)>, Violation> {
    let (mut few, mut many) = ([const { MaybeUninit::uninit() }; 512], Vec::new());
    let fields = room(bounds.fields, &mut few, &mut many);
    let mut response = httparse::Response::new(&mut []);
    let mut config = httparse::ParserConfig::default();
    // RFC 9112 §5.1: a proxy removes it.
    config.allow_spaces_after_header_name_in_responses(true);
    let len = match config.parse_response_with_uninit_headers(&mut response, bytes, fields) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Violation::HeadFields(bounds.fields)),
        Err(_) => return Err(Violation::Head),
    };
    if len > bounds.bytes {
        return Err(Violation::HeadBytes(bounds.bytes));
    }
    let (Some(status), Some(minor)) = (response.code, response.version) else { return Err(Violation::Head) };
    let status = StatusCode::from_u16(status).map_err(|_| Violation::Head)?;
    if !bytes.starts_with(b"HTTP/1.") {
        return Err(Violation::Head);
    }
    let reason = response.reason.filter(|reason| Some(*reason) != status.canonical_reason());
    let said = Said::of(response.headers.iter().map(|field| (field.name, field.value)));
    let said = said.map_err(|what| match what {
        Ambiguous::Length => Violation::ContentLength,
        Ambiguous::Coding => Violation::TransferEncoding,
    })?;
    if said.chunked && minor == 0 {
        return Err(Violation::TransferEncoding);
    }
    let head = Head {
        status,
        reason: reason.map(Box::from),
        fields: Fields::parsed(&bytes[..len], response.headers),
        // Beside a coding a length says nothing (RFC 9112 §6.3 item 3).
        content_length: said.length.filter(|_| !said.chunked),
        reusable: said.persists(minor == 1),
        keeps: said.keeps.map(Duration::from_secs),
    };
    Ok(Some((len, head, said)))
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
