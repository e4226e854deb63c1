//! Samples, changes of the configuration, alerts.

use aegis_actors::alerts::Ledger as _;

use super::alerts::{alert, ask, end, entry};
use super::sample::*;
use super::*;

on_both!(samples_are_found_by_id_and_listed_from_the_newest, old_records_are_dropped,);

fn samples_are_found_by_id_and_listed_from_the_newest(database: Database) {
    let store = database.store(&Clock::at(T));
    let batch = Batch {
        samples: (0..5).map(|n| sample(T * 1000 + n, &format!("r{}", n % 3))).collect(),
        changes: vec![change(T * 1000), change(T * 1000 + 5)],
        ..Batch::default()
    };
    wait(store.write_batch(writer("a", "1"), batch));
    let newest = wait(store.sample("r1".into())).unwrap();
    let expected = StoredSample {
        path: "/x?y=\u{fffd}'\"\u{1f600}".into(),
        reason: Some("circuit_open".into()),
        ..sample(T * 1000 + 4, "r1").into()
    };
    assert_eq!(newest, expected);
    assert_eq!(wait(store.sample("r9".into())), None);
    let times = |samples: Vec<StoredSample>| samples.iter().map(|s| s.at_ms - T * 1000).collect::<Vec<_>>();
    assert_eq!(times(wait(store.samples(3, None))), [4, 3, 2]);
    assert_eq!(times(wait(store.samples(3, Some(T * 1000 + 2)))), [1, 0]);
    assert_eq!(wait(store.changes(1)), [StoredChange::from(change(T * 1000 + 5))]);
}

fn old_records_are_dropped(database: Database) {
    let clock = Clock::at(T);
    let store = database.store(&clock);
    let batch =
        |at_ms| Batch { samples: vec![sample(at_ms, "r")], changes: vec![change(at_ms)], ..Batch::default() };
    wait(store.write_batch(writer("a", "1"), batch(T * 1000)));
    for (id, rule) in [("1", "errors"), ("2", "slow")] {
        ask(store.enter(entry(alert(id, rule, T * 1000))));
    }
    ask(store.resolve(end("1", "a", T * 1000, T * 1000 + 1)));
    clock.set(T + 31 * 86_400 + 1);
    wait(store.write_batch(writer("a", "1"), batch(clock.now() * 1000)));
    // With the alert, its two pushes.
    assert_eq!(wait(store.maintain()).dropped, 5);
    let left = (wait(store.samples(9, None)).len(), wait(store.changes(9)).len());
    // What still fires is not old.
    assert_eq!((left, wait(store.alert_history(9, None)).len()), ((1, 1), 1));
}
