//! The one decoder of chunked bodies (RFC 9112 §7.1), of clients and of upstreams; it copies nothing.
//!
//! It says what of the bytes is coding and what is data, and where the body ends: a body that stops early is an error, and
//! bytes behind the end never reach the next message.

use thiserror::Error;

/// Extension and trailer bytes that one body may carry.
const OVERHEAD_LIMIT: u32 = 16 * 1024;

/// Blanks that may follow one chunk's size: some pad sizes to the same length.
const PADDING_LIMIT: u32 = 256;

/// Bytes that are no chunked body.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("malformed chunked body")]
pub struct Malformed;

/// What stands next in a body: some bytes of coding, then some of data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    pub coding: usize,
    pub data: usize,
}

/// Position inside a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    SizeFirst,
    Size,
    SizeSpace,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    LineStart,
    Trailer,
    TrailerLf,
    EndLf,
    End,
}

/// Decoder of one chunked body.
#[derive(Clone, Debug)]
pub struct Chunked {
    at: At,
    left: u64,
    overhead: u32,
    padding: u32,
}

impl Default for Chunked {
    fn default() -> Self {
        Self { at: At::SizeFirst, left: 0, overhead: 0, padding: 0 }
    }
}

impl Chunked {
    /// Whether the last byte of the body has been seen.
    pub fn is_done(&self) -> bool {
        self.at == At::End
    }

    /// Takes in `bytes` up to the end of the first data in them; without any, all of them that belong to this body.
    ///
    /// # Errors
    /// [`Malformed`] at the first byte that the grammar does not allow, unless there is data in front of it.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Piece, Malformed> {
        let mut coding = 0;
        while coding < bytes.len() && self.at != At::End {
            if self.at == At::Data {
                // At most `bytes.len()`, so it fits.
                let data = self.left.min((bytes.len() - coding) as u64) as usize;
                self.left -= data as u64;
                if self.left == 0 {
                    self.at = At::DataCr;
                }
                return Ok(Piece { coding, data });
            }
            self.at = self.step(bytes[coding]).ok_or(Malformed)?;
            coding += 1;
        }
        Ok(Piece { coding, data: 0 })
    }

    fn step(&mut self, byte: u8) -> Option<At> {
        Some(match (self.at, byte) {
            (At::SizeFirst, b) => {
                self.left = u64::from(hex(b)?);
                self.padding = 0;
                At::Size
            }
            (At::Size, b'\r') | (At::SizeSpace, b'\r') | (At::Extension, b'\r') => At::SizeLf,
            (At::Size | At::SizeSpace, b';') => At::Extension,
            (At::Size | At::SizeSpace, b' ' | b'\t') => {
                self.padding += 1;
                (self.padding <= PADDING_LIMIT).then_some(At::SizeSpace)?
            }
            (At::Size, b) => {
                let digit = u64::from(hex(b)?);
                if self.left >> 60 != 0 {
                    return None;
                }
                self.left = self.left << 4 | digit;
                At::Size
            }
            (At::Extension, b) if b == b'\t' || (b >= 0x20 && b != 0x7f) => self.spend(At::Extension)?,
            (At::SizeLf, b'\n') if self.left == 0 => At::LineStart,
            (At::SizeLf, b'\n') => At::Data,
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::SizeFirst,
            (At::LineStart, b'\r') => At::EndLf,
            (At::LineStart | At::Trailer, b) if b == b'\t' || (b >= 0x20 && b != 0x7f) => {
                self.spend(At::Trailer)?
            }
            (At::Trailer, b'\r') => At::TrailerLf,
            (At::TrailerLf, b'\n') => At::LineStart,
            (At::EndLf, b'\n') => At::End,
            _ => return None,
        })
    }

    fn spend(&mut self, next: At) -> Option<At> {
        self.overhead += 1;
        (self.overhead <= OVERHEAD_LIMIT).then_some(next)
    }
}

fn hex(b: u8) -> Option<u8> {
    (b as char).to_digit(16).map(|d| d as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// How many bytes belong to the body, what they say, and whether that is all of it.
    fn decode(bytes: &[u8], step: usize) -> Result<(usize, Vec<u8>, bool), Malformed> {
        let mut chunked = Chunked::default();
        let (mut used, mut data) = (0, Vec::new());
        for mut piece in bytes.chunks(step) {
            while !piece.is_empty() && !chunked.is_done() {
                let next = chunked.decode(piece)?;
                data.extend_from_slice(&piece[next.coding..next.coding + next.data]);
                used += next.coding + next.data;
                piece = &piece[next.coding + next.data..];
            }
        }
        Ok((used, data, chunked.is_done()))
    }

    #[test]
    fn a_body_ends_behind_its_last_chunk_and_trailers() {
        for (body, data) in [
            ("0\r\n\r\n", ""),
            ("5\r\nhello\r\n0\r\n\r\n", "hello"),
            ("5;a=b\r\nhello\r\n1\r\n!\r\n000\r\nX-T: 1\r\n\r\n", "hello!"),
            ("A \r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        ] {
            let more = format!("{body}HTTP/1.1 200 OK");
            for step in 1..=more.len() {
                let whole = Ok((body.len(), data.into(), true));
                assert_eq!(decode(body.as_bytes(), step), whole, "{body:?}");
                assert_eq!(decode(more.as_bytes(), step), whole, "{body:?}");
            }
        }
    }

    #[test]
    fn a_body_without_its_last_chunk_is_not_done() {
        for body in ["5\r\nhello\r\n", "5\r\nhel", "0\r\n", "5\r\nhello\r\n0\r\nX: 1\r\n"] {
            assert!(!decode(body.as_bytes(), 100).unwrap().2, "{body:?}");
        }
    }

    #[test]
    fn sizes_may_be_padded_however_long_the_body_is() {
        let chunk = format!("5{}\r\nhello\r\n", " ".repeat(7));
        let body = format!("{}0{}\r\n\r\n", chunk.repeat(10_000), " ".repeat(7));
        assert_eq!(decode(body.as_bytes(), 1000), Ok((body.len(), b"hello".repeat(10_000), true)));
        assert!(decode(format!("5{}\r\n", " ".repeat(300)).as_bytes(), 1000).is_err());
    }

    #[test]
    fn what_the_grammar_does_not_allow_is_refused() {
        for body in [
            "zz\r\n",
            "+5\r\n",
            "0x5\r\n",
            "\r\n",
            "5\nhello",
            "5\rhello",
            "5\r\nhelloX",
            "-5\r\n",
            "10000000000000005\r\n",
            "5;a\nb",
            "5 5\r\n",
            "0\r\n\n",
        ] {
            assert!(decode(body.as_bytes(), 100).is_err(), "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), step in 1usize..200) {
            let _ = decode(&bytes, step);
        }
    }
}
