//! Permits come back on every way out, and never more than there were.

use std::time::{Duration, Instant};

use crate::circuit_breaker::{BreakerState, Fault, Held, Outcome, Permits, Phase, SharedBreakerState};

fn permits(count: u32) -> std::sync::Arc<Permits> {
    Permits::new(count, Fault::Answers)
}

#[test]
fn a_permit_comes_back_when_it_is_dropped_moved_away_or_lost_in_a_panic() {
    let permits = permits(1);
    drop(permits.take().unwrap());
    assert_eq!(permits.free(), 1);

    let permit = permits.take().unwrap();
    assert_eq!(permits.free(), 0);
    std::thread::spawn(move || drop(permit)).join().unwrap();
    assert_eq!(permits.free(), 1);

    let permit = permits.take().unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _permit = permit;
        std::panic::resume_unwind(Box::new("the handler panicked"));
    }));
    assert!(panicked.is_err());
    assert_eq!(permits.free(), 1);
}

#[test]
fn a_permit_comes_back_when_the_future_that_holds_it_is_cancelled() {
    let permits = permits(1);
    let permit = permits.take().unwrap();
    let call = async move {
        std::future::pending::<()>().await;
        drop(permit);
    };
    assert_eq!(permits.free(), 0);
    drop(call);
    assert_eq!(permits.free(), 1);
}

#[test]
fn after_a_failed_probe_none_is_given_out_even_when_others_come_back() {
    let permits = permits(2);
    let (good, bad) = (permits.take().unwrap(), permits.take().unwrap());
    bad.end(Outcome::Failed, false);
    good.end(Outcome::Answered, false);
    assert!(permits.is_shut());
    assert!(permits.take().is_none());
}

#[test]
fn there_is_always_at_least_one_and_the_largest_number_does_not_shut() {
    assert_eq!(permits(0).free(), 1);
    assert!(permits(u32::MAX).take().is_some());
}

#[test]
fn threads_that_race_never_hold_more_than_there_are() {
    use std::sync::atomic::{AtomicU32, Ordering};
    let (permits, held) = (permits(3), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5_000 {
                    let Some(permit) = permits.take() else { continue };
                    assert!(held.fetch_add(1, Ordering::SeqCst) < 3);
                    held.fetch_sub(1, Ordering::SeqCst);
                    drop(permit);
                }
            });
        }
    });
    assert_eq!(permits.free(), 3);
}

#[test]
fn what_would_be_admitted_is_told_without_taking_a_permit() {
    let now = Instant::now();
    let until = now + Duration::from_secs(5);
    let half_open = |permits| Phase::HalfOpen { permits, reopened: 0 };
    let (free, taken) = (permits(1), permits(1));
    let _kept = taken.take().unwrap();
    let held = |open| Some(Held { open, until: None });
    let open = || Phase::Open { until, reopened: 0, fault: Fault::Answers };
    for (state, passes) in [
        (BreakerState::default(), true),
        (BreakerState { phase: half_open(free.clone()), ..BreakerState::default() }, true),
        (BreakerState { phase: half_open(taken), ..BreakerState::default() }, false),
        (BreakerState { phase: open(), ..BreakerState::default() }, false),
        (BreakerState { phase: open(), held: held(false), ..BreakerState::default() }, true),
        (BreakerState { held: held(true), ..BreakerState::default() }, false),
    ] {
        let would = state.would_admit(now);
        assert_eq!((would.is_ok(), free.free()), (passes, 1), "{state:?}");
        let shared = SharedBreakerState::default();
        shared.publish(state);
        assert_eq!(shared.admit(now).map(drop), would);
    }
}
