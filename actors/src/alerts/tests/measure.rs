//! What conditions are about, from real counts and the targets' shared state.

use std::time::Instant;

use super::*;
use crate::TargetState;
use crate::alerts::{Measure, WatchTarget, place};
use crate::circuit_breaker::{BreakerState, Held};
use crate::health_check::Health;
use crate::metrics_aggregator::{Labels, Metrics, Record, method_index};

const NOW: i64 = T / 1_000;
const UP: Duration = Duration::from_secs(3_600);

/// A look of a process that has been counting for so long.
fn after<'a>(up: Duration, metrics: &'a Metrics, targets: &'a [WatchTarget]) -> Measure<'a> {
    let start = Instant::now();
    Measure::new(metrics, targets, NOW, start + up, start)
}

fn record(second: i64, route: u32, status: u16, micros: u64) -> Record {
    Record {
        ended_ms: second as u64 * 1_000,
        route: Some(route),
        method: method_index("GET"),
        status,
        reason: (status == 429).then_some("rate_limited"),
        duration_us: micros,
        ..Record::default()
    }
}

fn counted(records: &[Record]) -> Metrics {
    let routes = vec![("/a".into(), "one".into()), ("/b".into(), "two".into())];
    let metrics = Metrics::default();
    metrics.state().record(&Arc::new(Labels { routes }), records);
    metrics
}

fn condition(metric: Metric, window: u64, backend: Option<&str>) -> Condition {
    let (backend, window) = (backend.map(str::to_owned), Duration::from_secs(window));
    Condition { metric, operator: Operator::Above, threshold: 0.0, window, backend }
}

#[test]
fn windows_of_any_length_are_told_of_one_backend_or_of_all() {
    let records: Vec<Record> = (1..=200)
        .rev()
        .flat_map(|ago| {
            let bad = if ago <= 10 { 503 } else { 200 };
            [
                record(NOW - ago, 0, bad, 1_000),
                record(NOW - ago, 1, 200, 9_000),
                record(NOW - ago, 1, 429, 10),
            ]
        })
        .collect();
    let metrics = counted(&records);
    let mut measure = after(UP, &metrics, &[]);
    let mut of = |metric, window, backend| measure.of(&condition(metric, window, backend)).value.unwrap();
    assert_eq!(of(Metric::ErrorRate, 10, Some("one")), 1.0);
    assert_eq!(of(Metric::ErrorRate, 20, Some("one")), 0.5);
    assert_eq!(of(Metric::ErrorRate, 10, None), 1.0 / 3.0);
    assert_eq!(of(Metric::ErrorRate, 100, Some("one")), 0.1);
    assert_eq!(of(Metric::RequestRate, 5, None), 3.0);
    assert_eq!(of(Metric::RequestRate, 100, None), 3.0);
    assert_eq!(of(Metric::RateLimitedRate, 100, Some("two")), 1.0);
    assert_eq!(of(Metric::RateLimitedRate, 30, Some("one")), 0.0);
    assert!((of(Metric::LatencyP99, 60, None) - 9.0).abs() < 0.05);
    assert!((of(Metric::LatencyP50, 60, Some("one")) - 1.0).abs() < 0.01);
}

#[test]
fn where_nothing_was_there_is_no_share_and_no_latency_but_a_rate() {
    let metrics = counted(&[record(NOW - 100, 0, 500, 1)]);
    let mut measure = after(UP, &metrics, &[]);
    let mut of = |metric, backend| measure.of(&condition(metric, 60, backend)).value;
    for backend in [None, Some("one"), Some("unheard of")] {
        assert_eq!(of(Metric::ErrorRate, backend), None);
        assert_eq!(of(Metric::LatencyP95, backend), None);
        assert_eq!(of(Metric::RequestRate, backend), Some(0.0));
    }
}

#[test]
fn a_process_that_has_not_seen_the_whole_window_tells_no_rate() {
    let metrics = counted(&[record(NOW - 1, 0, 500, 1)]);
    let mut measure = after(Duration::from_secs(59), &metrics, &[]);
    let mut of = |metric| measure.of(&condition(metric, 60, None));
    assert_eq!(of(Metric::ErrorRate), Measured { value: Some(1.0), whole: false });
    assert_eq!(of(Metric::RequestRate), Measured { value: None, whole: false });
}

