//! Limits under a flood: never more than the limit, and nearly all of it (R2).
//!
//! The gateway decides between the moment a request is sent and the moment its upstream has it. A request counts for a
//! stretch of time when both lie in it: what is counted so was certainly admitted in it, whatever the machine is busy with.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use crate::harness::flood::{Shot, clocked, flood};
use crate::harness::limits::{ALGORITHMS, get_from, limited, rule, shared, somebody, together};
use crate::harness::{Gateway, Redis, Upstream};

/// Requests per second that a rule of their own exists for. The first is the one that is meant; on a machine that cannot
/// send enough to exceed it the next one takes its place.
const LIMITS: [u64; 4] = [1000, 500, 250, 100];

const WINDOW: Duration = Duration::from_secs(1);

/// Floods beside each other would measure each other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The whole of R2, on a machine that has nothing else to do.
fn big() -> bool {
    std::env::var_os("AEGIS_TEST_BIG").is_some()
}

fn span() -> Duration {
    Duration::from_secs(if big() { 10 } else { 3 })
}

/// Floods until one tells something.
const TRIES: usize = 10;

fn rules() -> String {
    let rules = ALGORITHMS.iter().flat_map(|name| LIMITS.map(|limit| (*name, limit))).map(|(name, limit)| {
        let id = format!("{name}-{limit}");
        let numbers = format!("algorithm: {name}, requests: {limit}, windowSeconds: 1");
        rule(&id, &format!("endpoint: /{id}"), &numbers, "")
    });
    let rules: Vec<_> = rules.chain([rule("none", "endpoint: /free", "requests: 1000000", "")]).collect();
    format!("rules: [{}], bypass: {{paths: [/free]}}", rules.join(", "))
}

/// The largest of [`LIMITS`] that a flood exceeds well.
fn exceeded(gateways: &[&Gateway]) -> u64 {
    let addrs: Vec<_> = gateways.iter().map(|gateway| gateway.addr).collect();
    let shots = flood(&addrs, &get_from(&somebody(), "/free"), Duration::from_millis(500));
    let rate = shots.len() as u64 * 2;
    let limit = LIMITS.iter().find(|limit| **limit * 5 / 2 < rate).unwrap_or(&LIMITS[3]);
    println!("{rate} requests per second without a limit: the limit is {limit}");
    *limit
}

/// The most that were certainly admitted in any stretch `reach` long, of those that begin with every `step`th request.
fn most_within(admitted: &[Shot], reach: Duration, step: usize) -> usize {
    let mut by_sent: Vec<_> = admitted.to_vec();
    by_sent.sort_by_key(|shot| shot.sent);
    let starts = (0..by_sent.len()).step_by(step);
    let inside = |start: usize| {
        let from = by_sent[start].sent;
        let begun = by_sent[start..].iter().take_while(|shot| shot.sent < from + reach);
        begun.filter(|shot| shot.arrived < from + reach).count()
    };
    starts.map(inside).max().unwrap_or(0)
}

/// The share of a limit that a flood has to get through. In the long run all that is promised; three seconds beside the
/// other tests say less.
fn least_used() -> f64 {
    if big() { 0.97 } else { 0.90 }
}

/// How many of the requests were told each end of a window.
fn by_reset(shots: &[Shot]) -> BTreeMap<u64, u64> {
    let mut by_reset = BTreeMap::new();
    shots.iter().for_each(|shot| *by_reset.entry(shot.reset).or_default() += 1);
    by_reset
}

/// The most that were admitted in a window, of the limit or above it.
fn most_admitted(algorithm: &str, limit: u64, admitted: &[Shot], took: Duration) -> u64 {
    match algorithm {
        "fixedWindow" => by_reset(admitted).into_values().max().unwrap_or(0),
        "slidingWindow" => most_within(admitted, WINDOW, 1) as u64,
        _ => {
            // By how much it exceeds the bound of any stretch of time, if it does.
            let reaches = (1..=took.as_millis() as u64 / 250).map(|quarters| quarters * 250);
            let room = reaches.map(|millis| {
                let bound = limit + limit * millis / 1000;
                bound as i64 - most_within(admitted, Duration::from_millis(millis), 20) as i64
            });
            let least = room.min().unwrap_or(0);
            u64::try_from(-least).map_or(0, |over| over + limit)
        }
    }
}

/// What broke the limit, if anything did; `None` when nothing did, but how much of it is used cannot be told.
fn judge(algorithm: &str, limit: u64, shots: &[Shot]) -> Option<Result<(), String>> {
    let mut admitted: Vec<Shot> = shots.iter().filter(|shot| shot.status == 200).copied().collect();
    admitted.sort_by_key(|shot| shot.arrived);
    let begun = shots.iter().map(|shot| shot.sent).min().unwrap();
    let took = shots.iter().map(|shot| shot.answered).max().unwrap() - begun;
    let (passed, sent) = (by_reset(&admitted), by_reset(shots));
    let windows: Vec<u64> = passed.values().copied().collect();
    // Aligned windows in which more was sent than they allow.
    let full = passed.iter().filter(|(reset, _)| sent.get(reset).is_some_and(|sent| *sent > limit * 3 / 2));
    let full: Vec<u64> = full.map(|(_, count)| *count).collect();
    let most = most_admitted(algorithm, limit, &admitted, took);
    let expected = match algorithm {
        "fixedWindow" => limit * full.len() as u64,
        "slidingWindow" => limit * took.as_secs_f64().round() as u64,
        _ => limit + (limit as f64 * took.as_secs_f64()) as u64,
    };
    let counted = match algorithm {
        "fixedWindow" => full.iter().sum(),
        _ => admitted.len() as u64,
    };
    let used = counted as f64 / expected as f64;
    println!(
        "{algorithm}: {} sent in {took:.2?}, {} admitted, {:.1} % of the limit; most in a window {most} of {limit}; {windows:?}",
        shots.len(),
        admitted.len(),
        used * 100.0
    );
    let odd = shots.iter().find(|shot| ![200, 429].contains(&shot.status));
    if let Some(shot) = odd {
        return Some(Err(format!("an answer of neither kind: {shot:?}")));
    }
    if most > limit {
        return Some(Err(format!("{most} were admitted where {limit} are allowed: {windows:?}")));
    }
    // Clients that could not go on sending at one time had no way to use the limit then.
    let quarters = took.as_millis() as u64 / 250;
    let sent = |quarter: u64| {
        let from = begun + Duration::from_millis(250 * quarter);
        shots.iter().filter(|shot| (from..from + Duration::from_millis(250)).contains(&shot.sent)).count()
            as u64
    };
    if expected == 0 || (0..quarters).any(|quarter| sent(quarter) * 4 < limit * 13 / 10) {
        println!("{algorithm}: this machine is too busy to tell how much of the limit is used");
        return None;
    }
    if used < least_used() {
        return Some(Err(format!("only {:.1} % of the limit was used: {windows:?}", used * 100.0)));
    }
    Some(Ok(()))
}

