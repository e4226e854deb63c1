//! Tests of the health checks: thresholds and schedule as tables, and the actor with a prober that obeys.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use actix::{Addr, Recipient};
use actix_rt::Arbiter;

use super::state::{first_wait, judge, next_wait, reason, unchecked};
use super::*;
use crate::circuit_breaker::{BreakerState, Fault, Phase, Well};
use crate::supervision::{Instances, Ping, Stopped};
use crate::target::TargetState;
use crate::testing::{Log, collect, obituaries, until};

/// Runs checks given as `+` and `-` and shows the verdict after each as `h` or `u`.
fn verdicts(checks: &str) -> (String, Health) {
    let (now, at, rules) = (Instant::now(), SystemTime::UNIX_EPOCH, Settings::default());
    let mut health = Health::default();
    let mut shown = String::new();
    for check in checks.chars() {
        let check = if check == '+' { Ok(()) } else { Err("refused".to_owned()) };
        health = judge(&health, check, &rules, now, at);
        shown.push(if health.healthy { 'h' } else { 'u' });
    }
    (shown, health)
}

#[test]
fn verdicts_follow_the_thresholds_three_down_and_two_up() {
    for (checks, shown) in [
        ("+", "h"),
        ("--", "hh"),
        ("---", "hhu"),
        ("--+--+---", "hhhhhhhhu"),
        ("---+-++", "hhuuuuh"),
        ("---++---", "hhuuhhhu"),
    ] {
        assert_eq!(verdicts(checks).0, shown, "{checks}");
    }
}

#[test]
fn a_target_that_was_never_checked_is_healthy_and_warm() {
    let cell = HealthCell::default();
    assert!(cell.is_healthy());
    assert_eq!(cell.weight_factor(Instant::now()), 1.0);
}

#[test]
fn only_a_target_that_comes_back_starts_slowly() {
    let cell = HealthCell::default();
    cell.publish(verdicts("+++").1);
    assert_eq!(cell.weight_factor(Instant::now()), 1.0);
    let back = verdicts("---++").1;
    let since = back.since.unwrap();
    cell.publish(back);
    assert_eq!(cell.weight_factor(since), crate::COLD);
    assert_eq!(cell.weight_factor(since + crate::SLOW_START), 1.0);
}

#[test]
fn warmth_of_a_target_is_the_lower_of_breaker_and_checks() {
    let shared = TargetState::new("users", "http://users", vec![]);
    let now = Instant::now();
    assert_eq!(shared.warmth(now), 1.0);
    shared.health.publish(Health { since: Some(now), ..Health::default() });
    assert_eq!(shared.warmth(now), crate::COLD);
}

#[test]
fn a_verdict_tells_why() {
    assert_eq!(reason(&verdicts("---").1), "3 checks failed in a row: refused");
    assert_eq!(reason(&verdicts("---++").1), "2 checks passed in a row");
    assert_eq!(verdicts("--+").1.last_error, None);
}

#[test]
fn a_target_without_checks_is_trusted_again_but_not_at_once_with_everything() {
    let now = Instant::now();
    let trusted = unchecked(&verdicts("---").1, now);
    assert_eq!(trusted, Health { since: Some(now), ..Health::default() });
    assert_eq!(unchecked(&verdicts("+").1, now), Health::default());
}

#[test]
fn checks_are_spread_over_the_interval_and_never_closer_than_ten_milliseconds() {
    let secs = Duration::from_secs;
    assert_eq!(first_wait(secs(30), 1.0), secs(1));
    assert_eq!(first_wait(Duration::from_millis(200), 0.5), Duration::from_millis(100));
    assert_eq!(next_wait(secs(30), Duration::ZERO, 0.0), secs(27));
    assert_eq!(next_wait(secs(30), Duration::ZERO, 1.0), secs(33));
    assert_eq!(next_wait(secs(30), secs(5), 0.5), secs(25));
    assert_eq!(next_wait(secs(30), secs(60), 0.5), Duration::from_millis(10));
    assert_eq!(next_wait(Duration::ZERO, Duration::ZERO, 0.5), Duration::from_millis(10));
    next_wait(Duration::MAX, Duration::ZERO, 1.0);
}

#[derive(Clone, Copy)]
enum Answer {
    Pass,
    Fail,
    Hang,
    Panic,
}

