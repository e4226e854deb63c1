//! `metrics`.

use std::time::Duration;

use super::*;
use crate::config::settings::Metrics;
use crate::store::Database;

fn section(keys: &str) -> String {
    format!("{GOOD}metrics: {{{keys}}}\n")
}

#[track_caller]
fn settings(keys: &str) -> Metrics {
    good(&section(keys)).settings.metrics
}

#[test]
fn without_the_section_it_is_on_with_a_file_of_its_own() {
    let expected = Metrics {
        enabled: true,
        store: Some(Database::Sqlite("data/aegis.db".into())),
        flush_interval: Duration::from_secs(5),
        retention: Duration::from_secs(30 * 86_400),
        slow_request: Duration::from_secs(1),
        auto_migrate: true,
        instance: None,
    };
    assert_eq!((good(GOOD).settings.metrics, settings("")), (expected.clone(), expected));
}

#[test]
fn every_key_is_read() {
    let expected = Metrics {
        enabled: false,
        store: Some(Database::Postgres("postgres://u:p@h:5433/d".into())),
        flush_interval: Duration::from_secs(1),
        retention: Duration::from_secs(400 * 86_400),
        slow_request: Duration::ZERO,
        auto_migrate: false,
        instance: Some("eu-1:a_2.x".into()),
    };
    let keys = "enabled: false, store: 'postgres://u:p@h:5433/d', flushIntervalMs: 1s, retentionDays: 400, \
                slowRequestMs: 0, autoMigrate: false, instance: 'eu-1:a_2.x'";
    assert_eq!(settings(keys), expected);
    assert_eq!(settings("store: none").store, None);
    assert_eq!(good(&section("store: none")).effective["metrics"]["store"], "none");
    let from = Source { set: vec!["metrics.retentionDays=7".into()], ..alone() };
    let loaded = load_from(GOOD, &from).unwrap();
    assert_eq!(loaded.settings.metrics.retention, Duration::from_secs(7 * 86_400));
}

#[test]
fn what_is_out_of_bounds_is_refused() {
    for (keys, at, why) in [
        ("store: data/aegis.db", 18, "`metrics.store` cannot be used: write sqlite://PATH"),
        ("store: 'mysql://h/d'", 18, "none that is known"),
        ("store: 'sqlite://'", 18, "or `none` to keep nothing"),
        ("flushIntervalMs: 99", 28, "between 100 and 60000 milliseconds"),
        ("flushIntervalMs: 2m", 28, "between 100 and 60000 milliseconds"),
        ("flushIntervalMs: 0", 28, "longer than 0"),
        ("retentionDays: 0", 26, "between 1 and 3650"),
        ("retentionDays: 3651", 26, "between 1 and 3650"),
        ("slowRequestMs: soon", 26, "a duration such as"),
        ("instance: 'a b'", 21, "1 to 128 of the characters"),
        ("instance: ''", 21, "1 to 128 of the characters"),
        ("retention: 1", 11, "did you mean `retentionDays`?"),
    ] {
        refused(&section(keys), &format!("2:{at}"), &["error: ", why]);
    }
}

#[test]
fn the_password_is_never_shown() {
    let with = |url: &str| section(&format!("store: '{url}'"));
    let loaded = good(&with("postgres://user:hunter2@h/d"));
    assert_eq!(loaded.effective["metrics"]["store"], "postgres://[redacted]@h/d");
    assert!(!format!("{loaded:?}").contains("hunter2"));
    assert_eq!(good(&with("postgres://a:b@h/d")).hash, good(&with("postgres://c:d@h/d")).hash);
    for url in ["postgres://u:hunter2@h", "postgres://u:hun/ter2@h/d", "pg://u:hunter2@h/d", "hunter2"] {
        let lines = lines(&with(url)).join("\n");
        assert!(!lines.is_empty() && !lines.contains("hunter2") && !lines.contains("ter2"), "{lines}");
    }
}

#[test]
fn an_instance_has_a_name_that_is_not_part_of_the_hash() {
    assert_eq!(settings("instance: x").instance(8080), "x");
    let made = settings("").instance(8080);
    assert!(made.len() > ":8080".len() && made.ends_with(":8080"), "{made}");
    assert_eq!(good(&section("instance: x")).hash, good(&section("instance: y")).hash);
    assert_ne!(good(&section("retentionDays: 2")).hash, good(&section("retentionDays: 3")).hash);
}
