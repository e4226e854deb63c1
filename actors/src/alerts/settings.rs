//! `alerts` of the configuration.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// `alerts`. Without the section nothing is judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Default true where the section is present.
    pub enabled: bool,
    /// Time between two looks at every rule. Default 10 s.
    pub check_interval: Duration,
    /// Shortest time between two alerts of one rule, from firing to firing. Default 5 min.
    pub cooldown: Duration,
    /// Whom to tell.
    pub webhooks: Vec<Webhook>,
    /// In the order of the file; ids are unique.
    pub rules: Vec<Rule>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            check_interval: Duration::from_secs(10),
            cooldown: Duration::from_secs(300),
            webhooks: Vec::new(),
            rules: Vec::new(),
        }
    }
}

/// A receiver of alerts.
#[derive(Clone, PartialEq)]
pub struct Webhook {
    /// Unique; what `actions` name it by.
    pub name: String,
    /// `http://` or `https://`. A secret: whoever knows a Slack URL can post there.
    pub url: String,
    pub format: Format,
    /// For one try, connecting included. Default 5 s.
    pub timeout: Duration,
    /// Fields that its requests carry, names in lower case. Secrets: most of them let one in.
    pub headers: Vec<(String, String)>,
    /// Whose certificates are believed, in PEM. Default: those that are believed of everybody.
    pub ca_file: Option<PathBuf>,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, url: _, format, timeout, headers: _, ca_file } = self;
        write!(f, "Webhook {{ {name}, {format:?}, {timeout:?}, {ca_file:?} }}")
    }
}

/// What a webhook is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The alert as a document of our own.
    #[default]
    Json,
    /// What an incoming webhook of Slack takes.
    Slack,
}

/// One entry of `rules`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub id: String,
    /// For people. Default: the id.
    pub name: String,
    pub severity: Severity,
    pub condition: Condition,
    /// Write a line to the log when it fires and when it resolves.
    pub log: bool,
    /// Names of webhooks to tell.
    pub webhooks: Vec<String>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Severity {
    Info,
    #[default]
    Warning,
    Critical,
}

impl Severity {
    /// As it is written in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// When a rule fires.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    pub metric: Metric,
    pub operator: Operator,
    pub threshold: f64,
    /// What happened in so many whole seconds is judged. Of a gauge: it must hold for so long, zero = at once.
    pub window: Duration,
    /// Of one backend only.
    pub backend: Option<String>,
}

/// What is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Share of requests that failed, 0–1.
    ErrorRate,
    /// Milliseconds that the share of the requests did not exceed.
    LatencyP50,
    LatencyP95,
    LatencyP99,
    /// Finished requests per second.
    RequestRate,
    /// Requests per second that a rate limit refused.
    RateLimitedRate,
    /// Targets that their health checks call unhealthy, now.
    UnhealthyTargets,
    /// Targets whose breaker is open, now.
    OpenBreakers,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::ErrorRate,
        Self::LatencyP50,
        Self::LatencyP95,
        Self::LatencyP99,
        Self::RequestRate,
        Self::RateLimitedRate,
        Self::UnhealthyTargets,
        Self::OpenBreakers,
    ];

    /// As it is written in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ErrorRate => "error_rate",
            Self::LatencyP50 => "latency_p50",
            Self::LatencyP95 => "latency_p95",
            Self::LatencyP99 => "latency_p99",
            Self::RequestRate => "request_rate",
            Self::RateLimitedRate => "rate_limited_rate",
            Self::UnhealthyTargets => "unhealthy_targets",
            Self::OpenBreakers => "open_breakers",
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

/// How a value is compared with the threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Above,
    AtLeast,
    Below,
    AtMost,
}

impl Operator {
    /// As it is written in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Above => ">",
            Self::AtLeast => ">=",
            Self::Below => "<",
            Self::AtMost => "<=",
        }
    }

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
