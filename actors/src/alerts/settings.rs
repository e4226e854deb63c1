//! `alerts` of the configuration.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use aegis_schema::form::{Words, header_value, parsed, text};
use aegis_schema::section::quoted;
use aegis_schema::{Form, Secret, Section, choice, secrets, section, suggest};

use super::measure::LONGEST_WINDOW;
use super::webhook_url;

/// How often may be looked. Rarer than once an hour is not watching.
const CHECK: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3_600);
/// Time between two alerts of a rule.
const COOLDOWN: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(30 * 86_400);
/// Time limit of one try to tell a webhook.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);
/// What is judged where a rule does not say.
const WINDOW: Duration = Duration::from_secs(60);
/// The longest name.
const NAME: usize = 128;
/// Fields of a request that say its length, host and type.
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

section! {
    /// Without the section nothing is judged.
    pub struct Settings, check check {
        /// `false` resolves what fires
        enabled: bool = true, "enabled" flag();
        /// time between two looks at every rule
        check_interval: Duration = Duration::from_secs(10),
            "checkIntervalMs" duration_in(CHECK, "duration, 100 ms to 1 h", "10s");
        /// shortest time between two alerts of one rule, from firing to firing
        cooldown: Duration = Duration::from_secs(300),
            "cooldownMs" duration_in(COOLDOWN, "duration, up to 30 days", "10s");
        /// who is told of alerts; the actions of rules name them
        webhooks: Vec<Webhook>, "webhooks" list(section());
        /// what is judged, and what is done
        rules: Vec<Rule>, "rules" list(section());
    }
}

section! {
    /// A receiver of alerts.
    pub struct Webhook, check check_webhook {
        /// unique; what `actions` name it by
        name: String,
            "name" label("rename it").required("give the webhook a unique name; actions name it as `webhook:NAME`");
        /// a secret: no part of it is logged or shown but the host in `/_aegis/config`
        url: Secret, "url" url().required("write where it is told, as `url: https://HOST/PATH`");
        /// what a push looks like: an object of the fields below, or a message for Slack
        format: Format, "format" one_of();
        /// one try, connecting included
        timeout: Duration = Duration::from_secs(5),
            "timeoutMs" duration_in(TIMEOUT, "duration, 10 ms to 1 min", "10s");
        /// what its requests carry beside their own fields, such as `Authorization: "Bearer ${HOOK_TOKEN}"`. The values are
        /// secrets like the URL. `Content-Type`, `Host` and framing cannot be set
        headers: Vec<(String, Secret)>, "headers" fields("names and texts", field()).sparse();
        /// PEM bundle to verify it with, as of a backend; read for each push
        ca_file: Option<PathBuf>, "caFile" file().option().unset("the usual roots");
    }
}

section! {
    /// One entry of `rules`.
    pub struct Rule, check judge_rule {
        /// unique; what its alerts are known by, over all instances and restarts
        id: String, "id" label("rename it").required("give the rule a unique id; it is what alerts are known by");
        /// for people
        name: String, "name" name().unset("the id");
        /// how bad it is
        severity: Severity, "severity" one_of();
        /// when it fires
        condition: Condition, "condition" section().required(
            "write for example `condition: {metric: error_rate, operator: '>', threshold: 0.05}`");
        /// what is done when it fires, and when it resolves
        actions: Vec<Action> = vec![Action::Log], "actions" list(action()).unique();
    }
}

section! {
    /// When a rule fires.
    pub struct Condition, check judge_condition {
        /// what is measured
        metric: Metric,
            "metric" one_of().words("metric").required("write what is judged, for example `metric: error_rate`");
        /// `gt`, `gte`, `lt` and `lte` are understood too
        operator: Operator, "operator" one_of().required("write `>`, `>=`, `<` or `<=`, in quotes");
        /// in the metric's unit
        threshold: f64 = 1.0, "threshold" number(-1e9..=1e9).words("number").required(
            "write the number that the metric is compared with");
        /// how long what is measured reaches back
        window: Duration = WINDOW, "windowSeconds" seconds(1..=LONGEST_WINDOW).sparse();
        /// requests and targets of this backend only
        backend: Option<String>, "backend" text().option().words("name of a backend").unset("all");
    }
}

