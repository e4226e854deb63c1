//! Buckets that several threads charge at once, swept and bounded meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::rate_limiter::lease::News;
use crate::rate_limiter::settings::{Algorithm, KeyStrategy, Limit};
use crate::rate_limiter::{Buckets, Decisions, KeyQuota, KeyedBy, Limiter, Mode, Plan, SharedLimit, sweep};

const ALL: [Algorithm; 3] = [Algorithm::TokenBucket, Algorithm::SlidingWindow, Algorithm::FixedWindow];
const HOUR: u64 = 3_600;
const SECOND: u64 = 1_000_000_000;
const NOW: u64 = 500_000 * HOUR * SECOND + 1;

fn limit(algorithm: Algorithm, requests: u32) -> Limit {
    Limit { algorithm, requests, window: Duration::from_secs(HOUR), burst: 0 }
}

#[test]
fn four_threads_share_a_limit_exactly_while_it_is_swept() {
    for algorithm in ALL {
        let plan = Plan::new(&limit(algorithm, 5_000));
        let (buckets, key_quota) = (Buckets::new(algorithm), KeyQuota::new(10_000));
        let (passed, done) = (AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    buckets.sweep(&key_quota, &plan, NOW);
                }
            });
            let workers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        for i in 0..3_000_u64 {
                            // A second key comes and goes, so that there is something to sweep.
                            let _ = buckets.charge(&key_quota, &plan, 2 + i % 7, NOW, 1);
                            buckets.refund(&key_quota, &plan, 2 + i % 7, NOW, 1);
                            if buckets.charge(&key_quota, &plan, 1, NOW, 1).is_ok() {
                                passed.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    })
                })
                .collect();
            workers.into_iter().for_each(|worker| worker.join().unwrap());
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(passed.into_inner(), 5_000, "{algorithm:?}");
        assert_eq!(key_quota.live(), buckets.len(), "{algorithm:?}");
    }
}

#[test]
fn an_idle_bucket_is_freed_and_a_used_one_is_not() {
    for algorithm in ALL {
        let plan = Plan::new(&limit(algorithm, 10));
        let (buckets, key_quota) = (Buckets::new(algorithm), KeyQuota::new(10));
        buckets.charge(&key_quota, &plan, 1, NOW, 1).unwrap();
        assert_eq!(buckets.sweep(&key_quota, &plan, NOW), 0);
        assert_eq!(buckets.sweep(&key_quota, &plan, NOW + 2 * HOUR * SECOND), 1);
        assert_eq!((key_quota.live(), buckets.len()), (0, 0));
    }
}

#[test]
fn a_flood_of_keys_stays_within_the_bound_and_forgets_nobody_who_is_limited() {
    for algorithm in ALL {
        let keyed_by = KeyedBy { strategy: KeyStrategy::Ip, ipv6_prefix: 64 };
        let shared = SharedLimit::new("r", &limit(algorithm, 100), keyed_by, Decisions::new(1));
        let limits = [shared.clone()];
        let key_quota = Arc::new(KeyQuota::new(1_000));
        let charge = |key| shared.buckets.charge(&key_quota, &shared.plan, key, NOW, 1);
        assert!((0..100).all(|_| charge(7).is_ok()));
        assert!(charge(7).is_err());
        let mut shared = 0;
        for key in 0..200_000_u64 {
            shared += usize::from(charge(1_000 + key).is_err());
            assert!(key_quota.live() <= 1_000);
            if key % 500 == 0 {
                sweep::sweep(&limits, &key_quota, Mode::Local, NOW);
            }
        }
        assert!(charge(7).is_err(), "{algorithm:?}: the flood made a limited client's bucket be forgotten");
        assert!(shared < 200_000 / 2, "{algorithm:?}: {shared} had to share");
    }
}

#[test]
fn a_share_that_is_used_up_is_not_forgotten_for_being_a_small_part_of_the_limit() {
    for algorithm in ALL {
        for (instances, cost) in [(4, 1), (300, 1), (50, 20)] {
            let keyed_by = KeyedBy { strategy: KeyStrategy::Ip, ipv6_prefix: 64 };
            let shared = SharedLimit::new("r", &limit(algorithm, 100), keyed_by, Decisions::new(1));
            let limiter = Limiter::new(1_000, true);
            limiter.set_instances(instances);
            limiter.set_mode(Mode::Degraded);
            // Not so late in a window that the next one begins meanwhile.
            let begin = NOW - NOW % (30 * HOUR * SECOND);
            let charge = |key, now| {
                let share = limiter.share(&shared, cost, false);
                limiter.charge_share(&shared, key, now, &share).is_ok()
            };
            while charge(7, begin) {}
            for key in 0..3_000_u64 {
                charge(1_000 + key, begin);
                if key % 500 == 0 {
                    sweep::sweep(std::slice::from_ref(&shared), &limiter.key_quota, limiter.mode(), begin);
                }
            }
            assert!(!charge(7, begin), "{algorithm:?}, {instances} instances");
            if instances == 300 {
                // One request in three windows is its part.
                let later = begin + 3 * HOUR * SECOND / 2;
                sweep::sweep(std::slice::from_ref(&shared), &limiter.key_quota, limiter.mode(), later);
                assert!(!charge(7, later), "{algorithm:?}");
            }
        }
    }
}

