//! Requests sent behind each other on one connection: every answer whole, in its turn, and with what the gateway adds to
//! it once.

use std::collections::HashSet;
use std::io::{self, Write as _};
use std::thread;

use crate::harness::limits::{MONTH, limited, rule};
use crate::harness::{Backend, Call, Exchange, Gate, Gateway, Response, Then, Upstream};

/// Requests whose answers are made in different ways; `/refused` is limited to one, `/health` the gateway's own.
const KINDS: [&str; 7] = ["/small", "/large", "/chunked", "/endless", "/empty", "/refused", "/health"];

/// Bytes that pass actix by.
const LARGE: usize = 300_000;

#[test]
fn pipelined_answers_say_what_the_gateway_adds_each_once_and_for_itself() {
    let upstream = Upstream::echo();
    let limits = format!("defaultRequests: 6, defaultWindowSeconds: {MONTH}");
    let gateway = limited(&upstream, &limits).server("workers: 1").start();
    let large = vec![b'x'; 200_000];
    let calls = [
        Call::get("/1"),
        Call::post("/2", "hello"),
        Call::post("/3", large.clone()),
        Call::post("/4", "hello").header("expect", "100-continue"),
        Call::post("/5", large),
        Call::get("/6"),
        Call::get("/refused"),
        Call::new("GET", "/bad").header("bad name", "x"),
    ];
    let mut client = gateway.client();
    client.write(calls.iter().flat_map(|call| call.bytes("a.test")).collect::<Vec<u8>>());
    let mut ids = HashSet::new();
    let mut next = |left: Option<u64>| {
        let response = client.read("GET").unwrap();
        assert!(ids.insert(response.header("x-request-id").unwrap().to_owned()), "{left:?}");
        match left {
            Some(left) => assert_eq!(response.number("x-ratelimit-remaining"), left),
            None => assert_eq!(response.header("x-ratelimit-remaining"), None),
        }
        assert_eq!(response.header("ratelimit").is_some(), left.is_some());
        assert_eq!(response.header("via").is_some(), response.status == 200);
        response
    };
    for left in (0..6).rev() {
        assert_eq!(next(Some(left)).json()["target"], format!("/{}", 6 - left));
    }
    next(Some(0)).assert_problem(429, "rate_limited");
    next(None).assert_problem(400, "bad_request");
}

#[test]
fn an_answer_behind_the_end_of_a_stream_says_for_itself_what_the_gateway_adds() {
    let seen = Gate::new();
    let theirs = seen.clone();
    let upstream = Upstream::start(move |exchange| {
        exchange.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Then::Keep)?;
        theirs.wait();
        exchange.wire.write("6\r\na\nb\nc\n\r\n0\r\n\r\n")?;
        Ok(Then::Keep)
    });
    let limits = format!("defaultRequests: 1, defaultWindowSeconds: {MONTH}");
    let gateway = limited(&upstream, &limits).start();
    let mut client = gateway.client();
    // The second one waits within the gateway for the first one's last byte, and is refused in the same moment.
    client.write(["/1", "/refused"].map(|target| Call::get(target).bytes("a.test")).concat());
    let response = client.read_head("GET").unwrap();
    assert_eq!((response.status, response.number("x-ratelimit-remaining")), (200, 0));
    seen.open();
    let mut body = Vec::new();
    client.wire().body(response.framing, &mut |piece| body.extend_from_slice(piece)).unwrap();
    assert_eq!(String::from_utf8(body).unwrap(), "a\nb\nc\n");
    let refused = client.read("GET").unwrap();
    refused.assert_problem(429, "rate_limited");
    assert_eq!(refused.number("x-ratelimit-remaining"), 0);
}

#[test]
fn answers_of_every_kind_keep_to_themselves_in_any_order() {
    let upstream = Upstream::start(answer);
    let one = rule("one", "endpoint: /refused", &format!("requests: 1, windowSeconds: {MONTH}"), "");
    let limits = format!("defaultRequests: 1000000, defaultWindowSeconds: {MONTH}, rules: [{one}]");
    let gateway = limited(&upstream, &limits).server("workers: 1").start();
    assert_eq!(gateway.get("/refused").status, 200);
    for seed in 0..12 {
        let mut random = fastrand::Rng::with_seed(seed);
        let sent: Vec<_> = (0..40).map(|n| any(&mut random, n)).collect();
        let mut client = gateway.client();
        let mut socket = client.wire().tcp().try_clone().unwrap();
        let mut ids = HashSet::new();
        thread::scope(|scope| {
            scope.spawn(|| {
                let bytes = sent.iter().flat_map(|sent| sent.call.bytes("a.test")).collect::<Vec<u8>>();
                bytes.chunks(random.usize(100..5_000)).try_for_each(|piece| socket.write_all(piece))
            });
            for sent in &sent {
                let response = client.read(sent.method).unwrap_or_else(|e| panic!("{seed} {sent:?}: {e:?}"));
                sent.check(&response);
                assert!(ids.insert(response.header("x-request-id").unwrap().to_owned()), "{seed} {sent:?}");
            }
        });
    }
}