/// What is done when a rule fires, and when it resolves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A line in the log.
    Log,
    /// The webhook of this name is told.
    Webhook(String),
}

choice! {
    /// What a webhook is sent.
    pub enum Format {
        /// The alert as a document of our own.
        #[default]
        Json = "json",
        /// What an incoming webhook of Slack takes.
        Slack = "slack",
    }
}

choice! {
    /// How bad it is.
    pub enum Severity {
        Info = "info",
        #[default]
        Warning = "warning",
        Critical = "critical",
    }
}

choice! {
    /// What is judged.
    pub enum Metric {
        /// Share of requests that failed, 0–1.
        #[default]
        ErrorRate = "error_rate",
        /// Milliseconds that the share of the requests did not exceed.
        LatencyP50 = "latency_p50",
        LatencyP95 = "latency_p95",
        LatencyP99 = "latency_p99",
        /// Finished requests per second.
        RequestRate = "request_rate",
        /// Requests per second that a rate limit refused.
        RateLimitedRate = "rate_limited_rate",
        /// Targets that their health checks call unhealthy, now.
        UnhealthyTargets = "unhealthy_targets",
        /// Targets whose breaker is open, now.
        OpenBreakers = "open_breakers",
    }
}

choice! {
    /// How a value is compared with the threshold.
    pub enum Operator {
        #[default]
        Above = ">" | "gt",
        AtLeast = ">=" | "gte",
        Below = "<" | "lt",
        AtMost = "<=" | "lte",
    }
}

impl Rule {
    /// Whether a line is written to the log.
    pub fn logs(&self) -> bool {
        self.actions.contains(&Action::Log)
    }

    /// Names of the webhooks to tell.
    pub fn webhooks(&self) -> impl Iterator<Item = &str> {
        self.actions.iter().filter_map(|action| match action {
            Action::Log => None,
            Action::Webhook(name) => Some(name.as_str()),
        })
    }
}

impl Metric {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::WORDS.iter().map(|(_, metric)| *metric)
    }

    /// The most that it can be at all.
    fn most(self) -> f64 {
        match self {
            Self::ErrorRate => 1.0,
            // A day.
            Self::LatencyP50 | Self::LatencyP95 | Self::LatencyP99 => 86_400_000.0,
            Self::RequestRate | Self::RateLimitedRate => 1e9,
            Self::UnhealthyTargets | Self::OpenBreakers => 1e6,
        }
    }

    /// Whether it is how things are now, and not what happened in a stretch of time.
    pub fn is_gauge(self) -> bool {
        matches!(self, Self::UnhealthyTargets | Self::OpenBreakers)
    }

    /// A value of it for people.
    pub fn shown(self, value: f64) -> String {
        match self {
            Self::ErrorRate => format!("{} %", rounded(value * 100.0)),
            Self::LatencyP50 | Self::LatencyP95 | Self::LatencyP99 => format!("{} ms", rounded(value)),
            Self::RequestRate | Self::RateLimitedRate => format!("{}/s", rounded(value)),
            Self::UnhealthyTargets | Self::OpenBreakers => rounded(value),
        }
    }

    /// Its name for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::ErrorRate => "error rate",
            Self::LatencyP50 => "p50 latency",
            Self::LatencyP95 => "p95 latency",
            Self::LatencyP99 => "p99 latency",
            Self::RequestRate => "request rate",
            Self::RateLimitedRate => "rate of limited requests",
            Self::UnhealthyTargets => "unhealthy targets",
            Self::OpenBreakers => "open breakers",
        }
    }
}

/// Two decimals at most, without zeros at the end.
fn rounded(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Operator {
    /// Whether the value is on the bad side.
    pub fn holds(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::Above => value > threshold,
            Self::AtLeast => value >= threshold,
            Self::Below => value < threshold,
            Self::AtMost => value <= threshold,
        }
    }
}

