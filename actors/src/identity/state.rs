//! When a provider is fetched, as a pure machine: moments and outcomes in, the next moment out.

use std::time::{Duration, Instant};

/// A fetch that takes longer has failed, discovery included.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests begin one fetch in that time at most: whoever invents names of keys must not make the gateway a flood.
pub const QUIET: Duration = Duration::from_secs(10);

/// How long keys are good for, whatever the provider says.
const FRESH: std::ops::RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(86_400);
/// Where it says nothing.
const FRESH_UNSAID: Duration = Duration::from_secs(600);
/// The first wait after a failure, without keys and with some; each further one is twice as long.
const RETRY_WITHOUT: Duration = Duration::from_secs(1);
const RETRY_WITH: Duration = Duration::from_secs(10);
/// The longest.
const RETRY_MOST: Duration = Duration::from_secs(60);

/// What somebody's asking leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// A fetch begins.
    Begin,
    /// One is in flight: wait for it.
    Wait,
    /// One has just ended, and there is nothing to wait for.
    TooSoon,
}

/// The fetches of one provider.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// When the last one began.
    begun: Option<Instant>,
    in_flight: bool,
    failures: u32,
}

impl Schedule {
    /// Somebody asks, where so long has to pass between two fetches.
    pub fn asked(&self, now: Instant, quiet: Duration) -> Turn {
        match self.begun {
            _ if self.in_flight => Turn::Wait,
            Some(begun) if now < begun + quiet => Turn::TooSoon,
            _ => Turn::Begin,
        }
    }

    /// A fetch begins.
    pub fn begin(&mut self, now: Instant) {
        (self.begun, self.in_flight) = (Some(now), true);
    }

    /// It has ended. Answers when the next is due, and until when nobody's asking begins one.
    pub fn ended(
        &mut self,
        now: Instant,
        outcome: Outcome,
        random: f64,
        quiet: Duration,
    ) -> (Instant, Instant) {
        self.in_flight = false;
        let wait = match outcome {
            Outcome::Fetched { fresh_for } => {
                self.failures = 0;
                fresh(fresh_for, random)
            }
            Outcome::Failed { has_keys } => {
                self.failures = self.failures.saturating_add(1);
                retry(self.failures, has_keys)
            }
        };
        (now + wait, self.begun.unwrap_or(now) + quiet)
    }
}

/// How a fetch ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// With keys that the provider says are good for so long.
    Fetched { fresh_for: Option<Duration> },
    /// Without; are there others?
    Failed { has_keys: bool },
}

/// Up to a tenth earlier, so that instances do not come all at once.
fn fresh(said: Option<Duration>, random: f64) -> Duration {
    let fresh = said.unwrap_or(FRESH_UNSAID).min(*FRESH.end());
    fresh.mul_f64(1.0 - random.clamp(0.0, 1.0) / 10.0).max(*FRESH.start())
}

fn retry(failures: u32, has_keys: bool) -> Duration {
    let first = if has_keys { RETRY_WITH } else { RETRY_WITHOUT };
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    first.saturating_mul(doubled).min(RETRY_MOST)
}
