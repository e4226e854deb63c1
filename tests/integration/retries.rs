//! Retries: of what, where to, how often, within which budget (section 6; A5).

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Backend, Call, Gateway, Port, SOON, Then, Upstream, eventually};

fn retrying(upstream: &Upstream) -> Gateway {
    Gateway::with(Backend::all(upstream).without_breaker().with("retries: 2"))
}

#[test]
fn a_get_succeeds_after_two_failures_whatever_the_failure() {
    for (name, upstream) in [
        ("503", Upstream::sequence(&[503, 503, 200])),
        ("502 and 504", Upstream::sequence(&[502, 504, 200])),
        ("reset", failing_twice(|| Then::Reset)),
        ("close", failing_twice(|| Then::Drop)),
    ] {
        assert_eq!(retrying(&upstream).get("/x").status, 200, "{name}");
        assert_eq!(upstream.count(), 3, "{name}");
    }
}

fn failing_twice(then: fn() -> Then) -> Upstream {
    Upstream::start(move |exchange| if exchange.number < 2 { Ok(then()) } else { exchange.ok("at last") })
}

#[test]
fn every_idempotent_method_is_retried_and_no_other() {
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "POST", "PATCH", "PROPFIND"] {
        let upstream = Upstream::sequence(&[503, 503, 200]);
        let response = retrying(&upstream).send(&Call::new(method, "/x"));
        let retried = !["POST", "PATCH", "PROPFIND"].contains(&method);
        assert_eq!(
            (response.status, upstream.count()),
            if retried { (200, 3) } else { (503, 1) },
            "{method}"
        );
        assert_eq!(response.reason(), None, "{method}: the upstream's own answer is passed on");
    }
}

#[test]
fn statuses_that_mean_no_failure_are_passed_on_at_once() {
    for status in [400, 401, 404, 408, 429, 500, 501] {
        let upstream = Upstream::status(status);
        let response = retrying(&upstream).get("/x");
        assert_eq!((response.status, upstream.count()), (status, 1));
        assert_eq!(response.text(), "said the upstream");
    }
}

#[test]
fn the_last_failure_is_passed_on_when_every_try_fails() {
    let upstream = Upstream::status(503);
    let response = retrying(&upstream).get("/x");
    assert_eq!((response.status, response.text().as_str(), upstream.count()), (503, "said the upstream", 3));
}

#[test]
fn a_small_body_is_sent_again_whole_and_a_large_one_is_not_retried() {
    let upstream = Upstream::sequence(&[503, 503, 200]);
    let small = "s".repeat(64 * 1024);
    assert_eq!(retrying(&upstream).send(&Call::new("PUT", "/x").body(small.as_str())).status, 200);
    assert_eq!(upstream.count(), 3);
    assert!(upstream.requests().iter().all(|request| request.body == small.as_bytes()));

    let upstream = Upstream::sequence(&[503, 503, 200]);
    let large = "l".repeat(200 * 1024);
    assert_eq!(retrying(&upstream).send(&Call::new("PUT", "/x").body(large)).status, 503);
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_refused_connection_is_retried_elsewhere_for_every_method() {
    let (dead, alive) = (Port::reserve(), Upstream::echo());
    let backend = Backend::named("main").target(&format!("url: \"{}\"", dead.url())).to(&alive).route("/**");
    let gateway = Gateway::with(backend.without_breaker().with("retries: 1").with("loadBalance: roundRobin"));
    // Three, because the budget guarantees three retries a second.
    for i in 0..3 {
        let response = gateway.send(&Call::post("/x", format!("body {i}")));
        assert_eq!((response.status, &response.json()["body"]), (200, &format!("body {i}").into()));
    }
}

#[test]
fn a_retry_goes_to_a_different_target() {
    let (bad, good) = (Upstream::status(503), Upstream::ok("good"));
    let backend = Backend::named("main").to(&bad).to(&good).route("/**").without_breaker().with("retries: 1");
    let gateway =
        Gateway::builder().server("workers: 1").backend(backend.with("loadBalance: roundRobin")).start();
    for _ in 0..3 {
        assert_eq!(gateway.get("/x").text(), "good");
    }
    assert!((1..=3).contains(&bad.count()), "{}", bad.count());
}

#[test]
fn a_try_that_stays_silent_is_given_up_for_another() {
    let upstream = Upstream::start(|exchange| {
        if exchange.number > 0 {
            return exchange.ok("the second answers");
        }
        exchange.wait_for_close();
        Ok(Then::Drop)
    });
    let gateway = Gateway::with(Backend::all(&upstream).with("firstByteTimeoutMs: 1000").with("retries: 1"));
    assert_eq!(gateway.get("/x").text(), "the second answers");
}

#[test]
fn the_timeout_of_the_request_covers_all_tries() {
    let upstream = Upstream::start(|exchange| {
        exchange.wait_for_close();
        Ok(Then::Drop)
    });
    let backend =
        Backend::all(&upstream).without_breaker().with("retries: 50").with("firstByteTimeoutMs: 200");
    let gateway = Gateway::with(backend.with("timeout: 700ms"));
    let started = Instant::now();
    gateway.get("/x").assert_problem(504, "upstream_timeout");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert!(upstream.count() >= 2);
}

#[test]
fn nothing_is_retried_once_a_byte_has_been_passed_on() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf", Then::Reset);
    let gateway = retrying(&upstream);
    let broken = gateway.client().try_send(&Call::get("/x"));
    assert!(!matches!(&broken, Ok(response) if response.status == 200), "{broken:?}");
    assert_eq!(upstream.count(), 1);
}

