//! Messages of every framing pass intact, both ways (section 6; A4).

use crate::harness::{Backend, Call, Gateway, Then, Upstream};

/// Name, what the upstream sends and does then, and the status and body that must arrive.
type Case = (&'static str, &'static str, Then, u16, &'static str);

const RESPONSES: &[Case] = &[
    ("content-length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Then::Keep, 200, "hello"),
    ("an empty body", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Then::Keep, 200, ""),
    (
        "chunked",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;ext=1\r\nlo\r\n0\r\n\r\n",
        Then::Keep,
        200,
        "hello",
    ),
    (
        "chunked with trailers",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-After: 1\r\n\r\n",
        Then::Keep,
        200,
        "hello",
    ),
    ("close-delimited", "HTTP/1.1 200 OK\r\n\r\nhello", Then::Close, 200, "hello"),
    (
        "announced close-delimited",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello",
        Then::Close,
        200,
        "hello",
    ),
    ("HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nhello", Then::Close, 200, "hello"),
    ("HTTP/1.0 with length", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", Then::Close, 200, "hello"),
    ("204", "HTTP/1.1 204 No Content\r\n\r\n", Then::Keep, 204, ""),
    ("304", "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n", Then::Keep, 304, ""),
    (
        "304 with content-length",
        "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 5\r\n\r\n",
        Then::Keep,
        304,
        "",
    ),
    (
        "103 and then 200",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        Then::Keep,
        200,
        "hello",
    ),
    (
        "100, 102 and then 404",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 4\r\n\r\nlost",
        Then::Keep,
        404,
        "lost",
    ),
    ("a status nobody knows", "HTTP/1.1 299 Odd\r\nContent-Length: 2\r\n\r\nok", Then::Keep, 299, "ok"),
    ("a server error", "HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops", Then::Keep, 500, "oops"),
    ("no reason phrase", "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", Then::Keep, 200, "ok"),
];

#[test]
fn responses_of_every_framing_arrive_as_they_were_sent() {
    let upstream = Upstream::start(|exchange| {
        let case = exchange.target().trim_start_matches("/").parse::<usize>();
        let Ok(case) = case else { return exchange.ok("next") };
        let (_, bytes, then, ..) = RESPONSES[case];
        exchange.answer(bytes, then)
    });
    let gateway = Gateway::with(Backend::all(&upstream).with("retries: 0"));
    for (i, (name, _, _, status, body)) in RESPONSES.iter().enumerate() {
        let mut client = gateway.client();
        let response = client.get(&format!("/{i}"));
        assert_eq!((response.status, response.text().as_str()), (*status, *body), "{name}");
        assert_eq!(response.reason(), None, "{name}");
        assert!(response.interim.iter().all(|s| *s != 101), "{name}");
        if response.keeps_alive() {
            assert_eq!(client.get("/next").text(), "next", "the request after {name}");
        }
    }
}

#[test]
fn a_304_keeps_its_content_length_and_validators() {
    let bytes = "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 5\r\n\r\n";
    let upstream = Upstream::answering(bytes, Then::Keep);
    let gateway = Gateway::with(Backend::all(&upstream));
    let mut client = gateway.client();
    for _ in 0..2 {
        let response = client.get("/x");
        assert_eq!(response.status, 304);
        assert_eq!(response.header("etag"), Some("\"a\""));
        assert_eq!(response.header("content-length"), Some("5"));
    }
}

#[test]
fn the_answer_to_a_head_request_keeps_its_length_and_has_no_body() {
    let upstream = Upstream::start(|exchange| match exchange.target() {
        "/long" => exchange.answer("HTTP/1.1 200 OK\r\nContent-Length: 1234567\r\n\r\n", Then::Keep),
        "/chunked" => exchange.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Then::Keep),
        "/bare" => exchange.answer("HTTP/1.1 200 OK\r\n\r\n", Then::Keep),
        _ => exchange.ok("next"),
    });
    let gateway = Gateway::with(Backend::all(&upstream));
    let mut client = gateway.client();
    let long = client.send(&Call::new("HEAD", "/long"));
    assert_eq!((long.status, long.header("content-length")), (200, Some("1234567")));
    assert_eq!(client.get("/next").text(), "next");
    for target in ["/chunked", "/bare"] {
        let mut client = gateway.client();
        let response = client.send(&Call::new("HEAD", target));
        assert_eq!((response.status, response.header("content-length")), (200, None), "{target}");
        if response.keeps_alive() {
            assert_eq!(client.get("/next").text(), "next", "after {target}");
        }
    }
}

#[test]
fn request_bodies_of_every_framing_arrive_as_they_were_sent() {
    let upstream = Upstream::echo();
    let gateway = Gateway::with(Backend::all(&upstream));
    let large = "0123456789abcdef".repeat(20_000);
    let halves = [&large.as_bytes()[..100_000], &large.as_bytes()[100_000..]];
    for (name, call, body, length) in [
        ("content-length", Call::post("/x", "hello"), "hello", Some("5")),
        ("no bytes", Call::post("/x", ""), "", Some("0")),
        ("chunked", Call::new("PUT", "/x").chunks(&[b"hel", b"lo"]), "hello", None),
        ("chunked and empty", Call::new("POST", "/x").chunks(&[]), "", None),
        ("large", Call::post("/x", large.as_str()), &large, Some("320000")),
        ("large and chunked", Call::new("POST", "/x").chunks(&halves), &large, None),
        ("a body on GET", Call::get("/x").body("hello"), "hello", Some("5")),
        ("a body on DELETE", Call::new("DELETE", "/x").body("hello"), "hello", Some("5")),
    ] {
        let mut client = gateway.client();
        assert_eq!(client.send(&call).status, 200, "{name}");
        let seen = upstream.last();
        assert!(seen.complete && seen.body == body.as_bytes(), "{name}: {} bytes", seen.body.len());
        if let Some(length) = length {
            assert_eq!(seen.head.get("content-length"), Some(length), "{name}");
            assert!(seen.head.all("transfer-encoding").is_empty(), "{name}");
        }
        assert_eq!(client.get("/next").status, 200, "the request after {name}");
    }
}

#[test]
fn a_query_behind_no_path_goes_upstream_behind_a_slash() {
    let upstream = Upstream::echo();
    let gateway = Gateway::with(Backend::all(&upstream));
    assert_eq!(gateway.get("http://a.test?x=1").json()["target"], "/?x=1");
    assert_eq!(gateway.get("http://a.test").json()["target"], "/");
}

#[test]
fn methods_and_odd_but_lawful_requests_pass_unchanged() {
    let upstream = Upstream::echo();
    let gateway = Gateway::with(Backend::all(&upstream));
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "X-Custom"] {
        assert_eq!(gateway.send(&Call::new(method, "/x")).json()["method"], method);
    }
    let long = "v".repeat(4000);
    let response =
        gateway.send(&Call::get(&format!("/x?q={long}")).header("X-Long", &long).header("X-Empty", ""));
    assert_eq!(response.json()["target"], format!("/x?q={long}"));
    assert_eq!(upstream.last().head.get("x-long"), Some(long.as_str()));
    assert_eq!(upstream.last().head.get("x-empty"), Some(""));
}

#[test]
fn a_chunked_body_beside_a_content_length_arrives_whole_without_the_length_and_ends_its_connection() {
    for length in [3, 5, 9] {
        let (length, coding) =
            (format!("Content-Length: {length}\r\n"), "Transfer-Encoding: chunked\r\n".to_owned());
        for fields in [[length.clone(), coding.clone()].concat(), [coding, length].concat()] {
            let bytes = format!("HTTP/1.1 200 OK\r\n{fields}\r\n5\r\nhello\r\n0\r\n\r\n");
            let upstream = Upstream::answering(bytes, Then::Keep);
            let gateway = Gateway::builder().server("workers: 1").backend(Backend::all(&upstream)).start();
            let mut client = gateway.client();
            for _ in 0..2 {
                let response = client.get("/x");
                assert_eq!((response.status, response.text().as_str()), (200, "hello"), "{fields:?}");
                assert_eq!(response.header("content-length"), None, "{fields:?}");
                assert!(response.head.lists("transfer-encoding", "chunked"), "{fields:?}: {response:?}");
            }
            assert_eq!(upstream.connections(), 2, "{fields:?}: such a connection is not trusted again");
        }
    }
}

#[test]
fn an_upstreams_answer_that_looks_like_one_of_actix_is_the_upstreams() {
    const BARE: &str =
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n";
    let lower = BARE.to_lowercase().replace("http/1.1 400 bad request", "HTTP/1.1 400 Bad Request");
    let lower = lower.replace("thu, 01 jan", "Thu, 01 Jan").replace("gmt", "GMT");
    let text = lower.clone();
    let upstream = Upstream::start(move |exchange| match exchange.target() {
        "/bare" => exchange.answer(BARE, Then::Keep),
        "/431" => exchange.answer(BARE.replace("400 Bad Request", "431 Too Large"), Then::Keep),
        "/text" => exchange.reply(200, &[], text.as_bytes()),
        _ => {
            let chunk = format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len());
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            exchange.answer(format!("{head}{chunk}"), Then::Keep)
        }
    });
    let gateway = Gateway::with(Backend::all(&upstream));
    let mut client = gateway.client();
    for _ in 0..2 {
        for (target, status) in [("/bare", 400), ("/431", 431)] {
            let response = client.get(target);
            assert_eq!(
                (response.status, response.header("content-length")),
                (status, Some("0")),
                "{response:?}"
            );
            assert_eq!((response.reason(), response.header("via")), (None, Some("1.1 aegis")), "{target}");
        }
        for target in ["/text", "/chunked"] {
            assert_eq!(client.get(target).text(), lower, "{target}");
        }
    }
    // And actix's own is told as ever.
    client.send(&Call::new("GET", "/x").header("bad name", "x")).assert_problem(400, "bad_request");
}
