//! `GET /metrics`: what Prometheus is told (section 13).

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::scrape::{scrape, sum};
use crate::harness::{Backend, Call, Gateway, SOON, Upstream, eventually};

#[test]
fn every_name_of_the_contract_is_there_and_the_numbers_are_right() {
    let upstream = Upstream::ok("ok");
    let backend = Backend::named("users").to(&upstream).route("/users/:id").route("/slow");
    let gateway = Gateway::builder()
        .top("rateLimit: {defaultRequests: 1000, rules: [{id: few, match: {endpoint: /users/9}, rateLimit: {requests: 1, windowSeconds: 600}}]}")
        .backend(backend)
        .start();
    for id in 0..20 {
        assert_eq!(gateway.get(&format!("/users/{id}x")).status, 200);
    }
    assert_eq!(gateway.send(&Call::post("/users/1", "body")).status, 200);
    assert_eq!([gateway.get("/users/9").status, gateway.get("/users/9").status], [200, 429]);
    assert_eq!([gateway.get("/none/of/them").status, gateway.get("/nothing").status], [404, 404]);
    let all = |samples: &BTreeMap<String, f64>| sum(samples, "aegis_requests_total", "");
    assert!(eventually(SOON, || all(&scrape(&gateway)) == 25.0));
    let samples = scrape(&gateway);
    let is = |key: &str, value: f64| assert_eq!(samples.get(key), Some(&value), "{key} in {samples:#?}");
    is(r#"aegis_requests_total{route="/users/:id",backend="users",method="GET",status="2xx"}"#, 21.0);
    is(r#"aegis_requests_total{route="/users/:id",backend="users",method="POST",status="2xx"}"#, 1.0);
    is(r#"aegis_requests_total{route="/users/:id",backend="users",method="GET",status="4xx"}"#, 1.0);
    is(r#"aegis_requests_total{route="none",backend="none",method="GET",status="4xx"}"#, 2.0);
    is(r#"aegis_gateway_responses_total{reason="no_route"}"#, 2.0);
    is(r#"aegis_gateway_responses_total{reason="rate_limited"}"#, 1.0);
    is(r#"aegis_ratelimit_decisions_total{rule="few",decision="allowed"}"#, 1.0);
    is(r#"aegis_ratelimit_decisions_total{rule="few",decision="limited"}"#, 1.0);
    is(r#"aegis_ratelimit_decisions_total{rule="default",decision="allowed"}"#, 21.0);
    is(r#"aegis_request_duration_seconds_count{route="/users/:id",backend="users"}"#, 23.0);
    is(r#"aegis_request_duration_seconds_bucket{route="/users/:id",backend="users",le="+Inf"}"#, 23.0);
    is(r#"aegis_upstream_duration_seconds_count{route="/users/:id",backend="users"}"#, 22.0);
    is("aegis_overhead_seconds_count", 22.0);
    is(r#"aegis_in_flight_requests{backend="users"}"#, 0.0);
    is("aegis_config_generation", 1.0);
    is(r#"aegis_config_reloads_total{result="applied"}"#, 0.0);
    is("aegis_websocket_tunnels", 0.0);
    is("aegis_dashboard_sessions", 0.0);
    let target = format!(r#"{{backend="users",target="{}"}}"#, upstream.url());
    is(&format!("aegis_circuit_state{target}"), 0.0);
    is(&format!("aegis_target_healthy{target}"), 1.0);
    is(r#"aegis_retries_total{backend="users",outcome="sent"}"#, 0.0);
    let connections = sum(&samples, "aegis_upstream_connections_total", r#"backend="users""#);
    assert_eq!(connections, 22.0);
    assert_eq!(sum(&samples, "aegis_build_info", "version="), 1.0);
    assert!(samples.contains_key("aegis_store_pending_rollups"));
    is("aegis_uncounted_requests_total", 0.0);
    for name in [
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_start_time_seconds",
    ] {
        assert!(samples[name] > 0.0, "{name}");
    }
    // Buckets are cumulative.
    let buckets = samples.iter().filter(|(key, _)| key.starts_with("aegis_overhead_seconds_bucket"));
    let mut by_bound: Vec<(f64, f64)> = buckets
        .map(|(key, count)| {
            let bound = key.split("le=\"").nth(1).unwrap().trim_end_matches("\"}");
            (bound.replace("+Inf", "inf").parse().unwrap(), *count)
        })
        .collect();
    by_bound.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert!(by_bound.is_sorted_by(|a, b| a.1 <= b.1) && by_bound.len() == 18, "{by_bound:?}");
}

/// The names in the first columns of the tables.
fn documented() -> BTreeSet<String> {
    let rows = include_str!("../../docs/metrics.md").lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split('`').next()).map(str::to_owned).collect()
}

#[test]
fn every_metric_is_documented_and_nothing_else() {
    let gateway = Gateway::with(Backend::all(&Upstream::ok("ok")));
    let page = gateway.ask_admin(Call::get("/metrics")).text();
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let told: BTreeSet<String> = types.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    assert_eq!(told, documented());
}

#[test]
fn a_target_that_is_listed_twice_is_told_once() {
    let upstream = Upstream::ok("ok");
    let gateway = Gateway::with(Backend::named("main").to(&upstream).to(&upstream).route("/x"));
    assert_eq!(gateway.get("/x").status, 200);
    // The scrape itself fails where a sample comes twice: Prometheus would keep either.
    assert_eq!(sum(&scrape(&gateway), "aegis_target_healthy", "main"), 1.0);
}

#[test]
fn a_backend_is_told_by_exact_status_and_a_target_by_what_was_tried_there() {
    let upstream = Upstream::start(|exchange| {
        exchange.body()?;
        match exchange.target().strip_prefix("/status/") {
            Some(code) => exchange.reply(code.parse().unwrap(), &[], b"said"),
            None => exchange.ok("ok"),
        }
    });
    let gone = Upstream::ok("");
    gone.stop();
    let gateway = Gateway::builder()
        .backend(Backend::named("main").to(&upstream).route("/status/:code").route("/x").with("retries: 0"))
        .backend(Backend::named("gone").to(&gone).route("/gone").with("retries: 0").without_breaker())
        .start();
    for code in [200, 204, 404, 418, 418, 503, 799] {
        assert_eq!(gateway.get(&format!("/status/{code}")).status, code);
    }
    assert_eq!(gateway.send(&Call::post("/x", "x".repeat(1_000))).status, 200);
    (0..3).for_each(|_| assert_eq!(gateway.get("/gone").status, 502));
    assert_eq!(gateway.get("/nowhere").status, 404);
    let all = |samples: &BTreeMap<String, f64>| sum(samples, "aegis_requests_total", "");
    assert!(eventually(SOON, || all(&scrape(&gateway)) == 12.0));
    let samples = scrape(&gateway);
    let of = |name: &str, label: &str| sum(&samples, &format!("aegis_{name}"), label);
    let code = |backend: &str, code: &str| {
        of("backend_responses_total", &format!("backend=\"{backend}\",code=\"{code}\""))
    };
    assert_eq!(
        ["200", "204", "404", "418", "503", "other"].map(|c| code("main", c)),
        [2.0, 1.0, 1.0, 2.0, 1.0, 1.0]
    );
    assert_eq!((code("gone", "502"), code("none", "404")), (3.0, 1.0));
    assert_eq!(of("backend_responses_total", ""), 12.0);
    assert_eq!(of("backend_gateway_responses_total", r#"backend="gone",reason="connect_failed""#), 3.0);
    assert_eq!(of("backend_gateway_responses_total", r#"backend="none",reason="no_route""#), 1.0);
    assert_eq!(of("backend_gateway_responses_total", ""), of("gateway_responses_total", ""));
    let target = |name: &str, upstream: &Upstream| of(name, &format!("target=\"{}\"}}", upstream.url()));
    assert_eq!(
        ["target_requests_total", "target_duration_seconds_count"].map(|n| target(n, &upstream)),
        [8.0, 8.0]
    );
    assert!(target("target_duration_seconds_sum", &upstream) > 0.0);
    let counts = ["target_requests_total", "target_failures_total", "target_duration_seconds_count"];
    assert_eq!(counts.map(|name| target(name, &gone)), [3.0, 3.0, 0.0]);
    assert_eq!(of("request_bytes_total", r#"route="/x""#), 1_000.0);
    assert_eq!(of("response_bytes_total", r#"route="/x""#), 2.0);
    assert!(
        of("response_bytes_total", r#"route="/gone""#) > 300.0,
        "the gateway's own answers are some, too"
    );
    assert_eq!((of("client_connections", ""), of("client_connections_accepted_total", "")), (0.0, 12.0));
    let _open = gateway.client().get("/x");
    let client = gateway.client();
    assert!(eventually(SOON, || sum(&scrape(&gateway), "aegis_client_connections", "") == 1.0));
    drop(client);
    assert!(eventually(SOON, || sum(&scrape(&gateway), "aegis_client_connections", "") == 0.0));
    assert_eq!(sum(&scrape(&gateway), "aegis_client_connections_accepted_total", ""), 14.0);
}

#[test]
fn a_breakers_changes_are_counted_by_the_new_state() {
    let upstream = Upstream::status(500);
    let backend = Backend::all(&upstream).with("circuitBreaker: {minRequests: 2}");
    let gateway = Gateway::with(backend.clone());
    let opened = || {
        gateway.get("/x");
        sum(&scrape(&gateway), "aegis_circuit_transitions_total", r#"to="open""#) == 1.0
    };
    assert!(eventually(SOON, opened));
    gateway.hold_open("main");
    assert_eq!(sum(&scrape(&gateway), "aegis_circuit_state", "main"), 2.0);
    // They stay over a reload, and go with the target.
    gateway.rewrite(&Gateway::builder().backend(backend.with("retries: 0")));
    assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
    assert!(opened());
    // A hold would be a new target's, too.
    assert_eq!(gateway.admin_post("/_aegis/backends/main/breaker", r#"{"state":"auto"}"#).status, 200);
    gateway.rewrite(&Gateway::builder().backend(Backend::all(&Upstream::ok("ok"))));
    assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
    let counts = |key: &String| key.starts_with("aegis_circuit_transitions_total");
    assert!(!scrape(&gateway).keys().any(counts));
}

#[test]
fn counts_go_on_over_reloads_and_metrics_are_not_for_the_gateways_clients() {
    let upstream = Upstream::ok("ok");
    let with = |other: &str| {
        Gateway::builder()
            .admin("token: sesame")
            .backend(Backend::named("main").to(&upstream).route("/x").route(other))
    };
    let gateway = with("/a").start();
    gateway.get("/x");
    gateway.rewrite(&with("/b"));
    assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
    gateway.get("/x");
    let key = r#"aegis_requests_total{route="/x",backend="main",method="GET",status="2xx"}"#;
    assert!(eventually(SOON, || scrape(&gateway).get(key) == Some(&2.0)));
    assert_eq!(gateway.get("/metrics").status, 404);
    let call = |path: &str| Call::get(path).header("Authorization", "Bearer sesame");
    assert_eq!(gateway.send(&call("/metrics")).status, 404);
    assert_eq!(gateway.send(&call("/_aegis/metrics")).status, 404);
}

#[cfg(feature = "test-hooks")]
#[test]
fn an_aggregator_that_dies_loses_a_batch_at_most() {
    let upstream = Upstream::ok("ok");
    let mut gateway = Gateway::with(Backend::all(&upstream));
    gateway.expect_panics();
    let load = crate::harness::Load::start(gateway.addr, 4, std::time::Duration::from_millis(1), "/x");
    load.wait_for(500);
    // A worker sends what it has five times a second: what these requests came to is with the actor, or on its way.
    let before = load.done();
    load.wait_for(400);
    assert_eq!(gateway.admin_post("/_aegis/test/panic/metrics_aggregator", "").status, 200);
    load.wait_for(400);
    let after = load.done();
    load.wait_for(500);
    let done = load.stop_flawless();
    let counted = || sum(&scrape(&gateway), "aegis_requests_total", r#"route="/**""#) as usize;
    assert!(eventually(SOON, || counted() >= done - (after - before)), "{} of {done}", counted());
    assert!(counted() <= done);
}
