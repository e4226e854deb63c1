//! What a client sends on one connection: it follows from a seed, and from nothing else.

use std::fmt;

use fastrand::Rng;

use super::bodies::Body;
use super::content::{Answer, Token, request_body};
use super::kinds;

/// `bodyLimitBytes` of the routes below `/limit`.
pub const LIMIT: usize = 20_000;

/// The requests of one connection, in their order.
pub struct Plan {
    pub seed: u64,
    pub requests: Vec<Request>,
    /// The client ends its side right behind its last byte, not only when it has every answer.
    pub half_closes: bool,
    /// The client goes on sending after an answer has said that the connection closes.
    pub sends_on: bool,
    /// The longest piece that is written at once.
    pub piece: usize,
}

/// One of them.
#[derive(Clone)]
pub struct Request {
    pub token: Token,
    pub method: &'static str,
    pub target: String,
    pub host: &'static str,
    /// HTTP/1.0.
    pub old: bool,
    /// Lines beside `Host`, those of the framing and `Expect`.
    pub fields: Vec<&'static str>,
    pub body: Body,
    pub kind: Kind,
    /// Nothing can be sent behind it.
    pub ends: bool,
    pub expect: bool,
    pub pause: Pause,
    /// It is sent when all answers to those before it are there.
    pub waits: bool,
    /// An empty line in front of it (RFC 9112 §2.2).
    pub crlf: bool,
}

/// Where the client stops within a request until it hears something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    Never,
    /// Behind the head, for `100 Continue` or an answer.
    Continue,
    /// Behind so many bytes of the body as it is on the wire, for an answer that may be early; not for long.
    Within(usize),
}

/// What the request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The upstream answers it, in its way.
    Served(Answer),
    /// The gateway refuses it by its head.
    Refused(u16, &'static str),
    /// Its body is over the limit, by its length or when so much of it has arrived.
    TooLarge,
    /// Nobody listens at its backend.
    Dead,
    /// Its head is none.
    BrokenHead(String),
    /// Its body is no chunked coding somewhere.
    BrokenChunks,
    /// The client ends its side in the middle of it.
    Unfinished,
    /// A websocket or another tunnel that the upstream agrees to, with what the client sends through it, at once or when
    /// it has the 101.
    Tunnel { answer: Answer, lines: Vec<Vec<u8>>, at_once: bool },
    /// An offer of a tunnel that cannot be carried.
    Uncarried,
    /// An offer with a body: RFC 9110 §7.8 lets a server take it, and refuse it.
    Carried(Answer),
    /// Over HTTP/2: it is malformed.
    Lie(Lie),
}

/// What is malformed about a request of HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Its body has more bytes than its content-length says.
    Longer,
    Shorter,
    TwoLengths,
    EmptyLength,
    /// `host` is another one than `:authority`.
    OtherHost,
    TwoHosts,
}

impl Plan {
    /// The plan of a seed.
    pub fn new(seed: u64) -> Self {
        let random = &mut Rng::with_seed(seed);
        let count = random.usize(1..=12);
        let mut requests = Vec::with_capacity(count);
        // How often the client waits: never, always, sometimes.
        let patience = [0.0, 0.0, 1.0, 0.3][random.usize(..4)];
        while requests.len() < count {
            let last = requests.len() + 1 == count;
            let mut request = kinds::request(random, seed, requests.len(), last);
            request.waits = random.f64() < patience;
            request.crlf = !requests.is_empty() && random.u8(..8) == 0;
            // Whether who asks for both wants the one or the other is anybody's guess.
            let offers = request.fields.iter().any(|field| field.starts_with("Upgrade"));
            if random.u8(..12) == 0 && !request.ends && !offers {
                request.fields.push("Connection: close");
            }
            request.pause = pause(random, &request);
            let ends = request.ends;
            requests.push(request);
            if ends {
                break;
            }
        }
        let unfinished = requests.last().is_some_and(|last| last.kind == Kind::Unfinished);
        let tunnels = requests.last().is_some_and(Request::offers_tunnel);
        let half_closes = unfinished || (!tunnels && random.u8(..4) == 0);
        if !half_closes && !requests.last().is_some_and(|last| last.ends) {
            // A connection that was kept serves one more.
            requests.push(kinds::probe(seed, requests.len()));
        }
        Self {
            seed,
            half_closes,
            sends_on: random.bool(),
            piece: [1, 7, 100, 3_000, 30_000, usize::MAX][random.usize(..6)],
            requests,
        }
    }

