//! What a bucket's state is asked, whatever the algorithm.

use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwap;

use super::fixed_window::FixedWindow;
use super::limit::{Plan, Refusal, Standing};
use super::sliding_window::SlidingWindow;
use super::slots::{LAST, Slot};
use super::token_bucket::TokenBucket;

/// An algorithm's state for one key.
pub trait BucketState: Default {
    /// How workers share it.
    type Slot: Slot<Self>;

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

impl BucketState for TokenBucket {
    type Slot = AtomicU64;

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

impl BucketState for FixedWindow {
    type Slot = AtomicU64;

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

impl BucketState for SlidingWindow {
    type Slot = ArcSwap<Option<Self>>;

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

/// A state that fits into one number.
pub trait PackedState: BucketState {
    fn pack(self) -> u64;
    fn unpack(packed: u64) -> Self;
}

impl PackedState for TokenBucket {
    fn pack(self) -> u64 {
        // The number behind is that of a retired bucket; this one is full in the year 2554.
        Self::pack(self).min(LAST)
    }

    fn unpack(packed: u64) -> Self {
        Self::unpack(packed)
    }
}

impl PackedState for FixedWindow {
    fn pack(self) -> u64 {
        Self::pack(self)
    }

    fn unpack(packed: u64) -> Self {
        Self::unpack(packed)
    }
}
