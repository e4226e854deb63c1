//! A known mix of requests, and what each came to: what the client saw, for how long the upstream says that it kept the
//! answer, and in between what the gateway wrote into its access log.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::backend::Backend;
use super::client::{Call, Client};
use super::gateway::{Builder, Gateway};
use super::upstream::Upstream;

/// How many requests of [`LIMITED`] are let through, in all the time that a test may take.
pub const ADMITTED: usize = 100;
/// The route with a limit.
pub const LIMITED: &str = "/limited";

/// One request.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Which gateway it went to.
    pub gateway: usize,
    /// The pattern of its route, `none` without one.
    pub route: &'static str,
    pub method: &'static str,
    pub status: u16,
    /// From before it was sent to the last byte of the answer.
    pub took: Duration,
    /// What the upstream measured of its own delay; zero where none was asked. The gateway's time lies between the two.
    pub delayed: Duration,
    /// The gateway's own time, by its access log; see [`timed`].
    pub logged: Duration,
    id: String,
}

/// Adds to each request what the gateways have logged of it.
pub fn timed(seen: &mut [Seen], logs: &str) {
    let line = |line: &str| -> Option<(String, f64)> {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        Some((line["requestId"].as_str()?.to_owned(), line["durationMs"].as_f64()?))
    };
    let logged: HashMap<String, f64> = logs.lines().filter_map(line).collect();
    for one in seen {
        let ms = logged.get(&one.id).unwrap_or_else(|| panic!("not in the access log: {one:?}"));
        one.logged = Duration::from_secs_f64(ms / 1e3);
    }
}

/// An upstream that answers as the request says: `?us=DELAY&status=STATUS`. The body tells how long it really waited.
pub fn scripted() -> Upstream {
    Upstream::start(|exchange| {
        let begun = Instant::now();
        let query = exchange.target().split_once('?').map_or("", |(_, query)| query).to_owned();
        let of = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let delay = of("us").map_or(0, |us| us.parse().unwrap());
        let status = of("status").map_or(200, |status| status.parse().unwrap());
        thread::sleep(Duration::from_micros(delay));
        let waited = begun.elapsed().as_nanos().to_string();
        exchange.reply(status, &[], waited.as_bytes())
    })
}

/// A gateway for this traffic that keeps its counts in `store` under the name `instance`.
pub fn counting(upstream: &Upstream, store: &str, instance: &str) -> Builder {
    Gateway::builder()
        // No more than the machine's descriptors allow, which would be a warning.
        .server("maxConnections: 1000")
        .top(&format!("metrics: {{store: \"{store}\", flushIntervalMs: 200, instance: {instance}}}"))
        .top(&format!(
            "rateLimit: {{defaultRequests: 1000000, rules: [{{id: few, match: {{endpoint: {LIMITED}}}, \
             rateLimit: {{requests: {ADMITTED}, windowSeconds: 86400, algorithm: slidingWindow}}}}]}}"
        ))
        .backend(
            Backend::named("main")
                .to(upstream)
                .route("/quick/:id")
                .route("/slow/:id")
                .route(LIMITED)
                .without_breaker(),
        )
}

/// What the `n`th request is: target, route, method and the status that it must get; 0 where a limit decides.
fn planned(n: usize) -> (String, &'static str, &'static str, u16) {
    // A number of its own for each, the same in every run.
    let mut random = fastrand::Rng::with_seed(n as u64);
    let micros = |random: &mut fastrand::Rng, least: f64, most: f64, bend: f64| {
        (1e3 * (least + (most - least) * random.f64().powf(bend))) as u64
    };
    // Many near the lower end and a long tail: percentiles lie far from each other.
    let quick = micros(&mut random, 50.0, 150.0, 2.0);
    let slow = micros(&mut random, 80.0, 400.0, 3.0);
    match random.u8(..100) {
        0..45 => (format!("/quick/{n}?us={quick}&status=200"), "/quick/:id", "GET", 200),
        45..52 => (format!("/quick/{n}?us={quick}&status=404"), "/quick/:id", "GET", 404),
        52..57 => (format!("/quick/{n}?us={quick}&status=302"), "/quick/:id", "GET", 302),
        57..80 => (format!("/slow/{n}?us={slow}&status=200"), "/slow/:id", "GET", 200),
        80..86 => (format!("/slow/{n}?us={slow}&status=201"), "/slow/:id", "POST", 201),
        86..90 => (format!("/slow/{n}?us={slow}&status=500"), "/slow/:id", "POST", 500),
        90..95 => (LIMITED.to_owned(), LIMITED, "GET", 0),
        _ => (format!("/nowhere/{n}"), "none", "GET", 404),
    }
}

