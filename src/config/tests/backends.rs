//! `backends`, except their routes.

use super::*;
use crate::config::settings::{HashOn, WhenAllUnhealthy};

fn with_url(url: &str) -> String {
    format!("backends: [{{name: a, routes: [/x], url: '{url}'}}]")
}

#[test]
fn a_backend_that_says_only_what_it_must_gets_the_defaults() {
    let backend = good(GOOD).settings.backends.remove(0);
    assert_eq!(
        backend,
        Backend {
            name: "a".into(),
            targets: backend.targets.clone(),
            routes: backend.routes.clone(),
            ..Backend::default()
        }
    );
    assert_eq!(backend.targets[0].url.to_string(), "http://h:1");
    assert_eq!(backend.health_check, None);
}

#[test]
fn names_are_unique_and_of_plain_characters() {
    refused(
        "backends:\n  - {name: a, url: 'http://h:1', routes: [/x]}\n  - {name: a, url: 'http://h:1', routes: [/y]}\n",
        "3:12",
        &["`backends[1].name` is the name of `backends[0]` already"],
    );
    for name in ["''".to_owned(), "'a b'".to_owned(), "a/b".to_owned(), "é".to_owned(), "x".repeat(65)] {
        let text = format!("backends: [{{name: {name}, url: 'http://h:1', routes: [/x]}}]");
        refused(&text, "1:19", &["must be 1 to 64 of the characters"]);
    }
    good(&format!("backends: [{{name: {}, url: 'http://h:1', routes: [/x]}}]", "A.b_c-9".repeat(9)));
}

#[test]
fn exactly_one_of_url_and_targets_is_needed() {
    refused("backends:\n  - {name: a, routes: [/x]}", "2:5", &["neither `url` nor `targets`"]);
    refused(&backend_text("targets: ['http://h:2']"), "2:1", &["both `url` and `targets`"]);
    refused("backends: [{name: a, routes: [/x], targets: []}]", "1:45", &["`backends[0].targets` is empty"]);
}

#[test]
fn targets_are_objects_or_urls_with_a_weight() {
    let text = "backends: [{name: a, routes: [/x], targets: [{url: 'http://h:1', weight: 3}, 'https://[::1]', {url: HTTP://Ex.Com/}]}]";
    let targets = good(text).settings.backends.remove(0).targets;
    let shown: Vec<_> = targets.iter().map(|t| (t.url.to_string(), t.url.port, t.weight)).collect();
    assert_eq!(
        shown,
        [("http://h:1".into(), 1, 3), ("https://[::1]".into(), 443, 1), ("http://ex.com".into(), 80, 1)]
    );
    for weight in ["0", "1001"] {
        let text = format!(
            "backends: [{{name: a, routes: [/x], targets: [{{url: 'http://h', weight: {weight}}}]}}]"
        );
        refused(&text, "1:72", &["`backends[0].targets[0].weight` must be between 1 and 1000"]);
    }
    refused(
        "backends: [{name: a, routes: [/x], targets: [{weight: 1}]}]",
        "1:46",
        &["`backends[0].targets[0].url` is required"],
    );
    refused(
        "backends: [{name: a, routes: [/x], targets: ['http://h:80', 'http://h']}]",
        "1:61",
        &["warning", "listed twice"],
    );
}

#[test]
fn a_target_is_a_scheme_a_host_and_a_port() {
    for (url, why) in [
        ("ftp://h", "http or https"),
        ("h:3001", "write it as http://"),
        ("http://", "the host is missing"),
        ("http://:80", "the host is missing"),
        ("http://u:p@h", "no user or password"),
        ("http://h/api", "use `addPrefix`"),
        ("http://h?x=1", "no path or query"),
        ("http://h:0", "from 1 to 65535"),
        ("http://h:70000", "from 1 to 65535"),
        ("http://h:", "the port is missing"),
        ("http://a b", "write it as"),
        ("http://10.0.0.256", "write it as"),
    ] {
        refused(&with_url(url), "1:41", &["`backends[0].url` is ", why]);
    }
    assert!(!one(&with_url("http://u:hunter2@h")).contains("hunter2"));
}

#[test]
fn hash_on_goes_with_hash() {
    assert_eq!(backend("loadBalance: hash").hash_on, Some(HashOn::Ip));
    assert_eq!(
        backend("loadBalance: hash, hashOn: 'header:X-User'").hash_on,
        Some(HashOn::Header("x-user".into()))
    );
    assert_eq!(
        backend("loadBalance: hash, hashOn: 'cookie:Sid'").hash_on,
        Some(HashOn::Cookie("Sid".into()))
    );
    refused(&backend_text("hashOn: ip"), "2:1", &["works with `loadBalance: hash` only"]);
    refused(&backend_text("loadBalance: roundRobin, hashOn: ip"), "2:26", &["add that, or remove `hashOn`"]);
    refused(
        &backend_text("loadBalance: hash, hashOn: header"),
        "2:28",
        &["`ip`, `header:NAME` or `cookie:NAME`"],
    );
    refused(&backend_text("loadBalance: hsh, hashOn: ip"), "2:14", &["did you mean `hash`?"]);
}

