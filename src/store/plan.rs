//! Which stored rows a question about a range of time needs: of every stretch the coarsest that answer it exactly.

/// Seconds that merged rows cover, finest first. Each divides the next, so that rows never straddle a coarser one's border.
pub(super) const LEVELS: [i32; 5] = [10, 60, 600, 3_600, DAY];

/// The coarsest level, which spares long ranges most of their rows.
pub(super) const DAY: i32 = 86_400;

/// How long rows of each level are kept, seconds; `None` = as long as anything. So a range of an hour can be told in steps
/// of 10 s, one of six hours by the minute, one of a day in steps of ten minutes.
pub(super) const LEVEL_RETENTION: [Option<i64>; 5] =
    [Some(2 * 3_600), Some(8 * 3_600), Some(2 * 86_400), None, None];

/// Seconds of the finest rows that are kept of a time so many seconds ago.
pub fn finest(age: i64) -> i64 {
    let kept = |level: &usize| LEVEL_RETENTION[*level].is_none_or(|kept| age <= kept);
    i64::from(LEVELS[(0..LEVELS.len()).find(kept).unwrap_or(LEVELS.len() - 1)])
}

/// From when on the rows of each level are complete, Unix seconds.
pub(super) type Since = [i64; 5];

/// Times that decide what is too old, Unix seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// By this process's clock.
    pub now: i64,
    /// The earliest on any clock that is to be reckoned with: nobody's rows are dropped by somebody else's clock.
    pub earliest: i64,
    /// The latest.
    pub latest: i64,
    /// How old anything may get.
    pub retention: i64,
}

/// What came of moving the borders.
pub(super) enum Shortened {
    /// From when on each level is complete now.
    To(Vec<(i32, i64)>),
    /// So much later than at the last time is not believed yet.
    Unconfirmed,
    /// Another instance is at it.
    Elsewhere,
}

/// Rows of one level whose start is in `[from, to)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub level: usize,
    pub from: i64,
    pub to: i64,
}

/// Begin of the stretch of `seconds` that a time is in.
pub(super) fn floor(time: i64, seconds: i64) -> i64 {
    time.div_euclid(seconds).saturating_mul(seconds)
}

fn ceiling(time: i64, seconds: i64) -> i64 {
    floor(time.saturating_add(seconds - 1), seconds)
}

