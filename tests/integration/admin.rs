//! The admin listener's endpoints (section 3).

use crate::harness::{Backend, Builder, Call, Gateway, SOON, Upstream, backend_status, eventually};

fn plain() -> (Upstream, Builder) {
    let upstream = Upstream::ok("ok");
    let backend = Backend::named("main")
        .to(&upstream)
        .route("/api/users")
        .route("/api/users/:id")
        .route("/api/*")
        .route("{path: /api/**, methods: [GET]}");
    (upstream, Gateway::builder().backend(backend))
}

#[test]
fn health_and_ready_say_that_the_gateway_lives_and_serves() {
    let (_upstream, builder) = plain();
    let gateway = builder.start();
    for target in ["/health", "/healthz", "/ready"] {
        let response = gateway.ask_admin(Call::get(target));
        assert_eq!(response.status, 200, "{target}");
        assert!(response.json().is_object(), "{target}: {}", response.text());
    }
}

#[test]
fn ready_is_503_while_no_backend_could_serve() {
    let upstream = Upstream::status(500);
    let checks = "healthCheck: {path: /health, intervalMs: 100, timeoutMs: 300, unhealthyThreshold: 1}";
    let gateway = Gateway::with(Backend::all(&upstream).with(checks));
    assert!(eventually(SOON, || gateway.ask_admin(Call::get("/ready")).status == 503));
    assert_eq!(gateway.get("/ready").status, 503, "on the gateway listener too");
    assert_eq!(gateway.get("/health").status, 200, "it still lives");
}

#[test]
fn status_tells_version_uptime_configuration_and_every_target() {
    let (upstream, builder) = plain();
    let gateway = builder.start();
    assert_eq!(gateway.get("/api/users").status, 200);
    let status = gateway.admin_json("/_aegis/status");
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(status["uptimeSeconds"].is_number(), "{status}");
    assert_eq!(status["workers"], 2, "{status}");
    assert_eq!(status["config"]["generation"], 1, "{status}");
    assert!(status["config"]["hash"].as_str().is_some_and(|hash| !hash.is_empty()), "{status}");
    assert_eq!(status["draining"], false, "{status}");
    assert!(status["inFlight"].is_number(), "{status}");
    let main = backend_status(&gateway, "main");
    let target = &main["targets"][0];
    assert_eq!(target["url"], upstream.url());
    assert_eq!((&target["healthy"], &target["drained"]), (&true.into(), &false.into()), "{target}");
    assert_eq!(target["circuit"], "closed", "{target}");
    assert!(eventually(SOON, || gateway.in_flight() == 0), "{target}");
}

#[test]
fn routes_come_most_specific_first_with_their_hits() {
    let (_upstream, builder) = plain();
    let gateway = builder.start();
    (0..3).for_each(|i| assert_eq!(gateway.get(&format!("/api/users/{i}")).status, 200));
    let shown = || {
        let answer = gateway.admin_json("/_aegis/routes");
        answer["routes"].as_array().unwrap_or_else(|| panic!("no routes in {answer}")).clone()
    };
    let table: Vec<_> = shown().iter().map(|r| (r["path"].clone(), r["specificity"].clone())).collect();
    let expected = [("/api/users/:id", 315), ("/api/users", 220), ("/api/*", 200), ("/api/**", 160)];
    assert_eq!(table, expected.map(|(path, specificity)| (path.into(), specificity.into())));
    assert!(eventually(SOON, || shown()[0]["hits"] == 3), "{:?}", shown());
    assert_eq!(shown()[0]["backend"], "main");
    assert!(!shown()[0]["lastHit"].is_null() && shown()[1]["lastHit"].is_null());
}

#[test]
fn the_running_configuration_is_shown_without_its_secrets() {
    let (_upstream, builder) = plain();
    let gateway = builder.admin("token: very-secret-token").start();
    let response = gateway.ask_admin(Call::get("/_aegis/config"));
    assert_eq!(response.status, 200);
    assert!(!response.text().contains("very-secret-token"), "{}", response.text());
    let config = response.json();
    assert_eq!(config["backends"][0]["name"], "main", "{config}");
    assert_eq!(config["server"]["shutdownTimeoutMs"], 400, "{config}");
    assert!(!gateway.log().contains("very-secret-token"));
}

#[test]
fn state_changes_are_post_only() {
    let (_upstream, builder) = plain();
    let gateway = builder.start();
    for target in ["/_aegis/reload", "/_aegis/backends/main/targets/0/drain", "/_aegis/backends/main/breaker"]
    {
        let response = gateway.ask_admin(Call::get(target));
        assert_eq!(response.status, 405, "{target}");
        assert!(response.head.lists("allow", "POST"), "{target}: {:?}", response.head);
    }
    assert_eq!(backend_status(&gateway, "main")["targets"][0]["drained"], false);
    assert_eq!(gateway.admin_json("/_aegis/status")["config"]["generation"], 1);
}

#[test]
fn what_the_admin_listener_does_not_know_is_404() {
    let (upstream, builder) = plain();
    let gateway = builder.start();
    for target in ["/nothing", "/_aegis/nothing", "/api/users", "/../etc/passwd", "/_aegis/config/../../x"] {
        assert_eq!(gateway.ask_admin(Call::get(target)).status, 404, "{target}");
    }
    assert_eq!(upstream.count(), 0, "the admin listener proxies nothing");
}

#[test]
fn a_reload_of_an_unchanged_file_is_fine_and_changes_nothing() {
    let (_upstream, builder) = plain();
    let gateway = builder.start();
    let hash = || gateway.admin_json("/_aegis/status")["config"]["hash"].clone();
    let before = hash();
    let response = gateway.admin_post("/_aegis/reload", "");
    assert_eq!((response.status, &response.json()["changed"]), (200, &serde_json::json!([])));
    assert_eq!(hash(), before);
}

#[test]
fn ready_is_200_where_a_backend_serves_although_all_its_targets_are_unhealthy() {
    let upstream = Upstream::start(|exchange| match exchange.target() {
        "/health" => exchange.reply(500, &[], b"ill"),
        _ => exchange.ok("served"),
    });
    let checks = "healthCheck: {path: /health, intervalMs: 100, timeoutMs: 300, unhealthyThreshold: 1}";
    let gateway = Gateway::with(Backend::all(&upstream).with(checks).with("whenAllUnhealthy: routeAll"));
    assert!(eventually(SOON, || !gateway.healthy("main", 0)));
    assert_eq!(gateway.get("/x").text(), "served");
    assert_eq!(gateway.get("/ready").status, 200);
    assert_eq!(gateway.ask_admin(Call::get("/ready")).status, 200);
    assert_eq!(gateway.admin_post("/_aegis/backends/main/targets/0/drain", "").status, 200);
    assert_eq!(gateway.get("/ready").status, 503, "a drained target serves nobody");
}

#[test]
fn every_answer_is_in_the_total_those_to_requests_that_could_not_be_read_too() {
    let (_upstream, builder) = plain();
    let gateway = builder.start();
    (0..3).for_each(|_| assert_eq!(gateway.get("/api/users").status, 200));
    let mut client = gateway.client();
    client.write("GET / HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n");
    assert_eq!(client.read("GET").unwrap().status, 400);
    let counted = || gateway.admin_json("/_aegis/status")["requests"].clone();
    assert!(eventually(SOON, || counted()["total"] == 4), "{}", counted());
    let requests = counted();
    let classes = requests["byStatus"].as_object().unwrap();
    assert_eq!(classes.values().map(|n| n.as_u64().unwrap()).sum::<u64>(), 4, "{requests}");
}
