//! The time that everything counted and every alert is put down to: the wall clock's, but it does not go back by a little.
//!
//! A wall clock that is set back, by NTP or by hand, would put requests into seconds that were over already, and have
//! alerts judged by windows that end in the past. Here time goes on instead, at seven eighths of its speed, until the wall
//! clock has caught up: eight minutes after it was set back by one. A clock that is set forward is followed at once, the
//! machine's within 20 milliseconds; and so is one that is set back by more than an hour: it was wrong before, and what is
//! counted in the months until it has caught up would be told of a time to come.

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What both clocks of the machine say at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Milliseconds since the Unix epoch.
    pub wall: i64,
    /// Never goes back.
    pub at: Instant,
}

impl Reading {
    /// The machine's clocks.
    pub fn now() -> Self {
        // In this order: a thread that is held up between the two must not take the wait for time that has passed.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { wall: millis(wall), at: Instant::now() }
    }
}

/// See the module. May be read from any thread; nobody waits for anybody.
pub struct WallClock {
    start: Instant,
    read: Box<dyn Fn() -> Reading + Send + Sync>,
    /// The most that the wall clock has been ahead of time at its slowest, since it was last set back by more than
    /// [`SET_BACK`]. As neither of the two gets less, nor does their sum.
    ahead: AtomicI64,
}

impl WallClock {
    /// A clock that reads these.
    pub fn of(read: impl Fn() -> Reading + Send + Sync + 'static) -> Self {
        Self { start: read().at, read: Box::new(read), ahead: AtomicI64::new(i64::MIN) }
    }

    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        self.stamp().0
    }

    /// The same, and the moment that it was.
    pub fn stamp(&self) -> (i64, Instant) {
        let Reading { wall, at } = (self.read)();
        let passed = millis(at.saturating_duration_since(self.start));
        // Time at its slowest: what is added to it decides how far ahead of that we are.
        let slowest = passed - passed / 8;
        let ahead = wall - slowest;
        // A store in each request would be felt by the others; there is something to store every eight milliseconds.
        let mut most = self.ahead.load(Ordering::Relaxed);
        if ahead > most {
            most = self.ahead.fetch_max(ahead, Ordering::Relaxed).max(ahead);
        } else if most - ahead > SET_BACK
            && self.ahead.compare_exchange(most, ahead, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            most = ahead;
        }
        (slowest + most, at)
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 2)
}

/// A clock that is set back by more milliseconds is followed.
const SET_BACK: i64 = 3_600_000;

/// How long a thread counts on from what the wall clock said, before it looks at it again.
const COUNTED_ON: Duration = Duration::from_millis(20);

impl Default for WallClock {
    /// The machine's clocks.
    fn default() -> Self {
        thread_local! {
            /// What this thread has read of both.
            static READ: Cell<Option<Reading>> = const { Cell::new(None) };
        }
        Self::of(|| {
            let now = Instant::now();
            if let Some(Reading { wall, at }) = READ.get() {
                let passed = now.saturating_duration_since(at);
                if passed < COUNTED_ON {
                    return Reading { wall: wall + millis(passed), at: now };
                }
            }
            let read = Reading::now();
            READ.set(Some(read));
            read
        })
    }
}

/// A clock of a test's own, and what sets it.
#[cfg(test)]
pub(crate) fn by_hand(wall: i64) -> (WallClock, std::sync::Arc<std::sync::Mutex<Reading>>) {
    let hand = std::sync::Arc::new(std::sync::Mutex::new(Reading { wall, at: Instant::now() }));
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
            hand.wall += step;
            hand.at += Duration::from_millis(step as u64);
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
                hand.wall += 100;
                hand.at += Duration::from_millis(100);
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
    fn a_wall_clock_that_was_far_ahead_is_followed_back() {
        let (clock, hand) = by_hand(T);
        assert_eq!(clock.now_ms(), T);
        for ahead in [SET_BACK + 1, 40 * 86_400_000] {
            hand.lock().unwrap().wall = T + ahead;
            assert_eq!(clock.now_ms(), T + ahead);
            hand.lock().unwrap().wall = T;
            assert_eq!(clock.now_ms(), T);
        }
        hand.lock().unwrap().wall = T - SET_BACK;
        assert_eq!(clock.now_ms(), T);
    }

    #[test]
    fn the_machines_clocks_are_read() {
        let clock = WallClock::default();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        assert!((clock.now_ms() - wall).abs() < 10_000);
    }
}
