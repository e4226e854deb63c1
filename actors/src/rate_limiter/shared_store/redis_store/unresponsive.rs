//! Which parts of a cluster are not there, so that a node that is away does not hold up what is asked of the others: for
//! one that is frozen every batch would wait, and for each question to one that refuses connections the cluster's
//! connection looks up to three times who owns which slot, and asks nobody anything meanwhile.
//!
//! Watched are the ranges of slots that have one owner, as the cluster tells them. A range that was refused, or was silent
//! twice, is away: it is not asked, except for one question of one such range from time to time. When that is answered,
//! all are asked again; those that are still away are found out anew. After its first silence a range has a second
//! question of its own a moment later: a busy machine answers late, too, and must not wait for its turn behind a node
//! that is gone.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Between two questions to ranges that are away, and after a first silence, plus up to as much again at random.
const PAUSE: Duration = Duration::from_millis(150);

const SLOTS: u16 = 16_384;

/// Slots that are taken for a range until the ranges are known.
const UNKNOWN: usize = 64;

/// The cluster is asked for its ranges this often at most.
const LEARN: Duration = Duration::from_millis(500);

pub(super) struct UnresponsiveNodes {
    state: Mutex<Ranges>,
}

/// Ranges of slots that have one owner.
struct Ranges {
    /// By the first slot of the range.
    ranges: BTreeMap<u16, Status>,
    /// None while nothing was ever away.
    next_probe: Option<Instant>,
    /// The connection that was asked for the ranges last, and when.
    learnt: Option<(u64, Instant)>,
}

/// What was last heard of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Responsive,
    /// It was silent once, and is asked again from then on.
    TimedOut(Instant),
    /// That second question is under way. Should its answer never come, the range is as good as away.
    Retrying,
    Unresponsive,
}

/// The slot where a key lives.
pub(super) fn slot(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    crc16(tag.filter(|tag| !tag.is_empty()).unwrap_or(key)) % SLOTS
}

impl UnresponsiveNodes {
    pub(super) fn new() -> Self {
        let ranges = (0..SLOTS).step_by(UNKNOWN).map(|start| (start, Status::Responsive)).collect();
        Self { state: Mutex::new(Ranges { ranges, next_probe: None, learnt: None }) }
    }

    /// Whether the cluster is to be asked for its ranges now: over a new connection, or since something is `amiss`.
    pub(super) fn may_learn(&self, connection: u64, amiss: bool, now: Instant) -> bool {
        let learnt = &mut self.state().learnt;
        let due = learnt.is_none_or(|(last, at)| last != connection || (amiss && now >= at + LEARN));
        if due {
            *learnt = Some((connection, now));
        }
        due
    }

    /// The ranges, as first and last slots. Where they are others than before, all are asked again.
    pub(super) fn learn(&self, ranges: &[(u16, u16)]) {
        let starts = ranges.iter().flat_map(|(first, last)| [*first, last.saturating_add(1)]);
        let ranges: BTreeMap<_, _> = starts.chain([0]).map(|start| (start, Status::Responsive)).collect();
        let known = &mut self.state().ranges;
        if !known.keys().eq(ranges.keys()) {
            *known = ranges;
        }
    }

    /// Whether to ask for a key of that slot. True for a range of which nothing was heard is for this once.
    pub(super) fn may_ask(&self, slot: u16, now: Instant) -> bool {
        let mut state = self.state();
        let Ranges { ranges, next_probe, .. } = &mut *state;
        let status = of(ranges, slot);
        match *status {
            Status::Responsive => true,
            Status::TimedOut(again) if now < again => false,
            Status::TimedOut(_) => {
                *status = Status::Retrying;
                true
            }
            Status::Retrying | Status::Unresponsive => {
                let probe = next_probe.is_none_or(|at| now >= at);
                if probe {
                    *next_probe = Some(now + pause());
                }
                probe
            }
        }
    }

    pub(super) fn answered(&self, slot: u16) {
        let ranges = &mut self.state().ranges;
        if std::mem::replace(of(ranges, slot), Status::Responsive) == Status::Unresponsive {
            ranges.values_mut().for_each(|status| *status = Status::Responsive);
        }
    }

