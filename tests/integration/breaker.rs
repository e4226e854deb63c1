//! The circuit breaker, seen from outside (section 6; A6).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::harness::{
    Backend, Call, Client, Gate, Gateway, Response, SOON, Then, Upstream, eventually, holds_for,
};

/// What a client is told when the connection is reset.
const ILL: Option<&str> = Some("upstream_reset");

/// An upstream whose health the test turns: `0` resets the connection, `1` answers 200, `2` holds requests until the
/// gate opens and then answers 200, `3` holds them until the gateway gives up.
struct Patient {
    upstream: Upstream,
    mode: Arc<AtomicU8>,
    gate: Gate,
    given_up: Gate,
}

impl Patient {
    fn new() -> Self {
        let (mode, gate, given_up) = (Arc::new(AtomicU8::new(0)), Gate::new(), Gate::new());
        let (its_mode, its_gate, its_end) = (Arc::clone(&mode), gate.clone(), given_up.clone());
        let upstream = Upstream::start(move |exchange| match its_mode.load(SeqCst) {
            0 => Ok(Then::Reset),
            1 => exchange.ok("well"),
            2 => {
                its_gate.wait();
                exchange.ok("well after all")
            }
            _ => {
                if exchange.wait_for_close() {
                    its_end.open();
                }
                Ok(Then::Drop)
            }
        });
        Self { upstream, mode, gate, given_up }
    }

    fn turn(&self, mode: u8) {
        self.mode.store(mode, SeqCst);
    }

    fn behind(&self, breaker: &str) -> Gateway {
        let backend = Backend::all(&self.upstream).with("retries: 0");
        Gateway::with(backend.with(&format!("circuitBreaker: {{failureRate: 0, {breaker}}}")))
    }

    /// Sends failing requests until the breaker is seen to be open.
    fn trip(&self, gateway: &Gateway) {
        self.turn(0);
        let refused = || gateway.get("/x").reason() == Some("circuit_open");
        assert!(eventually(SOON, refused), "the breaker never opens");
    }
}

#[test]
fn the_breaker_opens_at_the_threshold_and_then_nothing_reaches_the_target() {
    let patient = Patient::new();
    let gateway = patient.behind("failureThreshold: 4");
    for i in 0..3 {
        assert_eq!(gateway.get("/x").reason(), ILL, "failure {i}");
    }
    assert!(holds_for(Duration::from_millis(200), || gateway.circuit("main") == "closed"));
    assert_eq!(gateway.get("/x").reason(), ILL, "the fourth reaches the target too");
    assert!(eventually(SOON, || gateway.circuit("main") == "open"));
    for _ in 0..50 {
        gateway.get("/x").assert_problem(503, "circuit_open");
    }
    assert_eq!(patient.upstream.count(), 4);
}

#[test]
fn a_success_in_between_starts_the_count_again() {
    let patient = Patient::new();
    // One worker: between workers the order of what happened is not defined.
    let breaker = "circuitBreaker: {failureThreshold: 3, failureRate: 0}";
    let backend = Backend::all(&patient.upstream).with("retries: 0").with(breaker);
    let gateway = Gateway::builder().server("workers: 1").backend(backend).start();
    for _ in 0..5 {
        patient.turn(0);
        (0..2).for_each(|_| assert_eq!(gateway.get("/x").reason(), ILL));
        patient.turn(1);
        assert_eq!(gateway.get("/x").status, 200);
    }
    assert!(holds_for(Duration::from_millis(100), || gateway.circuit("main") == "closed"));
}

#[test]
fn the_callers_own_mistakes_never_open_it() {
    for status in [400, 401, 403, 404, 408, 422, 429, 501, 505] {
        let upstream = Upstream::status(status);
        let backend = Backend::all(&upstream).with("circuitBreaker: {failureThreshold: 2, minRequests: 2}");
        let gateway = Gateway::with(backend);
        for _ in 0..10 {
            assert_eq!(gateway.get("/x").text(), "said the upstream", "{status}");
        }
        assert_eq!((gateway.circuit("main").as_str(), upstream.count()), ("closed", 10), "{status}");
    }
}

#[test]
fn a_share_of_failures_opens_it_once_the_window_holds_enough() {
    let upstream = Upstream::start(|exchange| {
        let status = if exchange.number % 2 == 0 { 500 } else { 200 };
        exchange.reply(status, &[], b"as it comes")
    });
    let rates = "circuitBreaker: {failureThreshold: 0, failureRate: 0.5, minRequests: 10, windowMs: 60000}";
    let gateway = Gateway::with(Backend::all(&upstream).with("retries: 0").with(rates));
    for _ in 0..9 {
        assert_eq!(gateway.get("/x").text(), "as it comes");
    }
    assert!(eventually(SOON, || gateway.get("/x").reason() == Some("circuit_open")));
    assert!(upstream.count() >= 10);
}

