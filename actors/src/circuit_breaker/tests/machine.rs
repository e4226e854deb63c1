//! The behaviour table (resilience4j's and opossum's rows), one test a row.

use super::*;
use crate::circuit_breaker::{BreakerState, Phase};

const RESET: Duration = Duration::from_secs(30);
const FIRST: Duration = Duration::from_secs(1);

fn rates_only() -> Settings {
    Settings { failure_threshold: 0, ..Settings::default() }
}

#[test]
fn it_opens_at_the_consecutive_failure_threshold_and_not_before() {
    let mut rig = Rig::new(Settings::default());
    assert_eq!(rig.fail(4), None);
    assert_eq!(rig.fail(1), Some(TripReason::ConsecutiveFailures(5)));
    assert_eq!(rig.admit().unwrap_err(), Refusal { retry_after: FIRST });
}

#[test]
fn a_success_in_between_starts_the_count_of_consecutive_failures_again() {
    let mut rig = Rig::new(Settings::default());
    rig.fail(4);
    assert_eq!(rig.report(0, 1, 4, 0), None);
    assert_eq!(rig.fail(1), Some(TripReason::ConsecutiveFailures(5)));
}

#[test]
fn it_does_not_trip_below_the_volume_threshold() {
    let mut rig = Rig::new(rates_only());
    assert_eq!(rig.fail(19), None);
    assert_eq!(rig.fail(1), Some(TripReason::FailureRate(1.0)));
}

#[test]
fn it_trips_when_the_failure_rate_is_reached_exactly() {
    let mut rig = Rig::new(rates_only());
    rig.succeed(11);
    assert_eq!(rig.fail(10), None);
    assert_eq!(rig.fail(1), Some(TripReason::FailureRate(0.5)));
}

#[test]
fn a_success_that_completes_the_volume_can_trip_it_too() {
    let mut rig = Rig::new(rates_only());
    rig.fail(12);
    assert_eq!(rig.succeed(7), None);
    assert_eq!(rig.succeed(1), Some(TripReason::FailureRate(0.6)));
}

#[test]
fn failures_that_have_left_the_window_do_not_count() {
    let mut rig = Rig::new(rates_only());
    rig.fail(19);
    rig.wait(Duration::from_secs(10));
    assert_eq!(rig.fail(19), None);
    assert_eq!(rig.breaker.totals(rig.now).calls, 19);
}

#[test]
fn slow_calls_trip_only_when_the_rule_is_on() {
    let mut off = Rig::new(rates_only());
    assert_eq!(off.report(0, 20, 0, 20), None);
    let slow_call = Duration::from_secs(1);
    let mut on = Rig::new(Settings { slow_call, slow_call_rate: 0.8, ..rates_only() });
    assert_eq!(on.report(0, 19, 0, 15), None);
    assert_eq!(on.report(0, 1, 0, 1), Some(TripReason::SlowCallRate(0.8)));
}

#[test]
fn with_every_rule_off_it_never_opens() {
    let mut rig = Rig::new(Settings { failure_rate: 0.0, ..rates_only() });
    assert_eq!(rig.fail(10_000), None);
    assert!(rig.admit().is_ok());
}

#[test]
fn open_refuses_everything_and_tells_how_long_it_will() {
    let mut rig = Rig::new(Settings::default());
    rig.fail(5);
    assert_eq!(rig.wait(FIRST / 3), None);
    assert_eq!(rig.admit().unwrap_err().retry_after, FIRST - FIRST / 3);
    assert_eq!(rig.wait(RESET), Some(TripReason::WaitOver));
}

#[test]
fn half_open_lets_exactly_the_configured_number_of_probes_pass() {
    let mut rig = Rig::new(Settings { half_open_requests: 3, ..Settings::default() });
    rig.reach_half_open();
    let probes: Vec<_> = (0..3).map(|_| rig.admit().unwrap()).collect();
    assert!(probes.iter().all(|admission| admission.probe.is_some()));
    assert!(rig.admit().is_err());
    drop(probes);
    assert!(rig.admit().is_ok());
}

#[test]
fn enough_successful_probes_close_it_and_clear_the_window() {
    let mut rig = Rig::new(Settings { success_threshold: 2, ..Settings::default() });
    rig.reach_half_open();
    assert_eq!(rig.succeed(1), None);
    assert_eq!(rig.succeed(1), Some(TripReason::ProbesPassed));
    assert_eq!(rig.breaker.totals(rig.now).calls, 0);
    assert_eq!(rig.breaker.consecutive_failures(), 0);
    assert_eq!(rig.fail(4), None);
}

#[test]
fn any_failed_probe_opens_it_again_and_starts_the_timer_anew() {
    let mut rig = Rig::new(Settings { success_threshold: 3, ..Settings::default() });
    rig.reach_half_open();
    assert_eq!(rig.report(rig.epoch(), 2, 1, 0), Some(TripReason::ProbeFailed));
    assert_eq!(rig.due_in(), FIRST * 2);
}

