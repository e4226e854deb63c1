//! What this instance has leased from the shared store, per key, for the workers to spend.
//!
//! The actor writes a lease when the store has answered; any worker spends from it in one atomic step and asks the actor
//! only when nothing is left. A refusal is kept as well, until it is over: a flood of refused requests asks nobody.

use std::hash::BuildHasherDefault;
use std::sync::atomic::{AtomicU64, Ordering};

use super::buckets::KeyQuota;
use super::key::AsIs;
use super::limit::{Plan, Refusal, Standing};
use super::settings::Algorithm;
use super::token_bucket::TokenBucket;

/// Bits of [`LeaseSlot::lease`] that count requests; the others are when it ends, in units of 2^20 ns.
const COUNT_BITS: u32 = 20;

/// A client that is refused only because the store is late is told to wait for at most a second.
const LATE: u64 = 1_000_000_000;

/// Above 50 000 keys of a limit, those with nothing leased are forgotten at each sweep: a look at a key takes 0.1 µs, on the
/// thread whose answers requests wait for.
const REMEMBERED: usize = 50_000;

/// Requests that a lease holds at most.
pub const LARGEST: u64 = (1 << COUNT_BITS) - 1;

/// One key's lease.
#[derive(Debug, Default)]
struct LeaseSlot {
    /// Requests to spend, and until when: one packed, so that nobody spends a lease that another has replaced.
    lease: AtomicU64,
    /// The store has refused the key, and is not asked again until then.
    refused_until: AtomicU64,
    /// When the store grants again for sure: what the refused are told. Later than `refused_until` by as long as the
    /// answer took, for nobody knows when on its way the store decided.
    open_at: AtomicU64,
    /// The store does not answer for the key and is not asked until then.
    back_off_until: AtomicU64,
    /// What the store said was left beside the lease.
    beside: AtomicU64,
    /// When the whole limit is available again, as the store said.
    reset_at: AtomicU64,
    /// What has passed since then while the store was late.
    provisional: AtomicU64,
}

fn pack(count: u64, until: u64) -> u64 {
    // Rounded down: a lease may end early, never late.
    (until >> COUNT_BITS) << COUNT_BITS | count.min(LARGEST)
}

/// Count and end of a lease; nothing where it is over at `now`.
fn unpack(packed: u64, now: u64) -> (u64, u64) {
    let (count, until) = (packed & LARGEST, packed & !LARGEST);
    (if until > now { count } else { 0 }, until)
}

impl LeaseSlot {
    fn standing(&self, left: u64, now: u64) -> Standing {
        let reset = self.reset_at.load(Ordering::Relaxed).saturating_sub(now);
        Standing { remaining: self.beside.load(Ordering::Relaxed) + left, reset }
    }

    /// What a request gets for which not enough is leased.
    fn without_lease(&self, now: u64) -> Spending {
        if self.refused_until.load(Ordering::Relaxed) > now {
            let retry_after = self.open_at.load(Ordering::Relaxed).saturating_sub(now).max(1);
            return Spending::Refused(Refusal { standing: self.standing(0, now), retry_after });
        }
        if self.back_off_until.load(Ordering::Relaxed) > now { Spending::BackOff } else { Spending::Ask }
    }

    /// Notes what the store said of the key.
    fn learn(&self, news: News) {
        self.beside.store(news.remaining, Ordering::Relaxed);
        self.reset_at.store(news.reset_at, Ordering::Relaxed);
        self.provisional.store(news.provisional, Ordering::Relaxed);
    }

    /// Adds to the lease what may be spent until `until`.
    fn add(&self, count: u64, until: u64, now: u64) {
        let _ = self.lease.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |packed| {
            let (left, ends) = unpack(packed, now);
            // Old and new are spent from one packed: the earlier end holds for both.
            Some(pack(left + count, if left == 0 { until } else { until.min(ends) }))
        });
    }
}

/// All leases of one limit.
#[derive(Default)]
pub struct Leases {
    map: papaya::HashMap<u64, LeaseSlot, BuildHasherDefault<AsIs>>,
}

/// What a request gets of a key's lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spending {
    /// What may be put back until `until`.
    Spent { standing: Standing, until: u64 },
    /// The store has refused the key, and that still holds.
    Refused(Refusal),
    /// The store has not answered for the key and is not to be asked yet.
    BackOff,
    /// The store has to be asked.
    Ask,
}

