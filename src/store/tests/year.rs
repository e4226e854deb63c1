//! A year of 200 routes in SQLite: how fast questions are answered, how large the file gets.
//!
//! `AEGIS_TEST_BIG=1` makes the whole year, and holds questions to 200 ms; without, it is two weeks of 40 routes, and the
//! times are only told: a machine that runs other tests beside, and code that is not optimised, prove nothing. With
//! `AEGIS_TEST_YEAR=FILE` the database is kept there and found again.

use std::time::Instant;

use aegis_actors::metrics_aggregator::{Histogram, Tally};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;

use super::sample::*;
use super::*;
use crate::store::plan::{DAY, LEVEL_RETENTION, LEVELS, floor};
use crate::store::rows::{MergedRow, SeriesKey, scope};
use crate::store::schema;

/// An hour's worth of durations: about 250 buckets, as a busy route has.
fn busy(seed: u64, requests: u64) -> Tally {
    let mut latency = Histogram::default();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let (mut total_us, mut longest_us) = (0, 0);
    for _ in 0..requests {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Log-normal, more or less: most around 4 ms, a few up to a second.
        let spread = (0..6).map(|n| (state >> (n * 8)) & 0xff).sum::<u64>() as f64 / 6.0 / 255.0;
        let micros = (500.0 * (spread * 9.0).exp()) as u64;
        latency.record(micros);
        total_us += micros;
        longest_us = longest_us.max(micros);
    }
    Tally {
        requests,
        failed: 1,
        bytes_in: 1_000,
        bytes_out: 100_000,
        total_us,
        longest_us,
        latency,
        ..Tally::default()
    }
}

#[test]
fn a_year_of_rollups_is_asked_quickly() {
    let big = std::env::var_os("AEGIS_TEST_BIG").is_some();
    let (days, routes) = if big { (365, 200) } else { (14, 40) };
    let database = Database::sqlite();
    let kept = std::env::var("AEGIS_TEST_YEAR").ok();
    let url = kept.as_ref().map_or(database.url.clone(), |file| format!("sqlite://{file}"));
    let file = url.strip_prefix("sqlite://").unwrap().to_owned();
    let end = T + i64::from(days) * i64::from(DAY) + 13 * 3_600 + 1_234;
    let clock = Clock::at(end);
    let retention = Duration::from_secs(400 * 86_400);
    let store = Store::open(&url, Options { retention, ..database.options(&clock) }).unwrap();
    wait(store.prepare());
    let begin = Instant::now();
    let mut conn = SqliteConnection::establish(&file).unwrap();
    if wait(store.top(Range { from: T, to: end }, Filter::default(), Detail::Counts)).is_empty() {
        conn.batch_execute("BEGIN").unwrap();
        fill(&mut conn, routes, end);
        conn.batch_execute("COMMIT").unwrap();
        conn.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    }
    // The last minutes are not merged yet.
    let fresh = (0..9 * routes as i64).map(|n| {
        let (at, route) = (floor(end, 10) - n / routes as i64 * 10, n % routes as i64);
        rollup(at, series(&format!("/r{route}"), &format!("b{}", route / 10), "GET", 2), busy(n as u64, 40))
    });
    wait(store.write_batch(writer("a", "1"), rollups(fresh.collect())));
    let size = std::fs::metadata(&file).unwrap().len();
    println!("{days} days of {routes} routes: {} MB, made in {:?}", size >> 20, begin.elapsed());

    let day = i64::from(DAY);
    let ranges = [
        ("the last 30 days", Range { from: end - 30 * day, to: end }),
        ("30 days half a year ago", Range { from: end - 200 * day + 777, to: end - 170 * day + 777 }),
        ("the last day", Range { from: end - day, to: end }),
        ("the last hour", Range { from: end - 3_600, to: end }),
    ];
    let filters = [
        ("everything", Filter::default()),
        ("a backend", Filter { backend: Some("b1".into()), ..Filter::default() }),
        ("a route", Filter { route: Some("/r7".into()), ..Filter::default() }),
        ("an instance", Filter { instance: Some("a".into()), ..Filter::default() }),
    ];
    let mut slowest = Duration::ZERO;
    let mut timed = |what: String, ask: &dyn Fn() -> usize| {
        // The second time: what a dashboard asks again and again is in memory.
        ask();
        let begin = Instant::now();
        let rows = ask();
        let took = begin.elapsed();
        println!("{took:>12?}  {rows:>5} rows  {what}");
        slowest = slowest.max(took);
    };
    for (when, range) in ranges {
        let seconds = match range.to - range.from {
            3_600 => 10,
            86_400 => 600,
            _ => 3_600,
        };
        for (which, filter) in &filters {
            for detail in [Detail::Latency, Detail::Counts] {
                timed(format!("series of {which}, {when}, {detail:?}"), &|| {
                    wait(store.series(range, seconds, filter.clone(), detail)).len()
                });
                timed(format!("top of {which}, {when}, {detail:?}"), &|| {
                    wait(store.top(range, filter.clone(), detail)).len()
                });
            }
        }
    }
    println!("the slowest: {slowest:?}");
    if big && !cfg!(debug_assertions) {
        assert!(slowest < Duration::from_millis(200), "{slowest:?}");
    }
}