fn check(settings: &mut Settings, section: &Section<'_>) {
    let errors = section.context.errors();
    let names: Vec<&str> = settings.webhooks.iter().map(|webhook| webhook.name.as_str()).collect();
    section.distinct("webhooks", "name", names.iter().copied());
    section.distinct("rules", "id", settings.rules.iter().map(|rule| &*rule.id));
    for (rule, section) in settings.rules.iter().zip(section.sections("rules")) {
        for (action, at) in rule.actions.iter().zip(section.items("actions")) {
            let name = match action {
                Action::Webhook(name) if !names.contains(&name.as_str()) => name,
                _ => continue,
            };
            let otherwise = "add it to `alerts.webhooks`, or remove it here";
            let hint = suggest::hint(name, names.iter().copied(), otherwise);
            at.error(format_args!("names no webhook, found {}: {hint}", at.found()));
        }
    }
    // What is wrong was read as if it were not there, and may only seem to be unused.
    if section.clean("webhooks") && section.clean("rules") && section.context.errors() == errors {
        for (name, at) in names.iter().zip(section.items("webhooks")) {
            if !settings.rules.iter().any(|rule| rule.webhooks().any(|told| told == *name)) {
                let what = "is never told: no rule has";
                section.warning(
                    at.node,
                    format!("webhook {name:?} {what} `webhook:{name}` among its `actions`"),
                );
            }
        }
    }
}

fn check_webhook(webhook: &mut Webhook, section: &Section<'_>) {
    if webhook.url.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://")) {
        section.warning_of("caFile", "has no effect: its URL is not https://");
    }
    for (name, value) in &webhook.headers {
        let trouble = match OWN.contains(&name.as_str()) {
            true => "is set by the gateway itself: remove it",
            false if !value.is_ascii() => "holds characters beyond ASCII: write it without them",
            false => continue,
        };
        if let Some(node) = section.node("headers") {
            section.error(node, format!("`{}.{name}` {trouble}", section.name("headers")));
        }
    }
}

fn judge_rule(rule: &mut Rule, section: &Section<'_>) {
    if !section.has("name") {
        rule.name.clone_from(&rule.id);
    }
}

fn judge_condition(condition: &mut Condition, section: &Section<'_>) {
    let Condition { metric, operator, threshold, .. } = *condition;
    if metric.is_gauge() && !section.has("windowSeconds") {
        condition.window = Duration::ZERO;
    }
    // Else it is not known what the threshold is of.
    let known = section.says("metric", metric.as_str());
    let most = metric.most();
    if known && !(0.0..=most).contains(&threshold) {
        let what = format!("must be a number between 0 and {most}, found the number {threshold}");
        section.error_of("threshold", what);
    }
    if !section.unharmed() {
        return;
    }
    let at_most = metric == Metric::ErrorRate && threshold >= 1.0;
    let how = match operator {
        Operator::Below if threshold <= 0.0 => "is never met: it is never below 0",
        Operator::AtLeast if threshold <= 0.0 => "is always met: it is always at least 0",
        Operator::Above if at_most => "is never met: it is never above 1",
        Operator::AtMost if at_most => "is always met: it is always at most 1",
        _ => return,
    };
    if let Some(node) = section.node("threshold") {
        section.warning(node, format!("`{}` {how}; change the threshold or the operator", section.path));
    }
}

fn name() -> Form<String> {
    text().words("1–128 characters").check(|text, at| {
        if text.trim().is_empty() || text.chars().count() > NAME || text.contains(char::is_control) {
            at.error(format_args!("must be 1 to {NAME} characters on one line, found {}", at.found()));
        }
    })
}

fn action() -> Form<Action> {
    let read = |text: &str| match text.strip_prefix("webhook:").map(str::trim) {
        Some(name) => Ok(Action::Webhook(name.to_owned())),
        None if text == "log" => Ok(Action::Log),
        None => Err(format!("must be `log` or `webhook:NAME`, found {}", quoted(text))),
    };
    let show = |action: &Action| match action {
        Action::Log => "log".to_owned(),
        Action::Webhook(name) => format!("webhook:{name}"),
    };
    parsed("`log`, `webhook:NAME`", read, show).pattern("^(log|webhook:.*)$")
}

fn url() -> Form<Secret> {
    let judged = |text: &str| {
        webhook_url::judge(text).map(|()| text.into()).map_err(|why| format!("cannot be used: {why}"))
    };
    parsed("`http(s)://HOST[:PORT]/PATH`", judged, |url: &Secret| url.to_string())
        .redacted(|url| secrets::host_alone(url).into())
}

/// The value of a field that a webhook's requests carry.
fn field() -> Form<Secret> {
    header_value().map(Secret::from, |value| value.to_string()).redacted(|value| value.redacted().into())
}
