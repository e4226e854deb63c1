//! Rules judged without a store.

use super::*;
use crate::alerts::delivery_queue::Then;
use crate::alerts::{Failure, Standing, Told};

const BAD: Measured = Measured { value: Some(0.5), whole: true };
const GOOD: Measured = Measured { value: Some(0.0), whole: true };

fn see(state: &mut AlertsState, now: i64, measured: Measured) -> Vec<(Change, String)> {
    look(state, now, View::Alone, measured)
}

fn standing(state: &AlertsState, now: i64) -> Standing {
    state.report(now)[0].standing
}

#[test]
fn it_fires_once_and_resolves_by_itself() {
    let mut state = state("a", false, vec![rule("errors")]);
    assert_eq!(see(&mut state, T, GOOD), []);
    assert_eq!(see(&mut state, T + 1_000, BAD), fired("errors"));
    for second in 2..1_000 {
        assert_eq!(see(&mut state, T + second * 1_000, BAD), [], "longer than the cooldown, too");
    }
    let alert = state.firing().remove(0);
    assert_eq!((alert.value, alert.fired_at_ms, alert.resolved_at_ms), (0.5, T + 1_000, None));
    assert_eq!(alert.message, "error rate is 50 % over 60 s (> 10 %)");
    assert_eq!(see(&mut state, T + 1_000_000, GOOD), resolved("errors"));
    assert_eq!(see(&mut state, T + 1_001_000, GOOD), []);
    assert!(state.firing().is_empty());
    assert_eq!(state.history()[0].resolved_at_ms, Some(T + 1_000_000));
}

#[test]
fn a_condition_that_comes_and_goes_fires_once_per_cooldown() {
    let mut state = state("a", false, vec![rule("errors")]);
    let (mut count, cooldown) = (0, 300);
    for second in 0..1_200 {
        let now = T + second * 1_000;
        let out = see(&mut state, now, if second % 20 < 10 { BAD } else { GOOD });
        count += out.iter().filter(|(what, _)| *what == Change::Fired).count();
        if (11..cooldown).contains(&second) && second % 20 < 10 {
            assert_eq!(standing(&state, now), Standing::Cooling);
        }
    }
    assert_eq!(count, 4, "at 0, 300, 600 and 900 s");
}

#[test]
fn rules_are_judged_apart() {
    let slow = Rule {
        condition: Condition { metric: Metric::LatencyP95, threshold: 200.0, ..rule("x").condition },
        ..rule("slow")
    };
    let mut state = state("a", false, vec![rule("errors"), slow]);
    let measure = |condition: &Condition| {
        measured(Some(if condition.metric == Metric::LatencyP95 { 250.0 } else { 0.0 }))
    };
    let out = state.look(T, View::Alone, measure, |condition| format!(" at {}", condition.metric.as_str()));
    assert_eq!(changes(out), fired("slow"));
    assert_eq!(state.firing()[0].message, "p95 latency is 250 ms over 60 s (> 200 ms) at latency_p95");
}

#[test]
fn without_requests_an_alert_resolves_but_not_before_a_whole_window_was_seen() {
    let mut state = state("a", false, vec![rule("errors")]);
    let nothing = |whole| Measured { value: None, whole };
    assert_eq!(see(&mut state, T, nothing(true)), [], "and none fires");
    assert_eq!(see(&mut state, T, BAD), fired("errors"));
    assert_eq!(see(&mut state, T + 1_000, nothing(false)), []);
    assert_eq!(see(&mut state, T + 2_000, Measured { whole: false, ..GOOD }), []);
    assert_eq!(see(&mut state, T + 3_000, nothing(true)), resolved("errors"));
}

#[test]
fn a_gauge_must_hold_for_its_window() {
    let mut down = rule("down");
    down.condition = Condition {
        metric: Metric::UnhealthyTargets,
        operator: Operator::AtLeast,
        threshold: 1.0,
        ..down.condition
    };
    let mut state = state("a", false, vec![down]);
    let one = measured(Some(1.0));
    assert_eq!(see(&mut state, T, one), []);
    assert_eq!(standing(&state, T), Standing::Pending);
    assert_eq!(see(&mut state, T + 59_000, one), []);
    assert_eq!(see(&mut state, T + 59_500, measured(Some(0.0))), [], "the count starts again");
    assert_eq!(see(&mut state, T + 60_000, one), []);
    assert_eq!(see(&mut state, T + 120_000, one), fired("down"));
    assert_eq!(state.firing()[0].message, "unhealthy targets: 1 for 60 s (>= 1)");
    assert_eq!(see(&mut state, T + 121_000, measured(Some(0.0))), resolved("down"));
}

#[test]
fn every_operator_has_its_side() {
    for (operator, below, at, above) in [
        (Operator::Above, false, false, true),
        (Operator::AtLeast, false, true, true),
        (Operator::Below, true, false, false),
        (Operator::AtMost, true, true, false),
    ] {
        let holds = [0.9, 1.0, 1.1].map(|value| operator.holds(value, 1.0));
        assert_eq!(holds, [below, at, above], "{operator:?}");
    }
}

