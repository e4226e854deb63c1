//! What counts as traffic, and as latency (section 3).

use serde_json::Value;

use crate::harness::history::data;
use crate::harness::scrape::{scrape, sum};
use crate::harness::{Backend, Call, Gateway, SOON, Upstream, eventually};

/// Every number that tells of traffic.
fn traffic(gateway: &Gateway) -> (u64, f64, Value, usize) {
    let overview = data(gateway, "overview?range=5m");
    let status = gateway.admin_json("/_aegis/status");
    let top = data(gateway, "top-endpoints");
    (
        overview["totalRequests"].as_u64().unwrap(),
        sum(&scrape(gateway), "aegis_requests_total", ""),
        status["requests"].clone(),
        top.as_array().unwrap().len(),
    )
}

#[test]
fn what_the_gateway_answers_on_its_own_account_is_no_traffic() {
    let upstream = Upstream::ok("ok");
    let gateway = Gateway::builder()
        .top("metrics: {store: none}")
        .admin("token: sesame")
        .backend(Backend::named("main").to(&upstream).route("/x"))
        .start();
    for _ in 0..20 {
        assert_eq!(gateway.get("/health").status, 200);
        assert_eq!(gateway.get("/healthz/").status, 200);
        assert_eq!(gateway.get("/ready").status, 200);
        assert_eq!(gateway.get("/_aegis/status").status, 401);
    }
    let bearer = Call::get("/_aegis/status").header("Authorization", "Bearer sesame");
    assert_eq!(gateway.send(&bearer).status, 200);
    assert_eq!(gateway.send(&Call::new("OPTIONS", "*")).status, 204);
    assert_eq!(gateway.get("/x").status, 200);
    let endpoint =
        |path: &str| sum(&scrape(&gateway), "aegis_internal_requests_total", &format!("endpoint=\"{path}\""));
    assert!(eventually(SOON, || traffic(&gateway).0 == 1));
    let (total, counted, status, top) = traffic(&gateway);
    assert_eq!((total, counted, top), (1, 1.0, 1), "the one that a route served");
    assert_eq!((&status["total"], &status["madeByGateway"]), (&1.into(), &0.into()), "{status}");
    let endpoints = ["/health", "/healthz", "/ready", "/_aegis/", "*"].map(endpoint);
    assert_eq!(endpoints, [20.0, 20.0, 20.0, 21.0, 1.0]);
    assert_eq!(sum(&scrape(&gateway), "aegis_gateway_responses_total", ""), 0.0);
}

#[test]
fn a_probe_that_is_told_not_ready_is_no_failure() {
    let dead = Backend::named("main").target("url: http://127.0.0.1:1").route("/**");
    let gateway = Gateway::builder()
        .top("metrics: {store: none}")
        .top("alerts: {checkIntervalMs: 100, rules: [{id: errors, condition: {metric: error_rate, operator: '>', threshold: 0.5, windowSeconds: 60}}, {id: silence, condition: {metric: request_rate, operator: '<', threshold: 0.1, windowSeconds: 2}}]}")
        .backend(dead.with("healthCheck: {intervalMs: 100, unhealthyThreshold: 1}"))
        .start();
    let firing = || -> Vec<String> {
        let alerts = gateway.admin_json("/api/alerts");
        let rules = alerts["data"].as_array().unwrap().iter();
        rules.map(|alert| alert["rule"].as_str().unwrap().to_owned()).collect()
    };
    assert!(eventually(SOON, || gateway.get("/ready").status == 503));
    // Asked all the time, and yet nobody asks for anything.
    assert!(eventually(4 * SOON, || gateway.get("/ready").status == 503 && !firing().is_empty()));
    assert_eq!(firing(), ["silence"]);
    let overview = data(&gateway, "overview?range=5m");
    assert_eq!(
        (&overview["totalRequests"], &overview["failedRequests"]),
        (&0.into(), &0.into()),
        "{overview}"
    );
    assert_eq!(gateway.admin_json("/api/requests")["data"], serde_json::json!([]));
}

#[test]
fn the_probes_have_the_paths_and_hosts_that_are_configured() {
    let upstream = Upstream::ok("theirs");
    let with = |probes: &str| {
        Gateway::builder().server(&format!("probes: {probes}")).backend(Backend::all(&upstream))
    };
    let gateway = with("{health: [/up], ready: [/go, /go/on], hosts: [lb.test]}").start();
    let ask = |host: &str, path: &str| gateway.send(&Call::get(path).header("Host", host)).text();
    for path in ["/up", "/go", "/go/on", "/up/"] {
        assert!(ask("lb.test", path).contains("status"), "{path}");
        assert_eq!(ask("a.test", path), "theirs", "{path}");
    }
    for path in ["/health", "/healthz", "/ready", "/up/x"] {
        assert_eq!(ask("lb.test", path), "theirs", "{path}");
    }
    gateway.rewrite(&with("{health: [/health], ready: [/up]}"));
    assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
    assert!(ask("a.test", "/up").contains("ready"));
    assert_eq!(ask("lb.test", "/go"), "theirs");
    assert_eq!(sum(&scrape(&gateway), "aegis_internal_requests_total", "\"/up\""), 3.0, "over the reload");
    gateway.rewrite(&with("{ready: ['/:any']}"));
    let refused = gateway.admin_post("/_aegis/reload", "");
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("stands for several paths"), "{}", refused.text());
}
