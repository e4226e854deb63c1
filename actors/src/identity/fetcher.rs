//! How keys come here: the root crate's, which knows HTTP and what a key is.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::provider::Remote;

/// Keys as they have come.
#[derive(Debug)]
pub struct Fetched<K> {
    /// All that can be used.
    pub keys: K,
    /// How long the provider says that they are good for.
    pub fresh_for: Option<Duration>,
    /// What was left out and why, a line each.
    pub left_out: Vec<String>,
}

/// A fetch in flight: `Err` says in a phrase for operators what was wrong.
pub type FetchFuture<K> = Pin<Box<dyn Future<Output = Result<Fetched<K>, String>>>>;

/// Fetches keys. Need not be `Send`: it lives and dies on the actor's thread.
pub trait Fetcher<K> {
    /// The keys that are published there. The actor bounds its time.
    fn fetch(&self, remote: Remote) -> FetchFuture<K>;
}

/// Makes the [`Fetcher`] on the actor's thread.
pub type FetcherFactory<K> = Box<dyn FnOnce() -> Box<dyn Fetcher<K>> + Send>;
