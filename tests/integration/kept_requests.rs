//! Requests that are kept in whole: which ones, how they are found, and what `aegis why` says of them.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::harness::h2_client::{Outcome, RawHttp2};
use crate::harness::hpack::Block;
use crate::harness::{Backend, Builder, Call, Gateway, SOON, Then, Upstream, eventually, run};

/// Answers below `/STATUS` with that status, and breaks off below `/broken`.
fn upstream() -> Upstream {
    Upstream::start(|exchange| match exchange.target().trim_start_matches('/').get(..3) {
        Some("bro") => exchange.answer("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", Then::Close),
        status => exchange.reply(status.and_then(|s| s.parse().ok()).unwrap_or(200), &[], b"answer"),
    })
}

fn builder(upstream: &Upstream) -> Builder {
    Gateway::builder().top("metrics: {store: none}").backend(backend("main", upstream).route("/**"))
}

fn backend(name: &str, upstream: &Upstream) -> Backend {
    Backend::named(name).to(upstream).without_breaker().with("retries: 1")
}

/// The id of the request that this makes, once it is kept.
fn ask(gateway: &Gateway, target: &str, status: u16) -> String {
    let response = gateway.get(target);
    assert_eq!(response.status, status, "{target}: {}", response.text());
    // Requests are ordered by the millisecond in which they arrived.
    std::thread::sleep(Duration::from_millis(2));
    response.header("x-request-id").unwrap().to_owned()
}

fn record(gateway: &Gateway, id: &str) -> Value {
    let mut found = Value::Null;
    assert!(
        eventually(SOON, || {
            let response = gateway.ask_admin(Call::get(&format!("/api/requests/{id}")));
            found = response.json()["data"].clone();
            response.status == 200
        }),
        "{id} is not kept: {}",
        gateway.log()
    );
    found
}

