//! The life of a client's connection: what is left on it, how long it may wait, how it ends (sections 2 and 6).

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Backend, Broken, Call, Client, Gate, Gateway, Load, SOON, Then, Upstream, eventually};

const HOST: &str = "Host: a.test\r\n";

/// What the connection still brings after an answer, until it ends or five seconds pass without a byte.
fn rest_of(client: &mut Client) -> String {
    client.wire().timeout(Duration::from_secs(5));
    let mut rest = Vec::new();
    let end = client.wire().body(crate::harness::Framing::Close, &mut |piece| rest.extend_from_slice(piece));
    let open =
        end.is_err_and(|e| matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut));
    assert!(!open, "the connection stays open after {rest:?}");
    String::from_utf8_lossy(&rest).into_owned()
}

#[test]
fn the_rest_of_a_refused_body_is_never_answered_again() {
    let upstream = Upstream::echo();
    // The time of a head is no help: it is longer than the test would wait.
    let builder = Gateway::builder().server("headerTimeoutMs: 60000");
    let gateway = builder.backend(Backend::named("main").to(&upstream).route("/x")).start();
    let lines = "GET /x HTTP/1.1\nHost: a.test\n\n";
    for (name, head, first) in [
        ("nothing of the body yet", "Content-Length: 1000000\r\n\r\n".to_owned(), String::new()),
        ("the first lines are there", "Content-Length: 1000000\r\n\r\n".to_owned(), lines.to_owned()),
        ("more than is read for it", "Content-Length: 1000000\r\n\r\n".to_owned(), lines.repeat(4000)),
        ("chunked", "Transfer-Encoding: chunked\r\n\r\n".to_owned(), format!("100000\r\n{lines}")),
    ] {
        let mut client = gateway.client();
        client.write(format!("POST /nothing HTTP/1.1\r\n{HOST}{head}{first}"));
        let response = client.read("POST").unwrap_or_else(|e| panic!("{name}: {e:?}"));
        response.assert_problem(404, "no_route");
        assert!(response.head.lists("connection", "close"), "{name}: {response:?}");
        let (mut upload, over) = (client.wire().tcp().try_clone().unwrap(), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Relaxed) && upload.write_all(lines.as_bytes()).is_ok() {
                    thread::sleep(Duration::from_millis(20)); // the pace of the client
                }
            });
            let rest = rest_of(&mut client);
            over.store(true, Relaxed);
            assert_eq!(rest, "", "{name}: another answer");
        });
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn a_small_refused_body_that_is_there_keeps_the_connection() {
    let upstream = Upstream::ok("served");
    let backend = Backend::named("main").to(&upstream).route("/x").route("{path: /admin, deny: true}");
    let gateway = Gateway::with(backend);
    let mut client = gateway.client();
    for call in [
        Call::post("/nothing", "hello"),
        Call::new("POST", "/nothing").chunks(&[b"hel", b"lo"]),
        Call::post("/admin", "hello"),
        Call::post("/nothing", "b".repeat(4000)),
        Call::post("/nothing", ""),
    ] {
        let response = client.send(&call);
        assert!([403, 404].contains(&response.status), "{call:?}");
        assert!(response.keeps_alive(), "{call:?}: {response:?}");
        assert_eq!(client.get("/x").text(), "served", "after {call:?}");
    }
}

/// Sends each request with a part of another behind it, and expects that part to be cut off in time.
fn cuts_partial_heads_behind(requests: &[(&str, String)]) {
    let upstream = Upstream::ok("first");
    let gateway = Gateway::builder()
        .server("headerTimeoutMs: 400")
        .server("keepAliveMs: 60000")
        .backend(Backend::all(&upstream))
        .start();
    let partial = "GET /second HTTP/1.1\r\nHost: a.t";
    for (name, first) in requests {
        let mut client = gateway.client();
        client.write(format!("{first}{partial}"));
        for _ in 0..first.matches("HTTP/1.1").count() {
            assert_eq!(
                client.read("GET").unwrap_or_else(|e| panic!("{name}: {e:?}")).text(),
                "first",
                "{name}"
            );
        }
        let started = Instant::now();
        match client.read("GET") {
            Ok(response) => {
                assert_eq!((response.status, response.reason()), (408, Some("header_timeout")), "{name}");
                assert!(client.ends(), "{name}");
            }
            Err(Broken::Closed) => {}
            other => panic!("{name}: {other:?}"),
        }
        assert!(started.elapsed() < Duration::from_secs(3), "{name}: {:?}", started.elapsed());
    }
    assert_eq!(upstream.count_of("/second"), 0);
}

