//! Who writes, and which writers have ended: judged by what this process has seen them do, for as long as it has looked.
//! Times that they note are by their own clocks, and two machines' clocks may be days apart.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use diesel::prelude::Queryable;

use super::pace::Pace;

/// A writer that does nothing for ten minutes, while another start of the same instance writes, has ended.
const REPLACED: Duration = Duration::from_secs(600);
/// A writer last seen a week ago, in seconds, has ended without a successor: it is not merely cut off from the database.
const GONE: i64 = 7 * 86_400;

/// One row of `writers`.
#[derive(Clone, Debug, PartialEq, Eq, Queryable)]
pub(super) struct WriterRow {
    pub instance: String,
    pub boot: String,
    pub attempt: i64,
    /// Rows that end at or before it are committed; the column is called `settled`.
    pub committed: i64,
    pub seen: i64,
}

/// What was seen of a writer.
#[derive(Debug)]
struct Seen {
    row: WriterRow,
    /// When its row was first seen as it is.
    at: Instant,
    /// It has come or changed since the first look: it lives.
    moved: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Writers {
    seen: HashMap<(String, String), Seen>,
    looked: bool,
    /// Whose clock was said to be behind.
    warned: Option<String>,
}

/// What may be done by whose clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Liveness {
    /// Writers that have ended: what they left is committed.
    pub ended: Vec<WriterRow>,
    /// Of them, those that nothing will ever ask for.
    pub gone: Vec<WriterRow>,
    /// The earliest time on the clocks of all that live, or may: by it nothing is dropped too early. Unix seconds.
    pub earliest: i64,
    /// The latest on the clocks of those that live.
    pub latest: i64,
    /// The instance whose clock is the earliest, where that is one that lives, and not this.
    pub behind: Option<String>,
}

impl Writers {
    /// Takes in the table as it is now.
    pub fn look(&mut self, rows: Vec<WriterRow>, by: &Pace) -> Liveness {
        let (now, at) = (by.now(), by.at());
        let mut before = std::mem::take(&mut self.seen);
        let looked = std::mem::replace(&mut self.looked, true);
        for row in rows {
            let key = (row.instance.clone(), row.boot.clone());
            let seen = match before.remove(&key) {
                Some(seen) if seen.row == row => seen,
                _ => Seen { row, at, moved: looked },
            };
            self.seen.insert(key, seen);
        }
        let silent = |seen: &Seen| at.saturating_duration_since(seen.at) > REPLACED;
        let live: HashSet<&str> =
            self.seen.values().filter(|seen| !silent(seen)).map(|seen| &*seen.row.instance).collect();
        let mut liveness = Liveness { earliest: now, latest: now, ..Liveness::default() };
        for seen in self.seen.values() {
            let row = &seen.row;
            if silent(seen) {
                let gone = by.confirms(GONE) && (now - row.seen).abs() > GONE;
                if gone || live.contains(&*row.instance) {
                    liveness.ended.push(row.clone());
                }
                if gone {
                    liveness.gone.push(row.clone());
                }
                continue;
            }
            if row.seen < liveness.earliest {
                liveness.earliest = row.seen;
                liveness.behind = seen.moved.then(|| row.instance.clone());
            }
            if seen.moved {
                liveness.latest = liveness.latest.max(row.seen);
            }
        }
        liveness
    }
}

impl Writers {
    /// Whether it is new that this instance's clock is behind.
    pub fn is_newly_behind(&mut self, behind: Option<&String>) -> bool {
        let new = behind.is_some() && self.warned.as_ref() != behind;
        self.warned = behind.cloned();
        new
    }
}

#[cfg(test)]
mod tests {
    use aegis_actors::Reading;

    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn row(instance: &str, boot: &str, seen: i64) -> WriterRow {
        WriterRow { instance: instance.into(), boot: boot.into(), attempt: 1, committed: 5, seen }
    }

    fn boots(rows: &[WriterRow]) -> Vec<&str> {
        let mut boots: Vec<&str> = rows.iter().map(|row| &*row.boot).collect();
        boots.sort_unstable();
        boots
    }

    /// A clock that was right all the time, and started so many seconds ago.
    fn clock(start: Instant, passed: i64) -> Pace {
        let reading = |passed: i64| Reading {
            wall: (NOW + passed) * 1_000,
            at: start + Duration::from_secs(86_400 + passed as u64),
        };
        let mut pace = Pace::new(Reading { wall: (NOW - 86_400) * 1_000, at: start });
        pace.note(reading(0));
        pace.note(reading(passed));
        pace
    }

    #[test]
    fn a_writer_has_ended_when_it_was_seen_to_do_nothing_whatever_the_clocks_say() {
        let start = Instant::now();
        let mut writers = Writers::default();
        let rows = |moment: i64| {
            vec![
                // Its clock was ahead, and it was started again.
                row("a", "ahead", NOW + 40 * 86_400),
                row("a", "live", NOW + moment),
                // Its clock is far behind, and it lives.
                row("b", "behind", NOW - 30 * 86_400 + moment),
                row("c", "alone", NOW - GONE),
                row("d", "gone", NOW - GONE - 601),
                row("e", "recent", NOW - 3_600),
            ]
        };
        let first = writers.look(rows(0), &clock(start, 0));
        assert_eq!((first.ended, first.latest), (vec![], NOW));
        let later = writers.look(rows(600), &clock(start, 600));
        assert_eq!((later.ended, later.behind.as_deref()), (vec![], Some("b")));
        let last = writers.look(rows(601), &clock(start, 601));
        let ended = vec!["ahead", "alone", "gone"];
        assert_eq!((boots(&last.ended), boots(&last.gone)), (ended.clone(), ended));
        assert_eq!((last.earliest, last.latest), (NOW - 30 * 86_400 + 601, NOW + 601));
        // Of whoever starts with a clock that is ahead, nobody is gone.
        let mut pace = Pace::new(Reading { wall: (NOW + 40 * 86_400) * 1_000, at: start });
        let mut writers = Writers::default();
        writers.look(rows(0), &pace);
        let at = start + Duration::from_secs(700);
        pace.note(Reading { wall: (NOW + 40 * 86_400 + 700) * 1_000, at });
        let mut rows = rows(0);
        rows[1].attempt = 2;
        assert_eq!(boots(&writers.look(rows, &pace).ended), ["ahead"]);
    }

    #[test]
    fn nothing_is_dropped_by_a_later_clock_than_that_of_whoever_may_live() {
        let start = Instant::now();
        let mut writers = Writers::default();
        let rows = || vec![row("c", "1", NOW - 3 * 86_400)];
        let liveness = writers.look(rows(), &clock(start, 0));
        assert_eq!((liveness.earliest, liveness.behind), (NOW - 3 * 86_400, None));
        let liveness = writers.look(rows(), &clock(start, 3_600));
        assert_eq!((liveness.ended, liveness.earliest), (vec![], NOW + 3_600));
    }

    #[test]
    fn the_latest_time_is_of_those_that_were_seen_to_live() {
        let start = Instant::now();
        let mut writers = Writers::default();
        writers.look(vec![row("a", "1", NOW + 900), row("b", "1", NOW + 300)], &clock(start, 0));
        let rows = vec![row("a", "1", NOW + 900), row("b", "1", NOW + 360)];
        assert_eq!(writers.look(rows, &clock(start, 60)).latest, NOW + 360);
    }
}
