//! A clock that was wrong once costs no history.

use super::sample::*;
use super::*;

on_both!(
    a_start_with_a_clock_that_is_ahead_drops_nothing,
    a_clock_that_is_set_ahead_while_it_runs_drops_nothing,
    borders_that_lie_ahead_come_back_and_new_rows_are_merged_again,
    what_has_nowhere_to_go_is_kept_and_counted,
    an_instance_whose_clock_is_ahead_drops_nothing_of_the_others,
    a_clock_that_is_far_behind_moves_no_border_of_the_others,
    rows_that_were_just_written_are_not_merged_when_the_clock_is_set_forward,
);

const DAYS: i64 = 86_400;

/// What an instance does in some minutes: a row each ten seconds, and passes as in the background.
fn live(store: &Store, clock: &Clock, boot: (&str, &str), minutes: i64, truth: &mut Truth) {
    for _ in 0..minutes {
        for n in 0..6 {
            let start = clock.now().div_euclid(10) * 10;
            let batch = rollups(vec![rollup(start, some_series(n), tally(3, start as u64))]);
            truth.write(&writer(boot.0, boot.1), &batch);
            wait(store.write_batch(writer(boot.0, boot.1), batch));
            clock.pass(10);
        }
        wait(store.maintain());
    }
}

fn a_start_with_a_clock_that_is_ahead_drops_nothing(database: Database) {
    for ahead in [3 * 3_600, 40 * DAYS, 4_000 * DAYS] {
        let mut truth = Truth::default();
        let name = format!("a{ahead}");
        let begin = T + ahead * 10;
        let clock = Clock::at(begin);
        live(&database.store(&clock), &clock, (&name, "1"), 20, &mut truth);
        let before = database.count("merged_rollups");
        // An hour, which a machine that corrects its clock at all is enough for.
        let wrong = Clock::at(clock.now() + ahead);
        live(&database.store(&wrong), &wrong, (&name, "2"), 15, &mut truth);
        wrong.pass(2_700);
        wait(database.store(&wrong).maintain());
        assert!(database.count("merged_rollups") >= before, "{ahead}");
        clock.pass(3_600);
        let store = database.store(&clock);
        live(&store, &clock, (&name, "3"), 15, &mut truth);
        let range = Range { from: begin, to: clock.now() };
        truth.check(&store, Range { from: begin.div_euclid(60) * 60, ..range }, 60);
        truth.check(&store, Range { from: clock.now() - 600, ..range }, 10);
    }
}

fn a_clock_that_is_set_ahead_while_it_runs_drops_nothing(database: Database) {
    let (clock, mut truth) = (Clock::at(T), Truth::default());
    let store = database.store(&clock);
    live(&store, &clock, ("a", "1"), 20, &mut truth);
    clock.step(40 * DAYS);
    live(&store, &clock, ("a", "1"), 30, &mut truth);
    clock.step(-40 * DAYS);
    live(&store, &clock, ("a", "1"), 20, &mut truth);
    truth.check(&store, Range { from: T, to: clock.now() }, 10);
    // Time itself confirms it: after a day it is taken for what it is.
    clock.step(40 * DAYS);
    live(&store, &clock, ("a", "1"), 1, &mut truth);
    clock.pass(DAYS);
    wait(store.maintain());
    clock.pass(601);
    wait(store.maintain());
    assert_eq!(
        wait(store.series(Range { from: T, to: T + DAYS }, 86_400, Filter::default(), Detail::Counts)),
        []
    );
}

fn borders_that_lie_ahead_come_back_and_new_rows_are_merged_again(database: Database) {
    let (clock, mut truth) = (Clock::at(T + 10), Truth::default());
    live(&database.store(&clock), &clock, ("a", "1"), 5, &mut truth);
    for seconds in LEVELS {
        let ahead = T + 40 * DAYS;
        database.execute(&format!("INSERT INTO levels VALUES ({seconds}, {ahead}) ON CONFLICT (seconds) DO UPDATE SET since = {ahead}"));
    }
    clock.pass(60);
    let store = database.store(&clock);
    // Before the first pass, what is not merged is counted.
    let batch = rollups(vec![rollup(clock.now() / 10 * 10, some_series(0), tally(7, 1))]);
    truth.write(&writer("a", "2"), &batch);
    wait(store.write_batch(writer("a", "2"), batch));
    live(&store, &clock, ("a", "2"), 15, &mut truth);
    assert!(database.count("rollups") < 20, "{}", database.count("rollups"));
    truth.check(&store, Range { from: T, to: clock.now() }, 3_600);
    truth.check(&store, Range { from: clock.now() / 60 * 60 - 600, to: clock.now() }, 10);
}