#[test]
fn a_partial_head_behind_a_request_is_cut_after_the_time_of_a_head() {
    let get = format!("GET /x HTTP/1.1\r\n{HOST}\r\n");
    cuts_partial_heads_behind(&[("one", get.clone()), ("two", get.repeat(2))]);
}

#[test]
fn a_partial_head_behind_a_body_is_cut_after_the_time_of_a_head() {
    let post = format!("POST /x HTTP/1.1\r\n{HOST}");
    cuts_partial_heads_behind(&[
        ("content-length", format!("{post}Content-Length: 5\r\n\r\nhello")),
        ("chunked", format!("{post}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")),
    ]);
}

#[test]
fn a_partial_head_that_comes_while_a_request_is_served_is_cut_after_the_time_of_a_head() {
    let gate = Gate::new();
    let theirs = gate.clone();
    let upstream = Upstream::start(move |exchange| {
        theirs.wait();
        exchange.ok("first")
    });
    let gateway = Gateway::builder()
        .server("headerTimeoutMs: 400")
        .server("keepAliveMs: 60000")
        .backend(Backend::all(&upstream))
        .start();
    let mut client = gateway.client();
    client.start(&Call::get("/x"));
    assert!(eventually(SOON, || upstream.count() == 1));
    client.write("GET /second HTTP/1.1\r\nHo");
    gate.open();
    assert_eq!(client.read("GET").unwrap().text(), "first");
    let started = Instant::now();
    let end = client.read("GET");
    assert!(matches!(&end, Ok(r) if r.status == 408) || matches!(end, Err(Broken::Closed)), "{end:?}");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[test]
fn a_whole_pipelined_request_is_served_after_the_first() {
    let upstream = Upstream::echo();
    let gateway = Gateway::builder().server("headerTimeoutMs: 400").backend(Backend::all(&upstream)).start();
    let mut client = gateway.client();
    let calls = [
        Call::get("/1"),
        Call::post("/2", "hello"),
        Call::new("POST", "/3").chunks(&[b"x"]),
        Call::get("/4"),
    ];
    client.write(calls.iter().flat_map(|call| call.bytes("a.test")).collect::<Vec<u8>>());
    for target in ["/1", "/2", "/3", "/4"] {
        assert_eq!(client.read("GET").unwrap().json()["target"], target);
    }
}

#[test]
fn a_client_that_sends_a_request_and_leaves_at_once_cancels_it_upstream() {
    let upstream = Upstream::start(|exchange| {
        exchange.wait_for_close();
        Ok(Then::Drop)
    });
    let gateway = Gateway::with(Backend::all(&upstream).with("retries: 0"));
    let mut round = 0;
    for call in [Call::get("/x"), Call::post("/x", "hello"), Call::new("PUT", "/x").chunks(&[b"hello"])] {
        for reset in [false, true] {
            let mut client = gateway.client();
            client.start(&call);
            if reset {
                // A reset may overtake the request.
                assert!(eventually(SOON, || upstream.count() > round), "{call:?}");
                client.wire().reset_on_close();
            }
            drop(client);
            round += 1;
            assert!(eventually(SOON, || upstream.count() == round), "{call:?} reaches the upstream");
            let gone = eventually(Duration::from_secs(3), || upstream.open() == 0);
            assert!(gone, "{call:?}, reset {reset}: the upstream still works for nobody");
        }
    }
    assert!(eventually(SOON, || gateway.in_flight() == 0));
}

#[test]
fn a_client_that_only_ends_its_sending_side_still_gets_its_answer() {
    let gate = Gate::new();
    let theirs = gate.clone();
    let upstream = Upstream::start(move |exchange| {
        if exchange.target() == "/later" {
            theirs.wait();
        }
        let body = "b".repeat(3 << 20);
        exchange.ok(if exchange.target() == "/large" { &body } else { "answered" })
    });
    let gateway = Gateway::with(Backend::all(&upstream));
    for (call, length) in [
        (Call::get("/x"), 8),
        (Call::post("/x", "hello"), 8),
        (Call::new("POST", "/x").chunks(&[b"hello"]), 8),
        (Call::get("/large"), 3 << 20),
    ] {
        let mut client = gateway.client();
        client.start(&call);
        client.wire().finish_writing();
        let response = client.read("GET").unwrap_or_else(|e| panic!("{call:?}: {e:?}"));
        assert_eq!((response.status, response.body.len()), (200, length), "{call:?}");
        assert!(client.ends(), "{call:?}");
    }
    let mut client = gateway.client();
    client.start(&Call::get("/later"));
    client.wire().finish_writing();
    assert!(eventually(SOON, || upstream.count_of("/later") == 1));
    gate.open();
    assert_eq!(client.read("GET").unwrap().text(), "answered");
}

#[test]
fn a_client_that_ended_its_sending_side_gets_an_answer_that_streams_for_long() {
    let upstream = Upstream::start(|exchange| {
        exchange.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Then::Keep)?;
        for _ in 0..12 {
            exchange.wire.write("4\r\nmore\r\n")?;
            thread::sleep(Duration::from_millis(200)); // the pace of the answer
        }
        exchange.wire.write("0\r\n\r\n")?;
        Ok(Then::Keep)
    });
    let gateway = Gateway::with(Backend::all(&upstream));
    let mut client = gateway.client();
    client.start(&Call::get("/x"));
    client.wire().finish_writing();
    assert_eq!(client.read("GET").expect("whoever reads is there").text(), "more".repeat(12));
}

