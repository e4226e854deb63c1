//! Tests of the aggregator that span its files: nothing is lost and nothing counted twice, whatever the store does.

mod actor;

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

/// A store that keeps the newest state of each rollup, as the real one does.
#[derive(Default)]
struct Rows {
    requests: HashMap<(i64, u32, Series), Tally>,
}

impl Rows {
    fn write(&mut self, due: &[Rollup]) {
        for rollup in due {
            let key = (rollup.start, rollup.seconds, rollup.series.clone());
            self.requests.insert(key, rollup.tally.clone());
        }
    }

    fn total(&self) -> Tally {
        let mut sum = Tally::default();
        self.requests.values().for_each(|tally| sum.merge(tally));
        sum
    }
}

fn labels() -> Arc<Labels> {
    Arc::new(Labels { routes: vec![("/a".into(), "one".into()), ("/b".into(), "two".into())] })
}

fn record(second: i64, route: Option<u32>, status: u16, micros: u64) -> Record {
    Record {
        ended_ms: second as u64 * 1000,
        route,
        method: method_index("GET"),
        status,
        reason: (status == 429).then_some("rate_limited"),
        duration_us: micros,
        upstream_us: Some(super::micros(micros / 2)),
        overhead_us: Some(super::micros(50)),
        bytes_in: 1,
        bytes_out: 10,
        limits: LimitCounts { allowed: 1, ..LimitCounts::default() },
        ..Record::default()
    }
}

const START: i64 = 1_700_000_000;

#[test]
fn requests_are_counted_by_route_method_and_class() {
    let mut state = MetricsState::default();
    let labels = labels();
    state.record(
        &labels,
        &[
            record(START, Some(0), 200, 1_000),
            record(START, Some(0), 204, 3_000),
            record(START, Some(1), 429, 10),
            record(START, None, 404, 10),
            Record { method: method_index("BREW"), ..record(START + 1, Some(0), 503, 10) },
        ],
    );
    let totals = state.totals();
    let count = |route: &str, method: &str, class: u8| {
        let is =
            |series: &Series| *series.route == *route && *series.method == *method && series.class == class;
        totals.requests.iter().filter(|(series, _)| is(series)).map(|(_, count)| count).sum::<u64>()
    };
    assert_eq!((count("/a", "GET", 2), count("/b", "GET", 4), count("none", "GET", 4)), (2, 1, 1));
    assert_eq!(count("/a", "OTHER", 5), 1);
    assert_eq!(totals.reasons().get("rate_limited"), Some(&1));
    let of = |backend: &str| &totals.backends.iter().find(|(name, _)| **name == *backend).unwrap().1;
    let codes = |backend: &str| of(backend).codes.iter().collect::<Vec<_>>();
    assert_eq!(codes("one"), [(Some(200), 1), (Some(204), 1), (Some(503), 1)]);
    assert_eq!((codes("two"), codes("none")), (vec![(Some(429), 1)], vec![(Some(404), 1)]));
    assert_eq!((of("two").reasons.get("rate_limited"), of("one").reasons.len()), (Some(&1), 0));
    let lately = state.lately(START + 1, 5);
    assert_eq!((lately.requests, lately.failed, lately.limited), (4, 0, 1));
    assert_eq!(state.lately(START + 2, 5).failed, 1);
}

#[test]
fn a_second_that_is_reported_late_is_told_all_the_same() {
    let mut state = MetricsState::default();
    for second in [5, 3, 9, 4, 5] {
        state.record(
            &labels(),
            &[record(START + second, Some(0), 200, 1), record(START + second, None, 200, 1)],
        );
    }
    let told = |window, backend| state.window(START + 10, window, backend).0.requests;
    assert_eq!([told(1, None), told(5, None), told(7, None), told(60, None)], [2, 6, 10, 10]);
    assert_eq!([told(60, Some("one")), told(60, Some("two")), told(60, Some("none"))], [5, 0, 5]);
    assert_eq!(state.window(START + 10, 120, Some("one")).0.requests, 5);
    // Only the last minute is told by seconds; what is older changes nothing there.
    for second in 100..200 {
        state.record(&labels(), &[record(START + second, Some(0), 200, 1), record(START, Some(0), 200, 1)]);
    }
    assert_eq!(state.window(START + 200, 60, None).0.requests, 60);
}

