//! All buckets of one limit, shared by the workers without a lock.
//!
//! A request finds its bucket by a fingerprint of its key, or begins it, and charges it in one atomic step: what two
//! workers do at once is the same as if one had done it after the other, so that a limit holds exactly over all of them.
//! Idle buckets are swept away by the actor. How many there are over all limits is bounded by a [`Population`]: beyond it
//! new keys share one bucket until the actor has made room among those that have used the least.

use std::convert::Infallible as Never;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::cell::{Cell, LogCell, State as _};
use super::fixed_window::FixedWindow;
use super::limit::{Plan, Refusal, Standing};
use super::settings::Algorithm;
use super::token_bucket::TokenBucket;
use super::words::Words;

/// How many buckets there are over all limits, and may be.
#[derive(Debug)]
pub struct Population {
    live: AtomicUsize,
    most: AtomicUsize,
    overflowed: AtomicBool,
}

impl Population {
    /// None yet, and at most that many.
    pub fn new(most: usize) -> Self {
        Self { live: AtomicUsize::new(0), most: AtomicUsize::new(most), overflowed: AtomicBool::new(false) }
    }

    /// Buckets now.
    pub fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Buckets at most.
    pub fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// Another bound, from a reload.
    pub fn set_most(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Whether a key had to share a bucket since the last time this was asked.
    pub fn take_overflowed(&self) -> bool {
        self.overflowed.swap(false, Ordering::Relaxed)
    }

    /// Counts a bucket to be begun; false when there may be no more.
    pub(super) fn join(&self) -> bool {
        let room = |live| (live < self.most()).then_some(live + 1);
        let joined = self.live.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok();
        if !joined {
            self.overflowed.store(true, Ordering::Relaxed);
        }
        joined
    }

    pub(super) fn leave(&self, buckets: usize) {
        self.live.fetch_sub(buckets, Ordering::Relaxed);
    }
}

/// The buckets of one limit.
pub struct Buckets(Kind);

enum Kind {
    Token(Words<TokenBucket>),
    Sliding(Shelf<LogCell>),
    Fixed(Words<FixedWindow>),
}

/// The same call on whichever kind it is.
macro_rules! any {
    ($buckets:expr, $shelf:ident => $call:expr) => {
        match &$buckets.0 {
            Kind::Token($shelf) => $call,
            Kind::Sliding($shelf) => $call,
            Kind::Fixed($shelf) => $call,
        }
    };
}

impl Buckets {
    /// No buckets of that algorithm yet.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::TokenBucket => Kind::Token(Words::new()),
            Algorithm::SlidingWindow => Kind::Sliding(Shelf::new()),
            Algorithm::FixedWindow => Kind::Fixed(Words::new()),
        })
    }

    /// Charges a request that takes `cost` at `now`. `plan` must be of the same algorithm each time.
    ///
    /// # Errors
    /// [`Refusal`], when there is not enough; nothing is charged then.
    pub fn charge(
        &self,
        population: &Population,
        plan: &Plan,
        key: u64,
        now: u64,
        cost: u64,
    ) -> Result<Standing, Refusal> {
        any!(self, shelf => shelf.replace(population, key, |state| state.charge(plan, now, cost)))
    }

    /// What a request that takes `cost` at `now` would meet; charges nothing and begins no bucket.
    ///
    /// # Errors
    /// [`Refusal`], when there is not enough.
    pub fn probe(&self, plan: &Plan, key: u64, now: u64, cost: u64) -> Result<Standing, Refusal> {
        any!(self, shelf => shelf.read(key, |state| state.charge(plan, now, cost).map(|(_, standing)| standing)))
    }

    /// What is left of a bucket.
    pub fn standing(&self, plan: &Plan, key: u64, now: u64) -> Standing {
        any!(self, shelf => shelf.read(key, |state| state.standing(plan, now)))
    }

    /// Takes back a charge of `cost`.
    pub fn refund(&self, population: &Population, plan: &Plan, key: u64, now: u64, cost: u64) {
        any!(self, shelf => {
            let _ = shelf.replace(population, key, |state| Ok::<_, Never>((state.refund(plan, now, cost), ())));
        });
    }

    /// Takes out the buckets that are as good as new. Answers how many.
    pub fn sweep(&self, population: &Population, plan: &Plan, now: u64) -> usize {
        any!(self, shelf => shelf.remove(population, |state| state.standing(plan, now).reset == 0))
    }

    /// Counts the buckets by the 16th of their limit that is used up: `[0]` holds those that used the least.
    pub fn by_use(&self, plan: &Plan, now: u64) -> [usize; 16] {
        let mut counts = [0; 16];
        any!(self, shelf => shelf.each(|state| counts[sixteenth(plan, state.standing(plan, now))] += 1));
        counts
    }

    /// Takes out the buckets that have used at most that many 16ths of their limit. Answers how many.
    pub fn evict(&self, population: &Population, plan: &Plan, now: u64, sixteenths: usize) -> usize {
        let little = |standing| sixteenth(plan, standing) <= sixteenths;
        any!(self, shelf => shelf.remove(population, |state| little(state.standing(plan, now))))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        any!(self, shelf => shelf.len())
    }

    /// Whether finding one would be quicker after a [sweep](Buckets::sweep).
    pub fn have_outgrown(&self) -> bool {
        match &self.0 {
            Kind::Token(words) => words.has_outgrown(),
            Kind::Fixed(words) => words.has_outgrown(),
            Kind::Sliding(_) => false,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn sixteenth(plan: &Plan, standing: Standing) -> usize {
    let used = plan.capacity.saturating_sub(standing.remaining);
    (used.saturating_mul(16) / plan.capacity.max(1)).min(15) as usize
}

/// Buckets that take more than a word: cells by fingerprint, and the one that keys share for which there is no room.
struct Shelf<C> {
    map: papaya::HashMap<u64, C, BuildHasherDefault<AsIs>>,
    overflow: C,
}

impl<C: Cell> Shelf<C> {
    fn new() -> Self {
        Self { map: papaya::HashMap::default(), overflow: C::fresh() }
    }

    fn replace<T, E>(
        &self,
        population: &Population,
        key: u64,
        mut change: impl FnMut(&C::State) -> Result<(C::State, T), E>,
    ) -> Result<T, E> {
        let map = self.map.pin();
        loop {
            let cell = match map.get(&key) {
                Some(cell) => cell,
                None if !population.join() => &self.overflow,
                None => match map.try_insert(key, C::fresh()) {
                    Ok(cell) => cell,
                    Err(there) => {
                        population.leave(1);
                        there.current
                    }
                },
            };
            if let Some(done) = cell.replace(&mut change) {
                return done;
            }
            // The actor is taking it out: be there first or second, then begin a new one.
            if let Ok(Some(_)) = map.remove_if(&key, |_, cell| is_retired(cell)) {
                population.leave(1);
            }
        }
    }

    fn len(&self) -> usize {
        self.map.len()
    }

    fn read<T>(&self, key: u64, look: impl Fn(&C::State) -> T) -> T {
        let map = self.map.pin();
        map.get(&key).and_then(|cell| cell.read(&look)).unwrap_or_else(|| look(&C::State::default()))
    }

    fn each(&self, mut look: impl FnMut(&C::State)) {
        for cell in self.map.pin().values() {
            let _ = cell.read(&mut look);
        }
    }

    fn remove(&self, population: &Population, such: impl Fn(&C::State) -> bool) -> usize {
        let map = self.map.pin();
        let mut removed = 0;
        for (key, cell) in &map {
            if cell.retire_if(&such) && matches!(map.remove_if(key, |_, cell| is_retired(cell)), Ok(Some(_)))
            {
                removed += 1;
            }
        }
        population.leave(removed);
        removed
    }
}

fn is_retired<C: Cell>(cell: &C) -> bool {
    cell.read(|_| ()).is_none()
}

/// Fingerprints are random already.
#[derive(Default)]
pub(super) struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, fingerprint: u64) {
        self.0 = fingerprint;
    }
}
