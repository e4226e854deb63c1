//! The store against real servers, which each test starts for itself and which die with it.

mod algorithms;
mod bound;
mod instances;
mod models;
mod outages;
mod servers;
mod tls;
mod topologies;

use std::cell::Cell;
use std::fmt::Debug;
use std::time::{Duration, Instant};

use super::super::super::limit::Plan;
use super::super::super::settings::{Algorithm, Limit, RedisSettings};
use super::super::{GiveBack, SharedStore, StoreError, Take, Taken};
use super::RedisStore;

const ALGORITHMS: [Algorithm; 3] = [Algorithm::TokenBucket, Algorithm::SlidingWindow, Algorithm::FixedWindow];

/// What a call may take: the store's patience, and a machine that does more than it can.
const BOUND: Duration = Duration::from_secs(1);

/// Judges how long calls take. One of a test may take longer: the machine may have been elsewhere just then.
#[derive(Default)]
struct InTime(Cell<Option<Duration>>);

impl InTime {
    fn judge(&self, asked: Instant, bound: Duration, what: &impl Debug) {
        let took = asked.elapsed();
        if took >= bound {
            let earlier = self.0.replace(Some(took));
            assert!(earlier.is_none(), "{took:?}, and {earlier:?} before: {what:?}");
        }
    }
}

/// A window that no test outlasts, the longest that may be configured. A fixed one of a day would begin anew
/// each midnight.
const LONG: Duration = Duration::from_secs(30 * 86_400);

fn store(url: &str) -> RedisStore {
    named(url, "instance")
}

fn named(url: &str, id: &str) -> RedisStore {
    RedisStore::new(&settings(url), id.to_owned()).unwrap()
}

/// A store that waits longer than one may in earnest: for tests where an answer lost to a busy machine, charged but
/// not seen, would be a failure.
fn patient(url: &str) -> RedisStore {
    let patience = Duration::from_secs(5);
    RedisStore::new(&RedisSettings { patience, ..settings(url) }, "instance".to_owned()).unwrap()
}

fn settings(url: &str) -> RedisSettings {
    RedisSettings { url: url.into(), key_prefix: "test".to_owned(), ..RedisSettings::default() }
}

fn plan(algorithm: Algorithm, requests: u32, window: Duration) -> Plan {
    Plan::new(&Limit { algorithm, requests, window, burst: 0 })
}

/// One request, at once.
fn one(key: &str, plan: Plan) -> Take {
    lease(key, plan, 1, 1, Duration::ZERO)
}

fn lease(key: &str, plan: Plan, least: u64, most: u64, lease: Duration) -> Take {
    Take { key: key.to_owned(), plan, least, awaited: least, most, lease, returnable: false }
}

fn back(take: &Take, taken: &Taken, unspent: u64) -> GiveBack {
    GiveBack { key: take.key.clone(), plan: take.plan, unspent, spend_by: taken.spend_by }
}

async fn ask(store: &RedisStore, take: &Take) -> Result<Taken, StoreError> {
    store.take(vec![take.clone()]).await.pop().unwrap()
}

async fn sure(store: &RedisStore, take: &Take) -> Taken {
    ask(store, take).await.unwrap()
}

/// When Redis decided, in microseconds since the epoch.
fn decided(taken: &Taken) -> u64 {
    taken.spend_by - u64::try_from(taken.good_for.as_micros()).unwrap()
}

/// The first `Some`, which must come before `patience` is over: on a quiet machine. Others may need this one's processors at
/// the same time, so five times as long is waited before it counts as never.
async fn until<T>(what: &str, patience: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(begun.elapsed() < patience * 5, "waited five times {patience:?} for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}
