//! An alert as it is kept, told and shown.

use super::settings::Rule;

/// One alert. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// Unique over all instances; made by who fires it.
    pub id: String,
    /// Id of the rule.
    pub rule: String,
    pub name: String,
    /// As in the configuration: `info`, `warning`, `critical`.
    pub severity: String,
    /// As in the configuration, such as `error_rate`.
    pub metric: String,
    /// `>`, `>=`, `<`, `<=`.
    pub operator: String,
    pub threshold: f64,
    pub window_seconds: u32,
    pub backend: Option<String>,
    /// What was measured when it fired.
    pub value: f64,
    /// One phrase for people.
    pub message: String,
    /// Who fired it.
    pub instance: String,
    pub fired_at_ms: i64,
    /// Since when somebody knows of it; it fires all the same.
    pub acknowledged_at_ms: Option<i64>,
    /// `None` while it fires.
    pub resolved_at_ms: Option<i64>,
    /// Why it resolved, where the condition's end is not why.
    pub reason: Option<String>,
}

impl Alert {
    /// The alert of a rule that fires now; `place` is the end of its text, where that happens.
    pub(super) fn of(rule: &Rule, id: String, value: f64, place: &str, instance: &str, now: i64) -> Self {
        let condition = &rule.condition;
        let (metric, window) = (condition.metric, condition.window.as_secs());
        let (title, shown) = (metric.title(), metric.shown(value));
        let mut message = match (window, metric.is_gauge()) {
            (0, _) => format!("{title}: {shown}"),
            (_, true) => format!("{title}: {shown} for {window} s"),
            (_, false) => format!("{title} is {shown} over {window} s"),
        };
        message += &format!(" ({} {})", condition.operator.as_str(), metric.shown(condition.threshold));
        message += place;
        Self {
            id,
            rule: rule.id.clone(),
            name: rule.name.clone(),
            severity: rule.severity.as_str().to_owned(),
            metric: metric.as_str().to_owned(),
            operator: condition.operator.as_str().to_owned(),
            threshold: condition.threshold,
            window_seconds: u32::try_from(window).unwrap_or(u32::MAX),
            backend: condition.backend.clone(),
            value,
            message,
            instance: instance.to_owned(),
            fired_at_ms: now,
            acknowledged_at_ms: None,
            resolved_at_ms: None,
            reason: None,
        }
    }
}

/// What is told of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Fired,
    Resolved,
}

impl Told {
    /// `fired` or `resolved`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fired => "fired",
            Self::Resolved => "resolved",
        }
    }
}

/// How far a webhook has been told of an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    pub alert: String,
    pub webhook: String,
    /// The last that it has been told, or that was given up.
    pub told: Option<Told>,
    /// Tries of what comes next that have failed.
    pub attempts: u32,
    /// What was wrong with the last try; an operator's phrase, without any part of the URL.
    pub error: Option<String>,
    /// When the last try ended.
    pub at_ms: Option<i64>,
}

impl Push {
    /// A push that has not begun.
    pub fn new(alert: &str, webhook: &str) -> Self {
        let (alert, webhook) = (alert.to_owned(), webhook.to_owned());
        Self { alert, webhook, told: None, attempts: 0, error: None, at_ms: None }
    }

    /// Whether both are the same webhook's of the same alert.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.alert, &self.webhook) == (&other.alert, &other.webhook)
    }

    /// What the webhook is to be told next.
    pub fn next(&self, alert: &Alert) -> Option<Told> {
        match self.told {
            None => Some(Told::Fired),
            Some(Told::Fired) if alert.resolved_at_ms.is_some() => Some(Told::Resolved),
            _ => None,
        }
    }
}
