//! A request, and a lawful answer to it in its parts.

use fastrand::Rng;

use super::super::content::{Token, answer_body, digest, request_body};
use super::bodies::chunks;
use super::heads::Lines;

/// How the client asks.
#[derive(Clone, Debug)]
pub struct Ask {
    pub method: &'static str,
    pub body: Vec<u8>,
    pub chunked: bool,
    /// Offers a tunnel; over HTTP/1 only.
    pub offers: bool,
    /// The client goes away in the middle of the answer.
    pub leaves: bool,
}

/// An answer of the upstream's that may be passed on.
#[derive(Clone, Debug)]
pub struct Passed {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    /// The body, and how many bytes of what is wrong behind it may pass for data.
    pub body: Vec<u8>,
    pub slack: usize,
    /// It may end in order, having come whole; it may be cut anywhere.
    pub whole: bool,
    pub cut: bool,
}

/// Whether the client of a seed speaks HTTP/2.
pub fn is_http2(seed: u64) -> bool {
    seed % 4 == 3
}

/// How a body ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    Length,
    Chunked,
    Close,
}

/// A lawful answer in its parts.
pub struct Message {
    pub start: String,
    pub status: u16,
    pub lines: Lines,
    pub coding: Coding,
    pub data: Vec<u8>,
    /// Without a body, whatever the fields say.
    pub bare: bool,
}

impl Message {
    /// One for this request.
    pub fn new(random: &mut Rng, token: Token, ask: &Ask) -> Self {
        let bodiless = random.u8(..12) == 0;
        let status = match bodiless {
            true => [204, 304][random.usize(..2)],
            false => [200, 200, 200, 201, 206, 404, 418, 500, 503, 599, 999][random.usize(..11)],
        };
        let reason = ["OK", "", "A reason of its own", "caf\u{e9}"][random.usize(..4)];
        let start = format!("HTTP/1.1 {status} {reason}");
        let mut lines = Lines::default();
        lines.pass("X-Token", &token.to_string());
        let bare = bodiless || ask.method == "HEAD";
        let coding = match random.usize(..6) {
            0..3 => Coding::Length,
            3..5 => Coding::Chunked,
            // An end that nothing announces needs a body.
            _ if bare => Coding::Length,
            _ => Coding::Close,
        };
        let length = match random.usize(..8) {
            0 => 0,
            1 => 1,
            2 => 70_000,
            3 => random.usize(..200_000),
            _ => random.usize(..3_000),
        };
        let data = answer_body(token, &digest(&ask.body), length);
        Self { start, status, lines, coding, data, bare }
    }

    /// The field that frames it.
    pub fn framing(&self) -> String {
        match self.coding {
            // A length means something in a 304, and nothing in a 204.
            Coding::Length => format!("Content-Length: {}\r\n", self.data.len()),
            Coding::Chunked => "Transfer-Encoding: Chunked\r\n".into(),
            Coding::Close => String::new(),
        }
    }

    /// Its head's bytes.
    pub fn head(&self) -> Vec<u8> {
        [self.start.as_bytes(), b"\r\n", &self.lines.wire, self.framing().as_bytes(), b"\r\n"].concat()
    }

    /// The bytes behind its head.
    pub fn body(&self, random: &mut Rng) -> Vec<u8> {
        match self.coding {
            _ if self.bare => Vec::new(),
            Coding::Chunked => chunks(random, &self.data),
            Coding::Length | Coding::Close => self.data.clone(),
        }
    }

    /// What the client sees of it.
    pub fn passed(&self) -> Passed {
        let body = if self.bare { Vec::new() } else { self.data.clone() };
        Passed {
            status: self.status,
            fields: self.lines.seen.clone(),
            body,
            slack: 0,
            whole: true,
            cut: false,
        }
    }
}

impl Ask {
    /// A request for this token.
    pub fn new(random: &mut Rng, token: Token) -> Self {
        let method = ["GET", "GET", "GET", "HEAD", "POST", "PUT"][random.usize(..6)];
        let length = match method {
            "POST" | "PUT" => random.usize(..8_000),
            _ => 0,
        };
        let offers = method == "GET" && random.u8(..12) == 0 && !is_http2(token.seed);
        let leaves = random.u8(..50) == 0;
        Self { method, body: request_body(token, length), chunked: random.bool(), offers, leaves }
    }
}
