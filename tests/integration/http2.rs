//! HTTP/2 towards the client: with prior knowledge and under TLS (sections 2 and 6).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use h2::Reason;

use crate::harness::http2::{Answer, Http2, block_on, comes_true, read, release, send};
use crate::harness::{Authority, Backend, Folder, Gate, Gateway, SOON, Then, Upstream, eventually};

const MIB: usize = 1 << 20;

/// A gateway with a certificate of `authority`.
fn secured(authority: &Authority, backend: Backend) -> (Gateway, Folder) {
    let folder = Folder::new();
    let (cert, key) = authority.issue(&["127.0.0.1"]).write_pem(folder.path());
    let files = format!("tls: {{certFile: \"{}\", keyFile: \"{}\"}}", cert.display(), key.display());
    (Gateway::builder().server(&files).backend(backend).start(), folder)
}

/// Nothing of HTTP/1.1's connection management may appear (RFC 9113 §8.2.2).
fn assert_clean(answer: &Answer) {
    for name in ["connection", "transfer-encoding", "keep-alive", "proxy-connection", "upgrade"] {
        assert_eq!(answer.header(name), None, "{answer:?}");
    }
    assert_eq!(answer.headers.get_all("date").iter().count(), 1, "{answer:?}");
    assert!(answer.header("x-request-id").is_some(), "{answer:?}");
}

async fn speak(mut client: Http2, upstream: &Upstream, proto: &str) {
    let answer = client.get("/x?a=%2F").await;
    assert_eq!((answer.status, answer.json()["body"].as_str()), (200, Some("")));
    assert_clean(&answer);
    let seen = upstream.last();
    assert_eq!((seen.target.as_str(), seen.head.start.ends_with("HTTP/1.1")), ("/x?a=%2F", true));
    assert_eq!(seen.head.get("host").map(str::to_owned), Some(upstream.addr().to_string()));
    for (name, value) in [
        ("x-forwarded-proto", Some(proto)),
        ("x-forwarded-host", Some("a.test")),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-request-id", answer.header("x-request-id")),
        ("content-length", None),
        ("transfer-encoding", None),
    ] {
        assert_eq!(seen.head.get(name), value, "{name} of a GET");
    }
    for body in [String::new(), "hello".into(), "b".repeat(300_000)] {
        let answer = client.post("/x", body.clone()).await;
        assert_eq!((answer.status, answer.json()["body"].as_str()), (200, Some(body.as_str())));
        assert_clean(&answer);
        let seen = upstream.last();
        assert!(seen.complete && seen.body == body.as_bytes());
        assert_eq!(seen.head.get("x-forwarded-proto"), Some(proto), "{seen:?}");
    }
    let (answer, _) = client.start(client.request("HEAD", "/x"), true).await;
    let answer = read(answer).await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert_clean(&answer);
    let answer = client.get("/..%2f").await;
    assert_eq!((answer.status, answer.header("aegis-reason")), (400, Some("bad_path")));
    assert_eq!(answer.json()["requestId"].as_str(), answer.header("x-request-id"));
    assert_clean(&answer);
}

#[test]
fn requests_with_and_without_bodies_pass_with_prior_knowledge() {
    let upstream = Upstream::echo();
    let gateway = Gateway::with(Backend::all(&upstream));
    block_on(async { speak(Http2::connect(gateway.addr).await, &upstream, "http").await });
    assert!(eventually(SOON, || gateway.in_flight() == 0));
}

#[test]
fn requests_with_and_without_bodies_pass_under_tls() {
    let (authority, upstream) = (Authority::new(), Upstream::echo());
    let (gateway, _folder) = secured(&authority, Backend::all(&upstream));
    let config = authority.client(&["h2", "http/1.1"]);
    block_on(async { speak(Http2::connect_tls(gateway.addr, config).await, &upstream, "https").await });
    assert!(eventually(SOON, || gateway.in_flight() == 0));
}

