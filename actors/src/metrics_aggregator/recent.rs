//! The rollups that are in memory: the last quarter of an hour, and whatever the store has not got yet.
//!
//! While the store is away, what waits for it is merged into coarser rollups as it gets older, so that the memory is
//! bounded by the number of series and not by the time. A rollup whose write is under way, or may have gone through
//! unheard, is left as it is: the next write replaces it, and merged it would be counted twice.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::rollup::{FINEST, LimitRollup, LimitTally, RESOLUTIONS, Rollup, Series, Tally};

/// Seconds that rollups stay in memory whatever the store has.
pub const KEPT: i64 = 15 * 60;

/// Age in seconds from which on what waits is merged into the resolution.
const COARSENED: [(i64, u32); 3] = [(KEPT, 60), (2 * 3600, 600), (12 * 3600, 3600)];

/// Where a rollup is in time.
pub type Stretch = (i64, u32);

/// A number for a series, given once.
pub type SeriesId = u32;

/// What is known of a rollup's way to the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Way {
    /// Everything in it is written.
    Written,
    /// It has never been part of a write.
    #[default]
    New,
    /// A write of it is under way or has failed: the store may have an older state of it.
    Tried,
    /// Written once, and counted further since.
    Changed,
}

#[derive(Debug, Default)]
struct Cell<T> {
    tally: T,
    way: Way,
}

impl<T> Cell<T> {
    fn touch(&mut self) -> &mut T {
        if self.way == Way::Written {
            self.way = Way::Changed;
        }
        &mut self.tally
    }
}

/// One kind of rollup.
#[derive(Debug)]
struct Shelf<K, T> {
    stretches: BTreeMap<Stretch, HashMap<K, Cell<T>>>,
}

impl<K, T> Default for Shelf<K, T> {
    fn default() -> Self {
        Self { stretches: BTreeMap::new() }
    }
}

impl<K: Clone + Eq + std::hash::Hash, T: Default> Shelf<K, T> {
    fn at(&mut self, start: i64, key: K) -> &mut T {
        self.stretches.entry((start, FINEST)).or_default().entry(key).or_default().touch()
    }

    /// Every rollup that the store has not got, as it is now; they count as tried from here on.
    fn due(&mut self, most: usize, mut take: impl FnMut(Stretch, &K, &T)) {
        let mut left = most;
        // What was tried before goes first: nothing else may happen to it until it is through.
        for tried in [true, false] {
            for (stretch, cells) in &mut self.stretches {
                for (key, cell) in cells.iter_mut() {
                    let wanted = match cell.way {
                        Way::Written => false,
                        Way::Tried | Way::Changed => tried,
                        Way::New => !tried,
                    };
                    if wanted && left > 0 {
                        left -= 1;
                        cell.way = Way::Tried;
                        take(*stretch, key, &cell.tally);
                    }
                }
            }
        }
    }

    fn written(&mut self, stretch: Stretch, key: &K, same: impl Fn(&T) -> bool) {
        if let Some(cell) = self.stretches.get_mut(&stretch).and_then(|cells| cells.get_mut(key)) {
            cell.way = if same(&cell.tally) { Way::Written } else { Way::Changed };
        }
    }

    /// Forgets what is old and written, and merges what is old and has never been tried.
    fn age(&mut self, now: i64, merge: impl Fn(&mut T, &T)) {
        let mut moved: Vec<(Stretch, K, T)> = Vec::new();
        let old: Vec<Stretch> =
            self.stretches.keys().copied().filter(|(start, _)| now - start > KEPT).collect();
        for stretch @ (start, seconds) in old {
            let coarser = COARSENED.iter().rev().find(|(age, _)| now - start > *age).map(|(_, to)| *to);
            let Some(cells) = self.stretches.get_mut(&stretch) else { continue };
            let keys: Vec<K> = cells.keys().cloned().collect();
            for key in keys {
                let leaves = match (cells[&key].way, coarser) {
                    (Way::Written, _) => true,
                    (Way::New, Some(to)) => to > seconds,
                    _ => false,
                };
                if let Some(cell) = leaves.then(|| cells.remove(&key)).flatten()
                    && cell.way == Way::New
                    && let Some(to) = coarser
                {
                    moved.push(((start - start.rem_euclid(to.into()), to), key, cell.tally));
                }
            }
            if cells.is_empty() {
                self.stretches.remove(&stretch);
            }
        }
        for (stretch, key, tally) in moved {
            let cell = self.stretches.entry(stretch).or_default().entry(key).or_default();
            merge(cell.touch(), &tally);
        }
    }