#[test]
fn targets_are_counted_by_what_is_published_of_them() {
    let targets: Vec<WatchTarget> = ["one", "one", "two"]
        .map(|backend| WatchTarget {
            shared: TargetState::new(backend, "http://h:1", Vec::new()),
            health_settles: Duration::from_secs(10),
            breaker_settles: Duration::from_secs(20),
        })
        .into();
    targets[0].shared.health.publish(Health { healthy: false, ..Health::default() });
    targets[2]
        .shared
        .breaker
        .publish(BreakerState { held: Some(Held { open: true, until: None }), ..BreakerState::default() });
    let metrics = Metrics::default();
    let measure = |age, metric, backend| {
        let at = targets[2].shared.since + Duration::from_secs(age);
        Measure::new(&metrics, &targets, NOW, at, at - UP).of(&condition(metric, 0, backend))
    };
    let is = |value: f64, whole| Measured { value: Some(value), whole };
    assert_eq!(measure(10, Metric::UnhealthyTargets, None), is(1.0, true));
    assert_eq!(measure(9, Metric::UnhealthyTargets, Some("one")), is(1.0, false));
    assert_eq!(measure(20, Metric::UnhealthyTargets, Some("two")), is(0.0, true));
    assert_eq!(measure(20, Metric::OpenBreakers, None), is(1.0, true));
    assert_eq!(measure(19, Metric::OpenBreakers, Some("one")), is(0.0, false));
    // Listed twice, it is one all the same.
    targets[1].shared.health.publish(Health { healthy: false, ..Health::default() });
    assert_eq!(measure(10, Metric::UnhealthyTargets, None), is(1.0, true));
}

#[test]
fn an_alert_says_at_which_backends_and_targets_it_is_so() {
    let target = |(backend, url): (&str, &str)| WatchTarget {
        shared: TargetState::new(backend, url, Vec::new()),
        health_settles: Duration::ZERO,
        breaker_settles: Duration::ZERO,
    };
    let targets: Vec<WatchTarget> =
        [("one", "http://a"), ("two", "http://b"), ("two", "http://c"), ("two", "http://c")]
            .map(target)
            .into();
    let record = |route, status, micros| record(NOW - 1, route, status, micros);
    let metrics = counted(&[
        record(0, 500, 1_000),
        record(0, 429, 1_000),
        record(1, 503, 9_000),
        record(1, 502, 9_000),
        record(1, 200, 9_000),
    ]);
    let place = |metric, backend| place::of(&metrics, &targets, NOW, &condition(metric, 10, backend));
    assert_eq!(
        place(Metric::ErrorRate, None),
        " at backends two (2 of 3 requests), one (1 of 2 requests; target http://a)"
    );
    assert_eq!(place(Metric::ErrorRate, Some("one")), " at backend one (target http://a)");
    assert_eq!(place(Metric::ErrorRate, Some("two")), " at backend two");
    assert_eq!(place(Metric::RateLimitedRate, None), " at backend one (1 of 2 requests; target http://a)");
    let slow = place(Metric::LatencyP99, None);
    assert!(slow.starts_with(" at backends two (") && slow.ends_with(" ms; target http://a)"), "{slow}");
    assert_eq!(place(Metric::UnhealthyTargets, None), "");
    // Too few requests are nobody's fault more than another's.
    let quiet = Condition { operator: Operator::Below, ..condition(Metric::RequestRate, 10, None) };
    assert_eq!(place::of(&metrics, &targets, NOW, &quiet), "");

    targets[2].shared.health.publish(Health { healthy: false, ..Health::default() });
    targets[3].shared.health.publish(Health { healthy: false, ..Health::default() });
    targets[0]
        .shared
        .breaker
        .publish(BreakerState { held: Some(Held { open: true, until: None }), ..BreakerState::default() });
    assert_eq!(place(Metric::UnhealthyTargets, None), " at backend two (http://c)");
    assert_eq!(place(Metric::OpenBreakers, None), " at backend one (http://a)");
    assert_eq!(
        place(Metric::ErrorRate, Some("two")),
        " at backend two (unhealthy or with an open breaker: http://c)"
    );
    let many: Vec<WatchTarget> = ('a'..='g').map(|c| target(("m", &format!("http://{c}")))).collect();
    many.iter().for_each(|t| t.shared.health.publish(Health { healthy: false, ..Health::default() }));
    assert_eq!(
        place::of(&metrics, &many, NOW, &condition(Metric::UnhealthyTargets, 0, None)),
        " at backend m (http://a, http://b, http://c, http://d, http://e and 2 more)"
    );
}

#[test]
fn a_target_that_a_reload_brings_is_not_called_well_before_it_is_old_enough() {
    let target = |backend, age| {
        let mut shared = TargetState::new(backend, "http://h:1", Vec::new());
        Arc::get_mut(&mut shared).unwrap().since += UP - Duration::from_secs(age);
        let (health_settles, breaker_settles) = (Duration::from_secs(10), Duration::from_secs(20));
        WatchTarget { shared, health_settles, breaker_settles }
    };
    let start = Instant::now();
    let targets = [target("one", 3_600), target("one", 15), target("two", 3_600)];
    let metrics = Metrics::default();
    let mut measure = Measure::new(&metrics, &targets, NOW, start + UP, start);
    let mut whole = |metric, backend| measure.of(&condition(metric, 0, backend)).whole;
    assert!(whole(Metric::UnhealthyTargets, None) && whole(Metric::OpenBreakers, Some("two")));
    assert!(!whole(Metric::OpenBreakers, Some("one")) && !whole(Metric::OpenBreakers, None));
}
