//! Each algorithm by itself: what it grants, what it says is left, what it takes back.

use super::servers::Server;
use super::*;

#[actix_rt::test]
async fn a_sequence_of_single_requests_gets_exactly_the_capacity() {
    let server = Server::start(&[]);
    let store = patient(&server.url());
    for algorithm in ALGORITHMS {
        // 200 is counted in slots, where the window slides.
        for capacity in [1, 7, 200] {
            let take = one(&format!("{algorithm:?}-{capacity}"), plan(algorithm, capacity, LONG));
            for left in (0..u64::from(capacity)).rev() {
                let taken = sure(&store, &take).await;
                assert_eq!((taken.granted, taken.remaining), (1, left), "{algorithm:?}");
                assert_eq!((taken.good_for, taken.retry_after), (Duration::ZERO, Duration::ZERO));
            }
            let refused = sure(&store, &take).await;
            assert_eq!((refused.granted, refused.remaining), (0, 0));
            assert!(
                refused.retry_after > Duration::ZERO && refused.retry_after <= refused.reset,
                "{refused:?}"
            );
        }
    }
}

#[actix_rt::test]
async fn a_batch_is_answered_in_its_order() {
    let server = Server::start(&[]);
    let store = patient(&server.url());
    let capacity = |n: u32| n + 1;
    let takes: Vec<Take> = (0..300)
        .map(|n| one(&format!("k{n}"), plan(ALGORITHMS[n as usize % 3], capacity(n), LONG)))
        .collect();
    let answers = store.take(takes).await;
    let left: Vec<u64> = answers.into_iter().map(|answer| answer.unwrap().remaining).collect();
    assert_eq!(left, (0..300).collect::<Vec<u64>>());
}

#[actix_rt::test]
async fn a_bucket_that_fills_up_within_decades_holds_the_last_token_too() {
    let server = Server::start(&[]);
    let store = patient(&server.url());
    // Capacity times interval is more than a double holds, and rounded the wrong way.
    let plan = plan(Algorithm::TokenBucket, 1, Duration::from_secs(86_400));
    let (capacity, interval) = (122_117_563, 23_726_912_390);
    let take = lease("k", Plan { capacity, interval, ..plan }, capacity, capacity, Duration::ZERO);
    assert_eq!(sure(&store, &take).await.granted, capacity);
    assert_eq!(sure(&store, &take).await.granted, 0);
}

#[actix_rt::test]
async fn what_a_token_bucket_says_is_exact() {
    let server = Server::start(&[]);
    let store = patient(&server.url());
    // One token in 100 ms, ten at once.
    let take = one("k", plan(Algorithm::TokenBucket, 10, Duration::from_secs(1)));
    let first = sure(&store, &take).await;
    assert_eq!((first.remaining, first.reset), (9, ms(100)));
    let mut last = first;
    while last.granted > 0 {
        let before = last;
        last = sure(&store, &take).await;
        let passed = Duration::from_micros(decided(&last) - decided(&before));
        let spent = if last.granted > 0 { ms(100) } else { Duration::ZERO };
        assert_eq!(last.reset, before.reset.saturating_sub(passed) + spent);
        let ahead = u64::try_from((ms(1000) - last.reset).as_micros()).unwrap();
        assert_eq!(last.remaining, ahead / 100_000);
    }
    assert_eq!(last.retry_after, last.reset - ms(900));
}

#[actix_rt::test]
async fn what_a_sliding_window_says_is_exact() {
    let server = Server::start(&[]);
    let store = patient(&server.url());
    // So long that 200 requests one after the other are all in it.
    let window = Duration::from_secs(64);
    for (key, capacity, slot) in [("log", 3, 1), ("slots", 200, 500_000)] {
        let take = one(key, plan(Algorithm::SlidingWindow, capacity, window));
        let first = sure(&store, &take).await;
        let over = |taken: &Taken| {
            let end_of_slot = (decided(taken) / slot + 1) * slot;
            Duration::from_micros(end_of_slot - decided(taken)) + window
        };
        assert_eq!(first.reset, over(&first));
        // The others come in a later slot.
        tokio::time::sleep(over(&first) - window).await;
        let mut last = first;
        let mut newest = first;
        while last.granted > 0 {
            newest = last;
            last = sure(&store, &take).await;
        }
        let later = |than: &Taken| Duration::from_micros(decided(&last) - decided(than));
        assert_eq!(last.retry_after, over(&first) - later(&first));
        assert_eq!(last.reset, over(&newest) - later(&newest));
    }
}

