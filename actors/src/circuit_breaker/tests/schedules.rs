//! Random schedules: whatever happens in whatever order, the breaker's promises hold.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Admit,
    /// Ends the call at that place (modulo those in flight).
    End(usize, End),
    Wait(u64),
    Hold(HoldState, Option<u64>),
}

#[derive(Clone, Copy, Debug)]
enum End {
    Success,
    Failure,
    /// Failure whose permit is given up by `fail`, as the request path does.
    FailedProbe,
    Cancelled,
    Panicked,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let end = prop_oneof![
        Just(End::Success),
        Just(End::Failure),
        Just(End::FailedProbe),
        Just(End::Cancelled),
        Just(End::Panicked)
    ];
    let wish = prop_oneof![Just(HoldState::Open), Just(HoldState::Closed), Just(HoldState::Auto)];
    let step = prop_oneof![
        8 => Just(Step::Admit),
        8 => (any::<usize>(), end).prop_map(|(which, end)| Step::End(which, end)),
        4 => (0..40_000u64).prop_map(Step::Wait),
        1 => (wish, proptest::option::of(0..60_000u64)).prop_map(|(wish, ttl)| Step::Hold(wish, ttl)),
    ];
    prop::collection::vec(step, 1..300)
}

fn end(rig: &mut Rig, call: Admission, how: End) {
    let epoch = call.epoch;
    match how {
        End::Success => drop(rig.report(epoch, 1, 0, 0)),
        End::Failure => drop(rig.report(epoch, 0, 1, 0)),
        End::FailedProbe => {
            if let Some(probe) = call.probe {
                probe.end(Outcome::Unanswered, false);
            }
            rig.report(epoch, 0, 1, 0);
        }
        End::Cancelled => drop(call),
        End::Panicked => drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _call = call;
            std::panic::resume_unwind(Box::new(()));
        }))),
    }
}

proptest! {
    #[test]
    fn no_schedule_lets_more_probes_in_at_once_than_configured_nor_a_call_through_an_open_breaker(
        permits in 1..5u32,
        needed in 1..5u32,
        steps in steps(),
    ) {
        let settings = Settings { half_open_requests: permits, success_threshold: needed, failure_threshold: 2, ..Settings::default() };
        let mut rig = Rig::new(settings);
        let mut calls: Vec<Admission> = Vec::new();
        for step in steps {
            let before = (rig.epoch(), rig.state());
            match step {
                Step::Admit => {
                    let admitted = rig.admit();
                    prop_assert!(rig.state() != CircuitState::Open || admitted.is_err());
                    prop_assert!(rig.state() != CircuitState::Closed || admitted.is_ok());
                    calls.extend(admitted.ok());
                }
                Step::End(which, how) if !calls.is_empty() => {
                    let call = calls.swap_remove(which % calls.len());
                    end(&mut rig, call, how);
                }
                Step::End(..) => {}
                Step::Wait(ms) => drop(rig.wait(Duration::from_millis(ms))),
                Step::Hold(wish, ttl) => drop(rig.hold(wish, ttl.map(Duration::from_millis))),
            }
            prop_assert!(rig.state() == before.1 || rig.epoch() > before.0);
            let probes = calls.iter().filter(|call| call.probe.is_some() && call.epoch == rig.epoch()).count();
            prop_assert!(probes <= permits as usize);
        }
        // However it went: with nothing in flight, no hold and good answers, it closes.
        calls.clear();
        rig.hold(HoldState::Auto, None);
        for _ in 0..100 {
            rig.wait(rig.due_in().min(Duration::from_secs(1_000)));
            if let Ok(call) = rig.admit() {
                end(&mut rig, call, End::Success);
            }
        }
        prop_assert_eq!(rig.state(), CircuitState::Closed);
    }
}
