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

/// What one writes where a section or a list belongs may be a secret, and so may what stands in the wrong place.
#[test]
fn a_secret_in_the_wrong_place_is_in_no_problem() {
    for text in [
        "alerts: {webhooks: ['https://h/HIDDEN']}\n",
        "alerts: {webhooks: https://h/HIDDEN}\n",
        "alerts: https://h/HIDDEN\n",
        "alerts: {webhooks: [{name: a, url: 'https://h/x', headers: 'Authorization: HIDDEN'}]}\n",
        "alerts: {webhooks: [{name: a, url: 'https://h/x', headers: {'Bearer HIDDEN': x}}]}\n",
        "alerts: {webhooks: [{name: 'https://h/HIDDEN', url: 'https://h/'}]}\n",
        "admin: HIDDEN\n",
        "redis: 'rediss-sentinel://HIDDEN'\n",
    ] {
        let lines = lines(&format!("{GOOD}{text}"));
        assert!(!lines.is_empty() && lines.iter().all(|line| !line.contains("HIDDEN")), "{text} {lines:#?}");
    }
    for (name, value) in [
        ("AEGIS__ADMIN", "{token: HIDDEN"),
        ("AEGIS__ALERTS__WEBHOOKS", "[{name: x, url: \"https://h/HIDDEN\"}"),
    ] {
        let problems = inspect("a.yaml", GOOD, &env(&[(name, value)])).problems;
        assert!(problems.errors() > 0 && !problems.to_string().contains("HIDDEN"), "{problems}");
    }
}

#[test]
fn what_came_through_a_variable_is_in_no_problem_not_even_in_a_hint() {
    for keys in [
        "rateLimit: {rules: [{id: a, match: {endpoint: '${S}', methods: ['x${S}']}}], bypass: {paths: ['${S}']}}\n",
        "rateLimit: {rules: [{id: '${L}'}, {id: '${L}'}]}\n",
        "alerts: {rules: [{id: a, condition: {metric: error_rate, operator: '>', threshold: 1, backend: '${L}'}, actions: ['${L}']}]}\n",
    ] {
        let source = env(&[("S", "Hidden value"), ("L", "hidden-value")]);
        let problems =
            inspect("a.yaml", &format!("{GOOD}{keys}"), &source).problems.to_string().to_lowercase();
        assert!(!problems.is_empty() && !problems.contains("hidden"), "{problems}");
    }
}

#[test]
fn what_stands_for_a_secret_is_none() {
    let text = "admin: {token: '[redacted]'}\nredis: {url: 'redis://[redacted]@h'}\n";
    let lines = lines(&format!("{GOOD}{text}"));
    assert_eq!(lines.len(), 2, "{lines:#?}");
    for (line, start) in
        lines.iter().zip(["a.yaml:2:16: error: `admin.token` holds", "a.yaml:3:14: error: `redis.url` holds"])
    {
        assert!(line.starts_with(start) && line.contains("was not shown: write the value itself"), "{line}");
    }
}

#[test]
fn a_variable_that_is_no_text_is_an_error_and_not_passed_over() {
    let not_text = || Source { env: Env::with_not_text("AEGIS__ADMIN__TOKEN"), ..alone() };
    let problems = load_from(GOOD, &not_text()).unwrap_err().to_string();
    assert_eq!(problems, "environment:1:1: error: AEGIS__ADMIN__TOKEN: is not text in UTF-8: set it anew");
    let named = format!("{GOOD}admin: {{token: '${{AEGIS__ADMIN__TOKEN:-none}}'}}\n");
    let problems = load_from(&named, &not_text()).unwrap_err().to_string();
    assert!(
        problems.contains("a.yaml:2:16: error: the variable `AEGIS__ADMIN__TOKEN` is not text"),
        "{problems}"
    );
}

#[test]
fn fields_by_which_a_client_is_known_are_not_shown() {
    let keys = "path: /x, headers: {cookie: sid=1, x-session: a, x-access-key: b, x-version: '2'}";
    let shown = good(&route_text(keys)).effective["backends"][0]["routes"][0]["headers"].clone();
    let hidden = "[redacted]";
    assert_eq!(
        shown,
        json!({"cookie": hidden, "x-session": hidden, "x-access-key": hidden, "x-version": "2"})
    );
}
