//! How a target comes back: a restart, a check that finds it well, a breaker that is switched.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Backend, Client, Gateway, SOON, Then, Upstream, backend_status, eventually, holds_for};

/// An upstream that resets everything while it is ill.
fn moody() -> (Upstream, Arc<AtomicBool>) {
    let ill = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&ill);
    let upstream = Upstream::start(
        move |exchange| if theirs.load(SeqCst) { Ok(Then::Reset) } else { exchange.ok("well") },
    );
    (upstream, ill)
}

#[test]
fn a_sole_target_that_was_away_for_a_second_serves_everybody_within_another() {
    // The longer one outlasts the first pause, so that the first probe fails and the next pause is two seconds.
    for away in [1_000, 1_400] {
        let upstream = Upstream::ok("ok");
        let gateway = Gateway::with(Backend::all(&upstream));
        assert_eq!(gateway.get("/x").status, 200);
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let (stop, addr) = (Arc::clone(&stop), gateway.addr);
                thread::spawn(move || {
                    let (mut failed, mut last) = (0, Instant::now());
                    while !stop.load(SeqCst) {
                        if Client::connect(addr).get("/x").status != 200 {
                            (failed, last) = (failed + 1, Instant::now());
                        }
                        thread::sleep(Duration::from_millis(5));
                    }
                    (failed, last)
                })
            })
            .collect();
        upstream.stop();
        thread::sleep(Duration::from_millis(away)); // how long a service takes to start again
        upstream.restart();
        let back = Instant::now();
        assert!(eventually(SOON, || gateway.circuit("main") == "closed" && gateway.get("/x").status == 200));
        assert!(holds_for(Duration::from_millis(500), || gateway.circuit("main") == "closed"));
        stop.store(true, SeqCst);
        let seen: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        assert!(seen.iter().any(|(failed, _)| *failed > 0), "nobody noticed that it was away");
        assert!(gateway.opened("main") > 0, "the breaker never opened");
        let late = seen.iter().map(|(_, last)| last.saturating_duration_since(back)).max().unwrap();
        assert!(
            late < Duration::from_secs(1),
            "away for {away} ms: a request failed {late:?} after it was back"
        );
    }
}

#[test]
fn a_check_that_finds_the_target_well_again_ends_the_pause() {
    let (upstream, ill) = moody();
    let checks = "healthCheck: {path: /health, intervalMs: 100, timeoutMs: 90, unhealthyThreshold: 1000}";
    let backend = Backend::all(&upstream).with("retries: 0").with(checks);
    let gateway = Gateway::with(backend.with("circuitBreaker: {failureThreshold: 1}"));
    ill.store(true, SeqCst);
    // Three probes fail: the next pause is eight seconds.
    assert!(eventually(Duration::from_secs(30), || {
        gateway.get("/x");
        gateway.opened("main") > 3
    }));
    assert!(gateway.healthy("main", 0));
    ill.store(false, SeqCst);
    let begun = Instant::now();
    assert!(eventually(SOON, || gateway.get("/x").status == 200));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let events = gateway.admin_json("/_aegis/status")["events"].to_string();
    assert!(events.contains("the target was found well"), "{events}");
}

#[test]
fn the_tries_of_one_request_count_once() {
    let (upstream, ill) = moody();
    ill.store(true, SeqCst);
    let breaker = "circuitBreaker: {failureThreshold: 2, failureRate: 0}";
    let gateway = Gateway::with(Backend::all(&upstream).with("retries: 2").with(breaker));
    assert_eq!(gateway.get("/x").reason(), Some("upstream_reset"));
    assert_eq!(upstream.count(), 3);
    let window = || backend_status(&gateway, "main")["targets"][0]["window"].clone();
    assert!(eventually(SOON, || window()["calls"] == 1), "{}", window());
    assert_eq!((window()["consecutiveFailures"].clone(), gateway.opened("main")), (1.into(), 0));
}

#[test]
fn a_breaker_that_is_off_never_opens_and_a_reload_switches_it() {
    let (upstream, ill) = moody();
    ill.store(true, SeqCst);
    let backend = |breaker: &str| {
        Gateway::builder()
            .server("workers: 1")
            .backend(Backend::all(&upstream).with("retries: 0").with(breaker))
    };
    let (on, off) = ("circuitBreaker: {failureThreshold: 2}", "circuitBreaker: {enabled: false}");
    let gateway = backend(off).start();
    let switch = |to: &str| {
        gateway.rewrite(&backend(to));
        assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
    };
    let open = || gateway.get("/x").reason() == Some("circuit_open");
    (0..50).for_each(|_| assert_eq!(gateway.get("/x").reason(), Some("upstream_reset")));
    assert_eq!(backend_status(&gateway, "main")["circuitEnabled"], false);
    assert_eq!((gateway.circuit("main").as_str(), gateway.opened("main")), ("closed", 0));
    switch(on);
    assert_eq!(backend_status(&gateway, "main")["circuitEnabled"], true);
    assert!(eventually(SOON, open));
    switch(off);
    assert!(eventually(SOON, || gateway.circuit("main") == "closed"));
    (0..50).for_each(|_| assert_eq!(gateway.get("/x").reason(), Some("upstream_reset")));
    // An operator's word counts all the same.
    gateway.hold_open("main");
    assert!(open());
}
