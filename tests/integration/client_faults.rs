//! Malformed, oversized, ambiguous and slow clients: refused, cut off, and never seen by an upstream.

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Backend, Broken, Call, Gate, Gateway, SOON, Then, Upstream, eventually, holds_for};

const POST: &str = "POST /x HTTP/1.1\r\nHost: a.test\r\n";
const GET: &str = "GET /x HTTP/1.1\r\nHost: a.test\r\n";
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

fn hostile_heads() -> Vec<(&'static str, String)> {
    let many: String = (0..300).map(|i| format!("X-Header-{i}: v\r\n")).collect();
    vec![
        ("content-length and chunked", format!("{POST}Content-Length: 5\r\n{CHUNKED}\r\n0\r\n\r\n")),
        ("chunked and content-length", format!("{POST}{CHUNKED}Content-Length: 4\r\n\r\n0\r\n\r\n")),
        ("two content-lengths", format!("{POST}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!")),
        ("a list of content-lengths", format!("{POST}Content-Length: 5, 6\r\n\r\nhello!")),
        ("content-length with a sign", format!("{POST}Content-Length: +5\r\n\r\nhello")),
        ("content-length in hex", format!("{POST}Content-Length: 0x5\r\n\r\nhello")),
        ("negative content-length", format!("{POST}Content-Length: -5\r\n\r\nhello")),
        ("content-length of 2^64+5", format!("{POST}Content-Length: 18446744073709551621\r\n\r\nhello")),
        ("empty content-length", format!("{POST}Content-Length:\r\n\r\nhello")),
        ("space before the colon", format!("{POST}Content-Length : 5\r\n\r\nhello")),
        ("chunked is not last", format!("{POST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n")),
        ("chunked twice", format!("{POST}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n")),
        ("an unknown coding", format!("{POST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n")),
        ("a control before the coding", format!("{POST}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n")),
        ("obs-fold", format!("{GET}X-A: b\r\n c\r\n\r\n")),
        ("a fold into the framing", format!("{POST}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n")),
        ("bare LF in the head", "GET /x HTTP/1.1\nHost: a.test\n\n".into()),
        ("bare LF after a header", format!("{GET}X-A: b\n\r\n")),
        ("bare CR in a value", format!("{GET}X-A: b\rc\r\n\r\n")),
        ("NUL in a value", format!("{GET}X-A: b\0c\r\n\r\n")),
        ("NUL in a name", format!("{GET}X\0A: b\r\n\r\n")),
        ("NUL in the target", "GET /x\0y HTTP/1.1\r\nHost: a.test\r\n\r\n".into()),
        ("a name with a space", format!("{GET}X A: b\r\n\r\n")),
        ("a header without colon", format!("{GET}X-A\r\n\r\n")),
        ("no host", "GET /x HTTP/1.1\r\n\r\n".into()),
        ("two hosts", format!("{GET}Host: b.test\r\n\r\n")),
        ("a host with a user", "GET /x HTTP/1.1\r\nHost: u@a.test\r\n\r\n".into()),
        ("a host with a path", "GET /x HTTP/1.1\r\nHost: a.test/y\r\n\r\n".into()),
        ("a list of hosts", "GET /x HTTP/1.1\r\nHost: a.test, b.test\r\n\r\n".into()),
        ("a host with a bad port", "GET /x HTTP/1.1\r\nHost: a.test:xx\r\n\r\n".into()),
        ("a host with a negative port", "GET /x HTTP/1.1\r\nHost: a.test:-1\r\n\r\n".into()),
        ("a host with a port beyond 65535", "GET /x HTTP/1.1\r\nHost: a.test:99999\r\n\r\n".into()),
        (
            "a target with a port beyond 65535",
            "GET http://a.test:65536/x HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
        ),
        ("asterisk with GET", "GET * HTTP/1.1\r\nHost: a.test\r\n\r\n".into()),
        ("authority-form with GET", "GET a.test:80 HTTP/1.1\r\nHost: a.test\r\n\r\n".into()),
        ("a method with a bracket", "G[T /x HTTP/1.1\r\nHost: a.test\r\n\r\n".into()),
        ("an unknown protocol", "GET /x FOO/1.1\r\nHost: a.test\r\n\r\n".into()),
        ("nonsense", "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n".into()),
        ("300 headers", format!("{GET}{many}\r\n")),
        ("a 100 KB request line", format!("GET /{} HTTP/1.1\r\nHost: a.test\r\n\r\n", "a".repeat(100_000))),
        ("a 200 KB header", format!("{GET}X-A: {}\r\n\r\n", "a".repeat(200_000))),
    ]
}

