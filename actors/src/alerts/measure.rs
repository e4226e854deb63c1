//! What a rule's condition is about, measured: from what the aggregator has in memory, and from the targets' shared state.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::messages::WatchTarget;
use super::settings::{Condition, Metric};
use crate::circuit_breaker;
use crate::metrics_aggregator::{Metrics, Tally};

/// The longest window, seconds: what the aggregator has in memory, less what borders of its rollups may cost.
pub const LONGEST_WINDOW: u64 = 14 * 60;

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// `None`: there was nothing to measure.
    pub value: Option<f64>,
    /// Whether the whole window has been seen, or every target been known for long enough. Before, a good value does not mean
    /// that all is well.
    pub whole: bool,
}

/// Measures the conditions of one look at all rules.
pub struct Measure<'a> {
    metrics: &'a Metrics,
    targets: &'a [WatchTarget],
    /// Unix seconds.
    now: i64,
    /// The same moment, for ages.
    at: Instant,
    /// Since this process counts.
    up: Duration,
    /// Several rules often ask for the same window.
    windows: HashMap<(u64, Option<String>), (Tally, f64)>,
}

impl<'a> Measure<'a> {
    /// A look at `now` (Unix seconds), which is `at`, of a process that has been counting `since`.
    pub fn new(
        metrics: &'a Metrics,
        targets: &'a [WatchTarget],
        now: i64,
        at: Instant,
        since: Instant,
    ) -> Self {
        let up = at.saturating_duration_since(since);
        Self { metrics, targets, now, at, up, windows: HashMap::new() }
    }

    /// What a condition is about, now.
    pub fn of(&mut self, condition: &Condition) -> Measured {
        if condition.metric.is_gauge() { self.gauge(condition) } else { self.counted(condition) }
    }

    fn gauge(&self, condition: &Condition) -> Measured {
        let health = condition.metric == Metric::UnhealthyTargets;
        let of = |target: &&WatchTarget| {
            condition.backend.as_ref().is_none_or(|backend| *backend == target.shared.backend)
        };
        let bad = |target: &&WatchTarget| match health {
            true => !target.shared.health.is_healthy(),
            false => target.shared.breaker.peek() == circuit_breaker::CircuitState::Open,
        };
        let settles = |target: &WatchTarget| match health {
            true => target.health_settles,
            false => target.breaker_settles,
        };
        // A target that is listed twice is one.
        let bad: HashSet<_> =
            self.targets.iter().filter(of).filter(bad).map(|t| (&t.shared.backend, &t.shared.url)).collect();
        let settled =
            |target: &WatchTarget| self.at.saturating_duration_since(target.shared.since) >= settles(target);
        Measured { value: Some(bad.len() as f64), whole: self.targets.iter().filter(of).all(settled) }
    }

    fn counted(&mut self, condition: &Condition) -> Measured {
        let window = condition.window.as_secs().clamp(1, LONGEST_WINDOW);
        let (metrics, now) = (self.metrics, self.now);
        let (tally, seconds) = self
            .windows
            .entry((window, condition.backend.clone()))
            .or_insert_with(|| metrics.state().window(now, window as i64, condition.backend.as_deref()));
        let whole = self.up >= Duration::from_secs(window);
        let share = |part: u64| (tally.requests > 0).then(|| part as f64 / tally.requests as f64);
        let latency = |q: f64| {
            // The longest is known exactly, a percentile up to the width of its bucket.
            tally.latency.quantile(q).map(|micros| micros.min(tally.longest_us) as f64 / 1e3)
        };
        // Of a part of the window no rate is told: it would be too low.
        let rate = |count: u64| whole.then(|| count as f64 / *seconds);
        let value = match condition.metric {
            Metric::ErrorRate => share(tally.failed),
            Metric::LatencyP50 => latency(0.50),
            Metric::LatencyP95 => latency(0.95),
            Metric::LatencyP99 => latency(0.99),
            Metric::RequestRate => rate(tally.requests),
            Metric::RateLimitedRate => rate(tally.limited),
            Metric::UnhealthyTargets | Metric::OpenBreakers => None,
        };
        Measured { value, whole }
    }
}
