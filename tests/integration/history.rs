//! What was counted, over time: the store behind it, the history API, and the records of single requests (section 3).

mod limits;

use std::time::Duration;

use serde_json::Value;

use crate::harness::history::{data, sum};
use crate::harness::{Backend, Builder, Call, Folder, Gateway, SOON, Upstream, eventually, run};

/// A gateway whose store is the file at `store`, or `none`.
fn kept(upstream: &Upstream, store: &str) -> Builder {
    Gateway::builder()
        .top(&format!("metrics: {{store: \"{store}\", flushIntervalMs: 100, slowRequestMs: 300, instance: gw-1}}"))
        .top("rateLimit: {defaultRequests: 1000000, rules: [{id: few, match: {endpoint: /limited}, rateLimit: {requests: 2, windowSeconds: 600}}]}")
        .backend(Backend::named("main").to(upstream).route("/users/:id").route("/limited").route("/status/:code"))
}

fn answers() -> Upstream {
    Upstream::start(|exchange| match exchange.target().strip_prefix("/status/") {
        Some(code) => exchange.reply(code.parse().unwrap(), &[], b"said"),
        None => exchange.ok("ok"),
    })
}

/// 24 requests: 10 well, 2 of the upstream's 404, 3 of its 500, 2 well and 4 refused by a limit, 3 without a route.
fn mix(gateway: &Gateway) {
    (0..10).for_each(|id| assert_eq!(gateway.get(&format!("/users/{id}")).status, 200));
    (0..2).for_each(|_| assert_eq!(gateway.get("/status/404").status, 404));
    (0..3).for_each(|_| assert_eq!(gateway.send(&Call::post("/status/500", "x")).status, 500));
    let limited: Vec<u16> = (0..6).map(|_| gateway.get("/limited").status).collect();
    assert_eq!(limited, [200, 200, 429, 429, 429, 429]);
    (0..3).for_each(|_| assert_eq!(gateway.get("/none").status, 404));
}

fn judge(gateway: &Gateway, times: u64) {
    let mut overview = Value::Null;
    // A worker that the machine holds up reports after the patience of whoever asks.
    assert!(
        eventually(SOON, || {
            overview = data(gateway, "overview?range=1h");
            overview["totalRequests"].as_u64() >= Some(24 * times)
        }),
        "{overview}"
    );
    let count = |member: &str| overview[member].as_u64().unwrap_or_else(|| panic!("{member} in {overview}"));
    assert_eq!(count("totalRequests"), 24 * times, "{overview}");
    assert_eq!(count("failedRequests"), 6 * times, "three of the upstream's 500, three without a route");
    assert_eq!(count("rateLimitedRequests"), 4 * times);
    assert_eq!(count("successfulRequests"), 14 * times);
    assert_eq!((count("healthyBackends"), count("totalBackends")), (1, 1));
    for member in ["requestsPerSecond", "avgLatency", "p50Latency", "p95Latency", "p99Latency", "errorRate"] {
        assert!(overview[member].as_f64().unwrap() > 0.0, "{member} in {overview}");
    }
    let times = times as f64;
    assert_eq!(sum(&data(gateway, "request-rate?range=15m"), "count"), 24.0 * times);
    let status = data(gateway, "status");
    let of = |member: &str| sum(&status, member);
    assert_eq!([of("status2xx"), of("status4xx"), of("status5xx")], [12.0 * times, 9.0 * times, 3.0 * times]);
    let errors = data(gateway, "errors?route=/status/:code");
    assert_eq!([sum(&errors, "clientErrors"), sum(&errors, "serverErrors")], [2.0 * times, 3.0 * times]);
    let top = data(gateway, "top-endpoints?by=requests&limit=1");
    let first = &top[0];
    assert_eq!((top.as_array().unwrap().len(), first["route"].as_str()), (1, Some("/users/:id")), "{top}");
    assert_eq!(
        (first["count"].as_f64(), first["method"].as_str()),
        (Some(10.0 * times), Some("GET")),
        "{top}"
    );
    let worst = data(gateway, "top-endpoints?by=errors");
    assert_eq!(worst[0]["count"].as_f64(), Some(3.0 * times), "{worst}");
    let limits = data(gateway, "rate-limits");
    // The default limit goes for the fifteen that met a route and no rule.
    assert_eq!([sum(&limits, "allowed"), sum(&limits, "limited")], [17.0 * times, 4.0 * times]);
    let latency = data(gateway, "latency?range=5m");
    for row in latency.as_array().unwrap() {
        let of = |member: &str| row[member].as_f64().unwrap();
        assert!(of("p50") <= of("p95") && of("p95") <= of("p99") && of("p99") <= of("max"), "{row}");
    }
    assert_eq!(data(gateway, "backends")[0]["name"], "main");
}