#[test]
fn a_limit_that_is_gone_takes_its_buckets_and_leases_with_it() {
    for algorithm in ALL {
        let keyed_by = KeyedBy { strategy: KeyStrategy::Ip, ipv6_prefix: 64 };
        let key_quota = KeyQuota::new(1_000);
        let shared = || {
            let shared = SharedLimit::new("r", &limit(algorithm, 100), keyed_by, Decisions::new(1));
            shared.belong_to(&key_quota);
            shared
        };
        let (gone, stays) = (shared(), shared());
        for shared in [&gone, &stays] {
            for key in 0..200 {
                shared.buckets.charge(&key_quota, &shared.plan, key, NOW, 1).unwrap();
            }
            for key in 0..50 {
                let news =
                    News { count: 1, until: NOW + SECOND, remaining: 0, reset_at: NOW, provisional: 0 };
                assert!(shared.leases.granted(&key_quota, key, NOW, news));
            }
        }
        assert_eq!(key_quota.live(), 500);
        let in_use = gone.clone();
        drop(gone);
        assert_eq!(key_quota.live(), 500, "a request still uses it");
        drop(in_use);
        assert_eq!(key_quota.live(), 250);
    }
}

#[test]
fn nobody_is_forgotten_where_it_is_enough_that_the_idle_go() {
    for algorithm in ALL {
        let keyed_by = KeyedBy { strategy: KeyStrategy::Ip, ipv6_prefix: 64 };
        let shared = SharedLimit::new("r", &limit(algorithm, 100), keyed_by, Decisions::new(1));
        let key_quota = KeyQuota::new(1_000);
        let charge = |key, now| shared.buckets.charge(&key_quota, &shared.plan, key, now, 1);
        let later = NOW + 2 * HOUR * SECOND;
        assert!((0..990).all(|key| charge(key, NOW).is_ok()));
        assert!((990..1_100).all(|key| charge(key, later).is_ok()), "the last ones share");
        sweep::sweep(std::slice::from_ref(&shared), &key_quota, Mode::Local, later);
        assert_eq!(shared.buckets.len(), 10, "{algorithm:?}");
    }
}

#[test]
fn a_limit_that_is_filled_leaves_room_for_the_others() {
    for algorithm in ALL {
        let keyed_by = KeyedBy { strategy: KeyStrategy::Ip, ipv6_prefix: 64 };
        let shared = |name| SharedLimit::new(name, &limit(algorithm, 1), keyed_by, Decisions::new(1));
        let limits = [shared("filled"), shared("other"), shared("another")];
        let key_quota = KeyQuota::new(2_400);
        key_quota.set_most(2_400, limits.len());
        let charge =
            |shared: &SharedLimit, key| shared.buckets.charge(&key_quota, &shared.plan, key, NOW, 1).is_ok();
        // Each has used up its limit at once, and so none is forgotten.
        let filled = (0..10_000).filter(|key| charge(&limits[0], *key)).count();
        sweep::sweep(&limits, &key_quota, Mode::Local, NOW);
        assert!((2_000..2_400).contains(&filled), "{algorithm:?}: {filled}");
        // Who uses little of another limit is not forgotten for it.
        let large = SharedLimit::new("large", &limit(algorithm, 100), keyed_by, Decisions::new(1));
        assert!((0..50).all(|key| charge(&large, key)));
        sweep::sweep(&[limits[0].clone(), large.clone()], &key_quota, Mode::Local, NOW);
        assert_eq!(large.buckets.len(), 50, "{algorithm:?}");
        large.buckets.evict(&key_quota, &large.plan, NOW, 15);
        // The reserve: an eighth of all, a third of it for each.
        for other in &limits[1..] {
            assert!((0..100).all(|key| charge(other, key)), "{algorithm:?}");
            assert!((0..100).all(|key| !charge(other, key)), "{algorithm:?}");
        }
        assert!(key_quota.live() <= 2_400);
    }
}

#[test]
fn one_limit_alone_may_have_all_the_room() {
    let key_quota = KeyQuota::new(1_000);
    assert!((0..1_000).all(|own| key_quota.acquire(own)) && !key_quota.acquire(1_000));
}

#[test]
fn without_room_a_network_shares_a_bucket_and_others_have_theirs() {
    for algorithm in ALL {
        let plan = Plan::new(&limit(algorithm, 10));
        let (buckets, key_quota) = (Buckets::new(algorithm), KeyQuota::new(1));
        let passed = |group: u64, keys: std::ops::Range<u64>| {
            let keys = keys.map(|key| group << 56 | key);
            keys.filter(|key| buckets.charge(&key_quota, &plan, *key, NOW, 1).is_ok()).count()
        };
        assert_eq!(passed(1, 0..1), 1);
        assert_eq!(passed(1, 100..200), 10);
        assert_eq!((passed(2, 100..200), passed(255, 1..2)), (10, 1), "{algorithm:?}");
        assert!(key_quota.take_overflowed() && !key_quota.take_overflowed());
    }
}