/// A request, and what of it decides how its answer is made.
#[derive(Debug)]
struct Sent {
    call: Call,
    method: &'static str,
    target: String,
    kind: &'static str,
}

fn any(random: &mut fastrand::Rng, n: usize) -> Sent {
    let kind = KINDS[random.usize(..KINDS.len())];
    let target = format!("{kind}?n={n}");
    // Nobody reads what is posted to `/health`.
    let methods = if kind == "/health" { 3 } else { 4 };
    let method = ["GET", "GET", "HEAD", "POST"][random.usize(..methods)];
    let call = match method {
        "POST" if random.bool() => Call::new(method, &target).chunks(&[b"a\nb", b"c\n"]),
        "POST" => Call::post(&target, vec![b'\n'; random.usize(1..20_000)]),
        _ => Call::new(method, &target),
    };
    Sent { call, method, target, kind }
}

impl Sent {
    fn check(&self, response: &Response) {
        let status = match self.kind {
            "/refused" => 429,
            "/empty" => 204,
            _ => 200,
        };
        assert_eq!(response.status, status, "{self:?} {response:?}");
        assert!(response.keeps_alive(), "{self:?} {response:?}");
        let relayed = !matches!(self.kind, "/refused" | "/health");
        assert_eq!(response.header("via").is_some(), relayed, "{self:?}");
        assert_eq!(response.header("ratelimit").is_some(), self.kind != "/health", "{self:?}");
        assert_eq!(response.header("x-ratelimit-limit"), expected_limit(self.kind), "{self:?}");
        if relayed {
            let body = if self.method == "HEAD" { Vec::new() } else { body(self.kind, &self.target) };
            assert!(response.body == body, "{self:?} {:?}", response.text());
        } else if self.kind == "/refused" && self.method != "HEAD" {
            response.assert_problem(429, "rate_limited");
        }
    }
}

fn expected_limit(kind: &str) -> Option<&'static str> {
    match kind {
        "/health" => None,
        "/refused" => Some("1"),
        _ => Some("1000000"),
    }
}

/// What the upstream sends: many lines, so that a line that strays into it stands out.
fn body(kind: &str, target: &str) -> Vec<u8> {
    let size = match kind {
        "/empty" => 0,
        "/large" => LARGE,
        _ => 60,
    };
    format!("{target}\n").bytes().cycle().take(size).collect()
}

fn answer(exchange: &mut Exchange<'_>) -> io::Result<Then> {
    exchange.body()?;
    let (target, head_only) = (exchange.target().to_owned(), exchange.method() == "HEAD");
    let kind = target.split('?').next().unwrap_or_default();
    let body = body(kind, &target);
    match kind {
        "/chunked" => {
            exchange.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Then::Keep)?;
            if head_only {
                return Ok(Then::Keep);
            }
            for piece in body.chunks(25) {
                // The head, then every piece by itself.
                thread::yield_now();
                exchange
                    .wire
                    .write([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat())?;
            }
            exchange.wire.write("0\r\n\r\n")?;
            Ok(Then::Keep)
        }
        "/endless" => {
            exchange.answer("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", Then::Close)?;
            if !head_only {
                exchange.wire.write(body)?;
            }
            Ok(Then::Close)
        }
        "/empty" => exchange.reply(204, &[], b""),
        _ => exchange.reply(200, &[], &body),
    }
}

#[test]
fn nothing_is_answered_behind_a_chunked_body_that_is_none() {
    let upstream = Upstream::echo();
    let gateway = Gateway::with(Backend::all(&upstream));
    let long = "x".repeat(20_000);
    for body in [
        "5\r\nhelloX".to_owned(),
        format!("5;{long}\r\nhello\r\n0\r\n\r\n"),
        format!("5\r\nhello\r\n0\r\nX-Long: {long}\r\n\r\n"),
        "5\r\nhello\r\n0\r\nX: \x01\r\n\r\n".to_owned(),
    ] {
        let head = "POST /1 HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut client = gateway.client();
        client.write(format!("{head}{body}GET /2 HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        let answer = client.read("POST");
        answer
            .unwrap_or_else(|broken| panic!("{broken:?} behind {}", &body[..9]))
            .assert_problem(400, "bad_request");
        assert!(client.read("GET").is_err(), "what lies behind was answered");
    }
}
