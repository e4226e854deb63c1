//! The actor: what it publishes, tells of, carries on from, and keeps its hands off.

use std::sync::Arc;

use actix::{Addr, Recipient};
use actix_rt::Arbiter;

use super::*;
use crate::circuit_breaker::{
    CircuitBreakerActor, Deps, Hold, Inspect, Outcomes, Transition, UnknownBackend, Watch,
};
use crate::supervision::{Instances, Ping, Stopped};
use crate::target::TargetState;
use crate::testing::{Log, collect, obituaries, until};

struct House {
    instances: Instances,
    transitions: Recipient<Transition>,
    seen: Log<Transition>,
}

impl House {
    fn new() -> Self {
        let (transitions, seen) = collect();
        Self { instances: Instances::default(), transitions, seen }
    }

    fn start(&self) -> (Addr<CircuitBreakerActor>, Log<Stopped>) {
        self.start_on(&Arbiter::current())
    }

    fn start_on(&self, arbiter: &actix_rt::ArbiterHandle) -> (Addr<CircuitBreakerActor>, Log<Stopped>) {
        let (on_stop, ends) = obituaries();
        let transitions = self.transitions.clone();
        let deps = Deps { transitions, on_stop, fence: self.instances.next(), seed: 7 };
        (CircuitBreakerActor::start_in(arbiter, deps), ends)
    }
}

fn target(backend: &str) -> Arc<TargetState> {
    TargetState::new(backend, "http://127.0.0.1:1", vec![])
}

fn watch(targets: &[&Arc<TargetState>], settings: &Settings) -> Watch {
    Watch { targets: targets.iter().map(|shared| (Arc::clone(shared), settings.clone())).collect() }
}

fn failures(shared: &TargetState, failures: u32) -> Outcomes {
    let epoch = shared.breaker.load().epoch;
    Outcomes { worker: 0, runs: vec![Run { target: shared.id, epoch, lost: failures, ..Run::default() }] }
}

fn quick() -> Settings {
    Settings { reset_timeout: Duration::from_millis(5), ..Settings::default() }
}

#[actix_rt::test]
async fn it_opens_by_report_half_opens_by_itself_and_closes_by_a_probe() {
    let house = House::new();
    let (actor, _) = house.start();
    let shared = target("users");
    actor.do_send(watch(&[&shared], &quick()));
    actor.do_send(failures(&shared, 5));
    until("the breaker is half-open", || shared.breaker.peek() == CircuitState::HalfOpen).await;
    let probe = shared.breaker.admit(Instant::now()).unwrap();
    let run = Run { target: shared.id, epoch: probe.epoch, answered: 1, ..Run::default() };
    actor.do_send(Outcomes { worker: 0, runs: vec![run] });
    until("the breaker is closed", || shared.breaker.peek() == CircuitState::Closed).await;
    until("all is told", || house.seen.len() == 3).await;
    let told: Vec<_> = house.seen.all().iter().map(|seen| (seen.from, seen.to, seen.reason)).collect();
    assert_eq!(
        told,
        [
            (CircuitState::Closed, CircuitState::Open, TripReason::ConsecutiveFailures(5)),
            (CircuitState::Open, CircuitState::HalfOpen, TripReason::WaitOver),
            (CircuitState::HalfOpen, CircuitState::Closed, TripReason::ProbesPassed),
        ]
    );
    assert_eq!(house.seen.all()[0].backend, "users");
    assert_eq!(house.seen.all()[0].target, "http://127.0.0.1:1");
}

#[actix_rt::test]
async fn an_operator_holds_every_breaker_of_a_backend_and_a_new_target_joins() {
    let house = House::new();
    let (actor, _) = house.start();
    let (one, two, other) = (target("users"), target("users"), target("orders"));
    actor.do_send(watch(&[&one, &two, &other], &Settings::default()));
    let hold = |backend: &str, state, ttl| Hold {
        backend: backend.into(),
        state,
        ttl: Some(Duration::from_millis(ttl)),
    };
    assert_eq!(actor.send(hold("users", HoldState::Open, 60_000)).await.unwrap(), Ok(2));
    let states = [&one, &two, &other].map(|shared| shared.breaker.peek());
    assert_eq!(states, [CircuitState::Open, CircuitState::Open, CircuitState::Closed]);
    let unknown = actor.send(hold("nobody", HoldState::Open, 1)).await.unwrap();
    assert_eq!(unknown, Err(UnknownBackend("nobody".into())));

    let three = target("users");
    actor.send(watch(&[&two, &three, &other], &Settings::default())).await.unwrap();
    assert_eq!(three.breaker.peek(), CircuitState::Open);
    actor.send(hold("users", HoldState::Open, 1)).await.unwrap().unwrap();
    until("the hold has run out", || three.breaker.peek() == CircuitState::Closed).await;
}