#[test]
fn hostile_heads_are_refused_and_the_connection_closed_and_no_upstream_hears_of_them() {
    let upstream = Upstream::echo();
    let gateway = Gateway::with(Backend::all(&upstream));
    let mut wrong = Vec::new();
    for (name, bytes) in hostile_heads() {
        let mut client = gateway.client();
        client.write(bytes);
        match client.read("POST") {
            Ok(response) if [400, 414, 431].contains(&response.status) => {
                if !client.ends() {
                    wrong.push(format!("{name}: {} but the connection stays open", response.status));
                }
            }
            other => wrong.push(format!("{name}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!((upstream.count(), upstream.connections()), (0, 0));
    assert_eq!(gateway.get("/x").status, 200, "honest clients are still served");
}

#[test]
fn a_malformed_request_is_told_why_as_a_problem() {
    let upstream = Upstream::echo();
    let gateway = Gateway::with(Backend::all(&upstream));
    for bytes in ["GET /x HTTP/1.1\r\nHost: u@a.test\r\n\r\n", "GET * HTTP/1.1\r\nHost: a.test\r\n\r\n"] {
        let mut client = gateway.client();
        client.write(bytes);
        client.read("GET").unwrap().assert_problem(400, "bad_request");
    }
    let connect = gateway.send(&Call::new("CONNECT", "a.test:80"));
    assert!([400, 405, 501].contains(&connect.status), "{connect:?}");
    assert_eq!(upstream.count(), 0);
}

#[test]
fn a_malformed_head_behind_a_good_request_is_told_why_as_well() {
    let gateway = Gateway::with(Backend::all(&Upstream::ok("ok")));
    for good in [
        "GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "GET /x HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n",
    ] {
        for bad in ["G T /x HTTP/1.1\r\nHost: a.test\r\n\r\n", "X$Y /x HTTP/1.1\r\nHost: a.test\r\n\r\n"] {
            let mut client = gateway.client();
            client.write(good);
            assert!(client.read("GET").unwrap().keeps_alive() || good.contains("1.0"));
            client.write(bad);
            let answer = client.read("GET").unwrap();
            answer.assert_problem(400, "bad_request");
            assert!(!answer.keeps_alive() && client.ends(), "{bad:?} behind {good:?}");
        }
    }
}

#[test]
fn a_broken_chunked_body_is_never_a_whole_request_for_the_upstream() {
    let upstream = Upstream::echo();
    let gateway = Gateway::with(Backend::all(&upstream).with("retries: 0"));
    let mut wrong = Vec::new();
    for (name, body) in [
        ("hex prefix", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("plus", "+5\r\nhello\r\n0\r\n\r\n"),
        ("minus", "-5\r\nhello\r\n0\r\n\r\n"),
        ("no size", "\r\nhello\r\n0\r\n\r\n"),
        ("not hex", "g\r\nhello\r\n0\r\n\r\n"),
        ("2^64+5", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("more data than the size", "4\r\nhello\r\n0\r\n\r\n"),
        ("no CRLF after the data", "5\r\nhelloX0\r\n\r\n"),
        ("bare CR after the size", "5\rhello\r\n0\r\n\r\n"),
        ("NUL in the size", "5\0\r\nhello\r\n0\r\n\r\n"),
        ("LF in an extension", "5;a\nGET /smuggled HTTP/1.1\r\nhello\r\n0\r\n\r\n"),
    ] {
        let mut client = gateway.client();
        client.write(format!("{POST}{CHUNKED}\r\n{body}"));
        match client.read("POST") {
            Ok(response) if response.status == 400 && client.ends() => {}
            Err(Broken::Closed) => {}
            other => wrong.push(format!("{name}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let whole: Vec<_> = upstream.requests().into_iter().filter(|request| request.complete).collect();
    assert!(whole.is_empty(), "{whole:?}");
}

#[test]
fn a_request_head_that_takes_too_long_is_408_header_timeout() {
    let upstream = Upstream::echo();
    let gateway = Gateway::builder().server("headerTimeoutMs: 300").backend(Backend::all(&upstream)).start();
    let mut stalled = gateway.client();
    stalled.write("GET /x HTTP/1.1\r\nHost: a.t");
    let response = stalled.read("GET").unwrap();
    assert_eq!(response.status, 408);
    assert_eq!(response.reason(), Some("header_timeout"));
    assert!(stalled.ends());
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn a_request_head_that_dribbles_is_cut_at_the_same_time() {
    let upstream = Upstream::echo();
    let gateway = Gateway::builder().server("headerTimeoutMs: 300").backend(Backend::all(&upstream)).start();
    let mut client = gateway.client();
    let mut drip = client.wire().tcp().try_clone().unwrap();
    let (started, gone) = (Instant::now(), Gate::new());
    let over = gone.clone();
    let writer = thread::spawn(move || {
        for byte in b"GET /x HTTP/1.1\r\nX-Slow: ".iter().chain(std::iter::repeat_n(&b'a', 500)) {
            if over.is_open() || std::io::Write::write_all(&mut drip, &[*byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(20)); // the pace of the attack
        }
    });
    let end = client.read("GET");
    gone.open();
    assert!(matches!(&end, Ok(r) if r.status == 408) || matches!(end, Err(Broken::Closed)), "{end:?}");
    assert!(started.elapsed() < Duration::from_secs(3), "after {:?}", started.elapsed());
    writer.join().unwrap();
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn a_request_body_that_stalls_is_408_body_timeout() {
    let upstream = Upstream::echo();
    let gateway = Gateway::with(Backend::all(&upstream).with("idleTimeoutMs: 300"));
    for (name, bytes) in [
        ("short", format!("{POST}Content-Length: 100\r\n\r\nhalf")),
        ("large", format!("{POST}Content-Length: 300000\r\n\r\n{}", "x".repeat(100_000))),
        ("chunked", format!("{POST}{CHUNKED}\r\n5\r\nhel")),
    ] {
        let mut client = gateway.client();
        client.write(bytes);
        let response = client.read("POST").unwrap_or_else(|e| panic!("{name}: {e:?}"));
        response.assert_problem(408, "body_timeout");
        assert!(client.ends(), "{name}");
    }
    assert!(upstream.requests().iter().all(|request| !request.complete));
    assert!(eventually(SOON, || gateway.in_flight() == 0));
}

#[test]
fn a_client_that_is_slow_with_its_body_is_not_the_upstreams_failure() {
    let upstream = Upstream::echo();
    let backend = Backend::all(&upstream).with("timeout: 1500").with("circuitBreaker: {failureThreshold: 2}");
    let gateway = Gateway::with(backend);
    let mut clients: Vec<_> = (0..5).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.write(format!("{POST}Content-Length: 100\r\n\r\nx"));
    }
    for client in &mut clients {
        client.read("POST").unwrap().assert_problem(408, "body_timeout");
    }
    assert_eq!(gateway.get("/x").status, 200, "the breaker has counted them");
}

#[test]
fn a_client_that_goes_away_cancels_the_request_upstream_and_the_breaker_does_not_count_it() {
    let upstream = Upstream::start(|exchange| match exchange.target() {
        "/hold" => {
            exchange.wait_for_close();
            Ok(Then::Drop)
        }
        "/stream" => {
            exchange.answer("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf", Then::Keep)?;
            exchange.wait_for_close();
            Ok(Then::Drop)
        }
        "/upload" => exchange.count_body().map(|_| Then::Keep),
        _ => exchange.ok("well"),
    });
    let backend = Backend::all(&upstream).with("retries: 0").with("circuitBreaker: {failureThreshold: 1}");
    let gateway = Gateway::with(backend);
    for (i, call) in [
        Call::get("/hold"),
        Call::get("/stream"),
        Call::new("POST", "/upload").header("Content-Length", "1000000"),
        Call::get("/hold"),
    ]
    .iter()
    .enumerate()
    {
        let mut client = gateway.client();
        client.start(call);
        assert!(eventually(SOON, || upstream.count() == i + 1), "{call:?} reaches the upstream");
        drop(client);
        assert!(
            eventually(SOON, || upstream.open() == 0),
            "{call:?}: the upstream's connection is still open"
        );
    }
    assert!(eventually(SOON, || gateway.in_flight() == 0));
    assert!(holds_for(Duration::from_millis(100), || gateway.circuit("main") == "closed"));
    assert_eq!(gateway.get("/x").text(), "well");
    // Nor is it anybody's failure, or an answer that the gateway made.
    let overview = || gateway.admin_json("/api/metrics/overview?range=5m")["data"].clone();
    assert!(eventually(SOON, || overview()["totalRequests"] == 5), "{}", overview());
    assert_eq!(overview()["failedRequests"], 0, "{}", overview());
    assert_eq!(gateway.admin_json("/_aegis/status")["requests"]["madeByGateway"], 0);
    assert!(!gateway.ask_admin(Call::get("/metrics")).text().contains("client_gone"));
}

#[test]
fn a_target_that_a_prefix_makes_too_long_is_refused_instead_of_sent_without_the_prefix() {
    let upstream = Upstream::echo();
    let backend = Backend::named("main").to(&upstream).route("{path: /x, addPrefix: /confined/to}");
    let gateway = Gateway::with(backend);
    let target = |length: usize| format!("/x?q={}", "a".repeat(length - 5));
    // The longest target that can be handled has 65534 bytes.
    for length in [65_534, 65_530, 65_525] {
        let mut client = gateway.client();
        client.start(&Call::get(&target(length)));
        client.read("GET").unwrap().assert_problem(400, "bad_request");
        assert!(client.ends(), "{length}");
    }
    assert_eq!((upstream.count(), upstream.connections()), (0, 0));
    let fits = target(60_000);
    assert_eq!(gateway.get(&fits).json()["target"], format!("/confined/to{fits}"));
}
