//! `alerts`. URLs and headers of webhooks are secrets, so no message shows any part of one.

use std::collections::HashMap;
use std::time::Duration;

use aegis_actors::alerts::{Format, Rule, Settings, Webhook};

use super::rate_limit::is_label;
use super::section::{Section, shown_for};
use super::syntax;
use super::{alert_rule, headers};
use crate::config::settings::{Backend, Metrics};
use crate::config::tree::Node;

/// How often may be looked. Rarer than once an hour is not watching.
const CHECK: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3_600));
/// Longest time between two alerts of a rule.
const COOLDOWN: (Duration, Duration) = (Duration::ZERO, Duration::from_secs(30 * 86_400));
/// Time limit of one try to tell a webhook.
const TIMEOUT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(60));

/// Reads the section, where it is written. Rules may name `backends`.
pub(super) fn read(root: &Section<'_>, backends: &[Backend], metrics: &Metrics) -> Option<Settings> {
    let section = root.child("alerts")?;
    let (defaults, errors) = (Settings::default(), root.context.errors());
    let webhooks = webhooks(&section);
    let rules = rules(&section, &webhooks, backends, metrics);
    // What is wrong was read as if it were not there, and may only seem to be unused.
    if root.context.errors() == errors {
        unused(&section, &webhooks, &rules);
    }
    let settings = Settings {
        enabled: section.flag("enabled").unwrap_or(defaults.enabled),
        check_interval: within(&section, "checkIntervalMs", CHECK).unwrap_or(defaults.check_interval),
        cooldown: within(&section, "cooldownMs", COOLDOWN).unwrap_or(defaults.cooldown),
        webhooks: webhooks.into_iter().map(|(webhook, _)| webhook).collect(),
        rules,
    };
    section.finish();
    Some(settings)
}

/// A duration between two bounds.
fn within(section: &Section<'_>, key: &'static str, (low, high): (Duration, Duration)) -> Option<Duration> {
    let duration = section.duration_or_zero(key)?;
    if (low..=high).contains(&duration) {
        return Some(duration);
    }
    if let Some(node) = section.node(key) {
        let what = format!(
            "`{}` must be between {} and {} milliseconds: write for example `10s`",
            section.name(key),
            low.as_millis(),
            high.as_millis()
        );
        section.error(node, what);
    }
    None
}

/// Every webhook, with where it is written.
fn webhooks<'a>(alerts: &Section<'a>) -> Vec<(Webhook, &'a Node)> {
    let mut webhooks: Vec<(Webhook, &Node)> = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (n, node) in alerts.list("webhooks").unwrap_or_default().iter().enumerate() {
        if node.broken() {
            continue;
        }
        let section = Section::open(alerts.context, node, alerts.name(format!("webhooks[{n}]")));
        section.require("name", "give the webhook a unique name; actions name it as `webhook:NAME`");
        section.require("url", "write where it is told, as `url: https://HOST/PATH`");
        let name = label(&section, "name").unwrap_or_default();
        unique(alerts, &section, "webhooks", "name", &name, n, &mut seen);
        let formats = [("json", Format::Json), ("slack", Format::Slack)];
        let webhook = Webhook {
            name,
            url: url(&section).unwrap_or_default(),
            format: section.choice("format", &formats).unwrap_or_default(),
            timeout: within(&section, "timeoutMs", TIMEOUT).unwrap_or(Duration::from_secs(5)),
            headers: sendable(&section),
            ca_file: section.file("caFile"),
        };
        if let (Some(node), Some(_)) = (section.node("caFile"), plain(&webhook.url)) {
            let what = format!("`{}` has no effect: its URL is not https://", section.name("caFile"));
            section.warning(node, what);
        }
        section.finish();
        webhooks.push((webhook, node));
    }
    webhooks
}

fn plain(url: &str) -> Option<&str> {
    url.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://"))
}