#[test]
fn answers_of_every_framing_arrive_without_the_upstreams_connection_management() {
    let upstream = Upstream::start(|exchange| {
        let (bytes, then) = match exchange.target() {
            "/length" => {
                ("Content-Length: 5\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\n\r\nhello", Then::Keep)
            }
            "/chunked" => ("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Then::Keep),
            "/both" => {
                ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Then::Keep)
            }
            "/close" => ("Connection: close\r\nKeep-Alive: timeout=5\r\n\r\nhello", Then::Close),
            _ => ("Content-Length: 0\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n", Then::Keep),
        };
        exchange.answer(format!("HTTP/1.1 200 OK\r\n{bytes}"), then)
    });
    let gateway = Gateway::with(Backend::all(&upstream));
    block_on(async {
        let mut client = Http2::connect(gateway.addr).await;
        for (path, length) in [("/length", Some("5")), ("/chunked", None), ("/both", None), ("/close", None)]
        {
            let answer = client.get(path).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "{path}");
            assert_eq!((answer.header("content-length"), answer.header("x-hop")), (length, None), "{path}");
            assert_clean(&answer);
        }
        let answer = client.get("/empty").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, ""));
        assert_eq!(answer.headers.get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=1", "b=2"]);
    });
}

#[test]
fn a_body_is_passed_on_whole_however_its_frames_arrive() {
    let upstream = Upstream::echo();
    let gateway = Gateway::with(Backend::all(&upstream));
    // The chunk size line that a frame becomes must never be read as a request.
    let request = "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";
    for (length, frames) in [
        (None, vec!["hel", "lo"]),
        (None, vec!["", "hello"]),
        (None, vec!["hel", "", "lo"]),
        (None, vec!["hello", "", ""]),
        (None, vec!["", "", request, ""]),
        (Some(5), vec!["", "hel", "", "lo", ""]),
        (Some(0), vec!["", ""]),
    ] {
        let (body, before) = (frames.concat(), upstream.count());
        block_on(async {
            let mut client = Http2::connect(gateway.addr).await;
            let mut request = client.request("POST", "/x");
            length.into_iter().for_each(|length: usize| {
                request.headers_mut().insert("content-length", length.into());
            });
            let (answer, mut upload) = client.start(request, false).await;
            for frame in &frames {
                // Whoever has announced its length may be answered, and stopped, before the end of the stream.
                if upload.send_data(Bytes::from_static(frame.as_bytes()), false).is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await; // so that frames arrive one by one
            }
            let _ = upload.send_data(Bytes::new(), true);
            let answer = read(answer).await.unwrap_or_else(|e| panic!("{frames:?}: {e}"));
            assert_eq!(
                (answer.status, answer.json()["body"].as_str()),
                (200, Some(body.as_str())),
                "{frames:?}"
            );
            assert_eq!(client.get("/x").await.status, 200, "after {frames:?}");
        });
        assert_eq!((upstream.count(), upstream.count_of("/smuggled")), (before + 2, 0), "{frames:?}");
    }
}

#[test]
fn cookies_that_came_in_crumbs_reach_the_upstream_as_one_field() {
    let upstream = Upstream::echo();
    let gateway = Gateway::with(Backend::all(&upstream));
    block_on(async {
        let mut client = Http2::connect(gateway.addr).await;
        let mut request = client.request("GET", "/x");
        for crumb in ["a=1", "b=2", "c=3"] {
            request.headers_mut().append("cookie", crumb.parse().unwrap());
        }
        let (answer, _) = client.start(request, true).await;
        assert_eq!(read(answer).await.unwrap().status, 200);
    });
    // RFC 9113 §8.2.3: before they are passed into HTTP/1.1.
    assert_eq!(upstream.last().head.all("cookie"), ["a=1; b=2; c=3"]);
}

#[test]
fn two_streams_are_served_at_once() {
    let (upstream, gate) = Upstream::holding();
    let gateway = Gateway::with(Backend::all(&upstream));
    block_on(async {
        let mut client = Http2::connect(gateway.addr).await;
        let (held, _) = client.start(client.request("GET", "/hold"), true).await;
        assert!(comes_true(SOON, || upstream.count() == 1).await);
        for _ in 0..3 {
            assert_eq!(client.get("/x").await.json()["target"], "/x");
        }
        gate.open();
        assert_eq!(read(held).await.unwrap().json()["target"], "/hold");
    });
}

