//! `healthCheck` and `circuitBreaker` of a backend.

use aegis_actors::circuit_breaker::UNJUDGED;
use aegis_actors::{circuit_breaker, health_check};

use super::section::{Section, nothing, shown_for};
use crate::config::tree::Kind;

/// Largest count that any threshold takes.
const MAX_COUNT: i128 = 1_000_000;

/// `healthCheck`: present (even as `{}`) means that checks run.
pub(super) fn health_check(backend: &Section<'_>) -> Option<health_check::Settings> {
    let written = backend.written("healthCheck");
    if let Some(node) = written.filter(|node| nothing(node) && !node.broken()) {
        // Empty could mean "the defaults" or "none": whoever wrote it must say which.
        let name = backend.name("healthCheck");
        let what =
            format!("`{name}` is empty: write `{{}}` after it for checks with the defaults, or remove it");
        backend.error_at_key(node, what);
    }
    let section = backend.child("healthCheck")?;
    let defaults = health_check::Settings::default();
    let settings = health_check::Settings {
        path: path(&section).unwrap_or(defaults.path),
        interval: section.duration("intervalMs").unwrap_or(defaults.interval),
        timeout: section.duration("timeoutMs").unwrap_or(defaults.timeout),
        unhealthy_threshold: section
            .integer("unhealthyThreshold", 1..=1000)
            .unwrap_or(defaults.unhealthy_threshold),
        healthy_threshold: section
            .integer("healthyThreshold", 1..=1000)
            .unwrap_or(defaults.healthy_threshold),
    };
    if settings.timeout > settings.interval
        && let Some(node) = section.node("timeoutMs").or_else(|| section.node("intervalMs"))
    {
        let what = format!(
            "`{}` is longer than `intervalMs`: a slow target is checked less often than it says; shorten it",
            section.name("timeoutMs")
        );
        section.warning(node, what);
    }
    section.finish();
    Some(settings)
}

fn path(section: &Section<'_>) -> Option<String> {
    let (text, node) = section.text("path")?;
    if text.starts_with('/') && !text.contains('#') && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Some(text.to_owned());
    }
    let found = shown_for("path", node);
    let what = format!(
        "`{}` must be a path such as /health, found {found}: start it with `/`, without host",
        section.name("path")
    );
    section.error(node, what);
    None
}

/// `circuitBreaker`: on unless it says otherwise, with defaults for what is not written.
pub(super) fn circuit_breaker(backend: &Section<'_>) -> circuit_breaker::Settings {
    let defaults = circuit_breaker::Settings::default();
    let Some(section) = backend.child("circuitBreaker") else { return defaults };
    let settings = circuit_breaker::Settings {
        enabled: section.flag("enabled").unwrap_or(defaults.enabled),
        failure_statuses: failure_statuses(&section).unwrap_or(defaults.failure_statuses),
        failure_threshold: section
            .integer("failureThreshold", 0..=MAX_COUNT)
            .unwrap_or(defaults.failure_threshold),
        success_threshold: section
            .integer("successThreshold", 1..=MAX_COUNT)
            .unwrap_or(defaults.success_threshold),
        reset_timeout: section.duration("resetTimeoutMs").unwrap_or(defaults.reset_timeout),
        failure_rate: section.number("failureRate", 0.0..=1.0).unwrap_or(defaults.failure_rate),
        min_requests: section.integer("minRequests", 1..=MAX_COUNT).unwrap_or(defaults.min_requests),
        window: section.duration("windowMs").unwrap_or(defaults.window),
        slow_call: section.duration_or_zero("slowCallMs").unwrap_or(defaults.slow_call),
        slow_call_rate: section.number("slowCallRate", 0.0..=1.0).unwrap_or(defaults.slow_call_rate),
        half_open_requests: section
            .integer("halfOpenRequests", 1..=MAX_COUNT)
            .unwrap_or(defaults.half_open_requests),
    };
    if settings.slow_call_rate == 0.0
        && let Some(node) = section.node("slowCallRate")
    {
        let what = format!(
            "`{}` must be above 0: any call would be too many; set `slowCallMs: 0` to turn the rule off",
            section.name("slowCallRate")
        );
        section.error(node, what);
    }
    section.finish();
    settings
}

/// `failureStatuses`: what an upstream itself is to blame for.
fn failure_statuses(section: &Section<'_>) -> Option<Vec<u16>> {
    let mut statuses = Vec::new();
    for (n, node) in section.list("failureStatuses")?.iter().enumerate().filter(|(_, node)| !node.broken()) {
        let name = section.name(format_args!("failureStatuses[{n}]"));
        let wrong = match section.scalar(node) {
            Kind::Int(status) => match u16::try_from(status) {
                Ok(status) if UNJUDGED.contains(&status) => format!(
                    "`{name}` must not be {status}: callers can provoke it, and would keep a target from everybody \
                     else; remove it"
                ),
                Ok(status @ 500..=599) => {
                    statuses.push(status);
                    continue;
                }
                _ => format!(
                    "`{name}` must be a status from 500 to 599, found {status}: an answer below says that the target is \
                     there, and what was wrong with the request; remove it"
                ),
            },
            _ => format!(
                "`{name}` must be a status from 500 to 599, found {}: write for example `[500, 503]`",
                shown_for("failureStatuses", node)
            ),
        };
        section.error(node, wrong);
    }
    statuses.sort_unstable();
    statuses.dedup();
    Some(statuses)
}
