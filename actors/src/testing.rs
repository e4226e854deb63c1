//! Helpers for tests of actors: events collected, and waits that end on a condition.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix::{Actor, Addr, Context, Handler, Message, Recipient};

use crate::supervision::{OnStop, Stopped};

/// A shared list that tests read while actors write.
#[derive(Debug)]
pub struct Log<T>(Arc<Mutex<Vec<T>>>);

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Clone> Log<T> {
    pub fn new() -> Self {
        Self(Arc::default())
    }

    pub fn push(&self, item: T) {
        self.0.lock().unwrap().push(item);
    }

    pub fn all(&self) -> Vec<T> {
        self.0.lock().unwrap().clone()
    }

    pub fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// Writes down all that it receives.
pub struct Collector<T>(Log<T>);

impl<T: Unpin + 'static> Actor for Collector<T> {
    type Context = Context<Self>;
}

impl<T> Handler<T> for Collector<T>
where
    T: Message<Result = ()> + Clone + Send + Unpin + 'static,
{
    type Result = ();

    fn handle(&mut self, msg: T, _: &mut Context<Self>) {
        self.0.push(msg);
    }
}

/// A recipient, and the list of all that it has received.
pub fn collect<T>() -> (Recipient<T>, Log<T>)
where
    T: Message<Result = ()> + Clone + Send + Unpin + 'static,
{
    let log = Log::new();
    let addr: Addr<_> = Collector(log.clone()).start();
    (addr.recipient(), log)
}

/// A death notice that goes into a list.
pub fn obituaries() -> (OnStop, Log<Stopped>) {
    let log = Log::new();
    let into = log.clone();
    (Box::new(move |stopped| into.push(stopped)), log)
}

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within ten seconds.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        actix_rt::time::sleep(Duration::from_millis(1)).await;
    }
}
