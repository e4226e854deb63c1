//! The sliding window: never more than the capacity in any stretch of time as long as the window.
//!
//! A log of what was charged when. Up to 128 requests it is exact. A larger capacity is logged in slots of a 128th of the
//! window, and a slot counts until all of it has left the window: never more than the limit passes, and what could pass
//! again passes at most one slot late. (The usual approximation by two counters errs both ways: after an idle window it
//! lets nearly twice the limit pass within one window's time.)
//!
//! A log is a value: charging makes a new one, which is swapped in whole.

use super::limit::{Plan, Refusal, Standing};

/// What was charged in one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    /// First moment after the slot.
    end: u64,
    used: u32,
}

/// The log of one key, oldest slot first; see the module. Starts empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlidingWindow {
    entries: Box<[Entry]>,
}

impl SlidingWindow {
    /// The log after a request that takes `cost` at `now`.
    ///
    /// # Errors
    /// [`Refusal`], when there is not enough; the log is then the same as before.
    pub fn charge(&self, plan: &Plan, now: u64, cost: u64) -> Result<(Self, Standing), Refusal> {
        let live = self.live(plan, now);
        let used = total(live);
        let excess = used.saturating_add(cost).saturating_sub(plan.capacity);
        if excess > 0 {
            let standing = standing(live, plan, now);
            return Err(Refusal { standing, retry_after: wait(live, plan, now, excess) });
        }
        let cost = u32::try_from(cost).unwrap_or(u32::MAX);
        let end = (now / plan.slot + 1).saturating_mul(plan.slot);
        // A worker whose clock is read late adds to the newest slot, so that the log stays in order.
        let entries: Box<[Entry]> = match live.split_last() {
            Some((last, before)) if last.end >= end => {
                let last = Entry { used: last.used + cost, ..*last };
                before.iter().copied().chain([last]).collect()
            }
            _ => live.iter().copied().chain([Entry { end, used: cost }]).collect(),
        };
        let standing = standing(&entries, plan, now);
        Ok((Self { entries }, standing))
    }

    /// What is left at `now`.
    pub fn standing(&self, plan: &Plan, now: u64) -> Standing {
        standing(self.live(plan, now), plan, now)
    }

    /// The log as if the newest request that took `cost` had not come.
    pub fn refund(&self, plan: &Plan, now: u64, mut cost: u64) -> Self {
        let mut entries = self.live(plan, now).to_vec();
        while let Some(last) = entries.last_mut().filter(|_| cost > 0) {
            let back = u64::from(last.used).min(cost);
            last.used -= back as u32;
            cost -= back;
            if last.used == 0 {
                entries.pop();
            }
        }
        Self { entries: entries.into() }
    }

    /// Entries that still count at `now`.
    fn live(&self, plan: &Plan, now: u64) -> &[Entry] {
        let over = self.entries.partition_point(|entry| entry.end.saturating_add(plan.window) <= now);
        &self.entries[over..]
    }
}

fn total(live: &[Entry]) -> u64 {
    live.iter().map(|entry| u64::from(entry.used)).sum()
}

fn standing(live: &[Entry], plan: &Plan, now: u64) -> Standing {
    let reset = live.last().map_or(0, |last| last.end.saturating_add(plan.window).saturating_sub(now));
    Standing { remaining: plan.capacity.saturating_sub(total(live)), reset }
}

/// Time until the oldest entries that hold `excess` together are over.
fn wait(live: &[Entry], plan: &Plan, now: u64, excess: u64) -> u64 {
    let mut freed = 0;
    for entry in live {
        freed += u64::from(entry.used);
        if freed >= excess {
            return entry.end.saturating_add(plan.window).saturating_sub(now);
        }
    }
    plan.window
}
