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

pub(super) struct Quiet {
    state: Mutex<State>,
}

struct State {
    /// By the first slot of the range.
    voices: BTreeMap<u16, Voice>,
    /// None while nothing was ever away.
    next_probe: Option<Instant>,
    /// The connection that was asked for the ranges last, and when.
    learnt: Option<(u64, Instant)>,
}

/// What was last heard of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Voice {
    Heard,
    /// It was silent once, and is asked again from then on.
    Missed(Instant),
    /// That second question is under way. Should its answer never come, the range is as good as away.
    AskedAgain,
    Away,
}

/// The slot where a key lives.
pub(super) fn slot(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    crc16(tag.filter(|tag| !tag.is_empty()).unwrap_or(key)) % SLOTS
}

impl Quiet {
    pub(super) fn new() -> Self {
        let voices = (0..SLOTS).step_by(UNKNOWN).map(|start| (start, Voice::Heard)).collect();
        Self { state: Mutex::new(State { voices, next_probe: None, learnt: None }) }
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
        let voices: BTreeMap<_, _> = starts.chain([0]).map(|start| (start, Voice::Heard)).collect();
        let known = &mut self.state().voices;
        if !known.keys().eq(voices.keys()) {
            *known = voices;
        }
    }

    /// Whether to ask for a key of that slot. True for a range of which nothing was heard is for this once.
    pub(super) fn may_ask(&self, slot: u16, now: Instant) -> bool {
        let mut state = self.state();
        let State { voices, next_probe, .. } = &mut *state;
        let voice = of(voices, slot);
        match *voice {
            Voice::Heard => true,
            Voice::Missed(again) if now < again => false,
            Voice::Missed(_) => {
                *voice = Voice::AskedAgain;
                true
            }
            Voice::AskedAgain | Voice::Away => {
                let probe = next_probe.is_none_or(|at| now >= at);
                if probe {
                    *next_probe = Some(now + pause());
                }
                probe
            }
        }
    }

    pub(super) fn answered(&self, slot: u16) {
        let voices = &mut self.state().voices;
        if std::mem::replace(of(voices, slot), Voice::Heard) == Voice::Away {
            voices.values_mut().for_each(|voice| *voice = Voice::Heard);
        }
    }

    /// Nothing was heard in time.
    pub(super) fn was_silent(&self, slot: u16, now: Instant) {
        let mut state = self.state();
        let voice = of(&mut state.voices, slot);
        match *voice {
            Voice::Heard => *voice = Voice::Missed(now + pause()),
            // It was asked before it was missed.
            Voice::Missed(_) => {}
            Voice::AskedAgain | Voice::Away => {
                *voice = Voice::Away;
                state.next_probe = Some(now + pause());
            }
        }
    }

    /// Its node is not there: no machine is so busy that it says so by mistake.
    pub(super) fn was_refused(&self, slot: u16, now: Instant) {
        let mut state = self.state();
        *of(&mut state.voices, slot) = Voice::Away;
        state.next_probe = Some(now + pause());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The range of a slot.
fn of(voices: &mut BTreeMap<u16, Voice>, slot: u16) -> &mut Voice {
    let start = voices.range(..=slot).next_back().map_or(0, |(start, _)| *start);
    voices.entry(start).or_insert(Voice::Heard)
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

    fn of_four() -> Quiet {
        let quiet = Quiet::new();
        quiet.learn(&[(0, 99), (100, 199), (200, 299), (300, SLOTS - 1)]);
        quiet
    }

    #[test]
    fn a_key_is_in_the_slot_of_its_hash_tag() {
        // The specification's example: 0x31C3.
        assert_eq!(slot("test:limit:{123456789}"), 12_739);
        assert_eq!(slot("123456789"), 12_739);
    }

    #[test]
    fn a_range_that_is_away_is_asked_from_time_to_time_and_again_when_one_answers() {
        let (quiet, now) = (of_four(), Instant::now());
        let (first, second, other) = (199, 200, 0);
        quiet.was_refused(100, now);
        quiet.was_refused(299, now);
        assert!(!quiet.may_ask(first, now) && !quiet.may_ask(second, now));
        assert!(quiet.may_ask(99, now) && quiet.may_ask(300, now));
        quiet.answered(other);
        let later = now + 2 * PAUSE;
        assert!(quiet.may_ask(first, later), "one question of one of them");
        assert!(!quiet.may_ask(first, later) && !quiet.may_ask(second, later));
        quiet.answered(first);
        assert!(quiet.may_ask(first, later) && quiet.may_ask(second, later));
    }

    #[test]
    fn a_range_that_was_late_once_waits_for_no_other_and_calls_no_other_back() {
        let (quiet, now, later) = (of_four(), Instant::now(), Instant::now() + 2 * PAUSE);
        let (away, late) = (100, 200);
        quiet.was_refused(away, now);
        quiet.was_silent(late, now);
        assert!(!quiet.may_ask(late, now));
        assert!(quiet.may_ask(away, later) && quiet.may_ask(late, later), "each has a question of its own");
        quiet.answered(late);
        assert!(quiet.may_ask(late, later) && !quiet.may_ask(away, later));
        for at in [later, later + 2 * PAUSE] {
            assert!(quiet.may_ask(late, at));
            quiet.was_silent(late, at);
        }
        assert!(!quiet.may_ask(late, later + 2 * PAUSE), "silent twice: it is away");
    }

    #[test]
    fn ranges_are_learnt_once_for_a_connection_and_anew_where_something_is_amiss() {
        let (quiet, now) = (of_four(), Instant::now());
        assert!(quiet.may_learn(1, false, now) && !quiet.may_learn(1, true, now));
        assert!(!quiet.may_learn(1, false, now + LEARN) && quiet.may_learn(1, true, now + LEARN));
        assert!(quiet.may_learn(2, false, now + LEARN));
        quiet.was_refused(100, now);
        quiet.learn(&[(300, SLOTS - 1), (0, 99), (100, 199), (200, 299)]);
        assert!(!quiet.may_ask(100, now), "nothing new");
        quiet.learn(&[(0, 149), (150, SLOTS - 1)]);
        assert!(quiet.may_ask(100, now));
    }
}
