//! The buckets of one limit by key, for all workers: found without a lock, charged in one atomic step.
//!
//! A bucket that is taken out is retired first, in the same atomic step that sees that it may go. Whoever finds it retired
//! takes it out and begins a new one, so that no charge is lost with it.

use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::algorithm::{BucketState, PackedState};
use super::buckets::KeyQuota;
use super::key::{AsIs, GROUPS, group};
use super::sliding_window::SlidingWindow;

/// The packed state of a retired bucket.
const RETIRED: u64 = u64::MAX;
/// The last one that a bucket may have.
pub const LAST: u64 = RETIRED - 1;

/// Where a bucket's state lies.
pub trait Slot<S>: Sized {
    /// With the first state.
    fn fresh() -> Self;

    /// Replaces the state by what `change` makes of it; `change` may be asked again when another worker was faster. Its
    /// error leaves the state as it is. `None` when the slot is retired.
    fn replace<T, E>(&self, change: &mut impl FnMut(&S) -> Result<(S, T), E>) -> Option<Result<T, E>>;

    /// Looks at the state. `None` when the slot is retired.
    fn read<T>(&self, look: impl FnOnce(&S) -> T) -> Option<T>;

    /// Retires the slot if its state is such; answers whether it did.
    fn retire_if(&self, such: impl Fn(&S) -> bool) -> bool;
}

impl<S: PackedState> Slot<S> for AtomicU64 {
    fn fresh() -> Self {
        Self::new(S::default().pack())
    }

    fn replace<T, E>(&self, change: &mut impl FnMut(&S) -> Result<(S, T), E>) -> Option<Result<T, E>> {
        let mut seen = self.load(Ordering::Acquire);
        while seen != RETIRED {
            let (after, answer) = match change(&S::unpack(seen)) {
                Ok(changed) => changed,
                Err(error) => return Some(Err(error)),
            };
            match self.compare_exchange_weak(seen, after.pack(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(Ok(answer)),
                Err(newer) => seen = newer,
            }
        }
        None
    }

    fn read<T>(&self, look: impl FnOnce(&S) -> T) -> Option<T> {
        let seen = self.load(Ordering::Acquire);
        (seen != RETIRED).then(|| look(&S::unpack(seen)))
    }

    fn retire_if(&self, such: impl Fn(&S) -> bool) -> bool {
        let retired = |seen| (seen != RETIRED && such(&S::unpack(seen))).then_some(RETIRED);
        self.fetch_update(Ordering::AcqRel, Ordering::Acquire, retired).is_ok()
    }
}

/// `None` = retired.
impl Slot<SlidingWindow> for ArcSwap<Option<SlidingWindow>> {
    fn fresh() -> Self {
        Self::from_pointee(Some(SlidingWindow::default()))
    }

    fn replace<T, E>(
        &self,
        change: &mut impl FnMut(&SlidingWindow) -> Result<(SlidingWindow, T), E>,
    ) -> Option<Result<T, E>> {
        loop {
            let seen = self.load();
            let (after, answer) = match change(seen.as_ref().as_ref()?) {
                Ok(changed) => changed,
                Err(error) => return Some(Err(error)),
            };
            let found = self.compare_and_swap(&*seen, Arc::new(Some(after)));
            if Arc::ptr_eq(&found, &seen) {
                return Some(Ok(answer));
            }
        }
    }

    fn read<T>(&self, look: impl FnOnce(&SlidingWindow) -> T) -> Option<T> {
        self.load().as_ref().as_ref().map(look)
    }

    fn retire_if(&self, such: impl Fn(&SlidingWindow) -> bool) -> bool {
        let seen = self.load();
        let is_such = seen.as_ref().as_ref().is_some_and(such);
        is_such && Arc::ptr_eq(&self.compare_and_swap(&*seen, Arc::new(None)), &seen)
    }
}

/// See the module.
pub struct Slots<S: BucketState> {
    map: papaya::HashMap<u64, S::Slot, BuildHasherDefault<AsIs>>,
    /// What keys share for which there is no room, by their [group].
    overflow: Box<[S::Slot]>,
}

impl<S: BucketState> Slots<S> {
    /// No buckets yet.
    pub fn new() -> Self {
        let overflow = std::iter::repeat_with(S::Slot::fresh).take(GROUPS).collect();
        Self { map: papaya::HashMap::default(), overflow }
    }