#[test]
fn what_was_counted_is_told_at_once_and_survives_a_restart() {
    let upstream = answers();
    let folder = Folder::new();
    let store = format!("sqlite://{}", folder.path().join("m.db").display());
    for times in 1..=2 {
        let gateway = kept(&upstream, &store).start();
        mix(&gateway);
        judge(&gateway, times);
        let other = data(&gateway, "overview?instance=another");
        assert_eq!(other["totalRequests"], 0, "{other}");
    }
}

#[test]
fn without_a_store_the_last_quarter_of_an_hour_is_told_from_memory() {
    let upstream = answers();
    let gateway = kept(&upstream, "none").start();
    mix(&gateway);
    judge(&gateway, 1);
    let now = data(&gateway, "realtime");
    assert!(now["totalRequests"].as_u64().unwrap() > 0, "{now}");
    assert_eq!(gateway.admin_json("/_aegis/status")["store"]["state"], "none");
}

#[test]
fn a_store_that_cannot_be_written_costs_no_request_and_is_caught_up_with() {
    let upstream = answers();
    let folder = Folder::new();
    let place = folder.path().join("sub");
    // A file stands where the store's folder should be.
    std::fs::write(&place, "in the way").unwrap();
    let store = format!("sqlite://{}", place.join("m.db").display());
    let gateway = kept(&upstream, &store).start();
    mix(&gateway);
    let told = || gateway.log().matches("the metrics store takes no writes").count();
    assert!(eventually(SOON, || told() == 1));
    let mut answer = Value::Null;
    assert!(
        eventually(SOON, || {
            answer = gateway.admin_json("/api/metrics/overview");
            answer["data"]["totalRequests"] == 24
        }),
        "{answer}"
    );
    assert!(answer["note"].as_str().is_some_and(|note| note.contains("away")), "{answer}");
    let status = || gateway.admin_json("/_aegis/status")["store"].clone();
    let away = status();
    assert_eq!(away["state"], "away", "{away}");
    assert!(away["error"].is_string() && away["pendingRollups"].as_u64() > Some(0), "{away}");
    assert_eq!(gateway.admin_json("/ready")["dependencies"]["store"], "away", "and it is ready all the same");
    std::fs::remove_file(&place).unwrap();
    assert!(eventually(Duration::from_secs(10), || gateway.log().contains("takes writes again")));
    assert!(eventually(SOON, || {
        status() == serde_json::json!({"state": "ok", "error": null, "setAside": null, "pendingRollups": 0})
    }));
    judge(&gateway, 1);
}

#[test]
fn a_store_that_is_overwritten_is_set_aside_and_said_to_be() {
    let upstream = answers();
    let folder = Folder::new();
    let file = folder.path().join("m.db");
    let gateway = kept(&upstream, &format!("sqlite://{}", file.display())).start();
    mix(&gateway);
    judge(&gateway, 1);
    let junk: Vec<u8> = (0..100_000).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::write(&file, &junk).unwrap();
    let mut store = Value::Null;
    // Nobody asks and nothing is written: it is looked at all the same.
    assert!(
        eventually(Duration::from_secs(60), || {
            store = gateway.admin_json("/_aegis/status")["store"].clone();
            store["setAside"].is_string() && store["state"] == "ok"
        }),
        "{store}"
    );
    let aside = store["setAside"].as_str().unwrap();
    assert!(aside.starts_with(&format!("{}.damaged-", file.display())), "{aside}");
    assert!(std::fs::read(aside).unwrap() == junk, "it is not as it was");
    assert_eq!(gateway.log().matches("cannot be read any more; it was set aside as").count(), 1);
    assert_eq!(gateway.get("/users/1").status, 200);
    assert!(eventually(SOON, || data(&gateway, "overview?range=1h")["totalRequests"].as_u64() >= Some(1)));
}

#[test]
fn a_store_that_is_no_database_is_said_to_be_away_and_left_alone() {
    let upstream = answers();
    let folder = Folder::new();
    let file = folder.path().join("letter.txt");
    let letter = "Dear customer, this is no database, and longer than the head of one would be. ".repeat(9);
    std::fs::write(&file, &letter).unwrap();
    let gateway = kept(&upstream, &format!("sqlite://{}", file.display())).start();
    let health = || gateway.admin_json("/health")["dependencies"].clone();
    assert!(eventually(SOON, || health()["store"] == "away"), "{}", health());
    let error = health()["storeError"].to_string();
    assert!(error.contains("letter.txt") && error.contains("move it away"), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), letter);
    std::fs::rename(&file, folder.path().join("moved.txt")).unwrap();
    mix(&gateway);
    assert!(eventually(SOON, || health()["store"] == "ok"), "{}", health());
}

