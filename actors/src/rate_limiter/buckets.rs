//! All buckets of one limit, shared by the workers without a lock.
//!
//! A request finds its bucket by a fingerprint of its key, or begins it, and charges it in one atomic step: what two
//! workers do at once is the same as if one had done it after the other, so that a limit holds exactly over all of them.
//! Idle buckets are swept away by the actor. How many there are over all limits is bounded by a [`KeyQuota`]: beyond it
//! new keys share buckets by network, until the actor has made room among those that have used the least.

use std::convert::Infallible as Never;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::algorithm::BucketState as _;
use super::fixed_window::FixedWindow;
use super::limit::{Plan, Refusal, Standing};
use super::settings::Algorithm;
use super::sliding_window::SlidingWindow;
use super::slots::Slots;
use super::token_bucket::TokenBucket;

/// One in so many buckets is kept for limits that have few, the same number for each.
const RESERVED: usize = 8;

/// How many buckets there are over all limits, and may be.
#[derive(Debug)]
pub struct KeyQuota {
    live: Arc<AtomicUsize>,
    most: AtomicUsize,
    limits: AtomicUsize,
    overflowed: AtomicBool,
}

impl KeyQuota {
    /// None yet, and at most that many, for one limit.
    pub fn new(most: usize) -> Self {
        Self {
            live: Arc::default(),
            most: AtomicUsize::new(most),
            limits: AtomicUsize::new(1),
            overflowed: AtomicBool::new(false),
        }
    }

    /// Buckets now.
    pub fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Buckets at most.
    pub fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// Another bound, and so many limits that it is for, from a reload.
    pub fn set_most(&self, most: usize, limits: usize) {
        self.most.store(most, Ordering::Relaxed);
        self.limits.store(limits.max(1), Ordering::Relaxed);
    }

    /// Whether a limit that has so many buckets has no more than nobody else can take from it. A limit that is alone takes
    /// nothing from anybody.
    pub(super) fn is_modest(&self, own: usize) -> bool {
        match self.limits.load(Ordering::Relaxed) {
            1 => false,
            limits => own < self.most() / RESERVED / limits,
        }
    }

    /// Whether more than half of the room is taken.
    pub(super) fn is_scarce(&self) -> bool {
        self.live() > self.most() / 2
    }

    /// Whether a key had to share a bucket since the last time this was asked.
    pub fn take_overflowed(&self) -> bool {
        self.overflowed.swap(false, Ordering::Relaxed)
    }

    /// Counts a bucket to be begun, for a limit that has `own` already; false when there may be no more.
    pub(super) fn acquire(&self, own: usize) -> bool {
        let (most, several) = (self.most(), self.limits.load(Ordering::Relaxed) > 1);
        // Whoever fills one limit fills no other's.
        let bound = if several && !self.is_modest(own) { most - most / RESERVED } else { most };
        let room = |live| (live < bound).then_some(live + 1);
        let acquired = self.live.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok();
        if !acquired {
            self.overflowed.store(true, Ordering::Relaxed);
        }
        acquired
    }

    /// The number of buckets, for limits that go with buckets in them.
    pub(super) fn count(&self) -> Arc<AtomicUsize> {
        self.live.clone()
    }

    pub(super) fn release(&self, buckets: usize) {
        self.live.fetch_sub(buckets, Ordering::Relaxed);
    }
}

/// The buckets of one limit.
pub struct Buckets(Kind);

enum Kind {
    Token(Slots<TokenBucket>),
    Sliding(Slots<SlidingWindow>),
    Fixed(Slots<FixedWindow>),
}

/// The same call on whichever kind it is.
macro_rules! any {
    ($buckets:expr, $kept:ident => $call:expr) => {
        match &$buckets.0 {
            Kind::Token($kept) => $call,
            Kind::Sliding($kept) => $call,
            Kind::Fixed($kept) => $call,
        }
    };
}

impl Buckets {
    /// No buckets of that algorithm yet.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::TokenBucket => Kind::Token(Slots::new()),
            Algorithm::SlidingWindow => Kind::Sliding(Slots::new()),
            Algorithm::FixedWindow => Kind::Fixed(Slots::new()),
        })
    }

    /// Charges a request that takes `cost` at `now`. `plan` must be of the same algorithm each time.
    ///
    /// # Errors
    /// [`Refusal`], when there is not enough; nothing is charged then.
    pub fn charge(
        &self,
        key_quota: &KeyQuota,
        plan: &Plan,
        key: u64,
        now: u64,
        cost: u64,
    ) -> Result<Standing, Refusal> {
        any!(self, kept => kept.replace(key_quota, key, |state| state.charge(plan, now, cost)))
    }

    /// What a request that takes `cost` at `now` would meet; charges nothing and begins no bucket.
    ///
    /// # Errors
    /// [`Refusal`], when there is not enough.
    pub fn probe(&self, plan: &Plan, key: u64, now: u64, cost: u64) -> Result<Standing, Refusal> {
        any!(self, kept => kept.read(key, |state| state.charge(plan, now, cost).map(|(_, standing)| standing)))
    }

    /// What is left of a bucket.
    pub fn standing(&self, plan: &Plan, key: u64, now: u64) -> Standing {
        any!(self, kept => kept.read(key, |state| state.standing(plan, now)))
    }

    /// Takes back a charge of `cost` at `then`.
    pub fn refund(&self, key_quota: &KeyQuota, plan: &Plan, key: u64, then: u64, cost: u64) {
        any!(self, kept => {
            let _ = kept.replace(key_quota, key, |state| Ok::<_, Never>((state.refund(plan, then, cost), ())));
        });
    }

    /// Takes out the buckets that are as good as new. Answers how many.
    pub fn sweep(&self, key_quota: &KeyQuota, plan: &Plan, now: u64) -> usize {
        any!(self, kept => kept.remove(key_quota, |state| state.standing(plan, now).reset == 0))
    }

    /// Counts the buckets by the 16th of their limit that is used up: `[0]` holds those that used the least.
    pub fn by_use(&self, plan: &Plan, now: u64) -> [usize; 16] {
        let mut counts = [0; 16];
        any!(self, kept => kept.each(|state| counts[sixteenth(plan, state.standing(plan, now))] += 1));
        counts
    }

    /// Takes out the buckets that have used at most that many 16ths of their limit. Answers how many.
    pub fn evict(&self, key_quota: &KeyQuota, plan: &Plan, now: u64, sixteenths: usize) -> usize {
        let little = |standing| sixteenth(plan, standing) <= sixteenths;
        any!(self, kept => kept.remove(key_quota, |state| little(state.standing(plan, now))))
    }

    /// Takes out all of them.
    pub(super) fn clear(&self, key_quota: &KeyQuota) {
        any!(self, kept => kept.remove(key_quota, |_| true));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        any!(self, kept => kept.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn sixteenth(plan: &Plan, standing: Standing) -> usize {
    let used = plan.capacity.saturating_sub(standing.remaining);
    (used.saturating_mul(16) / plan.capacity.max(1)).min(15) as usize
}
