//! Limits that several instances share: asked and answered in leases.
//!
//! The store charges a limit when it hands out a lease, never when the lease is spent: what is spent late or not at all
//! makes a limit tighter, not looser. See [`SharedStore`].

use std::pin::Pin;
use std::time::Duration;

use super::limit::Plan;

mod redis_store;

pub use redis_store::RedisStore;

/// A boxed future of the actor's own thread.
pub type Answer<T> = Pin<Box<dyn Future<Output = T>>>;

/// A question for one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Take {
    /// The bucket: unique over all rules, the same on every instance, printable, at most 300 bytes.
    pub key: String,
    pub plan: Plan,
    /// Requests wanted at least; all or nothing.
    pub least: u64,
    /// Requests that somebody waits for, `least..=most`: as many of them as there are, in steps of `least`. Of what goes
    /// beyond it, a store grants only so much that others find some.
    pub awaited: u64,
    /// Requests wanted at most, `>= least`; more than `least` is a lease.
    pub most: u64,
    /// A grant of exactly `least` is a lease, too: the request may yet be refused for another reason, and then somebody
    /// else is to have it.
    pub returnable: bool,
    /// How long a lease may be spent; the store must not count its requests as over before they can be.
    pub lease: Duration,
}

/// What a bucket answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// 0, or `least..=most`.
    pub granted: u64,
    /// How long, from the moment the question was sent, what was granted may be spent. More than `least` is a lease: as
    /// long as was asked for, or less where a fixed window ends before. `least` is to be spent at once, unless it was to
    /// be returnable: zero.
    pub good_for: Duration,
    /// The same as a moment: microseconds since the epoch by the store's clock. What is given back is found by it.
    pub spend_by: u64,
    /// What is left in the bucket beside what was granted.
    pub remaining: u64,
    /// Until the whole limit is available again, if nothing more comes.
    pub reset: Duration,
    /// Until `least` could be granted, where nothing was; zero otherwise.
    pub retry_after: Duration,
}

/// Unspent requests of one grant. Not of two at once: each is given back by itself, and at most once.
///
/// A lease should be given back before it ends. After that a token bucket takes nothing back, because it cannot know
/// any more what the grant stood in the way of; nor does it take back what was to be spent at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GiveBack {
    pub key: String,
    pub plan: Plan,
    /// At most what was granted.
    pub unspent: u64,
    /// As answered: [`Taken::spend_by`].
    pub spend_by: u64,
}

/// Why the store did not answer; for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError {
    pub why: String,
    /// The question was sent, and nothing has been heard since: a store that is slow will decide it all the same.
    pub sent: bool,
    /// The store is there and answered that it does not do this: it will say so again.
    pub refused: bool,
}

impl StoreError {
    /// Of a question that was not sent, or ended with its connection.
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), sent: false, refused: false }
    }
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for StoreError {}

/// Where limits are kept for several instances. Every answer comes within the patience of its settings.
pub trait SharedStore {
    /// Asks several buckets at once; the answers are in the order of the questions.
    fn take(&self, takes: Vec<Take>) -> Answer<Vec<Result<Taken, StoreError>>>;

    /// Gives back what was not spent; best effort.
    fn give_back(&self, unspent: Vec<GiveBack>) -> Answer<()>;

    /// Tells that this instance lives; answers how many do, itself included.
    fn register(&self) -> Answer<Result<u64, StoreError>>;

    /// This instance stops: it is not counted any more.
    fn unregister(&self) -> Answer<()>;
}