/// What the store told of a key.
#[derive(Clone, Copy, Debug)]
pub struct News {
    /// Requests to add to the lease.
    pub count: u64,
    /// Until when they may be spent.
    pub until: u64,
    /// Left in the store.
    pub remaining: u64,
    /// When the whole limit is available again.
    pub reset_at: u64,
    /// Has passed without the store's knowledge, and is not among what it has counted.
    pub provisional: u64,
}

impl Leases {
    /// Spends `cost` of the key's lease.
    pub fn spend(&self, key: u64, now: u64, cost: u64) -> Spending {
        let map = self.map.pin();
        let Some(slot) = map.get(&key) else { return Spending::Ask };
        let mut packed = slot.lease.load(Ordering::Relaxed);
        loop {
            let (left, until) = unpack(packed, now);
            if left < cost {
                break;
            }
            let after = pack(left - cost, until);
            match slot.lease.compare_exchange_weak(packed, after, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Spending::Spent { standing: slot.standing(left - cost, now), until },
                Err(newer) => packed = newer,
            }
        }
        slot.without_lease(now)
    }

    /// What [`Leases::spend`] would answer; nothing is spent.
    pub fn peek(&self, key: u64, now: u64, cost: u64) -> Spending {
        let map = self.map.pin();
        let Some(slot) = map.get(&key) else { return Spending::Ask };
        match unpack(slot.lease.load(Ordering::Relaxed), now) {
            (left, until) if left >= cost => {
                Spending::Spent { standing: slot.standing(left - cost, now), until }
            }
            _ => slot.without_lease(now),
        }
    }

