//! Buckets that take more than a word: logs on the heap by key, in a map that all workers share.

use std::hash::BuildHasherDefault;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::buckets::Population;
use super::key::{AsIs, GROUPS, group};
use super::sliding_window::SlidingWindow;

/// See the module.
pub struct Logs {
    map: papaya::HashMap<u64, LogCell, BuildHasherDefault<AsIs>>,
    /// What keys share for which there is no room, by their [group].
    overflow: Box<[LogCell]>,
}

impl Logs {
    /// No buckets yet.
    pub fn new() -> Self {
        Self { map: papaya::HashMap::default(), overflow: (0..GROUPS).map(|_| LogCell::fresh()).collect() }
    }

    /// As [`super::words::Words::replace`].
    pub fn replace<T, E>(
        &self,
        population: &Population,
        key: u64,
        mut change: impl FnMut(&SlidingWindow) -> Result<(SlidingWindow, T), E>,
    ) -> Result<T, E> {
        let map = self.map.pin();
        loop {
            let cell = match map.get(&key) {
                Some(cell) => cell,
                None if !population.join(self.len()) => &self.overflow[group(key)],
                None => match map.try_insert(key, LogCell::fresh()) {
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

    /// How many there are.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Looks at the log of a key; the first one where it has none.
    pub fn read<T>(&self, key: u64, look: impl Fn(&SlidingWindow) -> T) -> T {
        let map = self.map.pin();
        map.get(&key).and_then(|cell| cell.read(&look)).unwrap_or_else(|| look(&SlidingWindow::default()))
    }

    /// Looks at every log.
    pub fn each(&self, mut look: impl FnMut(&SlidingWindow)) {
        for cell in self.map.pin().values() {
            let _ = cell.read(&mut look);
        }
    }

    /// The same as [`Logs::remove`]: one log goes as cheaply as many.
    pub fn sweep(&self, population: &Population, such: impl Fn(&SlidingWindow) -> bool) -> usize {
        self.remove(population, such)
    }

    /// Takes out all logs.
    pub fn clear(&self, population: &Population) {
        self.remove(population, |_| true);
    }

    /// Takes out the logs that are such. Answers how many.
    pub fn remove(&self, population: &Population, such: impl Fn(&SlidingWindow) -> bool) -> usize {
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

fn is_retired(cell: &LogCell) -> bool {
    cell.read(|_| ()).is_none()
}

/// One log, swapped whole; `None` = retired: it is about to leave the map. Whoever finds it there takes it out and begins a
/// new one, so that no charge is lost with it.
struct LogCell(ArcSwap<Option<SlidingWindow>>);

impl LogCell {
    fn fresh() -> Self {
        Self(ArcSwap::from_pointee(Some(SlidingWindow::default())))
    }

    /// Replaces the log by what `change` makes of it; its error leaves it as it is. `None` when the cell is retired.
    fn replace<T, E>(
        &self,
        mut change: impl FnMut(&SlidingWindow) -> Result<(SlidingWindow, T), E>,
    ) -> Option<Result<T, E>> {
        loop {
            let seen = self.0.load();
            let (after, answer) = match change(seen.as_ref().as_ref()?) {
                Ok(changed) => changed,
                Err(error) => return Some(Err(error)),
            };
            let found = self.0.compare_and_swap(&*seen, Arc::new(Some(after)));
            if Arc::ptr_eq(&found, &seen) {
                return Some(Ok(answer));
            }
        }
    }

    /// Reads the log. `None` when the cell is retired.
    fn read<T>(&self, look: impl FnOnce(&SlidingWindow) -> T) -> Option<T> {
        self.0.load().as_ref().as_ref().map(look)
    }

    /// Retires the cell if its log is such; answers whether it has been retired, now or before.
    fn retire_if(&self, such: impl Fn(&SlidingWindow) -> bool) -> bool {
        let seen = self.0.load();
        match seen.as_ref() {
            None => true,
            Some(state) if such(state) => {
                Arc::ptr_eq(&self.0.compare_and_swap(&*seen, Arc::new(None)), &seen)
            }
            Some(_) => false,
        }
    }
}