#[test]
fn a_hundred_streams_are_served_at_once() {
    let (upstream, gate) = Upstream::holding();
    let gateway = Gateway::with(Backend::all(&upstream));
    block_on(async {
        let mut client = Http2::connect(gateway.addr).await;
        let mut held = Vec::new();
        for i in 0..100 {
            held.push(client.start(client.request("GET", &format!("/hold/{i}")), true).await.0);
        }
        assert!(
            comes_true(SOON, || upstream.count() == 100).await,
            "only {} are under way",
            upstream.count()
        );
        gate.open();
        for (i, answer) in join_all(held.into_iter().map(read)).await.into_iter().enumerate() {
            assert_eq!(answer.unwrap().json()["target"], format!("/hold/{i}"));
        }
    });
    assert!(eventually(SOON, || gateway.in_flight() == 0));
}

#[test]
fn an_upload_under_way_does_not_end_the_connection_of_the_others() {
    let upstream = Upstream::echo();
    let gateway = Gateway::with(Backend::all(&upstream).route("{path: /admin, deny: true}"));
    block_on(async {
        let mut client = Http2::connect(gateway.addr).await;
        let (uploaded, mut upload) = client.start(client.request("POST", "/up"), false).await;
        send(&mut upload, Bytes::from("u".repeat(100_000)), false).await.unwrap();
        assert!(comes_true(SOON, || upstream.count() == 1).await);
        for _ in 0..3 {
            assert_eq!(client.get("/x").await.status, 200);
        }
        // Refused with a body of its own under way.
        let (refused, mut unwanted) = client.start(client.request("POST", "/admin"), false).await;
        send(&mut unwanted, Bytes::from("unwanted"), false).await.unwrap();
        let (head, _) = refused.await.unwrap().into_parts();
        assert_eq!(head.status.as_u16(), 403);
        assert_eq!(client.get("/x").await.status, 200);
        send(&mut upload, Bytes::from("u".repeat(100_000)), true).await.unwrap();
        let answer = read(uploaded).await.expect("the upload was not cut");
        assert_eq!((answer.status, answer.json()["body"].as_str().unwrap().len()), (200, 200_000));
        assert_eq!(client.get("/x").await.status, 200, "the same connection still serves");
    });
}

#[test]
fn interim_answers_never_become_the_final_one() {
    let upstream = Upstream::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 4\r\n\r\nlost",
        Then::Keep,
    );
    let gateway = Gateway::with(Backend::all(&upstream));
    block_on(async {
        let mut client = Http2::connect(gateway.addr).await;
        for _ in 0..2 {
            let answer = client.get("/x").await;
            assert_eq!((answer.status, answer.text().as_str()), (404, "lost"));
            assert_clean(&answer);
        }
        let answer = client.post("/x", "hello").await;
        assert_eq!((answer.status, answer.text().as_str()), (404, "lost"));
    });
}

#[test]
fn a_body_that_breaks_off_resets_its_stream_and_no_other() {
    let gate = Gate::new();
    let theirs = gate.clone();
    let upstream = Upstream::start(move |exchange| {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
        match exchange.target() {
            "/length" => exchange.answer("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf", Then::Reset),
            "/chunked" => exchange.answer(chunked, Then::Close),
            "/stalled" => {
                exchange.answer(chunked, Then::Keep)?;
                exchange.wait_for_close();
                Ok(Then::Drop)
            }
            "/hold" => {
                theirs.wait();
                exchange.ok("whole")
            }
            _ => exchange.ok("next"),
        }
    });
    let backend = Backend::all(&upstream).without_breaker().with("retries: 0").with("idleTimeoutMs: 800");
    let gateway = Gateway::with(backend);
    block_on(async {
        let mut client = Http2::connect(gateway.addr).await;
        let (held, _) = client.start(client.request("GET", "/hold"), true).await;
        assert!(comes_true(SOON, || upstream.count_of("/hold") == 1).await);
        for path in ["/length", "/chunked", "/stalled"] {
            let (answer, _) = client.start(client.request("GET", path), true).await;
            let error = read(answer).await.expect_err(path);
            assert!(error.is_reset() && error.is_remote(), "{path}: {error}");
            assert_ne!(error.reason(), Some(Reason::NO_ERROR), "{path}");
            assert_eq!(client.get("/x").await.text(), "next", "after {path}");
        }
        gate.open();
        assert_eq!(read(held).await.expect("the other stream goes on").text(), "whole");
    });
    assert!(eventually(SOON, || gateway.in_flight() == 0));
}

