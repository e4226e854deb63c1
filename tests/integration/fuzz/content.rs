//! What requests and answers carry: all of it follows from a request's token, so that both ends can tell whether a body is
//! theirs, whole and intact, without asking each other.

use std::fmt;
use std::str::FromStr;

/// What may become of a request at the upstream. It is a letter of the token, so that the upstream can judge by itself,
/// also long after the connection that the request came on has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It arrives, whole.
    Whole,
    /// Its head arrives; its body may be cut.
    Begun,
    /// It may arrive, but never whole.
    Partly,
    /// It never arrives.
    Never,
    /// It is no request, but looks like one inside a body or a tunnel.
    Bait,
}

const LETTERS: [(Reach, char); 5] =
    [(Reach::Whole, 'w'), (Reach::Begun, 'b'), (Reach::Partly, 'p'), (Reach::Never, 'n'), (Reach::Bait, 'x')];

/// The name of a request, such as `s12r3w`: seed, place in the plan, [`Reach`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    pub seed: u64,
    pub index: usize,
    pub reach: Reach,
}

impl Token {
    /// The first token in a text that may be anything.
    pub fn find(text: &str) -> Option<Self> {
        let names = text.split(|c: char| !c.is_ascii_alphanumeric());
        names.filter_map(|name| name.parse().ok()).next()
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter =
            LETTERS.iter().find(|(reach, _)| *reach == self.reach).map_or('?', |(_, letter)| *letter);
        write!(f, "s{}r{}{letter}", self.seed, self.index)
    }
}

impl FromStr for Token {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (seed, rest) = text.strip_prefix('s').and_then(|rest| rest.split_once('r')).ok_or(())?;
        let (index, letter) = rest.split_at_checked(rest.len().saturating_sub(1)).ok_or(())?;
        let reach = LETTERS.iter().find(|(_, known)| letter == known.to_string()).ok_or(())?.0;
        Ok(Self { seed: seed.parse().map_err(drop)?, index: index.parse().map_err(drop)?, reach })
    }
}

/// The first `length` bytes that the request with this token has to send. Among them are requests and ends of bodies: who
/// loses count of where the body ends will find something to act upon.
pub fn request_body(token: Token, length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(token.seed << 8 ^ token.index as u64 ^ 0xb0d1);
    let bait = Token { reach: Reach::Bait, ..token };
    let pieces = [
        format!("GET /up/length-3/{bait} HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        format!("POST /up/length-3/{bait} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\n"),
        "\r\n0\r\n\r\n".into(),
        "\n".into(),
        "X-A: y\r\nContent-Length: 100000\r\n\r\n".into(),
        format!("{token} "),
        "ffff\r\n".into(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
    ];
    fill(length, || match random.usize(..2 * pieces.len()) {
        known if known < pieces.len() => pieces[known].clone().into_bytes(),
        _ => (0..random.usize(1..120)).map(|_| random.u8(..)).collect(),
    })
}

/// What the upstream answers in `length` bytes: who it is for and what had arrived of that one's body, then lines that look
/// like other answers.
pub fn answer_body(token: Token, got: &str, length: usize) -> Vec<u8> {
    let mut line = 0;
    fill(length, || {
        line += 1;
        let text = match line % 4 {
            1 => format!("{token} got {got}\n"),
            2 => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into(),
            3 => format!("line {line} of {token}\r\n"),
            _ => "0\r\n\r\n".into(),
        };
        text.into_bytes()
    })
}

fn fill(length: usize, mut next: impl FnMut() -> Vec<u8>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 200);
    while bytes.len() < length {
        bytes.extend(next());
    }
    bytes.truncate(length);
    bytes
}

/// Length and digest (FNV-1a) of what had arrived, as the upstream says it in [`answer_body`] and in `X-Got`.
pub fn digest(body: &[u8]) -> String {
    let fnv = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{}-{:016x}", body.len(), body.iter().fold(0xcbf2_9ce4_8422_2325, fnv))
}

/// How the upstream answers: a segment of the path in front of the token, such as `chunked-300000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// So many bytes behind a content-length.
    Length(usize),
    /// Chunked.
    Chunked(usize),
    /// Until the connection ends.
    Close(usize),
    /// 103, and then as [`Answer::Length`].
    Hints(usize),
    /// A status without a body: 204 or 304.
    Empty(u16),
    /// A status and some bytes before the request's body is read, then the rest of that is read.
    EarlyKeep(u16),
    /// The same, and the connection ends.
    EarlyClose(u16),
    /// A content-length, half of the body, and the end of the connection.
    CutLength(usize),
    /// The same with chunks.
    CutChunked(usize),
    /// The same with chunks and a reset.
    ResetChunked(usize),
    /// Nothing but the end of the connection.
    Silent(usize),
    /// A websocket that echoes.
    Socket(usize),
    /// `Upgrade: foo`: a tunnel that echoes lines and says `bye` at the end.
    Lines(usize),
    /// An offer of an upgrade is declined with this status.
    Declined(u16),
}

