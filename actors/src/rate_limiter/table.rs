//! A table of keys and words, for what is looked up by every request.
//!
//! A key and its word lie side by side in one line of the processor's cache, so that finding a bucket among a hundred
//! thousand costs one look at memory. A key stands in one of the few lines behind the one its bits name, in the first slot
//! that was free; where all of those are taken it stands in a further table, which is added for it. No slot is ever freed:
//! a key that is not found before the first free slot is nowhere, however many look at once.
//!
//! What is not needed any more goes when the table is replaced, see [`super::words`].

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// No key yet.
const EMPTY: u64 = 0;
/// There will not be one: the table is being replaced.
const FROZEN: u64 = 1;
/// Set in place of these two.
const HIGHEST_BIT: u64 = 1 << 63;

/// Slots in a line of 64 bytes.
const WIDTH: usize = 4;
/// Lines that a key may stand in.
const REACH: usize = 4;
/// Lines of a table at least, and of one that is added at most: whoever adds it waits for its making.
const FEWEST: usize = 16;
const ADDED: usize = 16 * 1024;

/// A key's word; fresh keys have [`Words`](super::words::Words)'s first one, zero.
#[derive(Debug, Default)]
struct Slot {
    key: AtomicU64,
    word: AtomicU64,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([Slot; WIDTH]);

/// See the module.
#[derive(Debug)]
pub struct Table {
    lines: Box<[Line]>,
    /// Where the keys are for which there was no room here; `None` when there will be no such table.
    next: OnceLock<Option<Box<Self>>>,
}

/// Where a key is.
#[derive(Debug)]
pub enum Place<'t> {
    At(&'t AtomicU64),
    /// Nowhere, and it may not be added.
    Nowhere,
    /// Not here, and it cannot be added: the table is being replaced.
    Replaced,
}

/// How a key is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Leaves everything as it is.
    Find,
    /// Sees to it that a key that is not there will not be there later.
    Freeze,
}

/// A hint, where the processor is one that takes it.
fn prefetch(line: &Line) {
    #[cfg(target_arch = "x86_64")]
    safe_arch::prefetch_t0(line);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

impl Table {
    /// A table with room for so many keys.
    pub fn with_room(keys: usize) -> Self {
        Self::of((keys * 3).div_ceil(2 * WIDTH).next_power_of_two().max(FEWEST))
    }

    /// How many keys it has room for: with a key in two slots of three, one key in 170 finds all the lines taken that it may
    /// stand in. A few such keys there are from a third on, in any large table.
    pub fn room(&self) -> usize {
        self.lines.len() * WIDTH * 2 / 3
    }

    fn of(lines: usize) -> Self {
        Self { lines: std::iter::repeat_with(Line::default).take(lines).collect(), next: OnceLock::new() }
    }

    /// The slots in which a key may stand, in the order in which they are taken.
    fn window(&self, key: u64) -> impl Iterator<Item = &Slot> {
        let mask = self.lines.len() - 1;
        (0..REACH).flat_map(move |step| &self.lines[(key as usize).wrapping_add(step) & mask].0)
    }

    /// Has the processor bring up the line that a key most likely stands in, without waiting for it.
    pub fn prefetch(&self, key: u64) {
        if let Some(line) = self.lines.get(stored(key) as usize & (self.lines.len() - 1)) {
            prefetch(line);
        }
    }

    /// Looks for a key.
    pub fn find(&self, key: u64, look: Look) -> Place<'_> {
        let (key, mut table) = (stored(key), self);
        loop {
            for slot in table.window(key) {
                let mut there = slot.key.load(Ordering::Acquire);
                if there == EMPTY && look == Look::Freeze {
                    there = taken(slot, FROZEN);
                }
                match there {
                    _ if there == key => return Place::At(&slot.word),
                    EMPTY | FROZEN => return Place::Nowhere,
                    _ => {}
                }
            }
            let next = match look {
                Look::Find => table.next.get().unwrap_or(&None),
                Look::Freeze => table.next.get_or_init(|| None),
            };
            match next {
                Some(next) => table = next,
                None => return Place::Nowhere,
            }
        }
    }

    /// Looks for a key, and adds it where it is not there if `may_add` says so.
    pub fn find_or_add(&self, key: u64, may_add: impl FnOnce() -> bool, undo: impl FnOnce()) -> Place<'_> {
        let (key, mut table) = (stored(key), self);
        let mut may_add = Some(may_add);
        let place = 'found: loop {
            for slot in table.window(key) {
                let mut there = slot.key.load(Ordering::Acquire);
                if there == EMPTY {
                    if may_add.take().is_some_and(|may_add| !may_add()) {
                        return Place::Nowhere;
                    }
                    there = taken(slot, key);
                    if there == EMPTY {
                        return Place::At(&slot.word);
                    }
                }
                match there {
                    _ if there == key => break 'found Place::At(&slot.word),
                    FROZEN => break 'found Place::Replaced,
                    _ => {}
                }
            }
            let more = || Some(Box::new(Self::of((2 * table.lines.len()).min(ADDED))));
            match table.next.get_or_init(more) {
                Some(next) => table = next,
                None => break Place::Replaced,
            }
        };
        if may_add.is_none() {
            // Somebody else was faster.
            undo();
        }
        place
    }

    /// Every key with its word, until one is what is looked for. Answers whether there was one.
    pub fn any(&self, mut is: impl FnMut(u64, &AtomicU64) -> bool) -> bool {
        let mut table = Some(self);
        while let Some(Self { lines, next }) = table {
            for slot in lines.iter().flat_map(|line| &line.0) {
                match slot.key.load(Ordering::Acquire) {
                    EMPTY | FROZEN => {}
                    key if is(key, &slot.word) => return true,
                    _ => {}
                }
            }
            table = next.get().and_then(|next| next.as_deref());
        }
        false
    }

    /// Every key with its word, in such a way that none can be added behind it.
    pub fn freeze_each(&self, mut visit: impl FnMut(u64, &AtomicU64)) {
        let mut table = Some(self);
        while let Some(Self { lines, next }) = table {
            for slot in lines.iter().flat_map(|line| &line.0) {
                let there = match slot.key.load(Ordering::Acquire) {
                    EMPTY => taken(slot, FROZEN),
                    key => key,
                };
                if there > FROZEN {
                    visit(there, &slot.word);
                }
            }
            table = next.get_or_init(|| None).as_deref();
        }
    }
}

