//! What is printed of a panic, in a request and in an actor (builds with `test-hooks`; section 7).

use std::time::Duration;

use serde_json::Value;

use crate::harness::{Backend, Gateway, SOON, Upstream, eventually};

#[test]
fn a_request_whose_handler_panicked_is_logged_once_as_500_internal_error() {
    let upstream = Upstream::ok("ok");
    let mut gateway = Gateway::builder()
        .top("logging: {level: info, format: json, accessLog: true}")
        .backend(Backend::all(&upstream))
        .start();
    gateway.expect_panics();
    assert!(gateway.admin_post("/_aegis/test/panic/next-request", "").status < 300);
    let response = gateway.get("/unlucky");
    response.assert_problem(500, "internal_error");
    let id = response.header("x-request-id").unwrap().to_owned();
    assert_eq!(gateway.get("/lucky").status, 200);
    let lines = |path: &str| -> Vec<Value> {
        let log = gateway.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["path"] == path).collect()
    };
    // The later line comes behind the earlier one, or from the other worker at the next beat.
    assert!(
        eventually(SOON, || lines("/lucky").len() == 1 && !lines("/unlucky").is_empty()),
        "{}",
        gateway.log()
    );
    let lines = lines("/unlucky");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(
        (&lines[0]["status"], &lines[0]["reason"], &lines[0]["requestId"]),
        (&500.into(), &"internal_error".into(), &id.into()),
        "{}",
        lines[0]
    );
}

#[test]
fn an_actor_that_panicked_leaves_its_backtrace_behind_though_nobody_waited_for_it() {
    let upstream = Upstream::ok("ok");
    let mut gateway = Gateway::with(Backend::all(&upstream));
    gateway.expect_panics();
    assert!(gateway.admin_post("/_aegis/test/panic/circuit_breaker", "").status < 300);
    assert!(eventually(SOON, || gateway.log().contains("circuit_breaker runs again as instance 2")));
    // Names are found when there is time for it: seconds later on a busy machine.
    let written = || {
        let log = gateway.log();
        log.split_once("stack backtrace of thread")
            .is_some_and(|(_, rest)| rest.contains("CircuitBreakerActor"))
    };
    assert!(eventually(Duration::from_secs(20), written), "{}", gateway.log());
}
