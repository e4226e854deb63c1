//! The fixed window: so many requests between two multiples of the window since the Unix epoch.
//!
//! One number per key: which window it is and what was charged in it.

use super::limit::{Plan, Refusal, Standing};

/// What was charged in the newest window of a key; see the module. Starts empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FixedWindow {
    number: u32,
    used: u32,
}

impl FixedWindow {
    /// Both in one number.
    pub fn pack(self) -> u64 {
        u64::from(self.number) << 32 | u64::from(self.used)
    }

    /// The window of [`FixedWindow::pack`].
    pub fn unpack(packed: u64) -> Self {
        Self { number: (packed >> 32) as u32, used: packed as u32 }
    }

    /// The window after a request that takes `cost` at `now`.
    ///
    /// # Errors
    /// [`Refusal`], when there is not enough; the window is then the same as before.
    pub fn charge(self, plan: &Plan, now: u64, cost: u64) -> Result<(Self, Standing), Refusal> {
        let current = self.at(plan, now);
        let used = u64::from(current.used).saturating_add(cost);
        if used > plan.capacity {
            let standing = current.standing(plan, now);
            return Err(Refusal { standing, retry_after: current.end(plan).saturating_sub(now) });
        }
        let after = Self { used: used as u32, ..current };
        Ok((after, after.standing(plan, now)))
    }

    /// What is left at `now`.
    pub fn standing(self, plan: &Plan, now: u64) -> Standing {
        let current = self.at(plan, now);
        let reset = if current.used == 0 { 0 } else { current.end(plan).saturating_sub(now) };
        Standing { remaining: plan.capacity.saturating_sub(current.used.into()), reset }
    }

    /// The window as if a request that took `cost` at `then` had not come. Where another window has begun since, it stays as
    /// it is: what is counted there came from others.
    pub fn refund(self, plan: &Plan, then: u64, cost: u64) -> Self {
        if self.number != number(plan, then) {
            return self;
        }
        Self { used: self.used.saturating_sub(u32::try_from(cost).unwrap_or(u32::MAX)), ..self }
    }

    /// The window at `now`: a new one where a multiple has passed, not the one before. Workers read the clock apart, and
    /// one that is late must not open a window again that another has closed. A number that is further ahead was counted in
    /// shorter windows: those of a share grow with the number of instances.
    fn at(self, plan: &Plan, now: u64) -> Self {
        let number = number(plan, now);
        let is_old = number > self.number || self.number > number + 1;
        if is_old { Self { number, used: 0 } } else { self }
    }

    fn end(self, plan: &Plan) -> u64 {
        (u64::from(self.number) + 1).saturating_mul(plan.window)
    }
}

fn number(plan: &Plan, now: u64) -> u32 {
    u32::try_from(now / plan.window).unwrap_or(u32::MAX - 1)
}
