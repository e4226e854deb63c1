//! Alerts on both databases: what several instances agree by.

use aegis_actors::alerts::{Alert, Asked, Entered, Entry, Lease, Ledger as _, Push, Resolution, Told};

use super::*;

const AT: i64 = 1_700_000_000_000;

on_both!(
    an_alert_fires_once_over_all_instances,
    it_resolves_when_nobody_holds_it_any_more,
    it_does_not_fire_again_before_the_cooldown_is_over,
    what_was_entered_before_is_only_brought_up_to_date,
    a_push_is_one_instances_at_a_time_and_the_end_comes_after_the_beginning,
    an_instance_whose_clock_was_ahead_holds_nobody_up,
);

pub(super) fn alert(id: &str, rule: &str, at_ms: i64) -> Alert {
    Alert {
        id: id.into(),
        rule: rule.into(),
        name: "Many errors".into(),
        severity: "critical".into(),
        metric: "error_rate".into(),
        operator: ">".into(),
        threshold: 0.05,
        window_seconds: 60,
        backend: Some("users".into()),
        value: 0.25,
        message: "error rate is 25 %".into(),
        instance: "a".into(),
        fired_at_ms: at_ms,
        acknowledged_at_ms: None,
        resolved_at_ms: None,
        reason: None,
    }
}

fn lease(by: &str, now_ms: i64) -> Lease {
    Lease { by: by.into(), now_ms, until_ms: now_ms + 100 }
}

/// An alert that may fire, to be told to two webhooks.
pub(super) fn entry(alert: Alert) -> Entry {
    let pushes = ["chat", "ops"].map(|webhook| Push::new(&alert.id, webhook)).into();
    let (cooled_since_ms, lease) = (Some(alert.fired_at_ms - 50), lease("a#1", alert.fired_at_ms));
    Entry { alert, pushes, cooled_since_ms, lease }
}

/// The wish of an instance to end an alert.
pub(super) fn end(alert: &str, instance: &str, at_ms: i64, stale_ms: i64) -> Resolution {
    Resolution { alert: alert.into(), at_ms, reason: None, instance: instance.into(), stale_ms }
}

#[track_caller]
pub(super) fn ask<T>(asked: Asked<T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(asked).unwrap()
}

fn ids(alerts: &[Alert]) -> Vec<&str> {
    alerts.iter().map(|alert| alert.id.as_str()).collect()
}

fn an_alert_fires_once_over_all_instances(database: Database) {
    let (a, b) = (database.store(&Clock::at(AT)), database.store(&Clock::at(AT)));
    let one = alert("1", "errors", AT);
    assert_eq!(ask(a.enter(entry(one.clone()))), Entered::Ours(one.clone()));
    assert_eq!(ask(b.enter(entry(alert("2", "errors", AT + 1)))), Entered::Theirs(one.clone()));
    let other = Alert { backend: None, ..alert("3", "slow", AT + 2) };
    assert_eq!(ask(b.enter(entry(other.clone()))), Entered::Ours(other.clone()));
    assert_eq!(ask(a.open()), [other, one.clone()]);

    assert_eq!(ask(b.acknowledge("1".into(), AT + 10)).unwrap().acknowledged_at_ms, Some(AT + 10));
    assert_eq!(ask(a.acknowledge("1".into(), AT + 20)).unwrap().acknowledged_at_ms, Some(AT + 10));
    assert_eq!(ask(a.acknowledge("9".into(), AT + 20)), None);
    assert_eq!(ids(&wait(a.alert_history(10, None))), ["3", "1"]);
    assert_eq!(ids(&wait(a.alert_history(10, Some(AT + 2)))), ["1"]);
    assert_eq!(ids(&wait(a.alert_history(1, None))), ["3"]);
}

#[test]
fn of_many_instances_that_fire_at_once_one_does() {
    let database = Database::postgres();
    wait(database.store(&Clock::at(AT)).prepare());
    let ours = std::thread::scope(|scope| {
        let enter = |id: usize| {
            let database = &database;
            scope.spawn(move || {
                let store = database.store(&Clock::at(AT));
                matches!(ask(store.enter(entry(alert(&id.to_string(), "errors", AT)))), Entered::Ours(_))
            })
        };
        let all: Vec<_> = (0..8).map(enter).collect();
        all.into_iter().filter(|_| true).map(|thread| thread.join().unwrap()).filter(|ours| *ours).count()
    });
    assert_eq!((ours, database.count("alerts"), database.count("alert_pushes")), (1, 1, 2));
}

fn it_resolves_when_nobody_holds_it_any_more(database: Database) {
    let store = database.store(&Clock::at(AT));
    ask(store.enter(entry(alert("1", "errors", AT))));
    ask(store.hold("1".into(), "b".into(), AT + 10));
    // It is over for the one that fired it, not for the other.
    assert_eq!(ask(store.resolve(end("1", "a", AT + 20, AT))), None);
    ask(store.hold("1".into(), "b".into(), AT + 30));
    assert_eq!(ask(store.resolve(end("1", "a", AT + 40, AT + 30))), None);
    // That one is gone.
    let over = Resolution { reason: Some("why".into()), ..end("1", "a", AT + 50, AT + 31) };
    let resolved =
        Alert { resolved_at_ms: Some(AT + 50), reason: Some("why".into()), ..alert("1", "errors", AT) };
    assert_eq!(ask(store.resolve(over)), Some(resolved.clone()));
    assert_eq!(ask(store.resolve(end("1", "b", AT + 60, AT))), Some(resolved), "it is over for everybody");
    assert_eq!(ask(store.open()), []);
    assert_eq!(database.count("alert_holders"), 0);
}