#[test]
fn empty_ranges_are_empty_and_senseless_ones_are_refused_with_the_reason() {
    let upstream = answers();
    let gateway = kept(&upstream, "none").start();
    mix(&gateway);
    let then = "from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z";
    for what in ["request-rate", "latency", "status", "errors", "top-endpoints", "rate-limits"] {
        assert_eq!(data(&gateway, &format!("{what}?{then}")), Value::Array(Vec::new()), "{what}");
    }
    assert_eq!(data(&gateway, &format!("overview?{then}"))["totalRequests"], 0);
    for (query, reason) in [
        ("range=2h", "one of"),
        ("from=tomorrow", "from must be"),
        ("limit=0", "limit"),
        ("rnage=5m", "unknown"),
        ("route=%00", "control characters"),
    ] {
        let response = gateway.ask_admin(Call::get(&format!("/api/metrics/overview?{query}")));
        response.assert_problem(400, "bad_request");
        assert!(response.text().contains(reason), "{query}: {}", response.text());
    }
    assert_eq!(gateway.ask_admin(Call::get("/api/metrics/nothing")).status, 404);
    assert_eq!(gateway.admin_post("/api/metrics/overview", "").status, 405);
}

#[test]
fn slow_answers_are_kept_in_whole_by_the_bound_that_is_live() {
    let upstream = Upstream::start(|exchange| {
        std::thread::sleep(Duration::from_millis(60));
        exchange.ok("late")
    });
    let bound = |ms: u32| {
        Gateway::builder()
            .top(&format!("metrics: {{store: none, slowRequestMs: {ms}}}"))
            .backend(Backend::named("main").to(&upstream).route("/**"))
    };
    let gateway = bound(60_000).start();
    let ask = || gateway.get("/x").header("x-request-id").unwrap().to_owned();
    let kept = |id: &String| gateway.ask_admin(Call::get(&format!("/api/requests/{id}"))).status == 200;
    // Of all others one in a hundred is kept, by chance.
    assert!((0..4).filter(|_| kept(&ask())).count() < 4);
    gateway.rewrite(&bound(50));
    assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
    for id in [(); 4].map(|()| ask()) {
        assert!(eventually(SOON, || kept(&id)), "{id}");
    }
}

/// The reason of an answer, and what `aegis why` tells of it.
fn why(gateway: &Gateway, target: &str) -> (u16, String) {
    let response = gateway.get(target);
    let id = response.header("x-request-id").unwrap();
    let config = gateway.file("aegis.yaml").display().to_string();
    let admin = format!("admin.port={}", gateway.admin.port());
    let told = || run(gateway.file(".").as_path(), &["why", id, "-c", &config, "--set", &admin]);
    let mut output = told();
    assert!(eventually(SOON, || {
        output = told();
        output.status.success()
    }));
    (response.status, String::from_utf8(output.stdout).unwrap())
}

#[test]
fn why_tells_what_happened_and_which_line_decided_it() {
    let upstream = Upstream::start(|exchange| match exchange.target() {
        "/fails" => exchange.reply(500, &[], b"no"),
        "/slow" => {
            std::thread::sleep(Duration::from_millis(1_500));
            exchange.ok("late")
        }
        _ => exchange.ok("ok"),
    });
    let gateway = Gateway::builder()
        .top("metrics: {store: none}")
        .top("rateLimit: {rules: [{id: once, match: {endpoint: /once}, rateLimit: {requests: 1, windowSeconds: 600}}]}")
        .backend(Backend::named("slow").to(&upstream).route("/slow").with("firstByteTimeoutMs: 200").with("retries: 0"))
        .backend(Backend::named("main").to(&upstream).route("/once"))
        .backend(
            Backend::named("broken")
                .to(&upstream)
                .route("/fails")
                .with("circuitBreaker: {minRequests: 1}"),
        )
        .start();
    assert_eq!(gateway.get("/once").status, 200);
    let (status, told) = why(&gateway, "/once");
    assert_eq!(status, 429);
    for part in [
        "rate_limited",
        "rateLimit.rules[once].rateLimit",
        "aegis.yaml:",
        "Limit once (1 requests per 600 s) refused it",
    ] {
        assert!(told.contains(part), "{part} is not in:\n{told}");
    }
    let (status, told) = why(&gateway, "/slow");
    assert_eq!(status, 504);
    for part in [
        "did not answer in time",
        "backends[slow].firstByteTimeoutMs",
        "aegis.yaml:",
        "Try 1: http://127.0.0.1",
    ] {
        assert!(told.contains(part), "{part} is not in:\n{told}");
    }
    assert!(eventually(SOON, || {
        gateway.get("/fails");
        gateway.opened("broken") > 0
    }));
    gateway.hold_open("broken");
    let (status, told) = why(&gateway, "/fails");
    assert_eq!(status, 503);
    for part in
        ["circuit_open", "An operator keeps the targets away", "breaker open", "not sent to any target"]
    {
        assert!(told.contains(part), "{part} is not in:\n{told}");
    }
    let newest = gateway.admin_json("/api/requests?limit=2");
    assert_eq!(newest["data"].as_array().unwrap().len(), 2, "{newest}");
    let unknown = run(
        gateway.file(".").as_path(),
        &["why", "no-such", "--set", &format!("admin.port={}", gateway.admin.port())],
    );
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no record of request"));
}