/// Floods every algorithm; again where Redis was given up meanwhile, as on a busy machine it may be.
fn flood_all(gateways: &[&Gateway], upstream: &Upstream) {
    let addrs: Vec<_> = gateways.iter().map(|gateway| gateway.addr).collect();
    for algorithm in ALGORITHMS {
        let limit = exceeded(gateways);
        let id = format!("{algorithm}-{limit}");
        let errors = || gateways.iter().map(|gateway| gateway.decisions(&id).error).sum::<u64>();
        let told = (0..TRIES).find_map(|_| {
            let before = errors();
            let shots = flood(&addrs, &get_from(&somebody(), &format!("/{id}")), span());
            let verdict = judge(algorithm, limit, &shots);
            let failed = errors() - before;
            if failed > 0 {
                println!("Redis did not answer {failed} times: once more");
                together(gateways);
                return None;
            }
            // That nothing was admitted beyond the limit is told either way.
            verdict.or_else(|| (!big()).then_some(Ok(())))
        });
        match told {
            Some(verdict) => verdict.unwrap_or_else(|why| panic!("{algorithm}: {why}")),
            None => panic!("{algorithm}: in {TRIES} floods this machine was too busy to judge one"),
        }
    }
    assert!(upstream.count() > 0);
}

#[test]
fn a_flood_over_two_gateways_gets_the_limit_and_no_more() {
    let _alone = alone();
    let (upstream, redis) = (clocked(), Redis::start());
    let start = || shared(&upstream, &redis.url(), &rules()).start();
    let (a, b) = (start(), start());
    together(&[&a, &b]);
    flood_all(&[&a, &b], &upstream);
}

#[test]
fn a_flood_over_two_workers_gets_the_limit_and_no_more() {
    let _alone = alone();
    let upstream = clocked();
    let gateway = limited(&upstream, &rules())
        .top("logging: {accessLog: false}")
        .server("trustedProxies: [127.0.0.0/8]")
        .start();
    flood_all(&[&gateway], &upstream);
}

/// Redis stands still for longer than a request waits for it, but not for so long that it is given up.
#[test]
fn a_redis_that_stutters_lets_no_more_than_the_limit_pass() {
    let _alone = alone();
    let (upstream, redis) = (clocked(), Redis::start());
    let start = || shared(&upstream, &redis.url(), &rules()).start();
    let (a, b) = (start(), start());
    let gateways = [&a, &b];
    // The scripts are there: a question that Redis does not know is asked twice.
    ALGORITHMS.iter().for_each(|name| {
        a.get(&format!("/{name}-{}", LIMITS[2]));
    });
    let given_up = || gateways.iter().map(|gateway| gateway.log().matches("given up").count()).sum::<usize>();
    for algorithm in ALGORITHMS {
        let told = (0..TRIES).find_map(|_| {
            together(&gateways);
            let limit = LIMITS[2];
            let id = format!("{algorithm}-{limit}");
            let errors = || gateways.iter().map(|gateway| gateway.decisions(&id).error).sum::<u64>();
            let (before, lost, flooding) = (errors(), given_up(), AtomicBool::new(true));
            let shots = std::thread::scope(|scope| {
                scope.spawn(|| {
                    while flooding.load(Ordering::Relaxed) {
                        redis.freeze();
                        sleep(Duration::from_millis(60)); // the fault itself
                        redis.thaw();
                        sleep(Duration::from_millis(190));
                    }
                });
                let call = get_from(&somebody(), &format!("/{id}"));
                let shots = flood(&[a.addr, b.addr], &call, span());
                flooding.store(false, Ordering::Relaxed);
                shots
            });
            let failed = errors() - before;
            let admitted: Vec<Shot> = shots.iter().filter(|shot| shot.status == 200).copied().collect();
            let most = most_admitted(algorithm, limit, &admitted, span());
            println!(
                "{algorithm}: {} admitted, {failed} without Redis; most in a window {most} of {limit}",
                admitted.len()
            );
            (failed > 0 && given_up() == lost).then_some((most, limit))
        });
        match told {
            // What other instances have taken since Redis was last heard of is not known to anybody.
            Some((most, limit)) => assert!(most <= limit + limit / 20, "{algorithm}: {most} of {limit}"),
            None if big() => panic!("{algorithm}: in {TRIES} floods Redis was given up or never missed"),
            None => println!("{algorithm}: this machine is too busy to tell"),
        }
    }
}