#[actix_rt::test]
async fn what_a_fixed_window_says_is_exact() {
    let server = Server::start(&[]);
    let store = patient(&server.url());
    let take = one("k", plan(Algorithm::FixedWindow, 2, Duration::from_secs(1)));
    for _ in 0..6 {
        let taken = sure(&store, &take).await;
        let left = Duration::from_micros(1_000_000 - decided(&taken) % 1_000_000);
        assert_eq!(taken.reset, left);
        assert_eq!(taken.retry_after, if taken.granted == 0 { left } else { Duration::ZERO });
    }
    // A lease does not outlast its window.
    let leased =
        sure(&store, &lease("l", plan(Algorithm::FixedWindow, 800, ms(1000)), 1, 50, ms(5000))).await;
    assert_eq!(leased.granted, 50);
    assert_eq!(leased.good_for + Duration::from_micros(1), leased.reset);
}

#[actix_rt::test]
async fn a_lease_is_an_eighth_of_what_is_there_and_shrinks_to_what_is_needed() {
    let server = Server::start(&[]);
    let store = patient(&server.url());
    for algorithm in ALGORITHMS {
        let take = lease(&format!("{algorithm:?}"), plan(algorithm, 800, LONG), 2, 70, ms(50));
        let (mut there, mut sum, mut leases) = (800, 0, Vec::new());
        loop {
            let taken = sure(&store, &take).await;
            if taken.granted == 0 {
                break;
            }
            assert_eq!(taken.granted, 70.min((there / 8).max(2)), "{algorithm:?}");
            assert_eq!(taken.good_for, if taken.granted > 2 { ms(50) } else { Duration::ZERO });
            there -= taken.granted;
            sum += taken.granted;
            leases.push(taken.granted);
            assert_eq!(taken.remaining, there);
        }
        assert_eq!((sum, leases[0], *leases.last().unwrap()), (800, 70, 2), "{algorithm:?}");
    }
}

#[actix_rt::test]
async fn all_or_nothing_and_nothing_is_charged_for_nothing() {
    let server = Server::start(&[]);
    let store = patient(&server.url());
    for algorithm in ALGORITHMS {
        let plan = plan(algorithm, 10, LONG);
        let key = format!("{algorithm:?}");
        assert_eq!(sure(&store, &lease(&key, plan, 6, 6, Duration::ZERO)).await.granted, 6);
        let refused = sure(&store, &lease(&key, plan, 5, 8, ms(100))).await;
        assert_eq!((refused.granted, refused.remaining), (0, 4));
        assert!(refused.retry_after > Duration::ZERO);
        assert_eq!(sure(&store, &lease(&key, plan, 4, 4, Duration::ZERO)).await.granted, 4);
    }
}

#[actix_rt::test]
async fn what_is_given_back_is_there_again() {
    let server = Server::start(&[]);
    let store = patient(&server.url());
    for algorithm in ALGORITHMS {
        let plan = plan(algorithm, 1000, LONG);
        let key = format!("{algorithm:?}");
        let ask_lease = lease(&key, plan, 1, 100, Duration::from_secs(60));
        let first = sure(&store, &ask_lease).await;
        let second = sure(&store, &ask_lease).await;
        assert_eq!((first.granted, second.granted, second.remaining), (100, 100, 800));
        let untouched = server.ask::<Vec<u8>>(&format!("GET test:limit:{{{key}}}"));
        store.give_back(vec![back(&ask_lease, &first, 0)]).await;
        assert_eq!(server.ask::<Vec<u8>>(&format!("GET test:limit:{{{key}}}")), untouched);
        store.give_back(vec![back(&ask_lease, &first, 40)]).await;
        store.give_back(vec![back(&ask_lease, &second, 100)]).await;
        let after = sure(&store, &one(&key, plan)).await;
        assert_eq!(after.remaining, 939, "{algorithm:?}");
        // The other 60 as well, and the bucket is as if only the last had been.
        store.give_back(vec![back(&ask_lease, &first, 60)]).await;
        assert_eq!(sure(&store, &one(&key, plan)).await.remaining, 998, "{algorithm:?}");
    }
}

