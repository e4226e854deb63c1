//! Answers of the administration interface.

use actix_http::StatusCode;
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use crate::gateway::request_context;
use crate::gateway::shared::InternalAnswer;
use crate::supervisor::NotDone;

/// 200 with a document.
pub fn ok(value: &impl Serialize) -> InternalAnswer {
    document(StatusCode::OK, "application/json", value)
}

/// Any status with a document.
pub fn document(status: StatusCode, content_type: &'static str, value: &impl Serialize) -> InternalAnswer {
    // Documents are made of maps with string keys, which always serialise.
    let mut body = serde_json::to_vec_pretty(value).unwrap_or_default();
    body.push(b'\n');
    InternalAnswer { status, content_type, headers: Vec::new(), body: Bytes::from(body) }
}

/// A problem document (RFC 9457) with further members.
pub fn problem(status: StatusCode, reason: &str, detail: impl Into<String>, more: Value) -> InternalAnswer {
    let id = request_context::request_id();
    let mut value = json!({
        "requestId": id,
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "detail": detail.into(),
        "reason": reason,
    });
    if let (Some(members), Value::Object(more)) = (value.as_object_mut(), more) {
        members.extend(more);
    }
    let mut answer = document(status, "application/problem+json", &value);
    answer.headers.push(("aegis-reason", reason.to_owned()));
    answer.headers.push(("x-request-id", id));
    answer
}

/// 404: no such endpoint, backend or target.
pub fn not_found(detail: impl Into<String>) -> InternalAnswer {
    problem(StatusCode::NOT_FOUND, "not_found", detail, Value::Null)
}

/// 400: the request makes no sense.
pub fn bad_request(detail: impl Into<String>) -> InternalAnswer {
    problem(StatusCode::BAD_REQUEST, "bad_request", detail, Value::Null)
}

/// 405 with `Allow`.
pub fn method_not_allowed(allow: &'static str) -> InternalAnswer {
    let detail = format!("this endpoint takes {allow}");
    let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail, Value::Null);
    answer.headers.push(("allow", allow.to_owned()));
    answer
}

/// 503: the supervisor is gone, and soon the process.
pub fn gone() -> InternalAnswer {
    problem(StatusCode::SERVICE_UNAVAILABLE, "draining", "the gateway is shutting down", Value::Null)
}

/// 503: something that the answer needs is away.
pub fn unavailable(detail: impl Into<String>) -> InternalAnswer {
    let mut answer = problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail, Value::Null);
    answer.headers.push(("retry-after", "1".to_owned()));
    answer
}

/// An order that was not carried out: 404 for what does not exist, 409 for what is another, 503 while an actor is being replaced.
pub fn not_done(why: &NotDone) -> InternalAnswer {
    match why {
        NotDone::NoSuch(_) => not_found(why.to_string()),
        NotDone::Other(actual) => {
            let target = |(n, (url, drained)): (usize, &(String, bool))| json!({"target": n, "url": url, "drained": drained});
            let targets: Vec<Value> = actual.targets.iter().enumerate().map(target).collect();
            let more = json!({"generation": actual.generation, "targets": targets});
            problem(StatusCode::CONFLICT, "conflict", why.to_string(), more)
        }
        NotDone::Busy(_) => unavailable(why.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_exist_is_404_and_what_is_being_replaced_503() {
        assert_eq!(not_done(&NotDone::backend("x")).status, StatusCode::NOT_FOUND);
        assert_eq!(not_done(&NotDone::target("x", 7, 1)).status, StatusCode::NOT_FOUND);
        let busy = not_done(&NotDone::Busy("circuit_breaker"));
        assert_eq!(busy.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(busy.headers.contains(&("retry-after", "1".to_owned())));
        assert_eq!(gone().status, StatusCode::SERVICE_UNAVAILABLE);
    }
}
