//! Buckets of one word each, by key, for all workers: found in one look at memory, charged in one atomic step.
//!
//! They lie in a [`Table`], from which nothing is ever taken out. To get rid of what is idle, and to grow, the actor replaces
//! it: the new table is shown beside the old one, the buckets are carried over one by one, and the old one goes. A request
//! that comes meanwhile asks the old table first. A bucket that is still there is charged there; one that is [`MOVED`] is in
//! the new table or was not worth carrying; one that is nowhere is begun in the new table, once the old one is made such that
//! it cannot be begun there any more. So a key has one bucket at any time, and no charge is lost.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::algorithm::Word;
use super::buckets::Population;
use super::key::{GROUPS, group};
use super::table::{Look, Place, Table};

/// The bucket is not here any more.
const MOVED: u64 = u64::MAX;
/// The bucket is on its way: a moment later it is here.
const COMING: u64 = u64::MAX - 1;
/// The last word that a bucket may be.
pub const LAST: u64 = u64::MAX - 2;

/// The table is replaced for the sake of those that are not needed any more if one in so many is such; or if there are only
/// that few, and it costs next to nothing.
const WORTH: usize = 16;
const FEW: usize = 4096;

/// What is asked: `old` first, while there is one.
#[derive(Debug)]
struct Tables {
    old: Option<Arc<Table>>,
    new: Arc<Table>,
}

/// See the module.
pub struct Words<S> {
    tables: ArcSwap<Tables>,
    /// What keys share for which there is no room, by their [group].
    overflow: Box<[AtomicU64]>,
    count: AtomicUsize,
    /// Held by whoever replaces the table.
    replacing: Mutex<()>,
    state: PhantomData<fn() -> S>,
}

/// What came of an attempt at a word.
enum Tried<T> {
    Done(T),
    /// It is not here any more.
    Moved,
}

impl<S: Word> Words<S> {
    /// No buckets yet.
    pub fn new() -> Self {
        Self {
            tables: ArcSwap::from_pointee(Tables { old: None, new: Arc::new(Table::with_room(0)) }),
            overflow: (0..GROUPS).map(|_| AtomicU64::new(S::default().pack())).collect(),
            count: AtomicUsize::new(0),
            replacing: Mutex::new(()),
            state: PhantomData,
        }
    }

    /// The key will be asked for soon: its word may be brought up meanwhile.
    pub fn prefetch(&self, key: u64) {
        self.tables.load().new.prefetch(key);
    }

    /// Replaces the state of a key, the first one where it has none, by what `change` makes of it; `change` may be asked
    /// again when another worker was faster. Its error leaves the state as it is.
    pub fn replace<T, E>(
        &self,
        population: &Population,
        key: u64,
        mut change: impl FnMut(&S) -> Result<(S, T), E>,
    ) -> Result<T, E> {
        loop {
            let tables = self.tables.load();
            if let Some(Place::At(word)) = tables.old.as_ref().map(|old| old.find(key, Look::Freeze))
                && let Tried::Done(done) = Self::try_replace(word, &mut change)
            {
                return done;
            }
            let join = || {
                let joined = population.join(self.len());
                self.count.fetch_add(usize::from(joined), Ordering::Relaxed);
                joined
            };
            let undo = || self.left(population, 1);
            let word = match tables.new.find_or_add(key, join, undo) {
                Place::At(word) => word,
                Place::Nowhere => &self.overflow[group(key)],
                Place::Replaced => continue,
            };
            if let Tried::Done(done) = Self::try_replace(word, &mut change) {
                return done;
            }
        }
    }

