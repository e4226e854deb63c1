//! What must never be shown.

use serde_json::json;

use super::*;
use aegis_schema::secrets::{is_secret, is_secret_field, redact, without_userinfo};

#[test]
fn the_effective_configuration_has_the_defaults_and_no_secret() {
    let loaded = good(&format!("{GOOD}admin: {{token: hunter2}}"));
    assert_eq!(loaded.effective["admin"]["token"], "[redacted]");
    assert_eq!(loaded.effective["server"]["port"], 8080);
    assert_eq!(loaded.effective["backends"][0]["timeout"], 30_000);
    assert_eq!(loaded.effective["backends"][0]["circuitBreaker"]["failureThreshold"], 5);
    assert!(!loaded.effective.to_string().contains("hunter2"));
    assert!(!format!("{:?}", loaded).contains("hunter2"));
}

#[test]
fn no_token_is_seen_as_no_token() {
    assert_eq!(good(GOOD).effective["admin"]["token"], "");
}

#[test]
fn the_hash_does_not_depend_on_a_secret_but_on_everything_else() {
    let hash = |keys: &str| good(&format!("{GOOD}{keys}")).hash;
    assert_eq!(hash("admin: {token: a}"), hash("admin: {token: b}"));
    assert_eq!(hash("server: {headerTimeoutMs: 5000}"), hash("server: {headerTimeoutMs: 5s}"));
    assert_ne!(hash(""), hash("hotReload: false"));
}

#[test]
fn secrets_are_known_by_the_names_of_their_keys() {
    for key in ["token", "clientSecret", "PASSWORD", "x-api-key", "apiKey", "AUTHORIZATION", "db_password"] {
        assert!(is_secret(key) && is_secret_field(key), "{key}");
    }
    for key in ["keyFile", "name", "headerTimeoutMs", "hashOn", "path"] {
        assert!(!is_secret(key), "{key}");
    }
}

#[test]
fn redaction_reaches_everything() {
    let mut value = json!({"a": [{"password": 5}], "redisUrl": "redis://u:p@ss@h/0", "apiKey": {"enabled": true}, "secret": ""});
    redact(&mut value);
    assert_eq!(
        value,
        json!({"a": [{"password": "[redacted]"}], "redisUrl": "redis://[redacted]@h/0", "apiKey": {"enabled": true}, "secret": ""})
    );
    assert_eq!(without_userinfo("http://h/a@b"), None);
}

#[test]
fn problems_never_show_a_secret() {
    for text in [
        "admin: {token: [hunter2]}",
        "admin: {token: 1234567}",
        "admin: {token: 'hunter2 '}",
        "admin: {token: {hunter2: 1}}",
    ] {
        let lines = lines(&format!("{GOOD}{text}")).join("\n");
        assert!(!lines.is_empty() && !lines.contains("`hunter2") && !lines.contains("1234567"), "{lines}");
    }
    for entry in ["admin.token hunter2", "admin.token:hunter2"] {
        let lines = load_from(GOOD, &set(&[entry])).unwrap_err().to_string();
        assert!(!lines.contains("hunter2"), "{lines}");
    }
    let url = lines("backends: [{name: a, routes: [/x], url: 'http://u:hun/ter2@h'}]").join("\n");
    assert!(url.contains("http://[redacted]@h") && !url.contains("hun") && !url.contains("ter2"), "{url}");
    let header = lines(&route_text("path: /x, headers: {authorization: \"hunter2\\n\"}")).join("\n");
    assert!(!header.is_empty() && !header.contains("hunter2"), "{header}");
}

#[test]
fn debug_output_of_a_source_shows_names_only() {
    let source = Source { set: vec!["admin.token=hunter2".into()], ..env(&[("TOKEN", "hunter3")]) };
    let shown = format!("{source:?}");
    assert!(shown.contains("admin.token") && shown.contains("TOKEN") && !shown.contains("hunter"), "{shown}");
}
