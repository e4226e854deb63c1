//! One of `alerts.rules`.

use std::time::Duration;

use aegis_actors::alerts::{Condition, LONGEST_WINDOW, Metric, Operator, Rule, Severity};

use super::section::{Section, quoted, shown_for};
use crate::config::settings::{Backend, Metrics};
use crate::config::suggest;

/// What is judged where a rule does not say.
const WINDOW: Duration = Duration::from_secs(60);
/// The longest name.
const NAME: usize = 128;

const OPERATORS: [(&str, Operator); 4] =
    [(">", Operator::Above), (">=", Operator::AtLeast), ("<", Operator::Below), ("<=", Operator::AtMost)];
const OPERATOR_WORDS: [(&str, Operator); 4] =
    [("gt", Operator::Above), ("gte", Operator::AtLeast), ("lt", Operator::Below), ("lte", Operator::AtMost)];
const SEVERITIES: [(&str, Severity); 3] =
    [("info", Severity::Info), ("warning", Severity::Warning), ("critical", Severity::Critical)];

/// Reads a rule whose id has been read.
pub(super) fn read(
    section: &Section<'_>,
    id: String,
    webhooks: &[&str],
    backends: &[Backend],
    metrics: &Metrics,
) -> Rule {
    let (log, told) = actions(section, webhooks);
    section.require(
        "condition",
        "write for example `condition: {metric: error_rate, operator: '>', threshold: 0.05}`",
    );
    let condition = section.child("condition").map(|condition| read_condition(condition, backends, metrics));
    Rule {
        name: name(section).unwrap_or_else(|| id.clone()),
        id,
        severity: section.choice("severity", &SEVERITIES).unwrap_or_default(),
        condition: condition.unwrap_or_else(nothing),
        log,
        webhooks: told,
    }
}

/// In the place of a condition that could not be read; the error has been noted.
fn nothing() -> Condition {
    Condition {
        metric: Metric::ErrorRate,
        operator: Operator::Above,
        threshold: 1.0,
        window: WINDOW,
        backend: None,
    }
}

fn name(section: &Section<'_>) -> Option<String> {
    let (text, node) = section.text("name")?;
    if text.trim().is_empty() || text.chars().count() > NAME || text.contains(char::is_control) {
        let what = format!(
            "`{}` must be 1 to {NAME} characters on one line, found {}: shorten it",
            section.name("name"),
            shown_for("name", node)
        );
        section.error(node, what);
    }
    Some(text.to_owned())
}

/// Whether to log, and which webhooks to tell.
fn actions(section: &Section<'_>, webhooks: &[&str]) -> (bool, Vec<String>) {
    let Some(actions) = section.texts("actions") else { return (true, Vec::new()) };
    let (mut log, mut told) = (false, Vec::new());
    for (text, node, name) in actions {
        match text.strip_prefix("webhook:").map(str::trim) {
            None if text == "log" => log = true,
            None => {
                let what = format!("`{name}` must be `log` or `webhook:NAME`, found {}", quoted(text));
                section.error(node, what);
            }
            Some(webhook) if webhooks.contains(&webhook) => {
                if !told.iter().any(|known| known == webhook) {
                    told.push(webhook.to_owned());
                }
            }
            Some(webhook) => {
                let mend = suggest::hint(webhook, webhooks.iter().copied(), || {
                    "add it to `alerts.webhooks`, or remove it here".to_owned()
                });
                section.error(node, format!("`{name}` names no webhook, found {}: {mend}", quoted(text)));
            }
        }
    }
    (log, told)
}

fn read_condition(section: Section<'_>, backends: &[Backend], metrics: &Metrics) -> Condition {
    section.require("metric", "write what is judged, for example `metric: error_rate`");
    section.require("operator", "write `>`, `>=`, `<` or `<=`, in quotes");
    section.require("threshold", "write the number that the metric is compared with");
    let choices = Metric::ALL.map(|metric| (metric.as_str(), metric));
    let metric = section.choice("metric", &choices);
    let operator = section.choice_or_alias("operator", &OPERATORS, &OPERATOR_WORDS);
    let (low, high) = metric.map_or((-1e9, 1e9), range);
    let threshold = section.number("threshold", low..=high);
    if let (Some(metric), Some(operator), Some(threshold)) = (metric, operator, threshold) {
        senseless(&section, metric, operator, threshold);
    }
    let window = section.seconds("windowSeconds", 1..=LONGEST_WINDOW);
    let gauge = metric.is_some_and(Metric::is_gauge);
    let condition = Condition {
        metric: metric.unwrap_or(Metric::ErrorRate),
        operator: operator.unwrap_or(Operator::Above),
        threshold: threshold.unwrap_or(1.0),
        window: window.unwrap_or(if gauge { Duration::ZERO } else { WINDOW }),
        backend: backend(&section, metric, backends),
    };
    if metric.is_some() && !gauge && !metrics.enabled {
        let what = format!(
            "`{}` is never met: with `metrics.enabled: false` nothing is counted; enable metrics, or remove the rule",
            section.path
        );
        section.warning_here(what);
    }
    section.finish();
    condition
}

/// What the metric can be at all.
fn range(metric: Metric) -> (f64, f64) {
    match metric {
        Metric::ErrorRate => (0.0, 1.0),
        // A day.
        Metric::LatencyP50 | Metric::LatencyP95 | Metric::LatencyP99 => (0.0, 86_400_000.0),
        Metric::RequestRate | Metric::RateLimitedRate => (0.0, 1e9),
        Metric::UnhealthyTargets | Metric::OpenBreakers => (0.0, 1e6),
    }
}

/// Warns of a condition that is met always, or never.
fn senseless(section: &Section<'_>, metric: Metric, operator: Operator, threshold: f64) {
    let most = (metric == Metric::ErrorRate).then_some(1.0);
    let at_most = most.is_some_and(|most| threshold >= most);
    let how = match operator {
        Operator::Below if threshold <= 0.0 => "is never met: it is never below 0",
        Operator::AtLeast if threshold <= 0.0 => "is always met: it is always at least 0",
        Operator::Above if at_most => "is never met: it is never above 1",
        Operator::AtMost if at_most => "is always met: it is always at most 1",
        _ => return,
    };
    if let Some(node) = section.node("threshold") {
        let what = format!("`{}` {how}; change the threshold or the operator", section.path);
        section.warning(node, what);
    }
}

fn backend(section: &Section<'_>, metric: Option<Metric>, backends: &[Backend]) -> Option<String> {
    let written = section.text("backend");
    let of = |backend: &&Backend| written.is_none_or(|(name, _)| backend.name == name);
    if let Some((text, node)) = written
        && !backends.iter().any(|backend| backend.name == text)
    {
        let names = backends.iter().map(|backend| backend.name.as_str());
        let mend = suggest::hint(text, names, || "use the `name` of one of `backends`".to_owned());
        let what = format!("`{}` names no backend, found {}: {mend}", section.name("backend"), quoted(text));
        section.error(node, what);
        return None;
    }
    if metric == Some(Metric::UnhealthyTargets)
        && !backends.iter().filter(of).any(|backend| backend.health_check.is_some())
        && let Some(node) = section.node("metric")
    {
        let what = format!(
            "`{}` is always 0: no target is checked; add `healthCheck` to the backend",
            section.name("metric")
        );
        section.warning(node, what);
    }
    written.map(|(text, _)| text.to_owned())
}
