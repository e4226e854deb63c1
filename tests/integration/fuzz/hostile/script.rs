//! What an upstream does with a request, and what of it the client may see: both follow from the request's token.

use fastrand::Rng;

use super::super::content::Token;
use super::bodies::broken_chunks;
use super::heads::{Lines, TARGET, broken_framing, broken_line, broken_start, cookie, place};
use super::message::{Ask, Coding, Message, Passed, is_http2};
use crate::harness::Then;

/// What the upstream does next.
#[derive(Clone, Debug)]
pub enum Step {
    Write(Vec<u8>),
    /// In milliseconds.
    Pause(u64),
    /// Reads the request's body.
    Body,
    /// Says nothing more until the gateway has had enough.
    Hang,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Script {
    pub kind: &'static str,
    pub ask: Ask,
    pub steps: Vec<Step>,
    pub end: Then,
    /// Nothing more may be asked on the connection.
    pub spoils: bool,
    /// The connection belongs to one client from now on.
    pub binds: bool,
    pub passed: Option<Passed>,
    /// Answers of the gateway's own that are right as well.
    pub gateway: &'static [(u16, &'static str)],
}

const BROKEN: &[(u16, &str)] = &[(502, "upstream_bad_response"), (502, "upstream_reset")];
const LATE: &[(u16, &str)] = &[(504, "upstream_timeout")];

impl Script {
    /// The script of a token, for an upstream at this address.
    pub fn of(token: Token, upstream: &str) -> Self {
        let random = &mut Rng::with_seed(token.seed << 8 ^ token.index as u64 ^ 0x0fed);
        let ask = Ask::new(random, token);
        let mut message = Message::new(random, token, &ask);
        for _ in 0..random.usize(..4) {
            message.lines.odd(random);
        }
        let mut script = match random.usize(..100) {
            _ if ask.offers && random.bool() => tunnel(random, message, ask),
            0..18 => plain(random, "plain", message, ask),
            18..26 => broken_head(random, message, ask),
            26..32 => broken_length(random, message, ask),
            32..40 => broken_body(random, message, ask),
            40..60 => cut(random, message, ask),
            60..67 => extra(random, message, ask),
            67..72 => interim(random, message, ask),
            72..78 => challenge(random, message, ask),
            78..84 => redirect(random, message, ask, upstream),
            84..88 => hint(random, message, ask),
            88..91 => large(random, message, ask, is_http2(token.seed)),
            91..96 => early(random, message, ask),
            96..98 => trusted_once(random, message, ask),
            98 => garbage(random, ask),
            // Each of them takes its time.
            _ if random.u8(..3) == 0 => hang(random, message, ask),
            _ => plain(random, "plain", message, ask),
        };
        script.slow_down(random);
        script
    }

    fn new(kind: &'static str, ask: Ask, wire: Vec<u8>) -> Self {
        let steps = vec![Step::Body, Step::Write(wire)];
        Self { kind, ask, steps, end: Then::Keep, spoils: false, binds: false, passed: None, gateway: &[] }
    }

    /// One that the gateway has to refuse in the client's face.
    fn refused(kind: &'static str, random: &mut Rng, ask: Ask, wire: Vec<u8>) -> Self {
        let end = [Then::Keep, Then::Close, Then::Reset][random.usize(..3)];
        Self { end, spoils: true, gateway: BROKEN, ..Self::new(kind, ask, wire) }
    }

    /// Writes it in pieces, with pauses between them.
    fn slow_down(&mut self, random: &mut Rng) {
        let mut left = [0, 0, 0, 2, 8][random.usize(..5)];
        // Bytes behind an answer that come later are the next one's, whoever reads them.
        if self.spoils && self.end == Then::Keep && self.passed.as_ref().is_some_and(|passed| passed.whole) {
            return;
        }
        let steps = std::mem::take(&mut self.steps);
        for step in steps {
            let Step::Write(bytes) = step else {
                self.steps.push(step);
                continue;
            };
            let mut rest = bytes.as_slice();
            while left > 0 && rest.len() > 1 {
                let (piece, behind) = rest.split_at(random.usize(1..rest.len()));
                self.steps.extend([Step::Write(piece.to_vec()), Step::Pause(random.u64(..3))]);
                (rest, left) = (behind, left - 1);
            }
            self.steps.push(Step::Write(rest.to_vec()));
        }
    }
}

