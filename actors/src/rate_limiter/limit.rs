//! What an algorithm is asked and what it answers.
//!
//! Times are nanoseconds since the Unix epoch in a `u64` (they end in the year 2554), durations nanoseconds.

use super::settings::{Algorithm, Limit};

/// Entries that a sliding window keeps at most; a larger limit is counted in that many slots per window.
pub const SLOTS: u64 = 128;

/// No window is longer, so that no moment overflows.
const LONGEST: u64 = 1 << 60;

/// A limit ready to be computed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How requests are counted.
    pub algorithm: Algorithm,
    /// Requests that may come at once: `requests + burst`.
    pub capacity: u64,
    /// Length of the window.
    pub window: u64,
    /// Time in which a token bucket gains one token; rounded up, so that it never gains too many.
    pub interval: u64,
    /// Resolution of a sliding window: 1 for an exact log, a [`SLOTS`]th of the window for a large limit.
    pub slot: u64,
}

impl Plan {
    /// The plan of a limit as configured.
    pub fn new(limit: &Limit) -> Self {
        let window = u64::try_from(limit.window.as_nanos()).unwrap_or(u64::MAX).clamp(1, LONGEST);
        let requests = u64::from(limit.requests.max(1));
        let capacity = requests + u64::from(limit.burst);
        let slot = if capacity <= SLOTS { 1 } else { window.div_ceil(SLOTS) };
        Self { algorithm: limit.algorithm, capacity, window, interval: window.div_ceil(requests), slot }
    }

    /// One of `instances` equal shares of it, for requests that take `cost`, and what such a request is charged there. A share
    /// lets at least one of them pass; where that is more than its part, it is the longer until it does again.
    pub fn share(&self, instances: u64, cost: u64) -> (Self, u64) {
        let (instances, cost) = (instances.max(1), cost.max(1));
        let capacity = (self.capacity / instances).max(1);
        let charged = cost.min(capacity);
        // One request of each instance, in windows' worth of the whole limit; and one request, in charges of the share.
        let windows = cost.saturating_mul(instances).div_ceil(self.capacity).max(1);
        let charges = cost.div_ceil(charged);
        let window = if charged == capacity { self.window.saturating_mul(windows) } else { self.window };
        let window = window.min(LONGEST);
        let slot = if capacity <= SLOTS { 1 } else { window.div_ceil(SLOTS) };
        let interval = self.interval.saturating_mul(instances).saturating_mul(charges);
        (Self { capacity, window, interval, slot, ..*self }, charged)
    }
}

/// How much of a limit is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Requests that could come now.
    pub remaining: u64,
    /// Nanoseconds until the whole limit is available again, if nothing more comes.
    pub reset: u64,
}

/// The limit is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is left: less than the request costs.
    pub standing: Standing,
    /// Nanoseconds until the same request would pass, if nothing else comes.
    pub retry_after: u64,
}
