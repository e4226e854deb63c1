//! Counts by address and window, under floods, and by several threads at once.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// The beginning of a window of a minute.
const NOW: u64 = 1_704_067_200;

fn limit_of(failures: u32, places: usize) -> FailureLimit {
    let settings = settings::FailureLimit { failures, window: Duration::from_secs(60) };
    FailureLimit::with_places(&settings, 64, places)
}

fn limit(failures: u32) -> FailureLimit {
    limit_of(failures, PLACES)
}

fn v4(n: u32) -> IpAddr {
    Ipv4Addr::from(n).into()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn whoever_reaches_the_limit_is_held_until_the_window_ends() {
    let limit = limit(3);
    let (client, other) = (ip("192.0.2.1"), ip("192.0.2.2"));
    for at in [NOW, NOW + 10] {
        limit.count(client, at);
        assert_eq!(limit.holds(client, at), None);
    }
    limit.count(client, NOW + 20);
    for (at, wait) in [(20, Some(40)), (59, Some(1)), (60, None), (61, None)] {
        assert_eq!(limit.holds(client, NOW + at), wait, "after {at} s");
        assert_eq!(limit.holds(other, NOW + at), None);
    }
    // The next window begins with nothing.
    limit.count(client, NOW + 60);
    assert_eq!(limit.holds(client, NOW + 60), None);
    limit.count(client, NOW + 61);
    limit.count(client, NOW + 62);
    limit.count(client, NOW + 63);
    assert_eq!(limit.holds(client, NOW + 63), Some(57));
}

#[test]
fn addresses_that_are_one_client_are_counted_together() {
    let limit = limit(2);
    limit.count(ip("2001:db8:0:1::1"), NOW);
    limit.count(ip("2001:db8:0:1:ffff::2"), NOW);
    assert_eq!(limit.holds(ip("2001:db8:0:1:8000::"), NOW), Some(60));
    assert_eq!(limit.holds(ip("2001:db8:0:2::1"), NOW), None);
    limit.count(ip("10.0.0.1"), NOW);
    limit.count(ip("::ffff:10.0.0.1"), NOW);
    assert_eq!(limit.holds(ip("10.0.0.1"), NOW), Some(60));
    assert_eq!(limit.holds(ip("10.0.0.2"), NOW), None);
    assert_eq!(limit.holds(ip("::10.0.0.1"), NOW), None);
    for (prefix, together) in [(128, false), (127, true), (1, true)] {
        let settings = settings::FailureLimit { failures: 1, ..settings::FailureLimit::default() };
        let limit = FailureLimit::new(&settings, prefix);
        limit.count(ip("2001:db8::2"), NOW);
        assert_eq!(limit.holds(ip("2001:db8::3"), NOW).is_some(), together, "/{prefix}");
        assert!(limit.holds(ip("2001:db8::2"), NOW).is_some());
    }
}

#[test]
fn zero_failures_is_no_limit_and_no_table() {
    let limit = limit(0);
    (0..1_000).for_each(|_| limit.count(v4(1), NOW));
    assert_eq!((limit.holds(v4(1), NOW), limit.sets.len()), (None, 0));
    assert!(limit.is_as(&settings::FailureLimit { failures: 0, window: Duration::from_secs(60) }, 64));
    assert!(!limit.is_as(&settings::FailureLimit::default(), 64));
}

#[test]
fn a_clock_that_is_set_back_frees_whom_it_held() {
    let limit = limit(1);
    limit.count(v4(1), NOW + 86_400);
    assert_eq!(limit.holds(v4(1), NOW), None);
    limit.count(v4(1), NOW);
    assert_eq!(limit.holds(v4(1), NOW), Some(60));
    // A worker whose clock is a second ahead has begun the next window.
    limit.count(v4(2), NOW + 60);
    assert!(limit.holds(v4(2), NOW + 59).is_some());
}

#[test]
fn a_flood_of_addresses_forgets_nobody_who_has_failed_more_often() {
    let limit = limit_of(20, 64);
    let (held, watched) = (ip("192.0.2.1"), ip("192.0.2.2"));
    (0..20).for_each(|_| limit.count(held, NOW));
    (0..5).for_each(|_| limit.count(watched, NOW));
    for n in 0..10_000 {
        limit.count(v4(0x0a00_0000 + n), NOW);
        assert_eq!(limit.holds(v4(0x0a00_0000 + n), NOW), None);
        assert_eq!(limit.holds(v4(0x0b00_0000 + n), NOW), None, "nobody pays for others");
    }
    assert!(limit.holds(held, NOW).is_some());
    (0..15).for_each(|_| limit.count(watched, NOW));
    assert!(limit.holds(watched, NOW).is_some());
    assert_eq!(size_of::<Set>(), 24 * WAYS);
    assert!(limit_of(1, PLACES).sets.len() * WAYS <= 100_000);
}

#[test]
fn those_who_are_held_are_never_forgotten_and_those_who_find_no_place_pass() {
    let limit = limit_of(2, WAYS);
    for n in 0..8 {
        (0..2).for_each(|_| limit.count(v4(n), NOW));
    }
    (100..200).for_each(|n| (0..5).for_each(|_| limit.count(v4(n), NOW)));
    assert!((0..8).all(|n| limit.holds(v4(n), NOW).is_some()));
    assert!((100..200).all(|n| limit.holds(v4(n), NOW).is_none()));
    // In the next window there is room.
    (0..2).for_each(|_| limit.count(v4(100), NOW + 60));
    assert!(limit.holds(v4(100), NOW + 60).is_some());
}

#[test]
fn threads_count_each_failure_once() {
    const EACH: u32 = 20_000;
    // Four threads begin at most eight places for two addresses.
    let limit = limit_of(100_000, WAYS);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..EACH {
                    limit.count(v4(1), NOW);
                    limit.count(v4(2), NOW);
                }
            });
        }
    });
    for client in [v4(1), v4(2)] {
        let address = limit.address(client);
        let counted: u64 = limit.set(address).unwrap().of(address, limit.window_at(NOW)).sum();
        assert_eq!(counted, u64::from(4 * EACH));
    }
}

