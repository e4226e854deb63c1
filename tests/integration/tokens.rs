//! Tokens: who has a good one comes in (section 9).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::identity::{Got, Way, sha256};
use crate::harness::limits::unix_now;
use crate::harness::tokens::{SECRET, claims, hs256, issuer, part, signed, token};
use crate::harness::{
    Backend, Builder, Frame, Gateway, Opcode, Upstream, WebSocket, echo_websocket, upgrade_request,
};

const KEY: &str = "a-key-of-ann";

/// Echoes what arrives, and speaks websockets.
fn upstream() -> Upstream {
    Upstream::start(|exchange| match exchange.head.get("upgrade") {
        Some(_) => echo_websocket(exchange),
        None => exchange.echo(),
    })
}

fn guarded(upstream: &Upstream, auth: &str, routes: &[&str]) -> Builder {
    let backend =
        routes.iter().fold(Backend::named("main").to(upstream), |backend, route| backend.route(route));
    Gateway::builder().top(&format!("auth: {{enabled: true, {auth}}}")).backend(backend)
}

fn bearer(gateway: &Gateway, way: Way, target: &str, token: &str) -> Got {
    gateway.ask(way, "GET", target, &[("Authorization", &format!("Bearer {token}"))])
}

fn reason(got: &Got) -> &str {
    got.reason.as_deref().unwrap_or("")
}

