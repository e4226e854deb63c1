//! Coarse deadlines: one timer per worker instead of one per request.
//!
//! A deadline that is not reached (nearly all of them) costs an insert and a removal in a thread-local slab; no timer
//! of the runtime is created, moved or cancelled. Resolution is [`TICK`]; a deadline never fires early.

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Resolution: a deadline fires up to two ticks late, beside the scheduler's own lag.
pub const TICK: Duration = Duration::from_millis(5);
const SLOTS: u64 = 256;

thread_local! {
    static WHEEL: RefCell<Wheel> = RefCell::new(Wheel::new(Instant::now()));
}

/// One armed deadline.
struct Entry {
    generation: u32,
    due: u64,
    waker: Option<Waker>,
    fired: bool,
}

/// Hashed wheel over a slab. A slot names entries by index and generation, so removal need not touch the slot; an
/// entry further away than one turn waits in the last slot of the turn and is put forward from there, which bounds
/// what removed entries leave behind to one turn.
struct Wheel {
    base: Instant,
    swept: u64,
    slots: Vec<Vec<(usize, u32)>>,
    entries: Vec<Entry>,
    free: Vec<usize>,
    live: usize,
    ticker: Ticker,
}

/// Whoever turns the wheel.
enum Ticker {
    /// Nobody yet.
    None,
    Running,
    /// Waits until something is armed.
    Idle(Waker),
}

impl Wheel {
    fn new(base: Instant) -> Self {
        Self {
            base,
            swept: 0,
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            entries: Vec::new(),
            free: Vec::new(),
            live: 0,
            ticker: Ticker::None,
        }
    }

    /// The first tick at or after `at`.
    fn tick_of(&self, at: Instant) -> u64 {
        let nanos = at.saturating_duration_since(self.base).as_nanos();
        u64::try_from(nanos.div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX)
    }

    fn insert(&mut self, at: Instant, waker: Waker) -> (usize, u32) {
        let due = self.tick_of(at).max(self.swept + 1);
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry { generation: 0, due: 0, waker: None, fired: false });
            self.entries.len() - 1
        });
        let entry = &mut self.entries[index];
        (entry.due, entry.waker, entry.fired) = (due, Some(waker), false);
        let key = (index, entry.generation);
        self.live += 1;
        self.place(key, due);
        key
    }

    fn place(&mut self, key: (usize, u32), due: u64) {
        let slot = due.min(self.swept + SLOTS - 1) % SLOTS;
        self.slots[slot as usize].push(key);
    }

    fn remove(&mut self, (index, generation): (usize, u32)) {
        let entry = &mut self.entries[index];
        if entry.generation == generation {
            entry.generation = entry.generation.wrapping_add(1);
            entry.waker = None;
            self.free.push(index);
            self.live -= 1;
        }
    }

    /// Fires what is due at `now`; the wakers are returned so that they run outside the borrow.
    fn advance(&mut self, now: Instant) -> Vec<Waker> {
        let nanos = now.saturating_duration_since(self.base).as_nanos();
        let until = u64::try_from(nanos / TICK.as_nanos()).unwrap_or(u64::MAX);
        let mut wakers = Vec::new();
        // After a long stall one turn looks at every slot.
        let from = (self.swept + 1).max(until.saturating_sub(SLOTS - 1));
        for tick in from..=until {
            let slot = std::mem::take(&mut self.slots[(tick % SLOTS) as usize]);
            self.swept = tick;
            for key in slot {
                let entry = &mut self.entries[key.0];
                if entry.generation != key.1 {
                    continue;
                }
                if entry.due <= until {
                    entry.fired = true;
                    wakers.extend(entry.waker.take());
                } else {
                    let due = entry.due;
                    self.place(key, due);
                }
            }
        }
        self.swept = self.swept.max(until);
        wakers
    }
}

/// A deadline, armed by its first poll.
pub struct Deadline {
    at: Instant,
    key: Option<(usize, u32)>,
}

impl Deadline {
    /// Fires at `at` or up to two [`TICK`]s later.
    pub fn at(at: Instant) -> Self {
        Self { at, key: None }
    }

    fn disarm(&mut self) {
        if let Some(key) = self.key.take() {
            WHEEL.with_borrow_mut(|wheel| wheel.remove(key));
        }
    }

