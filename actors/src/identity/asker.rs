//! The side of a request: keys that it does not have are asked for, for a bounded time and by a bounded number.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix::Recipient;
use arc_swap::ArcSwapOption;
use tokio::sync::oneshot;

use super::messages::Ask;
use super::provider::{Keys, Provider, Published};

/// The longest that a request waits for keys.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// More do not wait, but are answered with what there is.
pub const MOST_WAITING: usize = 1_000;

/// The way to the actor, whichever instance of it there is.
pub struct Asker<K: Keys> {
    to: ArcSwapOption<Recipient<Ask<K>>>,
    waiting: AtomicUsize,
}

impl<K: Keys> Default for Asker<K> {
    fn default() -> Self {
        Self { to: ArcSwapOption::empty(), waiting: AtomicUsize::new(0) }
    }
}

impl<K: Keys> Asker<K> {
    /// The instance that is asked from now on.
    pub fn publish(&self, to: Recipient<Ask<K>>) {
        self.to.store(Some(Arc::new(to)));
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// What is known of the provider's keys once a fetch has ended, for a token that names the key `kid`, or (`None`) where
    /// there were no keys at all. Where no fetch is to be had, or not in time, what is known now.
    pub async fn fresh(&self, provider: &Arc<Provider<K>>, kid: Option<&str>) -> Arc<Published<K>> {
        let current = Arc::clone(&provider.current());
        let quiet = current.quiet_until.is_some_and(|until| Instant::now() < until);
        if quiet || current.has(kid) {
            return current;
        }
        let Some((to, _place)) = self.to.load_full().zip(self.place()) else { return current };
        let (reply, told) = oneshot::channel();
        let ask = Ask { provider: provider.clone(), kid: kid.map(str::to_owned), reply };
        if to.try_send(ask).is_ok() {
            // Told, closed, or waited for long enough: whatever there is by then.
            let _ = tokio::time::timeout(PATIENCE, told).await;
        }
        Arc::clone(&provider.current())
    }

    /// A place among those that wait, if there is one.
    fn place(&self) -> Option<Place<'_>> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Place(&self.waiting);
        (before < MOST_WAITING).then_some(place)
    }
}

/// Given back when the request goes on, or away.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<K: Keys> Published<K> {
    /// Whether there is a key of this name, or (`None`) whether there are keys.
    pub(super) fn has(&self, kid: Option<&str>) -> bool {
        self.keys.as_ref().is_some_and(|keys| kid.is_none_or(|kid| keys.knows(kid)))
    }
}
