//! Answers of the administration interface.

use actix_http::StatusCode;
use bytes::Bytes;
use serde::Serialize;

use crate::gateway::request_context;
use crate::gateway::shared::InternalAnswer;
use crate::supervisor::CommandError;

/// 200 with a document.
pub fn ok(value: &impl Serialize) -> InternalAnswer {
    document(StatusCode::OK, "application/json", value)
}

/// Any status with a document.
pub fn document(status: StatusCode, content_type: &'static str, value: &impl Serialize) -> InternalAnswer {
    // Documents are structs and maps with string keys, which always serialise.
    let mut body = serde_json::to_vec_pretty(value).unwrap_or_default();
    body.push(b'\n');
    InternalAnswer { status, content_type, headers: Vec::new(), body: Bytes::from(body) }
}

/// A problem document (RFC 9457), with `more` members.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Problem<'a, M> {
    request_id: &'a str,
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    reason: &'a str,
    #[serde(flatten)]
    more: M,
}

/// A problem document with further members; `()` = none.
pub fn problem(
    status: StatusCode,
    reason: &str,
    detail: impl Into<String>,
    more: impl Serialize,
) -> InternalAnswer {
    let id = request_context::request_id();
    let problem = Problem {
        request_id: &id,
        r#type: "about:blank",
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        detail: detail.into(),
        reason,
        more,
    };
    let mut answer = document(status, "application/problem+json", &problem);
    answer.headers.push(("aegis-reason", reason.to_owned()));
    answer.headers.push(("x-request-id", id));
    answer
}

/// 404: no such endpoint, backend or target.
pub fn not_found(detail: impl Into<String>) -> InternalAnswer {
    problem(StatusCode::NOT_FOUND, "not_found", detail, ())
}

/// 400: the request makes no sense.
pub fn bad_request(detail: impl Into<String>) -> InternalAnswer {
    problem(StatusCode::BAD_REQUEST, "bad_request", detail, ())
}

/// 405 with `Allow`.
pub fn method_not_allowed(allow: String) -> InternalAnswer {
    let detail = format!("this endpoint takes {allow}");
    let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail, ());
    answer.headers.push(("allow", allow));
    answer
}

/// 503: the supervisor is gone, and soon the process.
pub fn gone() -> InternalAnswer {
    problem(StatusCode::SERVICE_UNAVAILABLE, "draining", "the gateway is shutting down", ())
}

/// 503: something that the answer needs is away.
pub fn unavailable(detail: impl Into<String>) -> InternalAnswer {
    let mut answer = problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail, ());
    answer.headers.push(("retry-after", "1".to_owned()));
    answer
}

/// What runs, for a command that expected something else.
#[derive(Serialize)]
struct Now<'a> {
    generation: u64,
    targets: Vec<TargetNow<'a>>,
}

#[derive(Serialize)]
struct TargetNow<'a> {
    target: usize,
    url: &'a str,
    drained: bool,
}

/// A command that was not carried out: 404 for what does not exist, 409 for another target than expected, 503 while an actor
/// is being replaced.
pub fn command_error(why: &CommandError) -> InternalAnswer {
    match why {
        CommandError::NoSuch(_) => not_found(why.to_string()),
        CommandError::Other(actual) => {
            let targets = actual.targets.iter().enumerate();
            let targets =
                targets.map(|(target, (url, drained))| TargetNow { target, url, drained: *drained });
            let now = Now { generation: actual.generation, targets: targets.collect() };
            problem(StatusCode::CONFLICT, "conflict", why.to_string(), now)
        }
        CommandError::Busy(_) => unavailable(why.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_exist_is_404_and_what_is_being_replaced_503() {
        assert_eq!(command_error(&CommandError::backend("x")).status, StatusCode::NOT_FOUND);
        assert_eq!(command_error(&CommandError::target("x", 7, 1)).status, StatusCode::NOT_FOUND);
        let busy = command_error(&CommandError::Busy("circuit_breaker"));
        assert_eq!(busy.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(busy.headers.contains(&("retry-after", "1".to_owned())));
        assert_eq!(gone().status, StatusCode::SERVICE_UNAVAILABLE);
    }
}