/// RFC 9112 §9.6: closing at once would answer what comes later with a reset, and that overtakes the answer.
#[test]
fn what_a_client_sends_behind_the_request_that_closes_does_not_cost_it_the_answer() {
    let body: &str = "a".repeat(300_000).leak();
    let upstream = Upstream::ok(body);
    let gateway = Gateway::with(Backend::all(&upstream));
    let mut client = gateway.client();
    // So that most of the answer still waits on the gateway's side.
    socket2::SockRef::from(client.wire().tcp()).set_recv_buffer_size(4096).unwrap();
    client.start(&Call::get("/x").header("Connection", "close"));
    assert!(eventually(SOON, || upstream.count() == 1 && gateway.in_flight() == 0));
    client.start(&Call::get("/late"));
    assert_eq!(client.read("GET").expect("the whole answer").text().len(), body.len());
    assert_eq!(upstream.count_of("/late"), 0);
}

#[test]
fn a_client_that_reads_nothing_of_a_large_answer_is_cut_after_the_idle_timeout() {
    const SIZE: usize = 64 << 20;
    let upstream = Upstream::start(|exchange| {
        exchange.answer(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"), Then::Keep)?;
        (0..SIZE / 65536).try_for_each(|_| exchange.wire.write([b'd'; 65536]))?;
        Ok(Then::Keep)
    });
    let gateway = Gateway::with(Backend::all(&upstream).with("idleTimeoutMs: 500"));
    let mut client = gateway.client();
    client.start(&Call::get("/x"));
    assert!(eventually(SOON, || upstream.count() == 1));
    assert!(eventually(SOON, || upstream.open() == 0), "the upstream is still held");
    assert!(eventually(SOON, || gateway.in_flight() == 0));
    match client.read("GET") {
        Err(Broken::Cut(part)) => assert!(part.body.len() < SIZE),
        Err(Broken::Closed) => {}
        other => panic!("not cut: {:?}", other.map(|whole| whole.body.len())),
    }
}

#[test]
fn five_hundred_idle_connections_are_closed_while_a_busy_one_is_served() {
    let upstream = Upstream::ok("ok");
    let gateway = Gateway::builder().server("keepAliveMs: 1500").backend(Backend::all(&upstream)).start();
    let load = Load::start(gateway.addr, 2, Duration::from_millis(20), "/busy");
    let served = |_| {
        // Each asks at once: on a busy machine the last one's turn comes after the first one's time is over.
        let mut client = gateway.client();
        let response = client.get("/x");
        assert!(response.status == 200 && response.keeps_alive(), "{response:?}");
        client
    };
    let mut idle: Vec<_> = (0..500).map(served).collect();
    let started = Instant::now();
    for (i, client) in idle.iter_mut().enumerate() {
        assert!(client.ends(), "connection {i} is open after {:?}", started.elapsed());
    }
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    load.wait_for(20);
    load.stop_flawless();
}

#[test]
fn a_connection_that_pauses_for_less_than_keep_alive_goes_on() {
    let upstream = Upstream::ok("ok");
    let gateway = Gateway::builder()
        .server("keepAliveMs: 3000")
        .server("headerTimeoutMs: 200")
        .backend(Backend::all(&upstream))
        .start();
    let mut client = gateway.client();
    for _ in 0..3 {
        assert_eq!(client.get("/x").text(), "ok");
        thread::sleep(Duration::from_millis(700)); // longer than a head may take, shorter than keep-alive
    }
    assert_eq!(client.get("/x").text(), "ok");
}