    fn try_replace<T, E>(
        word: &AtomicU64,
        change: &mut impl FnMut(&S) -> Result<(S, T), E>,
    ) -> Tried<Result<T, E>> {
        let mut seen = word.load(Ordering::Acquire);
        loop {
            match seen {
                MOVED => return Tried::Moved,
                COMING => {
                    std::thread::yield_now();
                    seen = word.load(Ordering::Acquire);
                    continue;
                }
                _ => {}
            }
            let (after, answer) = match change(&S::unpack(seen)) {
                Ok(changed) => changed,
                Err(error) => return Tried::Done(Err(error)),
            };
            // The word is the whole state: nothing else is published with it.
            match word.compare_exchange_weak(seen, after.pack(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Tried::Done(Ok(answer)),
                Err(newer) => seen = newer,
            }
        }
    }

    /// Looks at the state of a key; the first one where it has none.
    pub fn read<T>(&self, key: u64, look: impl Fn(&S) -> T) -> T {
        loop {
            let tables = self.tables.load();
            // Whoever only looks need not see to it that the key stays away.
            let old = tables.old.as_ref().map(|old| old.find(key, Look::Find));
            if let Some(Place::At(word)) = old
                && let Some(word) = settled(word)
            {
                return look(&S::unpack(word));
            }
            match tables.new.find(key, Look::Find) {
                Place::At(word) => match settled(word) {
                    Some(word) => return look(&S::unpack(word)),
                    // The next table but one is there already.
                    None => continue,
                },
                Place::Nowhere | Place::Replaced => return look(&S::default()),
            }
        }
    }

    /// Looks at every state.
    pub fn each(&self, mut look: impl FnMut(&S)) {
        let tables = self.tables.load_full();
        for table in tables.old.iter().chain([&tables.new]) {
            table.any(|_, word| {
                if let Some(word) = settled(word) {
                    look(&S::unpack(word));
                }
                false
            });
        }
    }

    /// The same as [`Words::remove`], where it is worth replacing the table.
    pub fn sweep(&self, population: &Population, such: impl Fn(&S) -> bool) -> usize {
        let all = self.len();
        if all > FEW && self.tables.load().old.is_none() && !self.has_outgrown() {
            let mut found = 0;
            self.each(|state| found += usize::from(such(state)));
            if found < all / WORTH {
                return 0;
            }
        }
        self.remove(population, such)
    }

    /// Takes out the states that are such. Answers how many.
    pub fn remove(&self, population: &Population, such: impl Fn(&S) -> bool) -> usize {
        // As many as there are now, those that go included: as many may come until the next time.
        self.remove_to(self.len(), population, such)
    }

    /// Takes out all states, and the room that they took.
    pub fn clear(&self, population: &Population) {
        self.remove_to(0, population, |_| true);
    }

    /// Takes out the states that are such, into a table with so much room.
    fn remove_to(&self, room: usize, population: &Population, such: impl Fn(&S) -> bool) -> usize {
        let _one_at_a_time = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let tables = self.tables.load_full();
        let is_such = |word: &AtomicU64| settled(word).is_some_and(|word| such(&S::unpack(word)));
        if tables.old.is_none() && !self.has_outgrown() && !tables.new.any(|_, word| is_such(word)) {
            return 0;
        }
        // Somebody may have begun, and died of it.
        let mut removed = tables.old.as_ref().map_or(0, |old| Self::carry(old, &tables.new, &such));
        let old = tables.new.clone();
        let new = Arc::new(Table::with_room(room));
        self.tables.store(Arc::new(Tables { old: Some(old.clone()), new: new.clone() }));
        removed += Self::carry(&old, &new, &such);
        self.tables.store(Arc::new(Tables { old: None, new }));
        self.left(population, removed);
        removed
    }

    /// Carries over what is not such. Answers how many were left behind.
    fn carry(old: &Table, new: &Table, such: impl Fn(&S) -> bool) -> usize {
        let mut left = 0;
        old.freeze_each(|key, word| {
            let mut seen = word.load(Ordering::Acquire);
            while seen != MOVED && such(&S::unpack(seen)) {
                match word.compare_exchange(seen, MOVED, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => {
                        left += 1;
                        return;
                    }
                    Err(newer) => seen = newer,
                }
            }
            if seen == MOVED {
                return;
            }
            // Nobody looks for it there before it is gone here.
            if let Place::At(target) = new.find_or_add(key, || true, || ()) {
                target.store(COMING, Ordering::Release);
                target.store(word.swap(MOVED, Ordering::AcqRel), Ordering::Release);
            }
        });
        left
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether looking at them would be quicker in a table of another size.
    pub fn has_outgrown(&self) -> bool {
        self.len() > self.tables.load().new.room()
    }

    fn left(&self, population: &Population, buckets: usize) {
        self.count.fetch_sub(buckets, Ordering::Relaxed);
        population.leave(buckets);
    }
}

/// The word, once it is there; `None` when it is not any more.
fn settled(word: &AtomicU64) -> Option<u64> {
    loop {
        match word.load(Ordering::Acquire) {
            MOVED => return None,
            COMING => std::thread::yield_now(),
            word => return Some(word),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible as Never;
    use std::sync::atomic::AtomicBool;

    use super::super::limit::{Plan, Refusal, Standing};
    use super::*;
    use crate::rate_limiter::algorithm::State;

    /// Counts.
    #[derive(Default)]
    struct Count(u64);

    impl State for Count {
        fn charge(&self, _: &Plan, _: u64, _: u64) -> Result<(Self, Standing), Refusal> {
            unreachable!("not asked here")
        }

        fn standing(&self, _: &Plan, _: u64) -> Standing {
            unreachable!("not asked here")
        }

        fn refund(&self, _: &Plan, _: u64, _: u64) -> Self {
            unreachable!("not asked here")
        }
    }

    impl Word for Count {
        fn pack(self) -> u64 {
            self.0
        }

        fn unpack(word: u64) -> Self {
            Self(word)
        }
    }

    fn add(words: &Words<Count>, population: &Population, key: u64) {
        let more = |count: &Count| Ok::<_, Never>((Count(count.0 + 1), ()));
        let Ok(()) = words.replace(population, key, more);
    }

    #[test]
    fn what_is_carried_over_is_what_it_was_and_the_rest_is_gone() {
        let (words, population) = (Words::<Count>::new(), Population::new(100_000));
        for key in 0..10_000 {
            (0..=key % 3).for_each(|_| add(&words, &population, key));
        }
        assert!(words.has_outgrown());
        assert_eq!((words.len(), population.live()), (10_000, 10_000));
        assert_eq!(words.remove(&population, |count| count.0 == 1), 3_334);
        assert!(!words.has_outgrown());
        assert_eq!((words.len(), population.live()), (6_666, 6_666));
        for key in 0..10_000 {
            let expected = if key % 3 == 0 { 0 } else { key % 3 + 1 };
            assert_eq!(words.read(key, |count| count.0), expected, "{key}");
        }
        let mut sum = 0;
        words.each(|count| sum += count.0);
        assert_eq!(sum, 3_333 * 2 + 3_333 * 3);
    }

    #[test]
    fn what_is_cleared_takes_no_room() {
        let (words, population) = (Words::<Count>::new(), Population::new(100_000));
        (0..50_000).for_each(|key| add(&words, &population, key));
        words.remove(&population, |_| false);
        words.clear(&population);
        assert_eq!((words.len(), population.live()), (0, 0));
        assert!(words.tables.load().new.room() < 100);
        add(&words, &population, 1);
        assert_eq!(words.read(1, |count| count.0), 1);
    }

    #[test]
    fn a_table_is_replaced_when_it_is_full_and_left_alone_while_it_is_not() {
        let (words, population) = (Words::<Count>::new(), Population::new(1_000_000));
        let table = |words: &Words<Count>| words.tables.load().new.clone();
        let mut keys = fastrand::Rng::with_seed(7);
        (0..50_000).for_each(|_| add(&words, &population, keys.u64(..)));
        assert!(words.has_outgrown());
        words.remove(&population, |_| false);
        let large = table(&words);
        assert!(large.room() >= 50_000);
        // Up to the last key that it has room for. Some find their lines taken by then, in every table of this size.
        (50_000..large.room()).for_each(|_| add(&words, &population, keys.u64(..)));
        assert!(!words.has_outgrown());
        assert_eq!(words.remove(&population, |_| false), 0);
        assert!(Arc::ptr_eq(&large, &table(&words)));
        add(&words, &population, keys.u64(..));
        assert!(words.has_outgrown());
        words.remove(&population, |_| false);
        assert!(!Arc::ptr_eq(&large, &table(&words)) && !words.has_outgrown());
    }

    #[test]
    fn a_large_table_is_not_replaced_for_the_sake_of_a_few() {
        let (words, population) = (Words::<Count>::new(), Population::new(100_000));
        let keys = 2 * FEW as u64;
        (0..keys).for_each(|key| add(&words, &population, key));
        assert_eq!(words.sweep(&population, |_| false), 0, "it has grown");
        let again = keys.div_ceil(WORTH as u64) - 1;
        (0..again).for_each(|key| add(&words, &population, key));
        assert_eq!(words.sweep(&population, |count| count.0 == 2), 0);
        add(&words, &population, again);
        assert_eq!(words.sweep(&population, |count| count.0 == 2), again as usize + 1);
        // Of few each one counts.
        words.remove(&population, |_| true);
        (0..FEW as u64).for_each(|key| add(&words, &population, key));
        words.sweep(&population, |_| false);
        add(&words, &population, 1);
        assert_eq!(words.sweep(&population, |count| count.0 == 2), 1);
    }

    #[test]
    fn no_charge_is_lost_nor_counted_twice_however_often_the_table_is_replaced() {
        const KEYS: u64 = 3_000;
        const ROUNDS: u64 = 60;
        let (words, population) = (Words::<Count>::new(), Population::new(100_000));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|worker| {
                    let (words, population) = (&words, &population);
                    scope.spawn(move || {
                        for round in 0..ROUNDS {
                            for key in 0..KEYS {
                                // Each in another order, and some keys that come only once.
                                let key = (key * 7 + worker * 13 + round) % KEYS;
                                add(words, population, key);
                                if key.is_multiple_of(50) {
                                    add(words, population, 1 << 32 | worker << 24 | round << 16 | key);
                                }
                            }
                        }
                    })
                })
                .collect();
            let replacer = scope.spawn(|| {
                let mut times = 0;
                while !done.load(Ordering::Relaxed) || times < 3 {
                    words.remove(&population, |_| false);
                    times += 1;
                }
            });
            workers.into_iter().for_each(|worker| worker.join().unwrap());
            done.store(true, Ordering::Relaxed);
            replacer.join().unwrap();
        });
        for key in 0..KEYS {
            assert_eq!(words.read(key, |count| count.0), 4 * ROUNDS, "{key}");
        }
        let (mut sum, mut count) = (0, 0);
        words.each(|one| {
            sum += one.0;
            count += 1;
        });
        assert_eq!(sum, 4 * ROUNDS * (KEYS + KEYS / 50));
        assert_eq!((words.len(), population.live()), (count, count));
    }

    #[test]
    fn what_goes_while_it_is_charged_goes_whole_or_not_at_all() {
        let (words, population) = (Words::<Count>::new(), Population::new(100_000));
        let (done, gone) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| (0..60_000).for_each(|n| add(&words, &population, n % 40))))
                .collect();
            let replacer = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // Exactly ten each.
                    let removed = words.remove(&population, |count| count.0 == 10);
                    gone.fetch_add(10 * removed as u64, Ordering::Relaxed);
                }
            });
            workers.into_iter().for_each(|worker| worker.join().unwrap());
            done.store(true, Ordering::Relaxed);
            replacer.join().unwrap();
        });
        let mut sum = gone.into_inner();
        words.each(|count| sum += count.0);
        assert_eq!(sum, 180_000);
        assert_eq!(words.len(), population.live());
    }
}