    /// Replaces the state of a key, the first one where it has none, as [`Slot::replace`].
    pub fn replace<T, E>(
        &self,
        key_quota: &KeyQuota,
        key: u64,
        mut change: impl FnMut(&S) -> Result<(S, T), E>,
    ) -> Result<T, E> {
        let map = self.map.pin();
        loop {
            let slot = match map.get(&key) {
                Some(slot) => slot,
                None if !key_quota.acquire(self.len()) => &self.overflow[group(key)],
                None => match map.try_insert(key, S::Slot::fresh()) {
                    Ok(slot) => slot,
                    Err(there) => {
                        key_quota.release(1);
                        there.current
                    }
                },
            };
            if let Some(done) = slot.replace(&mut change) {
                return done;
            }
            // The actor is taking it out: be there first or second, then begin a new one.
            if let Ok(Some(_)) = map.remove_if(&key, |_, slot| is_retired(slot)) {
                key_quota.release(1);
            }
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Looks at the state of a key; the first one where it has none.
    pub fn read<T>(&self, key: u64, look: impl Fn(&S) -> T) -> T {
        let map = self.map.pin();
        map.get(&key).and_then(|slot| slot.read(&look)).unwrap_or_else(|| look(&S::default()))
    }

    /// Looks at every state.
    pub fn each(&self, mut look: impl FnMut(&S)) {
        for slot in self.map.pin().values() {
            let _ = slot.read(&mut look);
        }
    }

    /// Takes out the states that are such. Answers how many.
    pub fn remove(&self, key_quota: &KeyQuota, such: impl Fn(&S) -> bool) -> usize {
        let map = self.map.pin();
        let (mut retired, mut released) = (0, 0);
        for (key, _) in map.iter().filter(|(_, slot)| slot.retire_if(&such)) {
            retired += 1;
            // Else a worker has found it retired, taken it out, and released it.
            if let Ok(Some(_)) = map.remove_if(key, |_, slot| is_retired(slot)) {
                released += 1;
            }
        }
        key_quota.release(released);
        retired
    }
}

fn is_retired<S>(slot: &impl Slot<S>) -> bool {
    slot.read(|_| ()).is_none()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible as Never;
    use std::sync::atomic::AtomicBool;

    use super::super::fixed_window::FixedWindow;
    use super::*;

    /// Adds one to a key's packed state. The map takes keys for random, as fingerprints are.
    fn add(slots: &Slots<FixedWindow>, key_quota: &KeyQuota, key: u64) {
        let more = |state: &FixedWindow| Ok::<_, Never>((FixedWindow::unpack(count(state) + 1), ()));
        let Ok(()) = slots.replace(key_quota, print(key), more);
    }

    fn print(key: u64) -> u64 {
        fastrand::Rng::with_seed(key).u64(..)
    }

    fn count(state: &FixedWindow) -> u64 {
        state.pack()
    }

    #[test]
    fn what_is_not_taken_out_stays_what_it_was_and_the_rest_is_gone() {
        let (slots, key_quota) = (Slots::new(), KeyQuota::new(100_000));
        for key in 0..10_000 {
            (0..=key % 3).for_each(|_| add(&slots, &key_quota, key));
        }
        assert_eq!((slots.len(), key_quota.live()), (10_000, 10_000));
        assert_eq!(slots.remove(&key_quota, |state| count(state) == 1), 3_334);
        assert_eq!((slots.len(), key_quota.live()), (6_666, 6_666));
        for key in 0..10_000 {
            let expected = if key % 3 == 0 { 0 } else { key % 3 + 1 };
            assert_eq!(slots.read(print(key), count), expected, "{key}");
        }
        let mut sum = 0;
        slots.each(|state| sum += count(state));
        assert_eq!(sum, 3_333 * 2 + 3_333 * 3);
    }

    #[test]
    fn no_charge_is_lost_nor_counted_twice_while_others_come_and_go() {
        const KEYS: u64 = 3_000;
        const ROUNDS: u64 = 60;
        let (slots, key_quota) = (Slots::new(), KeyQuota::new(100_000));
        let (done, gone) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|worker| {
                    let (slots, key_quota) = (&slots, &key_quota);
                    scope.spawn(move || {
                        for round in 0..ROUNDS {
                            for key in 0..KEYS {
                                // Each in another order, and some keys that come only once.
                                let key = (key * 7 + worker * 13 + round) % KEYS;
                                add(slots, key_quota, key);
                                if key.is_multiple_of(50) {
                                    let once = 1 << 32 | worker << 24 | round << 16 | key;
                                    add(slots, key_quota, once);
                                }
                            }
                        }
                    })
                })
                .collect();
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // Exactly ten each.
                    let removed = slots.remove(&key_quota, |state| count(state) == 10);
                    gone.fetch_add(10 * removed as u64, Ordering::Relaxed);
                }
            });
            workers.into_iter().for_each(|worker| worker.join().unwrap());
            done.store(true, Ordering::Relaxed);
        });
        let (mut sum, mut left) = (gone.into_inner(), 0);
        slots.each(|state| {
            sum += count(state);
            left += 1;
        });
        assert_eq!(sum, 4 * ROUNDS * (KEYS + KEYS / 50));
        assert_eq!((slots.len(), key_quota.live()), (left, left));
    }

    #[test]
    fn a_bucket_that_goes_while_it_is_charged_goes_whole_or_not_at_all() {
        let (slots, key_quota) = (Slots::new(), KeyQuota::new(100_000));
        let (done, gone) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| (0..60_000).for_each(|n| add(&slots, &key_quota, n % 40))))
                .collect();
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // Exactly ten each.
                    let removed = slots.remove(&key_quota, |state| count(state) == 10);
                    gone.fetch_add(10 * removed as u64, Ordering::Relaxed);
                }
            });
            workers.into_iter().for_each(|worker| worker.join().unwrap());
            done.store(true, Ordering::Relaxed);
        });
        let mut sum = gone.into_inner();
        slots.each(|state| sum += count(state));
        assert_eq!(sum, 180_000);
        assert_eq!(slots.len(), key_quota.live());
    }
}
