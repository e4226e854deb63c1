//! `/_aegis/explain`: what is said beforehand is what happens, and saying it does nothing (sections 3 and 9).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::client_pki::{Pki, ask};
use crate::harness::identity::sha256;
use crate::harness::limits::{rule, shared, together};
use crate::harness::scrape::scrape;
use crate::harness::tokens::{SECRET, claims, hs256, issuer, token};
use crate::harness::{Backend, Builder, Call, Gateway, Head, Redis, Response, SOON, Upstream, eventually};

pub const KEY: &str = "key-of-ann-and-of-nobody-else";
const READER: &str = "key-of-a-reader-and-of-nobody-else";

const RBAC: &str = "rbac: {enabled: true, superAdminRoles: [root], roles: [\
    {name: reader, permissions: [{resource: '/**', actions: [GET]}]}, \
    {name: editor, inherits: [reader], permissions: [{resource: '/api/**', actions: [POST, DELETE]}]}]}";

pub const MAIN: [&str; 8] = [
    "/api/**",
    "{path: '/api/users/:id', methods: [GET, DELETE]}",
    "{path: /api/users/me, stripPrefix: /api, addPrefix: /v2, timeout: 5s}",
    "{path: /api/deny, deny: true}",
    "{path: /api/far, ip: {allow: [10.0.0.0/8]}}",
    "{path: /api/hosted, hosts: [a.test]}",
    "{path: /api/versioned, headers: {X-Version: '2'}, priority: 1}",
    "{path: /api/limited}",
];

const OTHER: [&str; 9] = [
    "{path: /open/**, auth: none}",
    "{path: /maybe, auth: optional}",
    "{path: /keys, auth: {any: [apiKey]}}",
    "{path: /both, auth: {all: [apiKey, jwt]}}",
    "{path: /root, roles: [root]}",
    "{path: /scoped, auth: {any: ['jwt:id']}, scopes: [write]}",
    "{path: /gold, tiers: [gold], forwardCredentials: true}",
    "{path: /small, auth: none, bodyLimitBytes: 4}",
    "{path: /put, methods: [PUT]}",
];

const PATHS: [&str; 23] = [
    "/api/x?secret=1",
    "/api/users/7",
    "/api//users/./me/",
    "/api/%75sers/me",
    "/api/deny",
    "/api/far",
    "/api/hosted",
    "/api/versioned",
    "/api/limited",
    "/open/x",
    "/maybe",
    "/keys",
    "/both",
    "/root",
    "/scoped",
    "/gold",
    "/nowhere",
    "/api/a%2Fb",
    "/../x",
    "/health",
    "/api;x/users/me",
    "/api/deny;x",
    "/put",
];