    /// `Ready` once the deadline has passed.
    pub fn poll_passed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let start = WHEEL.with_borrow_mut(|wheel| match self.key {
            Some((index, _)) => {
                let entry = &mut wheel.entries[index];
                if entry.fired {
                    return Err(());
                }
                if !entry.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
                    entry.waker = Some(cx.waker().clone());
                }
                Ok(false)
            }
            None => {
                self.key = Some(wheel.insert(self.at, cx.waker().clone()));
                match std::mem::replace(&mut wheel.ticker, Ticker::Running) {
                    Ticker::None => return Ok(true),
                    Ticker::Running => {}
                    Ticker::Idle(waker) => waker.wake(),
                }
                Ok(false)
            }
        });
        match start {
            Err(()) => Poll::Ready(()),
            Ok(start) => {
                if start {
                    actix_rt::spawn(tick());
                }
                Poll::Pending
            }
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.disarm();
    }
}

/// Starts this thread's ticker. The first deadline would do it too, but not from inside an exchange, where nothing
/// may be spawned.
pub fn start() {
    let start = WHEEL.with_borrow_mut(|wheel| {
        let none = matches!(wheel.ticker, Ticker::None);
        if none {
            wheel.ticker = Ticker::Running;
        }
        none
    });
    if start {
        actix_rt::spawn(tick());
    }
}

/// Turns the wheel while anything is armed.
async fn tick() {
    /// A ticker that ends (its runtime is shut down) must not keep the next one from starting.
    struct Ended;
    impl Drop for Ended {
        fn drop(&mut self) {
            let _ = WHEEL.try_with(|wheel| wheel.borrow_mut().ticker = Ticker::None);
        }
    }
    let _ended = Ended;
    loop {
        std::future::poll_fn(|cx| {
            WHEEL.with_borrow_mut(|wheel| match wheel.live {
                0 => {
                    wheel.ticker = Ticker::Idle(cx.waker().clone());
                    Poll::Pending
                }
                _ => Poll::Ready(()),
            })
        })
        .await;
        tokio::time::sleep(TICK).await;
        let wakers = WHEEL.with_borrow_mut(|wheel| wheel.advance(Instant::now()));
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Gives `future` until `at`: `None` when that passed first.
pub async fn timeout_at<F: Future>(at: Instant, future: F) -> Option<F::Output> {
    let (mut future, mut deadline) = (pin!(future), Deadline::at(at));
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => deadline.poll_passed(cx).map(|()| None),
    })
    .await
}

/// `Instant` arithmetic without panic on absurd configuration values.
pub fn saturating_deadline(from: Instant, duration: Duration) -> Instant {
    from.checked_add(duration).unwrap_or_else(|| from + Duration::from_secs(365 * 24 * 3600))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noop() -> Waker {
        Waker::noop().clone()
    }

    #[test]
    fn nothing_fires_early_and_everything_within_a_tick() {
        let base = Instant::now();
        let mut wheel = Wheel::new(base);
        for ms in [1, 5, 7, 100, 1_270, 1_300, 5_000, 60_000] {
            let at = Duration::from_millis(ms);
            let key = wheel.insert(base + at, noop());
            let mut now = wheel.base + TICK * wheel.swept as u32;
            while !wheel.entries[key.0].fired {
                now += TICK;
                wheel.advance(now);
                assert!(
                    now.duration_since(base) < at + TICK * 2 || wheel.entries[key.0].fired,
                    "{ms} ms is late"
                );
            }
            assert!(now.duration_since(base) >= at, "{ms} ms fired early");
            wheel.remove(key);
        }
        assert_eq!(wheel.live, 0);
    }

    #[test]
    fn a_removed_entry_leaves_nothing_after_one_turn() {
        let base = Instant::now();
        let mut wheel = Wheel::new(base);
        for _ in 0..10_000 {
            let key = wheel.insert(base + Duration::from_secs(30), noop());
            wheel.remove(key);
        }
        assert_eq!(wheel.entries.len(), 1);
        wheel.advance(base + TICK * SLOTS as u32);
        assert_eq!(wheel.slots.iter().map(Vec::len).sum::<usize>(), 0);
    }

    #[test]
    fn a_stall_of_many_turns_fires_everything_due() {
        let base = Instant::now();
        let mut wheel = Wheel::new(base);
        let keys: Vec<_> =
            (1..2_000).map(|ms| wheel.insert(base + Duration::from_millis(ms), noop())).collect();
        wheel.advance(base + Duration::from_secs(100));
        assert!(keys.iter().all(|key| wheel.entries[key.0].fired));
    }

    #[actix_rt::test]
    async fn a_future_that_never_ends_is_given_up() {
        assert_eq!(timeout_at(Instant::now() + TICK, std::future::pending::<()>()).await, None);
        assert_eq!(timeout_at(Instant::now() + Duration::from_secs(60), async { 7 }).await, Some(7));
    }
}
