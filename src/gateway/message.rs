//! What a head says of its message and of the connection (RFC 9112 §6.3, §9.3), and where the body ends: for requests and
//! answers alike, so that no two readers can differ about it.

use super::chunked::{Chunked, Malformed, Piece};
use super::fields::decimal;

/// What the fields of one head say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said {
    pub length: Option<u64>,
    pub chunked: bool,
    pub close: bool,
    pub keep_alive: bool,
    pub upgrade: bool,
    /// `Expect: 100-continue`.
    pub expects: bool,
    pub hosts: usize,
    /// `Keep-Alive: timeout=`, in seconds.
    pub keeps: Option<u64>,
}

/// What two readers could read differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ambiguous {
    Length,
    Coding,
}

impl Said {
    /// Reads them.
    ///
    /// # Errors
    /// A length that is not one number, or a transfer coding other than chunked alone.
    pub fn of<'a>(fields: impl Iterator<Item = (&'a str, &'a [u8])>) -> Result<Self, Ambiguous> {
        let mut said = Self::default();
        for (name, value) in fields {
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            match name.len() {
                4 if is("host") => said.hosts += 1,
                6 if is("expect") => {
                    said.expects |= items(value).any(|it| it.eq_ignore_ascii_case(b"100-continue"))
                }
                10 if is("connection") => {
                    for option in items(value) {
                        said.close |= option.eq_ignore_ascii_case(b"close");
                        said.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                        said.upgrade |= option.eq_ignore_ascii_case(b"upgrade");
                    }
                }
                10 if is("keep-alive") => {
                    let seconds = |item: &[u8]| {
                        let (name, seconds) = item.split_at_checked(item.iter().position(|b| *b == b'=')?)?;
                        let bare = seconds[1..].trim_ascii();
                        let bare =
                            bare.strip_prefix(b"\"").and_then(|it| it.strip_suffix(b"\"")).unwrap_or(bare);
                        name.trim_ascii().eq_ignore_ascii_case(b"timeout").then(|| decimal(bare))?
                    };
                    said.keeps = items(value).find_map(seconds).or(said.keeps);
                }
                14 if is("content-length") => {
                    // Even equal duplicates: a second reader may pick either (RFC 9112 §6.3 item 5).
                    let n = decimal(value).ok_or(Ambiguous::Length)?;
                    if said.length.replace(n).is_some() {
                        return Err(Ambiguous::Length);
                    }
                }
                17 if is("transfer-encoding") => {
                    if said.chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                        return Err(Ambiguous::Coding);
                    }
                    said.chunked = true;
                }
                _ => {}
            }
        }
        Ok(said)
    }

    /// Whether the connection is to be kept; `modern`: the message is one of HTTP/1.1.
    pub fn persists(&self, modern: bool) -> bool {
        !self.close && (modern || self.keep_alive)
    }
}

fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// What is still to come of a body.
#[derive(Clone, Debug, Default)]
pub enum Rest {
    #[default]
    Nothing,
    Length(u64),
    Chunks(Chunked),
    /// Whatever comes until the connection ends.
    UntilClose,
}

impl Rest {
    /// Whether all of it has been seen.
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing | Self::Length(0))
    }

    /// What stands next in `bytes`; nothing of them behind the end.
    ///
    /// # Errors
    /// The bytes are no chunked body.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Piece, Malformed> {
        let data = match self {
            Self::Nothing => 0,
            Self::UntilClose => bytes.len(),
            Self::Length(left) => {
                // At most `bytes.len()`.
                let data = (*left).min(bytes.len() as u64) as usize;
                *left -= data as u64;
                data
            }
            Self::Chunks(chunks) => {
                let piece = chunks.decode(bytes)?;
                if chunks.is_done() {
                    *self = Self::Nothing;
                }
                return Ok(piece);
            }
        };
        Ok(Piece { coding: 0, data })
    }
}
