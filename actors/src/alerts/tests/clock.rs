//! Rules judged while the wall clock is set back: what is counted and who judges it go by one clock that never is.

use super::*;
use crate::alerts::Measure;
use crate::clock::by_hand;
use crate::metrics_aggregator::{Labels, Metrics, Record, method_index};

/// Five requests a second, one of which fails.
fn second_of_traffic(metrics: &Metrics) {
    let labels = Arc::new(Labels { routes: vec![("/a".into(), "one".into())] });
    let record = |status| Record {
        ended_ms: metrics.now_ms() as u64,
        route: Some(0),
        method: method_index("GET"),
        status,
        duration_us: 1_000,
        ..Record::default()
    };
    metrics.state().record(&labels, &[200, 200, 200, 200, 500].map(record));
}

fn rate(id: &str, operator: Operator, threshold: f64) -> Rule {
    let condition = Condition {
        metric: Metric::RequestRate,
        operator,
        threshold,
        window: Duration::from_secs(30),
        backend: None,
    };
    Rule { condition, ..rule(id) }
}

#[test]
fn no_alert_flaps_and_no_second_is_lost_or_counted_twice_when_the_clock_is_set_back_by_a_minute() {
    let (clock, hand) = by_hand(T);
    let metrics = Metrics::with_clock(clock);
    let quiet = Rule { condition: Condition { threshold: 0.3, ..rule("x").condition }, ..rule("quiet") };
    // Slower time makes five requests a second 5.7 at most.
    let rules =
        [rule("errors"), quiet, rate("many", Operator::Above, 6.5), rate("few", Operator::Below, 4.5)];
    let mut state = state("a", false, rules.into());
    let start = std::time::Instant::now();
    let (mut out, mut fullest) = (Vec::new(), 0);
    for second in 1..=900 {
        if second == 200 {
            hand.lock().unwrap().wall -= 60_000;
        }
        second_of_traffic(&metrics);
        {
            let mut hand = hand.lock().unwrap();
            hand.wall += 1_000;
            hand.at += Duration::from_secs(1);
        }
        let now = metrics.now_ms();
        let at = start + Duration::from_secs(second);
        let mut measure = Measure::new(&metrics, &[], now / 1_000, at, start);
        out.extend(changes(state.look(now, View::Alone, |condition| measure.of(condition), nowhere)));
        fullest = fullest.max(metrics.state().lately(now / 1_000, 1).requests);
    }
    assert_eq!(out, fired("errors"), "it fires once, does not resolve, and no other does");
    assert!(fullest <= 10, "{fullest} requests are no second's");
    let counted = metrics.state().recent.sum(T / 1_000 - 600, T / 1_000 + 2_000, None);
    assert_eq!(counted.requests, 900 * 5);
}