/// As it should be.
fn plain(random: &mut Rng, kind: &'static str, message: Message, ask: Ask) -> Script {
    let mut message = message;
    let closes = message.coding == Coding::Close || random.u8(..8) == 0;
    // An end that is announced, or not.
    let announced = closes && random.bool();
    if announced {
        message.lines.line(["Connection: close", "connection: x, Close"][random.usize(..2)]);
    }
    let wire = [message.head(), message.body(random)].concat();
    let end = match (closes, announced) {
        (false, _) => Then::Keep,
        // What was announced may not come for a long time, but nobody waits for it.
        (true, true) if message.coding != Coding::Close && random.bool() => Then::Keep,
        _ => Then::Close,
    };
    Script { end, spoils: closes, passed: Some(message.passed()), ..Script::new(kind, ask, wire) }
}

/// A head that is none, or one that has become none by one of its lines.
fn broken_head(random: &mut Rng, message: Message, ask: Ask) -> Script {
    let body = message.body(random);
    let start = match random.bool() {
        true => broken_start(random).to_vec(),
        false => message.start.clone().into_bytes(),
    };
    let line = broken_line(random);
    let line = if start == message.start.as_bytes() { [line, b"\r\n"].concat() } else { Vec::new() };
    let (first, second) = if random.bool() { (&line[..], &b""[..]) } else { (&b""[..], &line[..]) };
    let framing = message.framing();
    let parts =
        [&start, &b"\r\n"[..], first, &message.lines.wire, framing.as_bytes(), second, b"\r\n", &body];
    Script::refused("broken head", random, ask, parts.concat())
}

/// Two lengths, none that is a number, codings that nobody knows.
fn broken_length(random: &mut Rng, message: Message, ask: Ask) -> Script {
    let framing = broken_framing(random, message.data.len());
    let start = message.start.as_bytes();
    let parts = [start, b"\r\n", &message.lines.wire, &framing, b"\r\n\r\n", &message.data];
    Script::refused("broken length", random, ask, parts.concat())
}

/// Chunks that are none.
fn broken_body(random: &mut Rng, mut message: Message, ask: Ask) -> Script {
    message.coding = Coding::Chunked;
    let head = message.head();
    if message.bare {
        // What follows is nobody's.
        let wire = [head, broken_chunks(random, b"")].concat();
        return Script {
            spoils: true,
            passed: Some(message.passed()),
            ..Script::new("broken body", ask, wire)
        };
    }
    let wire = [head, broken_chunks(random, &message.data)].concat();
    let passed = Passed { slack: 2, whole: false, cut: true, ..message.passed() };
    Script { passed: Some(passed), ..Script::refused("broken body", random, ask, wire) }
}

/// The connection ends at any byte.
fn cut(random: &mut Rng, message: Message, ask: Ask) -> Script {
    let (head, body) = (message.head(), message.body(random));
    let wire = [&head[..], &body].concat();
    let at = match random.usize(..4) {
        0 => 0,
        1 => random.usize(..head.len()),
        2 => random.usize(head.len()..=wire.len()),
        _ => wire.len() - random.usize(..wire.len().min(8)),
    };
    let end = [Then::Close, Then::Drop, Then::Reset][random.usize(..3)];
    let mut script = Script { end, spoils: true, ..Script::new("cut", ask, wire[..at].to_vec()) };
    if at < head.len() {
        script.gateway = BROKEN;
        return script;
    }
    let mut passed = message.passed();
    if message.coding == Coding::Close {
        passed.body.truncate(at - head.len());
    }
    passed.whole = at == wire.len() || message.coding == Coding::Close;
    // A reset takes along what has not been read; an end of the connection that is one is none of the body.
    let reset = end == Then::Reset;
    passed.whole &= !reset || message.coding != Coding::Close;
    passed.cut = !passed.whole || reset;
    if passed.cut {
        script.gateway = BROKEN;
    }
    script.passed = Some(passed);
    script
}

