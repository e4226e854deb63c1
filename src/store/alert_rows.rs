//! Rows of the tables of alerts, and how they become what the alerts actor works with.

use aegis_actors::alerts::{Alert, Lease, Push, Told};
use diesel::prelude::{Insertable, Queryable};

use super::schema::{alert_holders, alert_pushes, alerts};

/// An alert. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Insertable, Queryable)]
#[diesel(table_name = alerts)]
pub(super) struct AlertRow {
    pub id: String,
    pub rule_id: String,
    pub name: String,
    pub severity: String,
    pub value: f64,
    pub threshold: f64,
    pub message: String,
    pub instance: String,
    pub fired_at_ms: i64,
    /// `None` while it is firing.
    pub resolved_at_ms: Option<i64>,
    pub acknowledged_at_ms: Option<i64>,
    pub metric: String,
    pub operator: String,
    pub window_seconds: i32,
    pub backend: Option<String>,
    pub reason: Option<String>,
}

impl From<Alert> for AlertRow {
    fn from(alert: Alert) -> Self {
        Self {
            id: alert.id,
            rule_id: alert.rule,
            name: alert.name,
            severity: alert.severity,
            value: alert.value,
            threshold: alert.threshold,
            message: alert.message,
            instance: alert.instance,
            fired_at_ms: alert.fired_at_ms,
            resolved_at_ms: alert.resolved_at_ms,
            acknowledged_at_ms: alert.acknowledged_at_ms,
            metric: alert.metric,
            operator: alert.operator,
            window_seconds: i32::try_from(alert.window_seconds).unwrap_or(i32::MAX),
            backend: alert.backend,
            reason: alert.reason,
        }
    }
}

impl From<AlertRow> for Alert {
    fn from(row: AlertRow) -> Self {
        Self {
            id: row.id,
            rule: row.rule_id,
            name: row.name,
            severity: row.severity,
            metric: row.metric,
            operator: row.operator,
            threshold: row.threshold,
            window_seconds: u32::try_from(row.window_seconds).unwrap_or(0),
            backend: row.backend,
            value: row.value,
            message: row.message,
            instance: row.instance,
            fired_at_ms: row.fired_at_ms,
            acknowledged_at_ms: row.acknowledged_at_ms,
            resolved_at_ms: row.resolved_at_ms,
            reason: row.reason,
        }
    }
}

/// How far a webhook has been told of an alert, and who may tell it.
#[derive(Clone, Debug, PartialEq, Insertable, Queryable)]
#[diesel(table_name = alert_pushes)]
pub(super) struct PushRow {
    pub alert_id: String,
    pub webhook: String,
    /// One of [`told`].
    pub told: i16,
    pub attempts: i32,
    pub error: Option<String>,
    pub at_ms: Option<i64>,
    pub lease_by: String,
    pub lease_until_ms: i64,
}

/// Values of `told`.
pub(super) mod told {
    pub const NOTHING: i16 = 0;
    pub const FIRED: i16 = 1;
    pub const RESOLVED: i16 = 2;
}

/// As it is stored.
pub(super) fn stage(told: Option<Told>) -> i16 {
    match told {
        None => told::NOTHING,
        Some(Told::Fired) => told::FIRED,
        Some(Told::Resolved) => told::RESOLVED,
    }
}

impl PushRow {
    pub fn new(push: Push, lease: &Lease) -> Self {
        Self {
            alert_id: push.alert,
            webhook: push.webhook,
            told: stage(push.told),
            attempts: i32::try_from(push.attempts).unwrap_or(i32::MAX),
            error: push.error,
            at_ms: push.at_ms,
            lease_by: lease.by.clone(),
            lease_until_ms: lease.until_ms,
        }
    }

    pub fn push(self) -> Push {
        Push {
            alert: self.alert_id,
            webhook: self.webhook,
            told: match self.told {
                told::NOTHING => None,
                told::FIRED => Some(Told::Fired),
                _ => Some(Told::Resolved),
            },
            attempts: u32::try_from(self.attempts).unwrap_or(0),
            error: self.error,
            at_ms: self.at_ms,
        }
    }
}

/// An instance that sees the condition of an alert.
#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = alert_holders)]
pub(super) struct HolderRow {
    pub alert_id: String,
    pub instance: String,
    pub at_ms: i64,
}
