//! Upstreams that refuse, reset, lie, stall and ramble: the contract's code, no hang, no leak (section 7).

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Backend, Broken, Builder, Gate, Gateway, Port, SOON, Then, Upstream, eventually};

/// One backend for each upstream, under `/0`, `/1` …, without retries and breaker, and with short waits for those
/// that are silent. With short ones for all, a busy machine would make others silent, too.
fn impatient(upstreams: &[Upstream], is_silent: impl Fn(usize) -> bool) -> Builder {
    let mut builder = Gateway::builder();
    for (i, upstream) in upstreams.iter().enumerate() {
        let backend = Backend::named(&format!("b{i}")).to(upstream).route(&format!("/{i}"));
        let mut backend = backend.without_breaker().with("retries: 0");
        if is_silent(i) {
            backend = backend.with("firstByteTimeoutMs: 400").with("idleTimeoutMs: 400");
        }
        builder = builder.backend(backend);
    }
    builder
}

#[test]
fn an_upstream_that_refuses_connections_is_502_connect_failed() {
    let port = Port::reserve();
    let backend = Backend::named("main").target(&format!("url: \"{}\"", port.url())).route("/**");
    let gateway = Gateway::with(backend.without_breaker());
    gateway.get("/x").assert_problem(502, "connect_failed");
}

#[test]
fn a_name_that_does_not_resolve_is_502_connect_failed() {
    let backend = Backend::named("main").target("url: \"http://no-such-host.invalid:80\"").route("/**");
    let gateway = Gateway::with(backend.without_breaker().with("retries: 0"));
    gateway.get("/x").assert_problem(502, "connect_failed");
}

