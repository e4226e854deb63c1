//! Answers whose bytes go past awc and actix: large, of known length, towards HTTP/1.1 (section 6).

use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use crate::harness::{
    Authority, Backend, Broken, Call, Client, Folder, Framing, Gate, Gateway, Response, SOON, Then, Upstream,
    eventually,
};

const LARGEST: usize = 8_000_000;

/// A body that shows where a byte of it was lost, repeated or moved.
fn numbered(size: usize) -> &'static [u8] {
    static LONGEST: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut bytes = Vec::with_capacity(LARGEST);
        (0..LARGEST as u64 / 8).for_each(|i| bytes.extend_from_slice(&i.to_be_bytes()));
        bytes
    });
    &LONGEST[..size]
}

/// Answers `/SIZE` with so many bytes.
fn sized() -> Upstream {
    Upstream::start(|exchange| {
        let size = exchange.target().trim_start_matches('/').parse().unwrap_or(0);
        exchange.reply(200, &[("ETag", "\"x\"")], numbered(size))
    })
}

fn assert_whole(response: &Response, size: usize) {
    assert_eq!((response.status, response.body.len()), (200, size));
    assert!(response.body == numbered(size), "the bytes of {size} are not those sent");
    assert_eq!(response.head.all("content-length"), [size.to_string()], "{size}");
    assert_eq!(response.head.get("transfer-encoding"), None, "{size}");
    assert_eq!(response.head.get("etag"), Some("\"x\""), "{size}");
    assert_eq!(response.head.all("x-request-id").len(), 1, "{size}");
}

const SIZES: [usize; 9] = [0, 1, 16_383, 16_384, 65_000, 65_536, 102_400, 1_000_000, 5_000_001];

