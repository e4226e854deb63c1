//! The connection to the client: expectations, HTTP/1.0, pipelining, half-close, limits (section 6).

use crate::harness::{Backend, Broken, Call, Client, Gateway, Then, Upstream};

#[test]
fn expect_100_continue_gets_its_interim_answer_before_the_body_is_sent() {
    let upstream = Upstream::echo();
    let gateway = Gateway::with(Backend::all(&upstream));
    let mut client = gateway.client();
    client.write("POST /x HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let interim = client.wire().through(b"\r\n\r\n").unwrap().unwrap();
    assert!(interim.starts_with(b"HTTP/1.1 100"), "{}", String::from_utf8_lossy(&interim));
    client.write("hello");
    let response = client.read("POST").unwrap();
    assert_eq!((response.status, &response.json()["body"]), (200, &"hello".into()));
    assert_eq!(client.get("/next").status, 200);
}

#[test]
fn a_request_that_will_be_refused_gets_no_100_continue() {
    let upstream = Upstream::echo();
    let gateway = Gateway::with(Backend::all(&upstream).route("{path: /admin, deny: true}"));
    let mut client = gateway.client();
    client.write("POST /admin HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let response = client.read("POST").unwrap();
    response.assert_problem(403, "denied");
    assert!(response.interim.is_empty());
}

#[test]
fn a_client_that_speaks_http_1_0_gets_no_chunked_coding() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let upstream = Upstream::answering(chunked, Then::Keep);
    let gateway = Gateway::with(Backend::all(&upstream));
    let mut client = gateway.client();
    let response = client.send(&Call::get("/x").http10());
    assert_eq!((response.status, response.text().as_str()), (200, "hello"));
    assert_eq!(response.header("transfer-encoding"), None);
    assert!(client.ends(), "a connection of HTTP/1.0 closes after the answer");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::echo();
    let gateway = Gateway::with(Backend::all(&upstream));
    let mut client = gateway.client();
    let mut bytes = Vec::new();
    for i in 0..5 {
        bytes.extend(Call::post(&format!("/{i}"), format!("body {i}")).bytes("a.test"));
    }
    client.write(bytes);
    for i in 0..5 {
        let seen = client.read("POST").unwrap().json();
        assert_eq!((&seen["target"], &seen["body"]), (&format!("/{i}").into(), &format!("body {i}").into()));
    }
}

#[test]
fn a_client_that_ends_its_side_after_the_request_is_answered_or_given_up_cleanly() {
    let upstream = Upstream::ok("answer");
    let gateway = Gateway::with(Backend::all(&upstream));
    let mut client = gateway.client();
    client.start(&Call::get("/x"));
    client.wire().finish_writing();
    match client.read("GET") {
        Ok(response) => assert_eq!(response.text(), "answer"),
        Err(Broken::Closed) => {}
        Err(other) => panic!("{other:?}"),
    }
    assert_eq!(gateway.get("/y").status, 200);
}

#[test]
fn connections_are_reused_on_both_sides() {
    let upstream = Upstream::echo();
    let gateway = Gateway::builder().server("workers: 1").backend(Backend::all(&upstream)).start();
    let mut client = gateway.client();
    for i in 0..20 {
        assert_eq!(client.send(&Call::post("/x", format!("{i}"))).json()["body"], format!("{i}"));
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn connection_close_from_the_client_is_honoured_and_stays_between_the_two() {
    let upstream = Upstream::ok("ok");
    let gateway = Gateway::builder().server("workers: 1").backend(Backend::all(&upstream)).start();
    for _ in 0..3 {
        let mut client = gateway.client();
        let response = client.send(&Call::get("/x").header("Connection", "close"));
        assert!(response.head.lists("connection", "close"), "{:?}", response.head);
        assert!(client.ends());
    }
    assert_eq!(upstream.connections(), 1, "the upstream's connection is not the client's");
}

#[test]
fn a_body_over_the_limit_is_413_and_never_a_whole_request_upstream() {
    let upstream = Upstream::echo();
    let gateway = Gateway::builder()
        .server("bodyLimitBytes: 1000")
        .backend(Backend::all(&upstream).route("{path: /large, bodyLimitBytes: 0}"))
        .start();
    let (fits, over) = (vec![b'x'; 1000], vec![b'x'; 1001]);
    let many = vec![fits.as_slice(); 300];
    for (name, call) in [
        ("stated", Call::post("/x", over.clone())),
        ("chunked", Call::new("POST", "/x").chunks(&[&over])),
        ("in many chunks", Call::new("POST", "/x").chunks(&many)),
    ] {
        let response = gateway.client().try_send(&call).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        response.assert_problem(413, "body_too_large");
    }
    assert!(upstream.requests().iter().all(|request| !request.complete), "{:?}", upstream.requests());
    assert_eq!(gateway.send(&Call::post("/x", fits.clone())).status, 200);
    assert_eq!(gateway.send(&Call::new("POST", "/x").chunks(&[&fits])).status, 200);
    assert_eq!(gateway.send(&Call::post("/large", over)).status, 200, "a route's own limit counts");
}

#[test]
fn the_body_of_a_refused_request_never_becomes_a_request() {
    let upstream = Upstream::echo();
    let gateway = Gateway::with(Backend::all(&upstream).route("{path: /admin/**, deny: true}"));
    let hidden = "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";
    for (name, call) in [
        ("content-length", Call::post("/admin/x", hidden)),
        ("chunked", Call::new("POST", "/admin/x").chunks(&[hidden.as_bytes()])),
        ("unsent", Call::post("/admin/x", "").header("Expect", "100-continue")),
    ] {
        let mut client = gateway.client();
        client.send(&call).assert_problem(403, "denied");
        // Either the next request gets its own answer, or the connection is over.
        client.write(Call::get("/next").bytes("a.test"));
        match client.read("GET") {
            Ok(next) => assert_eq!(next.json()["target"], "/next", "after {name}"),
            Err(Broken::Closed) => {}
            Err(other) => panic!("{name}: {other:?}"),
        }
    }
    assert_eq!(upstream.count_of("/smuggled"), 0);
}

#[test]
fn an_idle_client_connection_is_closed_after_its_keep_alive() {
    let upstream = Upstream::ok("ok");
    // The time of a head is no help: it is longer than the test would wait.
    let builder = Gateway::builder().server("keepAliveMs: 300").server("headerTimeoutMs: 60000");
    let gateway = builder.backend(Backend::all(&upstream)).start();
    let mut client: Client = gateway.client();
    assert_eq!(client.get("/x").status, 200);
    assert!(client.ends());
}
