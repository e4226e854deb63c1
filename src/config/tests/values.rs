//! Durations, numbers, booleans, and the words that are nearly right.

use std::time::Duration;

use super::*;
use aegis_schema::scalar::{NoDuration, duration, resolve};
use aegis_schema::suggest::closest;
use aegis_schema::tree::Kind;

#[test]
fn every_unit_of_a_duration_is_understood() {
    for (text, seconds) in [("30s", 30), ("5m", 300), ("1h", 3600), ("2d", 172_800), ("0s", 0)] {
        assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
    }
    assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
}

#[test]
fn what_is_no_duration_says_why() {
    assert_eq!(duration("500"), Err(NoDuration::Unitless));
    assert_eq!(duration("366d"), Err(NoDuration::TooLong));
    assert_eq!(duration("99999999999999999999s"), Err(NoDuration::TooLong));
    for text in ["", "s", "1.5s", "-1s", "1m30s", "5 parsecs"] {
        assert_eq!(duration(text), Err(NoDuration::Malformed), "{text}");
    }
}

#[test]
fn a_plain_integer_is_milliseconds_and_a_text_has_a_unit() {
    assert_eq!(backend("timeout: 1500").timeout, Duration::from_millis(1500));
    assert_eq!(backend("timeout: 5m").timeout, Duration::from_secs(300));
    assert_eq!(backend("connectTimeoutMs: 3s").connect_timeout, Duration::from_secs(3));
    refused(&backend_text("timeout: '1500'"), "2:10", &["has no unit", "remove the quotes"]);
    refused(&backend_text("timeout: 5x"), "2:10", &["must be a duration such as `500ms`", "found `5x`"]);
    refused(&backend_text("timeout: -1"), "2:10", &["must be a duration", "the number -1"]);
    refused(&backend_text("timeout: 400d"), "2:10", &["at most a year"]);
}

#[test]
fn a_duration_that_must_not_be_zero_is_refused_at_zero() {
    for key in ["timeout", "connectTimeoutMs", "firstByteTimeoutMs", "idleTimeoutMs"] {
        refused(&backend_text(&format!("{key}: 0")), &format!("2:{}", key.len() + 3), &["longer than 0"]);
    }
    assert!(good("server: {shutdownTimeoutMs: 0}").settings.server.shutdown_timeout.is_zero());
}

#[test]
fn few_milliseconds_for_a_whole_request_are_asked_about_unless_the_unit_is_written() {
    refused(
        &backend_text("timeout: 60"),
        "2:10",
        &["warning: `backends[0].timeout` is 60 milliseconds", "`60s`"],
    );
    refused(&route_text("path: /x, timeout: 5"), "1:70", &["is 5 milliseconds"]);
    for fine in ["timeout: 60ms", "timeout: 301", "connectTimeoutMs: 60"] {
        assert_eq!(lines(&backend_text(fine)), [""; 0], "{fine}");
    }
}

#[test]
fn a_size_is_bytes_or_has_a_unit() {
    let read = |size: &str| {
        let limit =
            good(&format!("{GOOD}server: {{bodyLimitBytes: {size}}}")).settings.server.body_limit_bytes;
        assert_eq!(route(&format!("path: /x, bodyLimitBytes: {size}")).body_limit_bytes, Some(limit));
        limit
    };
    for (size, bytes) in
        [("10MB", 10_000_000), ("10 MiB", 10 << 20), ("64kib", 65_536), ("1GB", 1_000_000_000)]
    {
        assert_eq!(read(size), bytes, "{size}");
    }
    assert_eq!((read("0"), read("7B"), read("1024")), (0, 7, 1024));
    let source = env(&[("AEGIS__SERVER__BODY_LIMIT_BYTES", "3MB")]);
    assert_eq!(load_from(GOOD, &source).unwrap().settings.server.body_limit_bytes, 3_000_000);
    for wrong in ["10M", "MB", "1.5MB", "-1MB", "99999999999GiB", "9999999999999999999"] {
        let text = format!("{GOOD}server: {{bodyLimitBytes: {wrong}}}");
        refused(&text, "2:26", &["a number of bytes, or a size such as `10MB` (10000000)"]);
    }
}

#[test]
fn a_text_that_ends_in_a_line_break_is_refused_as_that() {
    let text = "backends:\n  - name: |\n      a\n    url: http://h:1\n    routes: [/x]\n";
    refused(text, "3:7", &["`backends[0].name` ends in a line break", "`|-`"]);
    let source = env(&[("TOKEN", "hunter2\n")]);
    let problems = inspect("a.yaml", &format!("{GOOD}admin: {{token: \"${{TOKEN}}\"}}\n"), &source).problems;
    let said = problems.to_string();
    assert!(said.contains("`admin.token` ends in a line break") && !said.contains("hunter2"), "{said}");
}