#[test]
fn bodies_of_every_size_arrive_byte_for_byte_and_both_connections_go_on() {
    let upstream = sized();
    let gateway = Gateway::with(Backend::all(&upstream));
    let mut client = gateway.client();
    for size in SIZES.into_iter().chain(SIZES.into_iter().rev()) {
        assert_whole(&client.get(&format!("/{size}")), size);
    }
    assert_eq!(upstream.connections(), 1, "the connection to the upstream is used again");
    let sent = format!(r#""bytesOut":{}"#, SIZES[8]);
    assert!(eventually(SOON, || gateway.log().matches(&sent).count() == 2), "what passes by is counted too");
    assert_eq!(gateway.in_flight(), 0);
}

#[test]
fn the_same_under_tls() {
    let (authority, upstream, folder) = (Authority::new(), sized(), Folder::new());
    let (cert, key) = authority.issue(&["127.0.0.1"]).write_pem(folder.path());
    let files = format!("tls: {{certFile: \"{}\", keyFile: \"{}\"}}", cert.display(), key.display());
    let gateway = Gateway::builder().server(&files).backend(Backend::all(&upstream)).start();
    let (mut client, _) = Client::secure(gateway.addr, &authority.client(&["http/1.1"])).unwrap();
    for size in SIZES {
        assert_whole(&client.get(&format!("/{size}")), size);
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = sized();
    let gateway = Gateway::with(Backend::all(&upstream));
    let mut client = gateway.client();
    let sizes = [200_000, 10, 70_000, 300_000, 0];
    let requests: String =
        sizes.iter().map(|size| format!("GET /{size} HTTP/1.1\r\nHost: a.test\r\n\r\n")).collect();
    client.write(requests);
    for size in sizes {
        assert_whole(&client.read("GET").unwrap(), size);
    }
}

#[test]
fn clients_that_may_not_know_the_framing_and_heads_alone_get_what_they_asked_for() {
    let upstream = sized();
    let gateway = Gateway::with(Backend::all(&upstream));
    assert_whole(&gateway.send(&Call::get("/200000").http10()), 200_000);
    let head = gateway.send(&Call::new("HEAD", "/200000"));
    assert_eq!((head.status, head.body.len(), head.header("content-length")), (200, 0, Some("200000")));
}

#[test]
fn an_answer_that_breaks_off_is_cut_and_its_connection_is_not_used_again() {
    for (then, sent) in [(Then::Close, 100_000), (Then::Reset, 100_000), (Then::Close, 0)] {
        let upstream = Upstream::start(move |exchange| {
            exchange.wire.write("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n")?;
            exchange.wire.write(numbered(sent))?;
            Ok(then)
        });
        let gateway = Gateway::with(Backend::all(&upstream).without_breaker());
        for round in 1..=2 {
            match gateway.client().try_send(&Call::get("/x")) {
                Err(Broken::Cut(response)) => assert!(response.body.len() <= sent, "{sent}"),
                Err(Broken::Closed) => {}
                other => panic!("{sent}: {other:?}"),
            }
            assert_eq!(upstream.connections(), round);
        }
        assert!(eventually(SOON, || gateway.log().matches(r#""reason":"upstream_reset""#).count() == 2));
    }
}

#[test]
fn an_upstream_that_falls_silent_inside_a_large_answer_is_given_up() {
    let released = Gate::new();
    let theirs = released.clone();
    let upstream = Upstream::start(move |exchange| {
        exchange.wire.write("HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n")?;
        exchange.wire.write(numbered(100_000))?;
        theirs.wait();
        Ok(Then::Drop)
    });
    let gateway = Gateway::with(Backend::all(&upstream).without_breaker().with("idleTimeoutMs: 300"));
    let cut = gateway.client().try_send(&Call::get("/x"));
    assert!(matches!(&cut, Err(Broken::Cut(response)) if response.body.len() == 100_000), "{cut:?}");
    assert!(eventually(SOON, || gateway.in_flight() == 0));
    released.open();
}

#[test]
fn the_head_does_not_wait_for_the_body() {
    let released = Gate::new();
    let theirs = released.clone();
    let upstream = Upstream::start(move |exchange| {
        exchange.wire.write("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")?;
        theirs.wait();
        exchange.wire.write(numbered(100_000))?;
        Ok(Then::Keep)
    });
    let gateway = Gateway::with(Backend::all(&upstream));
    let mut client = gateway.client();
    client.start(&Call::get("/x"));
    assert_eq!(client.read_head("GET").unwrap().header("content-length"), Some("100000"));
    released.open();
    let mut body = Vec::new();
    client.wire().body(Framing::Length(100_000), &mut |piece| body.extend_from_slice(piece)).unwrap();
    assert!(body == numbered(100_000));
}

#[test]
fn a_client_that_goes_away_takes_the_upstream_connection_with_it() {
    let upstream = Upstream::start(|exchange| {
        exchange.wire.write("HTTP/1.1 200 OK\r\nContent-Length: 900000000\r\n\r\n")?;
        while exchange.wire.write(numbered(65_536)).is_ok() {}
        Ok(Then::Drop)
    });
    let gateway = Gateway::with(Backend::all(&upstream));
    let mut client = gateway.client();
    client.start(&Call::get("/x"));
    client.read_head("GET").unwrap();
    drop(client);
    assert!(eventually(SOON, || upstream.open() == 0), "the upstream is told");
    assert!(eventually(SOON, || gateway.in_flight() == 0));
    assert_eq!(gateway.circuit("main"), "closed", "that was not the upstream's fault");
}

#[test]
fn a_client_that_reads_slowly_holds_up_its_own_upstream_connection_only() {
    let upstream = sized();
    let gateway = Gateway::with(Backend::all(&upstream));
    let mut slow = gateway.client();
    slow.start(&Call::get("/8000000"));
    let quick: Vec<_> = (0..4)
        .map(|_| {
            let mut client = gateway.client();
            thread::spawn(move || (0..5).for_each(|_| assert_whole(&client.get("/1000000"), 1_000_000)))
        })
        .collect();
    quick.into_iter().for_each(|thread| thread.join().unwrap());
    assert_whole(&slow.read("GET").unwrap(), LARGEST);
}

#[test]
fn an_early_answer_to_an_upload_that_goes_on_is_whole() {
    let done: Arc<Gate> = Arc::default();
    let theirs = done.clone();
    let upstream = Upstream::start(move |exchange| {
        exchange.wire.write("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n")?;
        exchange.wire.write(numbered(200_000))?;
        theirs.wait();
        Ok(Then::Drop)
    });
    let gateway = Gateway::with(Backend::all(&upstream));
    let mut client = gateway.client();
    client.write("POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\n");
    client.write(vec![b'u'; 1000]);
    let response = client.read("POST").unwrap();
    assert!(response.body == numbered(200_000));
    done.open();
    drop(client);
    assert!(eventually(Duration::from_secs(10), || gateway.in_flight() == 0));
}

#[test]
fn a_stop_and_a_client_that_asks_for_the_last_answer_get_all_of_it() {
    let released = Gate::new();
    let theirs = released.clone();
    let upstream = Upstream::start(move |exchange| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGEST}\r\n\r\n");
        exchange.answer(head, Then::Keep)?;
        exchange.wire.write(numbered(100_000))?;
        theirs.wait();
        exchange.wire.write(&numbered(LARGEST)[100_000..])?;
        Ok(Then::Keep)
    });
    // Not a matter of speed.
    let mut gateway =
        Gateway::builder().server("shutdownTimeoutMs: 30000").backend(Backend::all(&upstream)).start();
    let (mut last, mut stopped) = (gateway.client(), gateway.client());
    last.start(&Call::get("/x").header("Connection", "close"));
    stopped.start(&Call::get("/x"));
    for client in [&mut last, &mut stopped] {
        client.read_head("GET").unwrap();
    }
    gateway.signal("TERM");
    assert!(eventually(SOON, || gateway.log().contains("stopping")));
    released.open();
    for client in [&mut last, &mut stopped] {
        let mut body = Vec::new();
        client
            .wire()
            .body(Framing::Length(LARGEST as u64), &mut |piece| body.extend_from_slice(piece))
            .unwrap();
        assert!(body == numbered(LARGEST));
        assert!(client.ends());
    }
    assert!(gateway.exit(SOON).is_some_and(|status| status.success()));
}
