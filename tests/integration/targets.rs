//! Choosing among several targets, and the bound on what one may have in flight (sections 2 and 6).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use crate::harness::{Backend, Call, Gate, Gateway, SOON, Upstream, eventually};

fn three() -> (Vec<Upstream>, Backend) {
    let upstreams: Vec<_> = ["a", "b", "c"].into_iter().map(Upstream::ok).collect();
    let backend = upstreams.iter().fold(Backend::named("main").route("/**"), Backend::to);
    (upstreams, backend)
}

fn one_worker(backend: Backend) -> Gateway {
    Gateway::builder().server("workers: 1").backend(backend).start()
}

#[test]
fn round_robin_gives_each_target_its_turn() {
    let (upstreams, backend) = three();
    let gateway = one_worker(backend.with("loadBalance: roundRobin"));
    let mut client = gateway.client();
    (0..30).for_each(|_| assert_eq!(client.get("/x").status, 200));
    assert_eq!(upstreams.iter().map(Upstream::count).collect::<Vec<_>>(), [10, 10, 10]);
}

#[test]
fn round_robin_spreads_requests_also_over_targets_that_have_all_just_come_back() {
    let ill = Arc::new(AtomicBool::new(false));
    let target = || {
        let ill = Arc::clone(&ill);
        Upstream::start(move |exchange| match exchange.target() {
            "/health" if ill.load(SeqCst) => exchange.reply(500, &[], b""),
            _ => exchange.ok("ok"),
        })
    };
    let upstreams = [target(), target(), target()];
    let checks = "healthCheck: {path: /health, intervalMs: 100, timeoutMs: 90, unhealthyThreshold: 1, healthyThreshold: 1}";
    let backend = upstreams.iter().fold(Backend::named("main").route("/**"), Backend::to);
    let backend = backend.with("loadBalance: roundRobin").with(checks);
    let gateway = Gateway::builder().server("workers: 1").backend(backend).start();
    let healthy = |wanted: bool| (0..3).all(|target| gateway.healthy("main", target) == wanted);
    ill.store(true, SeqCst);
    assert!(eventually(SOON, || healthy(false)));
    ill.store(false, SeqCst);
    assert!(eventually(SOON, || healthy(true)));
    let mut client = gateway.client();
    (0..600).for_each(|_| assert_eq!(client.get("/x").status, 200));
    let counts = upstreams.each_ref().map(|upstream| upstream.count_of("/x"));
    assert!(counts.iter().all(|count| (120..=280).contains(count)), "{counts:?}");
}

#[test]
fn weights_are_shares() {
    let (a, b) = (Upstream::ok("a"), Upstream::ok("b"));
    let backend = Backend::named("main")
        .target(&format!("url: \"{}\", weight: 3", a.url()))
        .target(&format!("url: \"{}\"", b.url()))
        .route("/**");
    let gateway = one_worker(backend.with("loadBalance: roundRobin"));
    let mut client = gateway.client();
    (0..40).for_each(|_| assert_eq!(client.get("/x").status, 200));
    assert_eq!((a.count(), b.count()), (30, 10));
}

#[test]
fn least_request_spreads_requests_in_flight() {
    let gate = Gate::new();
    let held = |gate: &Gate| {
        let gate = gate.clone();
        Upstream::start(move |exchange| {
            gate.wait();
            exchange.ok("ok")
        })
    };
    let (a, b) = (held(&gate), held(&gate));
    let gateway = Gateway::with(Backend::named("main").to(&a).to(&b).route("/**"));
    let mut clients = Vec::new();
    for i in 0..20 {
        let mut client = gateway.client();
        client.start(&Call::get("/x"));
        assert!(eventually(SOON, || a.count() + b.count() == i + 1));
        clients.push(client);
    }
    assert!(a.count().abs_diff(b.count()) <= 2, "{} and {}", a.count(), b.count());
    gate.open();
    clients.iter_mut().for_each(|client| assert_eq!(client.read("GET").unwrap().text(), "ok"));
}