    /// Nothing was heard in time.
    pub(super) fn was_silent(&self, slot: u16, now: Instant) {
        let mut state = self.state();
        let status = of(&mut state.ranges, slot);
        match *status {
            Status::Responsive => *status = Status::TimedOut(now + pause()),
            // It was asked before it was missed.
            Status::TimedOut(_) => {}
            Status::Retrying | Status::Unresponsive => {
                *status = Status::Unresponsive;
                state.next_probe = Some(now + pause());
            }
        }
    }

    /// Its node is not there: no machine is so busy that it says so by mistake.
    pub(super) fn was_refused(&self, slot: u16, now: Instant) {
        let mut state = self.state();
        *of(&mut state.ranges, slot) = Status::Unresponsive;
        state.next_probe = Some(now + pause());
    }

    fn state(&self) -> MutexGuard<'_, Ranges> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The range of a slot.
fn of(ranges: &mut BTreeMap<u16, Status>, slot: u16) -> &mut Status {
    let start = ranges.range(..=slot).next_back().map_or(0, |(start, _)| *start);
    ranges.entry(start).or_insert(Status::Responsive)
}

fn pause() -> Duration {
    PAUSE.mul_f64(1.0 + fastrand::f64())
}

/// CRC16-CCITT (XMODEM), as in the cluster specification's appendix A.
fn crc16(text: &str) -> u16 {
    text.bytes().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc: u16, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_four() -> UnresponsiveNodes {
        let nodes = UnresponsiveNodes::new();
        nodes.learn(&[(0, 99), (100, 199), (200, 299), (300, SLOTS - 1)]);
        nodes
    }

    #[test]
    fn a_key_is_in_the_slot_of_its_hash_tag() {
        // The specification's example: 0x31C3.
        assert_eq!(slot("test:limit:{123456789}"), 12_739);
        assert_eq!(slot("123456789"), 12_739);
    }

    #[test]
    fn a_range_that_is_away_is_asked_from_time_to_time_and_again_when_one_answers() {
        let (nodes, now) = (of_four(), Instant::now());
        let (first, second, other) = (199, 200, 0);
        nodes.was_refused(100, now);
        nodes.was_refused(299, now);
        assert!(!nodes.may_ask(first, now) && !nodes.may_ask(second, now));
        assert!(nodes.may_ask(99, now) && nodes.may_ask(300, now));
        nodes.answered(other);
        let later = now + 2 * PAUSE;
        assert!(nodes.may_ask(first, later), "one question of one of them");
        assert!(!nodes.may_ask(first, later) && !nodes.may_ask(second, later));
        nodes.answered(first);
        assert!(nodes.may_ask(first, later) && nodes.may_ask(second, later));
    }

    #[test]
    fn a_range_that_was_late_once_waits_for_no_other_and_calls_no_other_back() {
        let (nodes, now, later) = (of_four(), Instant::now(), Instant::now() + 2 * PAUSE);
        let (away, late) = (100, 200);
        nodes.was_refused(away, now);
        nodes.was_silent(late, now);
        assert!(!nodes.may_ask(late, now));
        assert!(nodes.may_ask(away, later) && nodes.may_ask(late, later), "each has a question of its own");
        nodes.answered(late);
        assert!(nodes.may_ask(late, later) && !nodes.may_ask(away, later));
        for at in [later, later + 2 * PAUSE] {
            assert!(nodes.may_ask(late, at));
            nodes.was_silent(late, at);
        }
        assert!(!nodes.may_ask(late, later + 2 * PAUSE), "silent twice: it is away");
    }

    #[test]
    fn ranges_are_learnt_once_for_a_connection_and_anew_where_something_is_amiss() {
        let (nodes, now) = (of_four(), Instant::now());
        assert!(nodes.may_learn(1, false, now) && !nodes.may_learn(1, true, now));
        assert!(!nodes.may_learn(1, false, now + LEARN) && nodes.may_learn(1, true, now + LEARN));
        assert!(nodes.may_learn(2, false, now + LEARN));
        nodes.was_refused(100, now);
        nodes.learn(&[(300, SLOTS - 1), (0, 99), (100, 199), (200, 299)]);
        assert!(!nodes.may_ask(100, now), "nothing new");
        nodes.learn(&[(0, 149), (150, SLOTS - 1)]);
        assert!(nodes.may_ask(100, now));
    }
}