/// Merged rows as the merging leaves them: every level as far back as it is kept.
fn fill(conn: &mut SqliteConnection, routes: usize, end: i64) {
    use schema::{levels, merged_rollups, series};
    let key = |scope, route: String, backend: String, method: &str, class| SeriesKey {
        instance: "a".into(),
        scope,
        route,
        backend,
        method: method.into(),
        class,
    };
    let mut keys = Vec::new();
    for class in [2, 5] {
        keys.push(key(scope::EVERYTHING, String::new(), String::new(), "", class));
        keys.extend(
            (0..routes.div_ceil(10)).map(|b| key(scope::BACKEND, String::new(), format!("b{b}"), "", class)),
        );
        keys.extend(
            (0..routes).map(|r| key(scope::SERIES, format!("/r{r}"), format!("b{}", r / 10), "GET", class)),
        );
    }
    // One at a time: diesel would begin a transaction for a list.
    for key in &keys {
        diesel::insert_into(series::table).values(key).execute(conn).unwrap();
    }
    // A few tallies of each kind, used over and over: making them would take longer than anything else.
    let few: Vec<Tally> = (0..16).map(|seed| busy(seed, 20)).collect();
    let many: Vec<Tally> = (0..16).map(|seed| busy(seed, 2_000)).collect();
    let first = T;
    for (level, seconds) in LEVELS.into_iter().enumerate() {
        let since = LEVEL_RETENTION[level].map_or(first, |kept| first.max(floor(end - kept, 3_600)));
        diesel::insert_into(levels::table)
            .values((levels::seconds.eq(seconds), levels::since.eq(since)))
            .execute(conn)
            .unwrap();
        // In the order of the key: as it is on disk, and far quicker than in the order of time.
        for (n, key) in keys.iter().enumerate() {
            for start in (floor(since, i64::from(seconds))..end - 100).step_by(seconds as usize) {
                // Errors are rare: one minute in ten has some.
                let hash = (n as i64 * 31 + start / i64::from(seconds)) as usize;
                if key.class == 5 && seconds < 600 && !hash.is_multiple_of(10) {
                    continue;
                }
                let tallies = if seconds < 600 || key.class == 5 { &few } else { &many };
                let row = MergedRow::new(seconds, n as i64 + 1, start, &tallies[hash % 16]);
                diesel::insert_into(merged_rollups::table).values(row).execute(conn).unwrap();
            }
            conn.batch_execute("COMMIT; BEGIN").unwrap();
        }
    }
}

/// Day after day of the same traffic: what is merged and dropped makes room for what comes.
#[test]
fn the_file_stops_growing() {
    let database = Database::sqlite();
    let clock = Clock::at(T);
    let options = Options { retention: Duration::from_secs(2 * 86_400), ..database.options(&clock) };
    let store = Store::open(&database.url, options).unwrap();
    let file = database.url.strip_prefix("sqlite://").unwrap();
    let mut sizes = Vec::new();
    for hour in 0..24 * 7 {
        // An hour's rollups at a time, one a minute: the same as by flushes, in fewer transactions.
        let begin = T + hour * 3_600;
        let rows = (0..60).flat_map(|n| (0..2).map(move |s| (begin + n * 60, s)));
        let rows = rows.map(|(at, s)| rollup(at, some_series(s), busy(at as u64 / 10 * 4 + s as u64, 20)));
        clock.set(begin + 3_600);
        wait(store.write_batch(writer("a", "1"), rollups(rows.collect())));
        clock.set(begin + 3_700);
        wait(store.maintain());
        if hour % 24 == 23 {
            let wal = std::fs::metadata(format!("{file}-wal")).map_or(0, |file| file.len());
            sizes.push((std::fs::metadata(file).unwrap().len() >> 10, wal >> 10));
        }
    }
    println!("KiB of file and log after each day: {sizes:?}");
    let (early, late) = (sizes[3].0, sizes[6].0);
    assert!(late <= early + early / 10, "{sizes:?}");
    assert!(sizes.iter().all(|(_, wal)| *wal < 80 << 10), "{sizes:?}");
}