type Fields = Vec<(&'static str, String)>;

/// Who asks, with what.
fn identities() -> Vec<(&'static str, Fields)> {
    let bearer = |token: String| ("Authorization", format!("Bearer {token}"));
    let key = |key: &str| ("X-API-Key", key.to_owned());
    let old = hs256(SECRET, &json!({"alg": "HS256"}), &claims(json!({"exp": 1_000_000_000})));
    vec![
        ("nobody", vec![("X-User-ID", "root".to_owned())]),
        ("ann's key", vec![key(KEY), ("X-Version", "2".to_owned())]),
        ("a reader's key", vec![key(READER), ("Host", "a.test".to_owned())]),
        ("a wrong key", vec![key("nobody's")]),
        ("two keys", vec![key(KEY), key(KEY)]),
        ("ann's token", vec![bearer(token(json!({"roles": ["editor"], "scope": "write"})))]),
        (
            "root's token",
            vec![
                bearer(token(json!({"roles": ["root"]}))),
                ("Connection", "X-Gone".to_owned()),
                ("X-Gone", "1".to_owned()),
            ],
        ),
        ("an old token", vec![bearer(old)]),
        ("another scheme", vec![("Authorization", "Basic YTpi".to_owned())]),
        ("key and token", vec![key(KEY), bearer(token(json!({"roles": ["editor"]})))]),
        ("from afar", vec![("X-Forwarded-For", "6.6.6.6, 10.1.2.3".to_owned()), key(KEY)]),
    ]
}

pub fn builder(main: &Upstream, other: &Upstream) -> Builder {
    let all = |backend: Backend, routes: &[&str]| {
        routes.iter().fold(backend, |backend, route| backend.route(route))
    };
    let keys = format!(
        "{{id: k1, hashes: ['{}'], userId: ann, roles: [editor], tier: gold}}, {{id: k2, hashes: ['{}'], roles: [reader]}}",
        sha256(KEY),
        sha256(READER)
    );
    Gateway::builder()
        .server("trustedProxies: [127.0.0.0/8]")
        .top(&format!(
            "auth: {{enabled: true, failureLimit: {{failures: 0}}, apiKey: {{keys: [{keys}]}}, issuers: [{}], {RBAC}}}",
            issuer("")
        ))
        .top("rateLimit: {defaultRequests: 100000, rules: [{id: few, match: {endpoint: /api/limited}, rateLimit: {requests: 3, windowSeconds: 3600}}, {id: seen, shadow: true, match: {endpoint: /keys}, rateLimit: {requests: 1, windowSeconds: 3600}}]}")
        .backend(all(Backend::named("main").to(main), &MAIN))
        .backend(all(Backend::named("other").to(other), &OTHER))
}

/// What the running gateway says of a request.
fn explained(gateway: &Gateway, method: &str, target: &str, fields: &Fields) -> Value {
    let mut headers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    fields.iter().for_each(|(name, value)| headers.entry(name).or_default().push(value));
    let url = format!("http://{}{target}", gateway.addr);
    let question = json!({"method": method, "url": url, "headers": headers});
    let response = gateway.admin_post("/_aegis/explain", &question.to_string());
    assert_eq!(response.status, 200, "{question}: {}", response.text());
    response.json()
}

fn asked(gateway: &Gateway, method: &str, target: &str, fields: &Fields) -> Response {
    let call = fields.iter().fold(Call::new(method, target), |call, (name, value)| call.header(name, value));
    gateway.send(&call)
}

/// Hits of each route, as the table of routes has them.
fn hits(gateway: &Gateway) -> BTreeMap<String, u64> {
    let routes = gateway.admin_json("/_aegis/routes");
    let row = |row: &Value| {
        (
            format!("{} of {}", row["path"].as_str().unwrap(), row["backend"].as_str().unwrap()),
            row["hits"].as_u64().unwrap(),
        )
    };
    routes["routes"].as_array().unwrap().iter().map(row).collect()
}

#[test]
fn what_is_said_beforehand_is_what_happens() {
    let (main, other) = (Upstream::echo(), Upstream::echo());
    let gateway = builder(&main, &other).start();
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for (who, fields) in identities() {
        for target in PATHS {
            for method in ["GET", "POST", "DELETE"] {
                let case = format!("{method} {target} with {who}");
                let said = explained(&gateway, method, target, &fields);
                let before = (hits(&gateway), main.count(), other.count());
                let got = asked(&gateway, method, target, &fields);
                let verdict = &said["verdict"];
                let outcome = verdict["outcome"].as_str().unwrap();
                let reason = verdict["reason"].as_str();
                assert_eq!(got.reason(), reason, "{case}: {said:#}");
                match outcome {
                    "forwarded" => assert_eq!(got.status, 200, "{case}: {said:#}"),
                    _ => assert_eq!(verdict["status"], got.status, "{case}: {said:#}"),
                }
                let challenges = json!(got.head.all("www-authenticate"));
                assert_eq!(verdict["challenges"], challenges, "{case}");
                let mut after = hits(&gateway);
                after.iter_mut().for_each(|(name, count)| *count -= before.0[name]);
                after.retain(|_, count| *count > 0);
                let hit = after.into_keys().next();
                let route = said["route"].as_object().map(|route| {
                    format!("{} of {}", route["path"].as_str().unwrap(), route["backend"].as_str().unwrap())
                });
                assert_eq!(route, hit, "{case}: {said:#}");
                let reached = [(&main, before.1, "main"), (&other, before.2, "other")]
                    .into_iter()
                    .find(|(upstream, before, _)| upstream.count() > *before);
                let backend = (outcome == "forwarded").then(|| said["upstream"]["backend"].as_str().unwrap());
                assert_eq!(backend, reached.map(|(_, _, name)| name), "{case}: {said:#}");
                if let Some((upstream, ..)) = reached {
                    sent_as_said(&case, &said["upstream"], &upstream.last().head);
                }
                *outcomes.entry(reason.unwrap_or(outcome).to_owned()).or_default() += 1;
            }
        }
    }
    // The table has come by everything that it is about.
    for wanted in [
        "forwarded",
        "answered",
        "no_route",
        "method_not_allowed",
        "bad_path",
        "bad_request",
        "denied",
        "ip_denied",
        "auth_missing",
        "auth_invalid",
        "auth_expired",
        "rbac_denied",
        "insufficient_scope",
        "rate_limited",
    ] {
        assert!(outcomes.contains_key(wanted), "no {wanted} among {outcomes:?}");
    }
}

/// The upstream has got what was said that it would.
fn sent_as_said(case: &str, said: &Value, head: &Head) {
    let target = head.start.split(' ').nth(1).unwrap();
    assert_eq!(said["path"].as_str(), target.split('?').next(), "{case}");
    for name in said["headers"]["removed"].as_array().unwrap() {
        assert_eq!(head.get(name.as_str().unwrap()), None, "{case}: {name}");
    }
    for field in said["headers"]["set"].as_array().unwrap() {
        let got = head.get(field["name"].as_str().unwrap());
        assert!(got.is_some(), "{case}: {field}");
        if let Some(value) = field["value"].as_str() {
            assert_eq!(got, Some(value), "{case}: {field}");
        }
    }
}

#[test]
fn bodies_limits_in_use_and_breakers_are_told_as_they_are() {
    let (main, other) = (Upstream::echo(), Upstream::echo());
    let gateway = builder(&main, &other).start();
    let long = vec![("Content-Length", "5".to_owned())];
    let said = explained(&gateway, "POST", "/small", &long);
    assert_eq!(said["verdict"]["reason"], "body_too_large");
    assert_eq!(said["verdict"]["decidedBy"], "backends[other].routes[/small].bodyLimitBytes");
    assert_eq!(gateway.send(&Call::post("/small", "12345")).status, 413);
    let last = vec![("Max-Forwards", "0".to_owned())];
    for (target, outcome, reason) in
        [("/open/x", "answered", Value::Null), ("/api/x", "refused", "auth_missing".into())]
    {
        let said = explained(&gateway, "OPTIONS", target, &last);
        assert_eq!((&said["verdict"]["outcome"], &said["verdict"]["reason"]), (&outcome.into(), &reason));
        assert_eq!(asked(&gateway, "OPTIONS", target, &last).status, said["verdict"]["status"]);
    }
    let ann = vec![("X-API-Key", KEY.to_owned())];
    for left in (0..=3).rev() {
        let said = explained(&gateway, "GET", "/api/limited", &ann);
        let limit = &said["limits"][0];
        assert_eq!(
            (&limit["rule"], &limit["left"], &limit["key"]),
            (&"few".into(), &left.into(), &"user:ann".into())
        );
        let refuses = left == 0;
        assert_eq!(said["verdict"]["reason"].is_string(), refuses, "{said:#}");
        let status = asked(&gateway, "GET", "/api/limited", &ann).status;
        assert_eq!(status, if refuses { 429 } else { 200 });
    }
    let said = explained(&gateway, "GET", "/api/limited", &ann);
    assert_eq!(said["verdict"]["decidedBy"], "rateLimit.rules[few].rateLimit");
    assert!(said["verdict"]["retryAfterSeconds"].as_u64().unwrap() > 0);
    gateway.hold_open("main");
    let said = explained(&gateway, "GET", "/api/x", &ann);
    assert_eq!(
        (&said["verdict"]["outcome"], &said["verdict"]["reason"]),
        (&"refused".into(), &"circuit_open".into())
    );
    assert_eq!(said["upstream"]["targets"][0]["state"]["circuit"], "open");
    assert_eq!(said["upstream"]["targets"][0]["eligible"], false);
    assert_eq!(asked(&gateway, "GET", "/api/x", &ann).reason(), Some("circuit_open"));
}

#[test]
fn two_hundred_explanations_change_nothing() {
    let (main, other) = (Upstream::echo(), Upstream::echo());
    let gateway = builder(&main, &other).start();
    // Something is there to be changed.
    for (_, fields) in identities() {
        asked(&gateway, "GET", "/api/limited", &fields);
    }
    let counted = || {
        let mut samples = scrape(&gateway);
        // What goes by itself, and the admin listener's own.
        samples.retain(|name, _| {
            [
                "aegis_requests",
                "aegis_ratelimit",
                "aegis_auth",
                "aegis_gateway",
                "aegis_circuit",
                "aegis_retries",
                "aegis_upstream",
            ]
            .iter()
            .any(|kept| name.starts_with(kept))
        });
        samples
    };
    let limits = || {
        let page = gateway.admin_json("/_aegis/rate-limit");
        (page["rules"].clone(), page["keys"].clone())
    };
    let state = || (counted(), hits(&gateway), limits(), gateway.in_flight(), main.count() + other.count());
    let settled = || {
        // Workers tell what they have counted twice a second.
        let mut before = state();
        let is_settled = eventually(SOON, || {
            std::thread::sleep(std::time::Duration::from_millis(700));
            let now = state();
            let same = now == before;
            before = now;
            same
        });
        assert!(is_settled);
        before
    };
    let before = settled();
    let who = identities();
    for number in 0..200 {
        let (_, fields) = &who[number % who.len()];
        let said = explained(&gateway, "GET", PATHS[number % PATHS.len()], fields);
        assert!(said["verdict"]["outcome"].is_string());
    }
    assert_eq!(settled(), before);
}

#[test]
fn the_target_that_is_named_is_the_one_that_gets_it() {
    let upstreams = [Upstream::ok("a"), Upstream::ok("b"), Upstream::ok("c")];
    let to_all = |name: &str| upstreams.iter().fold(Backend::named(name), Backend::to);
    let gateway = Gateway::builder()
        .backend(to_all("hashed").route("/hashed").with("loadBalance: hash").with("hashOn: \"header:x-who\""))
        .backend(to_all("any").route("/any").with("loadBalance: roundRobin"))
        .start();
    let targets = |said: &Value, key: &str| -> Vec<String> {
        let targets = said["upstream"]["targets"].as_array().unwrap().iter();
        targets.filter(|one| one[key] == true).map(|one| one["url"].as_str().unwrap().to_owned()).collect()
    };
    let drain = |backend: &str, target: usize| {
        let path = format!("/_aegis/backends/{backend}/targets/{target}/drain");
        assert_eq!(gateway.admin_post(&path, "").status, 200);
    };
    for round in 0..2 {
        let mut reached = BTreeMap::new();
        for who in 0..30 {
            let fields = vec![("X-Who", format!("somebody {who}"))];
            let chosen = targets(&explained(&gateway, "GET", "/hashed", &fields), "chosen");
            let before: Vec<usize> = upstreams.iter().map(Upstream::count).collect();
            assert_eq!(asked(&gateway, "GET", "/hashed", &fields).status, 200);
            let got = upstreams.iter().zip(before).find(|(upstream, before)| upstream.count() > *before);
            assert_eq!(chosen, [got.unwrap().0.url()], "{who}");
            *reached.entry(chosen).or_insert(0) += 1;
        }
        assert_eq!(reached.len(), 3 - round, "{reached:?}");
        drain("hashed", 1);
    }
    // Where it is a matter of turns, nobody is named and no turn used up.
    let said = explained(&gateway, "GET", "/any", &Fields::new());
    assert_eq!((targets(&said, "eligible").len(), targets(&said, "chosen").len()), (3, 0));
    drain("any", 0);
    drain("any", 2);
    let said = explained(&gateway, "GET", "/any", &Fields::new());
    assert_eq!(targets(&said, "chosen"), [upstreams[1].url()]);
    assert_eq!(said["upstream"]["targets"][0]["state"]["drained"], true);
    drain("any", 1);
    let said = explained(&gateway, "GET", "/any", &Fields::new());
    assert_eq!(said["verdict"]["reason"], "no_healthy_target");
    assert_eq!(asked(&gateway, "GET", "/any", &Fields::new()).reason(), Some("no_healthy_target"));
}

#[test]
fn what_only_redis_knows_is_undetermined_and_without_it_each_rule_says_what_it_does() {
    let (upstream, mut redis) = (Upstream::ok("ok"), Redis::start());
    let rules: Vec<String> = ["local", "allow", "deny"]
        .iter()
        .map(|on| {
            rule(
                on,
                &format!("endpoint: /{on}"),
                "requests: 5, windowSeconds: 86400",
                &format!(", onError: {on}"),
            )
        })
        .collect();
    let gateway = shared(&upstream, &redis.url(), &format!("rules: [{}]", rules.join(", "))).start();
    together(&[&gateway]);
    let limit = |path: &str| {
        let said = explained(&gateway, "GET", path, &Fields::new());
        (
            said["verdict"]["outcome"].clone(),
            said["limits"][0]["says"].clone(),
            said["limits"][0]["left"].clone(),
        )
    };
    let said = |outcome: &str, says: &str, left: Value| (outcome.into(), says.into(), left);
    assert_eq!(limit("/local"), said("undetermined", "unknown", Value::Null));
    for _ in 0..5 {
        assert_eq!(gateway.get("/local").status, 200);
    }
    // A refusal of Redis is remembered for a moment.
    assert!(eventually(SOON, || {
        gateway.get("/local").status == 429 && limit("/local") == said("refused", "refuses", 0.into())
    }));
    redis.kill();
    assert!(eventually(SOON, || {
        gateway.get("/allow");
        gateway.limit_mode() == "degraded"
    }));
    assert_eq!(limit("/allow"), said("forwarded", "uncounted", Value::Null));
    assert_eq!(limit("/deny"), said("refused", "unavailable", Value::Null));
    assert_eq!(limit("/local"), said("forwarded", "enough", 5.into()));
    assert_eq!(
        (gateway.get("/deny").reason(), gateway.get("/local").status),
        (Some("limiter_unavailable"), 200)
    );
    assert_eq!(limit("/local"), said("forwarded", "enough", 4.into()));
}

#[test]
fn a_certificate_that_is_wanted_counts_as_not_shown() {
    let (pki, upstream) = (Pki::new(), Upstream::ok("ok"));
    let backend = Backend::all(&upstream).route("{path: /open, clientAuth: none}");
    let gateway = pki.builder("clientAuth: required").backend(backend).start();
    for (path, status, challenges) in [("/x", 401, json!(["ClientCertificate"])), ("/open", 200, json!([]))] {
        let question = json!({"url": format!("https://a.test{path}")});
        let verdict = gateway.admin_post("/_aegis/explain", &question.to_string()).json()["verdict"].clone();
        let call = Call::get(path).header("Host", "a.test");
        let got = ask(&gateway, "a.test", &pki.client(None), &call).unwrap();
        assert_eq!((got.status, got.reason()), (status, verdict["reason"].as_str()), "{path}: {verdict}");
        assert_eq!(json!(got.head.all("www-authenticate")), challenges, "{path}");
        assert_eq!(verdict["challenges"], challenges, "{path}");
        let decided_by = if status == 401 { json!("server.tls.clientAuth") } else { Value::Null };
        assert_eq!(verdict["decidedBy"], decided_by, "{path}");
    }
}
