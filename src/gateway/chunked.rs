//! Where a chunked body ends: a scanner over RFC 9112 §7.1 that copies nothing.
//!
//! It decides nothing about the content; it only finds the end, so that a body that stops early is an error and
//! bytes behind the end never reach the next request. Stricter than the decoder behind it: what it accepts, the
//! decoder accepts, with the same borders. What it does not accept must not reach the decoder, which might.

use thiserror::Error;

/// Extension and trailer bytes that one body may carry.
const OVERHEAD_LIMIT: u32 = 16 * 1024;

/// Blanks that may follow one chunk's size: some pad sizes to the same length.
const PADDING_LIMIT: u32 = 256;

/// Bytes that are no chunked body.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("malformed chunked body")]
pub struct Malformed {
    /// How many of them would be.
    pub fine: usize,
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

/// Scanner for one chunked body.
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

    /// Takes in `bytes` and returns how many of them belong to this body.
    ///
    /// # Errors
    /// [`Malformed`] at the first byte that the grammar does not allow.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut i = 0;
        while i < bytes.len() && self.at != At::End {
            if self.at == At::Data {
                let n = self.left.min((bytes.len() - i) as u64);
                self.left -= n;
                // `n` is at most `bytes.len()`, so it fits.
                i += n as usize;
                if self.left == 0 {
                    self.at = At::DataCr;
                }
                continue;
            }
            self.at = self.step(bytes[i]).ok_or(Malformed { fine: i })?;
            i += 1;
        }
        Ok(i)
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

    fn scan(bytes: &[u8]) -> Result<(usize, bool), Malformed> {
        let mut chunked = Chunked::default();
        let n = chunked.scan(bytes)?;
        Ok((n, chunked.is_done()))
    }

    #[test]
    fn a_body_ends_behind_its_last_chunk_and_trailers() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "5;a=b\r\nhello\r\n000\r\nX-T: 1\r\n\r\n",
            "A \r\n0123456789\r\n0\r\n\r\n",
        ] {
            assert_eq!(scan(body.as_bytes()), Ok((body.len(), true)), "{body:?}");
            let more = format!("{body}HTTP/1.1 200 OK");
            assert_eq!(scan(more.as_bytes()), Ok((body.len(), true)), "{body:?}");
        }
    }

    #[test]
    fn a_body_without_its_last_chunk_is_not_done() {
        for body in ["5\r\nhello\r\n", "5\r\nhel", "0\r\n", "5\r\nhello\r\n0\r\nX: 1\r\n"] {
            assert!(!scan(body.as_bytes()).unwrap().1, "{body:?}");
        }
    }

    #[test]
    fn sizes_may_be_padded_however_long_the_body_is() {
        let chunk = format!("5{}\r\nhello\r\n", " ".repeat(7));
        let body = format!("{}0{}\r\n\r\n", chunk.repeat(10_000), " ".repeat(7));
        assert_eq!(scan(body.as_bytes()), Ok((body.len(), true)));
        assert!(scan(format!("5{}\r\n", " ".repeat(300)).as_bytes()).is_err());
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
            assert!(scan(body.as_bytes()).is_err(), "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn the_end_does_not_depend_on_how_the_bytes_arrive(cuts in proptest::collection::vec(0usize..40, 0..8)) {
            let body = b"5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nT: v\r\n\r\nEXTRA";
            let mut chunked = Chunked::default();
            let (mut used, mut from) = (0, 0);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(body.len())).collect();
            cuts.push(body.len());
            cuts.sort_unstable();
            for cut in cuts {
                used += chunked.scan(&body[from..cut]).unwrap();
                from = cut;
            }
            prop_assert!(chunked.is_done());
            prop_assert_eq!(used, body.len() - 5);
        }

        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Chunked::default().scan(&bytes);
        }
    }
}
