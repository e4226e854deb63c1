//! Batches are written whole, and writing again changes nothing.

use super::sample::*;
use super::*;

on_both!(
    an_empty_store_gives_empty_answers,
    a_batch_is_read_back_as_it_was_written,
    writing_a_batch_again_changes_nothing,
    a_row_is_replaced_by_its_writer_and_by_nobody_else,
    two_writers_at_once_do_not_disturb_each_other,
    a_large_batch_is_written,
    a_write_that_was_overtaken_fails,
    the_store_works_from_any_executor_and_survives_being_dropped_there,
);

const HOUR: Range = Range { from: T, to: T + 3_600 };

fn an_empty_store_gives_empty_answers(database: Database) {
    let store = database.store(&Clock::at(T + 60));
    Truth::default().check(&store, HOUR, 10);
    Truth::default().check(&store, Range { from: T, to: T }, 10);
    Truth::default().check(&store, Range { from: T + 10, to: T }, 10);
    assert_eq!(wait(store.samples(10, Wanted::default())), []);
    assert_eq!(
        attempt(store.series(HOUR, 15, Filter::default(), Detail::Counts)),
        Err(StoreError::Bucket(15))
    );
    wait(store.write_batch(writer("a", "1"), Batch::default()));
}

fn a_batch_is_read_back_as_it_was_written(database: Database) {
    let store = database.store(&Clock::at(T + 60));
    let mut truth = Truth::default();
    let batch = Batch {
        rollups: (0..24).map(|n| rollup(T + n as i64 % 3 * 10, some_series(n), tally(n as u64, 3))).collect(),
        ..Batch::default()
    };
    truth.write(&writer("a", "1"), &batch);
    wait(store.write_batch(writer("a", "1"), batch));
    truth.check(&store, HOUR, 10);
    truth.check(&store, HOUR, 60);
    // Borders: the first is in, the last is not.
    truth.check(&store, Range { from: T + 10, to: T + 20 }, 10);
}

fn writing_a_batch_again_changes_nothing(database: Database) {
    let store = database.store(&Clock::at(T + 60));
    let mut truth = Truth::default();
    let mut batch =
        rollups(vec![rollup(T, some_series(1), tally(5, 1)), rollup(T, some_series(2), tally(6, 1))]);
    batch.samples = vec![sample(T * 1000, "r1"), sample(T * 1000 + 1, "r1"), sample(T * 1000, "r2")];
    batch.changes = vec![change(T * 1000)];
    truth.write(&writer("a", "1"), &batch);
    for _ in 0..3 {
        wait(store.write_batch(writer("a", "1"), batch.clone()));
    }
    truth.check(&store, HOUR, 10);
    assert_eq!((wait(store.samples(10, Wanted::default())).len(), wait(store.changes(10)).len()), (3, 1));
    // Twice in one batch: the later one holds.
    let twice = rollups(vec![rollup(T, some_series(1), tally(1, 1)), rollup(T, some_series(1), tally(9, 1))]);
    truth.write(&writer("a", "1"), &twice);
    wait(store.write_batch(writer("a", "1"), twice));
    truth.check(&store, HOUR, 10);
}

fn a_row_is_replaced_by_its_writer_and_by_nobody_else(database: Database) {
    let store = database.store(&Clock::at(T + 60));
    let mut truth = Truth::default();
    for (instance, boot, requests) in [("a", "1", 5), ("a", "1", 9), ("a", "2", 3), ("b", "1", 2)] {
        let batch = rollups(vec![rollup(T, some_series(0), tally(requests, requests))]);
        truth.write(&writer(instance, boot), &batch);
        wait(store.write_batch(writer(instance, boot), batch));
    }
    truth.check(&store, HOUR, 10);
    assert_eq!(truth.requests(), 14);
}

fn two_writers_at_once_do_not_disturb_each_other(database: Database) {
    let clock = Clock::at(T + 3_600);
    let mut truth = Truth::default();
    let batches = |instance: &'static str| {
        (0..30).map(move |n| {
            let rows =
                (0..24).map(|s| rollup(T + n / 3 * 10, some_series(s), tally(n as u64 % 5 + 1, s as u64)));
            (writer(instance, "1"), rollups(rows.collect()))
        })
    };
    std::thread::scope(|scope| {
        for instance in ["a", "b"] {
            let (database, clock) = (&database, clock.clone());
            scope.spawn(move || {
                // Two stores, as in two processes.
                let store = database.store(&clock);
                batches(instance).for_each(|(writer, batch)| wait(store.write_batch(writer, batch)));
            });
        }
        let store = database.store(&clock);
        scope.spawn(move || {
            for _ in 0..5 {
                wait(store.maintain());
            }
        });
    });
    ["a", "b"].into_iter().flat_map(batches).for_each(|(writer, batch)| truth.write(&writer, &batch));
    let store = database.store(&clock);
    truth.check(&store, HOUR, 60);
    wait(store.maintain());
    truth.check(&store, HOUR, 60);
}

fn a_large_batch_is_written(database: Database) {
    let store = database.store(&Clock::at(T + 60));
    let rows = (0..5_000)
        .map(|n| rollup(T + n / 1_000 * 10, series(&format!("/{}", n % 1_000), "b", "GET", 2), tally(2, 1)));
    let batch = rollups(rows.collect());
    wait(store.write_batch(writer("a", "1"), batch));
    let told = wait(store.series(HOUR, 3_600, Filter::default(), Detail::Latency));
    assert_eq!((told[0].tally.requests, told[0].tally.latency.count()), (10_000, 10_000));
    assert_eq!(wait(store.top(HOUR, Filter::default(), Detail::Counts)).len(), 1_000);
}

fn a_write_that_was_overtaken_fails(database: Database) {
    let clock = Clock::at(T + 60);
    let (late, early) = (database.store(&clock), database.store(&clock));
    clock.set(T + 120);
    wait(late.write_batch(writer("a", "1"), rollups(vec![rollup(T, some_series(0), tally(9, 1))])));
    // As if it had been sent a minute ago.
    clock.set(T + 60);
    let overtaken =
        early.write_batch(writer("a", "1"), rollups(vec![rollup(T, some_series(0), tally(5, 1))]));
    assert_eq!(attempt(overtaken).as_ref().map_err(StoreError::why), Err(&StoreError::Overtaken));
    let told = wait(late.series(HOUR, 10, Filter::default(), Detail::Counts));
    assert_eq!(told[0].tally.requests, 9);
    // The connection that it failed on is not the worse for it.
    wait(early.write_batch(writer("b", "1"), rollups(vec![rollup(T, some_series(0), tally(5, 1))])));
}

fn the_store_works_from_any_executor_and_survives_being_dropped_there(database: Database) {
    let store = database.store(&Clock::at(T + 60));
    let inside = store.clone();
    actix_rt::System::new().block_on(async move {
        let sink: &dyn Sink = &inside;
        let batch = rollups(vec![rollup(T, some_series(0), tally(5, 1))]);
        sink.write(writer("a", "1"), batch).await.unwrap();
        // Nobody waits for this one to the end.
        let asked = inside.top(HOUR, Filter::default(), Detail::Latency);
        let _ = tokio::time::timeout(Duration::ZERO, asked).await;
        drop(inside);
    });
    assert_eq!(wait(store.top(HOUR, Filter::default(), Detail::Counts)).len(), 1);
    actix_rt::System::new().block_on(async move { drop(store) });
}