/// Bytes behind the answer, of which some look like one.
fn extra(random: &mut Rng, mut message: Message, ask: Ask) -> Script {
    if message.coding == Coding::Close {
        message.coding = Coding::Length;
    }
    message.data.truncate(3_000);
    let more: &[u8] = match random.usize(..6) {
        0 => b"HTTP/1.1 200 OK\r\nX-Token: smuggled\r\nContent-Length: 8\r\n\r\nsmuggled",
        1 => b"HTTP/1.1 100 Continue\r\n\r\n",
        2 => b"\r\n",
        3 => b"0\r\n\r\n",
        4 => b"\0",
        _ => b"smuggled",
    };
    // A body where there is none is such as well.
    let body = if message.bare && random.bool() { message.data.clone() } else { message.body(random) };
    let wire = [&message.head()[..], &body, more].concat();
    Script { spoils: true, passed: Some(message.passed()), ..Script::new("extra", ask, wire) }
}

/// Interim answers before the one, as many as there may be, or more; a 101 is none where nobody has offered anything.
fn interim(random: &mut Rng, message: Message, ask: Ask) -> Script {
    const HEADS: [&str; 6] = [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 102 Processing\r\nX-Token: interim\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n",
        "HTTP/1.1 199\r\nContent-Length: 50\r\n\r\n",
        "HTTP/1.0 100 Continue\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 110 X\r\nTransfer-Encoding: chunked\r\n\r\n",
    ];
    let count = [1, 2, 7, 64, 65, 200][random.usize(..6)];
    let before: String = (0..count).map(|_| HEADS[random.usize(..HEADS.len())]).collect();
    if random.u8(..4) == 0 && !ask.offers {
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\nsmuggled";
        let few = before.len().min(before.find("\r\n\r\n").map_or(0, |end| end + 4));
        return Script::refused("unsolicited 101", random, ask, [&before[..few], head].concat().into_bytes());
    }
    if count > 64 {
        let wire = [before.into_bytes(), message.head()].concat();
        return Script::refused("too many interim", random, ask, wire);
    }
    let script = plain(random, "interim", message, ask);
    Script { steps: prefixed(script.steps, before.as_bytes()), ..script }
}

fn prefixed(steps: Vec<Step>, before: &[u8]) -> Vec<Step> {
    let first = |step| match step {
        Step::Write(bytes) => Step::Write([before, &bytes].concat()),
        other => other,
    };
    steps.into_iter().map(first).collect()
}

/// What authenticates the connection.
fn challenge(random: &mut Rng, mut message: Message, ask: Ask) -> Script {
    let value = ["NTLM", "ntlm TlRMTVNTUAAC", "Negotiate", "Basic realm=\"x\", NEGOTIATE"][random.usize(..4)];
    message.lines.pass("WWW-Authenticate", value);
    if !message.bare && random.bool() {
        (message.status, message.start) = (401, "HTTP/1.1 401 Who".into());
    }
    Script { binds: true, ..plain(random, "challenge", message, ask) }
}

/// Places and cookies.
fn redirect(random: &mut Rng, mut message: Message, ask: Ask, upstream: &str) -> Script {
    if !message.bare {
        message.status = [201, 301, 302, 303, 307, 308][random.usize(..6)];
        message.start = format!("HTTP/1.1 {} Elsewhere", message.status);
    }
    for name in ["Location", "content-LOCATION", "Set-Cookie"] {
        if random.bool() {
            let (said, told) = if name == "Set-Cookie" { cookie(random) } else { place(random) };
            message.lines.line(&format!("{name}: {}", said.replace(TARGET, upstream)));
            message.lines.seen.push((name.into(), told.replace(TARGET, upstream)));
        }
    }
    plain(random, "redirect", message, ask)
}

/// How long the connection is good for: not at all.
fn hint(random: &mut Rng, mut message: Message, ask: Ask) -> Script {
    let hint = ["timeout=0", "max=1, TIMEOUT=0", "timeout=\"0\""][random.usize(..3)];
    message.lines.line(&format!("Keep-Alive: {hint}"));
    Script { spoils: true, ..plain(random, "hint", message, ask) }
}

