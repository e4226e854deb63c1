//! HTTP/2 towards the client: what one connection may hold, and how it ends at a stop.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::http2::{Http2, block_on, comes_true, read};
use crate::harness::{Backend, Gateway, SOON, Upstream, eventually};

#[test]
fn a_client_that_opens_streams_without_end_and_takes_no_answers_is_cut() {
    let upstream = Upstream::echo();
    let gateway = Gateway::with(Backend::named("main").to(&upstream).route("/a"));
    let mut client = TcpStream::connect(gateway.addr).unwrap();
    // SETTINGS_INITIAL_WINDOW_SIZE is 0: no byte of any answer's body is taken.
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    client.write_all(b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0").unwrap();
    let mut settings = [0; 64];
    assert!(client.read(&mut settings).unwrap() > 0);
    let opened = (0..5_000_u32).take_while(|n| {
        // HEADERS that end the stream: GET http://a.test/nope.
        let mut frame = b"\0\0\x10\x01\x05\0\0\0\0\x82\x86\x44\x05/nope\x41\x06a.test".to_vec();
        frame[2] = (frame.len() - 9) as u8;
        frame[5..9].copy_from_slice(&(2 * n + 1).to_be_bytes());
        client.write_all(&frame).is_ok()
    });
    let opened = opened.count();
    // Reads until the gateway has closed: an end or a reset.
    client.set_read_timeout(Some(SOON)).unwrap();
    let end = client.read_to_end(&mut Vec::new());
    let is_end = |error: &std::io::Error| error.kind() != std::io::ErrorKind::WouldBlock;
    assert!(end.as_ref().err().is_none_or(is_end), "{opened} opened, and the connection is still there");
    assert!(eventually(SOON, || gateway.in_flight() == 0));
    // What is beyond the announced number of streams is reset, and no request that a log could tell of.
    let served = gateway.log().matches("\"reason\":\"no_route\"").count();
    assert!(served <= 256, "{opened} opened: {served} served");
    assert_eq!(gateway.get("/a").status, 200);
}

#[test]
fn a_head_over_http_2_has_the_bounds_of_one_over_http_1() {
    let upstream = Upstream::echo();
    let gateway = Gateway::with(Backend::all(&upstream));
    block_on(async {
        let mut client = Http2::connect(gateway.addr).await;
        for (fields, length, status) in [(250, 10, 200), (257, 10, 431), (1, 120_000, 200), (2, 70_000, 431)]
        {
            let mut request = client.request("GET", "/x");
            for n in 0..fields {
                let name = http::HeaderName::try_from(format!("x-{n}")).unwrap();
                request.headers_mut().insert(name, "v".repeat(length).parse().unwrap());
            }
            let (answer, _) = client.start(request, true).await;
            assert_eq!(read(answer).await.unwrap().status, status, "{fields} fields of {length}");
        }
        // Cookies come as a field each.
        let mut request = client.request("GET", "/x");
        for n in 0..300 {
            request.headers_mut().append("cookie", format!("c{n}=v").parse().unwrap());
        }
        let (answer, _) = client.start(request, true).await;
        assert_eq!(read(answer).await.unwrap().status, 200);
    });
}

#[test]
fn a_request_that_is_refused_ends_no_connection_that_others_use() {
    let (upstream, gate) = Upstream::holding();
    let gateway = Gateway::with(Backend::all(&upstream).with("idleTimeoutMs: 300"));
    block_on(async {
        let mut client = Http2::connect(gateway.addr).await;
        let (held, _) = client.start(client.request("GET", "/hold"), true).await;
        let (stalled, _body) = client.start(client.request("POST", "/x"), false).await;
        let answer = read(stalled).await.unwrap();
        assert_eq!((answer.status, answer.header("aegis-reason")), (408, Some("body_timeout")));
        // For longer than a connection that closes lasts.
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_millis(1500) {
            assert_eq!(client.get("/x").await.status, 200);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        gate.open();
        assert_eq!(read(held).await.unwrap().status, 200);
        assert_eq!(client.get("/x").await.status, 200);
    });
}

#[test]
fn a_stop_ends_http_2_connections_however_busy_they_are_and_loses_no_answer() {
    let (upstream, gate) = Upstream::holding();
    let builder = Gateway::builder().server("shutdownTimeoutMs: 60000").backend(Backend::all(&upstream));
    let mut gateway = builder.start();
    block_on(async {
        let mut idle = Http2::connect(gateway.addr).await;
        assert_eq!(idle.get("/x").await.status, 200);
        let mut busy = Http2::connect(gateway.addr).await;
        let (held, _) = busy.start(busy.request("GET", "/hold"), true).await;
        assert!(comes_true(SOON, || upstream.count_of("/hold") == 1).await);
        gateway.signal("TERM");
        // As long as it is not told that the connection ends, each of its requests is answered.
        let mut answered = 0;
        loop {
            let request = busy.request("GET", "/x");
            let Ok((answer, _)) = busy.try_start(request).await else { break };
            match read(answer).await {
                Ok(answer) => assert_eq!(answer.status, 200, "{answer:?}"),
                Err(error) => {
                    assert!(error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR), "{error}");
                    break;
                }
            }
            answered += 1;
        }
        assert!(answered > 0);
        // What had begun is answered whole, however long that takes.
        gate.open();
        assert_eq!(read(held).await.unwrap().status, 200);
        let _ = idle.ended().await;
    });
    assert_eq!(gateway.exit(SOON).and_then(|status| status.code()), Some(0));
}
