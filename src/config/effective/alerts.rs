//! `alerts` in the spelling of the file.

use aegis_actors::alerts::{Condition, Format, Rule, Settings, Webhook};
use serde_json::{Map, Value, json};

use super::{ms, put};

/// `alerts`, with the URLs and headers of webhooks.
pub(super) fn alerts(settings: &Settings) -> Value {
    let Settings { enabled, check_interval, cooldown, webhooks, rules } = settings;
    json!({
        "enabled": enabled,
        "checkIntervalMs": ms(*check_interval),
        "cooldownMs": ms(*cooldown),
        "webhooks": webhooks.iter().map(webhook).collect::<Vec<_>>(),
        "rules": rules.iter().map(rule).collect::<Vec<_>>(),
    })
}

fn webhook(webhook: &Webhook) -> Value {
    let Webhook { name, url, format, timeout, headers, ca_file } = webhook;
    let format = match format {
        Format::Json => "json",
        Format::Slack => "slack",
    };
    let mut out = json!({"name": name, "url": url, "format": format, "timeoutMs": ms(*timeout)});
    let headers: Map<String, Value> =
        headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    put(&mut out, "headers", (!headers.is_empty()).then_some(headers));
    put(&mut out, "caFile", ca_file.as_ref().map(|file| file.to_string_lossy()));
    out
}

fn rule(rule: &Rule) -> Value {
    let Rule { id, name, severity, condition, log, webhooks } = rule;
    let Condition { metric, operator, threshold, window, backend } = condition;
    let mut written =
        json!({"metric": metric.as_str(), "operator": operator.as_str(), "threshold": threshold});
    put(&mut written, "windowSeconds", (!window.is_zero()).then_some(window.as_secs()));
    put(&mut written, "backend", backend.clone());
    let told = webhooks.iter().map(|webhook| format!("webhook:{webhook}"));
    let actions: Vec<String> = log.then(|| "log".to_owned()).into_iter().chain(told).collect();
    json!({
        "id": id,
        "name": name,
        "severity": severity.as_str(),
        "condition": written,
        "actions": actions,
    })
}