/// As many fields and bytes as there may be, or more.
fn large(random: &mut Rng, mut message: Message, ask: Ask, only_fields: bool) -> Script {
    let fits = random.bool();
    // There are others as well. A client of ours takes its time for many bytes over HTTP/2.
    let (count, length) = if only_fields || random.bool() { (300, 10) } else { (20, 11_000) };
    let count = if fits { count } else { 2 * count };
    for n in 0..count {
        message.lines.pass(&format!("X-Large-{n}"), &"v".repeat(length));
    }
    if fits {
        return plain(random, "large head", message, ask);
    }
    let mut wire = message.head();
    if random.bool() {
        // It does not even end.
        wire.truncate(wire.len() - 2);
    }
    Script::refused("too large head", random, ask, wire)
}

/// The answer comes before the request has been read, all of which may never be.
fn early(random: &mut Rng, message: Message, ask: Ask) -> Script {
    let mut script = plain(random, "early", message, ask);
    if random.bool() {
        script.steps.rotate_left(1);
        return script;
    }
    script.steps.remove(0);
    if !script.ask.body.is_empty() {
        // Whoever closes with something unread resets.
        (script.end, script.spoils, script.gateway) = (Then::Drop, true, BROKEN);
        let passed = script.passed.as_mut();
        passed.into_iter().for_each(|passed| passed.cut = true);
    }
    script
}

/// Faulty, but in a way that can be read: the connection is not to be trusted again.
fn trusted_once(random: &mut Rng, mut message: Message, ask: Ask) -> Script {
    if message.bare || random.bool() {
        // RFC 9112 §9.3: it has to say that it stays.
        message.coding = Coding::Length;
        message.start = message.start.replace("HTTP/1.1", "HTTP/1.0");
    } else {
        // RFC 9112 §6.3 item 3.
        message.coding = Coding::Chunked;
        message.lines.line(&format!("Content-Length: {}", message.data.len() / 2));
    }
    // A second field may say that it stays.
    let keeps = String::from_utf8_lossy(&message.lines.wire).to_lowercase().contains("keep-alive");
    let wire = [message.head(), message.body(random)].concat();
    let spoils = !keeps || message.coding == Coding::Chunked;
    Script { spoils, passed: Some(message.passed()), ..Script::new("trusted once", ask, wire) }
}

/// No HTTP at all.
fn garbage(random: &mut Rng, ask: Ask) -> Script {
    let mut wire: Vec<u8> = (0..random.usize(1..300)).map(|_| random.u8(..)).collect();
    wire[0] = 0x16;
    let script = Script::refused("garbage", random, ask, wire);
    Script { end: if script.end == Then::Keep { Then::Close } else { script.end }, ..script }
}

/// It stops somewhere and does not go on.
fn hang(random: &mut Rng, message: Message, ask: Ask) -> Script {
    let (head, body) = (message.head(), message.body(random));
    let wire = [&head[..], &body].concat();
    let at = random.usize(..wire.len());
    let mut script = Script::new("hang", ask, wire[..at].to_vec());
    script.steps.push(Step::Hang);
    (script.end, script.spoils) = (Then::Drop, true);
    if at < head.len() {
        script.gateway = LATE;
    } else {
        script.passed = Some(Passed { whole: false, cut: true, ..message.passed() });
    }
    script
}

/// A tunnel that is agreed to, with bytes in it at once.
fn tunnel(random: &mut Rng, message: Message, ask: Ask) -> Script {
    let mut lines = message.lines;
    if lines.wire.windows(9).any(|window| window == b"Upgrade: ") {
        // Two of them are one too many.
        lines = Lines::default();
    }
    lines.pass("Upgrade", "foo");
    let start = "HTTP/1.1 101 Other\r\nConnection: upgrade\r\n".as_bytes();
    let wire = [start, &lines.wire, b"\r\n", &message.data].concat();
    let end = [Then::Close, Then::Reset][random.usize(..2)];
    let reset = end == Then::Reset;
    let (fields, body) = (lines.seen, message.data);
    let passed = Passed { status: 101, fields, body, slack: 0, whole: !reset, cut: reset };
    let gateway = if reset { BROKEN } else { &[] };
    Script { end, spoils: true, passed: Some(passed), gateway, ..Script::new("tunnel", ask, wire) }
}
