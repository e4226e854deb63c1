//! The time of limits: nanoseconds since the Unix epoch that never go back.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

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
}