/// A key as slots have it.
fn stored(key: u64) -> u64 {
    if key <= FROZEN { key | HIGHEST_BIT } else { key }
}

/// Puts a key into a free slot. Answers what was there before: [`EMPTY`] when it is in.
fn taken(slot: &Slot, key: u64) -> u64 {
    match slot.key.compare_exchange(EMPTY, key, Ordering::AcqRel, Ordering::Acquire) {
        Ok(free) => free,
        Err(there) => there,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(table: &Table, key: u64) -> &AtomicU64 {
        match table.find_or_add(key, || true, || ()) {
            Place::At(word) => word,
            place => panic!("{key}: {place:?}"),
        }
    }

    #[test]
    fn a_key_is_found_where_it_was_put_however_many_there_are() {
        let table = Table::with_room(0);
        // Far more than there is room for, and many that name the same line.
        let keys = || (0..20_000_u64).chain((0..100).map(|n| n << 40));
        for key in keys() {
            add(&table, key).store(key ^ 7, Ordering::Relaxed);
        }
        assert!(matches!(table.next.get(), Some(Some(_))), "some are in further tables");
        for key in keys() {
            assert!(
                matches!(table.find(key, Look::Find), Place::At(word) if word.load(Ordering::Relaxed) == key ^ 7)
            );
        }
        assert!(matches!(table.find(1 << 50, Look::Find), Place::Nowhere));
        let mut found = 0;
        let another = table.any(|_, _| {
            found += 1;
            false
        });
        assert!(!another);
        assert_eq!(found, 20_099, "the same key twice is one");
    }

    #[test]
    fn a_table_has_room_for_at_least_what_it_was_made_for_and_is_not_four_times_as_large() {
        for keys in (0..2_000).chain([87_381, 87_382, 1_000_000]) {
            let room = Table::with_room(keys).room();
            assert!(keys <= room && room <= (2 * keys).max(FEWEST * WIDTH), "{keys}: {room}");
        }
    }

    #[test]
    fn nothing_is_added_without_leave_nor_to_what_is_being_replaced() {
        let table = Table::with_room(0);
        assert!(matches!(table.find_or_add(5, || false, || ()), Place::Nowhere));
        add(&table, 5);
        let mut asked = false;
        let found = table.find_or_add(5, || std::mem::replace(&mut asked, true), || ());
        assert!(matches!(found, Place::At(_)) && !asked, "one that is there needs no leave");
        assert!(matches!(table.find(6, Look::Freeze), Place::Nowhere));
        let mut undone = false;
        let found = table.find_or_add(6, || true, || undone = true);
        assert!(matches!(found, Place::Replaced) && !undone, "nobody was asked, so nothing is to be undone");
        let mut seen = Vec::new();
        table.freeze_each(|key, _| seen.push(key));
        assert_eq!(seen, [5]);
        assert!(matches!(table.find_or_add(7, || true, || ()), Place::Replaced));
        assert!(matches!(table.find(5, Look::Freeze), Place::At(_)));
    }
}