#[test]
fn health_checks_run_when_the_key_is_there() {
    let defaults = aegis_actors::health_check::Settings::default();
    assert_eq!(backend("healthCheck: {}").health_check, Some(defaults.clone()));
    let check = backend("healthCheck: {path: '/up?full=1', intervalMs: 10s}").health_check.unwrap();
    assert_eq!((check.path.as_str(), check.timeout), ("/up?full=1", defaults.timeout));
    refused(&backend_text("healthCheck:"), "2:1", &["is empty", "`{}`"]);
    refused(&backend_text("healthCheck: {path: up}"), "2:21", &["start it with `/`"]);
    refused(&backend_text("healthCheck: {healthyThreshold: 0}"), "2:33", &["between 1 and 1000"]);
    refused(&backend_text("healthCheck: {intervalMs: 1s}"), "2:27", &["warning", "longer than `intervalMs`"]);
    refused(&backend_text("healthCheck: {interval: 1s}"), "2:15", &["did you mean `intervalMs`?"]);
}

#[test]
fn breaker_fields_have_ranges() {
    let breaker =
        backend("circuitBreaker: {failureThreshold: 0, slowCallMs: 2s, slowCallRate: 0.5}").circuit_breaker;
    assert_eq!((breaker.failure_threshold, breaker.slow_call_rate), (0, 0.5));
    assert_eq!(breaker.min_requests, 20);
    for (keys, at, why) in [
        ("failureRate: 1.5", 31, "between 0 and 1"),
        ("failureRate: .nan", 31, "between 0 and 1"),
        ("failureRate: half", 31, "a number between 0 and 1, found `half`"),
        ("successThreshold: 0", 36, "between 1 and"),
        ("minRequests: 0", 31, "between 1 and"),
        ("halfOpenRequests: 0", 36, "between 1 and"),
        ("windowMs: 0", 28, "longer than 0"),
        ("resetTimeoutMs: 0", 34, "longer than 0"),
        ("slowCallRate: 0", 32, "must be above 0"),
        ("failureTreshold: 1", 18, "did you mean `failureThreshold`?"),
    ] {
        refused(&backend_text(&format!("circuitBreaker: {{{keys}}}")), &format!("2:{at}"), &[why]);
    }
}

#[test]
fn a_first_byte_timeout_beyond_the_whole_is_a_warning_only_when_written() {
    refused(
        &backend_text("timeout: 5s, firstByteTimeoutMs: 6s"),
        "2:34",
        &["warning", "ends the request first"],
    );
    good(&backend_text("timeout: 5s"));
    assert!(lines(&backend_text("timeout: 5s")).is_empty());
}

#[test]
fn upstream_tls_is_checked_and_warned_about() {
    let tls =
        |keys: &str| format!("{{backends: [{{name: a, routes: [/x], url: 'https://h',\ntls: {{{keys}}}}}]}}");
    refused(&tls("caFile: /nonexistent/ca.pem"), "2:15", &["cannot read `/nonexistent/ca.pem`"]);
    refused(&tls("insecureSkipVerify: true"), "2:27", &["warning", "accepts any certificate"]);
    refused(&tls("serverName: 'https://x'"), "2:19", &["must be a host name"]);
    assert_eq!(
        good(&tls("serverName: X.example")).settings.backends[0].tls.server_name.as_deref(),
        Some("x.example")
    );
    refused(&backend_text("tls: {serverName: x}"), "2:1", &["warning", "no target is https://"]);
}

#[test]
fn the_rest_of_a_backend_is_read() {
    let backend = backend("retries: 0, maxInFlight: 7, whenAllUnhealthy: routeAll, preserveHost: true");
    assert_eq!((backend.retries, backend.max_in_flight, backend.preserve_host), (0, 7, true));
    assert_eq!(backend.when_all_unhealthy, WhenAllUnhealthy::RouteAll);
    refused(&backend_text("maxInFlight: 0"), "2:14", &["between 1 and 1000000"]);
}

#[test]
fn failure_statuses_are_an_upstreams_own_and_never_what_callers_provoke() {
    let with = |list: &str| backend_text(&format!("circuitBreaker: {{failureStatuses: {list}}}"));
    let read = |list: &str| good(&with(list)).settings.backends.remove(0).circuit_breaker.failure_statuses;
    assert_eq!(read("[503, 500, 599, 503]"), [500, 503, 599]);
    assert_eq!(read("[]"), [0; 0]);
    for status in [408, 429, 501, 505] {
        refused_with(
            &with(&format!("[500, {status}]")),
            &format!("failureStatuses[1]` must not be {status}: "),
        );
    }
    for wrong in ["404", "200", "600", "-500", "99999"] {
        let said = format!("failureStatuses[0]` must be a status from 500 to 599, found {wrong}: ");
        refused_with(&with(&format!("[{wrong}]")), &said);
    }
    refused_with(&with("[many]"), "found `many`: write for example `[500, 503]`");
    refused_with(&with("500"), "failureStatuses` must be a list, found the number 500");
}

#[test]
fn a_breaker_can_be_turned_off() {
    let breaker = |text: &str| good(&backend_text(text)).settings.backends.remove(0).circuit_breaker;
    assert!(!breaker("circuitBreaker: {enabled: false}").enabled);
    assert!(breaker("circuitBreaker: {}").enabled);
}

fn refused_with(text: &str, part: &str) {
    let lines = lines(text);
    assert!(lines.len() == 1 && lines[0].contains(part), "{part:?} is not in {lines:#?}");
}