#[test]
fn a_slow_probe_opens_it_again_when_slow_calls_count() {
    let mut rig = Rig::new(Settings { slow_call: Duration::from_secs(1), ..Settings::default() });
    rig.reach_half_open_by_answers();
    assert_eq!(rig.report(rig.epoch(), 1, 0, 1), Some(TripReason::ProbeSlow));
}

#[test]
fn the_pause_is_a_second_doubles_up_to_the_configured_one_and_starts_over_after_closing() {
    let mut rig = Rig::new(Settings::default());
    rig.fail(5);
    for factor in [1, 2, 4, 8, 16, 30, 30] {
        assert_eq!(rig.due_in(), FIRST * factor);
        rig.wait(rig.due_in());
        rig.fail(1);
    }
    rig.wait(rig.due_in());
    rig.succeed(1);
    rig.fail(5);
    assert_eq!(rig.due_in(), FIRST);
}

#[test]
fn a_configured_pause_below_a_second_is_the_first_and_the_longest() {
    let reset_timeout = Duration::from_millis(300);
    let mut rig = Rig::new(Settings { reset_timeout, ..Settings::default() });
    rig.fail(5);
    for _ in 0..3 {
        assert_eq!(rig.due_in(), reset_timeout);
        rig.wait(rig.due_in());
        rig.fail(1);
    }
}

#[test]
fn a_reopening_is_jittered_by_a_tenth_and_never_beyond_the_configured_pause() {
    let reopened = |times: u32, draw: f64| {
        let now = Instant::now();
        let until = now;
        let phase = Phase::Open { until, reopened: times - 1, fault: Fault::Answers };
        let mut breaker =
            Breaker::resume(Settings::default(), BreakerState { phase, ..BreakerState::default() }, now);
        breaker.on_timer(now, draw).unwrap();
        let run = Run { target: TargetId(1), epoch: breaker.state().epoch, lost: 1, ..Run::default() };
        breaker.on_run(&run, now, draw).unwrap();
        breaker.due().unwrap() - now
    };
    assert_eq!(reopened(1, 0.0), Duration::from_millis(1800));
    assert_eq!(reopened(1, 1.0), Duration::from_millis(2200));
    assert_eq!(reopened(9, 1.0), RESET);
    assert_eq!(reopened(u32::MAX, 0.0), RESET - RESET / 10);
}

#[test]
fn late_results_of_calls_begun_before_a_transition_count_for_nothing() {
    let mut rig = Rig::new(Settings { half_open_requests: 5, ..Settings::default() });
    let before = rig.epoch();
    rig.reach_half_open();
    assert_eq!(rig.report(before, 100, 0, 0), None);
    assert_eq!(rig.report(before, 0, 100, 0), None);
    assert_eq!(rig.state(), CircuitState::HalfOpen);
    let probing = rig.epoch();
    rig.succeed(1);
    assert_eq!(rig.report(probing, 0, 100, 0), None);
    assert_eq!(rig.state(), CircuitState::Closed);
}

#[test]
fn a_call_that_says_nothing_only_gives_its_permit_back() {
    let mut rig = Rig::new(Settings::default());
    rig.reach_half_open();
    drop(rig.admit().unwrap());
    assert_eq!(rig.state(), CircuitState::HalfOpen);
    assert!(rig.admit().is_ok());
}

#[test]
fn a_failed_probe_whose_report_is_lost_opens_it_within_a_second() {
    let mut rig = Rig::new(Settings::default());
    rig.reach_half_open();
    rig.admit().unwrap().probe.unwrap().end(Outcome::Unanswered, false);
    assert!(rig.admit().is_err());
    assert_eq!(rig.wait(rig.due_in()), Some(TripReason::ProbeFailed));
}

#[test]
fn half_open_waits_for_its_probes_as_long_as_it_takes() {
    let mut rig = Rig::new(Settings::default());
    rig.reach_half_open();
    let _probe = rig.admit().unwrap();
    for _ in 0..1_000 {
        assert_eq!(rig.wait(Duration::from_secs(1)), None);
    }
}

#[test]
fn held_open_refuses_until_the_hold_runs_out_and_then_it_is_closed_as_before() {
    let mut rig = Rig::new(Settings::default());
    let ttl = Duration::from_secs(5);
    assert_eq!(rig.hold(HoldState::Open, Some(ttl)), Some(TripReason::Held));
    assert!(rig.cell.load().forced());
    assert_eq!(rig.admit().unwrap_err().retry_after, ttl);
    assert_eq!(rig.wait(ttl), Some(TripReason::HoldEnded));
    assert_eq!((rig.state(), rig.cell.load().forced()), (CircuitState::Closed, false));
}

