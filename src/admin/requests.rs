//! `GET /api/requests` and `/api/requests/{id}`: requests that were kept in whole.

use std::time::{Duration, UNIX_EPOCH};

use aegis_actors::metrics_aggregator::Sample;
use serde_json::{Value, json};

use super::history::source::{self, Source};
use super::{Admin, answer, query};
use crate::gateway::shared::InternalAnswer;
use crate::store::StoredSample;

/// Requests shown unless asked for another number.
const SHOWN: u32 = 50;
const MOST: u32 = 1000;

/// The newest.
pub async fn newest(admin: &Admin, text: &str) -> InternalAnswer {
    let mut limit = SHOWN;
    for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
        let read = match &*name {
            "limit" => query::number("limit", &value, MOST),
            _ => Err(query::unknown(&name, "limit")),
        };
        match read {
            Ok(number) => limit = number,
            Err(why) => return answer::bad_request(why),
        }
    }
    let source = source::open(admin).await;
    let data: Vec<Value> = match &source {
        Source::Store(store) => match store.samples(limit, None).await {
            Ok(samples) => samples.iter().map(stored).collect(),
            Err(error) => return answer::unavailable(format!("the metrics store did not answer: {error}")),
        },
        Source::Memory => {
            let state = admin.shared.metrics.state();
            state.samples.newest().take(limit as usize).map(remembered).collect()
        }
    };
    let mut document = json!({"data": data});
    if let Some(note) = source.away(admin) {
        document["note"] = note.into();
    }
    answer::ok(&document)
}

/// One.
pub async fn one(admin: &Admin, id: &str) -> InternalAnswer {
    source::reported(admin).await;
    // Memory first: what leaves it meanwhile is in the store by then.
    let in_memory = {
        let state = admin.shared.metrics.state();
        state.samples.newest().find(|sample| sample.request_id == id).map(remembered)
    };
    let found = match (in_memory, &admin.kept.store) {
        (None, Some(store)) => match store.sample(id.to_owned()).await {
            Ok(sample) => sample.as_ref().map(stored),
            Err(error) => return answer::unavailable(format!("the metrics store did not answer: {error}")),
        },
        (in_memory, _) => in_memory,
    };
    match found {
        Some(data) => answer::ok(&json!({"data": data})),
        None => answer::not_found(format!(
            "no record of request {id:?}: kept are answers that the gateway made itself, slow requests, and one in a hundred \
             of the rest, for metrics.retentionDays"
        )),
    }
}

fn stored(sample: &StoredSample) -> Value {
    row(
        (sample.at_ms, &sample.request_id, &sample.instance),
        (&sample.method, &sample.path, &sample.client),
        (&sample.route, &sample.backend),
        (
            u16::try_from(sample.status).unwrap_or(0),
            sample.reason.as_deref(),
            u64::try_from(sample.duration_us).unwrap_or(0),
        ),
        &sample.details,
    )
}

fn remembered(sample: &Sample) -> Value {
    row(
        (sample.at_ms, &sample.request_id, &sample.instance),
        (&sample.method, &sample.path, &sample.client),
        (&sample.route, &sample.backend),
        (sample.status, sample.reason, sample.duration_us),
        &sample.details,
    )
}

fn row(
    (at_ms, request_id, instance): (i64, &str, &str),
    (method, path, client): (&str, &str, &str),
    (route, backend): (&str, &str),
    (status, reason, duration_us): (u16, Option<&str>, u64),
    details: &str,
) -> Value {
    let at = UNIX_EPOCH + Duration::from_millis(u64::try_from(at_ms).unwrap_or(0));
    json!({
        "timestamp": humantime::format_rfc3339_millis(at).to_string(),
        "requestId": request_id,
        "instance": instance,
        "method": method,
        "path": path,
        "route": route,
        "backend": backend,
        "status": status,
        "reason": reason,
        "durationMs": duration_us as f64 / 1e3,
        "client": client,
        "details": serde_json::from_str::<Value>(details).unwrap_or(Value::Null),
    })
}
