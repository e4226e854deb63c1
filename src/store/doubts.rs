//! Which rows of this process may still be written again, and so must not be merged yet.
//!
//! A row is settled when its stretch of time has been over for a while and the last write of it was acknowledged. A write
//! whose outcome is not known leaves its rows in doubt, until a later write of the same rows is acknowledged: the first
//! one may or may not be in the database, and merging it would count it twice.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use aegis_actors::metrics_aggregator::{Batch, Writer};

/// Seconds after its end for which a row may still be written although it was acknowledged: late requests, clocks.
pub(super) const GRACE: i64 = 60;

/// A row is in doubt for so many seconds at most. Who has not repeated it by then never will.
const FORGET: i64 = 8 * 86_400;

/// One row's key, hashed; its end.
pub(super) type Doubt = (u64, i64);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    hasher: RandomState,
    writers: HashMap<Writer, Standing>,
}

#[derive(Debug, Default)]
struct Standing {
    /// The last attempt's number.
    attempt: i64,
    /// Rows in doubt, each with its end.
    rows: HashMap<u64, i64>,
}

impl Doubts {
    /// Notes a write that is about to be tried: its number, and up to when everything of the writer is settled even if the
    /// write succeeds without anybody learning of it. `doubts` are its rows.
    pub fn attempt(&mut self, writer: &Writer, doubts: &[Doubt], now: i64, now_us: i64) -> (i64, i64) {
        let standing = self.writers.entry(writer.clone()).or_default();
        // From the clock, so that a second store of the same process does not start over.
        standing.attempt = now_us.max(standing.attempt + 1);
        standing.rows.extend(doubts.iter().copied());
        self.standing(writer, now)
    }

    /// The number of the last attempt, and up to when everything of the writer is settled.
    pub fn standing(&mut self, writer: &Writer, now: i64) -> (i64, i64) {
        let Standing { attempt, rows } = self.writers.entry(writer.clone()).or_default();
        rows.retain(|_, end| *end > now - FORGET);
        let first = rows.values().min().map_or(i64::MAX, |end| end - 1);
        (*attempt, first.min(now - GRACE))
    }

    /// The rows are known to be written.
    pub fn acknowledged(&mut self, writer: &Writer, doubts: &[Doubt]) {
        let Some(standing) = self.writers.get_mut(writer) else { return };
        for (row, _) in doubts {
            standing.rows.remove(row);
        }
    }

    /// Who wrote so far.
    pub fn writers(&self) -> Vec<Writer> {
        self.writers.keys().cloned().collect()
    }

    /// The rows of a batch.
    pub fn of(&self, batch: &Batch) -> Vec<Doubt> {
        let rollups = batch.rollups.iter().map(|rollup| {
            let row = self.hasher.hash_one((rollup.start, rollup.seconds, &rollup.series));
            (row, rollup.start + i64::from(rollup.seconds))
        });
        rollups.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer() -> Writer {
        Writer { instance: "a".into(), boot: "1".into() }
    }

    #[test]
    fn a_row_is_settled_one_write_after_it_was_acknowledged() {
        let mut doubts = Doubts::default();
        assert_eq!(doubts.attempt(&writer(), &[(1, 1000)], 2000, 5), (5, 999));
        doubts.acknowledged(&writer(), &[(1, 1000)]);
        assert_eq!(doubts.attempt(&writer(), &[(2, 2000)], 2005, 5), (6, 1945));
    }

    #[test]
    fn what_failed_holds_back_until_it_was_written_or_forgotten() {
        let mut doubts = Doubts::default();
        doubts.attempt(&writer(), &[(1, 1000)], 1000, 1);
        assert_eq!(doubts.attempt(&writer(), &[(2, 4000)], 4000, 2).1, 999);
        doubts.acknowledged(&writer(), &[(2, 4000)]);
        assert_eq!(doubts.attempt(&writer(), &[(1, 1000), (3, 5000)], 5000, 3).1, 999);
        doubts.acknowledged(&writer(), &[(1, 1000), (3, 5000)]);
        assert_eq!(doubts.attempt(&writer(), &[], 6000, 4).1, 6000 - GRACE);

        doubts.attempt(&writer(), &[(4, 7000)], 7000, 5);
        assert_eq!(doubts.attempt(&writer(), &[], 7000 + FORGET, 6).1, 7000 + FORGET - GRACE);
    }

    #[test]
    fn writers_do_not_hold_back_each_other() {
        let mut doubts = Doubts::default();
        let other = Writer { boot: "2".into(), ..writer() };
        doubts.attempt(&writer(), &[(1, 1000)], 1000, 1);
        assert_eq!(doubts.attempt(&other, &[], 9000, 1).1, 9000 - GRACE);
        assert_eq!(doubts.writers().len(), 2);
    }
}
