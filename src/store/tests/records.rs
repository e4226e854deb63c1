//! Samples, changes of the configuration, alerts.

use super::sample::*;
use super::*;

on_both!(
    samples_are_found_by_id_and_listed_from_the_newest,
    an_alert_fires_once_over_all_instances,
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
    assert_eq!(times(wait(store.samples(3, None))), [4, 3, 2]);
    assert_eq!(times(wait(store.samples(3, Some(T * 1000 + 2)))), [1, 0]);
    assert_eq!(wait(store.changes(1)), [StoredChange::from(change(T * 1000 + 5))]);
}

fn alert(id: &str, rule: &str, at_ms: i64) -> Alert {
    Alert {
        id: id.into(),
        rule_id: rule.into(),
        name: "Many errors".into(),
        severity: "critical".into(),
        value: 0.25,
        threshold: 0.05,
        message: "error rate 25 %".into(),
        instance: "a".into(),
        fired_at_ms: at_ms,
        resolved_at_ms: None,
        acknowledged_at_ms: None,
    }
}

fn an_alert_fires_once_over_all_instances(database: Database) {
    let (a, b) = (database.store(&Clock::at(T)), database.store(&Clock::at(T)));
    assert!(wait(a.fire(alert("1", "errors", 100))));
    assert!(!wait(b.fire(alert("2", "errors", 101))));
    assert!(wait(b.fire(alert("3", "slow", 102))));
    let ids = |alerts: Vec<Alert>| alerts.into_iter().map(|alert| alert.id).collect::<Vec<_>>();
    assert_eq!(wait(a.firing()), [alert("3", "slow", 102), alert("1", "errors", 100)]);

    assert_eq!(wait(b.acknowledge("1".into(), 110)).unwrap().acknowledged_at_ms, Some(110));
    assert_eq!(wait(a.acknowledge("1".into(), 120)).unwrap().acknowledged_at_ms, Some(110));
    assert_eq!(wait(a.acknowledge("9".into(), 120)), None);

    let resolved =
        Alert { resolved_at_ms: Some(130), acknowledged_at_ms: Some(110), ..alert("1", "errors", 100) };
    assert_eq!(wait(b.resolve("errors".into(), 130)), Some(resolved));
    assert_eq!(wait(a.resolve("errors".into(), 131)), None);
    assert!(wait(a.fire(alert("4", "errors", 140))));
    assert_eq!(ids(wait(a.firing())), ["4", "3"]);
    assert_eq!(ids(wait(a.alert_history(10, None))), ["4", "3", "1"]);
    assert_eq!(ids(wait(a.alert_history(1, Some(140)))), ["3"]);
    assert_eq!(wait(a.last_alert("errors".into())).unwrap().id, "4");
    assert_eq!(wait(a.last_alert("none".into())), None);
}

fn old_records_are_dropped(database: Database) {
    let clock = Clock::at(T);
    let store = database.store(&clock);
    let batch =
        |at_ms| Batch { samples: vec![sample(at_ms, "r")], changes: vec![change(at_ms)], ..Batch::default() };
    wait(store.write_batch(writer("a", "1"), batch(T * 1000)));
    for (id, rule) in [("1", "errors"), ("2", "slow")] {
        wait(store.fire(alert(id, rule, T * 1000)));
    }
    wait(store.resolve("errors".into(), T * 1000));
    clock.set(T + 31 * 86_400 + 1);
    wait(store.write_batch(writer("a", "1"), batch(clock.now() * 1000)));
    assert_eq!(wait(store.maintain()).dropped, 3);
    let left = (wait(store.samples(9, None)).len(), wait(store.changes(9)).len());
    // What still fires is not old.
    assert_eq!((left, wait(store.alert_history(9, None)).len()), ((1, 1), 1));
}