#[actix_rt::test]
async fn what_comes_back_too_late_stays_spent() {
    let server = Server::start(&[]);
    let store = patient(&server.url());
    let window = ms(1000);
    // Token bucket: after the end of the lease. Fixed window: in the next window. Both in a bucket that others use.
    for algorithm in [Algorithm::TokenBucket, Algorithm::FixedWindow] {
        let key = format!("{algorithm:?}");
        let take = lease(&key, plan(algorithm, 800, window), 1, 100, ms(20));
        let late = sure(&store, &take).await;
        assert!(late.granted > 1);
        let next = decided(&late) / 1_000_000 + 1;
        let other = until("the next window", ms(3000), async || {
            let other = ask(&store, &take).await.ok()?;
            (decided(&other) / 1_000_000 >= next && decided(&other) > late.spend_by).then_some(other)
        })
        .await;
        let before: String = server.ask(&format!("GET test:limit:{{{key}}}"));
        store.give_back(vec![back(&take, &late, late.granted)]).await;
        let after: Option<String> = server.ask(&format!("GET test:limit:{{{key}}}"));
        assert!(after.is_none_or(|after| after == before), "{algorithm:?}, {other:?}");
    }
}

#[actix_rt::test]
async fn a_key_vanishes_when_it_means_nothing_any_more() {
    let server = Server::start(&[]);
    let store = patient(&server.url());
    for algorithm in ALGORITHMS {
        let take = lease(&format!("{algorithm:?}"), plan(algorithm, 400, ms(1000)), 1, 10, ms(100));
        let key = format!("test:limit:{{{}}}", take.key);
        // Once more where it is gone already: a fixed window has ended in between, or the machine was busy.
        let (taken, ttl) = until("a key that is still there", ms(1000), async || {
            let taken = sure(&store, &take).await;
            let ttl: i64 = server.ask(&format!("PTTL {key}"));
            assert_ne!(ttl, -1, "{algorithm:?}: a key that never vanishes");
            Some((taken, u64::try_from(ttl).ok()?))
        })
        .await;
        assert!(ms(ttl) <= taken.reset + ms(2), "{algorithm:?}: {ttl} ms, {:?}", taken.reset);
        until("the key to vanish", taken.reset + ms(500), async || {
            (server.ask::<u64>("DBSIZE") == 0).then_some(())
        })
        .await;
        // Not before, either: nothing is missing to the whole limit.
        assert_eq!(sure(&store, &one(&take.key, take.plan)).await.remaining, 399);
        let _: () = server.ask("FLUSHALL");
    }
}

#[actix_rt::test]
async fn what_something_else_left_under_the_key_is_an_error() {
    let server = Server::start(&[]);
    let store = patient(&server.url());
    for algorithm in ALGORITHMS {
        let take = one(&format!("{algorithm:?}"), plan(algorithm, 10, ms(1000)));
        for command in ["SET KEY garbage", "RPUSH KEY x"] {
            let _: () = server.ask(&command.replace("KEY", &format!("test:limit:{{{}}}", take.key)));
            let error = ask(&store, &take).await.unwrap_err();
            assert!(error.why.contains("not a") || error.why.contains("WRONGTYPE"), "{error}");
            let _: () = server.ask("FLUSHALL");
        }
        assert_eq!(sure(&store, &take).await.granted, 1, "{algorithm:?}");
    }
}

#[actix_rt::test]
async fn a_clock_that_was_set_back_locks_nobody_out_for_longer_than_a_window() {
    let server = Server::start(&[]);
    let store = patient(&server.url());
    let clock: (u64, u64) = server.ask("TIME");
    let later = (clock.0 + 3_600) * 1_000_000;
    for (algorithm, state) in [
        (Algorithm::TokenBucket, format!("'{later} 0 {later} 3 {later} 4'")),
        (Algorithm::SlidingWindow, format!("cmsgpack.pack({{{later}, 0, 10}})")),
        (Algorithm::FixedWindow, format!("'{} 10'", later / 1_000_000)),
    ] {
        let take = one(&format!("{algorithm:?}"), plan(algorithm, 10, ms(1000)));
        let mut command = deadpool_redis::redis::cmd("EVAL");
        command.arg(format!("return redis.call('SET', KEYS[1], {state})")).arg(1);
        command.arg(format!("test:limit:{{{}}}", take.key));
        let _: () = server.tell(&command).unwrap();
        let taken = sure(&store, &take).await;
        assert_eq!(taken.granted, 0, "{algorithm:?}: what was granted is not forgotten");
        assert!(taken.retry_after <= ms(1001) && taken.reset <= ms(2000), "{algorithm:?} {taken:?}");
    }
}