#[test]
fn a_reload_keeps_what_it_does_not_change_and_resolves_what_it_takes_away() {
    let mut state = state("a", false, vec![rule("errors"), rule("other")]);
    see(&mut state, T, BAD);
    let id = state.firing()[0].id.clone();
    // Another threshold for one, the other is gone.
    let mut changed = rule("errors");
    changed.condition.threshold = 0.7;
    state.watch(settings(vec![rule("errors")]));
    let out = see(&mut state, T + 1_000, BAD);
    assert_eq!(out, resolved("other"));
    assert_eq!(
        state.history()[0].reason.as_deref().or(state.history()[1].reason.as_deref()),
        Some("its rule is gone")
    );
    assert!(ids(&state.history()).contains(&id.as_str()));
    state.watch(settings(vec![changed]));
    assert_eq!(see(&mut state, T + 2_000, BAD), resolved("errors"), "0.5 is good enough now");
    assert_eq!(see(&mut state, T + 3_000, measured(Some(0.8))), [], "the cooldown goes on");
    state.watch(Arc::new(Settings { enabled: false, ..Settings::default() }));
    assert!(!state.is_active() && state.report(T).is_empty());
}

#[test]
fn switched_off_everything_resolves() {
    let mut state = state("a", false, vec![rule("errors")]);
    see(&mut state, T, BAD);
    let off = Settings { enabled: false, ..settings(vec![rule("errors")]).as_ref().clone() };
    state.watch(Arc::new(off));
    assert!(state.is_active(), "there is something left to resolve");
    assert_eq!(see(&mut state, T + 1, BAD), resolved("errors"));
    assert_eq!(state.history()[0].reason.as_deref(), Some("alerts are switched off"));
}

#[test]
fn it_is_acknowledged_once_and_fires_on() {
    let mut state = state("a", false, vec![rule("errors")]);
    see(&mut state, T, BAD);
    let id = state.firing()[0].id.clone();
    let (alert, out) = state.acknowledge(T + 5, &id).unwrap();
    assert_eq!(
        (alert.acknowledged_at_ms, changes(out)),
        (Some(T + 5), vec![(Change::Acknowledged, "errors".into())])
    );
    let (again, out) = state.acknowledge(T + 9, &id).unwrap();
    assert_eq!((again.acknowledged_at_ms, out), (Some(T + 5), vec![]));
    assert_eq!(state.firing()[0].acknowledged_at_ms, Some(T + 5));
    assert!(state.acknowledge(T, "none").is_none());
}

#[test]
fn the_webhook_is_told_of_the_beginning_and_then_of_the_end() {
    let mut state = state("a", false, vec![rule("errors")]);
    see(&mut state, T, BAD);
    let delivery = state.due(T).remove(0);
    assert_eq!((delivery.told, delivery.webhook.name.as_str()), (Told::Fired, "ops"));
    assert!(state.due(T).is_empty(), "it is being sent");
    let failure = Failure { what: "status 500".into(), then: Then::Again };
    assert_eq!(state.sent(T, &delivery, Err(failure)).len(), 1);
    // It is over before anybody has heard of it.
    see(&mut state, T + 100, GOOD);
    assert!(state.due(T + 200).is_empty(), "not so soon");
    let mut told = Vec::new();
    for now in [T + 1_000, T + 1_001, T + 1_002] {
        for delivery in state.due(now) {
            told.push(delivery.told);
            state.sent(now, &delivery, Ok(()));
        }
    }
    assert_eq!(told, [Told::Fired, Told::Resolved]);
    assert!(state.pushes(&delivery.alert.id).is_empty() && state.next_due().is_none());
}

#[test]
fn neither_logs_nor_debug_output_show_the_url() {
    let mut state = state("a", false, vec![rule("errors")]);
    let mut out = state.look(T, View::Alone, |_| BAD, nowhere);
    let delivery = state.due(T).remove(0);
    let failure = Failure { what: "status 500".into(), then: Then::GiveUp };
    out.extend(state.sent(T, &delivery, Err(failure)));
    let text = format!("{out:?} {delivery:?} {:?}", state.settings());
    assert!(text.contains("refuses alert errors fired") && !text.contains("hunter2"), "{text}");
}

#[test]
fn a_clock_that_was_ahead_keeps_no_rule_from_firing() {
    let ahead = T + 40 * 86_400_000;
    let gauge = Rule {
        condition: Condition { metric: Metric::OpenBreakers, threshold: 0.0, ..rule("x").condition },
        ..rule("open")
    };
    let mut state = state("a", false, vec![rule("errors"), gauge]);
    let look = |state: &mut AlertsState, now, errors: f64, open: f64| {
        let measure = |condition: &Condition| {
            measured(Some(if condition.metric == Metric::OpenBreakers { open } else { errors }))
        };
        changes(state.look(now, View::Alone, measure, nowhere))
    };
    assert_eq!(look(&mut state, ahead, 0.5, 1.0), fired("errors"));
    assert_eq!(look(&mut state, ahead + 1_000, 0.0, 1.0), resolved("errors"));
    // Set right.
    assert_eq!(look(&mut state, T, 0.5, 1.0), fired("errors"));
    let both = [resolved("errors"), fired("open")].concat();
    assert_eq!(look(&mut state, T + 60_000, 0.0, 1.0), both);
    // The cooldown counts from when it last fired by the clock that is right.
    assert_eq!(look(&mut state, T + 61_000, 0.5, 1.0), []);
}
