//! The kinds of requests that a plan is made of, and how often each is drawn.

use fastrand::Rng;

use super::bodies::{Body, size};
use super::content::{Answer, Reach, Token};
use super::plan::{Kind, LIMIT, Lie, Pause, Request};

const QUERIES: [&str; 4] = ["", "", "?a=%2F&b", "?q=x%20y&q="];
const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
const SOCKET: [&str; 4] = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", KEY];
const FOO: [&str; 2] = ["Connection: upgrade", "Upgrade: foo"];

/// Heads that nobody may take for a request; each is answered 400 and ends the connection.
const BROKEN: [&str; 14] = [
    "GET /up/length-3/{} HTTP/1.1\r\nHost: a.test\r\nbad name: x\r\n\r\n",
    "GET /up/length-3/{} HTTP/1.1\r\nHost: a.test\r\nno colon\r\n\r\n",
    "GET /up/length-3/{} HTTP/1.1\nHost: a.test\n\n",
    "GET /up/length-3/{} HTTP/1.1\r\nHost: a.test\r\nX-A: b\n\r\n",
    "GET /up/length-3/{} HTTP/1.1\r\nHost: a.test\r\nX-A: b\r\n folded\r\n\r\n",
    "GET /up/length-3/{} HTTP/1.1\r\nHost: a.test\r\nX-A: b\0c\r\n\r\n",
    "GET /up/length-3/{} HTTP/1.1\r\n\r\n",
    "GET /up/length-3/{} HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n",
    "POST /up/length-3/{} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "POST /up/length-3/{} HTTP/1.1\r\nHost: a.test\r\nContent-Length: +3\r\n\r\nabc",
    "POST /up/length-3/{} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /up/length-3/{} HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "G T /up/length-3/{} HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n",
];

type Make = fn(&mut Draw) -> Request;

/// The kinds that others may follow, each as often as the number says.
const ANYWHERE: [(usize, Make); 13] = [
    (6, Draw::served),
    (7, Draw::served_with_body),
    (3, Draw::refused),
    (6, Draw::refused_with_body),
    (3, Draw::too_large),
    (4, Draw::dead),
    (3, Draw::early),
    (1, Draw::cut),
    (1, Draw::silent),
    (3, Draw::declined),
    (2, Draw::half_an_offer),
    (1, Draw::uncarried),
    (2, Draw::old),
];

/// The kinds of HTTP/2's streams.
const STREAMS: [(usize, Make); 10] = [
    (6, Draw::served),
    (7, Draw::served_with_body),
    (3, Draw::refused),
    (6, Draw::refused_with_body),
    (3, Draw::too_large),
    (3, Draw::dead),
    (4, Draw::early),
    (1, Draw::cut),
    (1, Draw::silent),
    (4, Draw::lie),
];

/// The kinds that nothing can be sent behind.
const LAST: [(usize, Make); 5] = [
    (4, Draw::tunnel),
    (3, Draw::broken_head),
    (4, Draw::broken_chunks),
    (2, Draw::unfinished),
    (1, Draw::carried),
];

/// Any request for a place in a plan; the `last` one may be of a kind that nothing can follow.
pub fn request(random: &mut Rng, seed: u64, index: usize, last: bool) -> Request {
    let table = if last && random.u8(..3) == 0 { &LAST[..] } else { &ANYWHERE[..] };
    drawn(table, random, seed, index)
}

/// Any request for a stream of HTTP/2.
pub fn stream(random: &mut Rng, seed: u64, index: usize) -> Request {
    drawn(&STREAMS, random, seed, index)
}

fn drawn(table: &[(usize, Make)], random: &mut Rng, seed: u64, index: usize) -> Request {
    let mut at = random.usize(..table.iter().map(|(often, _)| *often).sum::<usize>());
    let chosen = table.iter().find(|(often, _)| {
        let here = at < *often;
        at = at.saturating_sub(*often);
        here
    });
    let make = chosen.map_or(Draw::served as Make, |(_, make)| *make);
    let mut request = make(&mut Draw { random: random.fork(), seed, index });
    if request.target.contains("/up/length") {
        request.target += QUERIES[random.usize(..QUERIES.len())];
    }
    let may_expect = !request.old && !request.ends && request.body.has_bytes();
    request.expect = may_expect && random.u8(..4) == 0;
    request
}