    /// What the client sends behind a request.
    pub fn bytes_behind(&self, index: usize) -> usize {
        self.requests[index + 1..].iter().map(|request| request.head().len() + request.body.on_wire()).sum()
    }
}

impl Request {
    /// It may become a tunnel.
    pub fn offers_tunnel(&self) -> bool {
        matches!(self.kind, Kind::Tunnel { .. } | Kind::Carried(_))
    }

    /// The head's bytes.
    pub fn head(&self) -> String {
        if let Kind::BrokenHead(head) = &self.kind {
            return head.clone();
        }
        let version = if self.old { "1.0" } else { "1.1" };
        let mut head = format!("{} {} HTTP/{version}\r\nHost: {}\r\n", self.method, self.target, self.host);
        for field in &self.fields {
            head += field;
            head += "\r\n";
        }
        if self.expect {
            head += "Expect: 100-continue\r\n";
        }
        match self.body {
            Body::None => {}
            Body::Length { declared, .. } => head += &format!("Content-Length: {declared}\r\n"),
            Body::Chunked { .. } => head += "Transfer-Encoding: chunked\r\n",
        }
        if self.kind == Kind::Unfinished && self.body == Body::None {
            return head;
        }
        head + "\r\n"
    }

    /// What follows the head on the wire.
    pub fn body(&self) -> Vec<u8> {
        match &self.body {
            Body::None => Vec::new(),
            Body::Length { sent, .. } => request_body(self.token, *sent),
            Body::Chunked { wire, .. } => wire.clone(),
        }
    }

    /// Whether the gateway may speak before the body is there.
    fn may_be_answered_early(&self) -> bool {
        match &self.kind {
            Kind::Served(answer) => answer.is_early(),
            Kind::Refused(..) | Kind::TooLarge | Kind::Dead | Kind::Uncarried => true,
            _ => false,
        }
    }
}

fn pause(random: &mut Rng, request: &Request) -> Pause {
    match request.body.on_wire() {
        1.. if request.expect && random.bool() => Pause::Continue,
        bytes @ 2.. if request.may_be_answered_early() && random.u8(..3) > 0 => {
            // Of a body that is refused for its size there must be enough.
            let by_chunks = matches!(request.body, Body::Chunked { .. }) && request.kind == Kind::TooLarge;
            let from = if by_chunks { bytes - (bytes - LIMIT) / 3 } else { 1 };
            Pause::Within(random.usize(from..bytes))
        }
        _ => Pause::Never,
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, target, .. } = self;
        if let Kind::BrokenHead(head) = &self.kind {
            return write!(f, "a head that is none: {:?}", head.chars().take(200).collect::<String>());
        }
        write!(f, "{method} {target}{}", if self.old { " HTTP/1.0" } else { "" })?;
        for field in &self.fields {
            write!(f, ", {field}")?;
        }
        match &self.body {
            Body::None => {}
            Body::Length { declared, sent } if declared == sent => write!(f, ", {sent} bytes")?,
            Body::Length { declared, sent } => write!(f, ", {sent} of {declared} bytes")?,
            Body::Chunked { length, wire } => write!(f, ", {length} bytes in chunks, {} in all", wire.len())?,
        }
        if self.expect {
            write!(f, ", expects 100")?;
        }
        match self.pause {
            Pause::Never => {}
            Pause::Continue => write!(f, " and waits for it")?,
            Pause::Within(bytes) => write!(f, ", looks for an answer after {bytes} of them")?,
        }
        let waits = if self.waits { ", sent when those before it are answered" } else { "" };
        let crlf = if self.crlf { ", behind an empty line" } else { "" };
        let kind = match &self.kind {
            Kind::Served(_) => return write!(f, "{waits}{crlf}"),
            Kind::Tunnel { lines, at_once, .. } => {
                format!("a tunnel for {} messages, at once: {at_once}", lines.len())
            }
            other => format!("{other:?}"),
        };
        write!(f, "{waits}{crlf}: {kind}")
    }
}
