//! Which parts of a cluster are silent, so that a node that is frozen does not hold up every batch.
//!
//! Nobody tells which node a key lives on, but nodes own ranges of slots: the slots are watched in groups, and a group
//! whose question was not answered in time is not asked again, except for one question of one silent group from time to
//! time. When that is answered, all are asked again; those that are still silent are found out anew.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Between two questions to groups that are silent, plus up to as much again at random.
const PAUSE: Duration = Duration::from_millis(150);

const SLOTS: u16 = 16_384;
const GROUPS: u16 = 256;

pub(super) struct Quiet {
    state: Mutex<State>,
}

struct State {
    silent: [bool; GROUPS as usize],
    /// None while nothing was ever silent.
    next_probe: Option<Instant>,
}

/// Neighbouring slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group(u8);

impl Group {
    /// Where a key lives.
    pub(super) fn of(key: &str) -> Self {
        let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
        let slot = crc16(tag.filter(|tag| !tag.is_empty()).unwrap_or(key)) % SLOTS;
        Self((slot / (SLOTS / GROUPS)) as u8)
    }
}

impl Quiet {
    pub(super) fn new() -> Self {
        let state = State { silent: [false; GROUPS as usize], next_probe: None };
        Self { state: Mutex::new(state) }
    }

    /// Whether to ask it. True for a silent group is for this once.
    pub(super) fn may_ask(&self, group: Group, now: Instant) -> bool {
        let mut state = self.state();
        if !state.silent[usize::from(group.0)] {
            return true;
        }
        let probe = state.next_probe.is_none_or(|at| now >= at);
        if probe {
            state.next_probe = Some(now + pause());
        }
        probe
    }

    pub(super) fn answered(&self, group: Group) {
        let mut state = self.state();
        if state.silent[usize::from(group.0)] {
            state.silent.fill(false);
        }
    }

    pub(super) fn was_silent(&self, group: Group, now: Instant) {
        let mut state = self.state();
        state.silent[usize::from(group.0)] = true;
        state.next_probe = Some(now + pause());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

    #[test]
    fn a_key_is_in_the_group_of_its_hash_tag() {
        // The specification's example: 0x31C3.
        assert_eq!(crc16("123456789"), 12_739);
        assert_eq!(Group::of("test:limit:{123456789}"), Group(199));
        assert_eq!(Group::of("123456789"), Group(199));
    }

    #[test]
    fn a_silent_group_is_asked_from_time_to_time_and_again_when_one_answers() {
        let (quiet, now) = (Quiet::new(), Instant::now());
        let (first, second, other) = (Group(1), Group(2), Group(3));
        quiet.was_silent(first, now);
        quiet.was_silent(second, now);
        assert!(!quiet.may_ask(first, now) && !quiet.may_ask(second, now) && quiet.may_ask(other, now));
        quiet.answered(other);
        let later = now + 2 * PAUSE;
        assert!(quiet.may_ask(first, later), "one question of one of them");
        assert!(!quiet.may_ask(first, later) && !quiet.may_ask(second, later));
        quiet.answered(first);
        assert!(quiet.may_ask(first, later) && quiet.may_ask(second, later));
    }
}