#[test]
fn what_was_given_up_and_comes_late_does_not_hide_what_comes_next() {
    let mut state = MetricsState::default();
    assert_eq!(state.missing(3), 3);
    state.give_up(3);
    assert_eq!(state.missing(3), 0);
    state.record(&labels(), &[record(START, Some(0), 200, 1); 3]);
    assert_eq!(state.missing(4), 1, "the fourth is waited for");
}

#[test]
fn the_same_route_under_another_configuration_goes_on() {
    let mut state = MetricsState::default();
    state.record(&labels(), &[record(START, Some(1), 200, 1)]);
    let turned = Arc::new(Labels { routes: vec![("/b".into(), "two".into())] });
    state.record(&turned, &[record(START, Some(0), 200, 1)]);
    assert_eq!(state.totals().requests.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [2]);
    assert_eq!(state.totals().routes.len(), 1);
}

/// What happens in a run.
#[derive(Clone, Debug)]
enum Step {
    Count(u32, u8),
    Pass(i64),
    /// A write, which goes through; or is lost; or goes through and its answer is lost.
    Write(Result<(), bool>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0_u32..3, 1_u8..5).prop_map(|(route, count)| Step::Count(route, count)),
        3 => prop_oneof![0_i64..30, 0_i64..4_000, Just(50_000)].prop_map(Step::Pass),
        2 => prop_oneof![Just(Ok(())), any::<bool>().prop_map(Err)].prop_map(Step::Write),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    #[test]
    fn whatever_the_store_does_it_has_everything_once_in_the_end(steps in steps()) {
        let (mut state, mut rows, labels) = (MetricsState::default(), Rows::default(), labels());
        let (mut now, mut counted, mut due_ever) = (START, 0, 0);
        for step in steps {
            match step {
                Step::Count(route, count) => {
                    let one = record(now, (route < 2).then_some(route), 200, 100);
                    state.record(&labels, &vec![one; count.into()]);
                    counted += u64::from(count);
                }
                Step::Pass(seconds) => {
                    // Within the week for which everything waits.
                    now = (now + seconds).min(START + 6 * 86_400);
                    prop_assert_eq!(state.recent.age(now, Some(0)), 0);
                }
                Step::Write(outcome) => {
                    let due = state.recent.due(3);
                    due_ever += due.len();
                    if outcome != Err(false) {
                        rows.write(&due);
                    }
                    if outcome.is_ok() {
                        state.recent.written(&due);
                    }
                }
            }
            // What is old waits in coarser rollups, but for what has been part of a write.
            let is_fine = |(start, seconds): &(i64, u32)| *seconds == FINEST && now - start > IN_MEMORY_SECONDS;
            let stretches = state.recent.stretches();
            prop_assert!(stretches.iter().filter(|stretch| is_fine(stretch)).count() <= due_ever);
        }
        while state.recent.waiting() > 0 {
            let due = state.recent.due(100);
            rows.write(&due);
            state.recent.written(&due);
        }
        prop_assert_eq!(rows.total().requests, counted);
        prop_assert_eq!((rows.total().latency.count(), rows.total().limits.allowed), (counted, counted));
        state.recent.age(now + IN_MEMORY_SECONDS + 100, Some(0));
        prop_assert!(state.recent.stretches().is_empty(), "what is written and old is forgotten");
    }
}

#[test]
fn an_outage_of_a_day_is_kept_in_few_rollups() {
    let (mut state, labels) = (MetricsState::default(), labels());
    for second in (0..86_400).step_by(5) {
        state.record(&labels, &[record(START + second, Some(0), 200, 100)]);
        if second % 600 == 0 {
            state.recent.age(START + second, Some(0));
        }
    }
    state.recent.age(START + 86_400, Some(0));
    assert!(state.recent.stretches().len() < 330, "{}", state.recent.stretches().len());
    let due = state.recent.due(10_000);
    assert_eq!(due.iter().map(|rollup| rollup.tally.requests).sum::<u64>(), 86_400 / 5);
    for rollup in &due {
        assert_eq!(rollup.start % i64::from(rollup.seconds), 0);
    }
}

