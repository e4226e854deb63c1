//! What may be merged, and into what.

use std::collections::HashMap;

use aegis_actors::metrics_aggregator::Tally;
use diesel::prelude::Queryable;

use super::plan::{LEVELS, Since, floor};
use super::rows::{RollupRow, SeriesKey, scope};

/// A writer that is silent for so many seconds, while a later start of the same instance writes, has ended.
const REPLACED: i64 = 600;
/// One that is silent for so many seconds has ended: it is not merely cut off from the database.
const GONE: i64 = 7 * 86_400;

/// One row of `writers`.
#[derive(Clone, Debug, Queryable)]
pub(super) struct WriterRow {
    pub instance: String,
    pub boot: String,
    pub attempt: i64,
    pub settled: i64,
    pub seen: i64,
}

/// Every writer, and up to which end its rows are settled. Those that have ended write nothing more.
pub(super) fn settled(all: &[WriterRow], now: i64) -> Vec<(&WriterRow, i64)> {
    let newest: HashMap<&str, i64> = all.iter().fold(HashMap::new(), |mut newest, writer| {
        let seen = newest.entry(writer.instance.as_str()).or_insert(i64::MIN);
        *seen = writer.seen.max(*seen);
        newest
    });
    let settled = |writer: &WriterRow| {
        let silent = now - writer.seen;
        let replaced = newest.get(writer.instance.as_str()).is_some_and(|seen| *seen > writer.seen);
        let ended = silent > GONE || (replaced && silent > REPLACED);
        if ended { i64::MAX } else { writer.settled }
    };
    all.iter().map(|writer| (writer, settled(writer))).collect()
}

/// Whether a writer has ended so long ago that nothing will ever ask for it.
pub(super) fn gone(writer: &WriterRow, now: i64) -> bool {
    now - writer.seen > GONE
}

/// Where a row that starts at `start` goes: the level and the merged row's begin, once for every level that still has rows of
/// that time.
fn starts(start: i64, since: &Since) -> impl Iterator<Item = (usize, i64)> {
    LEVELS.into_iter().enumerate().filter_map(move |(level, seconds)| {
        let at = floor(start, i64::from(seconds));
        (at >= since[level]).then_some((level, at))
    })
}

/// Sums of rows by level, series and begin; those of whole backends and of everything among them.
pub(super) fn spread(rows: &[RollupRow], since: &Since) -> HashMap<(usize, SeriesKey, i64), Tally> {
    let mut sums: HashMap<(usize, SeriesKey, i64), Tally> = HashMap::new();
    for row in rows {
        let tally = row.tally();
        let key = row.key();
        let without = |scope, backend: &str| SeriesKey {
            instance: key.instance.clone(),
            scope,
            route: String::new(),
            backend: backend.to_owned(),
            method: String::new(),
            class: key.class,
        };
        for key in [without(scope::EVERYTHING, ""), without(scope::BACKEND, &key.backend), key.clone()] {
            for (level, at) in starts(row.start, since) {
                sums.entry((level, key.clone(), at)).or_default().merge(&tally);
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(instance: &str, boot: &str, settled: i64, seen: i64) -> WriterRow {
        WriterRow { instance: instance.into(), boot: boot.into(), attempt: 1, settled, seen }
    }

    #[test]
    fn a_writer_says_itself_what_is_settled_until_it_has_ended() {
        let now = 10_000_000;
        let all = [
            writer("a", "old", 1, now - REPLACED - 1),
            writer("a", "new", 2, now),
            writer("b", "slow", 3, now - REPLACED),
            writer("b", "other", 4, now - 1),
            writer("c", "alone", 5, now - GONE),
            writer("d", "gone", 6, now - GONE - 1),
        ];
        let settled: Vec<i64> = settled(&all, now).into_iter().map(|(_, settled)| settled).collect();
        assert_eq!(settled, [i64::MAX, 2, 3, 4, 5, i64::MAX]);
        assert!(gone(&all[5], now) && !gone(&all[4], now));
    }

    #[test]
    fn a_row_goes_where_rows_of_its_time_are_kept() {
        let levels = |start| {
            let starts = starts(start, &[6_000, 6_000, 0, 0, 0]);
            starts.map(|(level, at)| (LEVELS[level], at)).collect::<Vec<_>>()
        };
        assert_eq!(levels(6_010), [(10, 6_010), (60, 6_000), (600, 6_000), (3_600, 3_600), (86_400, 0)]);
        assert_eq!(levels(5_990), [(600, 5_400), (3_600, 3_600), (86_400, 0)]);
    }
}