/// `headers` that may stand in a request whose length, host and type are said already.
fn sendable(section: &Section<'_>) -> Vec<(String, String)> {
    const OWN: [&str; 11] = [
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    let headers = headers::read(section, true);
    let table = section.name("headers");
    for (name, value) in &headers {
        let trouble = if OWN.contains(&name.as_str()) {
            "is set by the gateway itself: remove it"
        } else if !value.is_ascii() {
            "holds characters beyond ASCII: write it without them"
        } else {
            continue;
        };
        if let Some(node) = section.node("headers") {
            section.error(node, format!("`{table}.{name}` {trouble}"));
        }
    }
    headers
}

fn rules(
    alerts: &Section<'_>,
    webhooks: &[(Webhook, &Node)],
    backends: &[Backend],
    metrics: &Metrics,
) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    let names: Vec<&str> = webhooks.iter().map(|(webhook, _)| webhook.name.as_str()).collect();
    for (n, node) in alerts.list("rules").unwrap_or_default().iter().enumerate() {
        if node.broken() {
            continue;
        }
        let section = Section::open(alerts.context, node, alerts.name(format!("rules[{n}]")));
        section.require("id", "give the rule a unique id; it is what alerts are known by");
        let id = label(&section, "id").unwrap_or_default();
        unique(alerts, &section, "rules", "id", &id, n, &mut seen);
        rules.push(alert_rule::read(&section, id, &names, backends, metrics));
        section.finish();
    }
    rules
}

/// Warns of webhooks that no rule names.
fn unused(alerts: &Section<'_>, webhooks: &[(Webhook, &Node)], rules: &[Rule]) {
    for (webhook, node) in webhooks {
        let name = &webhook.name;
        if !rules.iter().any(|rule| rule.webhooks.contains(name)) {
            let what =
                format!("webhook {name:?} is never told: no rule has `webhook:{name}` among its `actions`");
            alerts.warning(node, what);
        }
    }
}

/// A name that can stand in a path, a log line and `webhook:NAME`.
fn label(section: &Section<'_>, key: &'static str) -> Option<String> {
    let (text, node) = section.text(key)?;
    if !is_label(text) {
        let what = format!(
            "`{}` must be 1 to 64 of the characters A-Z a-z 0-9 . _ -, found {}: rename it",
            section.name(key),
            shown_for(key, node)
        );
        section.error(node, what);
    }
    Some(text.to_owned())
}

/// Notes an error where a name is there already.
fn unique(
    alerts: &Section<'_>,
    section: &Section<'_>,
    list: &str,
    key: &'static str,
    name: &str,
    n: usize,
    seen: &mut HashMap<String, usize>,
) {
    if let (Some(first), Some(node)) = (seen.get(name), section.node(key)) {
        let what = format!(
            "`{}` is the {key} of `{}` already, {name:?}: {key}s must differ",
            section.name(key),
            alerts.name(format!("{list}[{first}]"))
        );
        section.error(node, what);
    } else if !name.is_empty() {
        seen.insert(name.to_owned(), n);
    }
}

fn url(section: &Section<'_>) -> Option<String> {
    let (text, node) = section.text("url")?;
    match parse(text) {
        Ok(()) => Some(text.to_owned()),
        Err(why) => {
            section.error(node, format!("`{}` cannot be used: {why}", section.name("url")));
            None
        }
    }
}

fn parse(text: &str) -> Result<(), &'static str> {
    const FORM: &str = "write it as https://HOST/PATH or http://HOST/PATH";
    let (scheme, rest) = text.split_once("://").ok_or(FORM)?;
    if !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") {
        return Err("the scheme must be http or https");
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("it holds spaces or characters beyond ASCII: percent-encode them");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    if authority.is_empty() || authority.starts_with(':') {
        return Err("the host is missing: write it as https://HOST/PATH");
    }
    if authority.contains('@') {
        return Err("a webhook has no user or password: remove everything up to the `@`");
    }
    if text.contains(['#', '\\']) {
        return Err("it holds `#` or `\\`, which are never sent: percent-encode them, or remove them");
    }
    let url = url::Url::parse(text).map_err(|error| match error {
        url::ParseError::InvalidPort => "the port must be a number from 1 to 65535",
        _ => FORM,
    })?;
    url.host_str().and_then(syntax::host).ok_or("this is no host name or address")?;
    url.port_or_known_default()
        .filter(|port| *port != 0)
        .map(drop)
        .ok_or("the port must be a number from 1 to 65535")
}
