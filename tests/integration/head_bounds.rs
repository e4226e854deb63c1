//! What the heads of requests and answers may hold, as keys of the configuration (section 2).

use crate::harness::h2_client::{Outcome, RawHttp2};
use crate::harness::hpack::Block;
use crate::harness::{Backend, Call, Gateway, Then, Upstream};

fn many(mut call: Call, fields: usize, value: &str) -> Call {
    for n in 0..fields {
        call = call.header(&format!("X-{n}"), value);
    }
    call
}

/// Status and body.
fn over_http2(gateway: &Gateway, fields: usize, value: &str) -> (u16, String) {
    let mut client = RawHttp2::connect(gateway.addr);
    client.headers(1, &Block::request("GET", "/x").numbered(fields, "x-", value), true);
    match client.outcome(1) {
        Outcome::Answer(reply) => (reply.status, String::from_utf8(reply.body).unwrap()),
        other => panic!("{fields} fields: {other:?}"),
    }
}

#[test]
fn a_request_head_beyond_its_bounds_is_431_and_told_them() {
    let upstream = Upstream::ok("ok");
    let gateway = Gateway::builder()
        .server("maxHeadBytes: 2000")
        .server("maxHeadFields: 20")
        .backend(Backend::all(&upstream))
        .start();
    let told = "2000 bytes or 20 fields";
    // `Host` is one of HTTP/1.1's fields.
    for (fields, length, status) in
        [(19, 1, 200), (20, 1, 431), (300, 1, 431), (1, 1800, 200), (1, 2000, 431), (1, 300_000, 431)]
    {
        let value = "v".repeat(length);
        let response = gateway.send(&many(Call::get("/x"), fields, &value));
        assert_eq!(response.status, status, "{fields} of {length} bytes: {response:?}");
        assert!(status == 200 || response.text().contains(told), "{}", response.text());
        if status == 431 {
            response.assert_problem(431, "bad_request");
        }
    }
    for (fields, length, status) in [(19, 1, 200), (21, 1, 431), (1, 1800, 200), (1, 2000, 431)] {
        let (seen, text) = over_http2(&gateway, fields, &"v".repeat(length));
        assert_eq!(seen, status, "{fields} of {length} bytes over HTTP/2: {text}");
        assert!(status == 200 || text.contains(told), "{text}");
    }
}

#[test]
fn a_request_head_larger_than_usual_passes_where_it_may() {
    let upstream = Upstream::echo();
    let gateway = Gateway::builder()
        .server("maxHeadBytes: 1000000")
        .server("maxHeadFields: 2000")
        .backend(Backend::all(&upstream))
        .start();
    for (fields, length) in [(1500, 10), (4, 200_000), (1900, 400)] {
        let value = "v".repeat(length);
        let arrived = |seen: serde_json::Value| {
            let pairs = seen["headers"].as_array().unwrap().iter();
            pairs.filter(|pair| pair[1] == value.as_str()).count()
        };
        let response = gateway.send(&many(Call::get("/x"), fields, &value));
        assert_eq!(response.status, 200, "{fields} of {length} bytes: {}", response.text());
        assert_eq!(arrived(response.json()), fields);
        let (status, text) = over_http2(&gateway, fields, &value);
        assert_eq!(status, 200, "{fields} of {length} bytes over HTTP/2: {text}");
        assert_eq!(arrived(serde_json::from_str(&text).unwrap()), fields);
    }
}

/// An upstream whose answers have as many fields as the path says, of so many bytes each.
fn rich() -> Upstream {
    Upstream::start(|exchange| {
        let mut numbers = exchange.target().split('/').filter_map(|part| part.parse().ok());
        let (fields, length) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(1));
        let value = "v".repeat(length);
        let lines: String = (1..fields).map(|n| format!("X-{n}: {value}\r\n")).collect();
        exchange.answer(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{lines}\r\nok"), Then::Keep)
    })
}

#[test]
fn a_response_head_beyond_its_bounds_is_a_bad_response() {
    let upstream = rich();
    let backend =
        |name: &str| Backend::named(name).to(&upstream).route(&format!("/{name}/**")).without_breaker();
    let gateway = Gateway::builder()
        .backend(backend("usual"))
        .backend(backend("small").with("maxHeadBytes: 2000").with("maxHeadFields: 10"))
        .backend(backend("large").with("maxHeadBytes: 1000000").with("maxHeadFields: 5000"))
        .start();
    for (target, is_good) in [
        ("/usual/512/1", true),
        ("/usual/513/1", false),
        ("/usual/2/250000", true),
        ("/usual/2/270000", false),
        ("/small/10/1", true),
        ("/small/11/1", false),
        ("/small/2/1900", true),
        ("/small/2/2000", false),
        ("/small/2/90000", false),
        ("/large/5000/100", true),
        ("/large/5001/1", false),
        ("/large/3/400000", true),
        ("/large/3/600000", false),
    ] {
        let response = gateway.get(target);
        if is_good {
            let fields: usize = target.split('/').nth(2).unwrap().parse().unwrap();
            let passed = response.head.headers.iter().filter(|(name, _)| name[2..].parse::<usize>().is_ok());
            assert_eq!((response.status, passed.count()), (200, fields - 1), "{target}");
        } else {
            assert_eq!(response.status, 502, "{target}");
            response.assert_problem(502, "upstream_bad_response");
        }
    }
}
