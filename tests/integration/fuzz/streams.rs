//! What a client sends over HTTP/2 on one connection: requests as those of HTTP/1, and how each stream behaves.

use fastrand::Rng;
use std::fmt;

use super::content::Reach;
use super::kinds;
use super::plan::{Kind, Request};

/// The streams of one connection.
pub struct Streams {
    pub seed: u64,
    pub requests: Vec<Request>,
    pub manners: Vec<Manner>,
    /// The window of every stream, until each has its head; then it is opened.
    pub window: u32,
}

/// How a stream goes about its request.
#[derive(Clone, Debug)]
pub struct Manner {
    /// How often the others may go on before it begins, and between its pieces.
    pub lag: usize,
    /// The longest piece of its body.
    pub piece: usize,
    pub trailers: bool,
    /// The end of the stream is a frame of its own.
    pub ends_apart: bool,
    pub gives_up: GivesUp,
}

/// Where the client resets a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivesUp {
    Never,
    /// Behind so many bytes of its body, which are not all.
    Sending(usize),
    /// When it has sent everything.
    Waiting,
    /// When the head and so many bytes of the answer are there.
    Reading(usize),
}

impl Streams {
    /// The streams of a seed; the last is sent when all others are over, and asks whether the connection still serves.
    pub fn new(seed: u64) -> Self {
        let random = &mut Rng::with_seed(seed ^ 0x2222_0000);
        let count = random.usize(1..=12);
        let mut requests = (0..count).map(|index| kinds::stream(random, seed, index)).collect::<Vec<_>>();
        let mut manners = requests.iter_mut().map(|request| manner(random, request)).collect::<Vec<_>>();
        requests.push(kinds::probe(seed, count));
        manners.push(Manner {
            lag: 0,
            piece: 1,
            trailers: false,
            ends_apart: false,
            gives_up: GivesUp::Never,
        });
        let window = [0, 0, 100, 5_000, 65_535, 1 << 20][random.usize(..6)];
        Self { seed, requests, manners, window }
    }
}

fn manner(random: &mut Rng, request: &mut Request) -> Manner {
    let gives_up = match (&request.kind, random.u8(..8)) {
        (Kind::Served(answer), 0) if request.body.sent() > 1 && !answer.is_early() => {
            GivesUp::Sending(random.usize(..request.body.sent()))
        }
        (Kind::Served(answer), 1) if !answer.is_cut() && !answer.is_early() => GivesUp::Waiting,
        (Kind::Served(answer), 2 | 3)
            if answer.size() > 1 && !answer.is_cut() && request.method != "HEAD" =>
        {
            GivesUp::Reading(random.usize(..answer.size()))
        }
        _ => GivesUp::Never,
    };
    if matches!(gives_up, GivesUp::Sending(_)) {
        rename(request, Reach::Partly);
    }
    let piece = [1_000, 5_000, 16_384, usize::MAX][random.usize(..4)];
    Manner {
        lag: random.usize(..6),
        // Small pieces of small bodies.
        piece: if request.body.sent() < 400 { random.usize(1..400) } else { piece },
        trailers: request.body.has_bytes() && random.u8(..6) == 0,
        ends_apart: random.bool(),
        gives_up,
    }
}

fn rename(request: &mut Request, reach: Reach) {
    let before = request.token.to_string();
    request.token.reach = reach;
    request.target = request.target.replace(&before, &request.token.to_string());
}

impl fmt::Display for Manner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lag, piece, trailers, ends_apart, gives_up } = self;
        write!(f, "lags by {lag}, pieces of at most {piece} bytes, trailers: {trailers}, ")?;
        write!(f, "ends in a frame of its own: {ends_apart}, gives up: {gives_up:?}")
    }
}
