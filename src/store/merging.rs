//! What rows are merged into.

use std::collections::HashMap;

use aegis_actors::metrics_aggregator::Tally;

use super::plan::{LEVELS, Since, floor};
use super::rows::{RollupRow, SeriesKey, scope};

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
