//! `GET /metrics`: everything counted, in the text format of Prometheus (version 0.0.4).
//!
//! Sums come from the aggregator and from the workers' own counters; gauges are read from the published state. Labels are
//! names from the configuration, never anything that a request brought along.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use aegis_actors::circuit_breaker::CircuitState;
use aegis_actors::metrics_aggregator::{
    BOUNDS, BOUNDS_US, Buckets, NONE, OVERHEAD_BOUNDS_US, STREAM_BOUNDS_US, Totals,
};
use bytes::Bytes;

use super::{Admin, answer, process};
use crate::gateway::shared::InternalAnswer;
use crate::gateway::snapshot::{RouteCounters, Snapshot, Target};
use crate::supervisor::{Inspect, Overview};

/// Answers a scrape.
pub async fn metrics(admin: &Admin) -> InternalAnswer {
    let Ok(overview) = admin.supervisor.send(Inspect).await else { return answer::gone() };
    let snapshot = admin.shared.snapshot.load_full();
    let totals = admin.shared.metrics.state().totals();
    let mut page = Page::default();
    requests(&mut page, &totals);
    bytes(&mut page, &snapshot);
    backends(&mut page, &snapshot, &overview);
    limits(&mut page, &snapshot);
    auth(&mut page, admin);
    providers(&mut page, &snapshot);
    gateway(&mut page, admin, &overview);
    process::write(&mut page);
    InternalAnswer {
        status: actix_http::StatusCode::OK,
        content_type: "text/plain; version=0.0.4; charset=utf-8",
        headers: Vec::new(),
        body: Bytes::from(page.text),
    }
}

/// A page being written.
#[derive(Default)]
pub struct Page {
    text: String,
}

