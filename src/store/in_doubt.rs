//! Which rows of this process may still be written again, and so must not be merged yet.
//!
//! A row is committed when its stretch of time has been over for a while and the last write of it was acknowledged. A write
//! whose outcome is not known leaves its rows in doubt, until a later write of the same rows is acknowledged: the first
//! one may or may not be in the database, and merging it would count it twice.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use aegis_actors::metrics_aggregator::{Batch, Writer};

use super::pace::Pace;

/// A row is in doubt for eight days at most: a writer that has not repeated it by then never will.
const FORGET: Duration = Duration::from_secs(8 * 86_400);

/// One row's key, hashed; its end.
pub(super) type RowInDoubt = (u64, i64);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct InDoubt {
    hasher: RandomState,
    writers: HashMap<Writer, Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    /// The last attempt's number.
    attempt: i64,
    /// Rows in doubt, each with its end and when it was last tried.
    rows: HashMap<u64, (i64, Instant)>,
}

impl InDoubt {
    /// Notes a write that is about to be tried: its number, and up to when everything of the writer is committed even if the
    /// write succeeds without anybody learning of it. `in_doubt` are its rows.
    pub fn attempt(&mut self, writer: &Writer, in_doubt: &[RowInDoubt], by: &Pace) -> (i64, i64) {
        let progress = self.writers.entry(writer.clone()).or_default();
        // From the clock, so that a second store of the same process does not start over.
        progress.attempt = by.now().saturating_mul(1_000_000).max(progress.attempt + 1);
        progress.rows.extend(in_doubt.iter().map(|(row, end)| (*row, (*end, by.at()))));
        self.progress(writer, by)
    }

    /// The number of the last attempt, and up to when everything of the writer is committed.
    pub fn progress(&mut self, writer: &Writer, by: &Pace) -> (i64, i64) {
        let Progress { attempt, rows } = self.writers.entry(writer.clone()).or_default();
        rows.retain(|_, (_, tried)| by.at().saturating_duration_since(*tried) < FORGET);
        let first = rows.values().map(|(end, _)| end - 1).min().unwrap_or(i64::MAX);
        (*attempt, first.min(by.over()))
    }

    /// The rows are known to be written.
    pub fn acknowledged(&mut self, writer: &Writer, in_doubt: &[RowInDoubt]) {
        let Some(progress) = self.writers.get_mut(writer) else { return };
        for (row, _) in in_doubt {
            progress.rows.remove(row);
        }
    }

    /// The writers so far.
    pub fn writers(&self) -> Vec<Writer> {
        self.writers.keys().cloned().collect()
    }

    /// The rows of a batch.
    pub fn of(&self, batch: &Batch) -> Vec<RowInDoubt> {
        let rollups = batch.rollups.iter().map(|rollup| {
            let row = self.hasher.hash_one((rollup.start, rollup.seconds, &rollup.series));
            (row, rollup.start + i64::from(rollup.seconds))
        });
        rollups.collect()
    }
}

#[cfg(test)]
mod tests {
    use aegis_actors::Reading;

    use super::*;

    const GRACE: i64 = 60;

    fn writer() -> Writer {
        Writer { instance: "a".into(), boot: "1".into() }
    }

    /// A clock that is set to Unix seconds, as time goes.
    struct Clock(Instant, Pace);

    impl Clock {
        fn new() -> Self {
            let at = Instant::now();
            Self(at, Pace::new(Reading { wall: 0, at }))
        }

        fn at(&mut self, seconds: i64) -> &Pace {
            self.1.note(Reading { wall: seconds * 1_000, at: self.0 + Duration::from_secs(seconds as u64) });
            &self.1
        }
    }

    #[test]
    fn a_row_is_committed_one_write_after_it_was_acknowledged() {
        let (mut in_doubt, mut clock) = (InDoubt::default(), Clock::new());
        assert_eq!(in_doubt.attempt(&writer(), &[(1, 1000)], clock.at(2000)), (2_000_000_000, 999));
        in_doubt.acknowledged(&writer(), &[(1, 1000)]);
        assert_eq!(in_doubt.attempt(&writer(), &[(2, 2000)], clock.at(2005)), (2_005_000_000, 1945));
        // Within the same second, and when the clock was set back.
        assert_eq!(in_doubt.attempt(&writer(), &[(2, 2000)], clock.at(2005)).0, 2_005_000_001);
    }

    #[test]
    fn what_failed_holds_back_until_it_was_written_or_forgotten() {
        let (mut in_doubt, mut clock) = (InDoubt::default(), Clock::new());
        in_doubt.attempt(&writer(), &[(1, 1000)], clock.at(1000));
        assert_eq!(in_doubt.attempt(&writer(), &[(2, 4000)], clock.at(4000)).1, 999);
        in_doubt.acknowledged(&writer(), &[(2, 4000)]);
        assert_eq!(in_doubt.attempt(&writer(), &[(1, 1000), (3, 5000)], clock.at(5000)).1, 999);
        in_doubt.acknowledged(&writer(), &[(1, 1000), (3, 5000)]);
        assert_eq!(in_doubt.attempt(&writer(), &[], clock.at(6000)).1, 6000 - GRACE);

        in_doubt.attempt(&writer(), &[(4, 7000)], clock.at(7000));
        let later = 7000 + FORGET.as_secs() as i64;
        assert_eq!(in_doubt.attempt(&writer(), &[], clock.at(later - 1)).1, 6999);
        assert_eq!(in_doubt.attempt(&writer(), &[], clock.at(later)).1, later - GRACE);
    }

    #[test]
    fn a_clock_that_is_set_forward_commits_no_row_in_doubt() {
        let (mut in_doubt, mut clock) = (InDoubt::default(), Clock::new());
        in_doubt.attempt(&writer(), &[(1, 1000)], clock.at(1000));
        let at = clock.0 + Duration::from_secs(1_100);
        clock.1.note(Reading { wall: 40 * 86_400_000, at });
        assert_eq!(in_doubt.attempt(&writer(), &[], &clock.1).1, 999);
    }

    #[test]
    fn writers_do_not_hold_back_each_other() {
        let (mut in_doubt, mut clock) = (InDoubt::default(), Clock::new());
        let other = Writer { boot: "2".into(), ..writer() };
        in_doubt.attempt(&writer(), &[(1, 1000)], clock.at(1000));
        assert_eq!(in_doubt.attempt(&other, &[], clock.at(9000)).1, 9000 - GRACE);
        assert_eq!(in_doubt.writers().len(), 2);
    }
}