#[test]
fn after_the_pause_one_probe_closes_it_again() {
    let patient = Patient::new();
    let gateway = patient.behind("failureThreshold: 2, resetTimeoutMs: 200");
    patient.trip(&gateway);
    patient.turn(1);
    assert!(eventually(SOON, || gateway.get("/x").text() == "well"), "no probe is ever let through");
    assert!(eventually(SOON, || gateway.circuit("main") == "closed"));
    (0..20).for_each(|_| assert_eq!(gateway.get("/x").text(), "well"));
}

#[test]
fn half_open_fifty_requests_at_once_put_exactly_one_on_the_wire() {
    let patient = Patient::new();
    let gateway = patient.behind("failureThreshold: 2, resetTimeoutMs: 300");
    patient.trip(&gateway);
    patient.turn(2);
    let before = patient.upstream.count();
    let mut held: Option<mpsc::Receiver<Response>> = None;
    let round = || {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..50 {
            let (sender, addr) = (sender.clone(), gateway.addr);
            thread::spawn(move || drop(sender.send(Client::connect(addr).get("/x"))));
        }
        drop(sender);
        for _ in 0..49 {
            receiver
                .recv_timeout(SOON)
                .expect("all but a probe are answered at once")
                .assert_problem(503, "circuit_open");
        }
        // The fiftieth was refused like the others, or it is the probe that the upstream holds.
        let probing = eventually(Duration::from_secs(1), || patient.upstream.count() > before);
        held = Some(receiver);
        probing
    };
    assert!(eventually(SOON, round), "the breaker never tries the target again");
    (0..20).for_each(|_| gateway.get("/x").assert_problem(503, "circuit_open"));
    assert_eq!(patient.upstream.count(), before + 1, "exactly one is on the wire");
    patient.gate.open();
    assert_eq!(held.unwrap().recv_timeout(SOON).unwrap().text(), "well after all");
    assert!(eventually(SOON, || gateway.circuit("main") == "closed"));
}

#[test]
fn a_failed_probe_opens_it_again() {
    let patient = Patient::new();
    let gateway = patient.behind("failureThreshold: 2, resetTimeoutMs: 1000");
    patient.trip(&gateway);
    let before = patient.upstream.count();
    assert!(eventually(SOON, || gateway.get("/x").reason() == ILL), "no probe is let through");
    assert_eq!(patient.upstream.count(), before + 1);
    assert!(eventually(SOON, || gateway.circuit("main") == "open"));
    gateway.get("/x").assert_problem(503, "circuit_open");
}

#[test]
fn a_probe_whose_client_goes_away_frees_its_permit_and_counts_for_nothing() {
    let patient = Patient::new();
    let gateway = patient.behind("failureThreshold: 2, resetTimeoutMs: 200");
    patient.trip(&gateway);
    patient.turn(3);
    let before = patient.upstream.count();
    let mut probe = None;
    let probing = || {
        let mut client = gateway.client();
        client.start(&Call::get("/x"));
        client.wire().timeout(Duration::from_millis(100));
        let held = client.read("GET").is_err() && patient.upstream.count() > before;
        probe = held.then_some(client);
        held
    };
    assert!(eventually(SOON, probing), "no probe is let through");
    drop(probe);
    assert!(eventually(SOON, || patient.given_up.is_open()), "the probe is not cancelled");
    patient.turn(1);
    assert!(eventually(SOON, || gateway.get("/x").text() == "well"), "the permit is lost");
}

#[test]
fn a_probe_whose_client_is_slow_with_its_body_keeps_nobody_else_out_for_long() {
    let well = Arc::new(AtomicBool::new(false));
    let is_well = Arc::clone(&well);
    let upstream = Upstream::start(move |exchange| {
        exchange.body()?;
        if is_well.load(SeqCst) { exchange.ok("well") } else { Ok(Then::Reset) }
    });
    let backend = Backend::all(&upstream)
        .with("retries: 0")
        .with("firstByteTimeoutMs: 500")
        .with("circuitBreaker: {failureRate: 0, failureThreshold: 2, resetTimeoutMs: 200}");
    let gateway = Gateway::with(backend);
    assert!(eventually(SOON, || gateway.get("/x").reason() == Some("circuit_open")));
    well.store(true, SeqCst);
    let mut slow = None;
    let before = upstream.count();
    let probing = || {
        let mut client = gateway.client();
        client.write("POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nx");
        client.wire().timeout(Duration::from_millis(100));
        let held = client.read("POST").is_err() && upstream.count() > before;
        slow = held.then_some(client);
        held
    };
    assert!(eventually(SOON, probing), "no probe is let through");
    assert!(eventually(SOON, || gateway.get("/x").text() == "well"), "the permit is never given back");
    // And it goes on.
    let mut slow = slow.unwrap();
    slow.wire().timeout(SOON);
    slow.write("yz");
    assert_eq!(slow.read("POST").unwrap().text(), "well");
}