/// The one that asks whether the connection is where it should be.
pub fn probe(seed: u64, index: usize) -> Request {
    let draw = Draw { random: Rng::with_seed(seed), seed, index };
    let answer = Answer::Length(90);
    let mut probe =
        draw.plain("GET", &format!("/up/{answer}"), Reach::Whole, Body::None, Kind::Served(answer));
    probe.waits = true;
    probe
}

/// Draws a request for a place in a plan.
struct Draw {
    random: Rng,
    seed: u64,
    index: usize,
}

impl Draw {
    fn token(&self, reach: Reach) -> Token {
        Token { seed: self.seed, index: self.index, reach }
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.random.usize(..of.len())]
    }

    fn plain(&self, method: &'static str, path: &str, reach: Reach, body: Body, kind: Kind) -> Request {
        let token = self.token(reach);
        Request {
            token,
            method,
            target: format!("{path}/{token}"),
            host: "a.test",
            old: false,
            fields: Vec::new(),
            body,
            kind,
            ends: false,
            expect: false,
            pause: Pause::Never,
            waits: false,
            crlf: false,
        }
    }

    fn bodiless(&mut self) -> &'static str {
        self.one(&["GET", "GET", "GET", "HEAD", "HEAD", "DELETE", "POST"])
    }

    fn method(&mut self) -> &'static str {
        self.one(&["POST", "POST", "POST", "PUT", "PUT", "DELETE"])
    }

    fn body(&mut self, reach: Reach) -> Body {
        let (token, length) = (self.token(reach), size(&mut self.random));
        Body::any(&mut self.random, token, length)
    }

    fn answer(&mut self) -> Answer {
        let size = size(&mut self.random);
        match self.random.usize(..12) {
            0..5 => Answer::Length(size),
            5..8 => Answer::Chunked(size),
            8 => Answer::Close(size),
            9 => Answer::Hints(size),
            10 => Answer::Empty(204),
            _ => Answer::Empty(304),
        }
    }

    fn served(&mut self) -> Request {
        let (answer, method) = (self.answer(), self.bodiless());
        self.plain(method, &format!("/up/{answer}"), Reach::Whole, Body::None, Kind::Served(answer))
    }

    fn served_with_body(&mut self) -> Request {
        let (answer, method, body) = (self.answer(), self.method(), self.body(Reach::Whole));
        let path = if body.sent() <= LIMIT && self.random.bool() { "/limit" } else { "/up" };
        self.plain(method, &format!("{path}/{answer}"), Reach::Whole, body, Kind::Served(answer))
    }

    /// Path, method and kind of what is refused whatever follows its head.
    fn refusal(&mut self, any: &'static str) -> (&'static str, &'static str, Kind) {
        match self.random.usize(..5) {
            0 => ("/nothing/length-3", any, Kind::Refused(404, "no_route")),
            1 => {
                let other = self.one(&["POST", "PUT", "DELETE"]);
                ("/only/length-3", other, Kind::Refused(405, "method_not_allowed"))
            }
            2 => ("/deny/length-3", any, Kind::Refused(403, "denied")),
            3 => ("/rated/length-3", any, Kind::Refused(429, "rate_limited")),
            _ => ("/up/..%2f/length-3", any, Kind::Refused(400, "bad_path")),
        }
    }

    fn refused(&mut self) -> Request {
        let method = self.bodiless();
        let (path, method, kind) = self.refusal(method);
        let mut request = self.plain(method, path, Reach::Never, Body::None, kind);
        if self.random.u8(..6) == 0 {
            request.kind = Kind::Refused(400, "bad_request");
            request.target = format!("/up/length-3/{}", request.token);
            request.host = "u@a.test";
        }
        request
    }

    fn refused_with_body(&mut self) -> Request {
        let method = self.method();
        let (path, method, kind) = self.refusal(method);
        let body = self.body(Reach::Never);
        self.plain(method, path, Reach::Never, body, kind)
    }

    fn too_large(&mut self) -> Request {
        let (method, length) = (self.method(), self.one(&[LIMIT + 1, LIMIT + 2_000, 66_000, 300_000]));
        let (reach, body) = if self.random.bool() {
            (Reach::Never, Body::sized(length))
        } else {
            let token = self.token(Reach::Partly);
            (Reach::Partly, Body::chunked(&mut self.random, token, length))
        };
        self.plain(method, "/limit/length-3", reach, body, Kind::TooLarge)
    }

    fn dead(&mut self) -> Request {
        let (method, body) = match self.random.u8(..4) {
            0 => (self.bodiless(), Body::None),
            _ => (self.method(), self.body(Reach::Never)),
        };
        self.plain(method, "/dead/length-3", Reach::Never, body, Kind::Dead)
    }

    fn early(&mut self) -> Request {
        let status = self.one(&[200, 401, 403]);
        let answer = if self.random.bool() { Answer::EarlyKeep(status) } else { Answer::EarlyClose(status) };
        let (method, body) = (self.method(), self.body(Reach::Begun));
        self.plain(method, &format!("/up/{answer}"), Reach::Begun, body, Kind::Served(answer))
    }

    fn cut(&mut self) -> Request {
        let size = self.one(&[100, 5_000, 200_000]);
        let answer =
            [Answer::CutLength, Answer::CutChunked, Answer::ResetChunked][self.random.usize(..3)](size);
        let (method, body) = match self.random.bool() {
            true => ("GET", Body::None),
            false => ("POST", self.body(Reach::Whole)),
        };
        self.plain(method, &format!("/up/{answer}"), Reach::Whole, body, Kind::Served(answer))
    }

    fn silent(&mut self) -> Request {
        let (method, answer) = (self.one(&["GET", "PUT"]), Answer::Silent(0));
        self.plain(method, &format!("/up/{answer}"), Reach::Whole, Body::None, Kind::Served(answer))
    }

    fn nothing(&mut self) -> Body {
        if self.random.bool() { Body::sized(0) } else { Body::None }
    }

    fn declined(&mut self) -> Request {
        let (answer, method) = (Answer::Declined(self.one(&[200, 400, 426])), self.one(&["GET", "POST"]));
        let body = self.nothing();
        let mut request =
            self.plain(method, &format!("/up/{answer}"), Reach::Whole, body, Kind::Served(answer));
        // RFC 6455 §4.1: a handshake is a GET.
        request.fields.extend(if method == "GET" && self.random.bool() { &SOCKET[..] } else { &FOO[..] });
        request
    }

    /// `Connection: upgrade` without an offer, which nginx sends by a common recipe, and an offer without it.
    fn half_an_offer(&mut self) -> Request {
        let answer = self.answer();
        let (method, body) = match self.random.bool() {
            true => ("GET", Body::None),
            false => ("POST", self.body(Reach::Whole)),
        };
        let mut request =
            self.plain(method, &format!("/up/{answer}"), Reach::Whole, body, Kind::Served(answer));
        let half = self.one(&["Connection: upgrade", "Connection: upgrade", "Upgrade: foo"]);
        request.fields.push(half);
        request
    }

    fn uncarried(&mut self) -> Request {
        let (token, length) = (self.token(Reach::Never), self.random.usize(1..3_000));
        let body = Body::any(&mut self.random, token, length);
        let mut request = self.plain("GET", "/up/socket-0", Reach::Never, body, Kind::Uncarried);
        request.fields.extend(SOCKET);
        request
    }

    fn old(&mut self) -> Request {
        let answer = self.answer();
        let (method, body) = match self.random.bool() {
            true => (self.one(&["GET", "HEAD", "DELETE"]), Body::None),
            false => (self.method(), Body::sized(size(&mut self.random))),
        };
        let mut request =
            self.plain(method, &format!("/up/{answer}"), Reach::Whole, body, Kind::Served(answer));
        request.old = true;
        if self.random.u8(..4) > 0 {
            request.fields.push("Connection: keep-alive");
        }
        request
    }

    fn tunnel(&mut self) -> Request {
        let socket = self.random.bool();
        let answer = if socket { Answer::Socket(0) } else { Answer::Lines(0) };
        let lines = (0..self.random.usize(..5)).map(|_| self.line()).collect();
        // RFC 6455 §4.1: the client of a websocket waits.
        let kind = Kind::Tunnel { answer, lines, at_once: !socket && self.random.bool() };
        let (method, body) = (if socket { "GET" } else { self.one(&["GET", "POST"]) }, self.nothing());
        let mut request = self.plain(method, &format!("/up/{answer}"), Reach::Whole, body, kind);
        request.fields.extend(if socket { &SOCKET[..] } else { &FOO[..] });
        request.ends = true;
        request
    }

    /// A message for a tunnel: any bytes but a line feed, then one.
    fn line(&mut self) -> Vec<u8> {
        let bait = self.token(Reach::Bait);
        let mut line = match self.random.usize(..3) {
            0 => format!("GET /up/length-3/{bait} HTTP/1.1\r").into_bytes(),
            1 => (0..self.random.usize(..3_000)).map(|_| self.random.u8(11..)).collect(),
            _ => (0..self.random.usize(..100)).map(|_| self.random.u8(11..)).collect(),
        };
        line.push(b'\n');
        line
    }

    fn carried(&mut self) -> Request {
        let (token, length) = (self.token(Reach::Whole), self.random.usize(1..2_000));
        let (body, answer) = (Body::any(&mut self.random, token, length), Answer::Lines(0));
        let mut request =
            self.plain("POST", &format!("/up/{answer}"), Reach::Whole, body, Kind::Carried(answer));
        request.fields.extend(FOO);
        request.ends = true;
        request
    }

    fn broken_head(&mut self) -> Request {
        let head = self.one(&BROKEN).replace("{}", &self.token(Reach::Never).to_string());
        let mut request = self.plain("GET", "", Reach::Never, Body::None, Kind::BrokenHead(head));
        request.ends = true;
        request
    }

    fn broken_chunks(&mut self) -> Request {
        let (token, length) = (self.token(Reach::Partly), size(&mut self.random).max(1));
        let body = Body::broken(&mut self.random, token, length);
        let (path, method, kind) = match self.random.u8(..4) {
            0 => self.refusal("POST"),
            1 => ("/dead/length-3", "POST", Kind::Dead),
            _ => ("/up/length-30", "POST", Kind::BrokenChunks),
        };
        let mut request = self.plain(method, path, Reach::Partly, body, kind);
        request.ends = true;
        request
    }

    /// What HTTP/2 calls malformed (RFC 9113 §8.1.1 and §8.3.1).
    fn lie(&mut self) -> Request {
        let lie = self.one(&[
            Lie::Longer,
            Lie::Shorter,
            Lie::TwoLengths,
            Lie::EmptyLength,
            Lie::OtherHost,
            Lie::TwoHosts,
        ]);
        let reach = if matches!(lie, Lie::Longer | Lie::Shorter) { Reach::Partly } else { Reach::Never };
        let (method, length) = (self.method(), size(&mut self.random).max(2));
        let body = match lie {
            Lie::Longer => Body::Length { declared: self.random.usize(1..length), sent: length },
            Lie::Shorter => Body::Length { declared: length + self.random.usize(1..300), sent: length },
            _ => Body::sized(length),
        };
        self.plain(method, "/up/length-30", reach, body, Kind::Lie(lie))
    }

    fn unfinished(&mut self) -> Request {
        let (token, length) = (self.token(Reach::Partly), size(&mut self.random));
        // Without a body it is the head that has no end.
        let body = if self.random.u8(..3) == 0 {
            Body::None
        } else {
            Body::unfinished(&mut self.random, token, length)
        };
        let mut request = self.plain("POST", "/up/length-30", Reach::Partly, body, Kind::Unfinished);
        request.ends = true;
        request
    }
}