#[test]
fn faults_before_the_response_head_get_the_code_of_the_contract() {
    let long = format!("HTTP/1.1 200 OK\r\nX-Long: {}", "a".repeat(1 << 20));
    let cases: Vec<(&str, Upstream, u16, &[&str])> = vec![
        ("resets", Upstream::answering("", Then::Reset), 502, &["upstream_reset"]),
        ("closes", Upstream::answering("", Then::Close), 502, &["upstream_reset"]),
        (
            "resets on accept",
            Upstream::raw(|_, _| Ok(Then::Reset)),
            502,
            &["upstream_reset", "connect_failed"],
        ),
        (
            "resets inside the head",
            Upstream::answering("HTTP/1.1 200 OK\r\nContent-Le", Then::Reset),
            502,
            &["upstream_reset"],
        ),
        (
            "closes inside the head",
            Upstream::answering("HTTP/1.1 200 OK\r\nContent-Le", Then::Close),
            502,
            &["upstream_reset", "upstream_bad_response"],
        ),
        ("sends garbage", bad("\x00\x01\x02 not HTTP at all\r\n\r\n"), 502, &["upstream_bad_response"]),
        ("says hello", bad("HELLO\r\n\r\n"), 502, &["upstream_bad_response"]),
        ("status 99", bad("HTTP/1.1 99 X\r\nContent-Length: 0\r\n\r\n"), 502, &["upstream_bad_response"]),
        ("status 2000", bad("HTTP/1.1 2000 X\r\nContent-Length: 0\r\n\r\n"), 502, &["upstream_bad_response"]),
        (
            "two lengths",
            bad("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nok"),
            502,
            &["upstream_bad_response"],
        ),
        (
            "a bad length",
            bad("HTTP/1.1 200 OK\r\nContent-Length: 2x\r\n\r\nok"),
            502,
            &["upstream_bad_response"],
        ),
        (
            "a negative length",
            bad("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok"),
            502,
            &["upstream_bad_response"],
        ),
        (
            "101 unasked",
            bad("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n"),
            502,
            &["upstream_bad_response"],
        ),
        ("an endless head", bad(&long), 502, &["upstream_bad_response"]),
        (
            "is silent",
            Upstream::start(|exchange| {
                exchange.wait_for_close();
                Ok(Then::Drop)
            }),
            504,
            &["upstream_timeout"],
        ),
        (
            "never accepts a byte more than half a head",
            Upstream::start(|exchange| {
                exchange.wire.write("HTTP/1.1 200 OK\r\n")?;
                exchange.wait_for_close();
                Ok(Then::Drop)
            }),
            504,
            &["upstream_timeout"],
        ),
    ];
    let mut wrong = Vec::new();
    let (mut names, mut upstreams) = (Vec::new(), Vec::new());
    for (name, upstream, status, reasons) in cases {
        names.push((name, status, reasons));
        upstreams.push(upstream);
    }
    let gateway = impatient(&upstreams, |i| names[i].1 == 504).start();
    for (i, (name, status, reasons)) in names.iter().enumerate() {
        let response = gateway.get(&format!("/{i}"));
        if reasons.iter().all(|reason| response.check_problem(*status, reason).is_err()) {
            wrong.push(format!("{name}: {} {:?} {}", response.status, response.reason(), response.text()));
        }
        if !eventually(SOON, || upstreams[i].open() == 0) {
            wrong.push(format!("{name}: the connection is still open"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(eventually(SOON, || gateway.in_flight() == 0));
}

fn bad(bytes: &str) -> Upstream {
    Upstream::answering(bytes, Then::Close)
}

#[test]
fn a_body_that_breaks_off_cuts_the_client_and_never_ends_cleanly() {
    const OK: &str = "HTTP/1.1 200 OK\r\n";
    const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
    let stall = |bytes: String| {
        Upstream::start(move |exchange| {
            exchange.wire.write(&bytes)?;
            exchange.wait_for_close();
            Ok(Then::Drop)
        })
    };
    let (names, upstreams): (Vec<_>, Vec<_>) = [
        ("less than its length", bad(&format!("{OK}Content-Length: 20\r\n\r\nhalf"))),
        (
            "reset in the body",
            Upstream::answering(format!("{OK}Content-Length: 20\r\n\r\nhalf"), Then::Reset),
        ),
        // Only without a fault is the end of the connection one of the body.
        (
            "reset where the end would be right",
            Upstream::answering(format!("{OK}Connection: close\r\n\r\nhalf"), Then::Reset),
        ),
        ("cut inside a chunk", bad(&format!("{OK}{CHUNKED}\r\n5\r\nha"))),
        ("no last chunk", bad(&format!("{OK}{CHUNKED}\r\n4\r\nhalf\r\n"))),
        ("cut in the last chunk", bad(&format!("{OK}{CHUNKED}\r\n4\r\nhalf\r\n0\r\n"))),
        ("a bad chunk size", bad(&format!("{OK}{CHUNKED}\r\n4\r\nhalf\r\nzz\r\nx\r\n0\r\n\r\n"))),
        ("a stalled body", stall(format!("{OK}Content-Length: 20\r\n\r\nhalf"))),
        ("a stalled chunked body", stall(format!("{OK}{CHUNKED}\r\n4\r\nhalf\r\n"))),
    ]
    .into_iter()
    .unzip();
    let gateway = impatient(&upstreams, |i| names[i].starts_with("a stalled")).start();
    let mut wrong = Vec::new();
    for (i, name) in names.iter().enumerate() {
        let mut client = gateway.client();
        match client.try_send(&crate::harness::Call::get(&format!("/{i}"))) {
            Err(Broken::Cut(response)) if response.status == 200 => {}
            Err(Broken::Closed) => {}
            Ok(response) if response.status == 502 || response.status == 504 => {}
            other => wrong.push(format!("{name}: {other:?}")),
        }
        if !eventually(SOON, || upstreams[i].open() == 0) {
            wrong.push(format!("{name}: the connection is still open"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(eventually(SOON, || gateway.in_flight() == 0));
}

#[test]
fn an_upstream_that_resets_in_mid_upload_is_502_and_costs_nobody_else() {
    let upstream = Upstream::start(|exchange| {
        if exchange.target() == "/well" {
            return exchange.ok("well");
        }
        exchange.wire.exact(70_000)?;
        Ok(Then::Reset)
    });
    let backend = Backend::all(&upstream).without_breaker();
    let gateway = Gateway::builder().server("workers: 1").backend(backend).start();
    for framing in ["Content-Length: 9000000", "Transfer-Encoding: chunked"] {
        let mut client = gateway.client();
        client.write(format!("POST /x HTTP/1.1\r\nHost: a.test\r\n{framing}\r\n\r\n"));
        let mut rest = client.wire().tcp().try_clone().unwrap();
        let writer = thread::spawn(move || {
            let piece = format!("{:x}\r\n{}\r\n", 90_000, "x".repeat(90_000));
            // What is answered early, or cut, need not be sent to its end.
            (0..100).all(|_| std::io::Write::write_all(&mut rest, piece.as_bytes()).is_ok())
        });
        match client.read("POST") {
            Ok(response) => response.assert_problem(502, "upstream_reset"),
            Err(Broken::Closed) => {}
            other => panic!("{framing}: {other:?}"),
        }
        assert_eq!(gateway.get("/well").text(), "well", "{framing}");
        drop(client);
        writer.join().unwrap();
    }
    assert!(eventually(SOON, || gateway.in_flight() == 0));
}

#[test]
fn a_connection_with_bytes_left_over_is_not_used_again() {
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Evil: 1\r\n\r\nevil";
    for (name, bytes, status) in [
        ("more than its length", format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok{evil}"), 200),
        (
            "after the last chunk",
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{evil}"),
            200,
        ),
        ("204 with a body", format!("HTTP/1.1 204 No Content\r\n\r\n{evil}"), 204),
        (
            "304 with a body",
            format!("HTTP/1.1 304 Not Modified\r\nContent-Length: {}\r\n\r\n{evil}", evil.len()),
            304,
        ),
        (
            "connection: close",
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok".into(),
            200,
        ),
    ] {
        let upstream = Upstream::answering(bytes, Then::Keep);
        let gateway = Gateway::builder().server("workers: 1").backend(Backend::all(&upstream)).start();
        let mut client = gateway.client();
        for _ in 0..3 {
            let response = client.get("/x");
            assert_eq!(response.status, status, "{name}");
            assert_eq!(response.header("x-evil"), None, "{name}");
            assert_eq!(response.text(), if status == 200 { "ok" } else { "" }, "{name}");
        }
        assert_eq!(upstream.connections(), 3, "{name}");
    }
}

#[test]
fn the_answer_to_head_with_a_body_does_not_poison_the_connection() {
    let upstream = Upstream::start(|exchange| {
        exchange.answer("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody", Then::Keep)
    });
    let gateway = Gateway::builder().server("workers: 1").backend(Backend::all(&upstream)).start();
    let mut client = gateway.client();
    for _ in 0..3 {
        let response = client.send(&crate::harness::Call::new("HEAD", "/x"));
        assert_eq!((response.status, response.header("content-length")), (200, Some("4")));
    }
    assert_eq!(client.get("/x").text(), "body");
}

#[test]
fn a_response_that_comes_byte_by_byte_arrives_whole() {
    let bytes =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
    let upstream = Upstream::start(move |exchange| {
        exchange.body()?;
        bytes.bytes().try_for_each(|byte| exchange.wire.write([byte]))?;
        Ok(Then::Keep)
    });
    let gateway = Gateway::with(Backend::all(&upstream));
    let mut client = gateway.client();
    for _ in 0..3 {
        let response = client.get("/x");
        assert_eq!((response.header("x-a"), response.text().as_str()), (Some("b"), "hello"));
    }
}

#[test]
fn headers_that_the_upstream_may_not_send_never_reach_the_client() {
    for line in ["X-Bad : 1", "X Bad: 1", "X-Bad: a\r\n b", "X-Bad: a\0b", "X-Bad: a\rSet-Cookie: x=1"] {
        let upstream = Upstream::answering(
            format!("HTTP/1.1 200 OK\r\n{line}\r\nContent-Length: 2\r\n\r\nok"),
            Then::Close,
        );
        let gateway = Gateway::with(Backend::all(&upstream).without_breaker().with("retries: 0"));
        // The client's own parser fails on a malformed head.
        let response = gateway.get("/x");
        let clean = response.status == 200 && response.text() == "ok";
        assert!(clean || response.reason() == Some("upstream_bad_response"), "{line:?}: {response:?}");
        assert_eq!(response.header("set-cookie"), None, "{line:?}");
    }
}

#[test]
fn an_upstream_that_takes_nothing_of_a_large_upload_is_504_upstream_timeout() {
    const SIZE: usize = 64 << 20;
    let release = Gate::new();
    let theirs = release.clone();
    let upstream = Upstream::raw(move |_, _| {
        theirs.wait();
        Ok(Then::Drop)
    });
    let backend = Backend::all(&upstream).without_breaker().with("retries: 2").with("idleTimeoutMs: 500");
    let gateway = Gateway::builder().server("bodyLimitBytes: 0").backend(backend).start();
    for framing in [format!("Content-Length: {SIZE}"), "Transfer-Encoding: chunked".to_owned()] {
        let mut client = gateway.client();
        client.write(format!("POST /up HTTP/1.1\r\nHost: a.test\r\n{framing}\r\n\r\n"));
        let mut upload = client.wire().tcp().try_clone().unwrap();
        let chunked = framing.ends_with("chunked");
        let writer = thread::spawn(move || {
            let (before, data) = (if chunked { "10000\r\n" } else { "" }, [b'u'; 65536]);
            let piece = [before.as_bytes(), &data, if chunked { b"\r\n" } else { b"" }].concat();
            let sent = |_: &usize| std::io::Write::write_all(&mut upload, &piece).is_ok();
            (0..SIZE / 65536).take_while(sent).count() * 65536
        });
        let started = Instant::now();
        let response = client.read("POST").unwrap_or_else(|e| panic!("{framing}: {e:?}"));
        response.assert_problem(504, "upstream_timeout");
        assert!(started.elapsed() < Duration::from_secs(4), "{framing}: {:?}", started.elapsed());
        let _ = client.wire().tcp().shutdown(std::net::Shutdown::Both);
        assert!(writer.join().unwrap() < SIZE, "{framing}: the client was held back");
    }
    assert!(eventually(SOON, || gateway.in_flight() == 0));
    release.open();
    assert_eq!(upstream.connections(), 2, "a stream is not retried");
}