#[test]
fn while_places_change_hands_nobody_is_taken_for_another() {
    let limit = limit_of(5, WAYS);
    let held = ip("192.0.2.1");
    (0..5).for_each(|_| limit.count(held, NOW));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let floods: Vec<_> = (0..2u32)
            .map(|thread| {
                let limit = &limit;
                // Each address fails once or twice, and is never held.
                scope.spawn(move || {
                    (0..100_000).for_each(|n| limit.count(v4((thread << 24) + n / (1 + n % 2)), NOW));
                })
            })
            .collect();
        scope.spawn(|| {
            let mut n = 0;
            while !done.load(Ordering::Relaxed) {
                n = (n + 1) % 100_000;
                assert!(limit.holds(held, NOW).is_some());
                assert_eq!(limit.holds(v4((7 << 24) + n), NOW), None);
            }
        });
        floods.into_iter().for_each(|flood| flood.join().unwrap());
        done.store(true, Ordering::Relaxed);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn as_long_as_there_is_room_it_counts_as_a_map_does(
        failures in 1u32..6,
        steps in proptest::collection::vec((0u32..7, 0u64..40, any::<bool>()), 1..120),
    ) {
        let settings = settings::FailureLimit { failures, window: Duration::from_secs(60) };
        // One set, which has room for all of them.
        let limit = FailureLimit::with_places(&settings, 64, WAYS);
        let (mut naive, mut now): (HashMap<(IpAddr, u64), u32>, u64) = (HashMap::new(), NOW);
        for (client, later, v6) in steps {
            now += later;
            let client: IpAddr = match v6 {
                true => Ipv6Addr::new(0x2001, 0xdb8, 0, client as u16 % 3, 0, 0, 0, 1).into(),
                false => v4(client % 4),
            };
            let count = naive.entry((client, now / 60)).or_default();
            prop_assert_eq!(limit.holds(client, now), (*count >= failures).then(|| 60 - now % 60));
            *count += 1;
            limit.count(client, now);
        }
    }
}
