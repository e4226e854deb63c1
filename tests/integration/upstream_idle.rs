//! How long an upstream connection may rest: `poolIdleMs`, and less where the upstream says so (sections 2 and 6).

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Backend, Call, Client, Gateway, SOON, Upstream, eventually, holds_for};

const EVER: u64 = u64::MAX;

/// What upstreams say of their patience, and for how long their connections are used again, in milliseconds.
const HINTS: [(&[(&str, &str)], u64); 15] = [
    (&[("Keep-Alive", "timeout=0")], 0),
    (&[("Keep-Alive", "timeout=1")], 500),
    (&[("Keep-Alive", "timeout=2")], 1000),
    (&[("Keep-Alive", "TIMEOUT=2")], 1000),
    (&[("keep-alive", "max=1000,timeout = 2 ")], 1000),
    (&[("KEEP-ALIVE", "timeout=2, max=1000")], 1000),
    (&[("Keep-Alive", "timeout=\"2\"")], 1000),
    (&[("Keep-Alive", "max=9"), ("Keep-Alive", "timeout=2")], 1000),
    (&[("Keep-Alive", "timeout=5")], 4000),
    (&[("Keep-Alive", "timeout=5, max=9"), ("Connection", "keep-alive")], 4000),
    (&[("Keep-Alive", "timeout=banana")], EVER),
    (&[("Keep-Alive", "timeout=, timeout=-1")], EVER),
    (&[("Keep-Alive", "max=100")], EVER),
    (&[("Keep-Alive", "timeout=99999999999999999999999")], EVER),
    (&[], EVER),
];

/// One worker, whose pool all requests share; an upstream for each hint, which answers how many requests its connection had
/// seen before.
fn hinting() -> (Gateway, Vec<Upstream>) {
    let mut builder = Gateway::builder().server("workers: 1");
    let mut upstreams = Vec::new();
    for (place, (fields, _)) in HINTS.iter().enumerate() {
        let upstream = Upstream::start(move |exchange| {
            let nth = exchange.nth.to_string();
            exchange.reply(200, fields, nth.as_bytes())
        });
        let backend = Backend::named(&format!("b{place}")).to(&upstream).route(&format!("/{place}"));
        builder = builder.backend(backend.with("retries: 0"));
        upstreams.push(upstream);
    }
    (builder.start(), upstreams)
}

/// Whether the request of this place was sent over a connection that had carried one before.
fn is_reused(client: &mut Client, place: usize) -> bool {
    // A method that no gateway may simply repeat.
    let answer = client.send(&Call::post(&format!("/{place}"), "x"));
    assert_eq!(answer.status, 200, "{:?}: {answer:?}", HINTS[place].0);
    answer.text() != "0"
}

#[test]
fn what_an_upstream_says_of_its_patience_is_heeded_less_a_margin() {
    let (gateway, _upstreams) = hinting();
    let mut client = gateway.client();
    for pause in [0, 1200, 4100] {
        let mut before = Vec::new();
        for place in 0..HINTS.len() {
            let asked = Instant::now();
            is_reused(&mut client, place);
            before.push((asked, Instant::now()));
        }
        thread::sleep(Duration::from_millis(pause));
        for (place, (fields, limit)) in HINTS.iter().enumerate() {
            let (asked, answered) = before[place];
            let at_least = answered.elapsed().as_millis() as u64;
            let reused = is_reused(&mut client, place);
            let at_most = asked.elapsed().as_millis() as u64;
            let context = format!("{fields:?}, behind {at_least} to {at_most} ms, reused: {reused}");
            assert!(!reused || at_least < *limit, "{context}");
            assert!(reused || at_most >= *limit, "{context}");
        }
    }
}

#[test]
fn a_connection_that_rests_for_longer_than_pool_idle_is_closed() {
    let (brief, usual) = (Upstream::ok("ok"), Upstream::ok("ok"));
    let backend = |upstream, name: &str| Backend::named(name).to(upstream).route(&format!("/{name}"));
    let gateway = Gateway::builder()
        .backend(backend(&brief, "brief").with("poolIdleMs: 300"))
        .backend(backend(&usual, "usual"))
        .start();
    assert_eq!((gateway.get("/brief").status, gateway.get("/usual").status), (200, 200));
    // Looked at more often than every five seconds, for it may rest for less.
    let begun = Instant::now();
    assert!(eventually(SOON, || brief.open() == 0), "it stays open");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(holds_for(Duration::from_millis(300), || usual.open() == 1));
    assert_eq!((gateway.get("/brief").status, brief.connections()), (200, 2));
}

#[test]
fn one_that_is_asked_within_pool_idle_stays() {
    let upstream = Upstream::ok("ok");
    let gateway = Gateway::builder()
        .server("workers: 1")
        .backend(Backend::all(&upstream).with("poolIdleMs: 4s"))
        .start();
    for _ in 0..8 {
        assert_eq!(gateway.get("/x").status, 200);
        thread::sleep(Duration::from_millis(150));
    }
    assert_eq!(upstream.connections(), 1);
}
