//! What an algorithm is asked and what it answers.
//!
//! Times are nanoseconds since the Unix epoch in a `u64` (they end in the year 2554), durations nanoseconds.

use super::settings::{Algorithm, Limit};

/// Entries that a sliding window keeps at most; a larger limit is counted in that many slots per window.
pub const SLOTS: u64 = 128;

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
        let window = u64::try_from(limit.window.as_nanos()).unwrap_or(u64::MAX).clamp(1, 1 << 60);
        let requests = u64::from(limit.requests.max(1));
        let capacity = requests + u64::from(limit.burst);
        let slot = if capacity <= SLOTS { 1 } else { window.div_ceil(SLOTS) };
        Self { algorithm: limit.algorithm, capacity, window, interval: window.div_ceil(requests), slot }
    }

    /// One of `instances` equal shares of it, each at least one request.
    pub fn share(&self, instances: u64) -> Self {
        let instances = instances.max(1);
        let capacity = (self.capacity / instances).max(1);
        let slot = if capacity <= SLOTS { 1 } else { self.window.div_ceil(SLOTS) };
        Self { capacity, interval: self.interval.saturating_mul(instances), slot, ..*self }
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
