//! What is published of a provider.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::{ArcSwap, Guard};

/// Keys of one provider, whatever they are.
pub trait Keys: PartialEq + Send + Sync + 'static {
    /// Whether there is one of this name.
    fn knows(&self, kid: &str) -> bool;

    /// How many there are.
    fn count(&self) -> usize;
}

/// Where a provider publishes its keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Remote {
    /// As tokens name it; discovery begins there.
    pub issuer: Option<String>,
    /// Where the keys are, if that is written.
    pub jwks_uri: Option<String>,
    /// Whom to believe in the provider's place; `None` = the usual roots.
    pub ca_file: Option<PathBuf>,
}

/// What is known of a provider's keys at one moment.
#[derive(Debug)]
pub struct Published<K> {
    /// `None`: they were never fetched.
    pub keys: Option<Arc<K>>,
    /// Another number with every other set; no two sets of this process have the same.
    pub generation: u64,
    /// When they were fetched last.
    pub fetched: Option<Instant>,
    /// Why the last fetch failed; `None` if it did not.
    pub failing: Option<String>,
    /// When they are to be fetched again.
    pub due: Option<Instant>,
    /// Until then nobody's asking begins a fetch.
    pub quiet_until: Option<Instant>,
}

/// How many fetches ended how.
#[derive(Debug, Default)]
pub struct Fetches {
    /// With a set of keys, the same or another.
    pub ok: AtomicU64,
    /// Without.
    pub failed: AtomicU64,
}

/// One provider: lives as long as a configuration names it, and longer than the actor.
pub struct Provider<K> {
    /// Tells providers of one process apart.
    pub(super) id: u64,
    /// The name of its entry, for logs and metrics.
    pub name: String,
    /// Where its keys are.
    pub remote: Remote,
    /// For metrics.
    pub fetches: Fetches,
    published: ArcSwap<Published<K>>,
}

/// Numbers for providers and sets.
fn next() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

impl<K: Keys> Provider<K> {
    /// A provider that nobody has asked yet.
    pub fn new(name: &str, remote: Remote) -> Arc<Self> {
        let published = Published {
            keys: None,
            generation: next(),
            fetched: None,
            failing: None,
            due: None,
            quiet_until: None,
        };
        Arc::new(Self {
            id: next(),
            name: name.to_owned(),
            remote,
            fetches: Fetches::default(),
            published: ArcSwap::from_pointee(published),
        })
    }

    /// What is known now.
    pub fn current(&self) -> Guard<Arc<Published<K>>> {
        self.published.load()
    }

    /// A fetch has ended. Keys that are the same stay the same ones.
    pub(super) fn publish(
        &self,
        outcome: Result<K, String>,
        now: Instant,
        due: Instant,
        quiet_until: Instant,
    ) {
        let before = self.published.load();
        let (due, quiet_until) = (Some(due), Some(quiet_until));
        let (keys, generation, fetched, failing) = match outcome {
            Ok(keys) if before.keys.as_deref() == Some(&keys) => {
                (before.keys.clone(), before.generation, Some(now), None)
            }
            Ok(keys) => (Some(Arc::new(keys)), next(), Some(now), None),
            Err(why) => (before.keys.clone(), before.generation, before.fetched, Some(why)),
        };
        let counter = if failing.is_some() { &self.fetches.failed } else { &self.fetches.ok };
        counter.fetch_add(1, Ordering::Relaxed);
        self.published.store(Arc::new(Published { keys, generation, fetched, failing, due, quiet_until }));
    }
}

/// Without the keys.
impl<K> fmt::Debug for Provider<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("name", &self.name)
            .field("remote", &self.remote)
            .finish_non_exhaustive()
    }
}