#[test]
fn large_bodies_stream_both_ways() {
    const SIZE: usize = 32 * MIB;
    let upstream = Upstream::start(|exchange| {
        if exchange.method() == "POST" {
            let counted = exchange.count_body()?;
            return exchange.ok(&counted.to_string());
        }
        exchange.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Then::Keep)?;
        let chunk = [b"100000\r\n", "d".repeat(MIB).as_bytes(), b"\r\n"].concat();
        (0..SIZE / MIB).try_for_each(|_| exchange.wire.write(&chunk))?;
        exchange.wire.write("0\r\n\r\n")?;
        Ok(Then::Keep)
    });
    let gateway = Gateway::builder().server("bodyLimitBytes: 0").backend(Backend::all(&upstream));
    let gateway = gateway.measuring_memory().start();
    block_on(async {
        let mut client = Http2::connect(gateway.addr).await;
        assert_eq!(client.post("/up", "u".repeat(SIZE)).await.text(), SIZE.to_string());
        let answer = client.get("/down").await;
        assert_eq!((answer.status, answer.body.len()), (200, SIZE));
        assert!(answer.body.iter().all(|byte| *byte == b'd'));
    });
    assert!(gateway.peak_memory() < 64 * MIB as u64, "{} MiB", gateway.peak_memory() / MIB as u64);
}

