//! `alerts` in the spelling of the file.

use aegis_actors::alerts::{Condition, Format, Rule, Settings, Webhook};
use serde_json::{Value, json};

use super::{ms, put};

/// `alerts`, with the URLs of webhooks.
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
    let Webhook { name, url, format, timeout } = webhook;
    let format = match format {
        Format::Json => "json",
        Format::Slack => "slack",
    };
    json!({"name": name, "url": url, "format": format, "timeoutMs": ms(*timeout)})
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
