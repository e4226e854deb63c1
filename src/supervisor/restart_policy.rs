//! When a child hangs, and how soon it may be replaced: pure, told what happens and when.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Time between two heartbeats.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(250);
/// A child that leaves a ping unanswered for this many heartbeats in a row hangs.
const MISSED_HEARTBEATS: u32 = 6;
/// Replacements within [`WINDOW`] that happen at once; beyond them each one waits.
const AT_ONCE: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);
/// The wait before each further one: doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What the supervisor is to do at a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeartbeatAction {
    /// Send a ping.
    Ping,
    /// The last one is not answered yet.
    Wait,
    /// It has not been for too long.
    Replace,
}

/// One instance's heartbeats. They are counted, not their time: one that comes late shows that the supervisor or the
/// whole process stood still, and says nothing of the child.
#[derive(Debug, Default)]
pub struct Heartbeat {
    asked: bool,
    missed: u32,
}

impl Heartbeat {
    /// The time for the next has come; `late` when the one before was too long ago.
    pub fn tick(&mut self, late: bool) -> HeartbeatAction {
        if !self.asked {
            (self.asked, self.missed) = (true, 0);
            return HeartbeatAction::Ping;
        }
        self.missed = if late { 0 } else { self.missed + 1 };
        if self.missed >= MISSED_HEARTBEATS { HeartbeatAction::Replace } else { HeartbeatAction::Wait }
    }

    /// The ping was answered.
    pub fn answered(&mut self) {
        *self = Self::default();
    }
}

/// How often a child has been replaced lately.
#[derive(Debug, Default)]
pub struct RestartPolicy(VecDeque<Instant>);

impl RestartPolicy {
    /// How long to wait before the next instance: nothing for the first few.
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
    fn six_heartbeats_without_an_answer_are_a_hang() {
        let mut heartbeat = Heartbeat::default();
        assert_eq!(heartbeat.tick(false), HeartbeatAction::Ping);
        (0..5).for_each(|_| assert_eq!(heartbeat.tick(false), HeartbeatAction::Wait));
        assert_eq!(heartbeat.tick(false), HeartbeatAction::Replace);
    }

    #[test]
    fn an_answer_starts_the_count_again() {
        let mut heartbeat = Heartbeat::default();
        for _ in 0..3 {
            assert_eq!(heartbeat.tick(false), HeartbeatAction::Ping);
            (0..5).for_each(|_| assert_eq!(heartbeat.tick(false), HeartbeatAction::Wait));
            heartbeat.answered();
        }
    }

    #[test]
    fn heartbeats_that_come_late_say_nothing_of_the_child() {
        let mut heartbeat = Heartbeat::default();
        assert_eq!(heartbeat.tick(false), HeartbeatAction::Ping);
        (0..5).for_each(|_| assert_eq!(heartbeat.tick(false), HeartbeatAction::Wait));
        // The process was stopped; the child has had no chance to answer.
        assert_eq!(heartbeat.tick(true), HeartbeatAction::Wait);
        (0..5).for_each(|_| assert_eq!(heartbeat.tick(false), HeartbeatAction::Wait));
        assert_eq!(heartbeat.tick(false), HeartbeatAction::Replace, "a real hang is still found");
    }

    #[test]
    fn replacements_beyond_those_at_once_wait_longer_each_time() {
        let (mut restart_policy, now) = (RestartPolicy::default(), Instant::now());
        let waits: Vec<u64> = (0..13).map(|_| restart_policy.wait(now).as_millis() as u64).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(restart_policy.wait(now + WINDOW + Duration::from_secs(1)), Duration::ZERO);
    }
}
