//! Merging changes no answer, whoever writes meanwhile, and however late.

use super::sample::*;
use super::*;

on_both!(
    no_answer_changes_by_merging,
    whatever_was_merged_a_late_row_counts_once,
    an_unacknowledged_row_is_not_merged,
    what_a_process_that_ended_has_left_is_merged_in_the_end,
    rows_older_than_the_retention_go,
);

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// Three days of three writers, one of which is cut off for hours, with passes of maintenance in between.
fn no_answer_changes_by_merging(database: Database) {
    for seed in 1..3_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let clock = Clock::at(T);
        let instance = |name: &str| format!("{name}{seed}");
        let stores = [database.store(&clock), database.store(&clock)];
        let mut truth = Truth::default();
        let mut waiting = Batch::default();
        let begin = T + seed as i64 * 40 * 86_400;
        // Dense at the end, where the finest rows are still there.
        let mut at = begin;
        let end = begin + 3 * 86_400;
        while at < end {
            clock.set(at + 7);
            let late = at - dice.below(4) as i64 * 600;
            for (n, (name, boot)) in [("a", "1"), ("b", "1"), ("b", "2")].into_iter().enumerate() {
                let row = |at: i64, dice: &mut Dice| {
                    rollup(
                        at,
                        some_series(dice.below(24) as usize),
                        tally(dice.below(4) + 1, at as u64 + n as u64),
                    )
                };
                let mut batch = rollups((0..dice.below(4)).map(|_| row(at, &mut dice)).collect());
                if dice.below(10) == 0 && late >= begin {
                    // Never written before: routes that nobody else uses.
                    let series = series(&format!("/late{}", dice.below(1 << 40)), "b1", "GET", 2);
                    batch.rollups.push(rollup(late, series, tally(2, 5)));
                }
                let writer = writer(&instance(name), boot);
                truth.write(&writer, &batch);
                // The third one writes nothing for six hours, then everything.
                let cut_off = n == 2 && (begin + 60 * 3_600..begin + 66 * 3_600).contains(&at);
                if n == 2 {
                    waiting.rollups.extend(batch.rollups);
                    batch = if cut_off { continue } else { std::mem::take(&mut waiting) };
                }
                for _ in 0..1 + dice.below(2) {
                    wait(stores[n % 2].write_batch(writer.clone(), batch.clone()));
                }
            }
            if dice.below(8) == 0 {
                wait(stores[dice.below(2) as usize].maintain());
            }
            at += if at < end - 7_200 {
                1_800 + dice.below(30) as i64 * 10
            } else {
                10 + dice.below(12) as i64 * 10
            };
            at = at.div_euclid(10) * 10;
        }
        assert!(waiting.is_empty());
        clock.set(end + 600);
        let days = Range { from: begin, to: end };
        let checks = [
            (days, 3_600),
            (days, 86_400),
            (Range { from: begin + 3_600, to: end - 3_600 }, 7_200),
            (Range { from: end - 6 * 3_600, to: end }, 60),
            (Range { from: end - 86_400, to: end + 3_600 }, 600),
            (Range { from: end - 3_600 + 30, to: end - 50 }, 10),
            (Range { from: end - 3_600, to: end + 600 }, 30),
        ];
        let check = || checks.iter().for_each(|(range, seconds)| truth.check(&stores[0], *range, *seconds));
        check();
        let before = database.count("rollups");
        wait(stores[0].maintain());
        wait(stores[1].maintain());
        assert!(before == 0 || database.count("rollups") < before);
        check();
        clock.set(end + 1_200);
        wait(stores[0].maintain());
        wait(stores[1].maintain());
        assert_eq!(database.count("rollups"), 0);
        check();
    }
    // Fine rows have gone where coarse ones tell the same.
    assert!(
        database.count("merged_rollups WHERE seconds = 10")
            < database.count("merged_rollups WHERE seconds = 3600") * 20
    );
    for (seconds, kept) in [(10, 2 * 3_600 + 60), (60, 8 * 3_600 + 600), (600, 2 * 86_400 + 3_600)] {
        let newest = T + 83 * 86_400 + 1_200;
        assert_eq!(
            database
                .count(&format!("merged_rollups WHERE seconds = {seconds} AND start < {}", newest - kept)),
            0
        );
    }
}

