//! Where what an alert tells of happens: the backends and targets that it is about, for its text.

use std::collections::{BTreeMap, BTreeSet};

use super::messages::WatchTarget;
use super::settings::{Condition, Metric, Operator};
use crate::circuit_breaker;
use crate::metrics_aggregator::{Metrics, Tally};

/// Backends, and targets of each, that a text names.
const BACKENDS: usize = 3;
const TARGETS: usize = 5;

/// What follows the numbers of an alert on `condition` that is met at `now` (Unix seconds): ` at backend …`, or nothing.
pub fn of(metrics: &Metrics, targets: &[WatchTarget], now: i64, condition: &Condition) -> String {
    let of = |target: &&WatchTarget| {
        condition.backend.as_ref().is_none_or(|backend| *backend == target.shared.backend)
    };
    let mut known: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut bad: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for target in targets.iter().filter(of) {
        let (backend, url) = (target.shared.backend.as_str(), target.shared.url.as_str());
        known.entry(backend).or_default().insert(url);
        let unhealthy = !target.shared.health.is_healthy();
        let open = target.shared.breaker.peek() == circuit_breaker::CircuitState::Open;
        let is_bad = match condition.metric {
            Metric::UnhealthyTargets => unhealthy,
            Metric::OpenBreakers => open,
            _ => unhealthy || open,
        };
        if is_bad {
            bad.entry(backend).or_default().insert(url);
        }
    }
    if condition.metric.is_gauge() {
        let named = bad.iter().map(|(backend, urls)| format!("{backend} ({})", listed(urls)));
        return places(named.collect());
    }
    let backends: Vec<(&str, Option<String>)> = match &condition.backend {
        Some(backend) => vec![(backend, None)],
        None => worst(metrics, known.keys().copied(), now, condition),
    };
    let named = backends.into_iter().map(|(backend, part)| {
        // Of one target there is no doubt; of several, those that are known to be ill are named.
        let target = match (known.get(backend), bad.get(backend)) {
            (Some(all), _) if all.len() == 1 => all.first().map(|url| format!("target {url}")),
            (_, Some(bad)) => Some(format!("unhealthy or with an open breaker: {}", listed(bad))),
            _ => None,
        };
        let notes: Vec<String> = part.into_iter().chain(target).collect();
        match notes.is_empty() {
            true => backend.to_owned(),
            false => format!("{backend} ({})", notes.join("; ")),
        }
    });
    places(named.collect())
}

/// Those of the backends that have the largest part in what is too high, each with its part.
fn worst<'n>(
    metrics: &Metrics,
    backends: impl Iterator<Item = &'n str>,
    now: i64,
    condition: &Condition,
) -> Vec<(&'n str, Option<String>)> {
    if !matches!(condition.operator, Operator::Above | Operator::AtLeast) {
        return Vec::new();
    }
    let window = i64::try_from(condition.window.as_secs().max(1)).unwrap_or(i64::MAX);
    let quantile = |tally: &Tally, q: f64| tally.latency.quantile(q).unwrap_or(0).min(tally.longest_us);
    let part = |tally: &Tally| match condition.metric {
        Metric::ErrorRate => (tally.failed, format!("{} of {} requests", tally.failed, tally.requests)),
        Metric::RateLimitedRate => {
            (tally.limited, format!("{} of {} requests", tally.limited, tally.requests))
        }
        Metric::LatencyP50 => timed(quantile(tally, 0.50), condition.metric),
        Metric::LatencyP95 => timed(quantile(tally, 0.95), condition.metric),
        Metric::LatencyP99 => timed(quantile(tally, 0.99), condition.metric),
        Metric::RequestRate => (tally.requests, format!("{} requests", tally.requests)),
        Metric::UnhealthyTargets | Metric::OpenBreakers => (0, String::new()),
    };
    let mut parts: Vec<(u64, &str, String)> = backends
        .map(|backend| {
            let (tally, _) = metrics.state().window(now, window, Some(backend));
            let (weight, text) = part(&tally);
            (weight, backend, text)
        })
        .filter(|(weight, ..)| *weight > 0)
        .collect();
    parts.sort_by_key(|(weight, ..)| std::cmp::Reverse(*weight));
    parts.into_iter().map(|(_, backend, text)| (backend, Some(text))).collect()
}

fn timed(micros: u64, metric: Metric) -> (u64, String) {
    (micros, metric.shown(micros as f64 / 1e3))
}

fn places(mut named: Vec<String>) -> String {
    let more = named.len().saturating_sub(BACKENDS);
    named.truncate(BACKENDS);
    match (named.as_slice(), more) {
        ([], _) => String::new(),
        ([one], _) => format!(" at backend {one}"),
        (some, 0) => format!(" at backends {}", some.join(", ")),
        (some, more) => format!(" at backends {} and {more} more", some.join(", ")),
    }
}

fn listed(urls: &BTreeSet<&str>) -> String {
    let named: Vec<&str> = urls.iter().take(TARGETS).copied().collect();
    match urls.len().saturating_sub(TARGETS) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