    /// Takes up to `debt` of what is leased, for requests that have passed already. Answers how much.
    pub(super) fn pay(&self, key: u64, now: u64, debt: u64) -> u64 {
        if debt == 0 {
            return 0;
        }
        let map = self.map.pin();
        let Some(slot) = map.get(&key) else { return 0 };
        let paid = |packed: u64| unpack(packed, now).0.min(debt);
        let less = |packed: u64| {
            let (left, until) = unpack(packed, now);
            (left > 0).then(|| pack(left - left.min(debt), until))
        };
        slot.lease.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).map_or(0, paid)
    }

    /// Puts back what a request did not need after all, for the next one. `until` as it was granted or
    /// [spent](Leases::spend): the lease may be another by now. It is lost where there is none any more.
    pub fn put_back(&self, key: u64, now: u64, until: u64, cost: u64) {
        if until > now
            && let Some(slot) = self.map.pin().get(&key)
        {
            slot.add(cost, until, now);
        }
    }

    /// Notes a grant. False when there is no room for the lease; nothing of it can be spent then.
    pub(super) fn granted(&self, key_quota: &KeyQuota, key: u64, now: u64, news: News) -> bool {
        self.with(key_quota, key, |slot| {
            slot.learn(news);
            slot.refused_until.store(0, Ordering::Relaxed);
            slot.add(news.count, news.until, now);
        })
    }

    /// Notes what the store said of a key that something is known of already.
    pub(super) fn learn(&self, key: u64, news: News) {
        if let Some(slot) = self.map.pin().get(&key) {
            slot.learn(news);
            slot.refused_until.store(0, Ordering::Relaxed);
        }
    }

    /// Notes a refusal that holds until `until`, and is over for sure at `open_at`.
    pub(super) fn refused(&self, key_quota: &KeyQuota, key: u64, until: u64, open_at: u64, news: News) {
        self.with(key_quota, key, |slot| {
            slot.learn(news);
            slot.open_at.store(open_at, Ordering::Relaxed);
            slot.refused_until.store(until, Ordering::Relaxed);
        });
    }

    /// Notes that the store is not to be asked for the key until `until`.
    pub(super) fn back_off(&self, key_quota: &KeyQuota, key: u64, until: u64) {
        self.with(key_quota, key, |slot| slot.back_off_until.store(until, Ordering::Relaxed));
    }

    /// Grants `cost` provisionally while the store is late, where it is within the `part` of what the store had left when it was last
    /// heard of, and has got in again since. Where nothing is known of the key, it passes.
    ///
    /// # Errors
    /// [`Refusal`], where it is not: for a moment, until the store is heard of again.
    pub(super) fn grant_provisionally(
        &self,
        plan: &Plan,
        key: u64,
        now: u64,
        cost: u64,
        part: impl FnOnce(u64) -> u64,
    ) -> Result<(), Refusal> {
        let map = self.map.pin();
        let Some(slot) = map.get(&key) else { return Ok(()) };
        let reset = slot.reset_at.load(Ordering::Relaxed).saturating_sub(now);
        if reset == 0 {
            // The whole limit is available, or nobody has said anything yet.
            return Ok(());
        }
        let part = part(match plan.algorithm {
            Algorithm::TokenBucket => TokenBucket::full_in(reset, now).standing(plan, now).remaining,
            Algorithm::SlidingWindow | Algorithm::FixedWindow => slot.beside.load(Ordering::Relaxed),
        });
        let room =
            |provisional: u64| provisional.checked_add(cost).filter(|provisional| *provisional <= part);
        match slot.provisional.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room) {
            Ok(_) => Ok(()),
            Err(provisional) => {
                let standing = Standing { remaining: part.saturating_sub(provisional), reset };
                Err(Refusal { standing, retry_after: reset.min(LATE) })
            }
        }
    }

    /// Takes back what was [granted provisionally](Leases::grant_provisionally), as far as it is still known.
    pub(super) fn revoke_provisional(&self, key: u64, cost: u64) {
        if let Some(slot) = self.map.pin().get(&key) {
            let less = |provisional: u64| Some(provisional.saturating_sub(cost));
            let _ = slot.provisional.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
    }

    /// Takes what is left of a lease that is over at `now`.
    pub(super) fn take_ended(&self, key: u64, now: u64) -> u64 {
        let map = self.map.pin();
        let Some(slot) = map.get(&key) else { return 0 };
        let ended = |packed: u64| (packed & LARGEST > 0 && unpack(packed, now).0 == 0).then_some(0);
        slot.lease
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, ended)
            .map_or(0, |packed| packed & LARGEST)
    }

    /// Takes what is left of a lease, whether or not it is over.
    pub(super) fn take(&self, key: u64) -> u64 {
        self.map.pin().get(&key).map_or(0, |slot| slot.lease.swap(0, Ordering::Relaxed) & LARGEST)
    }

    /// Forgets the keys that have nothing to spend and are neither refused nor backed off from, and of which the store has nothing
    /// that is used up. Where room is `scarce`, or there are many, the latter go as well.
    pub(super) fn sweep(&self, key_quota: &KeyQuota, now: u64, scarce: bool) {
        let map = self.map.pin();
        let scarce = scarce || self.len() > REMEMBERED;
        let idle = |slot: &LeaseSlot| {
            (scarce || slot.reset_at.load(Ordering::Relaxed) <= now)
                && unpack(slot.lease.load(Ordering::Relaxed), now).0 == 0
                && slot.refused_until.load(Ordering::Relaxed) <= now
                && slot.back_off_until.load(Ordering::Relaxed) <= now
        };
        // Only the actor adds leases, and it is here: an idle slot stays idle.
        let keys: Vec<u64> = map.iter().filter(|(_, slot)| idle(slot)).map(|(key, _)| *key).collect();
        for key in &keys {
            map.remove(key);
        }
        key_quota.release(keys.len());
    }

    /// Keys that something is known of.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Requests that could be spent now.
    pub fn outstanding(&self, now: u64) -> u64 {
        self.map.pin().values().map(|slot| unpack(slot.lease.load(Ordering::Relaxed), now).0).sum()
    }

    fn with(&self, key_quota: &KeyQuota, key: u64, change: impl FnOnce(&LeaseSlot)) -> bool {
        let map = self.map.pin();
        let slot = match map.get(&key) {
            Some(slot) => slot,
            None if !key_quota.acquire(self.len()) => return false,
            None => map.get_or_insert_with(key, LeaseSlot::default),
        };
        change(slot);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::settings::Limit;
    use super::*;

    const MS: u64 = 1_048_576;

    fn news(count: u64, until: u64) -> News {
        News { count, until, remaining: 5, reset_at: 100 * MS, provisional: 0 }
    }

    #[test]
    fn a_lease_is_spent_to_the_last_request_and_not_beyond_its_end() {
        let (leases, key_quota) = (Leases::default(), KeyQuota::new(10));
        assert_eq!(leases.spend(1, 0, 1), Spending::Ask);
        leases.granted(&key_quota, 1, 0, news(3, 10 * MS));
        assert_eq!(
            leases.spend(1, MS, 2),
            Spending::Spent { standing: Standing { remaining: 6, reset: 99 * MS }, until: 10 * MS }
        );
        assert_eq!(leases.spend(1, MS, 2), Spending::Ask, "one is left, two are wanted");
        assert_eq!(leases.spend(1, 10 * MS, 1), Spending::Ask, "it is over");
        assert_eq!((leases.take_ended(1, 9 * MS), leases.take_ended(1, 10 * MS)), (0, 1));
        assert_eq!(leases.take_ended(1, 10 * MS), 0, "only once");
        leases.granted(&key_quota, 1, 10 * MS, news(2, 20 * MS));
        assert_eq!(leases.outstanding(10 * MS), 2, "what was over is not spendable again");
    }

    #[test]
    fn a_refusal_holds_until_it_is_over() {
        let (leases, key_quota) = (Leases::default(), KeyQuota::new(10));
        leases.refused(&key_quota, 1, 7 * MS, 8 * MS, News { remaining: 0, ..news(0, 0) });
        let Spending::Refused(refusal) = leases.spend(1, 2 * MS, 1) else { panic!("not refused") };
        assert_eq!((refusal.retry_after, refusal.standing.remaining), (6 * MS, 0));
        assert_eq!(leases.spend(1, 7 * MS, 1), Spending::Ask);
    }

    #[test]
    fn a_key_that_is_spared_is_not_asked_for_until_then() {
        let (leases, key_quota) = (Leases::default(), KeyQuota::new(10));
        leases.back_off(&key_quota, 1, 7 * MS);
        leases.sweep(&key_quota, 6 * MS, false);
        assert_eq!(
            (leases.spend(1, 6 * MS, 1), leases.spend(1, 7 * MS, 1)),
            (Spending::BackOff, Spending::Ask)
        );
    }

    #[test]
    fn what_is_put_back_ends_with_the_earlier_of_the_two() {
        let (leases, key_quota) = (Leases::default(), KeyQuota::new(10));
        leases.granted(&key_quota, 1, 0, news(1, 10 * MS));
        leases.put_back(1, 0, 5 * MS, 1);
        assert_eq!((leases.outstanding(4 * MS), leases.outstanding(5 * MS)), (2, 0));
        let Spending::Spent { until, .. } = leases.spend(1, 0, 2) else { panic!("not spent") };
        leases.put_back(1, 0, until, 2);
        assert_eq!((leases.outstanding(4 * MS), leases.outstanding(5 * MS)), (2, 0));
        assert_eq!(leases.take(1), 2);
        assert_eq!(leases.outstanding(0), 0);
    }

    #[test]
    fn what_is_put_back_into_a_later_lease_keeps_its_own_end() {
        let (leases, key_quota) = (Leases::default(), KeyQuota::new(10));
        leases.granted(&key_quota, 1, 0, news(1, 5 * MS));
        let Spending::Spent { until, .. } = leases.spend(1, 0, 1) else { panic!("not spent") };
        leases.granted(&key_quota, 1, 4 * MS, news(1, 20 * MS));
        leases.put_back(1, 4 * MS, until, 1);
        assert_eq!((leases.outstanding(4 * MS), leases.outstanding(5 * MS)), (2, 0));
    }

    #[test]
    fn while_the_store_is_late_a_part_of_what_it_had_left_passes_until_it_is_heard_of_again() {
        let (leases, key_quota) = (Leases::default(), KeyQuota::new(10));
        let limit = |algorithm| Limit { algorithm, requests: 10, window: Duration::from_secs(10), burst: 0 };
        let plan = |algorithm| Plan::new(&limit(algorithm));
        let grant = |algorithm, seconds: u64| {
            leases.grant_provisionally(&plan(algorithm), 1, seconds * LATE, 1, |left| left / 2)
        };
        let provisional =
            |algorithm, seconds| (0..20).take_while(|_| grant(algorithm, seconds).is_ok()).count();
        let (window, bucket) = (Algorithm::FixedWindow, Algorithm::TokenBucket);
        assert_eq!(provisional(window, 0), 20, "nothing is known");
        leases.back_off(&key_quota, 1, MS);
        assert_eq!(provisional(window, 0), 20, "nobody has said anything yet");
        let news = News { count: 1, until: MS, remaining: 4, reset_at: 6 * LATE, provisional: 0 };
        leases.granted(&key_quota, 1, 0, news);
        assert_eq!((provisional(window, 0), provisional(window, 5)), (2, 0));
        assert_eq!(
            grant(window, 1).unwrap_err().retry_after,
            LATE,
            "not for as long as the limit is used up"
        );
        leases.revoke_provisional(1, 1);
        assert_eq!(provisional(window, 5), 1);
        assert_eq!(
            provisional(bucket, 5),
            2,
            "five have come in again, which makes nine: half of them, less two"
        );
        assert_eq!(provisional(window, 6), 20, "the whole is there again");
        leases.learn(1, news);
        assert_eq!(provisional(window, 0), 2, "it has been heard of");
        leases.learn(1, News { provisional: 1, ..news });
        assert_eq!(provisional(window, 0), 1, "one that it does not know of");
    }

    #[test]
    fn what_is_owed_is_paid_out_of_a_lease_as_far_as_that_goes() {
        let (leases, key_quota) = (Leases::default(), KeyQuota::new(10));
        assert_eq!(leases.pay(1, 0, 5), 0);
        leases.granted(&key_quota, 1, 0, news(3, 10 * MS));
        assert_eq!((leases.pay(1, 0, 2), leases.pay(1, 0, 2), leases.pay(1, 0, 2)), (2, 1, 0));
        leases.granted(&key_quota, 1, 0, news(3, 10 * MS));
        assert_eq!((leases.pay(1, 10 * MS, 2), leases.take(1)), (0, 3), "it is over");
    }

    #[test]
    fn what_is_put_back_when_its_lease_is_over_is_lost_and_costs_no_other() {
        let (leases, key_quota) = (Leases::default(), KeyQuota::new(10));
        leases.granted(&key_quota, 1, 6 * MS, news(5, 20 * MS));
        leases.put_back(1, 7 * MS, 5 * MS, 1);
        assert_eq!(leases.outstanding(7 * MS), 5);
    }

    #[test]
    fn what_the_store_has_left_is_remembered_while_there_is_room() {
        let (leases, key_quota) = (Leases::default(), KeyQuota::new(4));
        assert!(leases.granted(&key_quota, 1, 0, news(1, 10 * MS)));
        leases.sweep(&key_quota, 10 * MS, false);
        assert_eq!(leases.len(), 1);
        leases.sweep(&key_quota, 100 * MS, false);
        assert_eq!(leases.len(), 0, "the whole is there again");
        assert!(leases.granted(&key_quota, 1, 0, news(1, 10 * MS)));
        leases.sweep(&key_quota, 10 * MS, true);
        assert_eq!(leases.len(), 0, "scarce");
    }

    #[test]
    fn a_look_at_a_lease_says_what_spending_would_and_spends_nothing() {
        let (leases, key_quota) = (Leases::default(), KeyQuota::new(10));
        assert_eq!(leases.peek(1, 0, 1), Spending::Ask);
        leases.granted(&key_quota, 1, 0, news(2, 10 * MS));
        for cost in [1, 2, 3, 2, 1] {
            let looked = leases.peek(1, 0, cost);
            let spent = leases.spend(1, 0, cost);
            assert_eq!(looked, spent);
            if let Spending::Spent { until, .. } = spent {
                leases.put_back(1, 0, until, cost);
            }
        }
        assert_eq!((leases.peek(1, 10 * MS, 1), leases.outstanding(0)), (Spending::Ask, 2));
    }

    #[test]
    fn idle_leases_make_room() {
        let (leases, key_quota) = (Leases::default(), KeyQuota::new(1));
        assert!(leases.granted(&key_quota, 1, 0, news(1, 10 * MS)));
        assert!(!leases.granted(&key_quota, 2, 0, news(1, 10 * MS)));
        leases.sweep(&key_quota, 10 * MS, true);
        assert_eq!(key_quota.live(), 0);
        assert!(leases.granted(&key_quota, 2, 10 * MS, news(1, 20 * MS)));
    }
}