#[test]
fn an_outage_of_a_month_takes_no_more_memory_than_one_of_a_week_and_says_what_it_costs() {
    let (mut state, labels) = (MetricsState::default(), labels());
    let (mut most, mut lost) = (0, 0);
    for minute in 0..30 * 1440 {
        state.record(&labels, &[record(START + minute * 60, Some(0), 200, 100)]);
        if minute % 60 == 0 {
            lost += state.recent.age(START + minute * 60, Some(minute as u64 * 60));
            most = most.max(state.recent.stretches().len());
        }
    }
    assert!(most < 500, "{most} stretches");
    let kept: u64 = state.recent.due(10_000).iter().map(|rollup| rollup.tally.requests).sum();
    assert_eq!(kept + lost, 30 * 1440);
    assert!((7 * 1440..=7 * 1440 + 120).contains(&kept), "{kept}");
}

#[test]
fn a_clock_that_is_set_forward_loses_nothing_that_waits() {
    let (mut state, labels) = (MetricsState::default(), labels());
    state.record(&labels, &[record(START, Some(0), 200, 100)]);
    let later = START + 40 * 86_400;
    assert_eq!(state.recent.age(later, Some(600)), 0);
    state.record(&labels, &[record(later, Some(0), 200, 100)]);
    let due = state.recent.due(10);
    assert_eq!(due.iter().map(|rollup| rollup.tally.requests).sum::<u64>(), 2);
    // And set back: what is written of that time is forgotten, so that it is not written again when it comes.
    state.recent.written(&due);
    state.recent.age(START + 10, Some(0));
    assert!(state.recent.stretches().iter().all(|(start, _)| *start <= START));
}

#[test]
fn the_last_seconds_are_told_when_the_clock_was_ahead() {
    let (mut state, labels) = (MetricsState::default(), labels());
    for second in 0..200 {
        state.record(&labels, &[record(START + 40 * 86_400 + second, Some(0), 200, 100)]);
    }
    state.set_back(START);
    state.record(&labels, &[record(START, Some(0), 200, 100)]);
    assert_eq!(state.lately(START + 1, 10).requests, 1);
}

#[test]
fn what_limits_decided_is_counted_with_the_requests_that_it_was_decided_for() {
    let limits = |allowed, limited, shadow, bypassed| LimitCounts { allowed, limited, shadow, bypassed };
    let one = |route, status, limits| Record { limits, ..record(START, Some(route), status, 10) };
    let mut state = MetricsState::default();
    let records = [
        one(0, 200, limits(2, 0, 1, 0)),
        one(0, 200, limits(u8::MAX, 0, 0, 0)),
        one(0, 429, limits(0, 1, 0, 0)),
        one(1, 200, limits(0, 0, 0, 3)),
        Record { limits: LimitCounts::default(), ..record(START, None, 404, 10) },
    ];
    state.record(&labels(), &records);
    let tally = |allowed, limited, shadow, bypassed| LimitTally { allowed, limited, shadow, bypassed };
    let kept = state.recent.within(START, START + 10);
    let of = |route: &str, class: u8| {
        let is = |rollup: &&Rollup| *rollup.series.route == *route && rollup.series.class == class;
        kept.iter().find(is).unwrap().tally.limits
    };
    assert_eq!((of("/a", 2), of("/a", 4)), (tally(257, 0, 1, 0), tally(0, 1, 0, 0)));
    assert_eq!((of("/b", 2), of("none", 4)), (tally(0, 0, 0, 3), LimitTally::default()));
    // Of a backend; of everything, by rollups and by seconds.
    assert_eq!(state.recent.sum(START, START + 10, Some("one")).limits, tally(257, 1, 1, 0));
    assert_eq!(state.recent.sum(START, START + 10, None).limits, tally(257, 1, 1, 3));
    assert_eq!(state.lately(START + 1, 1).limits, tally(257, 1, 1, 3));
}