#[actix_rt::test]
async fn a_report_shows_the_counts_and_a_forgotten_target_is_not_in_it() {
    let house = House::new();
    let (actor, _) = house.start();
    let (one, two) = (target("a"), target("b"));
    actor.do_send(watch(&[&two, &one], &Settings::default()));
    actor.do_send(failures(&one, 3));
    let reports = actor.send(Inspect).await.unwrap();
    let shown: Vec<_> =
        reports.iter().map(|r| (r.backend.as_str(), r.consecutive_failures, r.failures)).collect();
    assert_eq!(shown, [("a", 3, 3), ("b", 0, 0)]);
    assert_eq!((reports[0].failure_rate, reports[0].last_transition), (1.0, None));

    actor.do_send(watch(&[&one], &Settings::default()));
    actor.do_send(failures(&two, 100));
    actor.do_send(failures(&one, 2));
    let reports = actor.send(Inspect).await.unwrap();
    assert_eq!(reports.len(), 1);
    assert_eq!((reports[0].state, reports[0].opened), (CircuitState::Open, 1));
    assert!(reports[0].retry_in.is_some() && reports[0].last_transition.is_some());
    assert_eq!(two.breaker.peek(), CircuitState::Closed);
}

#[actix_rt::test]
async fn a_replacement_carries_on_from_what_was_published_and_the_old_one_is_fenced_off() {
    let house = House::new();
    let (old, ends) = house.start();
    let (shared, other) = (target("users"), target("users"));
    let slow = Settings { reset_timeout: Duration::from_secs(600), ..Settings::default() };
    old.do_send(watch(&[&shared, &other], &slow));
    old.do_send(failures(&shared, 5));
    old.send(Ping).await.unwrap();

    let (new, _) = house.start();
    new.send(watch(&[&shared, &other], &slow)).await.unwrap();
    assert_eq!(shared.breaker.peek(), CircuitState::Open);
    assert_eq!(new.send(Inspect).await.unwrap()[0].opened, 1);

    old.do_send(failures(&other, 5));
    until("the old instance has ended", || ends.len() == 1).await;
    assert_eq!(other.breaker.peek(), CircuitState::Closed);
    assert_eq!(ends.all(), [Stopped { name: "circuit_breaker", instance: 1, panicking: false }]);
    new.send(failures(&other, 5)).await.unwrap();
    assert_eq!(other.breaker.peek(), CircuitState::Open);
}

#[cfg(feature = "test-hooks")]
mod with_hooks {
    use super::*;
    use crate::supervision::{Hang, Panic, message_count};

    #[actix_rt::test]
    async fn a_panic_is_told_and_the_last_state_stays() {
        let house = House::new();
        let (actor, ends) = house.start();
        let shared = target("users");
        let slow = Settings { reset_timeout: Duration::from_secs(600), ..Settings::default() };
        actor.do_send(watch(&[&shared], &slow));
        actor.do_send(failures(&shared, 5));
        assert!(actor.send(Panic).await.is_err());
        until("the end is told", || ends.len() == 1).await;
        assert_eq!(ends.all(), [Stopped { name: "circuit_breaker", instance: 1, panicking: true }]);
        assert_eq!(shared.breaker.peek(), CircuitState::Open);
        assert!(!actor.connected());
    }

    #[actix_rt::test]
    async fn an_instance_that_hung_and_was_replaced_publishes_nothing_when_it_wakes() {
        let house = House::new();
        let arbiter = Arbiter::new();
        let (old, ends) = house.start_on(&arbiter.handle());
        let shared = target("users");
        old.send(watch(&[&shared], &Settings::default())).await.unwrap();
        old.do_send(Hang(Duration::from_millis(50)));
        let (new, _) = house.start();
        old.do_send(failures(&shared, 5));
        new.send(watch(&[&shared], &Settings::default())).await.unwrap();
        until("the old instance has woken and ended", || ends.len() == 1).await;
        assert_eq!(shared.breaker.peek(), CircuitState::Closed);
        arbiter.stop();
    }

    #[actix_rt::test]
    async fn handled_messages_are_counted() {
        let before = message_count();
        let (actor, _) = House::new().start();
        actor.send(Ping).await.unwrap();
        assert!(message_count() > before);
    }
}