impl Page {
    /// Begins a metric: `kind` is `counter`, `gauge` or `histogram`.
    pub fn metric(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// One sample of the metric begun last.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(name);
        if !labels.is_empty() {
            self.text.push('{');
            self.labels(labels);
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    fn labels(&mut self, labels: &[(&str, &str)]) {
        for (at, (label, value)) in labels.iter().enumerate() {
            if at > 0 {
                self.text.push(',');
            }
            self.text.push_str(label);
            self.text.push_str("=\"");
            let mut rest = *value;
            while let Some(at) = rest.find(['\\', '"', '\n']) {
                self.text.push_str(&rest[..at]);
                self.text.push_str(match rest.as_bytes()[at] {
                    b'\\' => "\\\\",
                    b'"' => "\\\"",
                    _ => "\\n",
                });
                rest = &rest[at + 1..];
            }
            self.text.push_str(rest);
            self.text.push('"');
        }
    }

    /// A metric of one sample without labels.
    pub fn single(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.metric(name, kind, help);
        self.sample(name, &[], value);
    }

    /// A histogram of the metric begun last. They are nearly all of a large page: what is the same for all buckets is
    /// written once, and counts as the whole numbers that they are.
    fn histogram(&mut self, name: &str, labels: &[(&str, &str)], bounds: &Bounds, buckets: &Buckets) {
        let begin = self.text.len();
        let _ = write!(self.text, "{name}_bucket{{");
        self.labels(labels);
        self.text.push_str(if labels.is_empty() { "le=\"" } else { ",le=\"" });
        let prefix = self.text.split_off(begin);
        let mut sum = 0;
        for (bound, count) in bounds.0.iter().zip(&buckets.counts) {
            sum += count;
            self.text.push_str(&prefix);
            self.text.push_str(bound);
            let _ = writeln!(self.text, "\"}} {sum}");
        }
        self.sample(&format!("{name}_sum"), labels, seconds(buckets.sum_us));
        self.sample(&format!("{name}_count"), labels, sum as f64);
    }
}

/// The upper bounds of a histogram's buckets as they are written.
struct Bounds([String; BOUNDS + 1]);

impl Bounds {
    fn of(micros: &[u64; BOUNDS]) -> Self {
        let text = |at| micros.get(at).map_or_else(|| "+Inf".to_owned(), |us| seconds(*us).to_string());
        Self(std::array::from_fn(text))
    }
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

fn auth(page: &mut Page, admin: &Admin) {
    let name = "aegis_auth_decisions_total";
    page.metric(
        name,
        "counter",
        "Requests of which it was asked who sends them, by kind of credential and what came of it.",
    );
    for (method, result, count) in admin.shared.auth.all() {
        page.sample(name, &[("method", method), ("result", result)], count as f64);
    }
    let name = "aegis_auth_cache_total";
    page.metric(name, "counter", "Credentials looked for among those verified before, by cache and result.");
    let (hits, misses) = admin.shared.auth.look_ups();
    for (result, count) in [("hit", hits), ("miss", misses)] {
        page.sample(name, &[("cache", "token"), ("result", result)], count as f64);
    }
}

/// The keys of issuers that publish them.
fn providers(page: &mut Page, snapshot: &Snapshot) {
    let providers = || snapshot.auth.iter().flat_map(|auth| auth.issuers.providers());
    let name = "aegis_jwks_fetches_total";
    page.metric(name, "counter", "Fetches of the keys of an issuer, by how they ended.");
    for provider in providers() {
        for (result, count) in [("ok", &provider.fetches.ok), ("failed", &provider.fetches.failed)] {
            let count = count.load(Ordering::Relaxed) as f64;
            page.sample(name, &[("issuer", &provider.name), ("result", result)], count);
        }
    }
    let name = "aegis_jwks_age_seconds";
    page.metric(
        name,
        "gauge",
        "Time since the keys of an issuer were fetched; absent while they never were.",
    );
    for provider in providers() {
        if let Some(fetched) = provider.current().fetched {
            page.sample(name, &[("issuer", &provider.name)], fetched.elapsed().as_secs_f64().round());
        }
    }
}

fn requests(page: &mut Page, totals: &Totals) {
    let name = "aegis_requests_total";
    page.metric(name, "counter", "Finished requests by route, backend, method and status class.");
    for (series, count) in &totals.requests {
        let status = format!("{}xx", series.class);
        let labels = [
            ("route", &*series.route),
            ("backend", &*series.backend),
            ("method", &*series.method),
            ("status", &*status),
        ];
        page.sample(name, &labels, *count as f64);
    }
    let (bounds, overhead_bounds) = (Bounds::of(&BOUNDS_US), Bounds::of(&OVERHEAD_BOUNDS_US));
    let (request, upstream) = ("aegis_request_duration_seconds", "aegis_upstream_duration_seconds");
    page.metric(
        request,
        "histogram",
        "From a request's arrival to the last byte of its answer, or of its head where that is a stream.",
    );
    for ((route, backend), durations) in &totals.routes {
        let labels = [("route", &**route), ("backend", &**backend)];
        page.histogram(request, &labels, &bounds, &durations.request);
    }
    page.metric(upstream, "histogram", "From sending a request to the upstream's response head, last try.");
    for ((route, backend), durations) in &totals.routes {
        let labels = [("route", &**route), ("backend", &**backend)];
        page.histogram(upstream, &labels, &bounds, &durations.upstream);
    }
    let (stream, stream_bounds) = ("aegis_stream_duration_seconds", Bounds::of(&STREAM_BOUNDS_US));
    page.metric(
        stream,
        "histogram",
        "How long streams were open behind their heads: tunnels, events, long bodies.",
    );
    let streams = totals.routes.iter().filter(|(_, durations)| durations.stream.count() > 0);
    for ((route, backend), durations) in streams {
        let labels = [("route", &**route), ("backend", &**backend)];
        page.histogram(stream, &labels, &stream_bounds, &durations.stream);
    }
    let name = "aegis_overhead_seconds";
    page.metric(
        name,
        "histogram",
        "Time until the response head that was not spent waiting for an upstream.",
    );
    page.histogram(name, &[], &overhead_bounds, &totals.overhead);
    let name = "aegis_gateway_responses_total";
    page.metric(name, "counter", "Answers that the gateway made itself, by reason.");
    for (reason, count) in totals.reasons() {
        page.sample(name, &[("reason", reason)], count as f64);
    }
    let name = "aegis_backend_gateway_responses_total";
    page.metric(name, "counter", "Answers that the gateway made itself, by backend and reason.");
    for (backend, totals) in &totals.backends {
        for (reason, count) in &totals.reasons {
            page.sample(name, &[("backend", backend), ("reason", reason)], *count as f64);
        }
    }
    let name = "aegis_backend_responses_total";
    page.metric(name, "counter", "Finished requests by backend and exact status.");
    for (backend, totals) in &totals.backends {
        for (code, count) in totals.codes.iter() {
            let code = code.map_or_else(|| "other".to_owned(), |code| code.to_string());
            page.sample(name, &[("backend", backend), ("code", &code)], count as f64);
        }
    }
}

fn bytes(page: &mut Page, snapshot: &Snapshot) {
    type Bytes = fn(&RouteCounters) -> u64;
    let metrics: [(&str, &str, Bytes); 2] = [
        ("aegis_request_bytes_total", "Bytes of bodies and tunnels that clients have sent.", |counters| {
            counters.bytes_in.sum()
        }),
        ("aegis_response_bytes_total", "Bytes of bodies and tunnels that clients have got.", |counters| {
            counters.bytes_out.sum()
        }),
    ];
    for (name, help, bytes) in metrics {
        page.metric(name, "counter", help);
        let mut sums: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        // A route that is there twice has the same counters after a reload.
        let mut known = HashSet::new();
        for route in snapshot.routes.iter().filter(|route| known.insert(Arc::as_ptr(&route.counters))) {
            *sums.entry((&route.pattern, &route.backend.name)).or_default() += bytes(&route.counters);
        }
        sums.insert((NONE, NONE), bytes(&snapshot.unrouted));
        for ((route, backend), sum) in sums {
            page.sample(name, &[("route", route), ("backend", backend)], sum as f64);
        }
    }
}

/// What is counted of each target. One that is listed twice has two states and one name: `both` says what that
/// comes to.
fn by_target<T: Default>(
    snapshot: &Snapshot,
    counted: impl Fn(&Target) -> T,
    both: impl Fn(T, T) -> T,
) -> Vec<([(&'static str, &str); 2], T)> {
    let mut told: Vec<([(&'static str, &str); 2], T)> = Vec::new();
    for backend in &snapshot.backends {
        let mut at: HashMap<&str, usize> = HashMap::new();
        for target in &backend.targets {
            let (url, counted) = (target.shared.url.as_str(), counted(target));
            match at.entry(url) {
                Entry::Occupied(place) => {
                    let known = &mut told[*place.get()].1;
                    *known = both(std::mem::take(known), counted);
                }
                Entry::Vacant(place) => {
                    place.insert(told.len());
                    told.push(([("backend", &backend.name), ("target", url)], counted));
                }
            }
        }
    }
    told
}

fn backends(page: &mut Page, snapshot: &Snapshot, overview: &Overview) {
    let name = "aegis_in_flight_requests";
    page.metric(name, "gauge", "Requests at the targets of a backend, tunnels not included.");
    for backend in &snapshot.backends {
        let in_flight: usize =
            backend.targets.iter().map(|target| target.shared.in_flight.load(Ordering::Relaxed)).sum();
        page.sample(name, &[("backend", &backend.name)], in_flight as f64);
    }
    let name = "aegis_circuit_state";
    page.metric(name, "gauge", "State of a target's breaker: 0 closed, 1 half-open, 2 open.");
    let state = |target: &Target| match target.shared.breaker.peek() {
        CircuitState::Closed => 0.0,
        CircuitState::HalfOpen => 1.0,
        CircuitState::Open => 2.0,
    };
    for (labels, state) in by_target(snapshot, state, f64::max) {
        page.sample(name, &labels, state);
    }
    let name = "aegis_circuit_transitions_total";
    page.metric(name, "counter", "Changes of a breaker's state, by the new state.");
    for ((backend, target, to), count) in &overview.transitions {
        page.sample(name, &[("backend", backend), ("target", target), ("to", to)], *count as f64);
    }
    let name = "aegis_target_healthy";
    page.metric(name, "gauge", "1 while a target's active checks pass, or none run.");
    let healthy = |target: &Target| f64::from(u8::from(target.shared.health.is_healthy()));
    for (labels, healthy) in by_target(snapshot, healthy, f64::min) {
        page.sample(name, &labels, healthy);
    }
    targets(page, snapshot);
    let name = "aegis_retries_total";
    page.metric(name, "counter", "Tries beyond a request's first: sent, or refused by the retry budget.");
    for backend in &snapshot.backends {
        let counters = &backend.counters;
        for (outcome, count) in [("sent", &counters.retries), ("budget_exhausted", &counters.retries_refused)]
        {
            let labels = [("backend", &*backend.name), ("outcome", outcome)];
            page.sample(name, &labels, count.sum() as f64);
        }
    }
    let name = "aegis_upstream_connections_total";
    page.metric(name, "counter", "Tries by the connection that they went out on.");
    for backend in &snapshot.backends {
        let counters = &backend.counters;
        for (kind, count) in [("new", &counters.connections_new), ("reused", &counters.connections_reused)] {
            page.sample(name, &[("backend", &backend.name), ("kind", kind)], count.sum() as f64);
        }
    }
}

fn targets(page: &mut Page, snapshot: &Snapshot) {
    let name = "aegis_target_requests_total";
    page.metric(name, "counter", "Tries that a target was chosen for.");
    for (labels, count) in by_target(snapshot, |target| target.counters.requests.sum(), u64::wrapping_add) {
        page.sample(name, &labels, count as f64);
    }
    let name = "aegis_target_failures_total";
    page.metric(name, "counter", "Of them, those that count as a failure of the target.");
    for (labels, count) in by_target(snapshot, |target| target.counters.failures.sum(), u64::wrapping_add) {
        page.sample(name, &labels, count as f64);
    }
    let (name, bounds) = ("aegis_target_duration_seconds", Bounds::of(&BOUNDS_US));
    page.metric(name, "histogram", "From sending a request to the target's response head, each try.");
    let both = |mut one: Buckets, other: Buckets| {
        one.merge(&other);
        one
    };
    for (labels, latency) in by_target(snapshot, |target| target.counters.latency.sum(), both) {
        page.histogram(name, &labels, &bounds, &latency);
    }
}

fn limits(page: &mut Page, snapshot: &Snapshot) {
    let name = "aegis_ratelimit_decisions_total";
    page.metric(name, "counter", "Decisions of rate limits, by rule.");
    for limited in snapshot.limits.iter().flat_map(|limits| limits.all()) {
        let decisions = &limited.shared.decisions;
        for (decision, count) in [
            ("allowed", &decisions.allowed),
            ("limited", &decisions.limited),
            ("shadow", &decisions.shadow),
            ("bypassed", &decisions.bypassed),
            ("error", &decisions.error),
        ] {
            let labels = [("rule", &*limited.shared.name), ("decision", decision)];
            page.sample(name, &labels, count.sum() as f64);
        }
    }
}

fn gateway(page: &mut Page, admin: &Admin, overview: &Overview) {
    let shared = &admin.shared;
    let name = "aegis_internal_requests_total";
    page.metric(
        name,
        "counter",
        "Requests to the gateway's own paths, which no other number of requests holds.",
    );
    for own in &shared.snapshot.load().own_paths.all {
        page.sample(name, &[("endpoint", &own.path)], own.requests.sum() as f64);
    }
    let name = "aegis_config_reloads_total";
    page.metric(name, "counter", "Reloads of the configuration, by what came of them.");
    page.sample(name, &[("result", "applied")], overview.reloads.applied as f64);
    page.sample(name, &[("result", "refused")], overview.reloads.refused as f64);
    let generation = shared.snapshot.load().generation;
    page.single(
        "aegis_config_generation",
        "gauge",
        "Configurations applied since the start.",
        generation as f64,
    );
    page.single(
        "aegis_store_pending_rollups",
        "gauge",
        "Rollups that the metrics store has not got yet.",
        shared.metrics.waiting() as f64,
    );
    page.single(
        "aegis_uncounted_requests_total",
        "counter",
        "Finished requests that no other number knows of: too many waited for the metrics aggregator.",
        shared.metrics.uncounted() as f64,
    );
    page.single(
        "aegis_client_connections",
        "gauge",
        "Open connections of clients.",
        shared.connections.load(Ordering::Relaxed) as f64,
    );
    page.single(
        "aegis_client_connections_accepted_total",
        "counter",
        "Connections of clients that were accepted.",
        shared.accepted.sum() as f64,
    );
    let name = "aegis_certificate_expiry_seconds";
    page.metric(name, "gauge", "Time until a certificate ends; negative once it has.");
    for certificate in &overview.certificates {
        let Some(ends) = certificate.ends else { continue };
        let left = match ends.duration_since(SystemTime::now()) {
            Ok(left) => left.as_secs_f64(),
            Err(over) => -over.duration().as_secs_f64(),
        };
        page.sample(name, &[("name", &certificate.name)], left.round());
    }
    let tunnels = shared.tunnels.load(Ordering::Relaxed);
    page.single("aegis_websocket_tunnels", "gauge", "Open upgrade tunnels.", tunnels as f64);
    // The name is part of the interface; a scraper that asks for it gets what is true.
    page.single("aegis_dashboard_sessions", "gauge", "Dashboard sessions; this version has none.", 0.0);
    let name = "aegis_build_info";
    page.metric(name, "gauge", "1, with the version.");
    page.sample(name, &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let started = admin.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    page.single(
        "process_start_time_seconds",
        "gauge",
        "When the process started, in seconds since the Unix epoch.",
        started.as_secs_f64(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_label_holds_stays_within_its_quotes() {
        let mut page = Page::default();
        page.sample("m", &[("a", "x\"y\\z\nw"), ("b", "")], 1.5);
        page.histogram("h", &[("c", "\"")], &Bounds::of(&BOUNDS_US), &Buckets::default());
        let mut lines = page.text.lines();
        assert_eq!(lines.next(), Some(r#"m{a="x\"y\\z\nw",b=""} 1.5"#));
        assert_eq!(lines.next(), Some(r#"h_bucket{c="\"",le="0.0005"} 0"#));
        assert_eq!(lines.next_back(), Some(r#"h_count{c="\""} 0"#));
        assert_eq!(lines.count(), BOUNDS + 1);
    }
}