/// Running traffic.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Vec<Seen>>>,
}

impl Traffic {
    /// So many connections, spread evenly over the gateways, that send `most` requests together.
    pub fn start(gateways: &[SocketAddr], connections: usize, most: usize) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let threads = (0..connections)
            .map(|number| {
                let (stop, sent) = (stop.clone(), sent.clone());
                let (gateway, addr) = (number % gateways.len(), gateways[number % gateways.len()]);
                thread::spawn(move || {
                    let (mut client, mut seen) = (Client::connect(addr), Vec::new());
                    while !stop.load(Relaxed) {
                        let n = sent.fetch_add(1, Relaxed);
                        if n >= most {
                            break;
                        }
                        seen.push(one(&mut client, gateway, n));
                    }
                    seen
                })
            })
            .collect();
        Self { stop, sent, threads }
    }

    /// Requests begun so far.
    pub fn sent(&self) -> usize {
        self.sent.load(Relaxed)
    }

    /// Sends no more; every request that was answered. Fails when one was not answered as planned.
    pub fn stop(self) -> Vec<Seen> {
        self.stop.store(true, Relaxed);
        self.finish()
    }

    /// The same once all are sent.
    pub fn finish(self) -> Vec<Seen> {
        self.threads.into_iter().flat_map(|thread| thread.join().expect("every request succeeds")).collect()
    }
}

fn one(client: &mut Client, gateway: usize, n: usize) -> Seen {
    let (target, route, method, status) = planned(n);
    let call = if method == "POST" { Call::post(&target, "a body") } else { Call::get(&target) };
    let begun = Instant::now();
    let response = client.try_send(&call).unwrap_or_else(|broken| panic!("{method} {target}: {broken:?}"));
    let took = begun.elapsed();
    assert!(response.keeps_alive(), "{method} {target}: {response:?}");
    let as_planned = response.status == status || status == 0 && [200, 429].contains(&response.status);
    assert!(as_planned, "{method} {target}: {} and not {status}", response.status);
    let own = response.reason().is_some();
    let delayed = if own { 0 } else { response.text().parse().unwrap() };
    let (delayed, id) = (Duration::from_nanos(delayed), response.header("x-request-id").unwrap().to_owned());
    Seen { gateway, route, method, status: response.status, took, delayed, logged: Duration::ZERO, id }
}

/// How many of each route and status class.
pub fn totals(seen: &[Seen]) -> BTreeMap<(String, u16), u64> {
    let mut totals = BTreeMap::new();
    for one in seen {
        *totals.entry((one.route.to_owned(), one.status / 100)).or_default() += 1;
    }
    totals
}

/// The `⌈q·n⌉`th of `n` sorted durations in milliseconds: at the upstream's end, in the gateway, and at the client's end.
pub fn percentile(seen: &[&Seen], q: f64) -> [f64; 3] {
    let rank = ((q * seen.len() as f64).ceil() as usize).max(1);
    let at = |end: fn(&Seen) -> Duration| {
        let mut all: Vec<_> = seen.iter().map(|one| end(one)).collect();
        all.sort_unstable();
        all[rank - 1].as_secs_f64() * 1e3
    };
    [at(|one| one.delayed), at(|one| one.logged), at(|one| one.took)]
}