#[test]
fn held_closed_passes_everything_whatever_fails() {
    let mut rig = Rig::new(Settings::default());
    rig.hold(HoldState::Closed, None);
    assert_eq!(rig.fail(1_000), None);
    assert_eq!(rig.breaker.totals(rig.now).failures, 1_000);
    assert!(rig.admit().unwrap().probe.is_none());
    assert_eq!(rig.hold(HoldState::Auto, None), Some(TripReason::HoldEnded));
    assert_eq!(rig.fail(4), None);
    assert_eq!(rig.fail(1), Some(TripReason::ConsecutiveFailures(5)));
}

#[test]
fn an_open_breaker_goes_on_where_it_was_when_a_hold_ends() {
    let mut rig = Rig::new(Settings::default());
    rig.fail(5);
    rig.hold(HoldState::Closed, None);
    assert_eq!(rig.state(), CircuitState::Closed);
    rig.wait(FIRST / 2);
    rig.hold(HoldState::Auto, None);
    assert_eq!((rig.state(), rig.due_in()), (CircuitState::Open, FIRST / 2));
    rig.hold(HoldState::Open, None);
    rig.wait(RESET);
    rig.hold(HoldState::Auto, None);
    assert_eq!(rig.state(), CircuitState::HalfOpen);
}

#[test]
fn letting_go_of_a_breaker_that_is_not_held_changes_nothing() {
    let mut rig = Rig::new(Settings::default());
    assert_eq!(rig.hold(HoldState::Auto, None), None);
    assert_eq!(rig.epoch(), 0);
}

#[test]
fn a_resumed_breaker_keeps_its_open_time_its_doubling_and_its_hold() {
    let mut rig = Rig::new(Settings::default());
    rig.reach_half_open();
    rig.fail(1);
    rig.breaker = Breaker::resume(Settings::default(), rig.cell.load().as_ref().clone(), rig.now);
    assert_eq!(rig.due_in(), FIRST * 2);
    rig.wait(rig.due_in());
    rig.fail(1);
    assert_eq!(rig.due_in(), FIRST * 4);
    rig.hold(HoldState::Closed, Some(RESET));
    rig.breaker = Breaker::resume(Settings::default(), rig.cell.load().as_ref().clone(), rig.now);
    assert_eq!(rig.due_in(), RESET);
}

#[test]
fn new_settings_apply_at_once_and_keep_the_state() {
    let mut rig = Rig::new(Settings::default());
    rig.fail(2);
    rig.breaker.reconfigure(Settings { failure_threshold: 3, ..Settings::default() }, rig.now);
    assert_eq!(rig.fail(1), Some(TripReason::ConsecutiveFailures(3)));
    rig.breaker.reconfigure(Settings { reset_timeout: Duration::ZERO, ..Settings::default() }, rig.now);
    assert_eq!((rig.state(), rig.due_in()), (CircuitState::Open, FIRST));
}

#[test]
fn a_target_whose_breaker_closed_takes_up_load_slowly_and_one_that_never_opened_does_not() {
    let mut rig = Rig::new(Settings::default());
    assert_eq!(rig.cell.warmth(rig.now), 1.0);
    rig.reach_half_open();
    assert_eq!(rig.cell.warmth(rig.now), 1.0);
    rig.succeed(1);
    assert_eq!(rig.cell.warmth(rig.now), crate::COLD);
    assert_eq!(rig.cell.warmth(rig.now + crate::SLOW_START), 1.0);
}

#[test]
fn settings_of_any_size_do_not_overflow_the_clock() {
    let reset_timeout = Duration::MAX;
    let mut rig = Rig::new(Settings { reset_timeout, window: Duration::MAX, ..Settings::default() });
    rig.fail(5);
    assert_eq!(rig.state(), CircuitState::Open);
    rig.hold(HoldState::Closed, Some(Duration::MAX));
    assert_eq!(rig.state(), CircuitState::Closed);
}

#[test]
fn a_batch_keeps_the_order_of_one_targets_outcomes_and_nothing_more() {
    let (one, two) = (TargetId(1), TargetId(2));
    let mut batch = Outcomes::default();
    use Outcome::{Answered, BrokeOff, Failed, Reached, Refused, Unanswered};
    for (target, epoch, outcome) in [
        (one, 0, Answered),
        (two, 0, Refused),
        (one, 0, Failed),
        (one, 0, Reached),
        (one, 0, BrokeOff),
        (one, 0, Refused),
        (one, 0, Unanswered),
        (one, 0, Failed),
        (one, 0, Answered),
        (one, 1, Answered),
    ] {
        batch.add(target, epoch, outcome, target == two);
    }
    let of = |target, epoch| Run { target, epoch, ..Run::default() };
    assert_eq!(
        batch.runs,
        [
            Run { answered: 1, failed: 1, reached: 1, broke_off: 1, lost: 2, ..of(one, 0) },
            Run { lost: 1, refused: true, slow: 1, ..of(two, 0) },
            Run { failed: 1, ..of(one, 0) },
            Run { answered: 1, ..of(one, 0) },
            Run { answered: 1, ..of(one, 1) },
        ]
    );
}