#[test]
fn an_operator_can_hold_it_open_or_closed() {
    let patient = Patient::new();
    let gateway = patient.behind("failureThreshold: 2");
    let hold = |body: &str| {
        let response = gateway.admin_post("/_aegis/backends/main/breaker", body);
        assert_eq!(response.status, 200, "{}", response.text());
    };
    patient.turn(1);
    hold("{\"state\":\"open\"}");
    assert!(eventually(SOON, || gateway.get("/x").reason() == Some("circuit_open")));
    hold("{\"state\":\"auto\"}");
    assert!(eventually(SOON, || gateway.get("/x").text() == "well"));

    patient.turn(0);
    hold("{\"state\":\"closed\"}");
    (0..10).for_each(|_| assert_eq!(gateway.get("/x").reason(), ILL));
    hold("{\"state\":\"auto\"}");
    assert!(eventually(SOON, || gateway.get("/x").reason() == Some("circuit_open")));

    patient.turn(1);
    hold("{\"state\":\"closed\",\"ttlMs\":60000}");
    assert!(eventually(SOON, || gateway.get("/x").text() == "well"));
    for (path, body, status) in [
        ("/_aegis/backends/none/breaker", "{\"state\":\"open\"}", 404),
        ("/_aegis/backends/main/breaker", "{\"state\":\"ajar\"}", 400),
        ("/_aegis/backends/main/breaker", "nonsense", 400),
        ("/_aegis/backends/main/breaker", "{\"state\":\"open\",\"ttlMs\":0}", 400),
        ("/_aegis/backends/main/breaker", "{\"state\":\"open\",\"ttlMs\":31536000001}", 400),
    ] {
        assert_eq!(gateway.admin_post(path, body).status, status, "{path} {body}");
    }
}

#[test]
fn a_hold_ends_by_itself_after_its_time() {
    let patient = Patient::new();
    let gateway = patient.behind("failureThreshold: 2");
    patient.turn(1);
    gateway.admin_post("/_aegis/backends/main/breaker", "{\"state\":\"open\",\"ttlMs\":2000}");
    assert!(eventually(SOON, || gateway.get("/x").reason() == Some("circuit_open")));
    assert!(eventually(SOON, || gateway.get("/x").text() == "well"));
}

#[test]
fn a_429_neither_closes_a_half_open_breaker_nor_is_in_any_share() {
    let status = Arc::new(AtomicU16::new(500));
    let theirs = Arc::clone(&status);
    let upstream = Upstream::start(move |exchange| exchange.reply(theirs.load(SeqCst), &[], b"as told"));
    // One worker: between workers the order of what happened is not defined.
    let breaker = "circuitBreaker: {failureRate: 1.0, minRequests: 3, resetTimeoutMs: 300}";
    let backend = Backend::all(&upstream).with("retries: 0").with(breaker);
    let gateway = Gateway::builder().server("workers: 1").backend(backend).start();
    for told in [500, 429, 500, 429, 429, 500] {
        assert_eq!(gateway.circuit("main"), "closed");
        status.store(told, SeqCst);
        assert_eq!(gateway.get("/x").status, told);
    }
    assert!(eventually(SOON, || gateway.circuit("main") == "open"), "three of three have failed");

    status.store(429, SeqCst);
    assert!(eventually(SOON, || gateway.get("/x").status == 429), "no probe is let through");
    let closed = || gateway.circuit("main") == "closed";
    assert!(holds_for(Duration::from_millis(300), || !closed()), "a 429 is no sign of health");
    status.store(200, SeqCst);
    assert!(eventually(SOON, || gateway.get("/x").status == 200), "the probe's permit is lost");
    assert!(eventually(SOON, closed));
}

#[test]
fn a_slow_429_to_a_probe_gives_the_permit_back_and_does_not_open_the_breaker_again() {
    let status = Arc::new(AtomicU16::new(500));
    let theirs = Arc::clone(&status);
    let upstream = Upstream::start(move |exchange| {
        let told = theirs.load(SeqCst);
        if told == 429 {
            thread::sleep(Duration::from_millis(100)); // slower than a call may be
        }
        exchange.reply(told, &[], b"as told")
    });
    let breaker =
        "circuitBreaker: {failureThreshold: 0, minRequests: 1, resetTimeoutMs: 900, slowCallMs: 30}";
    let backend = Backend::all(&upstream).with("retries: 0").with(breaker);
    let gateway = Gateway::builder().server("workers: 1").backend(backend).start();
    assert_eq!(gateway.get("/x").status, 500);
    assert!(eventually(SOON, || gateway.circuit("main") == "open"));
    status.store(429, SeqCst);
    assert!(eventually(SOON, || gateway.get("/x").status == 429), "no probe is let through");
    for _ in 0..3 {
        assert_eq!(gateway.get("/x").status, 429, "another probe may follow at once");
    }
    assert_eq!(gateway.circuit("main"), "half-open");
}
