//! Tests of the resolver: answers as a table, and the actor with a name service that obeys.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::Addr;
use actix_rt::Arbiter;

use super::state::{Name, News, settle};
use super::*;
use crate::supervision::{Fence, Instances, Stopped};
use crate::target::TargetState;
use crate::testing::{Log, obituaries, until};

fn addresses(text: &str) -> Vec<SocketAddr> {
    text.split_whitespace().map(|address| address.parse().unwrap()).collect()
}

#[test]
fn answers_settle_into_one_order_whatever_the_name_server_rotates() {
    let settled = addresses("10.0.0.1:80 10.0.0.2:80 [::1]:80");
    assert_eq!(settle(addresses("10.0.0.2:80 [::1]:80 10.0.0.1:80 10.0.0.2:80")), settled);
    assert_eq!(settle(addresses("10.0.0.1:80 [::1]:80 10.0.0.2:80")), settled);
}

#[test]
fn the_family_that_the_system_prefers_stays_first() {
    let settled = addresses("[::1]:80 [::2]:80 10.0.0.1:80");
    assert_eq!(settle(addresses("[::2]:80 10.0.0.1:80 [::1]:80")), settled);
}

#[test]
fn a_failure_keeps_the_last_answer_and_is_news_only_the_first_time() {
    let mut name = Name::default();
    let good = || Ok(addresses("10.0.0.1:80"));
    assert_eq!(name.on_answer(good()), Some(News::Moved));
    assert_eq!(name.on_answer(good()), None);
    assert_eq!(name.on_answer(Err("no such name".into())), Some(News::Lost));
    assert_eq!(name.on_answer(Ok(vec![])), None);
    assert_eq!(name.failing.as_deref(), Some("the name has no address"));
    assert_eq!(name.addresses, addresses("10.0.0.1:80"));
    assert_eq!(name.on_answer(good()), Some(News::Back));
    assert_eq!(name.on_answer(Ok(addresses("10.0.0.2:80"))), Some(News::Moved));
}

#[test]
fn a_name_without_any_address_is_asked_for_sooner() {
    let mut name = Name::default();
    assert_eq!(name.wait(REFRESH, RETRY), RETRY);
    name.on_answer(Ok(addresses("10.0.0.1:80")));
    name.on_answer(Err("no such name".into()));
    assert_eq!(name.wait(REFRESH, RETRY), REFRESH);
}

/// The name service: what it answers to whoever asks, and how often it was asked.
struct Book {
    answer: Mutex<Result<Vec<SocketAddr>, String>>,
    asked: AtomicUsize,
}

impl Book {
    fn new(answer: Result<Vec<SocketAddr>, String>) -> Arc<Self> {
        Arc::new(Self { answer: Mutex::new(answer), asked: AtomicUsize::new(0) })
    }

    fn now(&self, answer: Result<Vec<SocketAddr>, String>) {
        *self.answer.lock().unwrap() = answer;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

struct Obedient(Arc<Book>);

impl Lookup for Obedient {
    fn lookup(&self, _: String, _: u16) -> LookupFuture {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.0.answer.lock().unwrap().clone();
        Box::pin(async move { answer })
    }
}

fn start(book: &Arc<Book>, refresh: Duration, fence: Fence) -> (Addr<ResolverActor>, Log<Stopped>) {
    let ((on_stop, ends), book) = (obituaries(), book.clone());
    let lookup: LookupFactory = Box::new(move || Box::new(Obedient(book)));
    let deps = Deps { lookup, refresh, retry: Duration::from_millis(2), on_stop, fence };
    (ResolverActor::start_in(&Arbiter::current(), deps), ends)
}

fn watch(targets: &[&Arc<TargetState>]) -> Watch {
    Watch { targets: targets.iter().map(|shared| (Arc::clone(shared), "users".to_owned(), 80)).collect() }
}

fn target() -> Arc<TargetState> {
    TargetState::new("users", "http://users:80", vec![])
}

const SOON: Duration = Duration::from_millis(2);

/// Longer than any test runs.
const LATER: Duration = Duration::from_secs(600);

#[actix_rt::test]
async fn a_name_that_moves_moves_its_targets_and_one_that_fails_leaves_them() {
    let (book, shared) = (Book::new(Ok(addresses("10.0.0.1:80"))), target());
    let (actor, _) = start(&book, SOON, Instances::default().next());
    actor.do_send(watch(&[&shared]));
    until("the first answer is in", || **shared.addresses.load() == addresses("10.0.0.1:80")).await;
    let published = shared.addresses.load_full();
    book.now(Err("no such name".into()));
    let asked = book.asked();
    until("it was asked again", || book.asked() > asked + 2).await;
    assert!(Arc::ptr_eq(&published, &shared.addresses.load_full()), "nothing was published");
    assert_eq!(actor.send(Inspect).await.unwrap()[0].failing.as_deref(), Some("no such name"));
    book.now(Ok(addresses("10.0.0.2:80")));
    until("the new answer is in", || **shared.addresses.load() == addresses("10.0.0.2:80")).await;
}

#[actix_rt::test]
async fn a_name_that_cannot_be_looked_up_at_first_is_retried_soon() {
    let (book, shared) = (Book::new(Err("no such name".into())), target());
    let (actor, _) = start(&book, LATER, Instances::default().next());
    actor.do_send(watch(&[&shared]));
    assert!(shared.unresolved.load(Ordering::Relaxed), "whoever wants the target may wait");
    until("it was asked more than once", || book.asked() > 2).await;
    assert!(!shared.unresolved.load(Ordering::Relaxed), "nobody waits for a name that is not known");
    book.now(Ok(addresses("10.0.0.1:80")));
    until("the answer is in", || !shared.addresses.load().is_empty()).await;
}

#[actix_rt::test]
async fn targets_of_one_name_share_a_look_up_and_a_new_one_does_not_wait_for_the_next() {
    let (book, one, two) = (Book::new(Ok(addresses("10.0.0.1:80"))), target(), target());
    let (actor, _) = start(&book, LATER, Instances::default().next());
    actor.do_send(watch(&[&one, &two]));
    until("both have it", || !one.addresses.load().is_empty() && !two.addresses.load().is_empty()).await;
    assert_eq!(book.asked(), 1);

    let three = target();
    actor.send(watch(&[&one, &three])).await.unwrap();
    assert_eq!(**three.addresses.load(), addresses("10.0.0.1:80"));
    until("the name was asked for again", || book.asked() == 2).await;

    actor.send(watch(&[&three])).await.unwrap();
    assert_eq!(book.asked(), 2);
    actor.send(watch(&[])).await.unwrap();
    assert!(actor.send(Inspect).await.unwrap().is_empty());
}

#[actix_rt::test]
async fn an_instance_that_was_replaced_ends_without_publishing() {
    let (book, shared) = (Book::new(Ok(addresses("10.0.0.1:80"))), target());
    let instances = Instances::default();
    let (old, ends) = start(&book, SOON, instances.next());
    instances.next();
    old.do_send(watch(&[&shared]));
    until("the old instance has ended", || ends.len() == 1).await;
    assert_eq!(ends.all(), [Stopped { name: "resolver", instance: 1, panicking: false }]);
    assert!(shared.addresses.load().is_empty());
}

#[actix_rt::test]
async fn the_system_knows_where_localhost_is() {
    let found = SystemLookup.lookup("localhost".into(), 8080).await.unwrap();
    assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 8080));
    assert!(!found.is_empty());
}
