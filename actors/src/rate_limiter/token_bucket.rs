//! The token bucket, as GCRA (ITU-T I.371): one number per key.
//!
//! The number is the moment at which the bucket would be full again, the theoretical arrival time. A request moves it on
//! by `cost` intervals and passes if it then is no further ahead than a whole bucket. Within any time `t` at most
//! `capacity + t / interval` requests pass.

use super::limit::{Plan, Refusal, Standing};
use super::settings::LONGEST_FILL;

/// One bucket; see the module. Starts full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenBucket {
    full_at: u64,
}

impl TokenBucket {
    /// The bucket as one number.
    pub fn pack(self) -> u64 {
        self.full_at
    }

    /// The bucket of [`TokenBucket::pack`].
    pub fn unpack(packed: u64) -> Self {
        Self { full_at: packed }
    }

    /// A bucket that is full so long after `now`.
    pub fn full_in(nanos: u64, now: u64) -> Self {
        Self { full_at: now.saturating_add(nanos) }
    }

    /// The bucket after a request that takes `cost` tokens at `now`.
    ///
    /// # Errors
    /// [`Refusal`], when there are not enough; the bucket is then the same as before.
    pub fn charge(self, plan: &Plan, now: u64, cost: u64) -> Result<(Self, Standing), Refusal> {
        let full_at = self.full_at.max(now).saturating_add(cost.saturating_mul(plan.interval));
        let (ahead, depth) = (full_at - now, depth(plan));
        if ahead > depth {
            return Err(Refusal { standing: self.standing(plan, now), retry_after: ahead - depth });
        }
        let after = Self { full_at };
        Ok((after, after.standing(plan, now)))
    }

    /// What is left at `now`.
    pub fn standing(self, plan: &Plan, now: u64) -> Standing {
        let reset = self.full_at.saturating_sub(now);
        Standing { remaining: depth(plan).saturating_sub(reset) / plan.interval, reset }
    }

    /// The bucket as if a request that took `cost` had not come.
    pub fn refund(self, plan: &Plan, cost: u64) -> Self {
        Self { full_at: self.full_at.saturating_sub(cost.saturating_mul(plan.interval)) }
    }
}

/// Time in which an empty bucket fills up. One that takes longer than allowed holds less, so that no moment overflows.
fn depth(plan: &Plan) -> u64 {
    plan.capacity.saturating_mul(plan.interval).min(LONGEST_FILL.as_nanos() as u64)
}
