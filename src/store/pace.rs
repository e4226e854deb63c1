//! How far this process's wall clock is to be believed, held against the clock that nobody sets.
//!
//! A machine may start with a clock that is days ahead, and a clock may be set. What is deleted by such a time is gone for
//! good, so nothing is, until the wall clock has gone on without a step for a tenth of the time by which it claims to be
//! later than the store knows of, a day at most. What was over for a minute before a step forward has been over for a minute
//! after it, and nothing else has.

use std::time::{Duration, Instant};

use aegis_actors::Reading;

/// Differences between the two clocks that are no step: clocks are slewed, and threads held up between two readings.
const SLACK_MS: i64 = 1_000;
/// A step is believed after a day (in seconds) at the latest.
const LONGEST: i64 = 86_400;

/// See the module.
#[derive(Debug)]
pub(super) struct Pace {
    last: Reading,
    /// Since when the wall clock goes on as time does.
    steady: Instant,
    /// By how much it was set forward then, milliseconds.
    leapt: i64,
}

impl Pace {
    pub fn new(now: Reading) -> Self {
        Self { last: now, steady: now.at, leapt: 0 }
    }

    /// Takes in what the clocks say now.
    pub fn note(&mut self, now: Reading) {
        let passed = millis(now.at.saturating_duration_since(self.last.at));
        let step = now.wall - self.last.wall - passed;
        if step.abs() > SLACK_MS {
            // Several steps one soon after the other are one.
            let before = if now.at.saturating_duration_since(self.steady) < GRACE { self.leapt } else { 0 };
            (self.steady, self.leapt) = (now.at, (before + step).max(0));
        }
        self.last = now;
    }

    /// Unix seconds, as of the last reading.
    pub fn now(&self) -> i64 {
        self.last.wall.div_euclid(1_000)
    }

    /// Up to when everything has been over for [`GRACE`], Unix seconds.
    pub fn over(&self) -> i64 {
        let standing = self.last.at.saturating_duration_since(self.steady);
        let leapt = if standing < GRACE { self.leapt } else { 0 };
        (self.last.wall - leapt - millis(GRACE)).div_euclid(1_000)
    }

    /// Whether it may be believed that so many seconds have passed.
    pub fn confirms(&self, seconds: i64) -> bool {
        let needed = u64::try_from((seconds / 10).min(LONGEST)).unwrap_or(0);
        self.last.at.saturating_duration_since(self.steady) >= Duration::from_secs(needed)
    }

    /// The moment of the last reading.
    pub fn at(&self) -> Instant {
        self.last.at
    }
}

/// How long after its end a row may still be written although it was acknowledged: late requests, clocks.
pub(super) const GRACE: Duration = Duration::from_secs(60);

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: i64 = 1_700_000_000;

    /// Readings of a wall clock that is ahead by so many seconds, so long after the start.
    fn reading(start: Instant, passed: u64, ahead: i64) -> Reading {
        Reading { wall: (T + passed as i64 + ahead) * 1_000, at: start + Duration::from_secs(passed) }
    }

    #[test]
    fn a_later_time_is_believed_when_the_clock_has_gone_on_for_a_tenth_of_it() {
        let start = Instant::now();
        let mut pace = Pace::new(reading(start, 0, 0));
        assert!(pace.confirms(0) && pace.confirms(-1_000) && !pace.confirms(40 * 86_400));
        pace.note(reading(start, 60, 0));
        assert!(pace.confirms(600) && !pace.confirms(620));
        // Slewed, it is still the same clock.
        pace.note(reading(start, 120, 1));
        assert!(pace.confirms(1_200));
        // Set, forward or back, it begins anew.
        for ahead in [7_200, -7_200] {
            pace.note(reading(start, 180, ahead));
            assert!(!pace.confirms(600));
        }
        pace.note(reading(start, 180 + 86_399, -7_200));
        assert!(pace.confirms(800_000) && !pace.confirms(40 * 86_400));
        pace.note(reading(start, 180 + 86_400, -7_200));
        assert!(pace.confirms(i64::MAX));
    }

    #[test]
    fn what_was_not_over_before_a_step_forward_is_not_over_by_it() {
        let start = Instant::now();
        let mut pace = Pace::new(reading(start, 0, 0));
        pace.note(reading(start, 100, 0));
        assert_eq!((pace.now(), pace.over()), (T + 100, T + 40));
        pace.note(reading(start, 110, 3_600));
        assert_eq!(pace.over(), T + 50);
        pace.note(reading(start, 120, 7_200));
        assert_eq!(pace.over(), T + 60);
        pace.note(reading(start, 179, 7_200));
        assert_eq!(pace.over(), T + 119);
        pace.note(reading(start, 180, 7_200));
        assert_eq!(pace.over(), T + 7_320);
        // Back: later things may be over, and are not called so.
        pace.note(reading(start, 181, 0));
        assert_eq!(pace.over(), T + 121);
    }
}
