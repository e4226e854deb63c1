//! Active health checks, draining, and what happens when no target is left (sections 2 and 3).

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};

use crate::harness::{Backend, Gate, Gateway, SOON, Upstream, backend_status, eventually};

const CHECKS: &str = "healthCheck: {path: /health, intervalMs: 100, timeoutMs: 300, unhealthyThreshold: 2, healthyThreshold: 2}";

/// An upstream that says its name, with a health endpoint whose status the test sets.
struct Checked {
    upstream: Upstream,
    health: Arc<AtomicU16>,
}

impl Checked {
    fn named(name: &'static str) -> Self {
        let health = Arc::new(AtomicU16::new(200));
        let status = Arc::clone(&health);
        let upstream = Upstream::start(move |exchange| match exchange.target() {
            "/health" => exchange.reply(status.load(SeqCst), &[], b""),
            _ => exchange.ok(name),
        });
        Self { upstream, health }
    }

    fn say(&self, status: u16) {
        self.health.store(status, SeqCst);
    }
}

fn pair(a: &Upstream, b: &Upstream) -> Backend {
    Backend::named("main").to(a).to(b).route("/**").with("loadBalance: roundRobin").with("retries: 0")
}

#[test]
fn an_unhealthy_target_leaves_and_comes_back() {
    let (a, b) = (Checked::named("a"), Checked::named("b"));
    let gateway = Gateway::with(pair(&a.upstream, &b.upstream).with(CHECKS));
    let seen = |name: &str| eventually(SOON, || gateway.get("/x").text() == name);
    assert!(seen("a") && seen("b"));
    a.say(500);
    assert!(eventually(SOON, || !gateway.healthy("main", 0)));
    assert!(gateway.healthy("main", 1));
    (0..20).for_each(|_| assert_eq!(gateway.get("/x").text(), "b"));
    a.say(204);
    assert!(eventually(SOON, || gateway.healthy("main", 0)));
    assert!(seen("a"), "it takes requests again");
}

#[test]
fn the_port_that_is_checked_may_be_another_than_the_one_that_serves() {
    let (service, health) = (Checked::named("service"), Checked::named("health"));
    service.say(500);
    let checks = CHECKS.replace("path:", &format!("port: {}, path:", health.upstream.addr().port()));
    let gateway = Gateway::with(Backend::named("main").to(&service.upstream).route("/**").with(&checks));
    assert!(eventually(SOON, || health.upstream.count() > 2));
    assert!(gateway.healthy("main", 0));
    health.say(503);
    assert!(eventually(SOON, || !gateway.healthy("main", 0)));
    let told = backend_status(&gateway, "main")["targets"][0]["healthCheck"]["lastError"].clone();
    assert_eq!(told, format!("at port {}: status 503", health.upstream.addr().port()));
    assert_eq!(service.upstream.count(), 0);
    health.say(200);
    assert!(eventually(SOON, || gateway.get("/x").text() == "service"));
}

#[test]
fn a_target_that_is_down_or_silent_or_hung_is_unhealthy() {
    let (a, b) = (Checked::named("a"), Checked::named("b"));
    let hung = Upstream::start(|exchange| match exchange.target() {
        "/health" => {
            exchange.wait_for_close();
            Ok(crate::harness::Then::Drop)
        }
        _ => exchange.ok("hung"),
    });
    let gateway = Gateway::with(pair(&a.upstream, &b.upstream).to(&hung).with(CHECKS));
    assert!(eventually(SOON, || !gateway.healthy("main", 2)), "a check that gets no answer fails");
    a.upstream.stop();
    assert!(eventually(SOON, || !gateway.healthy("main", 0)));
    (0..20).for_each(|_| assert_eq!(gateway.get("/x").text(), "b"));
    a.upstream.restart();
    assert!(eventually(SOON, || gateway.healthy("main", 0)));
}

#[test]
fn with_no_healthy_target_requests_fail_fast_or_go_to_all_as_configured() {
    let a = Checked::named("a");
    let backend = |name: &str| Backend::named(name).to(&a.upstream).route(&format!("/{name}")).with(CHECKS);
    let gateway = Gateway::builder()
        .backend(backend("fast"))
        .backend(backend("all").with("whenAllUnhealthy: routeAll"))
        .start();
    a.say(500);
    assert!(eventually(SOON, || !gateway.healthy("fast", 0) && !gateway.healthy("all", 0)));
    gateway.get("/fast").assert_problem(503, "no_healthy_target");
    assert_eq!(gateway.get("/all").text(), "a");
    a.say(200);
    assert!(eventually(SOON, || gateway.get("/fast").text() == "a"));
}

#[test]
fn checks_never_pile_up_on_a_target_that_does_not_answer() {
    let door = Gate::new();
    let theirs = door.clone();
    let upstream = Upstream::start(move |exchange| {
        theirs.wait();
        exchange.ok("late")
    });
    let checks = "healthCheck: {path: /health, intervalMs: 50, timeoutMs: 5000, unhealthyThreshold: 1}";
    let gateway = Gateway::with(Backend::all(&upstream).with(checks));
    assert!(eventually(SOON, || upstream.count() == 1));
    let more = eventually(std::time::Duration::from_millis(400), || upstream.count() > 1);
    assert!(!more, "{} checks in flight", upstream.count());
    door.open();
    assert!(eventually(SOON, || upstream.count() > 2), "and they go on afterwards");
    assert!(gateway.healthy("main", 0));
}

