//! `/api/alerts…`: what fires, who has been told, how the rules stand; history; acknowledging.

use std::time::SystemTime;

use aegis_actors::alerts::{Acknowledge, Acknowledged, Alert, AlertActor, Push, RuleReport, Standing};
use serde_json::{Value, json};

use super::{Admin, answer, query};
use crate::gateway::shared::InternalAnswer;
use crate::supervisor::{Inspect, NotDone};
use crate::webhook::document;

/// Alerts shown unless asked for another number.
const SHOWN: u32 = 50;
const MOST: u32 = 1000;

/// What fires.
pub async fn firing(admin: &Admin) -> InternalAnswer {
    let (alerts, rules, enabled, away) = {
        let state = admin.kept.alerts.state();
        let rules: Vec<Value> = state.report(admin.shared.metrics.now_ms()).iter().map(rule).collect();
        (state.firing(), rules, state.settings().enabled, state.away().map(str::to_owned))
    };
    let data = with_pushes(admin, alerts, away.is_none()).await;
    let store = match (&admin.kept.store, &away) {
        (None, _) => "none",
        (Some(_), None) => "ok",
        (Some(_), Some(_)) => "away",
    };
    answer::ok(&json!({"enabled": enabled, "store": store, "data": data, "rules": rules}))
}

/// What fired, the newest first.
pub async fn history(admin: &Admin, query: &str) -> InternalAnswer {
    let (limit, before) = match read(query) {
        Ok(question) => question,
        Err(why) => return answer::bad_request(why),
    };
    let from_store = match &admin.kept.store {
        Some(store) => store.alert_history(limit, before).await,
        None => Ok(Vec::new()),
    };
    let (alerts, note) = match from_store {
        Ok(alerts) if admin.kept.store.is_some() => (alerts, None),
        told => {
            let mut alerts = admin.kept.alerts.state().history();
            alerts.retain(|alert| before.is_none_or(|before| alert.fired_at_ms < before));
            alerts.truncate(limit as usize);
            let away = "the metrics store is away: these are the alerts that this process remembers";
            (alerts, told.err().map(|_| away))
        }
    };
    let mut document = json!({"data": with_pushes(admin, alerts, note.is_none()).await});
    if let Some(note) = note {
        document["note"] = note.into();
    }
    answer::ok(&document)
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
    let busy = || answer::not_done(&NotDone::Busy("alerts"));
    let Some(actor) = overview.addresses.of::<AlertActor>() else { return busy() };
    match actor.send(Acknowledge { alert: id.to_owned() }).await {
        Ok(Acknowledged::Yes(alert)) => answer::ok(&json!({"data": document::alert(&alert)})),
        Ok(Acknowledged::NoSuch) => answer::not_found(format!("no alert has the id {id:?}")),
        Ok(Acknowledged::Away(why)) => {
            answer::unavailable(format!("the metrics store did not answer: {why}"))
        }
        Ok(Acknowledged::Replaced) | Err(_) => busy(),
    }
}

/// Alerts, each with how far the webhooks have been told: as the store knows, else as this instance does. A store that does
/// not answer is not waited for again.
async fn with_pushes(admin: &Admin, alerts: Vec<Alert>, answers: bool) -> Vec<Value> {
    let ids: Vec<_> = alerts.iter().map(|alert| alert.id.clone()).collect();
    let mut pushes = match &admin.kept.store {
        Some(store) if !ids.is_empty() && answers => store.pushes(ids).await.unwrap_or_default(),
        _ => Vec::new(),
    };
    {
        let state = admin.kept.alerts.state();
        for own in alerts.iter().flat_map(|alert| state.pushes(&alert.id)) {
            // What the store has noted is certain: told is only what a crash would not have told again.
            if !pushes.iter().any(|push| push.is_same(&own)) {
                pushes.push(own);
            }
        }
    }
    let with = |alert: &Alert| {
        let mut document = document::alert(alert);
        let of = pushes.iter().filter(|push| push.alert == alert.id);
        document["webhooks"] = of.map(|own| push(own, alert)).collect();
        document
    };
    alerts.iter().map(with).collect()
}

fn push(push: &Push, alert: &Alert) -> Value {
    json!({
        "name": push.webhook,
        "told": push.told.map(|told| told.as_str()),
        "next": push.next(alert).map(|next| next.as_str()),
        "failedTries": push.attempts,
        "error": push.error,
        "lastTryAt": push.at_ms.map(document::time),
    })
}

fn rule(report: &RuleReport) -> Value {
    let RuleReport { rule, standing, value, last_fired_ms } = report;
    let condition = &rule.condition;
    let window = condition.window.as_secs();
    json!({
        "id": rule.id,
        "name": rule.name,
        "severity": rule.severity.as_str(),
        "state": match standing {
            Standing::Quiet => "quiet",
            Standing::Pending => "pending",
            Standing::Cooling => "cooling",
            Standing::Firing => "firing",
        },
        "metric": condition.metric.as_str(),
        "operator": condition.operator.as_str(),
        "threshold": condition.threshold,
        "value": value,
        "windowSeconds": (window > 0).then_some(window),
        "backend": condition.backend,
        "lastFiredAt": last_fired_ms.map(document::time),
    })
}
