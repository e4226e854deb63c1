//! Each algorithm against a plain model of it, over random schedules.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use crate::rate_limiter::limit::SLOTS;
use crate::rate_limiter::settings::{Algorithm, Limit};
use crate::rate_limiter::{Buckets, KeyQuota, Plan};

const SECOND: u64 = 1_000_000_000;
/// Some moment, not on any border.
const START: u64 = 1_700_000_000 * SECOND + 123_456_789;

fn limit(algorithm: Algorithm, requests: u32, seconds: u64, burst: u32) -> Limit {
    Limit { algorithm, requests, window: Duration::from_secs(seconds), burst }
}

/// What a plain model says of the next request: may it pass, and how much is left after it.
trait Model {
    fn charge(&mut self, now: u64, cost: u64) -> (bool, u64);
}

/// Tokens as nanoseconds of refill, topped up step by step.
struct PlainBucket {
    tokens: u128,
    last: u64,
    plan: Plan,
}

impl Model for PlainBucket {
    fn charge(&mut self, now: u64, cost: u64) -> (bool, u64) {
        let interval = u128::from(self.plan.interval);
        let most = u128::from(self.plan.capacity) * interval;
        self.tokens = (self.tokens + u128::from(now - self.last)).min(most);
        self.last = now;
        let passes = self.tokens >= u128::from(cost) * interval;
        if passes {
            self.tokens -= u128::from(cost) * interval;
        }
        (passes, (self.tokens / interval) as u64)
    }
}

/// Every request ever let pass.
struct PlainLog {
    passed: Vec<(u64, u64)>,
    plan: Plan,
}

impl PlainLog {
    /// Requests that passed in the window that ends at `now`.
    fn used(&self, now: u64) -> u64 {
        let counts = |(at, _): &&(u64, u64)| at + self.plan.window >= now;
        self.passed.iter().filter(counts).map(|(_, cost)| cost).sum()
    }
}

impl Model for PlainLog {
    fn charge(&mut self, now: u64, cost: u64) -> (bool, u64) {
        let passes = self.used(now) + cost <= self.plan.capacity;
        if passes {
            self.passed.push((now, cost));
        }
        (passes, self.plan.capacity - self.used(now))
    }
}

/// A count per window.
struct PlainWindows {
    used: HashMap<u64, u64>,
    plan: Plan,
}

impl Model for PlainWindows {
    fn charge(&mut self, now: u64, cost: u64) -> (bool, u64) {
        let used = self.used.entry(now / self.plan.window).or_default();
        let passes = *used + cost <= self.plan.capacity;
        if passes {
            *used += cost;
        }
        (passes, self.plan.capacity - *used)
    }
}

fn model(plan: Plan) -> Box<dyn Model> {
    match plan.algorithm {
        Algorithm::TokenBucket => {
            let tokens = u128::from(plan.capacity) * u128::from(plan.interval);
            Box::new(PlainBucket { tokens, last: START, plan })
        }
        Algorithm::SlidingWindow => Box::new(PlainLog { passed: Vec::new(), plan }),
        Algorithm::FixedWindow => Box::new(PlainWindows { used: HashMap::new(), plan }),
    }
}

fn algorithms() -> impl Strategy<Value = Algorithm> {
    prop_oneof![Just(Algorithm::TokenBucket), Just(Algorithm::SlidingWindow), Just(Algorithm::FixedWindow)]
}

/// Pauses from none at all to several windows, and costs.
fn schedule(window: u64) -> impl Strategy<Value = Vec<(u64, u64)>> {
    let pause = prop_oneof![
        4 => Just(0),
        4 => 0..SECOND / 10,
        2 => 0..window,
        1 => 0..window * 3,
        1 => Just(window),
    ];
    proptest::collection::vec((pause, 1_u64..4), 1..200)
}

