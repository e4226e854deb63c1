//! `aegis config`: every value with where it is from.

use super::*;
use crate::config::origins::{defaults, origins};

const FILE: &str = "server:
  port: 9000
  trustedProxies: [10.0.0.0/8]
admin: {token: hunter2-is-secret}
backends:
  - name: a
    targets: [http://h:1, {url: 'http://i:1', weight: 3}]
    routes: [/x, {path: /y, deny: true}]
    timeout: 5s
";

fn shown(text: &str, source: &Source, all: bool) -> String {
    origins(&inspect("a.yaml", text, source), all)
}

/// Of the line that starts so, what is said behind `#`.
fn origin<'a>(text: &'a str, start: &str) -> &'a str {
    let line = text.lines().find(|line| line.trim_start().starts_with(start));
    line.unwrap_or_else(|| panic!("no {start} in\n{text}")).rsplit_once("# ").map_or("", |(_, origin)| origin)
}

#[test]
fn every_value_names_its_line_its_variable_or_its_argument() {
    let source = Source {
        set: vec!["server.workers=2".to_owned()],
        ..env(&[("AEGIS__SERVER__PORT", "9100"), ("AEGIS__LOGGING__LEVEL", "debug")])
    };
    let text = shown(FILE, &source, false);
    for (start, expected) in [
        ("port:", "AEGIS__SERVER__PORT"),
        ("workers:", "--set server.workers"),
        ("trustedProxies:", "a.yaml:3"),
        ("token:", "a.yaml:4"),
        ("- url: http://h:1", "a.yaml:7"),
        ("weight: 3", "a.yaml:7"),
        ("- path: /x", "a.yaml:8"),
        ("deny: true", "a.yaml:8"),
        ("timeout: 5000", "a.yaml:9"),
        ("level:", "AEGIS__LOGGING__LEVEL"),
    ] {
        assert_eq!(origin(&text, start), expected, "{start} in\n{text}");
    }
    assert!(!text.contains("hunter2") && !text.contains("headerTimeoutMs"), "{text}");
}

#[test]
fn what_nobody_wrote_is_shown_when_asked_for() {
    let text = shown(FILE, &alone(), true);
    assert_eq!(origin(&text, "port: 9000"), "a.yaml:2");
    assert_eq!(origin(&text, "headerTimeoutMs: 5000"), "default");
    assert_eq!(origin(&text, "weight: 1"), "default");
}

#[test]
fn what_is_in_force_reads_back_as_the_same_settings() {
    let text = include_str!("../../../config/production.yaml")
        .replace("${AEGIS_ADMIN_TOKEN}", "''")
        .replace("host: 0.0.0.0", "host: 127.0.0.1");
    let first = good(&text);
    // Digests of keys and webhooks' URLs are secrets, and what stands for one is refused.
    let digests = format!("[sha256:{}]", "0".repeat(64));
    let shown = shown(&text, &alone(), true).replace(r#"["[redacted]"]"#, &digests);
    let again = good(&shown.replace("[redacted]", "https://h/x"));
    assert_eq!(again.settings.backends, first.settings.backends);
    assert_eq!(
        (again.settings.server, again.settings.metrics),
        (first.settings.server, first.settings.metrics)
    );
    assert_eq!(again.settings.rate_limit, first.settings.rate_limit);
}

#[test]
fn the_defaults_are_a_configuration_that_changes_nothing() {
    let loaded = good(&defaults());
    assert_eq!(loaded.settings, crate::config::Settings::default());
    let text = defaults();
    for (start, expected) in [
        ("port: 8080", "0–65535"),
        ("#   - name:", "required: 1–64 of `A-Za-z0-9._-`"),
        ("#         weight: 1", "1–1000"),
    ] {
        assert_eq!(origin(&text, start), expected);
    }
}
