//! How many wrong credentials one client address may present: a table of counts that all workers share.
//!
//! Owns the counts of this instance. They lie in a table of fixed size, so that a flood of addresses takes no memory and is
//! swept away by nobody: what is of an earlier window is free. No lock, no allocation. Knows nothing of requests and has no
//! clock; the gateway asks [`FailureLimit::holds`] before it spends work on a credential, and tells of each wrong one by
//! [`FailureLimit::count`].
//!
//! An address may lie in any of the eight places of its set, which a secret of the process decides. Where all eight are taken,
//! the one with the fewest failures gives way, and one that has reached the limit never does. So a client that is held stays
//! held, and one on the way there is only forgotten by whoever presents as many wrong credentials as it has from seven further
//! addresses of its set, which nobody can find without trying all sets. New ones that find no place are let pass; innocents
//! are never counted under another's name.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::config::settings::auth::failure_limit as settings;

#[cfg(test)]
mod tests;

/// Addresses at most: 2.4 MB.
const PLACES: usize = 100_000;
const WAYS: usize = 8;

/// Wrong credentials by client address, in windows that follow one another.
pub struct FailureLimit {
    failures: u32,
    /// Seconds.
    window: u64,
    ipv6_prefix: u8,
    secret: RandomState,
    sets: Box<[Set]>,
    /// The newest window in which something was counted: before it nobody need look.
    newest: AtomicU64,
}

/// Eight places. The states fill one line of the cache.
#[derive(Default)]
#[repr(align(64))]
struct Set {
    states: [AtomicU64; WAYS],
    /// Whose they are: an address in two halves, which mean nothing where the state is empty.
    addresses: [[AtomicU64; 2]; WAYS],
}

/// What a place holds, in one word, so that it changes in one step: from the top the window (32 bits), how often the place has
/// changed hands (12 bits, of which the lowest says that it is just doing so), the failures (20 bits). 0 = never used.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State(u64);

const FAILURES: u32 = 20;
const HANDS: u32 = 12;

impl State {
    fn new(window: u64, hands: u64, failures: u64) -> Self {
        Self(window << (HANDS + FAILURES) | (hands & ((1 << HANDS) - 1)) << FAILURES | failures)
    }

    fn window(self) -> u64 {
        self.0 >> (HANDS + FAILURES)
    }

    fn hands(self) -> u64 {
        self.0 >> FAILURES & ((1 << HANDS) - 1)
    }

    fn failures(self) -> u64 {
        self.0 & ((1 << FAILURES) - 1)
    }

    fn is_changing_hands(self) -> bool {
        self.hands() & 1 == 1
    }

    /// Whether it counts in this window. One that a worker has begun whose clock is a little ahead does; one from farther ahead
    /// is from before the clock was set back.
    fn is_of(self, window: u64) -> bool {
        (window..=window + 1).contains(&self.window())
    }
}

impl FailureLimit {
    /// Nothing is counted yet. `ipv6_prefix`: so many leading bits are one client.
    pub fn new(settings: &settings::FailureLimit, ipv6_prefix: u8) -> Self {
        Self::with_places(settings, ipv6_prefix, PLACES)
    }

    fn with_places(settings: &settings::FailureLimit, ipv6_prefix: u8, places: usize) -> Self {
        let sets = if settings.failures == 0 { 0 } else { places / WAYS };
        Self {
            failures: settings.failures,
            window: settings.window.as_secs().max(1),
            ipv6_prefix,
            secret: RandomState::new(),
            sets: (0..sets).map(|_| Set::default()).collect(),
            newest: AtomicU64::new(0),
        }
    }

    /// Whether it counts as these settings ask: a reload that does not change them keeps what was counted.
    pub fn is_as(&self, settings: &settings::FailureLimit, ipv6_prefix: u8) -> bool {
        let own = (self.failures, self.window, self.ipv6_prefix);
        own == (settings.failures, settings.window.as_secs().max(1), ipv6_prefix)
    }

    /// Whether the client has reached the limit: in how many seconds its window ends, at least 1. `now` is in seconds since the
    /// Unix epoch.
    pub fn holds(&self, client: IpAddr, now: u64) -> Option<u64> {
        let window = self.window_at(now);
        if self.newest.load(Ordering::Acquire) < window {
            return None;
        }
        let address = self.address(client);
        let failures: u64 = self.set(address)?.of(address, window).sum();
        let ends = (window + 1) * self.window;
        (failures >= self.failures.into()).then(|| ends.saturating_sub(now).max(1))
    }