#[test]
fn an_operator_can_drain_a_target_and_take_it_back() {
    let (a, b) = (Upstream::ok("a"), Upstream::ok("b"));
    let gateway = Gateway::with(pair(&a, &b));
    let order = |what: &str| gateway.admin_post(what, "").status;
    assert_eq!(order("/_aegis/backends/main/targets/0/drain"), 200);
    assert!(eventually(SOON, || backend_status(&gateway, "main")["targets"][0]["drained"] == true));
    (0..20).for_each(|_| assert_eq!(gateway.get("/x").text(), "b"));
    assert_eq!(order("/_aegis/backends/main/targets/1/drain"), 200);
    gateway.get("/x").assert_problem(503, "no_healthy_target");
    assert_eq!(order("/_aegis/backends/main/targets/0/undrain"), 200);
    assert_eq!(gateway.get("/x").text(), "a");
    for missing in ["/_aegis/backends/none/targets/0/drain", "/_aegis/backends/main/targets/9/drain"] {
        assert_eq!(order(missing), 404, "{missing}");
    }
}

#[test]
fn an_order_for_a_target_that_has_moved_is_409_with_what_is_there_now() {
    let (a, b) = (Upstream::ok("a"), Upstream::ok("b"));
    let gateway = Gateway::with(pair(&a, &b));
    let url = |at: usize| backend_status(&gateway, "main")["targets"][at]["url"].as_str().unwrap().to_owned();
    let drained = || -> Vec<bool> {
        let status = backend_status(&gateway, "main");
        status["targets"].as_array().unwrap().iter().map(|target| target["drained"] == true).collect()
    };
    let (first, second) = (url(0), url(1));
    let order =
        |what: &str, body: &str| gateway.admin_post(&format!("/_aegis/backends/main/targets/{what}"), body);
    assert_eq!(order("0/drain", &format!(r#"{{"url":"{first}/","generation":1}}"#)).status, 200);
    assert_eq!(order("0/undrain", r#"{"generation":1}"#).status, 200);
    assert_eq!(order("1/drain", &format!(r#"{{"url":"{second}"}}"#)).status, 200);
    assert_eq!(drained(), [false, true]);
    // The first is gone, and the second has its number.
    gateway.rewrite(
        &Gateway::builder().admin(&format!("port: {}", gateway.admin.port())).backend(Backend::all(&b)),
    );
    assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
    assert_eq!((url(0), drained()), (second.clone(), vec![true]));
    for (what, body) in [
        ("0/undrain", format!(r#"{{"url":"{first}"}}"#)),
        ("0/undrain", format!(r#"{{"url":"{second}","generation":1}}"#)),
        ("0/undrain", r#"{"generation":1}"#.to_owned()),
        ("1/undrain", format!(r#"{{"url":"{second}"}}"#)),
    ] {
        let response = order(what, &body);
        // Operators are told what clients must not be.
        assert_eq!((response.status, response.reason()), (409, Some("conflict")), "{what} {body}");
        let now = response.json();
        assert_eq!(now["generation"], 2, "{now}");
        assert_eq!(now["targets"], serde_json::json!([{"target": 0, "url": second, "drained": true}]));
        assert_eq!(drained(), [true], "{what} {body}");
    }
    assert_eq!(order("1/undrain", r#"{"generation":2}"#).status, 404);
    assert_eq!(order("0/undrain", &format!(r#"{{"generation":2,"url":"{second}"}}"#)).status, 200);
    assert_eq!(drained(), [false]);
}

#[test]
fn a_body_of_an_order_that_makes_no_sense_is_400_that_names_it_and_does_nothing() {
    let upstream = Upstream::ok("a");
    let gateway = Gateway::with(Backend::all(&upstream));
    let spaces = " ".repeat(5_000);
    for (body, named) in [
        (r#"{"url":7}"#, "url"),
        (r#"{"url":null}"#, "url"),
        (r#"{"url":"nowhere"}"#, "url"),
        (r#"{"generation":"1"}"#, "generation"),
        (r#"{"generation":-1}"#, "generation"),
        (r#"{"generation":1.5}"#, "generation"),
        (r#"{"generation":1,"urls":"x"}"#, "urls"),
        ("{}", "url"),
        ("[1]", "url"),
        ("drain it", "url"),
        (&format!(r#"{{"generation":{spaces}1}}"#), "4096"),
        (&format!(r#"{{"generation":{}1}}"#, spaces.repeat(20)), "65536"),
    ] {
        for action in ["drain", "undrain"] {
            let response = gateway.admin_post(&format!("/_aegis/backends/main/targets/0/{action}"), body);
            response.assert_problem(400, "bad_request");
            assert!(response.text().contains(named), "{body}: {}", response.text());
        }
    }
    assert_eq!(backend_status(&gateway, "main")["targets"][0]["drained"], false);
}

#[test]
fn requests_in_flight_on_a_drained_target_finish() {
    let gate = Gate::new();
    let theirs = gate.clone();
    let upstream = Upstream::start(move |exchange| {
        theirs.wait();
        exchange.ok("finished")
    });
    let gateway = Gateway::with(Backend::all(&upstream));
    let mut client = gateway.client();
    client.start(&crate::harness::Call::get("/x"));
    assert!(eventually(SOON, || upstream.count() == 1));
    assert_eq!(gateway.admin_post("/_aegis/backends/main/targets/0/drain", "").status, 200);
    gate.open();
    assert_eq!(client.read("GET").unwrap().text(), "finished");
}
