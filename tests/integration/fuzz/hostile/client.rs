//! The client of a seed: it asks for what the scripts have, one after the other, pipelined or on streams at once.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use fastrand::Rng;

use super::super::answers::{Answers, End};
use super::super::content::{Reach, Token};
use super::super::report::{escaped, list};
use super::heads::HOST;
use super::judge::{Saw, judge};
use super::message::{Ask, is_http2};
use super::script::{Script, Step};
use super::upstream::{CLIENT, Notes};
use crate::harness::h2_client::{Outcome, RawHttp2};
use crate::harness::hpack::Block;
use crate::harness::{Framing, Head, Response};

/// One exchange of a seed.
struct Exchange {
    token: Token,
    script: Script,
}

/// Plays a seed. The error is the whole report.
pub fn play(gateway: SocketAddr, upstream: &str, notes: &Notes, seed: u64) -> Result<(), String> {
    notes.begin(seed);
    let random = &mut Rng::with_seed(seed ^ 0xc11e);
    let exchanges: Vec<Exchange> = (0..random.usize(1..=9))
        .map(|index| {
            let token = Token { seed, index, reach: Reach::Whole };
            Exchange { token, script: Script::of(token, upstream) }
        })
        .collect();
    let saw = if is_http2(seed) { http2(gateway, &exchanges) } else { http1(gateway, &exchanges, random) };
    let mut wrong = Vec::new();
    for (exchange, saw) in exchanges.iter().zip(&saw) {
        let Some(saw) = saw else { continue };
        // A connection that the upstream had just ended, and what was sent on it must not be sent again.
        let is_post = exchange.script.ask.method == "POST";
        if is_post && saw.reason() == Some("upstream_reset") && !notes.has_come(exchange.token) {
            continue;
        }
        if let Err(what) = judge(&exchange.script, saw, is_http2(seed)) {
            wrong.push(format!("{}: {what}", exchange.token));
        }
    }
    wrong.extend(notes.take());
    if wrong.is_empty() { Ok(()) } else { Err(report(seed, &wrong, &exchanges, &saw)) }
}

/// A client's connection of HTTP/1.
struct Connection {
    stream: TcpStream,
    answers: Answers,
    name: String,
}

impl Connection {
    fn open(gateway: SocketAddr, name: String) -> Self {
        let stream = TcpStream::connect(gateway).unwrap();
        let _ = stream.set_nodelay(true);
        let _ = stream.set_write_timeout(Some(Duration::from_secs(20)));
        let answers = Answers::new(stream.try_clone().unwrap());
        Self { stream, answers, name }
    }

