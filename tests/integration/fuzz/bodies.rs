//! Bodies of requests: their sizes, and chunked coding in all that RFC 9112 §7.1 allows and some that it does not.

use fastrand::Rng;

use super::content::{Reach, Token, request_body};

/// A body and how it is framed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    None,
    /// A content-length, which may be more than is sent.
    Length {
        declared: usize,
        sent: usize,
    },
    /// Chunked: the data's length and all of it on the wire.
    Chunked {
        length: usize,
        wire: Vec<u8>,
    },
}

/// Bytes in the place of a chunk size.
const BAD_SIZES: [&str; 6] = [
    "g\r\n",
    "-1\r\nx\r\n",
    "0x5\r\nhello\r\n",
    "\r\n",
    "10000000000000005\r\nhello\r\n",
    "5\0\r\nhello\r\n",
];

impl Body {
    /// Whole, behind its length.
    pub fn sized(length: usize) -> Self {
        Self::Length { declared: length, sent: length }
    }

    /// Whole, in chunks of any size, padded, with extensions and trailers.
    pub fn chunked(random: &mut Rng, token: Token, length: usize) -> Self {
        let mut wire = chunks(random, &request_body(token, length));
        wire.extend(size_line(random, 0));
        wire.extend(["", "", "X-Trailer: 1\r\n", "X-A: b\r\nX-B: c\r\n"][random.usize(..4)].bytes());
        wire.extend(b"\r\n");
        Self::Chunked { length, wire }
    }

    /// One or the other.
    pub fn any(random: &mut Rng, token: Token, length: usize) -> Self {
        if random.bool() { Self::sized(length) } else { Self::chunked(random, token, length) }
    }

    /// Something that is no chunk in the place of the last one, and behind it what looks like the next request.
    pub fn broken(random: &mut Rng, token: Token, length: usize) -> Self {
        let data = request_body(token, length + 5);
        let mut wire = chunks(random, &data[..length]);
        match random.usize(..=BAD_SIZES.len()) {
            bad if bad < BAD_SIZES.len() => wire.extend(BAD_SIZES[bad].bytes()),
            // The data of the plan, but no line end behind it.
            _ => wire.extend([b"5\r\n", &data[length..], b"X\r\n"].concat()),
        }
        let bait = Token { reach: Reach::Bait, ..token };
        wire.extend(format!("GET /up/length-3/{bait} HTTP/1.1\r\nHost: a.test\r\n\r\n").bytes());
        Self::Chunked { length, wire }
    }

    /// All but its end.
    pub fn unfinished(random: &mut Rng, token: Token, length: usize) -> Self {
        if random.bool() {
            return Self::Length { declared: length + 1, sent: length };
        }
        let mut wire = chunks(random, &request_body(token, length));
        wire.extend(["", "0", "0\r\n", "0\r\n\r", "0\r\nX-Trailer: 1\r\n"][random.usize(..5)].bytes());
        Self::Chunked { length, wire }
    }

    /// Bytes of data that the client sends.
    pub fn sent(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Length { sent, .. } => *sent,
            Self::Chunked { length, .. } => *length,
        }
    }

    /// Whether anything follows the head.
    pub fn has_bytes(&self) -> bool {
        !matches!(self, Self::None | Self::Length { declared: 0, .. })
    }

    /// How many bytes follow the head.
    pub fn on_wire(&self) -> usize {
        match self {
            Self::Chunked { wire, .. } => wire.len(),
            other => other.sent(),
        }
    }
}

/// A length: most are small, some are at the borders of buffers.
pub fn size(random: &mut Rng) -> usize {
    match random.usize(..24) {
        0 | 1 => 0,
        2 | 3 => 1,
        4..14 => random.usize(2..400),
        14..17 => random.usize(400..8_000),
        17..20 => (16 << 10) - 2 + random.usize(..5),
        20..22 => (64 << 10) - 2 + random.usize(..5),
        _ => random.usize(100_000..400_000),
    }
}

fn chunks(random: &mut Rng, data: &[u8]) -> Vec<u8> {
    let longest = [10, 1_000, 20_000, usize::MAX][random.usize(..4)].max(data.len() / 60 + 1);
    let (mut wire, mut rest) = (Vec::with_capacity(data.len() + 2_000), data);
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(random.usize(1..=longest.min(rest.len())));
        wire.extend(size_line(random, piece.len()));
        wire.extend(piece);
        wire.extend(b"\r\n");
        rest = behind;
    }
    wire
}

fn size_line(random: &mut Rng, size: usize) -> Vec<u8> {
    let digits = if random.bool() { format!("{size:x}") } else { format!("{size:X}") };
    let zeros = ["", "", "", "0", "000"][random.usize(..5)];
    let more = ["", "", "", "", "  ", ";a", ";a=b", ";a=\"b;c\"", ";a=b;c=d"][random.usize(..9)];
    format!("{zeros}{digits}{more}\r\n").into_bytes()
}
