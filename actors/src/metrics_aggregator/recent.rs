//! The rollups that are in memory: the last quarter of an hour, and whatever the store has not got yet.
//!
//! While the store is away, what waits for it is merged into coarser rollups as it gets older, and after a week of that
//! the oldest goes, so that the memory is bounded by the number of series and not by the time. A rollup whose write is under way, or
//! may have gone through unheard, is left as it is: the next write replaces it, and merged it would be counted twice.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::rollup::{FINEST, RESOLUTIONS, Rollup, Series, Tally};

/// Seconds that rollups stay in memory whatever the store has.
pub const IN_MEMORY_SECONDS: i64 = 15 * 60;

/// Nothing waits for the store for longer, in seconds.
const LONGEST_WAIT: i64 = 7 * 86_400;

/// Age in seconds from which on what waits is merged into the resolution.
const COARSENED: [(i64, u32); 3] = [(IN_MEMORY_SECONDS, 60), (2 * 3600, 600), (12 * 3600, 3600)];

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
struct Cell {
    tally: Tally,
    way: Way,
}

impl Cell {
    fn touch(&mut self) -> &mut Tally {
        if self.way == Way::Written {
            self.way = Way::Changed;
        }
        &mut self.tally
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Recent {
    series: Vec<Series>,
    ids: HashMap<Series, SeriesId>,
    stretches: BTreeMap<Stretch, HashMap<SeriesId, Cell>>,
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
        let start = second - second.rem_euclid(FINEST.into());
        self.stretches.entry((start, FINEST)).or_default().entry(id).or_default().touch()
    }

    /// Rollups that the store has not got, as they are now, at most `most`; they count as tried from here on.
    pub fn due(&mut self, most: usize) -> Vec<Rollup> {
        let mut due = Vec::new();
        // What was tried before goes first: nothing else may happen to it until it is through.
        for tried in [true, false] {
            for (stretch, cells) in &mut self.stretches {
                for (id, cell) in cells {
                    let wanted = match cell.way {
                        Way::Written => false,
                        Way::Tried | Way::Changed => tried,
                        Way::New => !tried,
                    };
                    if wanted && due.len() < most {
                        cell.way = Way::Tried;
                        due.push(rollup(*stretch, &self.series[*id as usize], &cell.tally));
                    }
                }
            }
        }
        due
    }

    /// A write of these has gone through.
    pub fn written(&mut self, due: &[Rollup]) {
        for rollup in due {
            let Some(id) = self.ids.get(&rollup.series) else { continue };
            let cells = self.stretches.get_mut(&(rollup.start, rollup.seconds));
            if let Some(cell) = cells.and_then(|cells| cells.get_mut(id)) {
                // Nothing is counted without a request.
                let same = cell.tally.requests == rollup.tally.requests;
                cell.way = if same { Way::Written } else { Way::Changed };
            }
        }
    }

    /// Keeps the memory within bounds. `waiting`: for how many seconds the store has taken nothing; `None` = there is none.
    /// Answers how many requests it has waited for in vain with.
    pub fn age(&mut self, now: i64, waiting: Option<u64>) -> u64 {
        let Some(waiting) = waiting else {
            self.stretches.retain(|(start, _), _| (now - start).abs() <= IN_MEMORY_SECONDS);
            return 0;
        };
        // A clock that is set forward makes nothing wait longer.
        let mut lost = 0;
        let in_vain = waiting > LONGEST_WAIT.unsigned_abs();
        while let Some(oldest) =
            self.stretches.first_entry().filter(|o| in_vain && now - o.key().0 > LONGEST_WAIT)
        {
            let waiting = oldest.remove().into_values().filter(|cell| cell.way != Way::Written);
            lost += waiting.map(|cell| cell.tally.requests).sum::<u64>();
        }
        self.coarsen(now);
        lost
    }

    /// Forgets what is old and written, or of a time to come that the clock has been set back from, and merges what is old and has never been tried.
    fn coarsen(&mut self, now: i64) {
        let mut moved: Vec<(Stretch, SeriesId, Tally)> = Vec::new();
        let old: Vec<Stretch> = self
            .stretches
            .keys()
            .copied()
            .filter(|(start, _)| (now - start).abs() > IN_MEMORY_SECONDS)
            .collect();
        for stretch @ (start, seconds) in old {
            let coarser = COARSENED.iter().rev().find(|(age, _)| now - start > *age).map(|(_, to)| *to);
            let Some(cells) = self.stretches.get_mut(&stretch) else { continue };
            let ids: Vec<SeriesId> = cells.keys().copied().collect();
            for id in ids {
                let leaves = match (cells[&id].way, coarser) {
                    (Way::Written, _) => true,
                    (Way::New, Some(to)) => to > seconds,
                    _ => false,
                };
                if let Some(cell) = leaves.then(|| cells.remove(&id)).flatten()
                    && cell.way == Way::New
                    && let Some(to) = coarser
                {
                    moved.push(((start - start.rem_euclid(to.into()), to), id, cell.tally));
                }
            }
            if cells.is_empty() {
                self.stretches.remove(&stretch);
            }
        }
        for (stretch, id, tally) in moved {
            let cell = self.stretches.entry(stretch).or_default().entry(id).or_default();
            cell.touch().merge(&tally);
        }
    }

    /// How many rollups the store has not got.
    pub fn waiting(&self) -> usize {
        let cells = self.stretches.values().flat_map(HashMap::values);
        cells.filter(|cell| cell.way != Way::Written).count()
    }

    /// Every rollup that overlaps the seconds `from..to`.
    pub fn within(&self, from: i64, to: i64) -> Vec<Rollup> {
        let overlaps = |(start, seconds): &Stretch| *start < to && start + i64::from(*seconds) > from;
        let stretches = self.stretches.iter().filter(|(stretch, _)| overlaps(stretch));
        let cells = stretches.flat_map(|(stretch, cells)| cells.iter().map(move |cell| (stretch, cell)));
        cells.map(|(stretch, (id, cell))| rollup(*stretch, self.series(*id), &cell.tally)).collect()
    }

    /// What the rollups that begin in the seconds `from..to` come to, of one backend or of all.
    pub fn sum(&self, from: i64, to: i64, backend: Option<&str>) -> Tally {
        let mut sum = Tally::default();
        let wanted = |id: SeriesId| backend.is_none_or(|name| *self.series[id as usize].backend == *name);
        for (_, cells) in self.stretches.range((from, 0)..(to, 0)) {
            cells.iter().filter(|(id, _)| wanted(**id)).for_each(|(_, cell)| sum.merge(&cell.tally));
        }
        sum
    }

    /// Stretches in memory, for tests and the status page.
    pub fn stretches(&self) -> BTreeSet<Stretch> {
        self.stretches.keys().copied().collect()
    }
}

fn rollup((start, seconds): Stretch, series: &Series, tally: &Tally) -> Rollup {
    Rollup { start, seconds, series: series.clone(), tally: tally.clone() }
}

const _: () = assert!(RESOLUTIONS[1] == COARSENED[0].1 && RESOLUTIONS[3] == COARSENED[2].1);
