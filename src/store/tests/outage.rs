//! The database away: writes fail in time, nothing is lost and nothing doubled.

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Instant;

use super::sample::*;
use super::*;

fn limited(url: &str, clock: &Clock) -> Store {
    let clock = clock.clone();
    let options = Options {
        time_limit: Duration::from_secs(2),
        maintain_every: None,
        clock: Arc::new(move || clock.get()),
        ..Options::default()
    };
    Store::open(url, options).unwrap()
}

/// Says "enough" when it goes, panic or not.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "no {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_server_killed_in_mid_write_costs_time_but_no_count() {
    let server = Postgres::start();
    let clock = Clock::at(T);
    let store = limited(&server.database(), &clock);
    wait(store.prepare());
    let mut truth = Truth::default();
    let (batches, failures, stop) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            // However this ends, the writer must not go on for ever.
            let _stop = Stop(&stop);
            let more = |count: usize| {
                let enough = batches.load(Ordering::Relaxed) + count;
                until("further batches", || batches.load(Ordering::Relaxed) >= enough);
            };
            for _ in 0..3 {
                more(3);
                server.kill();
                let failed = failures.load(Ordering::Relaxed) + 2;
                until("writes that fail", || failures.load(Ordering::Relaxed) >= failed);
                server.run();
            }
            more(3);
        });
        let mut at = T;
        while !stop.load(Ordering::Relaxed) {
            clock.set(at + 10);
            let rows = (0..400).map(|n| {
                rollup(at, series(&format!("/{n}"), &format!("b{}", n % 3), "GET", 2), tally(n % 7 + 1, n))
            });
            let mut batch = rollups(rows.collect());
            batch.samples = vec![sample(at * 1000, &format!("r{at}"))];
            truth.write(&writer("a", "1"), &batch);
            loop {
                let begin = Instant::now();
                let written = attempt(store.write_batch(writer("a", "1"), batch.clone()));
                assert!(begin.elapsed() < Duration::from_secs(4), "{:?} {written:?}", begin.elapsed());
                if written.is_ok() {
                    break;
                }
                failures.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(50));
            }
            batches.fetch_add(1, Ordering::Relaxed);
            if at % 50 == 0 {
                // Fails like anything else while the server is away.
                let _ = attempt(store.maintain());
            }
            at += 10;
        }
        killer.join().unwrap();
        let range = Range { from: T, to: at };
        let requests = |store: &Store| {
            let told = wait(store.series(range, 86_400, Filter::default(), Detail::Latency));
            (told.iter().map(|b| b.tally.requests).sum(), told.iter().map(|b| b.tally.latency.count()).sum())
        };
        assert_eq!(requests(&store), (truth.requests(), truth.requests()));
        truth.check(&store, range, 10);
        clock.set(at + 100);
        wait(store.maintain());
        truth.check(&store, range, 10);
        assert_eq!(wait(store.samples(100_000, Wanted::default())).len() as i64, (at - T) / 10);
    });
}

#[test]
fn a_server_that_is_away_at_start_is_used_when_it_is_there() {
    let server = Postgres::start();
    let url = server.database();
    server.kill();
    let store = limited(&url, &Clock::at(T + 60));
    let batch = rollups(vec![rollup(T, some_series(0), tally(5, 1))]);
    let begin = Instant::now();
    let error = attempt(store.write_batch(writer("a", "1"), batch.clone())).unwrap_err();
    assert!(matches!(error.why(), StoreError::Away(_)), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(5));
    server.run();
    wait(store.write_batch(writer("a", "1"), batch));
}

#[test]
fn a_server_that_does_not_answer_costs_the_time_limit() {
    // It accepts, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://u:hunter2@{}/d", silent.local_addr().unwrap());
    let store = limited(&url, &Clock::at(T));
    let begin = Instant::now();
    let error = attempt(store.write_batch(writer("a", "1"), Batch::default())).unwrap_err();
    assert_eq!(error.why(), &StoreError::TimedOut { limit: Duration::from_secs(2) });
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert!(!format!("{error} {error:?} {}", store.database()).contains("hunter2"));
}

#[test]
fn an_error_of_the_server_does_not_show_the_password() {
    let database = Database::postgres();
    let url = database.url.replace("aegis@", "nobody%2e:hunter2@");
    let error = attempt(limited(&url, &Clock::at(T)).prepare()).unwrap_err();
    assert!(matches!(error.why(), StoreError::Away(_)), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
}

#[test]
fn a_file_that_is_locked_costs_the_time_limit_and_no_count() {
    use diesel::connection::SimpleConnection as _;
    use diesel::prelude::*;
    let database = Database::sqlite();
    let store = limited(&database.url, &Clock::at(T + 60));
    wait(store.prepare());
    let mut other = SqliteConnection::establish(database.url.strip_prefix("sqlite://").unwrap()).unwrap();
    other.batch_execute("BEGIN IMMEDIATE").unwrap();
    let batch = rollups(vec![rollup(T, some_series(0), tally(5, 1))]);
    let begin = Instant::now();
    let error = attempt(store.write_batch(writer("a", "1"), batch.clone())).unwrap_err();
    assert_eq!(error.why(), &StoreError::TimedOut { limit: Duration::from_secs(2) });
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    // Readers do not mind.
    let range = Range { from: T, to: T + 10 };
    assert_eq!(wait(store.series(range, 10, Filter::default(), Detail::Counts)), []);
    other.batch_execute("ROLLBACK").unwrap();
    let mut written = attempt(store.write_batch(writer("a", "1"), batch.clone()));
    // The one that was given up is still waiting for the lock, and gets it.
    while written.as_ref().is_err_and(|error| matches!(error.why(), StoreError::TimedOut { .. })) {
        written = attempt(store.write_batch(writer("a", "1"), batch.clone()));
    }
    written.unwrap();
    assert_eq!(wait(store.series(range, 10, Filter::default(), Detail::Counts))[0].tally.requests, 5);
}

#[test]
fn a_folder_that_cannot_be_made_is_told() {
    let store = limited("sqlite:///proc/nowhere/aegis.db", &Clock::at(T));
    let error = attempt(store.prepare()).unwrap_err();
    assert!(error.to_string().contains("No such file or directory"), "{error}");
}
