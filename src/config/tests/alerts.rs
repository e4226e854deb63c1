//! `alerts`.

use std::time::Duration;

use aegis_actors::alerts::*;

use super::*;
use crate::config::diff;

/// A rule that is fine, to build on.
const RULE: &str = "id: errors, condition: {metric: error_rate, operator: '>', threshold: 0.05}";

fn section(keys: &str) -> String {
    format!("{GOOD}alerts: {{{keys}}}\n")
}

fn with_rule(keys: &str) -> String {
    section(&format!("rules: [{{{keys}}}]"))
}

#[track_caller]
fn settings(keys: &str) -> Settings {
    good(&section(keys)).settings.alerts.unwrap()
}

#[test]
fn without_the_section_nothing_is_judged_and_empty_it_has_its_defaults() {
    assert_eq!(good(GOOD).settings.alerts, None);
    let expected = Settings {
        enabled: true,
        check_interval: Duration::from_secs(10),
        cooldown: Duration::from_secs(300),
        webhooks: Vec::new(),
        rules: Vec::new(),
    };
    assert_eq!(settings(""), expected);
    let rule = settings(&format!("rules: [{{{RULE}}}]")).rules.remove(0);
    let condition = Condition {
        metric: Metric::ErrorRate,
        operator: Operator::Above,
        threshold: 0.05,
        window: Duration::from_secs(60),
        backend: None,
    };
    let expected = Rule {
        id: "errors".into(),
        name: "errors".into(),
        severity: Severity::Warning,
        condition,
        actions: vec![Action::Log],
    };
    assert_eq!(rule, expected);
}

#[test]
fn every_key_is_read_and_shown_as_it_is_written() {
    let keys = "enabled: false, checkIntervalMs: 1s, cooldownMs: 0, \
        webhooks: [{name: ops, url: 'https://h.example/x?y=z', format: json, timeoutMs: 2s}, {name: chat, url: 'http://[::1]:8/x', format: slack}], \
        rules: [{id: slow, name: 'Slow, rather', severity: critical, \
        condition: {metric: latency_p99, operator: '>=', threshold: 250.5, windowSeconds: 5m, backend: a}, \
        actions: [log, 'webhook:ops', 'webhook:chat', 'webhook:ops']}, \
        {id: quiet, condition: {metric: open_breakers, operator: lt, threshold: 1}, actions: ['webhook:chat']}]";
    let settings = settings(keys);
    assert!(!settings.enabled && settings.cooldown.is_zero());
    assert_eq!(settings.check_interval, Duration::from_secs(1));
    assert_eq!(
        (settings.webhooks[0].timeout, settings.webhooks[1].format),
        (Duration::from_secs(2), Format::Slack)
    );
    let slow = &settings.rules[0];
    assert_eq!((slow.name.as_str(), slow.severity, slow.logs()), ("Slow, rather", Severity::Critical, true));
    assert_eq!(slow.webhooks().collect::<Vec<_>>(), ["ops", "chat"]);
    let condition = Condition {
        metric: Metric::LatencyP99,
        operator: Operator::AtLeast,
        threshold: 250.5,
        window: Duration::from_secs(300),
        backend: Some("a".into()),
    };
    assert_eq!(slow.condition, condition);
    let quiet = &settings.rules[1];
    assert_eq!(
        (quiet.logs(), quiet.condition.operator, quiet.condition.window),
        (false, Operator::Below, Duration::ZERO)
    );
    let shown = &good(&section(keys)).effective["alerts"];
    assert_eq!(shown["rules"][0]["actions"], serde_json::json!(["log", "webhook:ops", "webhook:chat"]));
    assert_eq!(shown["rules"][0]["condition"]["windowSeconds"], 300);
    assert_eq!(shown["rules"][1]["condition"]["operator"], "<");
    for metric in Metric::all() {
        let window = if metric.is_gauge() { "" } else { ", windowSeconds: 840" };
        let text = with_rule(&format!(
            "id: x, condition: {{metric: {}, operator: gte, threshold: 1{window}}}",
            metric.as_str()
        ));
        assert_eq!(
            load_from(&text, &alone()).unwrap().settings.alerts.unwrap().rules[0].condition.metric,
            metric
        );
    }
}

