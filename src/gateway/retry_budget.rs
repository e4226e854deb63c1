//! How many retries a backend may get: a fifth of its requests, and three a second whatever their number.
//!
//! Without a bound, retries multiply the load on a service that fails because of its load.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Share of requests that may be retried, in hundredths of a retry per request.
pub const PER_REQUEST: u32 = 20;
/// Price of a retry in the same unit.
const PRICE: u32 = 100;
/// What a worker may save up: ten retries.
const SAVINGS: u32 = 10 * PRICE;
/// Retries that the floor earns in a second, whatever the number of requests.
pub const PER_SECOND: u32 = 3;
/// Time in which it earns one.
const FLOOR_PERIOD: Duration = Duration::from_millis(1000_u64.div_ceil(PER_SECOND as u64));
/// Retries that the floor holds when it has not been touched for a second.
const FLOOR_BURST: u64 = PER_SECOND as u64;

/// The floor of one backend, shared by all workers and touched only when a worker's own share is spent: GCRA, one
/// number, the theoretical arrival time in nanoseconds since `base`.
#[derive(Debug)]
pub struct Budget {
    base: Instant,
    arrival: AtomicU64,
}

impl Budget {
    /// A full budget.
    pub fn new(now: Instant) -> Self {
        Self { base: now, arrival: AtomicU64::new(0) }
    }

    fn take_floor(&self, now: Instant) -> bool {
        let now = now.saturating_duration_since(self.base).as_nanos() as u64;
        let period = FLOOR_PERIOD.as_nanos() as u64;
        self.arrival
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |arrival| {
                let next = arrival.max(now) + period;
                (next <= now + FLOOR_BURST * period).then_some(next)
            })
            .is_ok()
    }
}

/// One worker's share of the proportional part: earned by its requests, spent by their retries.
#[derive(Clone, Debug, Default)]
pub struct Share(Cell<u32>);

impl Share {
    /// A request to the backend begins.
    pub fn earn(&self) {
        self.0.set((self.0.get() + PER_REQUEST).min(SAVINGS));
    }

    /// Whether a retry may go out; it is paid for.
    pub fn spend(&self, floor: &Budget, now: Instant) -> bool {
        match self.0.get().checked_sub(PRICE) {
            Some(left) => {
                self.0.set(left);
                true
            }
            None => floor.take_floor(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_failures_is_retried_for_a_fifth_of_the_requests() {
        let start = Instant::now();
        let (floor, share) = (Budget::new(start), Share::default());
        let mut retries = 0;
        for i in 0..10_000 {
            share.earn();
            let now = start + Duration::from_micros(100 * i);
            retries += u32::from(share.spend(&floor, now)) + u32::from(share.spend(&floor, now));
        }
        assert!((2_000..=2_010).contains(&retries), "{retries}");
    }

    #[test]
    fn a_quiet_backend_still_gets_three_a_second() {
        let start = Instant::now();
        let (floor, share) = (Budget::new(start), Share::default());
        assert_eq!((0..10).filter(|_| share.spend(&floor, start)).count(), 3);
        assert!(!share.spend(&floor, start + Duration::from_millis(300)));
        assert!(share.spend(&floor, start + Duration::from_millis(340)));
        assert_eq!((0..10).filter(|_| share.spend(&floor, start + Duration::from_secs(10))).count(), 3);
    }
}