type Constructor = fn(u32) -> Answer;

const NAMES: [(&str, Constructor); 14] = [
    ("length", |n| Answer::Length(n as usize)),
    ("chunked", |n| Answer::Chunked(n as usize)),
    ("close", |n| Answer::Close(n as usize)),
    ("hints", |n| Answer::Hints(n as usize)),
    ("empty", |n| Answer::Empty(n as u16)),
    ("early_keep", |n| Answer::EarlyKeep(n as u16)),
    ("early_close", |n| Answer::EarlyClose(n as u16)),
    ("cut_length", |n| Answer::CutLength(n as usize)),
    ("cut_chunked", |n| Answer::CutChunked(n as usize)),
    ("reset_chunked", |n| Answer::ResetChunked(n as usize)),
    ("silent", |n| Answer::Silent(n as usize)),
    ("socket", |n| Answer::Socket(n as usize)),
    ("lines", |n| Answer::Lines(n as usize)),
    ("declined", |n| Answer::Declined(n as u16)),
];

impl Answer {
    /// Bytes of the body that it would have if it arrived whole.
    pub fn size(self) -> usize {
        match self {
            Self::Length(size) | Self::Chunked(size) | Self::Close(size) | Self::Hints(size) => size,
            Self::CutLength(size) | Self::CutChunked(size) | Self::ResetChunked(size) => size,
            Self::Empty(_) | Self::Silent(_) | Self::Socket(_) | Self::Lines(_) => 0,
            Self::EarlyKeep(_) | Self::EarlyClose(_) | Self::Declined(_) => 60,
        }
    }

    /// Its status.
    pub fn status(self) -> u16 {
        match self {
            Self::Empty(status)
            | Self::EarlyKeep(status)
            | Self::EarlyClose(status)
            | Self::Declined(status) => status,
            Self::Socket(_) | Self::Lines(_) => 101,
            _ => 200,
        }
    }

    /// Whether it is given before the request's body has been read.
    pub fn is_early(self) -> bool {
        matches!(self, Self::EarlyKeep(_) | Self::EarlyClose(_))
    }

    /// Whether it breaks off.
    pub fn is_cut(self) -> bool {
        matches!(self, Self::CutLength(_) | Self::CutChunked(_) | Self::ResetChunked(_))
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = match *self {
            Self::Silent(n) | Self::Socket(n) | Self::Lines(n) => n,
            Self::Empty(status)
            | Self::EarlyKeep(status)
            | Self::EarlyClose(status)
            | Self::Declined(status) => usize::from(status),
            sized => sized.size(),
        };
        let named = NAMES.iter().find(|(_, make)| make(number as u32) == *self);
        write!(f, "{}-{number}", named.map_or("?", |(name, _)| name))
    }
}

impl FromStr for Answer {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (name, number) = text.rsplit_once('-').ok_or(())?;
        let make = NAMES.iter().find(|(known, _)| *known == name).ok_or(())?.1;
        Ok(make(number.parse().map_err(drop)?))
    }
}
