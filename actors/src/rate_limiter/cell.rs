//! A bucket's state, as a word or as a cell that all workers share and replace in one atomic step.

use std::sync::Arc;

use arc_swap::ArcSwap;

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

    /// The state as if a request that took `cost` had not come.
    fn refund(&self, plan: &Plan, now: u64, cost: u64) -> Self;
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

/// A shared state. A cell that has been retired is about to leave its map: whoever finds it there has to take it out and
/// begin a new one, so that no charge is lost with it.
pub trait Cell: Send + Sync {
    type State: State;

    /// A cell in its algorithm's first state.
    fn fresh() -> Self;

    /// Replaces the state by what `change` makes of it, which may be asked again when another worker was faster; its
    /// error leaves the state as it is. `None` when the cell is retired.
    fn replace<T, E>(
        &self,
        change: impl FnMut(&Self::State) -> Result<(Self::State, T), E>,
    ) -> Option<Result<T, E>>;

    /// Reads the state. `None` when the cell is retired.
    fn read<T>(&self, look: impl FnOnce(&Self::State) -> T) -> Option<T>;

    /// Retires the cell if its state is such; answers whether it has been retired, now or before.
    fn retire_if(&self, such: impl Fn(&Self::State) -> bool) -> bool;
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

/// A [`Cell`] whose state is a value on the heap, swapped whole; `None` = retired.
pub struct LogCell(ArcSwap<Option<SlidingWindow>>);

impl Cell for LogCell {
    type State = SlidingWindow;

    fn fresh() -> Self {
        Self(ArcSwap::from_pointee(Some(SlidingWindow::default())))
    }

    fn replace<T, E>(
        &self,
        mut change: impl FnMut(&SlidingWindow) -> Result<(SlidingWindow, T), E>,
    ) -> Option<Result<T, E>> {
        loop {
            let seen = self.0.load();
            let (after, answer) = match change(seen.as_ref().as_ref()?) {
                Ok(changed) => changed,
                Err(error) => return Some(Err(error)),
            };
            let found = self.0.compare_and_swap(&*seen, Arc::new(Some(after)));
            if Arc::ptr_eq(&found, &seen) {
                return Some(Ok(answer));
            }
        }
    }

    fn read<T>(&self, look: impl FnOnce(&SlidingWindow) -> T) -> Option<T> {
        self.0.load().as_ref().as_ref().map(look)
    }

    fn retire_if(&self, such: impl Fn(&SlidingWindow) -> bool) -> bool {
        let seen = self.0.load();
        match seen.as_ref() {
            None => true,
            Some(state) if such(state) => {
                Arc::ptr_eq(&self.0.compare_and_swap(&*seen, Arc::new(None)), &seen)
            }
            Some(_) => false,
        }
    }
}