#[test]
fn hashing_sends_the_same_key_to_the_same_target_and_spreads_the_keys() {
    for (hash_on, name, value) in
        [("header:X-Key", "X-Key", "key-"), ("cookie:session", "Cookie", "a=b; session=")]
    {
        let (upstreams, backend) = three();
        let gateway =
            Gateway::with(backend.with("loadBalance: hash").with(&format!("hashOn: \"{hash_on}\"")));
        let mut owners: HashMap<String, String> = HashMap::new();
        for round in 0..3 {
            for key in 0..40 {
                let value = format!("{value}{key}");
                let owner = gateway.send(&Call::get("/x").header(name, &value)).text();
                let first = owners.entry(value.clone()).or_insert_with(|| owner.clone());
                assert_eq!(*first, owner, "{hash_on} {value} in round {round}");
            }
        }
        for upstream in &upstreams {
            assert!(upstream.count() > 0, "{hash_on}: a target got none of 120");
        }
    }
}

#[test]
fn hashing_on_the_address_keeps_a_client_at_one_target() {
    let (upstreams, backend) = three();
    let gateway = Gateway::with(backend.with("loadBalance: hash").with("hashOn: ip"));
    (0..10).for_each(|_| assert_eq!(gateway.get("/x").status, 200));
    assert_eq!(upstreams.iter().filter(|upstream| upstream.count() > 0).count(), 1);
}

#[test]
fn a_target_with_its_fill_of_requests_is_503_pool_full() {
    let gate = Gate::new();
    let theirs = gate.clone();
    let upstream = Upstream::start(move |exchange| {
        theirs.wait();
        exchange.ok("ok")
    });
    let gateway = Gateway::with(Backend::all(&upstream).with("maxInFlight: 2").with("retries: 0"));
    let mut clients: Vec<_> = (0..2).map(|_| gateway.client()).collect();
    clients.iter_mut().for_each(|client| client.start(&Call::get("/x")));
    assert!(eventually(SOON, || upstream.count() == 2));
    for _ in 0..10 {
        gateway.get("/x").assert_problem(503, "pool_full");
    }
    assert_eq!(upstream.count(), 2);
    gate.open();
    clients.iter_mut().for_each(|client| assert_eq!(client.read("GET").unwrap().text(), "ok"));
    assert!(eventually(SOON, || gateway.get("/x").text() == "ok"), "the places are free again");
}

#[test]
fn a_target_may_be_a_host_name_with_several_addresses() {
    let upstream = Upstream::ok("by name");
    // `localhost` may be ::1 first, where nobody listens.
    let target = format!("url: \"http://localhost:{}\"", upstream.addr().port());
    let gateway = Gateway::with(Backend::named("main").target(&target).route("/**"));
    (0..5).for_each(|_| assert_eq!(gateway.get("/x").text(), "by name"));
}

#[test]
fn a_host_name_is_resolved_and_one_that_does_not_resolve_fails_alone() {
    let upstream = Upstream::ok("by name");
    let named = format!("url: \"http://localhost:{}\"", upstream.addr().port());
    let unknown =
        Backend::named("unknown").target("url: \"http://no-such-host.invalid:80\"").route("/unknown");
    let gateway = Gateway::builder()
        .backend(Backend::named("named").target(&named).route("/named"))
        .backend(unknown.without_breaker().with("retries: 0"))
        .start();
    let mut client = gateway.client();
    for _ in 0..3 {
        assert_eq!(client.get("/named").text(), "by name");
        client.get("/unknown").assert_problem(502, "connect_failed");
    }
    let host = upstream.last().head.get("host").map(str::to_owned);
    assert_eq!(host, Some(format!("localhost:{}", upstream.addr().port())));
    assert_eq!(upstream.connections(), upstream.open(), "and its connections are kept");
}
