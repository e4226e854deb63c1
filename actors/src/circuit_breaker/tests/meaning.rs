//! What counts as a failure, what a probe is asked, and who may end a pause before its time.

use std::sync::Arc;

use super::*;
use crate::circuit_breaker::{CircuitBreakerActor, Deps, UNJUDGED, Watch, Well};
use crate::supervision::Instances;
use crate::target::TargetState;
use crate::testing::{collect, obituaries, until};

const FIRST: Duration = Duration::from_secs(1);

#[test]
fn bad_answers_open_it_by_their_share_and_never_in_a_row() {
    let mut rig = Rig::new(Settings::default());
    for _ in 0..19 {
        assert_eq!(rig.end(Outcome::Failed), None);
    }
    assert_eq!(rig.breaker.consecutive_failures(), 0);
    assert_eq!(rig.end(Outcome::Failed), Some(TripReason::FailureRate(1.0)));
    let mut by_row_only = Rig::new(Settings { failure_rate: 0.0, ..Settings::default() });
    (0..1_000).for_each(|_| assert_eq!(by_row_only.end(Outcome::Failed), None));
}

#[test]
fn whatever_was_answered_ends_a_row_of_failures() {
    for answer in [Outcome::Answered, Outcome::Failed, Outcome::Reached] {
        let mut rig = Rig::new(Settings::default());
        rig.fail(4);
        rig.end(answer);
        assert_eq!(rig.fail(4), None, "{answer:?}");
        assert!(rig.fail(1).is_some(), "{answer:?}");
    }
}

#[test]
fn what_says_nothing_is_in_no_share() {
    let mut rig = Rig::new(Settings { failure_threshold: 0, ..Settings::default() });
    (0..100).for_each(|_| assert_eq!(rig.end(Outcome::Reached), None));
    assert_eq!(rig.breaker.totals(rig.now).calls, 0);
}

#[test]
fn a_body_that_breaks_off_makes_a_failure_of_a_call_that_was_counted() {
    let mut rig = Rig::new(Settings::default());
    for _ in 0..20 {
        rig.end(Outcome::Answered);
    }
    (0..9).for_each(|_| assert_eq!(rig.end(Outcome::BrokeOff), None));
    assert_eq!(rig.breaker.totals(rig.now).calls, 20);
    assert_eq!(rig.end(Outcome::BrokeOff), Some(TripReason::FailureRate(0.5)));
}

#[test]
fn the_default_statuses_are_the_upstreams_own_failures_and_others_can_be_named() {
    let rules = Settings::default();
    let judged = |outcome| (100..600).filter(|status| rules.judge(*status) == outcome).collect::<Vec<_>>();
    assert_eq!(judged(Outcome::Failed), [500, 502, 503, 504]);
    assert_eq!(judged(Outcome::Reached), UNJUDGED);
    let rules = Settings { failure_statuses: vec![507], ..Settings::default() };
    assert_eq!((rules.judge(507), rules.judge(503)), (Outcome::Failed, Outcome::Answered));
}

#[test]
fn a_request_tells_of_a_target_once() {
    use Outcome::{Answered, BrokeOff, Failed, Reached, Refused, Unanswered};
    let again = [Refused, Unanswered, BrokeOff, Failed, Answered, Reached].map(Outcome::again);
    assert_eq!(again, [None, None, None, Some(Reached), Some(Reached), Some(Reached)]);
}

#[test]
fn where_the_target_was_not_reached_any_answer_passes_a_probe() {
    for answer in [Outcome::Answered, Outcome::Failed, Outcome::Reached] {
        let mut rig = Rig::new(Settings::default());
        rig.reach_half_open();
        rig.admit().unwrap().probe.unwrap().end(answer, true);
        assert!(rig.admit().is_ok(), "{answer:?} is no failure of this probe");
        assert_eq!(rig.end(answer), Some(TripReason::ProbesPassed), "{answer:?}");
    }
}

#[test]
fn where_answers_were_bad_only_a_good_one_passes_and_one_that_says_nothing_decides_nothing() {
    let half_open = || {
        let mut rig = Rig::new(Settings::default());
        rig.reach_half_open_by_answers();
        rig
    };
    for bad in [Outcome::Failed, Outcome::Unanswered, Outcome::Refused] {
        let mut rig = half_open();
        rig.admit().unwrap().probe.unwrap().end(bad, false);
        assert!(rig.admit().is_err(), "{bad:?}");
        assert_eq!(rig.end(bad), Some(TripReason::ProbeFailed), "{bad:?}");
    }
    let mut rig = half_open();
    assert_eq!(rig.end(Outcome::Reached), None);
    assert_eq!(rig.end(Outcome::Answered), Some(TripReason::ProbesPassed));
}

