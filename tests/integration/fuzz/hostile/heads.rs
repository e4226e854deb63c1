//! Heads of answers: lawful and odd ones with what the client must see of them, and broken ones.

use fastrand::Rng;

/// What stands for the upstream's own address.
pub const TARGET: &str = "TARGET";
/// The host that clients ask.
pub const HOST: &str = "a.test";

/// Field lines of a head, and what of them the client sees, in their order.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    pub wire: Vec<u8>,
    pub seen: Vec<(String, String)>,
}

impl Lines {
    /// Adds a field that passes.
    pub fn pass(&mut self, name: &str, value: &str) {
        self.line(&format!("{name}: {value}"));
        self.seen.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
    }

    /// Adds a line that the client does not see.
    pub fn line(&mut self, line: &str) {
        self.bytes(line.as_bytes());
    }

    fn bytes(&mut self, line: &[u8]) {
        self.wire.extend_from_slice(line);
        self.wire.extend_from_slice(b"\r\n");
    }

    /// Adds something lawful.
    pub fn odd(&mut self, random: &mut Rng) {
        match random.usize(..18) {
            0 => {
                self.bytes(b"X-Odd: caf\xe9 \xff\x80");
                self.seen.push(("X-Odd".into(), String::from_utf8_lossy(b"caf\xe9 \xff\x80").into_owned()));
            }
            1 => self.pass("X-Tabs", "\tone\ttwo  three\t"),
            2 => self.pass("X-Empty", ""),
            3 => {
                self.line(["X-Spaced : v", "X-Spaced \t : v", "X-Spaced  :v"][random.usize(..3)]);
                self.seen.push(("X-Spaced".into(), "v".into()));
            }
            4 => self.pass("x_under.score!", "v"),
            5 => {
                self.pass("Set-Cookie", "a=1; HttpOnly");
                self.pass("Set-Cookie", "b=\"2\"");
            }
            6 => self.pass("X-Long", &"v".repeat(random.usize(..9_000))),
            7 => (0..random.usize(..60)).for_each(|n| self.pass(&format!("X-{n}"), "v")),
            8 => {
                self.line("Connection: X-Hop, keep-alive");
                self.line("X-Hop: 1");
            }
            9 => self.line("Proxy-Connection: keep-alive"),
            10 => self.line(["Upgrade: h2c", "TE: trailers", "Trailer: X-After"][random.usize(..3)]),
            11 => self.line("Proxy-Authenticate: Basic realm=\"x\""),
            12 => self.line("Alt-Svc: h3=\":443\""),
            13 => self.line(["Aegis-Reason: no_route", "X-Request-ID: theirs"][random.usize(..2)]),
            14 => self.line(
                ["Keep-Alive: timeout=60", "Keep-Alive: x", "Keep-Alive: timeout=60, max=3"]
                    [random.usize(..3)],
            ),
            15 => self.pass("Content-Location", "/elsewhere"),
            16 => self.pass("X-Colons", "HTTP/1.1 200 OK: : :"),
            _ => self.pass("Retry-After", "5"),
        }
    }
}

/// A status line that is none.
pub fn broken_start(random: &mut Rng) -> &'static [u8] {
    const STARTS: [&[u8]; 22] = [
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 099 OK",
        b"HTTP/1.1 000 OK",
        b"HTTP/1.1 -20 OK",
        b"HTTP/1.1 2x0 OK",
        b"HTTP/1.1  OK",
        b"HTTP/1.1",
        b"HTTP/1.1 200\x00 OK",
        b"HTTP/1.1 200 O\x00K",
        b"HTTP/1.1 200 O\x7fK\x01",
        b"HTTP/1.1 200 OK\rX: y",
        b"HTTP/2.0 200 OK",
        b"HTTP/2 200 OK",
        b"HTTP/0.9 200 OK",
        b"HTTP/11 200 OK",
        b"http/1.1 200 OK",
        b"ICY 200 OK",
        b" HTTP/1.1 200 OK",
        b"HTTP/1.1\t200 OK",
        b"GET / HTTP/1.1",
        b"<html>",
    ];
    STARTS[random.usize(..STARTS.len())]
}

