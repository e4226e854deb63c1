//! The time that everything counted and every alert is put down to: the wall clock's, but it never goes back.
//!
//! A wall clock that is set back, by NTP or by hand, would put requests into seconds that were over already, and have
//! alerts judged by windows that end in the past. Here time goes on instead, at seven eighths of its speed, until the wall
//! clock has caught up: eight minutes after it was set back by one. A clock that is set forward is followed at once.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What both clocks of the machine say at one moment, milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Since the Unix epoch.
    pub wall: i64,
    /// Since any moment of the past; never goes back.
    pub monotonic: i64,
}

impl Reading {
    /// Time at its slowest: what is added to it decides how far ahead of that we are.
    fn slowest(self) -> i64 {
        self.monotonic - self.monotonic / 8
    }
}

/// See the module. May be read from any thread; nobody waits for anybody.
pub struct WallClock {
    read: Box<dyn Fn() -> Reading + Send + Sync>,
    /// The most that the wall clock has ever been ahead of time at its slowest. As neither of the two ever gets less, nor
    /// does their sum.
    ahead: AtomicI64,
}

impl WallClock {
    /// A clock that reads these.
    pub fn of(read: impl Fn() -> Reading + Send + Sync + 'static) -> Self {
        Self { read: Box::new(read), ahead: AtomicI64::new(i64::MIN) }
    }

    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        let reading = (self.read)();
        let ahead = reading.wall - reading.slowest();
        // A store in each request would be felt by the others; there is something to store every eight milliseconds.
        let mut most = self.ahead.load(Ordering::Relaxed);
        if ahead > most {
            most = self.ahead.fetch_max(ahead, Ordering::Relaxed).max(ahead);
        }
        reading.slowest() + most
    }
}

impl Default for WallClock {
    /// The machine's clocks.
    fn default() -> Self {
        let start = Instant::now();
        Self::of(move || {
            // In this order: a thread that is held up between the two must not take the wait for time that has passed.
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let monotonic = start.elapsed();
            let millis = |time: std::time::Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 2);
            Reading { wall: millis(wall), monotonic: millis(monotonic) }
        })
    }
}

/// A clock of a test's own, and what sets it.
#[cfg(test)]
pub(crate) fn by_hand(wall: i64) -> (WallClock, std::sync::Arc<std::sync::Mutex<Reading>>) {
    let hand = std::sync::Arc::new(std::sync::Mutex::new(Reading { wall, monotonic: 0 }));
    let read = hand.clone();
    (WallClock::of(move || *read.lock().unwrap()), hand)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: i64 = 1_700_000_000_000;

    #[test]
    fn time_is_the_wall_clocks_while_that_goes_on() {
        let (clock, hand) = by_hand(T);
        for step in [1, 7, 8, 250, 1_000, 86_400_000] {
            let before = clock.now_ms();
            let mut hand = hand.lock().unwrap();
            (hand.wall, hand.monotonic) = (hand.wall + step, hand.monotonic + step);
            let wall = hand.wall;
            drop(hand);
            let now = clock.now_ms();
            assert!(now >= before && (wall..=wall + 1).contains(&now), "{now} for {wall}");
        }
    }

    #[test]
    fn a_wall_clock_that_is_set_back_by_a_minute_is_met_again_eight_minutes_later() {
        let (clock, hand) = by_hand(T);
        assert_eq!(clock.now_ms(), T);
        hand.lock().unwrap().wall -= 60_000;
        let mut before = T;
        for tenth in 1..=6_000 {
            let wall = {
                let mut hand = hand.lock().unwrap();
                (hand.wall, hand.monotonic) = (hand.wall + 100, hand.monotonic + 100);
                hand.wall
            };
            let now = clock.now_ms();
            assert!((87..=101).contains(&(now - before)), "{} ms are not a tenth of a second", now - before);
            assert_eq!(now <= wall + 1, tenth >= 4_800, "{now} for {wall}");
            before = now;
        }
    }

    #[test]
    fn a_wall_clock_that_is_set_forward_is_followed() {
        let (clock, hand) = by_hand(T);
        assert_eq!(clock.now_ms(), T);
        hand.lock().unwrap().wall += 3_600_000;
        assert_eq!(clock.now_ms(), T + 3_600_000);
    }

    #[test]
    fn the_machines_clocks_are_read() {
        let clock = WallClock::default();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        assert!((clock.now_ms() - wall).abs() < 10_000);
    }
}