#[test]
fn good_tokens_pass_and_bad_ones_do_not_whatever_is_bad() {
    let upstream = upstream();
    let auth =
        format!("failureLimit: {{failures: 0}}, apiKey: {{enabled: false}}, issuers: [{}]", issuer(""));
    let gateway = guarded(&upstream, &auth, &["/**"]).start();
    let now = unix_now();
    let with_header = |header: Value| hs256(SECRET, &header, &claims(json!({})));
    let good = [
        token(json!({})),
        token(json!({"aud": ["other", "api"]})),
        token(json!({"exp": now + 60, "nbf": now - 5})),
        token(json!({"exp": (now + 60) as f64 + 0.5})),
        token(json!({"exp": now - 20})),
        token(json!({"exp": 1_000_000_000_000_000_000_u64})),
        token(json!({"iat": null})),
        token(json!({"sub": "grüße"})),
        with_header(json!({"alg": "HS256"})),
        with_header(json!({"alg": "HS256", "typ": "at+jwt"})),
        with_header(json!({"alg": "HS256", "typ": "application/AT+JWT"})),
        with_header(json!({"alg": "HS256", "jku": "http://127.0.0.1:1/keys", "x5t": "abc"})),
        with_header(json!({"alg": "HS256", "kid": "any"})),
    ];
    let whole = token(json!({}));
    let parts: Vec<&str> = whole.split('.').collect();
    let own = claims(json!({})).to_string();
    let twice = |member: &str| format!("{},{member}}}", &own[..own.len() - 1]);
    let header = r#"{"alg":"HS256"}"#;
    let bad = [
        "x".to_owned(),
        "a.b".to_owned(),
        "a.b.c".to_owned(),
        format!("{whole}.d"),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}..{}", parts[0], parts[2]),
        format!("{}.{}.{}", part(r#"{"alg":"none"}"#), parts[1], ""),
        format!("{}.{}.{}", part(r#"{"alg":"none"}"#), parts[1], parts[2]),
        format!("{}.{}.{}=", parts[0], parts[1], parts[2]),
        hs256("another-secret-another-secret-another-secret", &json!({"alg": "HS256"}), &claims(json!({}))),
        with_header(json!({"alg": "hs256"})),
        with_header(json!({"alg": "HS512"})),
        with_header(json!({"alg": "RS256"})),
        with_header(json!({"alg": ["HS256"]})),
        with_header(json!({})),
        with_header(json!({"alg": "HS256", "crit": ["exp"]})),
        with_header(json!({"alg": "HS256", "crit": []})),
        with_header(json!({"alg": "HS256", "zip": "DEF"})),
        with_header(json!({"alg": "HS256", "enc": "A128GCM"})),
        with_header(json!({"alg": "HS256", "b64": false})),
        with_header(json!({"alg": "HS256", "typ": "logout+jwt"})),
        with_header(json!({"alg": "HS256", "typ": "dpop+jwt"})),
        with_header(json!({"alg": "HS256", "kid": 7})),
        with_header(json!({"alg": "HS256", "kid": "k".repeat(300)})),
        token(json!({"exp": null})),
        token(json!({"exp": "soon"})),
        token(json!({"exp": -1})),
        token(json!({"exp": [now + 60]})),
        token(json!({"exp": 1e99})),
        token(json!({"nbf": now + 600})),
        token(json!({"nbf": "0"})),
        token(json!({"iat": now + 600})),
        token(json!({"iss": null})),
        token(json!({"iss": "https://id.test/"})),
        token(json!({"iss": "https://ID.test"})),
        token(json!({"iss": ["https://id.test"]})),
        token(json!({"iss": 7})),
        token(json!({"aud": null})),
        token(json!({"aud": "ap"})),
        token(json!({"aud": []})),
        token(json!({"aud": ["api", 1]})),
        token(json!({"sub": null})),
        token(json!({"sub": ""})),
        token(json!({"sub": 7})),
        token(json!({"sub": "a\r\nX-User-Roles: admin"})),
        token(json!({"sub": "s".repeat(257)})),
        token(json!({"roles": ["a\nb"]})),
        token(json!({"cnf": {"jkt": "abc"}})),
        token(json!({"cnf": {"x5t#S256": "abc"}})),
        signed(SECRET, header, &twice(r#""sub":"bob""#)),
        signed(SECRET, header, &twice(r#""roles":["admin"],"roles":[]"#)),
        signed(SECRET, header, &twice(r#""\u0065xp":9999999999"#)),
        signed(SECRET, r#"{"alg":"HS256","alg":"HS256"}"#, &own),
        signed(SECRET, header, "[1,2,3,4,5]"),
        signed(SECRET, header, &format!("{own}x")),
        signed(SECRET, header, &format!("\u{feff}{own}")),
        signed(SECRET, header, &"[".repeat(5000)),
        token(json!({"big": "b".repeat(17_000)})),
    ];
    for way in Way::ALL {
        for token in &good {
            let got = bearer(&gateway, way, "/x", token);
            assert!(got.passed(), "{way:?} {token}: {got:?}");
        }
        let before = upstream.count();
        let missing = gateway.ask(way, "GET", "/x", &[]);
        assert_eq!((missing.status, missing.challenges.concat().as_str()), (401, r#"Bearer realm="aegis""#));
        for token in &bad {
            let got = bearer(&gateway, way, "/x", token);
            assert_eq!((got.status, reason(&got)), (401, "auth_invalid"), "{way:?} {token}");
            assert_eq!(got.challenges, [r#"Bearer realm="aegis", error="invalid_token""#]);
        }
        let old = bearer(&gateway, way, "/x", &token(json!({"exp": now - 60})));
        assert_eq!((old.status, reason(&old)), (401, "auth_expired"));
        assert_eq!(old.challenges, [r#"Bearer realm="aegis", error="invalid_token""#]);
        for authorization in [
            "Basic YTpi",
            "Bearer",
            "Bearer  a",
            "Negotiate x",
            "",
            &format!("Bearer {whole}, Bearer {whole}"),
        ] {
            let got = gateway.ask(way, "GET", "/x", &[("Authorization", authorization)]);
            assert_eq!((got.status, reason(&got)), (401, "auth_invalid"), "{way:?} {authorization}");
        }
        let value = format!("Bearer {whole}");
        let two = gateway.ask(way, "GET", "/x", &[("Authorization", &value), ("Authorization", &value)]);
        assert_eq!((two.status, reason(&two)), (400, "bad_request"));
        let query = gateway.ask(way, "GET", &format!("/x?access_token={whole}"), &[]);
        assert_eq!(reason(&query), "auth_missing");
        assert_eq!(upstream.count(), before);
        for scheme in ["bearer", "BEARER"] {
            let value = format!("{scheme} {whole}");
            assert!(gateway.ask(way, "GET", "/x", &[("Authorization", &value)]).passed());
        }
    }
}

#[test]
fn each_byte_of_a_token_counts_also_where_it_was_verified_before() {
    let upstream = upstream();
    let auth = format!("failureLimit: {{failures: 0}}, issuers: [{}]", issuer(""));
    let gateway = guarded(&upstream, &auth, &["/**"]).start();
    let whole = token(json!({}));
    assert_eq!(bearer(&gateway, Way::Http1, "/x", &whole).status, 200);
    for at in (0..whole.len()).step_by(7) {
        let mut other = whole.clone().into_bytes();
        other[at] = if other[at] == b'A' { b'B' } else { b'A' };
        let got = bearer(&gateway, Way::Http1, "/x", &String::from_utf8(other).unwrap());
        assert_eq!(reason(&got), "auth_invalid", "byte {at}");
    }
}

#[test]
fn an_upstream_is_told_what_the_token_says() {
    let upstream = upstream();
    let auth = format!(
        "claimHeaders: {{X-Tenant: org.tenant, X-Groups: groups, X-None: nothing}}, issuers: [{}]",
        issuer(", rolesClaim: realm.roles")
    );
    let gateway = guarded(&upstream, &auth, &["/**"]).start();
    let said = json!({
        "email": "ann@x.test", "email_verified": true, "tier": "pro", "realm": {"roles": ["reader", "a,admin"]},
        "org": {"tenant": "red"}, "groups": ["g1", 2, true],
    });
    assert_eq!(bearer(&gateway, Way::Http1, "/x", &token(said)).status, 200);
    let head = upstream.last().head;
    for (name, value) in [
        ("x-user-id", Some("ann")),
        ("x-user-email", Some("ann@x.test")),
        ("x-user-tier", Some("pro")),
        ("x-user-roles", Some("reader,a%2Cadmin")),
        ("x-auth-type", Some("jwt")),
        ("x-tenant", Some("red")),
        ("x-groups", Some("g1,2,true")),
        ("x-none", None),
        ("authorization", None),
    ] {
        assert_eq!(head.get(name), value, "{name}");
    }
    // A field loses outer spaces, and a service decodes: neither may make one user or role out of another.
    let alike = json!({"sub": " ann", "realm": {"roles": [" admin", "%61dmin"]}, "groups": [["a,b", "c"]], "org": {"tenant": "red "}});
    assert_eq!(bearer(&gateway, Way::Http1, "/x", &token(alike)).status, 200);
    let head = upstream.last().head;
    for (name, value) in [
        ("x-user-id", "%20ann"),
        ("x-user-roles", "%20admin,%2561dmin"),
        ("x-tenant", "red%20"),
        ("x-groups", "a%252Cb%2Cc"),
    ] {
        assert_eq!(head.get(name), Some(value), "{name}");
    }
    let control = token(json!({"org": {"tenant": "a\r\nX-Evil: 1"}}));
    assert_eq!(reason(&bearer(&gateway, Way::Http1, "/x", &control)), "auth_invalid");
}

#[test]
fn what_a_route_wants_is_judged_for_a_known_token_too() {
    let upstream = upstream();
    let other = "{name: other, issuer: 'https://other.test', audience: api, secret: 'another-secret-another-secret-another-secret'}";
    let routes = [
        "/any",
        "{path: /scopes, scopes: [read, write]}",
        "{path: /own, auth: {any: ['jwt:id']}}",
        "{path: /other, auth: {any: ['jwt:other']}}",
        "{path: /claims, claims: {org.plan: [team, solo]}}",
    ];
    let auth = format!("apiKey: {{enabled: false}}, issuers: [{}, {other}]", issuer(""));
    let gateway = guarded(&upstream, &auth, &routes).start();
    let mine = token(json!({"scope": "read", "org": {"plan": "free"}}));
    for _ in 0..2 {
        for (target, expected) in [
            ("/any", ""),
            ("/scopes", "insufficient_scope"),
            ("/own", ""),
            ("/other", "auth_invalid"),
            ("/claims", "rbac_denied"),
        ] {
            assert_eq!(reason(&bearer(&gateway, Way::Http1, target, &mine)), expected, "{target}");
        }
    }
    let lacking = bearer(&gateway, Way::Http1, "/scopes", &mine);
    assert_eq!(
        lacking.challenges,
        [r#"Bearer realm="aegis", error="insufficient_scope", scope="read write""#]
    );
    let able = token(json!({"scope": "write read", "org": {"plan": "team"}}));
    assert_eq!(
        (
            bearer(&gateway, Way::Http1, "/scopes", &able).status,
            bearer(&gateway, Way::Http1, "/claims", &able).status
        ),
        (200, 200)
    );
    // A secret of one entry serves no other.
    let crossed = hs256(SECRET, &json!({"alg": "HS256"}), &claims(json!({"iss": "https://other.test"})));
    assert_eq!(reason(&bearer(&gateway, Way::Http1, "/any", &crossed)), "auth_invalid");
    let metrics = gateway.ask_admin(crate::harness::Call::get("/metrics")).text();
    assert!(metrics.contains("aegis_auth_cache_total{cache=\"token\",result=\"hit\"}"), "{metrics}");
}

#[test]
fn of_a_key_and_a_token_each_must_be_right_and_the_order_of_the_route_says_who_it_is() {
    let upstream = upstream();
    let keys = format!(
        "{{id: k1, hashes: ['{}'], userId: ann, roles: [from-key]}}, {{id: k2, hashes: ['{}'], userId: bob}}",
        sha256(KEY),
        sha256("bobs")
    );
    let auth =
        format!("failureLimit: {{failures: 0}}, apiKey: {{keys: [{keys}]}}, issuers: [{}]", issuer(""));
    let routes = [
        "/any",
        "{path: /key-first, auth: {any: [apiKey, jwt]}}",
        "{path: /both, auth: {all: [apiKey, jwt]}}",
        "{path: /key-only, auth: {any: [apiKey]}}",
    ];
    let gateway = guarded(&upstream, &auth, &routes).start();
    let good = format!("Bearer {}", token(json!({})));
    let cases = [
        ("/any", Some(KEY), Some(good.as_str()), "jwt"),
        ("/any", Some(KEY), None, "apiKey"),
        ("/any", None, Some(&*good), "jwt"),
        ("/any", Some("wrong"), Some(&*good), "auth_invalid"),
        ("/any", Some(KEY), Some("Bearer a.b.c"), "auth_invalid"),
        ("/any", Some("bobs"), Some(&*good), "auth_invalid"),
        ("/key-first", Some(KEY), Some(&*good), "apiKey"),
        ("/both", Some(KEY), Some(&*good), "apiKey"),
        ("/both", Some("bobs"), Some(&*good), "apiKey"),
        ("/both", Some(KEY), None, "auth_missing"),
        ("/both", None, Some(&*good), "auth_missing"),
        ("/key-only", Some(KEY), Some("Bearer a.b.c"), "apiKey"),
        ("/key-only", None, Some(&*good), "auth_missing"),
    ];
    for way in Way::ALL {
        for (target, key, authorization, expected) in cases {
            let fields = [("X-API-Key", key), ("Authorization", authorization)];
            let fields: Vec<_> =
                fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
            let got = gateway.ask(way, "GET", target, &fields);
            if got.passed() {
                assert_eq!(upstream.last().head.get("x-auth-type"), Some(expected), "{target} {fields:?}");
            } else {
                assert_eq!(reason(&got), expected, "{target} {fields:?}");
            }
        }
    }
}

#[test]
fn after_many_wrong_credentials_an_address_is_refused_and_others_are_not() {
    let upstream = upstream();
    let auth = format!(
        "failureLimit: {{failures: 5, windowSeconds: 3600}}, apiKey: {{keys: [{{id: k1, hashes: ['{}']}}]}}, issuers: [{}]",
        sha256(KEY),
        issuer("")
    );
    let gateway = guarded(&upstream, &auth, &["/**"])
        .server("trustedProxies: [127.0.0.0/8]")
        .server("workers: 1")
        .start();
    let ask = |client: &str, name: &str, value: &str| {
        gateway.ask(Way::Http1, "GET", "/x", &[("X-Forwarded-For", client), (name, value)])
    };
    let known = format!("Bearer {}", token(json!({})));
    assert_eq!(ask("198.51.100.1", "Authorization", &known).status, 200);
    // What is old is no guess.
    for _ in 0..10 {
        let old = format!("Bearer {}", token(json!({"exp": 1_000})));
        assert_eq!(reason(&ask("198.51.100.1", "Authorization", &old)), "auth_expired");
    }
    for n in 0..5 {
        let (name, value) = if n % 2 == 0 { ("Authorization", "Bearer a.b.c") } else { ("X-API-Key", "x") };
        assert_eq!(reason(&ask("198.51.100.1", name, value)), "auth_invalid", "{n}");
    }
    let another = format!("Bearer {}", token(json!({"jti": "another"})));
    for (name, value) in [("Authorization", "Bearer a.b.c"), ("X-API-Key", "x"), ("Authorization", &*another)]
    {
        let got = ask("198.51.100.1", name, value);
        assert_eq!((got.status, reason(&got)), (429, "auth_throttled"), "{name}");
    }
    assert_eq!(ask("198.51.100.1", "Authorization", &known).status, 200, "a token that is known");
    assert_eq!(ask("198.51.100.1", "X-API-Key", KEY).status, 200, "a key that is known");
    assert_eq!(ask("198.51.100.2", "Authorization", &another).status, 200, "another client");
    assert_eq!(reason(&ask("198.51.100.2", "X-API-Key", "x")), "auth_invalid");
    // Behind a proxy that names nobody may be anybody.
    for _ in 0..10 {
        assert_eq!(reason(&gateway.ask(Way::Http1, "GET", "/x", &[("X-API-Key", "x")])), "auth_invalid");
    }
}

#[test]
fn a_secret_that_changes_ends_the_tokens_that_were_verified_by_it() {
    let upstream = upstream();
    let gateway = guarded(&upstream, &format!("issuers: [{}]", issuer("")), &["/**"]).start();
    let mine = token(json!({}));
    assert_eq!(bearer(&gateway, Way::Http1, "/x", &mine).status, 200);
    let changed = issuer("").replace(SECRET, &SECRET.replace('0', "9"));
    gateway.rewrite(&guarded(&upstream, &format!("issuers: [{changed}]"), &["/**"]));
    assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
    assert_eq!(reason(&bearer(&gateway, Way::Http1, "/x", &mine)), "auth_invalid");
}

/// A websocket that was opened with a credential, up to the gateway's close frame; how long that took.
fn closed(socket: &mut WebSocket) -> Duration {
    let started = Instant::now();
    let close = socket.read();
    assert_eq!(close, Frame::close(1008, ""));
    socket.send(&Frame::new(Opcode::Close, 1008_u16.to_be_bytes()));
    assert!(socket.ends());
    started.elapsed()
}

#[test]
fn a_tunnel_ends_with_the_credential_that_has_opened_it() {
    let upstream = upstream();
    let key = format!("{{id: k1, hashes: ['{}']}}", sha256(KEY));
    let auth = |keys: &str| {
        format!("apiKey: {{keys: [{keys}]}}, issuers: [{}]", issuer(", clockToleranceSeconds: 0"))
    };
    let gateway = guarded(&upstream, &auth(&key), &["/**", "{path: /open, auth: none}"]).start();
    let open = |target: &str, name: &str, value: &str| {
        WebSocket::open_with(gateway.addr, &upgrade_request(target).header(name, value))
    };
    let short = format!("Bearer {}", token(json!({"exp": unix_now() + 2})));
    let mut by_token = open("/x", "Authorization", &short);
    let mut by_key = open("/x", "X-API-Key", KEY);
    let mut by_nobody = open("/open", "X-Any", "x");
    let mut by_other = open("/x", "Authorization", &format!("Bearer {}", token(json!({}))));
    by_token.assert_echo("before");
    assert!(closed(&mut by_token) < Duration::from_secs(5));
    by_key.assert_echo("still there");
    gateway.rewrite(&guarded(&upstream, &auth(""), &["/**", "{path: /open, auth: none}"]));
    assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
    assert!(closed(&mut by_key) < Duration::from_secs(4));
    by_nobody.assert_echo("nobody was asked");
    by_other.assert_echo("and another's stands");
}