#[test]
fn every_problem_is_reported_at_its_place() {
    let text = format!(
        "{GOOD}alerts:
  checkIntervalMs: 99
  cooldownMs: 31d
  webhooks:
    - {{name: ops, url: 'ftp://h/x'}}
    - {{name: ops, url: 'http://u:hunter2@h/x'}}
    - {{name: 'a b', format: xml, timeoutMs: 2m}}
  rules:
    - {{id: e, severity: bad, condition: {{metric: error_rate, operator: '!', threshold: 1.5}}, actions: [page, 'webhook:opps']}}
    - {{id: e, condition: {{metric: errors, operator: '>', threshold: x, windowSeconds: 0, backend: b}}}}
    - {{name: '', actions: log, conditon: 1}}
"
    );
    let lines = lines(&text);
    let expected = [
        ("3:20", "`alerts.checkIntervalMs` must be between 100 and 3600000 milliseconds"),
        ("4:15", "`alerts.cooldownMs` must be between 0 and 2592000000 milliseconds"),
        ("6:24", "`alerts.webhooks[0].url` cannot be used: the scheme must be http or https"),
        ("7:14", "`alerts.webhooks[1].name` is the name of `alerts.webhooks[0]` already, \"ops\""),
        ("7:24", "`alerts.webhooks[1].url` cannot be used: a webhook has no user or password"),
        ("8:7", "`alerts.webhooks[2].url` is required"),
        ("8:14", "`alerts.webhooks[2].name` must be 1 to 64 of the characters"),
        ("8:29", "`alerts.webhooks[2].format` must be `json` or `slack`"),
        ("8:45", "`alerts.webhooks[2].timeoutMs` must be between 10 and 60000 milliseconds"),
        ("10:25", "`alerts.rules[0].severity` must be `info` or `warning` or `critical`"),
        ("10:72", "`alerts.rules[0].condition.operator` must be `>` or `>=` or `<` or `<=`"),
        ("10:88", "`alerts.rules[0].condition.threshold` must be a number between 0 and 1"),
        ("10:104", "`alerts.rules[0].actions[0]` must be `log` or `webhook:NAME`, found `page`"),
        (
            "10:110",
            "`alerts.rules[0].actions[1]` names no webhook, found `webhook:opps`: did you mean `ops`?",
        ),
        ("11:12", "`alerts.rules[1].id` is the id of `alerts.rules[0]` already"),
        ("11:35", "`alerts.rules[1].condition.metric` must be `error_rate` or `latency_p50`"),
        ("11:69", "`alerts.rules[1].condition.threshold` must be a number between"),
        (
            "11:87",
            "`alerts.rules[1].condition.windowSeconds` must be a whole number of seconds between 1 and 840",
        ),
        ("11:99", "`alerts.rules[1].condition.backend` names no backend, found `b`"),
        ("12:7", "`alerts.rules[2].id` is required"),
        ("12:7", "`alerts.rules[2].condition` is required"),
        ("12:14", "`alerts.rules[2].name` must be 1 to 128 characters"),
        ("12:27", "`alerts.rules[2].actions` must be a list"),
        ("12:32", "unknown key `alerts.rules[2].conditon`: did you mean `condition`?"),
    ];
    for (n, (at, what)) in expected.iter().enumerate() {
        let start = format!("a.yaml:{at}: error: {what}");
        assert!(lines.get(n).is_some_and(|line| line.starts_with(&start)), "{start}\n is not\n{lines:#?}");
    }
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    assert!(!lines.join("").contains("hunter2"));
}

#[test]
fn urls_that_cannot_be_told_are_refused_without_being_shown() {
    for (url, why) in [
        ("hunter2", "https://HOST/PATH"),
        ("https:///hunter2", "https://HOST/PATH"),
        ("https://h:x/hunter2", "the port must be a number"),
        ("https://h:0/hunter2", "the port must be a number"),
        ("https://10.0.0.256/hunter2", "https://HOST/PATH"),
        ("https://h/hunter2#x", "never sent"),
        ("https://h/hunter2 x", "spaces"),
    ] {
        let text = section(&format!("webhooks: [{{name: a, url: '{url}'}}]"));
        let lines = lines(&text);
        assert!(
            lines.len() == 1 && lines[0].contains(why) && !lines[0].contains("hunter2"),
            "{url}: {lines:?}"
        );
    }
}

#[test]
fn what_is_never_or_always_so_is_a_warning() {
    let rule = |condition: &str| with_rule(&format!("id: e, condition: {{{condition}}}"));
    for (condition, why) in [
        ("metric: error_rate, operator: '>', threshold: 1", "is never met: it is never above 1"),
        ("metric: error_rate, operator: '<=', threshold: 1.0", "is always met"),
        ("metric: request_rate, operator: '<', threshold: 0", "is never met: it is never below 0"),
        ("metric: request_rate, operator: '>=', threshold: 0", "is always met"),
        ("metric: unhealthy_targets, operator: '>', threshold: 0", "no target is checked"),
    ] {
        let problem = one(&rule(condition));
        assert!(problem.contains(": warning: ") && problem.contains(why), "{condition}: {problem}");
    }
    let unused = one(&section("webhooks: [{name: ops, url: 'http://h/x'}]"));
    assert!(unused.starts_with("a.yaml:2:21: warning: webhook \"ops\" is never told"), "{unused}");
    let uncounted = format!("{}metrics: {{enabled: false}}\n", with_rule(RULE));
    assert!(one(&uncounted).contains("nothing is counted"));
}

#[test]
fn the_url_and_the_headers_of_a_webhook_are_shown_nowhere() {
    let url = "https://hooks.slack.com/services/T0/B0/hunter2?k=hunter2";
    let keys = format!(
        "webhooks: [{{name: chat, url: '{url}', format: slack, headers: {{X-Key: hunter2}}}}], rules: [{{{RULE}, actions: ['webhook:chat']}}]"
    );
    let loaded = good(&section(&keys));
    assert_eq!(loaded.settings.alerts.as_ref().unwrap().webhooks[0].url.as_str(), url);
    assert_eq!(loaded.effective["alerts"]["webhooks"][0]["url"], "https://hooks.slack.com/[redacted]");
    assert_eq!(loaded.effective["alerts"]["webhooks"][0]["headers"]["x-key"], "[redacted]");
    assert!(!format!("{loaded:?}").contains("hunter2"));
    let other = good(&section(&keys.replace("hunter2", "hunter3")));
    assert_eq!(other.hash, loaded.hash);
    // A change of it is one all the same.
    let changes = diff(&loaded.settings, &other.settings);
    assert_eq!(changes.applied, ["alerts.webhooks"]);
    assert_eq!(diff(&good(GOOD).settings, &loaded.settings).applied, ["alerts"]);
}
