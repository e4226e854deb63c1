//! `/api/alerts…`: what fires, who has been told, how the rules stand; history; acknowledging.

use std::time::SystemTime;

use aegis_actors::alerts::{Acknowledge, Acknowledged, Alert, AlertActor, Push, RuleReport, Standing};
use serde::Serialize;
use serde_json::Value;

use super::{Admin, answer, query};
use crate::gateway::shared::InternalAnswer;
use crate::supervisor::{CommandError, Inspect};
use crate::webhook::document;

/// Alerts shown unless asked for another number.
const SHOWN: u32 = 50;
const MOST: u32 = 1000;

/// What fires.
pub async fn firing(admin: &Admin) -> InternalAnswer {
    let (alerts, rules, enabled, away) = {
        let state = admin.history.alerts.state();
        let rules: Vec<_> = state.report(admin.shared.metrics.now_ms()).iter().map(RuleRow::from).collect();
        (state.firing(), rules, state.settings().enabled, state.away().map(str::to_owned))
    };
    let data = with_pushes(admin, alerts, away.is_none()).await;
    let store = match (&admin.history.store, &away) {
        (None, _) => "none",
        (Some(_), None) => "ok",
        (Some(_), Some(_)) => "away",
    };
    answer::ok(&Firing { enabled, store, data, rules })
}

/// What fired, the newest first.
pub async fn history(admin: &Admin, query: &str) -> InternalAnswer {
    let (limit, before) = match read(query) {
        Ok(question) => question,
        Err(why) => return answer::bad_request(why),
    };
    let from_store = match &admin.history.store {
        Some(store) => store.alert_history(limit, before).await,
        None => Ok(Vec::new()),
    };
    let (alerts, note) = match from_store {
        Ok(alerts) if admin.history.store.is_some() => (alerts, None),
        told => {
            let mut alerts = admin.history.alerts.state().history();
            alerts.retain(|alert| before.is_none_or(|before| alert.fired_at_ms < before));
            alerts.truncate(limit as usize);
            let away = "the metrics store is away: these are the alerts that this process remembers";
            (alerts, told.err().map(|_| away))
        }
    };
    answer::ok(&History { data: with_pushes(admin, alerts, note.is_none()).await, note })
}

fn read(text: &str) -> Result<(u32, Option<i64>), String> {
    let (mut limit, mut before) = (SHOWN, None);
    for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
        match &*name {
            "limit" => limit = query::number("limit", &value, MOST)?,
            "before" => {
                let at = query::moment("before", &value)?;
                let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                before = Some(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
            }
            _ => return Err(query::unknown(&name, "limit, before")),
        }
    }
    Ok((limit, before))
}

/// Somebody knows of an alert.
pub async fn acknowledge(admin: &Admin, id: &str) -> InternalAnswer {
    let Ok(overview) = admin.supervisor.send(Inspect).await else { return answer::gone() };
    let busy = || answer::command_error(&CommandError::Busy("alerts"));
    let Some(actor) = overview.addresses.of::<AlertActor>() else { return busy() };
    match actor.send(Acknowledge { alert: id.to_owned() }).await {
        Ok(Acknowledged::Yes(alert)) => answer::ok(&One { data: document::alert(&alert) }),
        Ok(Acknowledged::NoSuch) => answer::not_found(format!("no alert has the id {id:?}")),
        Ok(Acknowledged::Away(why)) => {
            answer::unavailable(format!("the metrics store did not answer: {why}"))
        }
        Ok(Acknowledged::Replaced) | Err(_) => busy(),
    }
}

/// Alerts, each with how far the webhooks have been told: as the store knows, else as this instance does. A store that does
/// not answer is not waited for again.
async fn with_pushes(admin: &Admin, alerts: Vec<Alert>, answers: bool) -> Vec<AlertRow> {
    let ids: Vec<_> = alerts.iter().map(|alert| alert.id.clone()).collect();
    let mut pushes = match &admin.history.store {
        Some(store) if !ids.is_empty() && answers => store.pushes(ids).await.unwrap_or_default(),
        _ => Vec::new(),
    };
    {
        let state = admin.history.alerts.state();
        for own in alerts.iter().flat_map(|alert| state.pushes(&alert.id)) {
            // Where both know of a push the store's counts: what only memory knows would be sent again after a crash.
            if !pushes.iter().any(|push| push.is_same(&own)) {
                pushes.push(own);
            }
        }
    }
    let webhooks = |alert: &Alert| {
        let of = pushes.iter().filter(|push| push.alert == alert.id);
        of.map(|push| PushRow::of(push, alert)).collect()
    };
    alerts.iter().map(|alert| AlertRow { webhooks: webhooks(alert), alert: document::alert(alert) }).collect()
}

/// `/api/alerts`.
#[derive(Serialize)]
struct Firing {
    enabled: bool,
    store: &'static str,
    data: Vec<AlertRow>,
    rules: Vec<RuleRow>,
}

/// `/api/alerts/history`.
#[derive(Serialize)]
struct History {
    data: Vec<AlertRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

#[derive(Serialize)]
struct One {
    data: Value,
}

#[derive(Serialize)]
struct AlertRow {
    /// As webhooks are told of it.
    #[serde(flatten)]
    alert: Value,
    webhooks: Vec<PushRow>,
}

/// How far a webhook has been told.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PushRow {
    name: String,
    told: Option<&'static str>,
    next: Option<&'static str>,
    failed_tries: u32,
    error: Option<String>,
    last_try_at: Option<String>,
}

impl PushRow {
    fn of(push: &Push, alert: &Alert) -> Self {
        Self {
            name: push.webhook.clone(),
            told: push.told.map(|told| told.as_str()),
            next: push.next(alert).map(|next| next.as_str()),
            failed_tries: push.attempts,
            error: push.error.clone(),
            last_try_at: push.at_ms.map(document::time),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RuleRow {
    id: String,
    name: String,
    severity: &'static str,
    state: &'static str,
    metric: &'static str,
    operator: &'static str,
    threshold: f64,
    value: Option<f64>,
    window_seconds: Option<u64>,
    backend: Option<String>,
    last_fired_at: Option<String>,
}

impl From<&RuleReport> for RuleRow {
    fn from(RuleReport { rule, standing, value, last_fired_ms }: &RuleReport) -> Self {
        let condition = &rule.condition;
        let window = condition.window.as_secs();
        Self {
            id: rule.id.clone(),
            name: rule.name.clone(),
            severity: rule.severity.as_str(),
            state: match standing {
                Standing::Quiet => "quiet",
                Standing::Pending => "pending",
                Standing::Cooling => "cooling",
                Standing::Firing => "firing",
            },
            metric: condition.metric.as_str(),
            operator: condition.operator.as_str(),
            threshold: condition.threshold,
            value: *value,
            window_seconds: (window > 0).then_some(window),
            backend: condition.backend.clone(),
            last_fired_at: last_fired_ms.map(document::time),
        }
    }
}