fn whatever_was_merged_a_late_row_counts_once(database: Database) {
    let clock = Clock::at(T + 600);
    let (store, other) = (database.store(&clock), database.store(&clock));
    let mut truth = Truth::default();
    let mut write = |store: &Store, name: &str, start: i64, n: usize, requests: u64| {
        let batch = rollups(vec![rollup(start, some_series(n), tally(requests, 1))]);
        truth.write(&writer(name, "1"), &batch);
        wait(store.write_batch(writer(name, "1"), batch));
    };
    write(&store, "a", T, 0, 5);
    write(&store, "a", T + 590, 0, 5);
    wait(store.maintain());
    assert_eq!(database.count("rollups"), 1);
    // A day later, from the same time: another writer, and the same one with another series.
    clock.set(T + 86_400 + 600);
    write(&other, "b", T, 0, 7);
    write(&store, "a", T, 1, 9);
    let range = Range { from: T, to: T + 3_600 };
    truth.check(&store, range, 3_600);
    clock.set(T + 86_400 + 700);
    wait(store.maintain());
    wait(other.maintain());
    assert_eq!(database.count("rollups"), 0);
    truth.check(&store, range, 3_600);
    truth.check(&store, Range { from: T, to: T + 86_400 }, 86_400);
}

fn an_unacknowledged_row_is_not_merged(database: Database) {
    let clock = Clock::at(T + 10);
    let (store, other) = (database.store(&clock), database.store(&clock));
    let mut truth = Truth::default();
    let batch = rollups(vec![rollup(T, some_series(0), tally(5, 1))]);
    // Written, but the writer does not learn of it.
    wait(store.write_batch(writer("a", "1"), batch.clone()));
    let in_doubt = store.inner.in_doubt().of(&batch);
    store.inner.attempt(&writer("a", "1"), &in_doubt);
    clock.set(T + 7_200);
    wait(other.write_batch(writer("b", "1"), rollups(vec![rollup(T, some_series(1), tally(1, 1))])));
    wait(store.maintain());
    wait(other.maintain());
    wait(other.maintain());
    assert_eq!(database.ask("SELECT instance AS line FROM rollups"), ["a"]);
    // Hours later it is written again, with what has come to it since.
    let again = rollups(vec![rollup(T, some_series(0), tally(8, 1))]);
    truth.write(&writer("a", "1"), &again);
    truth.write(&writer("b", "1"), &rollups(vec![rollup(T, some_series(1), tally(1, 1))]));
    wait(store.write_batch(writer("a", "1"), again));
    wait(store.maintain());
    assert_eq!(database.count("rollups"), 0);
    truth.check(&store, Range { from: T, to: T + 3_600 }, 3_600);
}

fn what_a_process_that_ended_has_left_is_merged_in_the_end(database: Database) {
    let clock = Clock::at(T + 10);
    let mut truth = Truth::default();
    let mut write = |store: &Store, name: &str, boot: &str, start: i64| {
        let batch = rollups(vec![rollup(start, some_series(0), tally(5, 1))]);
        truth.write(&writer(name, boot), &batch);
        wait(store.write_batch(writer(name, boot), batch));
    };
    write(&database.store(&clock), "a", "1", T);
    write(&database.store(&clock), "b", "1", T);
    clock.set(T + 900);
    let store = database.store(&clock);
    write(&store, "a", "2", T + 900);
    wait(store.maintain());
    assert_eq!(database.count("rollups"), 3);
    // It was seen to do nothing for ten minutes.
    clock.set(T + 1_501);
    write(&store, "a", "2", T + 1_500);
    wait(store.maintain());
    // Started again: what it was before has ended. Whether b has, nobody knows.
    assert_eq!(database.ask("SELECT instance || boot AS line FROM rollups ORDER BY 1"), ["a2", "b1"]);
    clock.set(T + 8 * 86_400);
    wait(store.maintain());
    assert_eq!((database.count("rollups"), database.count("writers")), (0, 1));
    truth.check(&store, Range { from: T, to: T + 3_600 }, 3_600);
}

fn rows_older_than_the_retention_go(database: Database) {
    let clock = Clock::at(T + 200);
    let store = database.store(&clock);
    let batch = rollups(vec![rollup(T, series("/old", "old", "GET", 2), tally(5, 1))]);
    wait(store.write_batch(writer("a", "1"), batch.clone()));
    wait(store.maintain());
    assert_eq!(wait(store.top(Range { from: 0, to: T + 200 }, Filter::default(), Detail::Counts)).len(), 1);
    clock.set(T + 32 * 86_400);
    wait(store.maintain());
    for table in ["rollups", "merged_rollups", "series"] {
        assert_eq!(database.count(table), 0, "{table}");
    }
    assert_eq!(wait(store.top(Range { from: 0, to: i64::MAX }, Filter::default(), Detail::Counts)), []);
    // So old that it cannot be merged any more.
    wait(store.write_batch(writer("a", "2"), batch));
    clock.set(T + 32 * 86_400 + 120);
    wait(store.maintain());
    for table in ["rollups", "merged_rollups"] {
        assert_eq!(database.count(table), 0, "{table}");
    }
}
