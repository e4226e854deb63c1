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
pub struct SlidingWindow(Log);

/// Most clients have sent one request: theirs is kept without an allocation of its own, in 16 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::box_collection, reason = "a thin pointer keeps the whole at 16 bytes")]
enum Log {
    #[default]
    Empty,
    One {
        end: u64,
        used: u32,
    },
    Many(Box<Vec<Entry>>),
}

const _: () = assert!(size_of::<Option<SlidingWindow>>() == 16);

impl SlidingWindow {
    fn of(entries: Vec<Entry>) -> Self {
        Self(match entries[..] {
            [] => Log::Empty,
            [Entry { end, used }] => Log::One { end, used },
            _ => Log::Many(Box::new(entries)),
        })
    }

    /// The log after a request that takes `cost` at `now`.
    ///
    /// # Errors
    /// [`Refusal`], when there is not enough; the log is then the same as before.
    pub fn charge(&self, plan: &Plan, now: u64, cost: u64) -> Result<(Self, Standing), Refusal> {
        self.live(plan, now, |live| {
            let used = total(live);
            let excess = used.saturating_add(cost).saturating_sub(plan.capacity);
            if excess > 0 {
                let standing = standing(live, plan, now);
                return Err(Refusal { standing, retry_after: wait(live, plan, now, excess) });
            }
            let cost = u32::try_from(cost).unwrap_or(u32::MAX);
            let end = slot_end(plan, now);
            let mut entries = Vec::with_capacity(live.len() + 1);
            entries.extend_from_slice(live);
            match entries.last_mut() {
                // A worker whose clock is read late adds to the newest slot, so that the log stays in order.
                Some(last) if last.end >= end => last.used += cost,
                _ => entries.push(Entry { end, used: cost }),
            }
            let standing = standing(&entries, plan, now);
            Ok((Self::of(entries), standing))
        })
    }

    /// What is left at `now`.
    pub fn standing(&self, plan: &Plan, now: u64) -> Standing {
        self.live(plan, now, |live| standing(live, plan, now))
    }

    /// The log as if a request that took `cost` at `then` had not come.
    pub fn refund(&self, plan: &Plan, then: u64, mut cost: u64) -> Self {
        let mut entries = self.live(plan, then, <[Entry]>::to_vec);
        // Its own entry, or the newer one that it was added to.
        let end = slot_end(plan, then);
        let mut at = entries.partition_point(|entry| entry.end < end);
        while let Some(entry) = entries.get_mut(at).filter(|_| cost > 0) {
            let back = u64::from(entry.used).min(cost);
            entry.used -= back as u32;
            cost -= back;
            at += 1;
        }
        entries.retain(|entry| entry.used > 0);
        Self::of(entries)
    }

    /// Looks at the entries that still count at `now`.
    fn live<T>(&self, plan: &Plan, now: u64, look: impl FnOnce(&[Entry]) -> T) -> T {
        let one;
        let entries: &[Entry] = match &self.0 {
            Log::Empty => &[],
            Log::One { end, used } => {
                one = [Entry { end: *end, used: *used }];
                &one
            }
            Log::Many(entries) => entries,
        };
        let over = entries.partition_point(|entry| entry.end.saturating_add(plan.window) <= now);
        look(&entries[over..])
    }
}

/// The first moment after the slot of `now`.
fn slot_end(plan: &Plan, now: u64) -> u64 {
    (now / plan.slot + 1).saturating_mul(plan.slot)
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
