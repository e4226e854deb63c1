//! When a child hangs, and how soon it may be replaced: pure, told what happens and when.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Time between two heartbeats.
pub const HEARTBEAT: Duration = Duration::from_millis(250);
/// A child that leaves a question unanswered for this many beats in a row hangs.
const PATIENCE: u32 = 6;
/// Replacements within [`WINDOW`] that happen at once; beyond them each one waits.
const AT_ONCE: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);
/// The wait beyond the budget: doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What a beat asks of the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Send a ping.
    Ask,
    /// The last one is not answered yet.
    Wait,
    /// It has not been for too long.
    Hangs,
}

/// One instance's heartbeat. Beats are counted, not time: a beat that comes late shows that the supervisor or the
/// whole process stood still, and says nothing of the child.
#[derive(Debug, Default)]
pub struct Pulse {
    asked: bool,
    missed: u32,
}

impl Pulse {
    /// The time for a beat has come; `late` when the one before was too long ago.
    pub fn beat(&mut self, late: bool) -> Beat {
        if !self.asked {
            (self.asked, self.missed) = (true, 0);
            return Beat::Ask;
        }
        self.missed = if late { 0 } else { self.missed + 1 };
        if self.missed >= PATIENCE { Beat::Hangs } else { Beat::Wait }
    }

    /// The ping was answered.
    pub fn answered(&mut self) {
        *self = Self::default();
    }
}

/// How often a child has been replaced lately.
#[derive(Debug, Default)]
pub struct Budget(VecDeque<Instant>);

impl Budget {
    /// How long to wait before the next instance: nothing within the budget.
    pub fn wait(&mut self, now: Instant) -> Duration {
        while self.0.front().is_some_and(|at| now.duration_since(*at) > WINDOW) {
            self.0.pop_front();
        }
        self.0.push_back(now);
        match self.0.len().checked_sub(AT_ONCE + 1) {
            None => Duration::ZERO,
            Some(over) => FIRST_WAIT.saturating_mul(2u32.saturating_pow(over as u32)).min(LONGEST_WAIT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_beats_without_an_answer_are_a_hang() {
        let mut pulse = Pulse::default();
        assert_eq!(pulse.beat(false), Beat::Ask);
        (0..5).for_each(|_| assert_eq!(pulse.beat(false), Beat::Wait));
        assert_eq!(pulse.beat(false), Beat::Hangs);
    }

    #[test]
    fn an_answer_starts_the_count_again() {
        let mut pulse = Pulse::default();
        for _ in 0..3 {
            assert_eq!(pulse.beat(false), Beat::Ask);
            (0..5).for_each(|_| assert_eq!(pulse.beat(false), Beat::Wait));
            pulse.answered();
        }
    }

    #[test]
    fn beats_that_come_late_say_nothing_of_the_child() {
        let mut pulse = Pulse::default();
        assert_eq!(pulse.beat(false), Beat::Ask);
        (0..5).for_each(|_| assert_eq!(pulse.beat(false), Beat::Wait));
        // The process was stopped; the child has had no chance to answer.
        assert_eq!(pulse.beat(true), Beat::Wait);
        (0..5).for_each(|_| assert_eq!(pulse.beat(false), Beat::Wait));
        assert_eq!(pulse.beat(false), Beat::Hangs, "a real hang is still found");
    }

    #[test]
    fn replacements_beyond_the_budget_wait_longer_each_time() {
        let (mut budget, now) = (Budget::default(), Instant::now());
        let waits: Vec<u64> = (0..13).map(|_| budget.wait(now).as_millis() as u64).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(budget.wait(now + WINDOW + Duration::from_secs(1)), Duration::ZERO);
    }
}