proptest! {
    #[test]
    fn every_algorithm_does_what_its_plain_model_does(
        algorithm in algorithms(),
        requests in 3_u32..40,
        seconds in 1_u64..5,
        burst in 0_u32..10,
        schedule in schedule(2 * SECOND),
    ) {
        let plan = Plan::new(&limit(algorithm, requests, seconds, burst));
        let (buckets, key_quota) = (Buckets::new(algorithm), KeyQuota::new(10));
        let mut model = model(plan);
        let mut now = START;
        for (pause, cost) in schedule {
            now += pause;
            let (passes, left) = model.charge(now, cost);
            match buckets.charge(&key_quota, &plan, 1, now, cost) {
                Ok(standing) => {
                    prop_assert!(passes, "the model refuses at {now}");
                    prop_assert_eq!(standing.remaining, left);
                    prop_assert!(standing.reset > 0);
                    // With nothing more coming, the whole limit is there after `reset`, and not before.
                    let whole = |at| buckets.standing(&plan, 1, at).remaining == plan.capacity;
                    prop_assert!(whole(now + standing.reset) && !whole(now + standing.reset - 1));
                }
                Err(refusal) => {
                    prop_assert!(!passes, "the model lets pass at {now}");
                    prop_assert_eq!(refusal.standing.remaining, left);
                    // The same request would pass after `retry_after`, and not a moment before.
                    let passes = |at| buckets.probe(&plan, 1, at, cost).is_ok();
                    prop_assert!(refusal.retry_after > 0);
                    prop_assert!(passes(now + refusal.retry_after) && !passes(now + refusal.retry_after - 1));
                }
            }
        }
    }

    #[test]
    fn a_large_sliding_window_never_exceeds_its_limit_and_is_late_by_a_slot_at_most(
        requests in 129_u32..2_000,
        schedule in proptest::collection::vec((0..SECOND / 50, 1_u64..60), 1..300),
    ) {
        let plan = Plan::new(&limit(Algorithm::SlidingWindow, requests, 1, 0));
        prop_assert_eq!(plan.slot, SECOND.div_ceil(SLOTS));
        let (buckets, key_quota) = (Buckets::new(plan.algorithm), KeyQuota::new(10));
        let mut passed = PlainLog { passed: Vec::new(), plan };
        let mut now = START;
        for (pause, cost) in schedule {
            now += pause;
            if buckets.charge(&key_quota, &plan, 1, now, cost).is_ok() {
                passed.passed.push((now, cost));
                prop_assert!(passed.used(now) <= plan.capacity);
            } else {
                let later = PlainLog { passed: passed.passed.clone(), plan: Plan { window: plan.window + plan.slot, ..plan } };
                prop_assert!(later.used(now) + cost > plan.capacity, "refused although a slot ago there was room");
            }
        }
    }

    #[test]
    fn a_refund_leaves_no_more_than_if_the_request_had_not_come(
        algorithm in algorithms(),
        requests in 3_u32..40,
        schedule in schedule(2 * SECOND),
    ) {
        let plan = Plan::new(&limit(algorithm, requests, 2, 0));
        let (buckets, key_quota) = (Buckets::new(algorithm), KeyQuota::new(10));
        let mut model = model(plan);
        let mut now = START;
        for (turn, (pause, cost)) in schedule.into_iter().enumerate() {
            now += pause;
            let ok = buckets.charge(&key_quota, &plan, 1, now, cost).is_ok();
            if ok && turn % 3 == 0 {
                buckets.refund(&key_quota, &plan, 1, now, cost);
            } else {
                let (passes, left) = model.charge(now, cost);
                prop_assert!(passes || !ok, "more passes than without the refunded requests");
                prop_assert!(buckets.standing(&plan, 1, now).remaining <= left || !ok);
            }
        }
    }
}

#[test]
fn a_window_and_a_bucket_begin_again_whole() {
    for algorithm in [Algorithm::TokenBucket, Algorithm::SlidingWindow, Algorithm::FixedWindow] {
        let plan = Plan::new(&limit(algorithm, 10, 2, 0));
        let (buckets, key_quota) = (Buckets::new(algorithm), KeyQuota::new(10));
        for round in 0..3 {
            let now = START + round * 3 * SECOND;
            let passed = (0..25).filter(|_| buckets.charge(&key_quota, &plan, 1, now, 1).is_ok()).count();
            assert_eq!(passed, 10, "{algorithm:?}, round {round}");
        }
    }
}

#[test]
fn a_share_is_at_least_one_request_and_never_more_than_its_part() {
    for algorithm in [Algorithm::TokenBucket, Algorithm::SlidingWindow, Algorithm::FixedWindow] {
        let plan = Plan::new(&limit(algorithm, 1_000, 1, 0));
        let (share, _) = plan.share(3, 1);
        assert_eq!((share.capacity, plan.share(5_000, 1).0.capacity), (333, 1));
        let (buckets, key_quota) = (Buckets::new(algorithm), KeyQuota::new(10));
        let passed = (0..4_000_u64).filter(|i| {
            let now = (START / SECOND + 1) * SECOND + i * SECOND / 2_000;
            buckets.charge(&key_quota, &share, 1, now, 1).is_ok()
        });
        // Two seconds: two windows, or a full bucket and what refills.
        let most = if algorithm == Algorithm::TokenBucket { 3 * 334 } else { 2 * 333 };
        let passed = passed.count();
        assert!(passed <= most && passed >= 600, "{algorithm:?}: {passed}");
    }
}

