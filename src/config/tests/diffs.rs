//! What a reload changes.

use super::*;
use crate::config::{Changes, diff, running};

fn between(old: &str, new: &str) -> Changes {
    diff(&good(old).settings, &good(new).settings)
}

const THREE: &str = "backends:\n  - {name: a, url: 'http://h:1', routes: [/a]}\n  - {name: b, url: 'http://h:2', routes: [/b]}\n  - {name: c, url: 'http://h:3', routes: [/c]}\n";

#[test]
fn the_same_configuration_changes_nothing() {
    let changes = between(THREE, THREE);
    assert!(changes.is_empty());
    assert_eq!(changes.kept, ["a", "b", "c"]);
    assert_eq!(changes.to_string(), "nothing changed (3 backends kept)");
}

#[test]
fn what_only_a_restart_applies_stays_pending_until_it_is_changed_back() {
    let with = |more: &str| good(&format!("{GOOD}{more}")).settings;
    let started = with("server: {port: 9000, workers: 2}\nadmin: {port: 9001}\nmetrics: {store: none}\n");
    let changed = with(
        "server: {port: 9002, workers: 3, maxConnections: 7, keepAliveMs: 1000}\nadmin: {port: 9003}\n\
         metrics: {store: 'sqlite://x.db', slowRequestMs: 5}\n",
    );
    let runs = running(&started, &changed);
    let pending = ["admin.port", "metrics.store", "server.maxConnections", "server.port", "server.workers"];
    let changes = diff(&runs, &changed);
    assert_eq!(changes.needs_restart, pending, "{changes}");
    assert!(changes.applied.is_empty(), "{changes}");
    assert_eq!((runs.server.port, runs.server.keep_alive.as_secs()), (9000, 1));
    assert_eq!(diff(&running(&started, &changed), &started).needs_restart, [""; 0]);
    assert_eq!(running(&started, &started), started);
}

#[test]
fn backends_are_kept_added_removed_and_changed_by_name() {
    let new = THREE.replace("name: a", "name: d").replace("h:2", "h:9");
    let changes = between(THREE, &new);
    assert_eq!(changes.kept, ["c"]);
    assert_eq!(changes.added, ["d"]);
    assert_eq!(changes.removed, ["a"]);
    assert_eq!(changes.changed, ["b"]);
    assert_eq!(changes.to_string(), "backends: 1 kept, added d, removed a, changed b");
}

#[test]
fn sockets_and_threads_need_a_restart_and_the_rest_applies_at_once() {
    let new = format!(
        "{GOOD}server: {{host: 127.0.0.1, port: 1, workers: 2, maxConnections: 3, keepAliveMs: 4, headerTimeoutMs: 5, bodyLimitBytes: 6}}\n\
         admin: {{host: '::1', port: 2, token: t, allowedOrigins: ['http://a']}}\nlogging: {{level: warn}}\nhotReload: false\n"
    );
    let changes = between(GOOD, &new);
    assert_eq!(
        changes.needs_restart,
        ["admin.host", "admin.port", "server.host", "server.maxConnections", "server.port", "server.workers"]
    );
    assert_eq!(
        changes.applied,
        [
            "admin.allowedOrigins",
            "admin.token",
            "hotReload",
            "logging.level",
            "server.bodyLimitBytes",
            "server.headerTimeoutMs",
            "server.keepAliveMs"
        ]
    );
    assert!(changes.to_string().contains("; needs a restart: admin.host "));
}

#[test]
fn rate_limits_and_redis_apply_at_once() {
    let on = format!("{GOOD}rateLimit: {{}}\nredis: {{url: 'redis://:a@h'}}\n");
    let changes = between(GOOD, &on);
    assert_eq!(
        (&changes.applied[..], changes.needs_restart.len()),
        (&["rateLimit".into(), "redis".into()][..], 0)
    );
    assert_eq!(between(&on, GOOD).applied, ["rateLimit", "redis"]);
    let new = format!(
        "{GOOD}rateLimit: {{defaultRequests: 5, bypass: {{internal: true}}, rules: [{{id: a}}]}}\nredis: {{url: 'redis://:b@h'}}\n"
    );
    let changes = between(&on, &new);
    assert_eq!(
        changes.applied,
        ["rateLimit.bypass.internal", "rateLimit.defaultRequests", "rateLimit.rules", "redis.url"]
    );
    assert!(changes.needs_restart.is_empty() && !changes.to_string().contains(":b@"));
}

#[test]
fn turning_tls_on_needs_a_restart_and_other_files_do_not() {
    let (one, two) = (TempFile::new("one.pem", b"x"), TempFile::new("two.pem", b"x"));
    let tls =
        |file: &TempFile| format!("{GOOD}server: {{tls: {{certFile: {0}, keyFile: {0}}}}}", file.path());
    assert_eq!(between(GOOD, &tls(&one)).needs_restart, ["server.tls"]);
    assert_eq!(between(GOOD, &tls(&one)).applied, Vec::<String>::new());
    let changes = between(&tls(&one), &tls(&two));
    assert!(changes.needs_restart.is_empty());
    assert_eq!(changes.applied, ["server.tls.certFile", "server.tls.keyFile"]);
}

#[test]
fn changes_serialise_in_camel_case_without_values() {
    let changes = between(GOOD, &format!("{GOOD}admin: {{token: hunter2, port: 1}}"));
    let json = serde_json::to_value(&changes).unwrap();
    assert_eq!(json["needsRestart"][0], "admin.port");
    assert_eq!(json["applied"][0], "admin.token");
    assert!(!json.to_string().contains("hunter2"));
}