#[test]
fn with_every_target_failing_under_load_tries_stay_within_the_budget() {
    let (a, b) = (Upstream::status(503), Upstream::status(503));
    let backend = Backend::named("main").to(&a).to(&b).route("/**").without_breaker().with("retries: 2");
    let gateway = Gateway::with(backend);
    let (sent, begun) = (AtomicUsize::new(0), Instant::now());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = gateway.client();
                for _ in 0..125 {
                    assert_eq!(client.get("/x").status, 503);
                    sent.fetch_add(1, Relaxed);
                }
            });
        }
    });
    let (sent, tries) = (sent.load(Relaxed), a.count() + b.count());
    assert_eq!(sent, 1000);
    assert!(tries > sent, "some are retried");
    // A fifth of the requests, and three a second whatever their number.
    let most = sent + sent / 5 + 3 * (begun.elapsed().as_secs() as usize + 2);
    assert!(tries <= most, "{tries} tries for {sent} requests, at most {most}");
}

#[test]
fn a_pooled_connection_that_the_upstream_had_closed_costs_neither_a_failure_nor_a_retry() {
    // Answers once on each connection as if it would live on, then closes it.
    let closing = Upstream::start(|exchange| exchange.ok("once").map(|_| Then::Drop));
    // Answers once, and closes without an answer when a second request comes.
    let dropping =
        Upstream::start(|exchange| if exchange.nth > 0 { Ok(Then::Drop) } else { exchange.ok("once") });
    let fragile = |backend: Backend| backend.with("retries: 0").with("circuitBreaker: {failureThreshold: 1}");
    let gateway = Gateway::builder()
        .server("workers: 1")
        .backend(fragile(Backend::named("closing").to(&closing).route("/closing")))
        .backend(fragile(Backend::named("dropping").to(&dropping).route("/dropping")))
        .start();
    let mut client = gateway.client();
    for i in 0..20 {
        assert_eq!(client.get("/closing").text(), "once", "GET {i}");
        assert_eq!(client.get("/dropping").text(), "once", "GET {i}");
        assert!(eventually(SOON, || closing.open() == 0));
        assert_eq!(client.send(&Call::post("/closing", "body")).text(), "once", "POST {i}");
    }
    for backend in ["closing", "dropping"] {
        assert_eq!(gateway.circuit(backend), "closed", "{backend}");
    }
}

#[test]
fn a_retry_that_finds_nobody_left_passes_on_what_the_upstream_had_said() {
    let breaker = "circuitBreaker: {minRequests: 1}";
    for others in [0, 1] {
        let upstream = Upstream::status(503);
        let mut backend = Backend::named("main").to(&upstream).route("/**").with("retries: 2").with(breaker);
        let idle = Upstream::ok("drained");
        for _ in 0..others {
            backend = backend.to(&idle);
        }
        let gateway = Gateway::with(backend);
        if others > 0 {
            assert_eq!(gateway.admin_post("/_aegis/backends/main/targets/1/drain", "").status, 200);
        }
        // Its failure opens the breaker before the pause that precedes the retry is over.
        let response = gateway.get("/x");
        assert_eq!((response.status, response.text().as_str()), (503, "said the upstream"), "{response:?}");
        assert_eq!(response.reason(), None);
        assert!(eventually(SOON, || gateway.get("/x").reason() == Some("circuit_open")));
        assert_eq!(idle.count(), 0);
    }
}
