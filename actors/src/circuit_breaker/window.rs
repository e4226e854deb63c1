//! A sliding window of ten buckets: how many calls, failures and slow calls there were lately.

use std::time::{Duration, Instant};

const BUCKETS: u64 = 10;

/// Sums over a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub calls: u64,
    pub failures: u64,
    pub slow: u64,
}

impl Totals {
    pub fn failure_rate(&self) -> f64 {
        share(self.failures, self.calls)
    }

    pub fn slow_rate(&self) -> f64 {
        share(self.slow, self.calls)
    }
}

fn share(part: u64, whole: u64) -> f64 {
    // A body may break off after its call has left the window.
    if whole == 0 { 0.0 } else { part.min(whole) as f64 / whole as f64 }
}

/// The window slides by a tenth of its length at a time, so it looks back over nine to ten tenths of it.
#[derive(Debug)]
pub(super) struct Window {
    origin: Instant,
    width_nanos: u128,
    /// Each with the number of the tenth that it counts; an older number is a leftover of the last round.
    buckets: [(u64, Totals); BUCKETS as usize],
}

impl Window {
    pub fn new(length: Duration, now: Instant) -> Self {
        let width_nanos = (length.as_nanos() / u128::from(BUCKETS)).max(1);
        Self { origin: now, width_nanos, buckets: Default::default() }
    }

    pub fn add(&mut self, more: Totals, now: Instant) {
        let tick = self.tick(now);
        let (at, totals) = &mut self.buckets[(tick % BUCKETS) as usize];
        if *at != tick {
            (*at, *totals) = (tick, Totals::default());
        }
        totals.calls += more.calls;
        totals.failures += more.failures;
        totals.slow += more.slow;
    }

    pub fn totals(&self, now: Instant) -> Totals {
        let tick = self.tick(now);
        let live = self.buckets.iter().filter(|(at, _)| at + BUCKETS > tick);
        live.fold(Totals::default(), |sum, (_, one)| Totals {
            calls: sum.calls + one.calls,
            failures: sum.failures + one.failures,
            slow: sum.slow + one.slow,
        })
    }

    pub fn clear(&mut self) {
        self.buckets = Default::default();
    }

    fn tick(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.origin).as_nanos();
        u64::try_from(elapsed / self.width_nanos).unwrap_or(u64::MAX - BUCKETS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Totals = Totals { calls: 1, failures: 1, slow: 0 };

    #[test]
    fn calls_leave_the_window_a_tenth_at_a_time() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut window = Window::new(Duration::from_secs(10), start);
        window.add(ONE, at(0));
        window.add(ONE, at(1_000));
        window.add(ONE, at(5_500));
        assert_eq!(window.totals(at(9_999)).calls, 3);
        assert_eq!(window.totals(at(10_000)).calls, 2);
        assert_eq!(window.totals(at(11_000)).calls, 1);
        assert_eq!(window.totals(at(15_000)).calls, 0);
    }

    #[test]
    fn a_bucket_is_emptied_before_it_is_used_again() {
        let start = Instant::now();
        let mut window = Window::new(Duration::from_secs(10), start);
        window.add(ONE, start);
        let later = start + Duration::from_secs(100);
        window.add(ONE, later);
        assert_eq!(window.totals(later).calls, 1);
    }

    #[test]
    fn a_window_of_no_length_does_not_divide_by_zero() {
        let start = Instant::now();
        let mut window = Window::new(Duration::ZERO, start);
        window.add(ONE, start);
        assert_eq!(window.totals(start).calls, 1);
        assert_eq!(window.totals(start + Duration::from_micros(1)).calls, 0);
    }
}