/// The stretches that make up `[from, to)`, in order and without overlap. A row counts when it starts in the range.
///
/// `bucket`: the answer is told apart by buckets of so many seconds, and no row may straddle two; `None` = it is one sum.
/// Where only coarser rows are left, a row counts for the bucket that it starts in. `now`: nothing is stored beyond, so a
/// range that reaches it may take rows whose time is not over yet.
pub(super) fn stretches(from: i64, to: i64, bucket: Option<i64>, since: &Since, now: i64) -> Vec<Stretch> {
    let seconds = |level: usize| i64::from(LEVELS[level]);
    let end = if to > now { i64::MAX } else { to };
    // Clocks of other instances may be ahead.
    let to = to.min(now.saturating_add(i64::from(DAY)));
    // Nothing is older than the oldest complete level.
    let first = since.iter().copied().min().unwrap_or(i64::MIN);
    let mut at = from.max(first);
    let mut plan: Vec<Stretch> = Vec::new();
    while at < to {
        let exact = (0..LEVELS.len()).rev().find(|level| {
            let seconds = seconds(*level);
            since[*level] <= at
                && at.rem_euclid(seconds) == 0
                && at.saturating_add(seconds) <= end
                && bucket.is_none_or(|bucket| bucket % seconds == 0)
        });
        // Where a level's next row starts.
        let next = |level: usize| ceiling(at.max(since[level]), seconds(level));
        let soonest = || (0..LEVELS.len()).min_by_key(|level| next(*level));
        let Some(level) = exact.or_else(soonest) else { break };
        let start = if exact.is_some() { at } else { next(level) };
        if start >= to {
            break;
        }
        // On to where a coarser level may begin; when there is none, as far as this one goes.
        let coarser =
            (level + 1..LEVELS.len()).find(|level| bucket.is_none_or(|bucket| bucket % seconds(*level) == 0));
        let next = coarser.map_or(i64::MAX, |coarser| ceiling(start + 1, seconds(coarser)));
        at = match exact {
            Some(_) => {
                floor(next.min(if to > now { ceiling(to, seconds(level)) } else { to }), seconds(level))
            }
            None => start.saturating_add(seconds(level)),
        };
        match plan.last_mut() {
            Some(last) if last.level == level && last.to == start => last.to = at,
            _ => plan.push(Stretch { level, from: start, to: at }),
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const T: i64 = 1_700_006_400; // a midnight

    fn told(plan: &[Stretch]) -> Vec<(i32, i64, i64)> {
        plan.iter().map(|s| (LEVELS[s.level], s.from - T, s.to - T)).collect()
    }

    #[test]
    fn whole_days_are_read_as_days_and_the_rest_in_finer_steps() {
        let since = [T, T, T, T, T];
        let plan = stretches(T + 3_590, T + 2 * 86_400 + 3_670, None, &since, i64::MAX);
        let expected = [
            (10, 3_590, 3_600),
            (3_600, 3_600, 86_400),
            (86_400, 86_400, 172_800),
            (3_600, 172_800, 176_400),
            (60, 176_400, 176_460),
            (10, 176_460, 176_470),
        ];
        assert_eq!(told(&plan), expected);
    }

    #[test]
    fn a_range_that_reaches_the_present_takes_the_day_as_it_is() {
        let plan = stretches(T, T + 90_000, None, &[T; 5], T + 89_995);
        assert_eq!(told(&plan), [(86_400, 0, 172_800)]);
        let plan = stretches(T, T + 90_000, Some(3_600), &[T; 5], T + 89_995);
        assert_eq!(told(&plan), [(3_600, 0, 90_000)]);
    }

    #[test]
    fn finer_rows_that_begin_before_the_next_coarse_one_are_read() {
        let since = [T + 4_000, T + 4_000, T + 7_200, T, T];
        let plan = stretches(T + 3_700, T + 9_000, Some(600), &since, i64::MAX);
        assert_eq!(told(&plan), [(10, 4_000, 4_020), (60, 4_020, 7_200), (600, 7_200, 9_000)]);
        // A level that is said to be complete only in times to come keeps nobody from the others.
        let ahead = T + 40 * 86_400;
        let plan = stretches(T, T + 90, Some(10), &[T, ahead, ahead, ahead, ahead], T + 100);
        assert_eq!(told(&plan), [(10, 0, 90)]);
    }

    #[test]
    fn where_only_coarse_rows_are_left_those_count_that_start_in_the_range() {
        let since = [T + 86_400, T + 86_400, T + 86_400, T, T];
        let plan = stretches(T + 1_800, T + 9_000, Some(60), &since, i64::MAX);
        assert_eq!(told(&plan), [(3_600, 3_600, 10_800)]);
        assert_eq!(stretches(T + 100, T + 200, Some(10), &since, i64::MAX), []);
        assert_eq!(stretches(T - 900_000, T - 800_000, None, &since, i64::MAX), []);
        assert_eq!(stretches(T, T, None, &since, i64::MAX), []);
    }

    proptest! {
        /// Rows of 10 s at every level: whatever was dropped, a question with borders that fit is answered the same.
        #[test]
        fn every_row_is_read_exactly_once(
            from in 0_i64..3_000, length in 0_i64..3_000, bucket in prop::option::of(prop::sample::select(vec![1_i64, 6, 60, 360, 8640])),
            dropped in 0_usize..3, upto in 0_i64..50, now in 0_i64..60_000,
        ) {
            let steps = [6, 60, 360, 8640];
            let coarse = i64::from(LEVELS[dropped]);
            // Borders in units of what is left.
            let (from, to) = (T + floor(from * 10, coarse), T + floor((from + length) * 10, coarse));
            let bucket = bucket.map(|bucket| (bucket * 10).max(coarse));
            prop_assume!(bucket.is_none_or(|bucket| bucket % coarse == 0));
            let mut since = [T; 5];
            since[..dropped].fill(T + upto * steps[dropped.saturating_sub(1)] * 10);
            let now = T + now * 10;
            let plan = stretches(from, to, bucket, &since, now);
            let mut counted = std::collections::HashMap::new();
            for stretch in &plan {
                prop_assert!(since[stretch.level] <= stretch.from);
                let seconds = i64::from(LEVELS[stretch.level]);
                prop_assert_eq!((stretch.from % seconds, stretch.to % seconds), (0, 0));
                for at in (stretch.from..stretch.to.min(from.max(to) + 86_400)).step_by(10) {
                    *counted.entry(at).or_insert(0) += 1;
                    if let Some(bucket) = bucket {
                        prop_assert_eq!(floor(at, bucket), floor(floor(at, seconds), bucket));
                    }
                }
            }
            for at in (from..to).step_by(10) {
                prop_assert_eq!(counted.get(&at).copied().unwrap_or(0), 1);
            }
            // Beyond the range only what is still to come.
            for at in counted.keys().filter(|at| !(from..to).contains(at)) {
                prop_assert!(*at >= to && to > now);
            }
        }
    }
}
