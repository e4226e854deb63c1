//! What a bucket's state is asked, whatever the algorithm.

use super::fixed_window::FixedWindow;
use super::limit::{Plan, Refusal, Standing};
use super::sliding_window::SlidingWindow;
use super::token_bucket::TokenBucket;
use super::words::LAST;

/// An algorithm's state for one key.
pub trait State: Default {
    /// The state after a request that takes `cost` at `now`.
    ///
    /// # Errors
    /// [`Refusal`], when there is not enough; the state is then the same as before.
    fn charge(&self, plan: &Plan, now: u64, cost: u64) -> Result<(Self, Standing), Refusal>;

    /// What is left at `now`.
    fn standing(&self, plan: &Plan, now: u64) -> Standing;

    /// The state as if a request that took `cost` at `then` had not come.
    fn refund(&self, plan: &Plan, then: u64, cost: u64) -> Self;
}

impl State for TokenBucket {
    fn charge(&self, plan: &Plan, now: u64, cost: u64) -> Result<(Self, Standing), Refusal> {
        Self::charge(*self, plan, now, cost)
    }

    fn standing(&self, plan: &Plan, now: u64) -> Standing {
        Self::standing(*self, plan, now)
    }

    fn refund(&self, plan: &Plan, _: u64, cost: u64) -> Self {
        Self::refund(*self, plan, cost)
    }
}

impl State for FixedWindow {
    fn charge(&self, plan: &Plan, now: u64, cost: u64) -> Result<(Self, Standing), Refusal> {
        Self::charge(*self, plan, now, cost)
    }

    fn standing(&self, plan: &Plan, now: u64) -> Standing {
        Self::standing(*self, plan, now)
    }

    fn refund(&self, plan: &Plan, now: u64, cost: u64) -> Self {
        Self::refund(*self, plan, now, cost)
    }
}

impl State for SlidingWindow {
    fn charge(&self, plan: &Plan, now: u64, cost: u64) -> Result<(Self, Standing), Refusal> {
        Self::charge(self, plan, now, cost)
    }

    fn standing(&self, plan: &Plan, now: u64) -> Standing {
        Self::standing(self, plan, now)
    }

    fn refund(&self, plan: &Plan, now: u64, cost: u64) -> Self {
        Self::refund(self, plan, now, cost)
    }
}

/// A state that fits a word. The first state is zero.
pub trait Word: State {
    fn pack(self) -> u64;
    fn unpack(word: u64) -> Self;
}

impl Word for TokenBucket {
    fn pack(self) -> u64 {
        // The words behind are taken; that bucket is full in the year 2554.
        Self::pack(self).min(LAST)
    }

    fn unpack(word: u64) -> Self {
        Self::unpack(word)
    }
}

impl Word for FixedWindow {
    fn pack(self) -> u64 {
        Self::pack(self)
    }

    fn unpack(word: u64) -> Self {
        Self::unpack(word)
    }
}
