//! The time of limits: nanoseconds since the Unix epoch that never go back.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// By less than this the wall clock differs only because the two are not read at the same moment.
const STEP: Duration = Duration::from_millis(500);

/// Reads the wall clock once and goes on by the monotonic one, so that a clock that is set back opens no bucket again.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    epoch: u64,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), epoch: u64::try_from(epoch.as_nanos()).unwrap_or(0) }
    }

    /// The time of a moment.
    pub fn at(&self, moment: Instant) -> u64 {
        self.epoch + moment.saturating_duration_since(self.started).as_nanos() as u64
    }

    /// The time now.
    pub fn now(&self) -> u64 {
        self.at(Instant::now())
    }

    /// By how much the wall clock, which says `wall` now, has been set forward since the start, in nanoseconds; less than
    /// nothing where it has been set back.
    pub(super) fn behind(&self, wall: SystemTime) -> i64 {
        let nanos = |time: u128| i64::try_from(time).unwrap_or(i64::MAX);
        let wall = nanos(wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos());
        let by = wall.saturating_sub(nanos(self.now().into()));
        if by.unsigned_abs() < STEP.as_nanos() as u64 { 0 } else { by }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_is_set_is_told_apart_from_one_that_goes_on() {
        let (clock, wall) = (Clock::start(), SystemTime::now());
        let near = |by: i64, seconds: i64| (by - seconds * 1_000_000_000).abs() < 100_000_000;
        assert_eq!(clock.behind(wall), 0);
        assert!(near(clock.behind(wall + Duration::from_secs(3600)), 3600));
        assert!(near(clock.behind(wall - Duration::from_secs(60)), -60));
        assert!(clock.behind(UNIX_EPOCH) < 0, "a clock that has lost its battery");
    }
}
