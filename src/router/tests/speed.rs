//! Cost that must not explode. The bounds are a hundred times what a release build needs, of this thread's own
//! processor time, so that others on the machine do not count; what they catch is growth by a power.

use std::time::{Duration, Instant};

use super::*;

fn timed<R>(what: impl FnOnce() -> R) -> (R, Duration) {
    let (start, before) = (Instant::now(), processor_time());
    let result = what();
    let took = processor_time().zip(before).map(|(after, before)| after.saturating_sub(before));
    (result, took.unwrap_or_else(|| start.elapsed()))
}

/// Processor time of this thread (proc(5), schedstat); `None` where the system does not tell.
fn processor_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?))
}

#[test]
fn a_hostile_path_against_many_double_stars_costs_milliseconds() {
    let router = patterns(&["/**/a/**/b", "/**/a/**/a/**/a/**/c", "/**/*/**/*/**/d", "/**/a*/**/*a/**/e"]);
    let path = "/a".repeat(3_000);
    let (found, took) = timed(|| get(&router, &path));
    assert_eq!(found, "404");
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[test]
fn a_hostile_path_with_every_kind_of_reading_costs_milliseconds() {
    let router = patterns(&["/**/a/**/b", "/**"]);
    let path = "/a;b%3Bc%2Fd%5Ce".repeat(500);
    let (_, took) = timed(|| get_keeping_slashes(&router, &path));
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn all_matches_of_a_hostile_path_are_found_in_milliseconds() {
    let patterns =
        owned(&["/**/a/**/b/**", "/**/a/**/a/**/a/**/c", "/**/*/**/*/**/d", "/**/a*/**/*a/**", "/**"]);
    let set = PatternSet::new(&patterns).unwrap();
    for path in ["/a".repeat(3_000), "/a;b%3Bc%2Fd%5Ce".repeat(500)] {
        let (_, took) = timed(|| set.matching(&path, false, &mut |_| {}));
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
}

#[test]
fn conflicts_of_five_thousand_routes_are_found_in_seconds() {
    let mut specs: Vec<RouteSpec<()>> = Vec::new();
    for number in 0..1_250 {
        for pattern in
            [format!("/s{number}/:id"), format!("/s{number}/**"), format!("/*/t{number}"), "/**".into()]
        {
            let headers =
                if pattern == "/**" { vec![("tenant".into(), number.to_string())] } else { Vec::new() };
            specs.push(RouteSpec { pattern, headers, ..RouteSpec::default() });
        }
    }
    let router = Router::build(specs).unwrap();
    let (conflicts, took) = timed(|| router.conflicts());
    assert_eq!(conflicts.len(), 0);
    assert!(took < Duration::from_secs(20), "{took:?}");
}
