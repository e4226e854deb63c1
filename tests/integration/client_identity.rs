//! Who the client is, told to the upstream in one voice (section 6): `X-Real-IP`, `X-Forwarded-*`, `Forwarded`.

use serde_json::Value;

use crate::harness::h2_client::{Outcome, RawHttp2};
use crate::harness::hpack::Block;
use crate::harness::{Backend, Builder, Call, Gateway, Upstream};

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn values(seen: &Value, name: &str) -> Vec<String> {
    let pairs = seen["headers"].as_array().unwrap().iter();
    let named = pairs.filter(|pair| pair[0].as_str().unwrap().eq_ignore_ascii_case(name));
    named.map(|pair| pair[1].as_str().unwrap().to_owned()).collect()
}

/// In front of an upstream that echoes; peers on loopback are proxies, as is whoever is in 10.0.0.0/8.
fn trusting(upstream: &Upstream) -> Builder {
    let route = "{path: /own/**, stripPrefix: /own}";
    Gateway::builder()
        .server("trustedProxies: [127.0.0.0/8, 10.0.0.0/8]")
        .backend(Backend::named("own").to(upstream).route(route))
        .backend(Backend::all(upstream))
}

fn ask(gateway: &Gateway, target: &str, fields: Pairs<'_>) -> Value {
    let call = Call::get(target).header("Host", "shop.test");
    let response = gateway.send(&fields.iter().fold(call, |call, (name, value)| call.header(name, value)));
    assert_eq!(response.status, 200, "{fields:?}: {}", response.text());
    response.json()
}

fn ask_http2(gateway: &Gateway, target: &str, fields: Pairs<'_>) -> Value {
    let mut client = RawHttp2::connect(gateway.addr);
    let block = fields.iter().fold(Block::request("GET", target), |block, (name, value)| {
        block.field(name.to_ascii_lowercase(), value)
    });
    client.headers(1, &block, true);
    match client.outcome(1) {
        Outcome::Answer(reply) => serde_json::from_slice(&reply.body).unwrap(),
        other => panic!("{fields:?}: {other:?}"),
    }
}

/// What no upstream may read as anything but the gateway's word. Some read any byte that is no letter or digit as `-`.
fn spellings(name: &str) -> Vec<String> {
    let other = |byte: &str| name.replace('-', byte);
    let mut all: Vec<String> =
        ["-", "_", ".", "~", "!", "*", "+", "|", "'", "`", "^", "#", "$", "%", "&"].map(other).into();
    all.push(name.replacen('-', "_", 1));
    all.push(other("_").to_ascii_uppercase());
    all.push(other(".").to_ascii_lowercase());
    all
}

const FAMILY: [&str; 18] = [
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Prefix",
    "X-Forwarded-Port",
    "X-Forwarded-Server",
    "X-Forwarded-By",
    "X-Forwarded-Scheme",
    "X-Forwarded-Ssl",
    "X-Forwarded-User",
    "X-Forwarded-Client-Cert",
    "X-Forwarded-Whatever-May-Come-To-Somebodys-Mind",
    "X-Real-IP",
    "Forwarded",
    "X-Original-URL",
    "X-Rewrite-URL",
    "Client-Cert",
    "Client-Cert-Chain",
];

const IDENTITY: [&str; 5] = ["X-User-ID", "X-User-Email", "X-User-Roles", "X-User-Tier", "X-Auth-Type"];

fn assert_clean(seen: &Value, name: &str) {
    assert!(!seen["headers"].to_string().contains("evil"), "{name}: {}", seen["headers"]);
}

#[test]
fn nothing_that_a_peer_says_of_itself_arrives_in_any_spelling() {
    let upstream = Upstream::echo();
    let gateway = Gateway::with(Backend::all(&upstream));
    for name in FAMILY.iter().chain(&IDENTITY) {
        for name in spellings(name) {
            assert_clean(&ask(&gateway, "/x", &[(&name, "evil"), ("X-App", "kept")]), &name);
        }
        assert_clean(&ask_http2(&gateway, "/x", &[(name, "evil")]), name);
    }
    for kept in [
        "X-Forward",
        "X-Forwarded",
        "X-Real-IPs",
        "X-User",
        "X-User-IDs",
        "Forwarded-To",
        "X-Original",
        "Client-Certs-Of",
    ] {
        let seen = ask(&gateway, "/x", &[(kept, "kept")]);
        let family = kept.starts_with("Client-Cert");
        assert_eq!(values(&seen, kept).len(), usize::from(!family), "{kept}: {seen}");
    }
}

#[test]
fn identity_fields_come_from_nobody() {
    let upstream = Upstream::echo();
    let gateway = trusting(&upstream).start();
    for name in IDENTITY.iter().flat_map(|name| spellings(name)) {
        assert_clean(&ask(&gateway, "/x", &[(&name, "evil")]), &name);
    }
}