fn it_does_not_fire_again_before_the_cooldown_is_over(database: Database) {
    let store = database.store(&Clock::at(AT));
    ask(store.enter(entry(alert("1", "errors", AT))));
    let over = ask(store.resolve(end("1", "a", AT + 10, AT + 11))).unwrap();
    assert_eq!(ask(store.enter(entry(alert("2", "errors", AT + 49)))), Entered::Cooling(over.clone()));
    // What people have been told of already is kept all the same.
    let told = Alert { resolved_at_ms: Some(AT + 30), ..alert("3", "errors", AT + 20) };
    let outage = Entry { cooled_since_ms: None, ..entry(told.clone()) };
    assert_eq!(ask(store.enter(outage)), Entered::Ours(told));
    let next = alert("4", "errors", AT + 70);
    assert_eq!(ask(store.enter(entry(next.clone()))), Entered::Ours(next));
}

fn what_was_entered_before_is_only_brought_up_to_date(database: Database) {
    let store = database.store(&Clock::at(AT));
    let first = alert("1", "errors", AT);
    for _ in 0..2 {
        assert_eq!(ask(store.enter(entry(first.clone()))), Entered::Ours(first.clone()));
    }
    ask(store.pushed(Push { told: Some(Told::Fired), ..Push::new("1", "ops") }));
    let over = Alert { acknowledged_at_ms: Some(AT + 5), resolved_at_ms: Some(AT + 9), ..first };
    let again = Entry { cooled_since_ms: None, ..entry(over.clone()) };
    assert_eq!(ask(store.enter(again.clone())), Entered::Ours(over.clone()));
    assert_eq!(ask(store.enter(again)), Entered::Ours(over));
    let told: Vec<_> = wait(store.pushes(vec!["1".into()])).into_iter().map(|push| push.told).collect();
    assert_eq!(told, [None, Some(Told::Fired)], "in the order of the webhooks");
}

fn a_push_is_one_instances_at_a_time_and_the_end_comes_after_the_beginning(database: Database) {
    let (a, b) = (database.store(&Clock::at(AT)), database.store(&Clock::at(AT)));
    ask(a.enter(entry(alert("1", "errors", AT))));
    ask(b.enter(entry(Alert { instance: "b".into(), ..alert("2", "slow", AT + 1) })));
    let both = || vec!["ops".to_owned(), "chat".to_owned()];
    let claimed = |store: &Store, by: &str, now, webhooks: Vec<String>, most| {
        let rows = ask(store.claim(webhooks, lease(by, now), most));
        rows.into_iter().map(|(alert, push)| format!("{}>{}", alert.id, push.webhook)).collect::<Vec<_>>()
    };
    assert_eq!(claimed(&a, "a#1", AT + 10, both(), 3), ["1>chat", "1>ops", "2>chat"]);
    assert!(claimed(&b, "b#1", AT + 20, both(), 9).is_empty(), "all of it is somebody else's");
    // A lease is renewed by claiming again, and ends by itself.
    assert_eq!(claimed(&a, "a#1", AT + 90, vec!["ops".into()], 9), ["1>ops", "2>ops"]);
    assert_eq!(claimed(&b, "b#1", AT + 111, both(), 9), ["1>chat", "2>chat"]);

    let failed =
        Push { attempts: 3, error: Some("status 500".into()), at_ms: Some(AT), ..Push::new("1", "ops") };
    ask(a.pushed(failed.clone()));
    assert_eq!(wait(b.pushes(vec!["1".into(), "9".into()])), [Push::new("1", "chat"), failed]);
    for id in ["1", "2"] {
        for webhook in ["ops", "chat"] {
            ask(a.pushed(Push { told: Some(Told::Fired), ..Push::new(id, webhook) }));
        }
    }
    // A note that comes late takes nothing back.
    ask(a.pushed(Push::new("1", "ops")));
    assert!(claimed(&a, "c#1", AT + 1_000, both(), 9).is_empty(), "there is nothing to tell");
    ask(a.resolve(end("1", "a", AT + 1_000, AT + 1_000)));
    assert_eq!(claimed(&a, "c#1", AT + 1_000, both(), 9), ["1>chat", "1>ops"]);
    for webhook in ["ops", "chat"] {
        ask(a.pushed(Push { told: Some(Told::Resolved), ..Push::new("1", webhook) }));
    }
    assert!(claimed(&a, "c#1", AT + 2_000, both(), 9).is_empty());
}

fn an_instance_whose_clock_was_ahead_holds_nobody_up(database: Database) {
    let store = database.store(&Clock::at(AT));
    let ahead = AT + 40 * 86_400_000;
    ask(store.enter(entry(alert("1", "errors", ahead))));
    // Its hold and its leases would last for forty days.
    let webhooks = || vec!["ops".to_owned(), "chat".to_owned()];
    assert_eq!(ask(store.claim(webhooks(), lease("b#1", AT), 9)).len(), 2);
    assert!(ask(store.resolve(end("1", "b", AT, AT - 60_000))).is_some());
    // So would the cooldown.
    let next = alert("2", "errors", AT + 1_000);
    assert_eq!(ask(store.enter(entry(next.clone()))), Entered::Ours(next));
}