fn what_has_nowhere_to_go_is_kept_and_counted(database: Database) {
    let (clock, mut truth) = (Clock::at(T + 10), Truth::default());
    let store = database.store(&clock);
    wait(store.prepare());
    for seconds in LEVELS {
        database.execute(&format!("INSERT INTO levels VALUES ({seconds}, {})", T + 40 * DAYS));
    }
    let batch = rollups(vec![rollup(T, some_series(0), tally(7, 1))]);
    truth.write(&writer("a", "1"), &batch);
    wait(store.write_batch(writer("a", "1"), batch));
    // Somebody who lives is that far ahead: it may be this clock that is wrong.
    let other = database.store(&Clock::at(T + 60 * DAYS));
    wait(
        other
            .write_batch(writer("b", "1"), rollups(vec![rollup(T + 60 * DAYS, some_series(0), tally(7, 1))])),
    );
    clock.pass(300);
    wait(other.write_batch(writer("b", "1"), Batch::default()));
    wait(store.maintain());
    assert_eq!(
        database.ask("SELECT CAST(start AS TEXT) AS line FROM rollups WHERE instance = 'a'"),
        [T.to_string()]
    );
    assert_eq!(
        wait(store.series(Range { from: T, to: T + 60 }, 60, Filter::default(), Detail::Counts))[0]
            .tally
            .requests,
        7
    );
}

fn an_instance_whose_clock_is_ahead_drops_nothing_of_the_others(database: Database) {
    let (clock, ahead, mut truth) = (Clock::at(T), Clock::at(T + 40 * DAYS), Truth::default());
    let (store, other) = (database.store(&clock), database.store(&ahead));
    live(&store, &clock, ("a", "1"), 20, &mut truth);
    // For longer than a step has to be confirmed for.
    for _ in 0..30 {
        live(&store, &clock, ("a", "1"), 1, &mut truth);
        live(&other, &ahead, ("b", "1"), 1, &mut truth);
        clock.pass(3_540);
        ahead.pass(3_540);
    }
    live(&store, &clock, ("a", "1"), 1, &mut truth);
    truth.check(&store, Range { from: T, to: T + 2 * DAYS }, 3_600);
    // It stops; the others go on by their own clocks.
    let levels = || database.ask("SELECT CAST(since AS TEXT) AS line FROM levels WHERE seconds = 10");
    let before = levels();
    for _ in 0..3 {
        live(&store, &clock, ("a", "1"), 12, &mut truth);
    }
    assert!(levels() > before);
    truth.check(&store, Range { from: T, to: T + 2 * DAYS }, 3_600);
}

fn a_clock_that_is_far_behind_moves_no_border_of_the_others(database: Database) {
    let (clock, behind, mut truth) = (Clock::at(T), Clock::at(T - 3 * DAYS), Truth::default());
    let (store, other) = (database.store(&clock), database.store(&behind));
    live(&store, &clock, ("a", "1"), 30, &mut truth);
    clock.pass(DAYS);
    live(&store, &clock, ("a", "1"), 30, &mut truth);
    let levels = || database.ask("SELECT CAST(since AS TEXT) AS line FROM levels ORDER BY seconds");
    wait(other.prepare());
    for _ in 0..3 {
        live(&store, &clock, ("a", "1"), 1, &mut truth);
        let before = levels();
        behind.pass(60);
        wait(other.maintain());
        assert_eq!(levels(), before);
    }
    truth.check(&store, Range { from: T, to: clock.now() }, 3_600);
}

fn rows_that_were_just_written_are_not_merged_when_the_clock_is_set_forward(database: Database) {
    let (clock, mut truth) = (Clock::at(T), Truth::default());
    let store = database.store(&clock);
    wait(store.maintain());
    clock.set(T + 10);
    let write = |requests: u64, truth: &mut Truth| {
        let batch = rollups(vec![rollup(T, some_series(0), tally(requests, 1))]);
        truth.write(&writer("a", "1"), &batch);
        wait(store.write_batch(writer("a", "1"), batch));
    };
    write(5, &mut truth);
    clock.step(2 * 3_600);
    wait(store.maintain());
    // A request of that time that was reported late.
    write(6, &mut truth);
    clock.pass(120);
    wait(store.maintain());
    wait(store.maintain());
    truth.check(&store, Range { from: T, to: T + 3_600 }, 60);
}