#[test]
fn a_look_alike_of_a_trusted_proxys_field_is_not_its_word() {
    let upstream = Upstream::echo();
    let gateway = trusting(&upstream).start();
    for name in [
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Prefix",
        "X-Real-IP",
        "Forwarded",
    ] {
        let alike = spellings(name).into_iter().filter(|spelling| !spelling.eq_ignore_ascii_case(name));
        for alike in alike {
            assert_clean(&ask(&gateway, "/x", &[(&alike, "evil")]), &alike);
        }
    }
    let seen = ask(
        &gateway,
        "/x",
        &[("X-Forwarded-Port", "8443"), ("Client-Cert", ":abc:"), ("X-Original-URL", "/y")],
    );
    for (name, value) in [("x-forwarded-port", "8443"), ("client-cert", ":abc:"), ("x-original-url", "/y")] {
        assert_eq!(values(&seen, name), [value], "{seen}");
    }
}

#[test]
fn every_field_tells_of_the_client_that_was_found() {
    let upstream = Upstream::echo();
    let gateway = trusting(&upstream).start();
    for (chain, client, told) in [
        (&[][..], "127.0.0.1", "127.0.0.1"),
        (&["203.0.113.9"], "203.0.113.9", "203.0.113.9, 127.0.0.1"),
        (&["6.6.6.6, 203.0.113.9"], "203.0.113.9", "203.0.113.9, 127.0.0.1"),
        (&["6.6.6.6", "203.0.113.9"], "203.0.113.9", "203.0.113.9, 127.0.0.1"),
        (&["203.0.113.9,10.1.1.1", "10.2.2.2"], "203.0.113.9", "203.0.113.9, 10.1.1.1, 10.2.2.2, 127.0.0.1"),
        (&["6.6.6.6, evil, 10.1.1.1"], "10.1.1.1", "10.1.1.1, 127.0.0.1"),
        (&["203.0.113.9, evil"], "127.0.0.1", "127.0.0.1"),
        (&["203.0.113.9,"], "203.0.113.9", "203.0.113.9, 127.0.0.1"),
        (&["203.0.113.9, , 10.1.1.1"], "203.0.113.9", "203.0.113.9, 10.1.1.1, 127.0.0.1"),
        (&["203.0.113.9:4711"], "203.0.113.9", "203.0.113.9:4711, 127.0.0.1"),
        (&["[2001:db8::9]:4711"], "2001:db8::9", "[2001:db8::9]:4711, 127.0.0.1"),
        (&["::ffff:203.0.113.9"], "203.0.113.9", "::ffff:203.0.113.9, 127.0.0.1"),
    ] {
        let mut fields = vec![("X-Real-IP", "6.6.6.6"), ("Forwarded", "for=6.6.6.6;host=evil;proto=https")];
        fields.extend(chain.iter().map(|value| ("X-Forwarded-For", *value)));
        for seen in [ask(&gateway, "/x", &fields), ask_http2(&gateway, "/x", &fields)] {
            assert_eq!(values(&seen, "x-real-ip"), [client], "{chain:?}");
            assert_eq!(values(&seen, "x-forwarded-for"), [told], "{chain:?}");
            let node = if client.contains(':') { format!("\"[{client}]\"") } else { client.to_owned() };
            assert_eq!(
                values(&seen, "forwarded"),
                [format!("for={node};host={};proto=http", values(&seen, "x-forwarded-host")[0])],
                "{chain:?}"
            );
            assert!(!seen["headers"].to_string().contains("6.6.6.6"), "{seen}");
        }
    }
    // The log means the same one.
    ask(&gateway, "/logged", &[("X-Forwarded-For", "198.51.100.7")]);
    assert!(crate::harness::eventually(crate::harness::SOON, || {
        gateway
            .log()
            .lines()
            .any(|line| line.contains("/logged") && line.contains(r#""clientIp":"198.51.100.7""#))
    }));
}

#[test]
fn who_says_nothing_of_forwarded_gets_none_and_a_trusted_word_on_the_scheme_counts() {
    let upstream = Upstream::echo();
    let gateway = trusting(&upstream).start();
    let seen = ask(&gateway, "/x", &[]);
    for absent in ["forwarded", "x-forwarded-prefix"] {
        assert!(values(&seen, absent).is_empty(), "{seen}");
    }
    let fields =
        [("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "front.test"), ("Forwarded", "proto=gopher")];
    let seen = ask(&gateway, "/x", &fields);
    assert_eq!(values(&seen, "x-forwarded-proto"), ["https"]);
    assert_eq!(values(&seen, "x-forwarded-host"), ["front.test"]);
    assert_eq!(values(&seen, "forwarded"), ["for=127.0.0.1;host=front.test;proto=https"]);
}

#[test]
fn what_of_the_path_the_upstream_does_not_see_it_is_told() {
    let upstream = Upstream::echo();
    let trusting = trusting(&upstream).start();
    let seen = ask(&trusting, "/own/x", &[]);
    assert_eq!(
        (values(&seen, "x-forwarded-prefix"), seen["target"].as_str()),
        (vec!["/own".into()], Some("/x"))
    );
    let seen = ask(&trusting, "/own/x", &[("X-Forwarded-Prefix", "/front")]);
    assert_eq!(values(&seen, "x-forwarded-prefix"), ["/front/own"]);
    let route = "{path: /own/**, stripPrefix: /own}";
    let other = Gateway::with(Backend::named("own").to(&upstream).route(route));
    let seen = ask(&other, "/own/x", &[("X-Forwarded-Prefix", "/evil")]);
    assert_eq!(values(&seen, "x-forwarded-prefix"), ["/own"]);
}
