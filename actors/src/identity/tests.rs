//! Tests of the keys of providers: the schedule as a table, and the actor with a provider that obeys.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix::Addr;
use actix_rt::Arbiter;
use futures_util::FutureExt as _;

use super::state::{Outcome, Schedule, Turn};
use super::*;
use crate::supervision::{Fence, Instances, Stopped};
use crate::testing::{Log, obituaries, until};

/// Keys by their names.
#[derive(Clone, Debug, PartialEq)]
struct Names(Vec<&'static str>);

impl Keys for Names {
    fn knows(&self, kid: &str) -> bool {
        self.0.contains(&kid)
    }

    fn count(&self) -> usize {
        self.0.len()
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn keys_are_good_for_as_long_as_the_provider_says_within_a_minute_and_a_day() {
    let now = Instant::now();
    let due = |said: Option<u64>, random: f64| {
        let fetched = Outcome::Fetched { fresh_for: said.map(Duration::from_secs) };
        (Schedule::default().ended(now, fetched, random, QUIET).0 - now).as_secs()
    };
    for (said, least, most) in [
        (None, 540, 600),
        (Some(0), 60, 60),
        (Some(30), 60, 60),
        (Some(3_600), 3_240, 3_600),
        (Some(86_400), 77_760, 86_400),
        (Some(u64::MAX), 77_760, 86_400),
    ] {
        assert_eq!((due(said, 1.0), due(said, 0.0)), (least, most), "{said:?}");
    }
}

#[test]
fn a_provider_that_is_away_is_asked_ever_less_and_sooner_where_there_are_no_keys() {
    let now = Instant::now();
    let waits = |has_keys| {
        let mut schedule = Schedule::default();
        let mut failed = || schedule.ended(now, Outcome::Failed { has_keys }, 0.5, QUIET).0 - now;
        let waits: Vec<u64> = (0..8).map(|_| failed().as_secs()).collect();
        let fetched = schedule.ended(now, Outcome::Fetched { fresh_for: None }, 0.0, QUIET).0;
        let again = schedule.ended(now, Outcome::Failed { has_keys }, 0.5, QUIET).0 - now;
        assert_eq!(
            (fetched - now, again.as_secs()),
            (600 * SECOND, waits[0]),
            "one that is back begins anew"
        );
        let mut failed = || schedule.ended(now, Outcome::Failed { has_keys }, 0.5, QUIET).0 - now;
        assert_eq!((0..100).map(|_| failed()).last(), Some(60 * SECOND));
        waits
    };
    assert_eq!(waits(false), [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(waits(true), [10, 20, 40, 60, 60, 60, 60, 60]);
}

#[test]
fn asking_begins_one_fetch_in_ten_seconds() {
    let (now, mut schedule) = (Instant::now(), Schedule::default());
    assert_eq!(schedule.asked(now, QUIET), Turn::Begin);
    schedule.begin(now);
    assert_eq!(schedule.asked(now + 4 * SECOND, QUIET), Turn::Wait);
    let (_, quiet_until) = schedule.ended(now + 4 * SECOND, Outcome::Failed { has_keys: true }, 0.0, QUIET);
    assert_eq!(quiet_until, now + QUIET);
    assert_eq!(schedule.asked(now + QUIET - Duration::from_nanos(1), QUIET), Turn::TooSoon);
    assert_eq!(schedule.asked(now + QUIET, QUIET), Turn::Begin);
}

/// What a provider does when it is asked.
#[derive(Clone, Debug)]
enum Does {
    Publish(Vec<&'static str>),
    Fail,
    Hang,
    Panic,
}

/// A provider, and how often it was asked.
struct Book {
    does: Mutex<Does>,
    asked: AtomicUsize,
}

impl Book {
    fn new(does: Does) -> Arc<Self> {
        Arc::new(Self { does: Mutex::new(does), asked: AtomicUsize::new(0) })
    }

    fn now(&self, does: Does) {
        *self.does.lock().unwrap() = does;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

struct Obedient(Arc<Book>);

impl Fetcher<Names> for Obedient {
    fn fetch(&self, _: Remote) -> FetchFuture<Names> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        let does = self.0.does.lock().unwrap().clone();
        Box::pin(async move {
            // As over a network: whoever asks meanwhile finds it in flight.
            tokio::time::sleep(Duration::from_millis(20)).await;
            match does {
                Does::Publish(names) => {
                    Ok(Fetched { keys: Names(names), fresh_for: None, left_out: Vec::new() })
                }
                Does::Fail => Err("it is away".to_owned()),
                Does::Hang => std::future::pending().await,
                Does::Panic => panic!("as a test asked"),
            }
        })
    }
}

type Actor = Addr<IdentityActor<Names>>;

fn start_with(book: &Arc<Book>, pace: Pace, fence: Fence) -> (Actor, Log<Stopped>) {
    let ((on_stop, ends), book) = (obituaries(), book.clone());
    let fetcher: FetcherFactory<Names> = Box::new(move || Box::new(Obedient(book)));
    let deps = Deps { fetcher, pace, seed: 1, on_stop, fence };
    (IdentityActor::start_in(&Arbiter::current(), deps), ends)
}

/// An actor that has been told of one provider, and the way to it.
async fn start(does: Does, pace: Pace) -> (Arc<Book>, Actor, Arc<Provider<Names>>, Asker<Names>) {
    let (book, provider, asker) = (Book::new(does), provider(), Asker::default());
    let (actor, _) = start_with(&book, pace, Instances::default().next());
    asker.publish(actor.clone().recipient());
    actor.send(Watch { providers: vec![provider.clone()] }).await.unwrap();
    (book, actor, provider, asker)
}

fn provider() -> Arc<Provider<Names>> {
    Provider::new("id", Remote { issuer: Some("https://id.test".into()), jwks_uri: None, ca_file: None })
}

/// Nothing is quiet for long.
const BRISK: Pace = Pace { quiet: Duration::ZERO, timeout: FETCH_TIMEOUT };

fn names(published: &Published<Names>) -> Vec<&'static str> {
    published.keys.as_ref().map_or_else(Vec::new, |keys| keys.0.clone())
}

async fn settled(book: &Book, provider: &Provider<Names>, fetches: usize) {
    let ended = || {
        let Fetches { ok, failed } = &provider.fetches;
        ok.load(Ordering::Relaxed) + failed.load(Ordering::Relaxed)
    };
    until("so many fetches have ended", || ended() == fetches as u64).await;
    assert_eq!(book.asked(), fetches);
}

#[actix_rt::test]
async fn a_new_provider_is_asked_at_once_and_whoever_waits_for_its_first_keys_gets_them() {
    let (book, _, provider, asker) = start(Does::Publish(vec!["a"]), Pace::default()).await;
    assert!(provider.current().keys.is_none());
    let got = asker.fresh(&provider, None).await;
    assert_eq!(got.keys.as_deref(), Some(&Names(vec!["a"])));
    settled(&book, &provider, 1).await;
    // Known: nobody is asked.
    asker.fresh(&provider, Some("a")).await;
    assert_eq!((book.asked(), asker.waiting()), (1, 0));
}

#[actix_rt::test]
async fn an_unknown_key_is_fetched_once_for_all_who_wait_and_then_not_for_a_while() {
    let pace = Pace { quiet: Duration::from_millis(200), ..Pace::default() };
    let (book, _, provider, asker) = start(Does::Publish(vec!["a"]), pace).await;
    settled(&book, &provider, 1).await;
    let first = provider.current().generation;
    book.now(Does::Publish(vec!["b"]));
    until("it may be asked again", || provider.current().quiet_until.unwrap() < Instant::now()).await;

    let all = futures_util::future::join_all((0..200).map(|_| asker.fresh(&provider, Some("b")))).await;
    assert!(all.iter().all(|got| got.keys.as_ref().unwrap().knows("b") && got.generation != first));
    assert_eq!((book.asked(), asker.waiting()), (2, 0));
    // `a` was taken out, and is gone.
    assert_eq!(names(&provider.current()), ["b"]);

    let before = Instant::now();
    for _ in 0..100 {
        assert!(!asker.fresh(&provider, Some("invented")).await.has(Some("invented")));
    }
    assert!(before.elapsed() < PATIENCE && book.asked() == 2, "nobody waits for what was fetched just now");
}

#[actix_rt::test]
async fn whoever_asks_too_soon_is_told_at_once() {
    let (book, actor, provider, _) = start(Does::Publish(vec!["a"]), Pace::default()).await;
    settled(&book, &provider, 1).await;
    // As one does who has looked before that fetch ended.
    for kid in ["a", "b"] {
        let (reply, told) = tokio::sync::oneshot::channel();
        actor.send(Ask { provider: provider.clone(), kid: Some(kid.to_owned()), reply }).await.unwrap();
        assert_eq!(told.now_or_never(), Some(Ok(())), "{kid}");
    }
    assert_eq!(book.asked(), 1);
}

/// Counts who asks, and answers nobody.
struct Counter(Arc<AtomicUsize>);

impl actix::Actor for Counter {
    type Context = actix::Context<Self>;
}

impl actix::Handler<Ask<Names>> for Counter {
    type Result = ();

    fn handle(&mut self, _: Ask<Names>, _: &mut Self::Context) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[actix_rt::test]
async fn the_actor_is_asked_only_where_it_may_know_more() {
    let (asked, provider, asker) = (Arc::new(AtomicUsize::new(0)), provider(), Asker::default());
    asker.publish(actix::Actor::start(Counter(asked.clone())).recipient());
    let publish = |quiet: Duration| {
        let now = Instant::now();
        provider.publish(Ok(Names(vec!["a"])), now, now + QUIET, now + quiet);
    };
    for (quiet, kid, times) in [(QUIET, "b", 0), (Duration::ZERO, "a", 0), (Duration::ZERO, "b", 1)] {
        publish(quiet);
        let got = asker.fresh(&provider, Some(kid)).await;
        assert_eq!(names(&got), ["a"]);
        assert_eq!(asked.swap(0, Ordering::SeqCst), times, "{kid} within {quiet:?}");
    }
}

#[actix_rt::test]
async fn keys_are_kept_while_the_provider_is_away() {
    let (book, _, provider, asker) = start(Does::Publish(vec!["a"]), BRISK).await;
    settled(&book, &provider, 1).await;
    let before = Arc::clone(&provider.current());
    book.now(Does::Fail);
    let got = asker.fresh(&provider, Some("b")).await;
    assert_eq!((got.failing.as_deref(), got.generation), (Some("it is away"), before.generation));
    assert!(Arc::ptr_eq(got.keys.as_ref().unwrap(), before.keys.as_ref().unwrap()));
    assert_eq!(got.fetched, before.fetched);
    book.now(Does::Publish(vec!["a"]));
    let got = asker.fresh(&provider, Some("b")).await;
    assert_eq!((got.failing.as_deref(), got.generation), (None, before.generation));
    assert!(
        Arc::ptr_eq(got.keys.as_ref().unwrap(), before.keys.as_ref().unwrap()),
        "the same is not published anew"
    );
    assert!(got.fetched > before.fetched);
    let Fetches { ok, failed } = &provider.fetches;
    assert_eq!((ok.load(Ordering::Relaxed), failed.load(Ordering::Relaxed)), (2, 1));
}

#[actix_rt::test]
async fn a_provider_that_was_never_reached_is_asked_again_by_the_clock() {
    let (book, _, provider, asker) = start(Does::Fail, Pace::default()).await;
    let got = asker.fresh(&provider, None).await;
    assert_eq!((got.keys.is_none(), got.failing.as_deref()), (true, Some("it is away")));
    book.now(Does::Publish(vec!["a"]));
    // Asking helps nobody now, and costs nobody any time.
    assert!(asker.fresh(&provider, None).await.keys.is_none());
    until("the clock has asked", || names(&provider.current()) == ["a"]).await;
    assert_eq!(book.asked(), 2);
}

#[actix_rt::test]
async fn a_provider_that_hangs_or_a_fetcher_that_panics_is_one_that_is_away() {
    let pace = Pace { timeout: Duration::from_millis(60), ..BRISK };
    let (book, actor, provider, asker) = start(Does::Publish(vec!["a"]), pace).await;
    settled(&book, &provider, 1).await;
    for (does, why) in [(Does::Hang, "no answer within 60 ms"), (Does::Panic, "the fetch itself failed")] {
        book.now(does);
        let got = asker.fresh(&provider, Some("b")).await;
        assert!(got.failing.as_ref().unwrap().contains(why) && got.has(Some("a")), "{:?}", got.failing);
    }
    assert!(actor.connected());
}

#[actix_rt::test]
async fn more_than_a_thousand_do_not_wait() {
    let (_, _, provider, asker) = start(Does::Hang, Pace::default()).await;
    let mut waiting: Vec<_> = (0..MOST_WAITING).map(|_| Box::pin(asker.fresh(&provider, None))).collect();
    for one in &mut waiting {
        let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(one.as_mut().poll(cx).is_pending()));
        assert!(polled.await, "it waits");
    }
    assert_eq!(asker.waiting(), MOST_WAITING);
    assert!(asker.fresh(&provider, None).now_or_never().is_some(), "it does not");
    drop(waiting);
    assert_eq!(asker.waiting(), 0);
}

#[actix_rt::test]
async fn a_reload_keeps_what_it_does_not_change_and_lets_those_go_who_wait_for_what_it_takes_out() {
    let (book, actor, provider, asker) = start(Does::Hang, Pace::default()).await;
    let (waits, reload) = (asker.fresh(&provider, None), async {
        until("it is in flight", || (book.asked(), asker.waiting()) == (1, 1)).await;
        let kept = vec![provider.clone()];
        actor.send(Watch { providers: kept }).await.unwrap();
        assert_eq!((book.asked(), asker.waiting()), (1, 1), "it is still in flight");
        actor.send(Watch { providers: Vec::new() }).await.unwrap();
    });
    let before = Instant::now();
    let (got, ()) = futures_util::future::join(waits, reload).await;
    assert!(got.keys.is_none() && before.elapsed() < PATIENCE);
    // Nobody knows it any more.
    assert!(asker.fresh(&provider, None).await.keys.is_none());
    assert_eq!(book.asked(), 1);
}

#[actix_rt::test]
async fn a_new_instance_goes_on_with_what_is_published_and_the_old_one_publishes_nothing() {
    let (book, provider, instances) = (Book::new(Does::Publish(vec!["a"])), provider(), Instances::default());
    let (old, ends) = start_with(&book, BRISK, instances.next());
    old.send(Watch { providers: vec![provider.clone()] }).await.unwrap();
    settled(&book, &provider, 1).await;

    let (new, _) = start_with(&book, BRISK, instances.next());
    new.send(Watch { providers: vec![provider.clone()] }).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(book.asked(), 1, "it is not due");
    book.now(Does::Publish(vec!["b"]));
    let asker = Asker::default();
    asker.publish(old.recipient());
    assert_eq!(asker.fresh(&provider, Some("b")).await.keys.as_deref(), Some(&Names(vec!["a"])));
    until("the old instance has ended", || ends.len() == 1).await;
    assert_eq!(ends.all(), [Stopped { name: "identity", instance: 1, panicking: false }]);
    // Its address is dead, and nobody waits for it.
    assert_eq!((names(&provider.current()), book.asked()), (vec!["a"], 1));
    asker.fresh(&provider, Some("b")).await;
    asker.publish(new.recipient());
    assert!(asker.fresh(&provider, Some("b")).await.has(Some("b")));
}