    /// Counts a wrong credential of the client.
    pub fn count(&self, client: IpAddr, now: u64) {
        let (window, address) = (self.window_at(now), self.address(client));
        if let Some(set) = self.set(address) {
            set.count(address, window, self.failures.into());
            // Written once in a window, for all workers read it.
            if self.newest.load(Ordering::Relaxed) < window {
                self.newest.fetch_max(window, Ordering::Release);
            }
        }
    }

    /// From 1 on, so that a place which was never used is of none.
    fn window_at(&self, now: u64) -> u64 {
        (now / self.window).clamp(1, u32::MAX.into())
    }

    fn address(&self, client: IpAddr) -> u128 {
        match client.to_canonical() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
            IpAddr::V6(v6) => {
                let host = 128 - u32::from(self.ipv6_prefix.min(128));
                u128::from(v6) & u128::MAX.checked_shl(host).unwrap_or(0)
            }
        }
    }

    fn set(&self, address: u128) -> Option<&Set> {
        let hash = self.secret.hash_one(address);
        self.sets.get((hash % self.sets.len().max(1) as u64) as usize)
    }
}

impl Set {
    /// What is counted of the address. Two workers that see it first at the same time may have begun two places for it.
    fn of(&self, address: u128, window: u64) -> impl Iterator<Item = u64> + '_ {
        (0..WAYS).filter_map(move |at| {
            let state = self.state(at);
            if !state.is_of(window) || state.is_changing_hands() || self.address(at) != address {
                return None;
            }
            // What was read of the address is of this state, or of none.
            fence(Ordering::Acquire);
            let still = State(self.states[at].load(Ordering::Relaxed));
            (still.hands() == state.hands() && still.is_of(window)).then(|| still.failures())
        })
    }

    fn count(&self, address: u128, window: u64, most: u64) {
        // Each round that ends without a count has lost a place to another worker, which has counted.
        while !self.count_on(address, window, most) && !self.begin(address, window, most) {}
    }

    /// Counts where the address is; false where it is nowhere.
    fn count_on(&self, address: u128, window: u64, most: u64) -> bool {
        for at in 0..WAYS {
            loop {
                let state = self.state(at);
                if !state.is_of(window) || state.is_changing_hands() || self.address(at) != address {
                    break;
                }
                if state.failures() >= most {
                    return true;
                }
                // That it succeeds says that the place was the address's all the time.
                let more = state.0 + 1;
                if self.states[at]
                    .compare_exchange(state.0, more, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok()
                {
                    return true;
                }
            }
        }
        false
    }

    /// Begins with one failure; false where another worker was faster. Where there is no place, nothing is begun.
    fn begin(&self, address: u128, window: u64, most: u64) -> bool {
        let mut given: Option<(usize, State)> = None;
        for at in 0..WAYS {
            let state = self.state(at);
            if state.is_changing_hands() {
                continue;
            }
            if !state.is_of(window) {
                given = Some((at, state));
                break;
            }
            let fewer = given.is_none_or(|(_, other)| state.failures() < other.failures());
            if state.failures() < most && fewer {
                given = Some((at, state));
            }
        }
        let Some((at, state)) = given else { return true };
        let changing = State::new(window, state.hands() + 1, 0);
        if self.states[at].compare_exchange(state.0, changing.0, Ordering::AcqRel, Ordering::Relaxed).is_err()
        {
            return false;
        }
        // Whoever reads the new address sees the state that says so, too.
        fence(Ordering::Release);
        let [high, low] = &self.addresses[at];
        high.store((address >> 64) as u64, Ordering::Relaxed);
        low.store(address as u64, Ordering::Relaxed);
        self.states[at].store(State::new(window, state.hands() + 2, 1).0, Ordering::Release);
        true
    }

    fn state(&self, at: usize) -> State {
        State(self.states[at].load(Ordering::Acquire))
    }

    fn address(&self, at: usize) -> u128 {
        let [high, low] = &self.addresses[at];
        u128::from(high.load(Ordering::Relaxed)) << 64 | u128::from(low.load(Ordering::Relaxed))
    }
}