#[test]
fn scalars_follow_the_core_schema() {
    assert_eq!(resolve("0x1F"), Kind::Int(31));
    assert_eq!(resolve("0o17"), Kind::Int(15));
    assert_eq!(resolve("-5"), Kind::Int(-5));
    assert_eq!(resolve("010"), Kind::Int(10));
    assert_eq!(resolve("1e3"), Kind::Float(1000.0));
    assert_eq!(resolve("~"), Kind::Null);
    for text in ["yes", "on", "inf", "nan", "0x", "--1", "+-1", "1_000", "1.2.3", "e5", ".", "5m"] {
        assert_eq!(resolve(text), Kind::Text(text.to_owned()), "{text}");
    }
}

#[test]
fn a_number_out_of_range_or_of_the_wrong_kind_is_refused() {
    refused(
        "server: {port: 70000}\nbackends: [{name: a, url: 'http://h', routes: [/]}]",
        "1:16",
        &["between 0 and 65535", "the number 70000"],
    );
    refused(&backend_text("retries: 1.5"), "2:10", &["a whole number between 0 and 100", "the number 1.5"]);
    refused(&backend_text("retries: '2'"), "2:10", &["remove the quotes"]);
    refused(&backend_text("retries: 99999999999999999999"), "2:10", &["between 0 and 100"]);
    refused(&format!("{GOOD}server: {{workers: 1025}}"), "2:19", &["between 0 and 1024"]);
    refused(&format!("{GOOD}server: {{bodyLimitBytes: -1}}"), "2:26", &["the number -1"]);
}

#[test]
fn a_boolean_is_true_or_false_and_nothing_else() {
    refused(
        &format!("{GOOD}hotReload: yes"),
        "2:12",
        &["must be `true` or `false`, found `yes`", "write `true`"],
    );
    refused(&backend_text("preserveHost: 'true'"), "2:15", &["remove the quotes"]);
    assert!(backend("preserveHost: true").preserve_host);
}

#[test]
fn text_that_yaml_takes_for_a_number_must_be_quoted() {
    refused(&backend_text("hashOn: 5, loadBalance: hash"), "2:9", &["must be text", "put it in quotes"]);
}

#[test]
fn a_section_a_list_and_a_scalar_are_told_apart() {
    refused(&format!("{GOOD}server: [1]"), "2:9", &["`server` must be a section with keys, found a list"]);
    refused("backends: {a: 1}", "1:11", &["`backends` must be a list, found a section"]);
    refused(&backend_text("name2: 1").replace("name2: 1", "timeout: [1]"), "2:10", &["found a list"]);
}

#[test]
fn a_misspelt_word_gets_the_word_that_was_meant() {
    refused(&backend_text("loadBalance: roundrobin"), "2:14", &["did you mean `roundRobin`?"]);
    refused(
        &backend_text("whenAllUnhealthy: ignore"),
        "2:19",
        &["`failFast` or `routeAll`", "use one of these"],
    );
    refused(&format!("{GOOD}logging: {{format: jsn}}"), "2:19", &["did you mean `json`?"]);
    refused(&format!("{GOOD}logging: {{level: inof}}"), "2:18", &["did you mean `info`?"]);
}

#[test]
fn the_nearest_word_is_suggested_and_a_strange_one_gets_none() {
    let keys = ["headerTimeoutMs", "keepAliveMs", "port", "host"];
    assert_eq!(closest("header_timeout_ms", keys), Some("headerTimeoutMs"));
    assert_eq!(closest("headerTimeout", keys), Some("headerTimeoutMs"));
    assert_eq!(closest("prot", keys), Some("port"));
    assert_eq!(closest("banana", keys), None);
}

#[test]
fn log_filters_are_taken_and_half_filters_are_not() {
    for level in ["warn", "INFO", "info,aegis::gateway=debug", "aegis=trace", "warn,aegis::router", "off"] {
        assert_eq!(good(&format!("logging: {{level: '{level}'}}")).settings.logging.level, level);
    }
    for level in ["aegis=", "=info", "a b=info", "info,,debug"] {
        refused(&format!("{GOOD}logging: {{level: '{level}'}}"), "2:18", &["must be a level"]);
    }
}