/// `aegis why`: its exit code and everything that it says.
fn why(gateway: &Gateway, id: &str) -> (Option<i32>, String) {
    let (config, port) = (gateway.file("aegis.yaml"), gateway.admin.port());
    let config = config.display().to_string();
    let output =
        run(gateway.file(".").as_path(), &["why", id, "-c", &config, "--set", &format!("admin.port={port}")]);
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

/// A configuration that is the same for the gateway and for whoever asks: with the port that the gateway really has.
fn settle(gateway: &Gateway, builder: Builder) {
    gateway.rewrite(&builder.admin(&format!("port: {}", gateway.admin.port())));
    assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
}

#[test]
fn every_5xx_of_an_upstream_is_kept_with_what_was_tried() {
    let upstream = upstream();
    let gateway = builder(&upstream).start();
    for (target, status, tries) in
        [("/500/a", 500, 1), ("/503/b", 503, 2), ("/599/c", 599, 1), ("/501/d", 501, 1)]
    {
        for _ in 0..3 {
            let id = ask(&gateway, target, status);
            let record = record(&gateway, &id);
            assert_eq!((&record["status"], &record["reason"]), (&status.into(), &Value::Null), "{record}");
            let told = record["details"]["tries"].as_array().unwrap();
            assert_eq!(told.len(), tries, "{record}");
            assert!(
                told.iter().all(|one| one["status"] == status && one["target"] == upstream.url()),
                "{record}"
            );
            assert_eq!(record["details"]["targets"][0]["target"], upstream.url());
        }
    }
    let id = ask(&gateway, "/503/why", 503);
    record(&gateway, &id);
    let (code, told) = why(&gateway, &id);
    assert_eq!(code, Some(0));
    for part in
        ["was answered 503", "The answer is the service's own.", "Try 2: http://127.0.0.1", "answered 503"]
    {
        assert!(told.contains(part), "{part} is not in:\n{told}");
    }
    assert!(!told.contains("Decided by"), "{told}");
    // One that broke off is neither the gateway's nor whole.
    let mut client = gateway.client();
    assert!(client.try_send(&Call::get("/broken")).is_err());
    let broken = || gateway.admin_json("/api/requests?reason=upstream_reset")["data"][0]["requestId"].clone();
    assert!(eventually(SOON, || broken().is_string()));
    let (_, told) = why(&gateway, broken().as_str().unwrap());
    assert!(told.contains("the service's own, and broke off"), "{told}");
}

#[test]
fn the_list_is_filtered_by_what_is_asked_for() {
    let upstream = upstream();
    for store in ["none", "\"sqlite://m.db\""] {
        let before = humantime(SystemTime::now() - Duration::from_secs(3600));
        let after = humantime(SystemTime::now() + Duration::from_secs(3600));
        let gateway = Gateway::builder()
            .top(&format!("metrics: {{store: {store}}}"))
            .backend(backend("one", &upstream).route("{path: /500/**, methods: [GET]}"))
            .backend(backend("two", &upstream).route("/503/**"))
            .start();
        let one = ask(&gateway, "/500/x", 500);
        let two = ask(&gateway, "/503/x", 503);
        let none = ask(&gateway, "/nothing", 404);
        let all =
            [&none, &two, &one].map(|id| record(&gateway, id)["requestId"].as_str().unwrap().to_owned());
        let [none, two, one] = &all;
        for (query, expected) in [
            ("", &[none, two, one][..]),
            ("status=5xx", &[two, one]),
            ("status=503", &[two]),
            ("status=4xx", &[none]),
            ("backend=one", &[one]),
            ("backend=none", &[none]),
            ("route=/503/**", &[two]),
            ("reason=no_route", &[none]),
            ("reason=none", &[two, one]),
            ("reason=none&status=5xx&backend=two", &[two]),
            ("client=127.0.0.1&status=500", &[one]),
            ("client=::1", &[]),
            ("limit=1&status=5xx", &[two]),
            (&format!("from={before}&to={after}&status=500"), &[one]),
            (&format!("from={after}"), &[]),
            (&format!("to={before}"), &[]),
        ] {
            let answer = gateway.admin_json(&format!("/api/requests?{query}"));
            let found = answer["data"].as_array().unwrap();
            let ids: Vec<&str> = found.iter().map(|row| row["requestId"].as_str().unwrap()).collect();
            assert_eq!(ids, expected, "{query} in {store}: {answer}");
        }
        for (query, why) in [
            ("status=lots", "a class such as 5xx"),
            ("reason=ratelimited", "rate_limited"),
            ("client=here", "an address"),
            ("from=now", "a time such as"),
            ("state=500", "known: limit, status, backend, route, reason, client, from, to"),
        ] {
            let response = gateway.ask_admin(Call::get(&format!("/api/requests?{query}")));
            let detail = response.json()["detail"].as_str().unwrap_or_default().to_owned();
            assert!(response.status == 400 && detail.contains(why), "{query}: {} {detail}", response.status);
        }
    }
}

fn humantime(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

#[test]
fn who_asks_for_what_is_not_kept_is_told_what_is() {
    let upstream = upstream();
    for store in ["none", "\"sqlite://m.db\""] {
        let gateway =
            builder(&upstream).top(&format!("metrics: {{store: {store}, slowRequestMs: 7000}}")).start();
        let (code, told) = why(&gateway, "no-such-id");
        assert_eq!(code, Some(1));
        assert!(told.contains("no record of request \"no-such-id\"") && told.contains("none yet"), "{told}");
        for (target, status) in [("/500/a", 500), ("/502/a", 502), ("/a%00", 400)] {
            let id = ask(&gateway, target, status);
            record(&gateway, &id);
        }
        let (_, told) = why(&gateway, "no-such-id");
        for part in [
            "every answer that the gateway made itself",
            "every 5xx of a service",
            "took 7000 ms",
            "there are 3 since 20",
            ": 1 of the gateway's own answers, 2 5xx of services, 0 others",
        ] {
            assert!(told.contains(part), "{part} is not in:\n{told}");
        }
    }
    let off = builder(&upstream).top("metrics: {enabled: false}").start();
    let (_, told) = why(&off, "no-such-id");
    assert!(told.contains("metrics.enabled: false"), "{told}");
}

#[test]
fn why_says_when_the_configuration_here_is_not_the_one_that_decided() {
    let upstream = upstream();
    let builder =
        builder(&upstream).backend(Backend::named("shut").to(&upstream).route("{path: /shut, deny: true}"));
    let gateway = builder.clone().start();
    settle(&gateway, builder.clone());
    let id = ask(&gateway, "/shut", 403);
    let hash = gateway.admin_json("/_aegis/status")["config"]["hash"].as_str().unwrap().to_owned();
    assert_eq!(record(&gateway, &id)["details"]["configHash"], hash);
    let (_, told) = why(&gateway, &id);
    assert!(told.contains("Decided by `backends[shut].routes[/shut].deny`, "), "{told}");
    assert!(told.contains("aegis.yaml:") && !told.contains("differs"), "{told}");
    // What the file says now the gateway does not know.
    let port = format!("port: {}", gateway.admin.port());
    gateway.rewrite(&builder.admin(&port).server("keepAliveMs: 1234"));
    let (_, told) = why(&gateway, &id);
    for part in ["differs from the gateway's", &hash, "is another one, with the hash "] {
        assert!(told.contains(part), "{part} is not in:\n{told}");
    }
}

#[test]
fn why_names_a_key_only_where_that_key_decided() {
    let upstream = upstream();
    let slow = Upstream::start(|exchange| {
        exchange.wait_for_close();
        Ok(Then::Drop)
    });
    let slow_backend = |name: &str, path: &str, keys: &[&str]| {
        let backend = Backend::named(name).to(&slow).without_breaker().with("retries: 0").route(path);
        keys.iter().fold(backend, |backend, key| backend.with(key))
    };
    let builder = Gateway::builder()
        .top("metrics: {store: none}")
        .backend(backend("main", &upstream).route("/x/**"))
        .backend(backend("kept", &upstream).route("/kept"))
        .backend(Backend::named("gone").target("url: http://127.0.0.1:1").route("/gone"))
        .backend(slow_backend("first", "/first", &["firstByteTimeoutMs: 300", "timeout: 400"]))
        .backend(slow_backend("whole", "{path: /whole, timeout: 300}", &["firstByteTimeoutMs: 340"]))
        .backend(slow_backend("plain", "/plain", &["firstByteTimeoutMs: 340", "timeout: 300"]));
    let gateway = builder.clone().start();
    settle(&gateway, builder);
    assert_eq!(gateway.admin_post("/_aegis/backends/kept/targets/0/drain", "").status, 200);
    for (target, status, decided, said) in [
        ("/x/a%2Fb", 400, Some("server.paths.escapedSlash"), "an escaped slash"),
        ("/x/a%00b", 400, None, "contains a NUL"),
        ("/x/a%zzb", 400, None, "without two hex digits"),
        ("/x/%2e%2e/%2e%2e/b", 400, None, "The path"),
        ("/_aegis/status", 404, Some("admin.token"), "no_route"),
        ("/none", 404, Some("backends"), "no_route"),
        ("/kept", 503, None, "An operator keeps the targets away"),
        ("/gone", 502, Some("backends[gone]"), "Decided by `backends[gone]`, /"),
        ("/first", 504, Some("backends[first].firstByteTimeoutMs"), "upstream_timeout"),
        ("/whole", 504, Some("backends[whole].routes[/whole].timeout"), "upstream_timeout"),
        ("/plain", 504, Some("backends[plain].timeout"), "upstream_timeout"),
    ] {
        let id = ask(&gateway, target, status);
        let record = record(&gateway, &id);
        assert_eq!(record["details"]["decidedBy"].as_str(), decided, "{target}: {record}");
        let (_, told) = why(&gateway, &id);
        assert!(told.contains(said), "{target}: {said} is not in:\n{told}");
        assert_eq!(told.contains("Decided by"), decided.is_some(), "{target}:\n{told}");
    }
}

#[test]
fn what_was_refused_before_it_was_a_request_is_kept_with_what_could_be_read() {
    let upstream = upstream();
    let gateway = builder(&upstream).server("headerTimeoutMs: 500").server("maxHeadBytes: 100000").start();
    let long = "a".repeat(70_000);
    let get = |line: &str, fields: &str| {
        format!("GET {line} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n").into_bytes()
    };
    let cut = format!("/{}", &long[..1023]);
    let big = format!("X: {long}\r\nY: {long}\r\n");
    let mut wrong = Vec::new();
    for (bytes, status, method, path, told) in [
        (get("/a?token=secret", "Host: b\r\n"), 400, "GET", "/a", "more than one Host"),
        (get("/a\u{1}b", ""), 400, "GET", "/a\\x01b", "not valid"),
        (get("http://me:secret@h/a", ""), 400, "GET", "/a", "host is not valid"),
        (b"GET /a HTTP/1.1\nHost: a\n\n".to_vec(), 400, "GET", "/a", "CRLF"),
        (b"\x16\x03\x01\x00 / HTTP/1.1\r\n\r\n".to_vec(), 400, "-", "-", "not valid"),
        (get("/b", &big), 431, "GET", "/b", "server.maxHeadBytes"),
        (get(&format!("/{long}"), ""), 414, "GET", &cut, "65536"),
        (b"PUT /slow?token=secret HT".to_vec(), 408, "PUT", "/slow", "server.headerTimeoutMs"),
    ] {
        let mut client = gateway.client();
        client.write(&bytes);
        let response = client.read("GET").unwrap();
        let id = response.header("x-request-id").unwrap().to_owned();
        assert_eq!(response.json()["requestId"], *id);
        let kept = record(&gateway, &id);
        let seen = (kept["status"].as_u64(), kept["method"].as_str(), kept["path"].as_str());
        if seen != (Some(status), Some(method), Some(path)) {
            wrong.push(format!("{status} {method}: {kept}"));
        }
        let (code, said) = why(&gateway, &id);
        if code != Some(0) || !said.contains(told) || said.contains("secret") {
            wrong.push(format!("{status}: {said}"));
        }
        let mut line = Value::Null;
        assert!(eventually(SOON, || {
            let log = gateway.log();
            line = log
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .find(|line: &Value| line["requestId"] == *id)
                .unwrap_or_default();
            line.is_object()
        }));
        let or_dash = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
        if (or_dash("method"), or_dash("path")) != (method.to_owned(), path.to_owned()) {
            wrong.push(format!("{status}: {line}"));
        }
        if status == 408 && kept["durationMs"].as_f64() < Some(400.0) {
            wrong.push(format!("{status}: {kept}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(!gateway.log().contains("secret"), "{}", gateway.log());
    let listed = gateway.admin_json("/api/requests?status=4xx")["data"].as_array().unwrap().len();
    assert_eq!(listed, 8);
}

#[test]
fn a_request_of_http2_that_is_refused_by_its_head_is_kept_too() {
    let upstream = upstream();
    let gateway = builder(&upstream).server("maxHeadFields: 20").start();
    let mut client = RawHttp2::connect(gateway.addr);
    client.headers(1, &Block::request("GET", "/x?token=secret").numbered(30, "x-", "v"), true);
    let Outcome::Answer(reply) = client.outcome(1) else { panic!("no answer") };
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    let kept = record(&gateway, body["requestId"].as_str().unwrap());
    assert_eq!(
        (&kept["status"], &kept["method"], &kept["path"]),
        (&431.into(), &"GET".into(), &"/x".into()),
        "{kept}"
    );
    assert_eq!(kept["details"]["decidedBy"], "server.maxHeadFields", "{kept}");
}