/// A field line that is none.
pub fn broken_line(random: &mut Rng) -> &'static [u8] {
    const LINES: [&[u8]; 20] = [
        b"X-Null: a\x00b",
        b"X-\x00Null: b",
        b"X-Control: a\x01b",
        b"X-Delete: a\x7fb",
        b"X-Return: a\rX-Smuggled: b",
        b"X-Return: a\r",
        b"no colon at all",
        b": no name",
        b"X Blank: v",
        b"X-Folded: a\r\n b",
        b"X-Folded: a\r\n\tX-Smuggled: b",
        b" X-Begins: with a blank",
        b"\tX-Begins: with a tab",
        b"X-(Bracket): v",
        b"X-\xe9: v",
        b"X@Y: v",
        b"X-\"Quoted\": v",
        b"X-Two\x0b: v",
        b"{}: v",
        b"X/Y: v",
    ];
    LINES[random.usize(..LINES.len())]
}

/// Framing fields that contradict themselves or cannot be read in one way.
pub fn broken_framing(random: &mut Rng, length: usize) -> Vec<u8> {
    let one = format!("Content-Length: {length}");
    let two = |other: String| format!("{one}\r\n{other}");
    let text = match random.usize(..22) {
        0 => two(one.clone()),
        1 => two(format!("Content-Length: {}", length + 1)),
        2 => two(format!("content-length : {}", length + 7)),
        3 => format!("Content-Length: {length}, {length}"),
        4 => format!("Content-Length: +{length}"),
        5 => format!("Content-Length: -{}", length + 1),
        6 => format!("Content-Length: 0x{length:x}"),
        7 => format!("Content-Length: {length} {length}"),
        8 => format!("Content-Length: {length}.0"),
        9 => "Content-Length: 99999999999999999999999".into(),
        10 => "Content-Length:".into(),
        11 => "Content-Length: ,".into(),
        12 => "Transfer-Encoding: gzip".into(),
        13 => "Transfer-Encoding: gzip, chunked".into(),
        14 => "Transfer-Encoding: chunked, chunked".into(),
        15 => "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked".into(),
        16 => "Transfer-Encoding: chunked;q=1".into(),
        17 => "Transfer-Encoding: identity".into(),
        18 => "Transfer-Encoding:".into(),
        19 => "Transfer-Encoding: \"chunked\"".into(),
        20 => two("Transfer-Encoding: xchunked".into()),
        _ => "Transfer-Encoding: chunked,".into(),
    };
    text.into_bytes()
}

/// A place, and what the client is told of it.
pub fn place(random: &mut Rng) -> (&'static str, &'static str) {
    const PLACES: [(&str, &str); 12] = [
        ("http://TARGET/login?a=b#c", "http://a.test/login?a=b#c"),
        ("HTTP://TARGET", "http://a.test/"),
        ("//TARGET/x", "http://a.test/x"),
        ("http://TARGET?x", "http://a.test/?x"),
        ("https://TARGET/x", "https://TARGET/x"),
        ("http://TARGET.evil.test/", "http://TARGET.evil.test/"),
        ("http://TARGET@evil.test/", "http://TARGET@evil.test/"),
        ("http://u:p@TARGET/", "http://u:p@TARGET/"),
        ("http://TARGET0/", "http://TARGET0/"),
        ("/x?next=http://TARGET/", "/x?next=http://TARGET/"),
        ("http://[::1/", "http://[::1/"),
        ("", ""),
    ];
    PLACES[random.usize(..PLACES.len())]
}

/// A cookie, and what the client is told of it.
pub fn cookie(random: &mut Rng) -> (&'static str, &'static str) {
    const COOKIES: [(&str, &str); 7] = [
        ("a=b; Path=/x; Secure", "a=b; Path=/x; Secure"),
        ("a=b; Domain=127.0.0.1", "a=b; Domain=a.test"),
        ("a=b; domain=.127.0.0.1; HttpOnly", "a=b; Domain=a.test; HttpOnly"),
        ("a=b; Domain=other.test", "a=b; Domain=other.test"),
        ("a=\"b;c\"; Domain=; Path=", "a=\"b;c\"; Domain=; Path="),
        (";;;=;", ";;;=;"),
        ("", ""),
    ];
    COOKIES[random.usize(..COOKIES.len())]
}
