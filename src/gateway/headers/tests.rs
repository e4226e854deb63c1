//! What an upstream gets of a request's fields, and a client of an answer's.

use actix_http::{Method, Version};

use super::*;
use crate::gateway::request_body::RequestFraming;
use crate::gateway::request_parts::RequestTarget;

fn map(fields: &[(&'static str, &'static str)]) -> Fields {
    let mut map = Fields::default();
    fields.iter().for_each(|(name, value)| map.push(name, value.as_bytes()));
    map
}

/// What the upstream would receive of `fields`, beside `Host` and framing.
fn sent(fields: &[(&'static str, &'static str)], trusted: bool) -> Vec<(String, String)> {
    let mut fields = map(fields);
    fields.push("Host", b"a.test");
    let trace = Trace::of(&fields, (1, 2));
    let (client, hops) = if trusted { (Some([2, 2, 2, 2].into()), 1) } else { (None, 0) };
    let (peer, request_id, trace) = ("9.9.9.9", b"id-1", &trace);
    let identity_fields = &IdentityFields::new(&Default::default());
    let stripped = Some("/own/");
    let facts = Forwarding {
        peer,
        client,
        hops,
        trusted,
        secure: false,
        request_id,
        trace,
        via: true,
        stripped,
        identity_fields,
        identity: None,
        credentials: Credentials::default(),
        certificate: None,
    };
    let head = RequestParts {
        method: Method::OPTIONS,
        target: RequestTarget::parse("/").unwrap(),
        version: Version::HTTP_11,
        fields,
        framing: RequestFraming::None,
        persists: true,
        upgrade: None,
        expects: false,
    };
    let mut lines = Vec::new();
    to_upstream(&head, &facts, &mut lines);
    let lines = String::from_utf8(lines).unwrap();
    let pairs = lines.lines().map(|line| line.split_once(": ").unwrap());
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn passing(limited: bool) -> Passing {
    Passing { upgrade: false, limited, alt_svc: false, via: true }
}

fn get<'a>(sent: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    let named = sent.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.as_str()).collect()
}

#[test]
fn nothing_a_client_says_about_itself_survives() {
    let sent = sent(
        &[
            ("x-forwarded-for", "6.6.6.6"),
            ("X-Real-IP", "6.6.6.6"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.test"),
            ("X-Forwarded-Anything-That-Is-Longer", "evil"),
            ("X-Forwarded-Prefix", "evil"),
            ("x.forwarded.port", "evil"),
            ("X-Original-URL", "evil"),
            ("x_rewrite_url", "evil"),
            ("Client-Cert-Chain", "evil"),
            ("forwarded", "for=6.6.6.6"),
            ("X-User-ID", "evil"),
            ("x_user_id", "evil"),
            ("x-user_roles", "evil"),
            ("x_forwarded_for", "6.6.6.6"),
            ("x_app_field", "kept"),
        ],
        false,
    );
    for (_, value) in &sent {
        assert!(!value.contains("6.6.6.6") && !value.contains("evil") && value != "https", "{sent:?}");
    }
    assert_eq!(get(&sent, "x_app_field"), ["kept"]);
    assert_eq!(get(&sent, "x-forwarded-host"), ["a.test"]);
    assert_eq!(get(&sent, "x-forwarded-for"), ["9.9.9.9"]);
}

#[test]
fn a_trusted_proxys_chain_is_extended() {
    let fields = [
        ("x-forwarded-for", "1.1.1.1"),
        ("X-Forwarded-For", "2.2.2.2"),
        ("x_forwarded_for", "3.3.3.3"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-prefix", "/a"),
        ("X-Real-IP", "6.6.6.6"),
        ("Forwarded", "for=6.6.6.6;host=evil.test"),
    ];
    let sent = sent(&fields, true);
    assert_eq!(get(&sent, "x-forwarded-for"), ["2.2.2.2, 9.9.9.9"]);
    assert_eq!(get(&sent, "x-forwarded-proto"), ["https"]);
    assert_eq!(get(&sent, "x-forwarded-prefix"), ["/a/own"]);
    assert_eq!(get(&sent, "x-real-ip"), ["2.2.2.2"]);
    assert_eq!(get(&sent, "forwarded"), ["for=2.2.2.2;host=a.test;proto=https"]);
}

#[test]
fn hop_by_hop_fields_go_and_nominations_cannot_remove_what_the_gateway_adds() {
    let sent = sent(
        &[
            ("connection", "close, X-Hop, x-forwarded-for"),
            ("x-hop", "1"),
            ("keep-alive", "5"),
            ("te", "gzip"),
            ("via", "1.0 other"),
            ("x-end", "1"),
        ],
        false,
    );
    for gone in ["connection", "x-hop", "keep-alive", "te"] {
        assert!(get(&sent, gone).is_empty(), "{gone}");
    }
    assert_eq!(get(&sent, "x-end"), ["1"]);
    assert_eq!(get(&sent, "x-forwarded-for"), ["9.9.9.9"]);
    assert_eq!(get(&sent, "via"), ["1.0 other, 1.1 aegis"]);
}

#[test]
fn a_cookie_in_pieces_becomes_one_and_each_hop_is_counted() {
    let sent = sent(&[("cookie", "a=1"), ("cookie", "b=2"), ("max-forwards", "7")], false);
    assert_eq!((get(&sent, "cookie"), get(&sent, "max-forwards")), (vec!["a=1; b=2"], vec!["6"]));
}

#[test]
fn repeated_fields_stay_repeated() {
    let mut fields = map(&[("set-cookie", "a=1"), ("set-cookie", "b=2"), ("via", "1.0 other")]);
    to_client(&mut fields, passing(false));
    assert_eq!(fields.get_all("set-cookie").count(), 2);
    assert_eq!(fields.get_all("via").collect::<Vec<_>>(), [b"1.0 other, 1.1 aegis"]);
}

#[test]
fn what_the_gateway_says_itself_no_upstream_says() {
    let theirs = [
        ("x-request-id", "theirs"),
        ("ratelimit", "1"),
        ("ratelimit-policy", "1"),
        ("X-RateLimit-Limit", "1"),
        ("x-ratelimit-remaining", "1"),
        ("x-ratelimit-reset", "1"),
        ("x-ratelimit-resource", "core"),
    ];
    for (limited, left) in [(false, 6), (true, 1)] {
        let mut fields = map(&theirs);
        to_client(&mut fields, passing(limited));
        assert!(fields.get("x-request-id").is_none());
        let quotas = fields.iter().filter(|(name, _)| name.to_ascii_lowercase().contains("ratelimit"));
        assert_eq!(quotas.count(), left);
    }
}