    fn waiting(&self) -> usize {
        let cells = self.stretches.values().flat_map(HashMap::values);
        cells.filter(|cell| cell.way != Way::Written).count()
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Recent {
    series: Vec<Series>,
    ids: HashMap<Series, SeriesId>,
    requests: Shelf<SeriesId, Tally>,
    limits: Shelf<Arc<str>, LimitTally>,
}

/// The rollups of one write, and how to recognise them when it has gone through.
#[derive(Clone, Debug, Default)]
pub struct Due {
    pub rollups: Vec<Rollup>,
    pub limits: Vec<LimitRollup>,
}

impl Recent {
    /// The number of a series.
    pub fn id(&mut self, series: &Series) -> SeriesId {
        if let Some(id) = self.ids.get(series) {
            return *id;
        }
        let id = self.series.len() as SeriesId;
        self.series.push(series.clone());
        self.ids.insert(series.clone(), id);
        id
    }

    /// The series of a number.
    pub fn series(&self, id: SeriesId) -> &Series {
        &self.series[id as usize]
    }

    /// What is counted of a series in the stretch around `second`, to be counted further.
    pub fn tally(&mut self, second: i64, id: SeriesId) -> &mut Tally {
        self.requests.at(second - second.rem_euclid(FINEST.into()), id)
    }

    /// The same of a rate limit.
    pub fn limit(&mut self, second: i64, rule: &Arc<str>) -> &mut LimitTally {
        self.limits.at(second - second.rem_euclid(FINEST.into()), rule.clone())
    }

    /// Rollups that the store has not got, at most about `most`.
    pub fn due(&mut self, most: usize) -> Due {
        let (mut due, series) = (Due::default(), &self.series);
        self.requests.due(most, |(start, seconds), id, tally| {
            let series = series[*id as usize].clone();
            due.rollups.push(Rollup { start, seconds, series, tally: tally.clone() });
        });
        self.limits.due(most, |(start, seconds), rule, tally| {
            due.limits.push(LimitRollup { start, seconds, rule: rule.clone(), tally: *tally });
        });
        due
    }

    /// A write has gone through.
    pub fn written(&mut self, due: &Due) {
        for rollup in &due.rollups {
            if let Some(id) = self.ids.get(&rollup.series) {
                let same = |tally: &Tally| tally.requests == rollup.tally.requests;
                self.requests.written((rollup.start, rollup.seconds), id, same);
            }
        }
        for rollup in &due.limits {
            let same = |tally: &LimitTally| *tally == rollup.tally;
            self.limits.written((rollup.start, rollup.seconds), &rollup.rule, same);
        }
    }

    /// Keeps the memory within bounds. `keep_waiting` = there is a store that what is not written waits for.
    pub fn age(&mut self, now: i64, keep_waiting: bool) {
        if keep_waiting {
            self.requests.age(now, Tally::merge);
            self.limits.age(now, LimitTally::merge);
        } else {
            let old = |(start, _): &Stretch| now - start > KEPT;
            self.requests.stretches.retain(|stretch, _| !old(stretch));
            self.limits.stretches.retain(|stretch, _| !old(stretch));
        }
    }

    /// Rollups that the store has not got.
    pub fn waiting(&self) -> usize {
        self.requests.waiting() + self.limits.waiting()
    }

    /// Every rollup that overlaps the seconds `from..to`.
    pub fn within(&self, from: i64, to: i64) -> Due {
        let overlaps = |(start, seconds): &Stretch| *start < to && start + i64::from(*seconds) > from;
        let mut due = Due::default();
        for (stretch @ (start, seconds), cells) in &self.requests.stretches {
            if overlaps(stretch) {
                due.rollups.extend(cells.iter().map(|(id, cell)| Rollup {
                    start: *start,
                    seconds: *seconds,
                    series: self.series[*id as usize].clone(),
                    tally: cell.tally.clone(),
                }));
            }
        }
        for (stretch @ (start, seconds), cells) in &self.limits.stretches {
            if overlaps(stretch) {
                due.limits.extend(cells.iter().map(|(rule, cell)| LimitRollup {
                    start: *start,
                    seconds: *seconds,
                    rule: rule.clone(),
                    tally: cell.tally,
                }));
            }
        }
        due
    }

    /// What the rollups that begin in the seconds `from..to` come to, of one backend or of all.
    pub fn sum(&self, from: i64, to: i64, backend: Option<&str>) -> Tally {
        let mut sum = Tally::default();
        let wanted = |id: SeriesId| backend.is_none_or(|name| *self.series[id as usize].backend == *name);
        for (_, cells) in self.requests.stretches.range((from, 0)..(to, 0)) {
            cells.iter().filter(|(id, _)| wanted(**id)).for_each(|(_, cell)| sum.merge(&cell.tally));
        }
        sum
    }

    /// Stretches in memory, for tests and the status page.
    pub fn stretches(&self) -> BTreeSet<Stretch> {
        self.requests.stretches.keys().chain(self.limits.stretches.keys()).copied().collect()
    }
}

const _: () = assert!(RESOLUTIONS[1] == COARSENED[0].1 && RESOLUTIONS[3] == COARSENED[2].1);
