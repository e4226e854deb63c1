//! The order of the layers, variables and `--set`.

use std::time::Duration;

use super::*;
use crate::config::settings::LoadBalance;

#[test]
fn later_layers_win_over_earlier_ones() {
    let file = "server: {port: 2, workers: 2, maxConnections: 2, bodyLimitBytes: 2}\n";
    let source = Source {
        set: vec!["server.workers=4".into(), "server.workers=5".into()],
        env: [("AEGIS__SERVER__WORKERS", "3"), ("AEGIS__SERVER__MAX_CONNECTIONS", "3")].into_iter().collect(),
        file: None,
        ..Source::default()
    };
    let server = load_from(file, &source).unwrap().settings.server;
    assert_eq!((server.port, server.workers, server.max_connections), (2, 5, 3));
    assert_eq!(server.host, "0.0.0.0");
}

#[test]
fn variables_reach_every_level_and_turn_into_camel_case() {
    let source = env(&[
        ("AEGIS__SERVER__HEADER_TIMEOUT_MS", "7s"),
        ("AEGIS__HOT_RELOAD", "false"),
        ("AEGIS__SERVER__PATHS__ESCAPED_SLASH", "keep"),
        ("AEGIS__BACKENDS__0__TIMEOUT", "5s"),
        ("AEGIS__BACKENDS__0__CIRCUIT_BREAKER__FAILURE_RATE", "0.25"),
        ("AEGIS_ADMIN_TOKEN", "not a key of the configuration"),
        ("PATH", "/bin"),
    ]);
    let settings = load_from(GOOD, &source).unwrap().settings;
    assert_eq!(settings.server.header_timeout, Duration::from_secs(7));
    assert!(!settings.hot_reload);
    assert_eq!(settings.server.paths.escaped_slash, crate::config::settings::EscapedSlash::Keep);
    assert_eq!(settings.backends[0].timeout, Duration::from_secs(5));
    assert_eq!(settings.backends[0].circuit_breaker.failure_rate, 0.25);
    assert_eq!(settings.backends[0].name, "a");
}

#[test]
fn set_reaches_into_lists_and_leaves_the_rest_alone() {
    let settings = load_from(GOOD, &set(&["backends.0.timeout=5s", "backends.0.loadBalance=roundRobin"]))
        .unwrap()
        .settings;
    assert_eq!(settings.backends[0].timeout, Duration::from_secs(5));
    assert_eq!(settings.backends[0].load_balance, LoadBalance::RoundRobin);
    assert_eq!(settings.backends[0].targets[0].url.host, "h");
}

#[test]
fn a_whole_configuration_can_come_from_set_alone() {
    let source = set(&[
        "backends.0={name: a, url: 'http://h:1', routes: [/x]}",
        "backends.1.name=b",
        "backends.1.url=http://h:2",
        "backends.1.routes=[/y]",
    ]);
    let loaded = inspect_text(None, &source, |_, _| Vec::new()).verdict().unwrap();
    assert_eq!(loaded.settings.backends.len(), 2);
    assert_eq!(loaded.file, None);
}

#[test]
fn values_are_yaml_scalars_lists_and_sections() {
    let source = set(&[
        "server.trustedProxies=[10.0.0.0/8, ::1]",
        "logging={level: warn, accessLog: false}",
        "hotReload=false",
        "admin.allowedOrigins=['https://a.example']",
    ]);
    let settings = load_from(GOOD, &source).unwrap().settings;
    assert_eq!(settings.server.trusted_proxies.len(), 2);
    assert_eq!(settings.logging.level, "warn");
    assert!(!settings.logging.access_log && !settings.hot_reload);
    assert_eq!(settings.admin.allowed_origins, ["https://a.example"]);
}

#[test]
fn a_text_stays_text_even_if_it_looks_like_a_number() {
    let source = env(&[("AEGIS__ADMIN__TOKEN", "0123"), ("AEGIS__BACKENDS__0__NAME", "7")]);
    let settings = load_from(GOOD, &source).unwrap().settings;
    assert_eq!(settings.admin.token, "0123");
    assert_eq!(settings.backends[0].name, "7");
}

#[test]
fn an_empty_variable_is_the_default() {
    let settings = load_from(GOOD, &env(&[("AEGIS__SERVER__PORT", ""), ("AEGIS__SERVER__TLS", "null")]))
        .unwrap()
        .settings;
    assert_eq!(settings.server.port, 8080);
    assert_eq!(settings.server.tls, None);
}

#[test]
fn an_index_past_the_end_is_refused_once() {
    let problems = load_from(GOOD, &set(&["backends.3.timeout=5s"])).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "--set:1:1: error: `backends` has 1 entries, so the next index is 1: no gap may be left (set by --set backends.3.timeout)"
    );
    let problems = load_from(GOOD, &set(&["backends.10000.timeout=5s"])).unwrap_err().to_string();
    assert!(problems.contains("larger than 9999"), "{problems}");
}

#[test]
fn a_set_that_is_none_says_how_to_write_it() {
    for entry in ["server.port", "=1", "server..port=1", "0.port=1", "ser ver=1"] {
        let problems = load_from(GOOD, &set(&[entry])).unwrap_err();
        assert!(problems.0.iter().all(|p| p.place.file == "--set"), "{entry}: {problems}");
        assert!(
            problems.0.iter().any(|p| p.message.contains("for example") || p.message.contains("unknown key")),
            "{problems}"
        );
    }
    assert!(
        load_from(GOOD, &env(&[("AEGIS____PORT", "1")]))
            .unwrap_err()
            .to_string()
            .contains("AEGIS____PORT: a part of the key is empty")
    );
}

#[test]
fn a_section_set_to_a_scalar_is_refused_with_its_source() {
    let problems = load_from(GOOD, &set(&["server=5"])).unwrap_err().to_string();
    assert_eq!(
        problems,
        "--set:1:1: error: `server` must be a section with keys, found text (set by --set server)"
    );
    let problems = load_from(GOOD, &set(&["backends.a.timeout=5"])).unwrap_err().to_string();
    assert!(problems.contains("`backends` must be a list, found a section"), "{problems}");
}
