//! An answer that the gateway makes while a small body is still arriving is not lost: the rest is read before the stream
//! is reset (RFC 9113 §8.1). Common clients forget an answer whose stream is reset right behind it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::harness::cases::{Cases, expect};
use crate::harness::h2_client::RawHttp2;
use crate::harness::h2_frames::code::NO_ERROR;
use crate::harness::hpack::Block;
use crate::harness::http2::{Http2, block_on, read, send};
use crate::harness::limits::{MONTH, rule};
use crate::harness::{Backend, Gateway, SOON, Upstream};

/// Requests of each kind.
const REQUESTS: usize = 200;

/// What is sent at once of a body without end, and how much of it the gateway may read at most.
const PIECE: usize = 8_192;
const MOST: usize = 64 << 20;

/// Where the gateway refuses a POST, and how.
const REFUSALS: [(&str, u16, &str); 5] = [
    ("/denied", 403, "denied"),
    ("/nowhere", 404, "no_route"),
    ("/get", 405, "method_not_allowed"),
    ("/small", 413, "body_too_large"),
    ("/limited", 429, "rate_limited"),
];

/// A gateway that refuses in each of these ways.
fn refusing(upstream: &Upstream) -> Gateway {
    let limited = rule("once", "endpoint: /limited", &format!("requests: 1, windowSeconds: {MONTH}"), "");
    let backend = Backend::named("main")
        .to(upstream)
        .without_breaker()
        .route("{path: /denied, deny: true}")
        .route("{path: /get, methods: [GET]}")
        .route("{path: /small, bodyLimitBytes: 10}")
        .route("/limited")
        .route("/fine");
    let builder =
        Gateway::builder().top(&format!("rateLimit: {{defaultRequests: 1000000, rules: [{limited}]}}"));
    let gateway = builder.backend(backend).start();
    assert_eq!(gateway.get("/limited").status, 200, "the one that passes");
    gateway
}

/// 27 bytes, as `curl -d` sends them: right behind the head, in a frame of their own.
const BODY: &str = "name=somebody&text=anything";

#[test]
fn a_client_that_sends_a_small_body_gets_every_refusal() {
    let upstream = Upstream::echo();
    let gateway = refusing(&upstream);
    let mut cases = Cases::of("refusals of small bodies");
    for (path, status, reason) in REFUSALS {
        cases.case(&format!("{status}, one connection"), || {
            block_on(async {
                let mut client = Http2::connect(gateway.addr).await;
                for n in 0..REQUESTS {
                    let (answer, mut upload) = client.start(client.request("POST", path), false).await;
                    // It may have been answered already.
                    let _ = send(&mut upload, Bytes::from_static(BODY.as_bytes()), true).await;
                    let answer = read(answer).await.map_err(|e| format!("answer {n} is lost: {e}"))?;
                    let told = (answer.status, answer.header("aegis-reason"));
                    expect(told == (status, Some(reason)), || format!("answer {n}: {answer:?}"))?;
                    expect(answer.json()["status"] == status, || format!("answer {n}: {answer:?}"))?;
                }
                Ok(())
            })
        });
        cases.case(&format!("{status}, body behind the answer"), || {
            let mut client = RawHttp2::connect(gateway.addr);
            for n in 0..20 {
                let stream = 2 * n + 1;
                let length = BODY.len().to_string();
                client.headers(stream, &Block::request("POST", path).field("content-length", length), false);
                // 413 is known from the length, the others from the head.
                let head = client.status(stream);
                expect(head == Some(status), || format!("stream {stream}: {head:?}"))?;
                client.data(stream, &BODY[..10], false);
                client.data(stream, &BODY[10..], true);
                let outcome = client.outcome(stream);
                expect(outcome.status() == Some(status), || format!("stream {stream}: {outcome:?}"))?;
            }
            let fine = client.get(101, "/fine");
            expect(fine.status() == Some(200), || format!("the next request: {fine:?}"))
        });
        cases.case(&format!("{status}, a body that never ends"), || {
            let mut client = RawHttp2::connect(gateway.addr);
            client.headers(1, &Block::request("POST", path), false);
            let (mut sent, begun) = (0, Instant::now());
            // Read for a bounded time and size; then the stream is reset, and says that nothing was wrong.
            while client.reset_code(1).is_none() && sent < MOST && begun.elapsed() < 3 * SOON {
                if client.room(1) >= PIECE as i64 {
                    client.data(1, vec![b'b'; PIECE], false);
                    sent += PIECE;
                    let _ = client.round_trip();
                } else {
                    let _ = client.frame(Duration::from_millis(100));
                }
            }
            let told = client.reset_code(1);
            expect(told == Some(NO_ERROR), || format!("after {sent} bytes: reset with {told:?}"))?;
            let head = client.status(1);
            expect(head == Some(status), || format!("reset before it was answered: {head:?}"))?;
            let next = client.get(101, "/fine");
            expect(next.status() == Some(200), || format!("the next request: {next:?}"))
        });
    }
    cases.end();
    let reached: Vec<_> =
        upstream.requests().into_iter().filter(|r| r.head.start.starts_with("POST")).collect();
    assert!(reached.iter().all(|request| !request.complete), "{reached:?}");
}

#[test]
fn curl_gets_every_refusal() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/check-h2-curl");
    let has_http2 = Command::new("curl").arg("--version").stdin(Stdio::null()).output();
    if !has_http2.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("HTTP2")) {
        println!("no curl with HTTP/2 here: left out");
        return;
    }
    let upstream = Upstream::echo();
    let gateway = refusing(&upstream);
    let expected = REFUSALS.map(|(path, status, _)| format!("{path}={status}"));
    let output = Command::new(script)
        .arg(format!("http://{}", gateway.addr))
        .args(expected)
        .env("REQUESTS", REQUESTS.to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{told}");
    assert!(output.status.success(), "{told}");
}
