//! What the gateway adds, removes and leaves alone among the headers (section 6; request ids, section 7).

use serde_json::Value;

use crate::harness::{Backend, Builder, Call, Exchange, Gateway, Upstream};

fn values(echo: &Value, name: &str) -> Vec<String> {
    let pairs = echo["headers"].as_array().unwrap().iter();
    let named = pairs.filter(|pair| pair[0].as_str().unwrap().eq_ignore_ascii_case(name));
    named.map(|pair| pair[1].as_str().unwrap().to_owned()).collect()
}

fn trusting(upstream: &Upstream, networks: &str) -> Builder {
    Gateway::builder().server(&format!("trustedProxies: [{networks}]")).backend(Backend::all(upstream))
}

fn is_uuid_v7(id: &str) -> bool {
    id.len() == 36 && id.as_bytes()[14] == b'7' && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

#[test]
fn hop_by_hop_headers_of_the_request_stop_at_the_gateway() {
    let upstream = Upstream::echo();
    let gateway = Gateway::with(Backend::all(&upstream));
    let seen = gateway
        .send(
            &Call::get("/x")
                .header("Connection", "keep-alive, X-Drop-Me, x-drop-me-too")
                .header("X-Drop-Me", "1")
                .header("X-Drop-Me-Too", "1")
                .header("Keep-Alive", "timeout=5")
                .header("Proxy-Connection", "keep-alive")
                .header("TE", "trailers")
                .header("Trailer", "X-After")
                .header("Upgrade", "h2c")
                .header("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA")
                .header("X-Keep-Me", "1"),
        )
        .json();
    let dropped = [
        "x-drop-me",
        "x-drop-me-too",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
        "http2-settings",
        "transfer-encoding",
    ];
    for name in dropped {
        assert!(values(&seen, name).is_empty(), "{name}: {seen}");
    }
    assert!(!values(&seen, "connection").concat().contains("rop"), "{seen}");
    assert_eq!(values(&seen, "x-keep-me"), ["1"]);
}

#[test]
fn hop_by_hop_headers_of_the_response_stop_at_the_gateway() {
    let upstream = Upstream::start(|exchange| {
        let headers = [
            ("Connection", "X-Inner, keep-alive"),
            ("X-Inner", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "keep-alive"),
            ("Upgrade", "h2c"),
            ("X-Outer", "1"),
        ];
        exchange.reply(200, &headers, b"ok")
    });
    let response = Gateway::with(Backend::all(&upstream)).get("/x");
    assert_eq!(response.status, 200);
    for name in ["x-inner", "keep-alive", "proxy-connection", "upgrade"] {
        assert_eq!(response.header(name), None, "{name}");
    }
    assert!(!response.head.lists("connection", "x-inner"));
    assert_eq!(response.header("x-outer"), Some("1"));
    assert!(response.head.lists("via", "1.1 aegis"), "{:?}", response.head);
}

#[test]
fn a_client_cannot_forge_where_it_comes_from() {
    let upstream = Upstream::echo();
    let gateway = Gateway::with(Backend::all(&upstream));
    let seen = gateway
        .send(
            &Call::get("/x")
                .header("Host", "shop.test")
                .header("X-Forwarded-For", "6.6.6.6")
                .header("X-Forwarded-For", "7.7.7.7")
                .header("X-Forwarded-Proto", "https")
                .header("X-Forwarded-Host", "evil.test")
                .header("X-Real-IP", "6.6.6.6")
                .header("X-Request-ID", "chosen-by-client"),
        )
        .json();
    assert_eq!(values(&seen, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(values(&seen, "x-forwarded-proto"), ["http"]);
    assert_eq!(values(&seen, "x-forwarded-host"), ["shop.test"]);
    assert_eq!(values(&seen, "x-real-ip"), ["127.0.0.1"]);
    assert_eq!(values(&seen, "via"), ["1.1 aegis"]);
    assert!(is_uuid_v7(&values(&seen, "x-request-id")[0]), "{seen}");
}

#[test]
fn a_trusted_proxy_is_believed_and_extended() {
    let upstream = Upstream::echo();
    let gateway = trusting(&upstream, "127.0.0.0/8").start();
    let seen = gateway
        .send(
            &Call::get("/x")
                .header("X-Forwarded-For", "6.6.6.6")
                .header("X-Forwarded-Proto", "https")
                .header("X-Forwarded-Host", "shop.test")
                .header("X-Real-IP", "6.6.6.6")
                .header("X-Request-ID", "chosen.by_proxy-1")
                .header("Via", "1.1 edge"),
        )
        .json();
    assert_eq!(values(&seen, "x-forwarded-for").join(", "), "6.6.6.6, 127.0.0.1");
    assert_eq!(values(&seen, "x-forwarded-proto"), ["https"]);
    assert_eq!(values(&seen, "x-forwarded-host"), ["shop.test"]);
    assert_eq!(values(&seen, "x-real-ip"), ["6.6.6.6"]);
    assert_eq!(values(&seen, "x-request-id"), ["chosen.by_proxy-1"]);
    assert_eq!(values(&seen, "via").join(", "), "1.1 edge, 1.1 aegis");
}

#[test]
fn naming_the_gateways_own_headers_in_connection_does_not_remove_them() {
    let upstream = Upstream::echo();
    let gateway = Gateway::with(Backend::all(&upstream));
    for name in
        ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-IP", "X-Request-ID", "Host"]
    {
        let response = gateway.send(&Call::get("/x").header("Connection", &format!("close, {name}")));
        let kept = response.status == 200 && values(&response.json(), name).len() == 1;
        assert!(kept || response.status == 400, "{name}: {response:?}");
    }
}

#[test]
fn a_request_id_is_kept_from_a_trusted_proxy_only_when_well_formed() {
    let upstream = Upstream::echo();
    let gateway = trusting(&upstream, "127.0.0.1").start();
    let (longest, too_long) = ("a".repeat(128), "a".repeat(129));
    for (sent, kept) in [
        ("abc-DEF_1.2", true),
        (longest.as_str(), true),
        (too_long.as_str(), false),
        ("a b", false),
        ("", false),
        ("a/b", false),
        ("a,b", false),
    ] {
        let response = gateway.send(&Call::get("/x").header("X-Request-ID", sent));
        let id = response.header("x-request-id").unwrap().to_owned();
        assert_eq!(id == sent, kept, "{sent:?} became {id:?}");
        assert!(kept || is_uuid_v7(&id), "{id}");
        assert_eq!(values(&response.json(), "x-request-id"), [id], "the upstream and the client see one id");
    }
}

#[test]
fn the_host_becomes_the_targets_unless_it_is_to_be_preserved() {
    let upstream = Upstream::echo();
    let gateway = Gateway::builder()
        .backend(Backend::named("own").to(&upstream).route("/own"))
        .backend(Backend::named("kept").to(&upstream).route("/kept").with("preserveHost: true"))
        .start();
    let host = |target| {
        let seen = gateway.send(&Call::get(target).header("Host", "shop.test:81")).json();
        values(&seen, "host")
    };
    assert_eq!(host("/own"), [upstream.addr().to_string()]);
    assert_eq!(host("/kept"), ["shop.test:81"]);
}

#[test]
fn no_header_is_invented_for_the_upstream_or_the_client() {
    let upstream = Upstream::start(|exchange| {
        let nothing = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        exchange.answer(nothing, crate::harness::Then::Keep)
    });
    let gateway = Gateway::with(Backend::all(&upstream));
    let response = gateway.get("/x");
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    for name in ["content-type", "set-cookie", "etag", "content-encoding"] {
        assert_eq!(response.header(name), None, "the client got a {name}");
    }
    let seen = upstream.last().head;
    let invented = [
        "content-length",
        "transfer-encoding",
        "content-type",
        "date",
        "accept-encoding",
        "accept",
        "user-agent",
    ];
    for name in invented {
        assert!(seen.all(name).is_empty(), "the upstream got {name}: {seen:?}");
    }
}

#[test]
fn repeated_headers_stay_repeated_and_in_order_both_ways() {
    let upstream = Upstream::start(|exchange: &mut Exchange| {
        assert_eq!(exchange.head.all("x-many"), ["1", "2", "3"]);
        exchange.reply(200, &[("Set-Cookie", "a=1"), ("X-Other", "x"), ("Set-Cookie", "b=2; Path=/")], b"ok")
    });
    let gateway = Gateway::with(Backend::all(&upstream));
    let call = Call::get("/x").header("X-Many", "1").header("X-Many", "2").header("X-Many", "3");
    assert_eq!(gateway.send(&call).head.all("set-cookie"), ["a=1", "b=2; Path=/"]);
    assert_eq!(upstream.last().head.all("x-many"), ["1", "2", "3"]);
}

#[test]
fn traceparent_is_continued_when_valid_and_started_otherwise() {
    let upstream = Upstream::echo();
    let gateway = Gateway::with(Backend::all(&upstream));
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let passed = |sent: Option<&str>| {
        let call = sent.iter().fold(Call::get("/x"), |call, value| call.header("traceparent", value));
        let seen = values(&gateway.send(&call).json(), "traceparent");
        assert_eq!(seen.len(), 1, "{sent:?}");
        let parts: Vec<_> = seen[0].split('-').map(str::to_owned).collect();
        let lengths: Vec<_> = parts.iter().map(String::len).collect();
        assert_eq!(lengths, [2, 32, 16, 2], "{sent:?} became {seen:?}");
        assert!(parts[1].bytes().any(|b| b != b'0') && parts[2].bytes().any(|b| b != b'0'), "{seen:?}");
        parts[1].clone()
    };
    assert_eq!(passed(Some(&format!("00-{trace}-00f067aa0ba902b7-01"))), trace);
    assert_ne!(passed(None), passed(None));
    for bad in ["nonsense", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "ff-x"] {
        assert_ne!(passed(Some(bad)), "00000000000000000000000000000000");
    }
}

#[test]
fn via_is_said_where_the_configuration_says_so() {
    let upstream = Upstream::start(|exchange| {
        exchange.body()?;
        let seen = exchange.head.all("via").join("; ");
        exchange.reply(200, &[("X-Seen", &seen), ("Via", "1.0 inner")], b"ok")
    });
    for (via, request, response) in [
        ("both", "1.0 edge, 1.1 aegis", "1.0 inner, 1.1 aegis"),
        ("response", "1.0 edge", "1.0 inner, 1.1 aegis"),
        ("off", "1.0 edge", "1.0 inner"),
    ] {
        let builder = Gateway::builder().server(&format!("via: {via}"));
        let gateway = builder.backend(Backend::all(&upstream)).start();
        let answer = gateway.send(&Call::get("/x").header("Via", "1.0 edge"));
        assert_eq!((answer.header("x-seen"), answer.header("via")), (Some(request), Some(response)), "{via}");
    }
}

#[test]
fn alternatives_of_the_target_are_no_ways_to_the_gateway() {
    let upstream = Upstream::start(|exchange| {
        exchange.reply(200, &[("Alt-Svc", "h3=\":8443\""), ("alt-svc", "h2=\":9443\"")], b"ok")
    });
    let gateway = Gateway::builder()
        .backend(Backend::named("passing").to(&upstream).route("/passing").with("passAltSvc: true"))
        .backend(Backend::all(&upstream))
        .start();
    assert_eq!(gateway.get("/x").header("alt-svc"), None);
    assert_eq!(gateway.get("/passing").head.all("alt-svc"), ["h3=\":8443\"", "h2=\":9443\""]);
}

#[test]
fn a_blank_before_the_colon_of_an_answers_field_does_not_go_on() {
    let bytes = "HTTP/1.1 200 OK\r\nContent-Length : 2\r\nX-One \t : 1\r\nX-Two:2\r\nX-None :\r\n\r\nok";
    let upstream = Upstream::answering(bytes, crate::harness::Then::Keep);
    let gateway = Gateway::with(Backend::all(&upstream));
    // The client reads strictly.
    let response = gateway.get("/x");
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    for (name, value) in [("x-one", "1"), ("x-two", "2"), ("x-none", "")] {
        assert_eq!(response.header(name), Some(value), "{response:?}");
    }
}
