//! Samples, changes of the configuration, alerts.

use aegis_actors::alerts::Ledger as _;
use aegis_actors::metrics_aggregator::Sample;

use super::alerts::{alert, ask, end, entry};
use super::sample::*;
use super::*;

on_both!(
    samples_are_found_by_id_and_listed_from_the_newest,
    samples_are_filtered_in_the_store_as_in_memory,
    old_records_are_dropped,
);

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
    assert_eq!(times(wait(store.samples(3, Wanted::default()))), [4, 3, 2]);
    assert_eq!(
        times(wait(store.samples(3, Wanted { to_ms: Some(T * 1000 + 2), ..Wanted::default() }))),
        [1, 0]
    );
    assert_eq!(wait(store.changes(1)), [StoredChange::from(change(T * 1000 + 5))]);
}

fn samples_are_filtered_in_the_store_as_in_memory(database: Database) {
    let store = database.store(&Clock::at(T));
    assert_eq!(wait(store.kept_samples()), KeptSamples::default());
    let base = T * 1000;
    let of = |n: i64, status, reason, backend: &str, client: &str| Sample {
        status,
        reason,
        backend: backend.into(),
        route: format!("/{backend}/**").into(),
        client: client.into(),
        ..sample(base + n, &format!("r{n}"))
    };
    let samples = vec![
        of(0, 200, None, "a", "::1"),
        of(1, 500, None, "a", "10.0.0.1"),
        of(2, 503, Some("pool_full"), "a", "::1"),
        of(3, 502, None, "b", "::1"),
        of(4, 429, Some("rate_limited"), "b", "10.0.0.1"),
        of(5, 200, Some("client_gone"), "b", "::1"),
    ];
    wait(store.write_batch(writer("a", "1"), Batch { samples: samples.clone(), ..Batch::default() }));
    let text = |text: &str| Some(text.to_owned());
    for (wanted, expected) in [
        (Wanted::default(), &[5, 4, 3, 2, 1, 0][..]),
        (Wanted { status: Some((500, 599)), ..Wanted::default() }, &[3, 2, 1]),
        (Wanted { status: Some((429, 429)), ..Wanted::default() }, &[4]),
        (Wanted { backend: text("b"), ..Wanted::default() }, &[5, 4, 3]),
        (Wanted { route: text("/a/**"), ..Wanted::default() }, &[2, 1, 0]),
        (Wanted { reason: Some(text("pool_full")), ..Wanted::default() }, &[2]),
        (Wanted { reason: Some(None), ..Wanted::default() }, &[3, 1, 0]),
        (Wanted { client: text("10.0.0.1"), ..Wanted::default() }, &[4, 1]),
        (Wanted { from_ms: Some(base + 2), to_ms: Some(base + 4), ..Wanted::default() }, &[3, 2]),
        (
            Wanted { status: Some((500, 599)), reason: Some(None), backend: text("a"), ..Wanted::default() },
            &[1],
        ),
        (Wanted { backend: text("' OR 1=1 --"), ..Wanted::default() }, &[]),
    ] {
        let found = wait(store.samples(9, wanted.clone()));
        let found: Vec<i64> = found.iter().map(|sample| sample.at_ms - base).collect();
        assert_eq!(found, expected, "{wanted:?}");
        let in_memory = samples.iter().rev().filter(|sample| wanted.has(sample));
        assert_eq!(in_memory.map(|sample| sample.at_ms - base).collect::<Vec<_>>(), expected, "{wanted:?}");
    }
    let kept = KeptSamples { own: 2, failed: 2, others: 2, since_ms: Some(base) };
    assert_eq!(wait(store.kept_samples()), kept);
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
    assert_eq!(wait(store.maintain()).purged, 5);
    let left = (wait(store.samples(9, Wanted::default())).len(), wait(store.changes(9)).len());
    // What still fires is not old.
    assert_eq!((left, wait(store.alert_history(9, None)).len()), ((1, 1), 1));
}
