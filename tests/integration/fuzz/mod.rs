//! Random requests on one connection, well-formed and not, refused and cut off at every place: the answers match them in
//! number, order and content, and what reached the upstream is exactly what was accepted.
//!
//! All of a connection follows from its seed (`plan`, `kinds`, `bodies`; for HTTP/2 `streams`), what must become of each
//! request from a small model (`expected`), and both ends judge what they see (`check`, `upstream`). What a failure prints
//! is in `report`. `hostile` plays upstreams instead of clients. The tests play the first 200 seeds each. By hand:
//!
//! - `AEGIS_FUZZ_SECONDS=1800 cargo test --test integration fuzz -- --nocapture` goes on with further seeds for so long;
//! - `AEGIS_FUZZ_SEED=17 cargo test --test integration fuzz::pipelined` plays one seed (`fuzz::streams` for HTTP/2,
//!   `fuzz::hostile` for upstreams), with `AEGIS_FUZZ_SECONDS` again and again: bytes follow from the seed, but how they
//!   meet in time does not;
//! - `AEGIS_FUZZ_FAILURES=1000` beside one of them does not end at the third seed that fails.
//!
//! Time is bounded everywhere by waits on conditions; only the client's glance for an early answer may end without one,
//! and either is right then.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::limits::{MONTH, rule};
use crate::harness::{Backend, Call, Gateway, Port, SOON, Upstream, eventually};

mod answers;
mod bodies;
mod check;
mod content;
mod expected;
mod hostile;
mod http1;
mod http2;
mod kinds;
mod plan;
mod report;
mod streams;
mod upstream;
mod writer;

use plan::{LIMIT, Plan};
use streams::Streams;
use upstream::Record;

/// Seeds of a test without any wish.
const SEEDS: u64 = 200;

/// A test ends at so many seeds that failed, or at `AEGIS_FUZZ_FAILURES`.
const ENOUGH: u64 = 3;

/// Connections at the same time.
const AT_ONCE: usize = 6;

/// The players of a test.
struct Stage {
    gateway: Gateway,
    record: Record,
    upstream: Upstream,
    _dead: Port,
}

impl Stage {
    fn set() -> Self {
        let record = Record::default();
        let (upstream, dead) = (upstream::start(&record), Port::reserve());
        let one = rule(
            "one",
            "endpoint: /rated, endpointMatchType: prefix",
            &format!("requests: 1, windowSeconds: {MONTH}"),
            "",
        );
        let main = Backend::named("main").to(&upstream).without_breaker().with("retries: 0");
        let main = main.route("/up/**").route("/rated/**").route("{path: /deny/**, deny: true}");
        let main = main.route("{path: /only/**, methods: [GET]}");
        let main = main.route(&format!("{{path: /limit/**, bodyLimitBytes: {LIMIT}}}"));
        let nobody = Backend::named("dead").target(&format!("url: \"{}\"", dead.url())).route("/dead/**");
        let gateway = Gateway::builder()
            .top(&format!(
                "rateLimit: {{defaultRequests: 100000000, defaultWindowSeconds: {MONTH}, rules: [{one}]}}"
            ))
            .top(&format!("logging: {{accessLog: {}}}", wish("AEGIS_FUZZ_SEED").is_some()))
            .backend(main)
            .backend(nobody.without_breaker().with("retries: 0"))
            .start();
        // The one that the limit allows; of no plan.
        assert_ne!(gateway.send(&Call::new("OPTIONS", "/rated/length-3/s999999999r0w")).status, 429);
        Self { gateway, record, upstream, _dead: dead }
    }

    /// Plays seeds until there are enough, each by `play`, and ends the test with the reports of those that failed.
    fn run(self, play: impl Fn(&Self, u64) -> Result<(), String> + Sync) {
        Runs::new().each(|seed| play(&self, seed));
        assert!(eventually(4 * SOON, || self.gateway.in_flight() == 0), "requests are left in the gateway");
        // What comes late comes from connections that are closed by then.
        drop(self.gateway);
        assert!(eventually(SOON, || self.upstream.open() == 0), "connections are left at the upstream");
        let late = self.record.late();
        assert!(late.is_empty(), "when the seeds were over: {late:#?}");
    }
}

/// Which seeds are played, and until when.
struct Runs {
    alone: Option<u64>,
    seconds: Option<u64>,
    /// Failures that end it.
    enough: usize,
}

impl Runs {
    /// As the environment wishes.
    fn new() -> Self {
        let enough = wish("AEGIS_FUZZ_FAILURES").unwrap_or(ENOUGH) as usize;
        Self { alone: wish("AEGIS_FUZZ_SEED"), seconds: wish("AEGIS_FUZZ_SECONDS"), enough }
    }

    /// Plays seeds, several at once, and panics with the reports of those that failed.
    fn each(&self, play: impl Fn(u64) -> Result<(), String> + Sync) {
        let begun = Instant::now();
        let goes_on = |played: u64| match (self.seconds, self.alone) {
            (Some(seconds), _) => begun.elapsed() < Duration::from_secs(seconds),
            (None, Some(_)) => played < 1,
            (None, None) => played < SEEDS,
        };
        let (next, failed) = (AtomicU64::new(0), Mutex::new(Vec::new()));
        let connections = if self.alone.is_some() { 1 } else { AT_ONCE };
        thread::scope(|scope| {
            for _ in 0..connections {
                scope.spawn(|| {
                    loop {
                        let played = next.fetch_add(1, SeqCst);
                        if !goes_on(played) || failed.lock().unwrap().len() >= self.enough {
                            break;
                        }
                        if let Err(report) = play(self.alone.unwrap_or(played)) {
                            failed.lock().unwrap().push(report);
                        }
                    }
                });
            }
        });
        let failed = failed.into_inner().unwrap();
        let played = next.load(SeqCst) - connections as u64;
        eprintln!("{played} seeds in {:?}", begun.elapsed());
        assert!(failed.is_empty(), "of {played} seeds {} failed:\n\n{}", failed.len(), failed.join("\n"));
    }
}

fn wish(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[test]
fn pipelined_requests_of_every_kind_are_answered_in_turn_and_reach_the_upstream_as_they_were_accepted() {
    Stage::set().run(|stage, seed| http1::play(stage.gateway.addr, &stage.record, &Plan::new(seed)));
}

#[test]
fn streams_of_every_kind_get_their_own_answers_and_reach_the_upstream_as_they_were_accepted() {
    Stage::set().run(|stage, seed| http2::play(stage.gateway.addr, &stage.record, &Streams::new(seed)));
}