#[test]
fn shares_that_are_less_than_a_request_let_no_more_pass_in_the_long_run() {
    for (requests, instances, cost) in [(5, 20, 1), (10, 4, 10), (10, 4, 3), (7, 3, 7), (3, 2, 2), (10, 3, 1)]
    {
        for algorithm in [Algorithm::TokenBucket, Algorithm::SlidingWindow, Algorithm::FixedWindow] {
            let (share, charged) = Plan::new(&limit(algorithm, requests, 60, 0)).share(instances, cost);
            let (buckets, key_quota) = (Buckets::new(algorithm), KeyQuota::new(10));
            let hours = 24;
            let passed = (0..hours * 3600).filter(|second| {
                let now = START + second * SECOND;
                buckets.charge(&key_quota, &share, 1, now, charged).is_ok()
            });
            let used = passed.count() as u64 * cost * instances;
            let limit = u64::from(requests) * 60 * hours;
            // One request of each more, since all begin with one.
            assert!(
                used <= limit + 2 * cost * instances,
                "{algorithm:?} {requests} {instances} {cost}: {used}"
            );
            assert!(used >= limit / 3, "{algorithm:?} {requests} {instances} {cost}: {used} of {limit}");
        }
    }
}

#[test]
fn a_share_that_changes_with_the_number_of_instances_locks_nobody_out() {
    for algorithm in [Algorithm::TokenBucket, Algorithm::SlidingWindow, Algorithm::FixedWindow] {
        let plan = Plan::new(&limit(algorithm, 2, 60, 0));
        let (buckets, key_quota) = (Buckets::new(algorithm), KeyQuota::new(10));
        let mut now = START;
        for instances in [1, 2, 9, 50, 9, 2, 1, 50] {
            let (share, charged) = plan.share(instances, 1);
            // Until everything that the share before allowed is used up.
            while buckets.charge(&key_quota, &share, 1, now, charged).is_ok() {}
            let wait = buckets.probe(&share, 1, now, charged).unwrap_err().retry_after;
            assert!(wait <= share.window + 60 * SECOND * 50, "{algorithm:?} {instances}: {wait}");
            now += SECOND;
        }
        let wait = buckets.probe(&plan, 1, now, 1).err().map_or(0, |refusal| refusal.retry_after);
        assert!(wait <= 60 * 50 * SECOND, "{algorithm:?}: {wait}");
    }
}

#[test]
fn a_refund_that_comes_late_takes_nothing_of_what_others_were_charged() {
    // Charged at the end of a window, taken back in the next one, in which another request has used up all.
    let border = (START / (60 * SECOND) + 1) * 60 * SECOND;
    for algorithm in [Algorithm::SlidingWindow, Algorithm::FixedWindow] {
        for requests in [2, 1_000] {
            let plan = Plan::new(&limit(algorithm, requests, 60, 0));
            let (buckets, key_quota) = (Buckets::new(algorithm), KeyQuota::new(10));
            let (all, then) = (u64::from(requests), border - SECOND);
            buckets.charge(&key_quota, &plan, 1, then, 1).unwrap();
            let left = if algorithm == Algorithm::FixedWindow { all } else { all - 1 };
            buckets.charge(&key_quota, &plan, 1, border, left).unwrap();
            buckets.refund(&key_quota, &plan, 1, then, 1);
            // The log has room again, for one; what the window counts came later.
            let room = u64::from(algorithm == Algorithm::SlidingWindow);
            assert_eq!(buckets.standing(&plan, 1, border).remaining, room, "{algorithm:?} {requests}");
            // And what is left in the log is as young as it was.
            assert_eq!(buckets.standing(&plan, 1, border + 59 * SECOND).remaining, room, "{algorithm:?}");
        }
    }
}

#[test]
fn absurd_numbers_neither_overflow_nor_let_everything_pass() {
    for algorithm in [Algorithm::TokenBucket, Algorithm::SlidingWindow, Algorithm::FixedWindow] {
        let plan = Plan::new(&Limit {
            algorithm,
            requests: u32::MAX,
            window: Duration::from_secs(u64::MAX / 2),
            burst: u32::MAX,
        });
        let (buckets, key_quota) = (Buckets::new(algorithm), KeyQuota::new(10));
        assert!(buckets.charge(&key_quota, &plan, 1, START, u64::MAX).is_err(), "{algorithm:?}");
        assert!(buckets.charge(&key_quota, &plan, 1, START, plan.capacity + 1).is_err(), "{algorithm:?}");
        let _ = buckets.charge(&key_quota, &plan, 1, u64::MAX - 1, 1);
        buckets.refund(&key_quota, &plan, 1, 0, u64::MAX);
        buckets.sweep(&key_quota, &plan, u64::MAX);
    }
}

#[test]
fn a_bucket_that_would_fill_up_only_after_centuries_is_used_up_all_the_same() {
    let algorithm = Algorithm::TokenBucket;
    let plan =
        Plan::new(&Limit { algorithm, requests: 1, window: Duration::from_secs(30 * 86_400), burst: 10_000 });
    let (buckets, key_quota) = (Buckets::new(algorithm), KeyQuota::new(10));
    let passed = (0..20_000).filter(|i| buckets.charge(&key_quota, &plan, 1, START + i, 1).is_ok()).count();
    assert!(passed <= 10_001, "{passed}");
}
