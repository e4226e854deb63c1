//! `GET /metrics`: everything counted, in the text format of Prometheus (version 0.0.4).
//!
//! Sums come from the aggregator and from the workers' own counters; gauges are read from the published cells. Labels are
//! names from the configuration, never anything that a request brought along.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use aegis_actors::circuit_breaker::State;
use aegis_actors::metrics_aggregator::{BOUNDS_US, Buckets, OVERHEAD_BOUNDS_US, Totals};
use bytes::Bytes;

use super::{Admin, answer, process};
use crate::gateway::shared::InternalAnswer;
use crate::gateway::snapshot::{Snapshot, Target, TargetCounters};
use crate::supervisor::{Inspect, Overview};

/// Answers a scrape.
pub async fn metrics(admin: &Admin) -> InternalAnswer {
    let Ok(overview) = admin.supervisor.send(Inspect).await else { return answer::gone() };
    let snapshot = admin.shared.snapshot.load_full();
    let totals = admin.shared.metrics.state().totals();
    let mut page = Page::default();
    requests(&mut page, &totals);
    backends(&mut page, &snapshot, &overview);
    limits(&mut page, &snapshot);
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
        for (at, (label, value)) in labels.iter().enumerate() {
            self.text.push(if at == 0 { '{' } else { ',' });
            self.text.push_str(label);
            self.text.push_str("=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    /// A metric of one sample without labels.
    pub fn single(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.metric(name, kind, help);
        self.sample(name, &[], value);
    }

    fn histogram(&mut self, name: &str, labels: &[(&str, &str)], bounds: &[u64; 14], buckets: &Buckets) {
        let bucket = format!("{name}_bucket");
        let mut sum = 0;
        for (at, count) in buckets.counts.iter().enumerate() {
            sum += count;
            let bound = bounds.get(at).map_or_else(|| "+Inf".to_owned(), |bound| seconds(*bound).to_string());
            let with: Vec<_> = labels.iter().copied().chain([("le", &*bound)]).collect();
            self.sample(&bucket, &with, sum as f64);
        }
        self.sample(&format!("{name}_sum"), labels, seconds(buckets.sum_us));
        self.sample(&format!("{name}_count"), labels, sum as f64);
    }
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
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
    let (request, upstream) = ("aegis_request_duration_seconds", "aegis_upstream_duration_seconds");
    page.metric(request, "histogram", "From a request's arrival to the last byte of its answer.");
    for ((route, backend), durations) in &totals.durations {
        let labels = [("route", &**route), ("backend", &**backend)];
        page.histogram(request, &labels, &BOUNDS_US, &durations.request);
    }
    page.metric(upstream, "histogram", "From sending a request to the upstream's response head, last try.");
    for ((route, backend), durations) in &totals.durations {
        let labels = [("route", &**route), ("backend", &**backend)];
        page.histogram(upstream, &labels, &BOUNDS_US, &durations.upstream);
    }
    let name = "aegis_overhead_seconds";
    page.metric(
        name,
        "histogram",
        "Time until the response head that was not spent waiting for an upstream.",
    );
    page.histogram(name, &[], &OVERHEAD_BOUNDS_US, &totals.overhead);
    let name = "aegis_gateway_responses_total";
    page.metric(name, "counter", "Answers that the gateway made itself, by reason.");
    for (reason, count) in &totals.reasons {
        page.sample(name, &[("reason", reason)], *count as f64);
    }
}

/// A number of each target. One that is listed twice has two sets of cells and one name: the worse of the two counts.
fn by_target(
    snapshot: &Snapshot,
    number: impl Fn(&Target) -> f64,
    worse: fn(f64, f64) -> f64,
) -> Vec<(&str, &str, f64)> {
    let mut told: Vec<(&str, &str, f64)> = Vec::new();
    for backend in &snapshot.backends {
        let mut at: HashMap<&str, usize> = HashMap::new();
        for target in &backend.targets {
            let (url, number) = (target.cells.url.as_str(), number(target));
            match at.entry(url) {
                Entry::Occupied(place) => {
                    let known = &mut told[*place.get()].2;
                    *known = worse(*known, number);
                }
                Entry::Vacant(place) => {
                    place.insert(told.len());
                    told.push((&backend.name, url, number));
                }
            }
        }
    }
    told
}

fn backends(page: &mut Page, snapshot: &Snapshot, overview: &Overview) {
    let name = "aegis_in_flight_requests";
    page.metric(name, "gauge", "Requests and tunnels at the targets of a backend.");
    for backend in &snapshot.backends {
        let in_flight: usize =
            backend.targets.iter().map(|target| target.cells.in_flight.load(Ordering::Relaxed)).sum();
        page.sample(name, &[("backend", &backend.name)], in_flight as f64);
    }
    let name = "aegis_circuit_state";
    page.metric(name, "gauge", "State of a target's breaker: 0 closed, 1 half-open, 2 open.");
    let state = |target: &Target| match target.cells.gate.peek() {
        State::Closed => 0.0,
        State::HalfOpen => 1.0,
        State::Open => 2.0,
    };
    for (backend, target, state) in by_target(snapshot, state, f64::max) {
        page.sample(name, &[("backend", backend), ("target", target)], state);
    }
    let name = "aegis_circuit_transitions_total";
    page.metric(name, "counter", "Changes of a breaker's state, by the new state.");
    for ((backend, target, to), count) in &overview.transitions {
        page.sample(name, &[("backend", backend), ("target", target), ("to", to)], *count as f64);
    }
    let name = "aegis_target_healthy";
    page.metric(name, "gauge", "1 while a target's active checks pass, or none run.");
    let healthy = |target: &Target| f64::from(u8::from(target.cells.health.is_healthy()));
    for (backend, target, healthy) in by_target(snapshot, healthy, f64::min) {
        page.sample(name, &[("backend", backend), ("target", target)], healthy);
    }
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
        let sum = |kind: fn(&TargetCounters) -> u64| {
            backend.targets.iter().map(|target| kind(&target.counters)).sum::<u64>() as f64
        };
        let (new, reused) = (sum(|t| t.connections_new.sum()), sum(|t| t.connections_reused.sum()));
        page.sample(name, &[("backend", &backend.name), ("kind", "new")], new);
        page.sample(name, &[("backend", &backend.name), ("kind", "reused")], reused);
    }
}

fn limits(page: &mut Page, snapshot: &Snapshot) {
    let name = "aegis_ratelimit_decisions_total";
    page.metric(name, "counter", "Decisions of rate limits, by rule.");
    for limited in snapshot.limits.iter().flat_map(|limits| limits.all()) {
        let decisions = &limited.cells.decisions;
        for (decision, count) in [
            ("allowed", &decisions.allowed),
            ("limited", &decisions.limited),
            ("shadow", &decisions.shadow),
            ("bypassed", &decisions.bypassed),
            ("error", &decisions.error),
        ] {
            let labels = [("rule", &*limited.cells.name), ("decision", decision)];
            page.sample(name, &labels, count.sum() as f64);
        }
    }
}

fn gateway(page: &mut Page, admin: &Admin, overview: &Overview) {
    let shared = &admin.shared;
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
    let tunnels = shared.tunnels.load(Ordering::Relaxed);
    page.single("aegis_websocket_tunnels", "gauge", "Open upgrade tunnels.", tunnels as f64);
    let name = "aegis_build_info";
    page.metric(name, "gauge", "1, with the version.");
    page.sample(name, &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let started = admin.started_at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    page.single(
        "process_start_time_seconds",
        "gauge",
        "When the process started, in seconds since the Unix epoch.",
        started.as_secs_f64(),
    );
}