#[test]
fn a_stream_that_is_not_read_holds_up_no_other_and_its_upstream_only_for_the_idle_timeout() {
    const SIZE: usize = 16 * MIB;
    let upstream = Upstream::start(|exchange| {
        if exchange.target() != "/large" {
            return exchange.reply(200, &[("Connection", "close")], b"small").map(|_| Then::Close);
        }
        exchange.answer(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"), Then::Keep)?;
        (0..SIZE / 65536).try_for_each(|_| exchange.wire.write([b'd'; 65536]))?;
        Ok(Then::Drop)
    });
    let gateway = Gateway::with(Backend::all(&upstream).with("idleTimeoutMs: 600"));
    block_on(async {
        let mut client = Http2::connect(gateway.addr).await;
        let (answer, _) = client.start(client.request("GET", "/large"), true).await;
        let (_, mut unread) = answer.await.unwrap().into_parts();
        assert_eq!(client.get("/x").await.text(), "small");
        assert!(comes_true(SOON, || upstream.open() == 0).await, "the upstream is held for ever");
        assert_eq!(client.get("/x").await.text(), "small");
        // Reading on brings what was under way, and then no clean end.
        let mut length = 0;
        let end = loop {
            match unread.data().await {
                Some(Ok(bytes)) => {
                    length += bytes.len();
                    release(&mut unread, bytes.len());
                }
                Some(Err(error)) => break Some(error),
                None => break None,
            }
        };
        assert!(end.is_some() && length < SIZE, "ended cleanly after {length} bytes");
    });
    assert!(eventually(SOON, || gateway.in_flight() == 0));
}

#[test]
fn a_stream_that_the_client_resets_is_cancelled_upstream_and_the_others_go_on() {
    let upstream = Upstream::start(|exchange| match exchange.target() {
        "/silent" => {
            exchange.wait_for_close();
            Ok(Then::Drop)
        }
        "/endless" => {
            exchange.answer("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf", Then::Keep)?;
            exchange.wait_for_close();
            Ok(Then::Drop)
        }
        "/upload" => exchange.count_body().map(|_| Then::Drop),
        _ => exchange.reply(200, &[("Connection", "close")], b"well").map(|_| Then::Close),
    });
    let gateway = Gateway::with(Backend::all(&upstream).with("retries: 0"));
    let mut wrong = Vec::new();
    for path in ["/upload", "/endless", "/silent"] {
        block_on(async {
            let mut client = Http2::connect(gateway.addr).await;
            let method = if path == "/upload" { "POST" } else { "GET" };
            let (answer, mut upload) = client.start(client.request(method, path), method == "GET").await;
            if method == "POST" {
                send(&mut upload, Bytes::from("x".repeat(100_000)), false).await.unwrap();
            }
            assert!(comes_true(SOON, || upstream.count_of(path) == 1).await, "{path}");
            let open = if path == "/endless" { Ok(answer.await.unwrap()) } else { Err(answer) };
            upload.send_reset(Reason::CANCEL);
            if !comes_true(SOON, || upstream.open() == 0).await {
                wrong.push(path);
            }
            drop(open);
            assert_eq!(client.get("/x").await.text(), "well", "{path}");
        });
        // What was not cancelled must not disturb the next round.
        let _ = eventually(Duration::from_secs(12), || upstream.open() == 0);
    }
    assert!(wrong.is_empty(), "the upstream still works for nobody: {wrong:?}");
    assert!(eventually(SOON, || gateway.in_flight() == 0));
}

#[test]
fn a_connection_that_vanishes_cancels_all_its_streams_upstream() {
    let upstream = Upstream::start(|exchange| {
        exchange.wait_for_close();
        Ok(Then::Drop)
    });
    let gateway = Gateway::with(Backend::all(&upstream).with("retries: 0"));
    block_on(async {
        let mut client = Http2::connect(gateway.addr).await;
        let mut answers = Vec::new();
        for i in 0..5 {
            answers.push(client.start(client.request("GET", &format!("/{i}")), true).await);
        }
        assert!(comes_true(SOON, || upstream.count() == 5).await);
        client.vanish();
        assert!(comes_true(SOON, || upstream.open() == 0).await, "{} are still open", upstream.open());
    });
    assert!(eventually(SOON, || gateway.in_flight() == 0));
}

#[test]
fn a_request_body_that_stalls_is_408_and_one_that_is_too_large_413() {
    let upstream = Upstream::echo();
    let backend = Backend::all(&upstream).with("idleTimeoutMs: 400").with("retries: 0");
    let gateway = Gateway::builder().server("bodyLimitBytes: 1000").backend(backend).start();
    block_on(async {
        let mut client = Http2::connect(gateway.addr).await;
        let (answer, mut upload) = client.start(client.request("POST", "/x"), false).await;
        send(&mut upload, Bytes::from("half"), false).await.unwrap();
        let answer = read(answer).await.unwrap();
        assert_eq!((answer.status, answer.header("aegis-reason")), (408, Some("body_timeout")));
        assert_clean(&answer);
        let (answer, mut upload) = client.start(client.request("POST", "/x"), false).await;
        send(&mut upload, Bytes::from("x".repeat(1001)), true).await.unwrap();
        let answer = read(answer).await.unwrap();
        assert_eq!((answer.status, answer.header("aegis-reason")), (413, Some("body_too_large")));
        assert_eq!(client.post("/x", "x".repeat(1000)).await.status, 200, "the connection goes on");
    });
    assert!(upstream.requests().iter().filter(|request| request.complete).count() == 1);
}

#[test]
fn an_idle_connection_is_closed_after_keep_alive_and_a_busy_one_is_not() {
    let (upstream, gate) = Upstream::holding();
    let gateway = Gateway::builder()
        .server("keepAliveMs: 600")
        .server("headerTimeoutMs: 300")
        .backend(Backend::all(&upstream))
        .start();
    block_on(async {
        let mut client = Http2::connect(gateway.addr).await;
        let (held, _) = client.start(client.request("GET", "/hold"), true).await;
        let opens = Arc::new(gate.clone());
        let opening = async move {
            tokio::time::sleep(Duration::from_millis(1500)).await; // longer than every limit of the connection
            let started = Instant::now();
            opens.open();
            started
        };
        let (started, answer) = futures_util::future::join(opening, read(held)).await;
        assert_eq!(answer.expect("a stream under way keeps the connection").status, 200);
        let ended = tokio::time::timeout(SOON, client.ended()).await;
        assert!(ended.is_ok(), "the idle connection stays open");
        assert!(started.elapsed() >= Duration::from_millis(400), "{:?}", started.elapsed());
    });
}