/// What the tests and the prober on the actor's thread share.
struct Script {
    answer: Mutex<Answer>,
    asked: AtomicUsize,
    in_flight: AtomicUsize,
    most: AtomicUsize,
}

impl Script {
    fn new(answer: Answer) -> Arc<Self> {
        let zero = || AtomicUsize::new(0);
        Arc::new(Self { answer: Mutex::new(answer), asked: zero(), in_flight: zero(), most: zero() })
    }

    fn now(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }
}

struct InFlight(Arc<Script>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Obedient(Arc<Script>);

impl Prober for Obedient {
    fn probe(&self, _: Arc<TargetState>, _: Settings) -> ProbeFuture {
        let script = self.0.clone();
        Box::pin(async move {
            script.asked.fetch_add(1, Ordering::SeqCst);
            script.most.fetch_max(script.in_flight.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let _in_flight = InFlight(script.clone());
            let answer = *script.answer.lock().unwrap();
            match answer {
                Answer::Pass => Ok(()),
                Answer::Fail => Err("refused".to_owned()),
                Answer::Hang => std::future::pending().await,
                Answer::Panic => panic!("the prober panicked, as the test asked"),
            }
        })
    }
}

struct House {
    instances: Instances,
    changes: Recipient<HealthChanged>,
    seen: Log<HealthChanged>,
    well: Recipient<Well>,
    found: Log<Well>,
}

impl House {
    fn new() -> Self {
        let ((changes, seen), (well, found)) = (collect(), collect());
        Self { instances: Instances::default(), changes, seen, well, found }
    }

    fn start(&self, script: &Arc<Script>) -> (Addr<HealthCheckActor>, Log<Stopped>) {
        let ((on_stop, ends), script) = (obituaries(), script.clone());
        let prober: ProberFactory = Box::new(move || Box::new(Obedient(script)));
        let (changes, well, fence) = (self.changes.clone(), self.well.clone(), self.instances.next());
        let deps = Deps { prober, changes, well, on_stop, fence, seed: 7 };
        (HealthCheckActor::start_in(&Arbiter::current(), deps), ends)
    }
}

fn quick() -> Option<Settings> {
    let interval = Duration::from_millis(12);
    Some(Settings { interval, timeout: Duration::from_secs(60), ..Settings::default() })
}

fn watch(shared: &Arc<TargetState>, settings: Option<Settings>) -> Watch {
    Watch { targets: vec![WatchTarget { shared: shared.clone(), settings }] }
}

fn target() -> Arc<TargetState> {
    TargetState::new("users", "http://127.0.0.1:1", vec![])
}

#[actix_rt::test]
async fn a_failing_target_becomes_unhealthy_and_comes_back_and_both_are_told() {
    let (house, script, shared) = (House::new(), Script::new(Answer::Fail), target());
    let (actor, _) = house.start(&script);
    actor.do_send(watch(&shared, quick()));
    until("the target is unhealthy", || !shared.health.is_healthy()).await;
    script.now(Answer::Pass);
    until("the target is healthy", || shared.health.is_healthy()).await;
    until("both are told", || house.seen.len() == 2).await;
    let told: Vec<_> = house.seen.all().into_iter().map(|seen| (seen.healthy, seen.reason)).collect();
    assert_eq!(told[0], (false, "3 checks failed in a row: refused".to_owned()));
    assert_eq!(told[1], (true, "2 checks passed in a row".to_owned()));
    let reports = actor.send(Inspect).await.unwrap();
    assert!(reports[0].health.last_check.is_some());
}

#[actix_rt::test]
async fn a_healthy_target_whose_breaker_is_open_is_told_of_and_whether_that_is_news() {
    let (house, script, shared) = (House::new(), Script::new(Answer::Pass), target());
    let (actor, _) = house.start(&script);
    actor.do_send(watch(&shared, quick()));
    until("it has been checked", || script.asked() > 2).await;
    assert_eq!(house.found.len(), 0, "its breaker is closed");
    let until_then = Instant::now() + Duration::from_secs(600);
    let phase = Phase::Open { until: until_then, reopened: 0, fault: Fault::Unanswered };
    shared.breaker.publish(BreakerState { phase, ..BreakerState::default() });
    until("it is told of", || house.found.len() > 0).await;
    assert_eq!((house.found.all()[0].target, house.found.all()[0].again), (shared.id, false));
    script.now(Answer::Fail);
    until("the target is unhealthy", || !shared.health.is_healthy()).await;
    let told = house.found.len();
    script.now(Answer::Pass);
    until("it is told of again", || house.found.len() > told).await;
    assert!(house.found.all()[told].again && shared.health.is_healthy(), "not before the threshold");
}

#[actix_rt::test]
async fn a_check_that_hangs_is_alone_until_its_time_is_over_and_then_has_failed() {
    let (house, script, shared) = (House::new(), Script::new(Answer::Hang), target());
    let (actor, _) = house.start(&script);
    let timeout = Duration::from_millis(40);
    actor.do_send(watch(&shared, quick().map(|quick| Settings { timeout, ..quick })));
    until("three checks have timed out", || !shared.health.is_healthy()).await;
    assert_eq!(script.most.load(Ordering::SeqCst), 1);
    assert_eq!(shared.health.load().last_error.as_deref(), Some("no answer within 40 ms"));
}

#[actix_rt::test]
async fn a_prober_that_panics_fails_the_check_and_nothing_else() {
    let (house, script, shared) = (House::new(), Script::new(Answer::Panic), target());
    let (actor, ends) = house.start(&script);
    actor.do_send(watch(&shared, quick()));
    until("the target is unhealthy", || !shared.health.is_healthy()).await;
    actor.send(Ping).await.unwrap();
    assert_eq!(ends.len(), 0);
}

#[actix_rt::test]
async fn a_target_that_loses_its_checks_becomes_healthy_and_is_asked_no_more() {
    let (house, script, shared) = (House::new(), Script::new(Answer::Fail), target());
    let (actor, _) = house.start(&script);
    actor.do_send(watch(&shared, quick()));
    until("the target is unhealthy", || !shared.health.is_healthy()).await;
    script.now(Answer::Hang);
    let asked = script.asked();
    until("a check is in flight", || script.asked() > asked && script.in_flight() == 1).await;
    assert!(actor.send(Inspect).await.unwrap()[0].checking);

    actor.send(watch(&shared, None)).await.unwrap();
    assert!(shared.health.is_healthy());
    until("the check in flight is cancelled", || script.in_flight() == 0).await;
    until("it is told", || house.seen.len() == 2).await;
    assert_eq!(house.seen.all()[1].reason, "it is no longer checked");
    assert!(actor.send(Inspect).await.unwrap().is_empty());
}

#[actix_rt::test]
async fn a_reload_with_another_interval_reschedules_a_waiting_target() {
    let (house, script, shared) = (House::new(), Script::new(Answer::Pass), target());
    let (actor, _) = house.start(&script);
    let never = Some(Settings { interval: Duration::from_secs(3_600), ..Settings::default() });
    actor.do_send(watch(&shared, never));
    actor.do_send(watch(&shared, quick()));
    until("several checks have run", || script.asked() > 3).await;
    actor.send(Watch { targets: vec![] }).await.unwrap();
    assert!(actor.send(Inspect).await.unwrap().is_empty());
}

#[actix_rt::test]
async fn a_replacement_carries_on_and_the_old_one_ends_at_its_next_check() {
    let (house, script, shared) = (House::new(), Script::new(Answer::Fail), target());
    let (old, ends) = house.start(&script);
    old.do_send(watch(&shared, quick()));
    until("the target is unhealthy", || !shared.health.is_healthy()).await;

    let (new, _) = house.start(&script);
    until("the old instance has ended", || ends.len() == 1).await;
    assert_eq!(ends.all(), [Stopped { name: "health_check", instance: 1, panicking: false }]);
    script.now(Answer::Pass);
    new.do_send(watch(&shared, quick()));
    until("the new instance finds it healthy", || shared.health.is_healthy()).await;
    assert_eq!(shared.health.load().passes, 2);
}

#[cfg(feature = "test-hooks")]
#[actix_rt::test]
async fn a_panic_is_told_and_cancels_what_is_in_flight() {
    let (house, script, shared) = (House::new(), Script::new(Answer::Hang), target());
    let (actor, ends) = house.start(&script);
    actor.do_send(watch(&shared, quick()));
    until("a check is in flight", || script.in_flight() == 1).await;
    assert!(actor.send(crate::supervision::Panic).await.is_err());
    until("the end is told", || ends.len() == 1).await;
    assert!(ends.all()[0].panicking);
    until("the check in flight is cancelled", || script.in_flight() == 0).await;
}