    fn ask(&mut self, exchange: &Exchange) {
        let Ask { method, body, chunked, offers, .. } = &exchange.script.ask;
        let mut bytes =
            format!("{method} /{} HTTP/1.1\r\nHost: {HOST}\r\n{CLIENT}: {}\r\n", exchange.token, self.name);
        if *offers {
            bytes += "Connection: upgrade\r\nUpgrade: foo\r\n";
        }
        let mut bytes = bytes.into_bytes();
        match method {
            &"POST" | &"PUT" if *chunked => {
                bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                if !body.is_empty() {
                    bytes.extend_from_slice(format!("{:x}\r\n", body.len()).as_bytes());
                    bytes.extend_from_slice(body);
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes.extend_from_slice(b"0\r\n\r\n");
            }
            &"POST" | &"PUT" => {
                bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
                bytes.extend_from_slice(body);
            }
            _ => bytes.extend_from_slice(b"\r\n"),
        }
        let _ = self.stream.write_all(&bytes);
    }

    /// What came, and whether the connection goes on.
    fn read(&mut self, ask: &Ask) -> (Saw, bool) {
        let mut read = || -> Result<(Saw, bool), End> {
            let (status, head) = loop {
                match self.answers.head()? {
                    (100 | 102..200, _) => {}
                    found => break found,
                }
            };
            if status == 101 {
                let (body, end) = self.answers.rest();
                if end == End::Silence {
                    return Err(end);
                }
                let response = response(status, head, body, Framing::Close);
                return Ok((Saw::Answer { response, cut: end != End::Closed }, false));
            }
            let came = self.answers.body(status, head, ask.method)?;
            if came.cut == Some(End::Silence) {
                return Err(End::Silence);
            }
            let response = Box::new(came.response);
            let goes_on = came.cut.is_none() && response.keeps_alive();
            Ok((Saw::Answer { response, cut: came.cut.is_some() }, goes_on))
        };
        read().unwrap_or_else(|end| (end.into(), false))
    }
}

fn response(status: u16, head: Head, body: Vec<u8>, framing: Framing) -> Box<Response> {
    let version = "HTTP/1.1".to_owned();
    Box::new(Response { status, version, head, body, framing, interim: Vec::new() })
}

/// What came of each; `None` of those that cannot be judged.
fn http1(gateway: SocketAddr, exchanges: &[Exchange], random: &mut Rng) -> Vec<Option<Saw>> {
    let seed = exchanges[0].token.seed;
    let mut names = (0..).map(|n| format!("s{seed}c{n}"));
    let mut open = || Connection::open(gateway, names.next().unwrap());
    let mut connection = open();
    let mut saw = Vec::new();
    while saw.len() < exchanges.len() {
        let left = &exchanges[saw.len()..];
        if left[0].script.ask.leaves {
            connection.ask(&left[0]);
            // Of an answer of more than one byte, or of none.
            let _ = connection.answers.take(random.usize(..2));
            connection = open();
            saw.push(None);
            continue;
        }
        // Only what may be asked again is asked behind something else.
        let fits = |exchange: &&Exchange| {
            let Ask { method, offers, leaves, .. } = exchange.script.ask;
            method == "GET" && !offers && !leaves
        };
        let count = if random.u8(..4) == 0 { left.iter().take(4).take_while(fits).count().max(1) } else { 1 };
        left[..count].iter().for_each(|exchange| connection.ask(exchange));
        for (at, exchange) in left[..count].iter().enumerate() {
            let (one, goes_on) = connection.read(&exchange.script.ask);
            // The reset that a broken answer ends with takes along what has not been read of those before it.
            let behind =
                left[at + 1..count].iter().any(|other| other.script.passed.as_ref().is_some_and(|p| p.cut));
            let lost = match &one {
                Saw::Answer { cut, .. } => *cut,
                Saw::Nothing { .. } => true,
                Saw::Wrong(_) => false,
            };
            saw.push((!(lost && behind)).then_some(one));
            if !goes_on {
                connection = open();
                break;
            }
        }
    }
    saw
}

/// All of them at once.
fn http2(gateway: SocketAddr, exchanges: &[Exchange]) -> Vec<Option<Saw>> {
    let mut client = RawHttp2::connect(gateway);
    let name = format!("s{}", exchanges[0].token.seed);
    let streams: Vec<u32> = (1..).step_by(2).take(exchanges.len()).collect();
    for (exchange, stream) in exchanges.iter().zip(&streams) {
        let Ask { method, body, leaves, .. } = &exchange.script.ask;
        let block = Block::target(method, "http", &format!("/{}", exchange.token)).field(":authority", HOST);
        let block = block.field(CLIENT.to_ascii_lowercase(), &name);
        client.headers(*stream, &block, body.is_empty());
        if !body.is_empty() {
            client.data(*stream, body, true);
        }
        if *leaves {
            client.reset(*stream, 8);
        }
    }
    let each = exchanges.iter().zip(&streams).map(|(exchange, stream)| {
        if exchange.script.ask.leaves {
            return None;
        }
        Some(match client.outcome_within(*stream, Duration::from_secs(20)) {
            Outcome::Answer(reply) => {
                let head = Head { start: String::new(), headers: reply.fields.clone() };
                let framing = match head.framing() {
                    Ok(stated) => stated.unwrap_or(Framing::Close),
                    Err(what) => return Some(Saw::Wrong(what)),
                };
                Saw::Answer { response: response(reply.status, head, reply.body, framing), cut: false }
            }
            Outcome::Reset(_) => Saw::Nothing { body: Some(client.received(*stream)) },
            other => Saw::Wrong(format!("{other:?}")),
        })
    });
    each.collect()
}

fn report(seed: u64, wrong: &[String], exchanges: &[Exchange], saw: &[Option<Saw>]) -> String {
    let mut text = format!("seed {seed} (alone with AEGIS_FUZZ_SEED={seed}), HTTP/2: {}:\n", is_http2(seed));
    list(&mut text, "wrong", wrong.iter());
    for (place, Exchange { token, script }) in exchanges.iter().enumerate() {
        let Ask { method, body, leaves, .. } = &script.ask;
        let passed = script.passed.as_ref();
        let may = passed
            .map(|p| format!("{} of {} bytes, whole: {}, cut: {}", p.status, p.body.len(), p.whole, p.cut));
        let came = match saw.get(place) {
            Some(Some(Saw::Answer { response, cut })) => {
                let Response { status, head, body, .. } = &**response;
                let fields = format!("{:?}", head.headers);
                let fields = escaped(fields.as_bytes(), 400);
                format!("{status}, cut: {cut}, {fields}, {}", escaped(body, 100))
            }
            Some(Some(Saw::Nothing { body })) => format!("an end behind {body:?} bytes"),
            Some(Some(Saw::Wrong(what))) => what.clone(),
            _ => "nobody knows what".into(),
        };
        let steps = script.steps.iter().map(|step| match step {
            Step::Write(bytes) => format!("{} bytes: {}", bytes.len(), escaped(bytes, 150)),
            other => format!("{other:?}"),
        });
        let heading = format!(
            "{token}: {method} with {} bytes, leaves: {leaves}; {}, then {:?}, spoils: {}; due {may:?} or {:?}; came {came}; the upstream",
            body.len(),
            script.kind,
            script.end,
            script.spoils,
            script.gateway
        );
        list(&mut text, &heading, steps);
    }
    text
}