#[test]
fn a_target_that_is_found_well_is_probed_at_once() {
    let mut rig = Rig::new(Settings::default());
    assert_eq!(rig.breaker.on_well(true, rig.now, rig.now), None, "it is closed");
    let before = rig.now;
    rig.wait(FIRST);
    rig.fail(5);
    assert_eq!(rig.breaker.on_well(true, before, rig.now), None, "that was before it opened");
    let found = rig.breaker.on_well(false, rig.now, rig.now);
    assert_eq!(rig.apply(found), Some(TripReason::FoundWell));
    assert_eq!(rig.state(), CircuitState::HalfOpen);
    rig.fail(1);
    assert_eq!(rig.due_in(), FIRST * 2);
    assert_eq!(rig.breaker.on_well(false, rig.now, rig.now), None, "no news: a probe has failed since");
    let found = rig.breaker.on_well(true, rig.now, rig.now);
    assert_eq!(rig.apply(found), Some(TripReason::FoundWell));
}

#[test]
fn an_operators_hold_is_nobody_elses_to_end() {
    let mut rig = Rig::new(Settings::default());
    rig.fail(5);
    rig.hold(HoldState::Open, None);
    assert_eq!(rig.breaker.on_well(true, rig.now, rig.now), None);
    assert_eq!(rig.breaker.knocks_in(), None);
}

#[test]
fn connections_are_tried_only_where_they_were_refused_and_less_often_the_longer_it_takes() {
    let mut rig = Rig::new(Settings { failure_threshold: 1, ..Settings::default() });
    assert_eq!(rig.breaker.knocks_in(), None);
    rig.fail(1);
    assert_eq!(rig.breaker.knocks_in(), None, "a connection that says nothing proves nothing");
    rig.wait(rig.due_in());
    let mut waits = Vec::new();
    for _ in 0..6 {
        rig.end(Outcome::Refused);
        waits.push(rig.breaker.knocks_in().unwrap().as_millis());
        rig.wait(rig.due_in());
    }
    assert_eq!(waits, [250, 500, 1_000, 2_000, 3_750, 3_750]);
}

#[test]
fn turned_off_it_closes_never_opens_and_starts_afresh_when_it_is_turned_on() {
    let off = Settings { enabled: false, ..Settings::default() };
    let mut rig = Rig::new(Settings::default());
    rig.reach_half_open();
    let change = rig.breaker.reconfigure(off.clone(), rig.now);
    assert_eq!(rig.apply(change), Some(TripReason::TurnedOff));
    assert_eq!(rig.state(), CircuitState::Closed);
    assert_eq!(rig.fail(1_000), None);
    assert_eq!(rig.breaker.reconfigure(off, rig.now), None);
    assert_eq!(rig.breaker.reconfigure(Settings::default(), rig.now), None);
    assert!(rig.end(Outcome::Unanswered).is_some(), "what has been counted meanwhile is true");
}

#[actix_rt::test]
async fn a_target_that_takes_connections_again_is_half_open_long_before_the_pause_is_over() {
    let instances = Instances::default();
    let ((transitions, _), (on_stop, _)) = (collect(), obituaries());
    let deps = Deps { transitions, on_stop, fence: instances.next(), seed: 7 };
    let actor = CircuitBreakerActor::start_in(&actix_rt::Arbiter::current(), deps);
    let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = door.local_addr().unwrap();
    drop(door);
    let next_door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shared = TargetState::new("users", "http://users", vec![address]);
    let others = TargetState::new("orders", "http://orders", vec![next_door.local_addr().unwrap()]);
    // As a replaced instance finds them: open for minutes.
    let (until_then, fault) = (Instant::now() + Duration::from_secs(600), Fault::Refused);
    let phase = super::super::Phase::Open { until: until_then, reopened: 0, fault };
    let state = super::super::BreakerState { phase, ..Default::default() };
    let both = [&shared, &others];
    both.iter().for_each(|shared| shared.breaker.publish(state.clone()));
    let targets = both.map(|shared| (Arc::clone(shared), Settings::default())).into();
    actor.send(Watch { targets }).await.unwrap();
    // At both doors is knocked at the same time: at the shut one in vain.
    until("the first knock", || others.breaker.peek() == CircuitState::HalfOpen).await;
    assert_eq!(shared.breaker.peek(), CircuitState::Open);
    let _door = tokio::net::TcpListener::bind(address).await.unwrap();
    until("the breaker is half-open", || shared.breaker.peek() == CircuitState::HalfOpen).await;
    actor.send(Well { target: shared.id, again: true, asked: Instant::now() }).await.unwrap();
    assert_eq!(shared.breaker.peek(), CircuitState::HalfOpen, "only an open breaker minds");
}
