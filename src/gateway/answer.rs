//! Answers that the gateway makes itself: every cause, and the one place that turns a cause into an answer.
//!
//! `application/problem+json` (RFC 9457). Nothing of an upstream's address, of a stack or of a secret appears.

use actix_http::StatusCode;
use actix_http::header::{self, HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;

use super::rate_limit::Violation;

/// Why the gateway answers by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    NoRoute,
    MethodNotAllowed,
    /// The path has more than one reading; the text says which rule it broke.
    BadPath(&'static str),
    /// The request is malformed; the text says how.
    BadRequest(&'static str),
    Denied,
    /// A rate limit is used up.
    RateLimited,
    /// A rate limit cannot be asked, and its rule refuses then.
    LimiterUnavailable,
    BodyTooLarge,
    /// Request head too large or too many fields.
    HeadTooLarge,
    HeaderTimeout,
    BodyTimeout,
    CircuitOpen,
    NoHealthyTarget,
    PoolFull,
    /// An HTTP/2 connection has too many requests open.
    Overloaded,
    Draining,
    ConnectFailed,
    UpstreamReset,
    UpstreamBadResponse,
    UpstreamTimeout,
    /// The reserved prefix without the token.
    AdminTokenMissing,
    /// The reserved prefix with a wrong token.
    AdminTokenInvalid,
    /// A bug: the handler panicked.
    Internal,
    /// Nobody is there to read the answer; only logged.
    ClientGone,
}

impl Cause {
    /// Status, stable code and title.
    pub fn facts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::NoRoute => (StatusCode::NOT_FOUND, "no_route", "No route"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed")
            }
            Self::BadPath(_) => (StatusCode::BAD_REQUEST, "bad_path", "Ambiguous path"),
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, "bad_request", "Bad request"),
            Self::Denied => (StatusCode::FORBIDDEN, "denied", "Denied"),
            Self::RateLimited => {
                (StatusCode::TOO_MANY_REQUESTS, "rate_limited", "Request rate limit exceeded")
            }
            Self::LimiterUnavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "limiter_unavailable", "Rate limiter unavailable")
            }
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "Request body too large"),
            Self::HeadTooLarge => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "bad_request", "Request head too large")
            }
            Self::HeaderTimeout => (StatusCode::REQUEST_TIMEOUT, "header_timeout", "Request head timed out"),
            Self::BodyTimeout => (StatusCode::REQUEST_TIMEOUT, "body_timeout", "Request body timed out"),
            Self::CircuitOpen => (StatusCode::SERVICE_UNAVAILABLE, "circuit_open", "Circuit open"),
            Self::NoHealthyTarget => {
                (StatusCode::SERVICE_UNAVAILABLE, "no_healthy_target", "No healthy target")
            }
            Self::PoolFull => (StatusCode::SERVICE_UNAVAILABLE, "pool_full", "Too many requests in flight"),
            Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Too many requests at once"),
            Self::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining", "Shutting down"),
            Self::ConnectFailed => (StatusCode::BAD_GATEWAY, "connect_failed", "Upstream unreachable"),
            Self::UpstreamReset => (StatusCode::BAD_GATEWAY, "upstream_reset", "Upstream connection lost"),
            Self::UpstreamBadResponse => {
                (StatusCode::BAD_GATEWAY, "upstream_bad_response", "Invalid upstream response")
            }
            Self::UpstreamTimeout => (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", "Upstream timed out"),
            Self::AdminTokenMissing => (StatusCode::UNAUTHORIZED, "auth_missing", "Admin token required"),
            Self::AdminTokenInvalid => (StatusCode::UNAUTHORIZED, "auth_invalid", "Admin token invalid"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "Internal error"),
            Self::ClientGone => (StatusCode::BAD_REQUEST, "client_gone", "Client closed the request"),
        }
    }

    /// One sentence for the person who reads the answer.
    fn detail(self) -> &'static str {
        match self {
            Self::NoRoute => "No route matches this host and path.",
            Self::MethodNotAllowed => "The path exists for other methods; see the Allow header.",
            Self::BadPath(why) | Self::BadRequest(why) => why,
            Self::Denied => "The route refuses every request.",
            Self::RateLimited => "The limit for this client is used up; see Retry-After.",
            Self::LimiterUnavailable => {
                "Requests of this client cannot be counted at the moment; retry later."
            }
            Self::BodyTooLarge => "The request body exceeds the limit of this route.",
            Self::HeadTooLarge => "The request line and header fields exceed 128 KiB or 96 fields.",
            Self::HeaderTimeout => "The request head did not arrive in time.",
            Self::BodyTimeout => "The request body stopped arriving.",
            Self::CircuitOpen => "The service failed repeatedly and is given time to recover; retry later.",
            Self::NoHealthyTarget => {
                "No instance of the service may take requests: unhealthy, or kept away by an operator."
            }
            Self::PoolFull => "Every instance of the service has as many requests in flight as it may.",
            Self::Overloaded => {
                "The connection has a thousand requests open; wait for answers, or open another."
            }
            Self::Draining => "The gateway is shutting down; retry on a new connection.",
            Self::ConnectFailed => "No connection to the service could be made.",
            Self::UpstreamReset => "The service closed the connection before it had answered.",
            Self::UpstreamBadResponse => "The service answered with something that is not valid HTTP.",
            Self::UpstreamTimeout => "The service did not answer in time.",
            Self::AdminTokenMissing => "This prefix answers only with the admin token.",
            Self::AdminTokenInvalid => "The token is not the admin token.",
            Self::Internal => "The gateway failed to handle this request; the log has the details.",
            Self::ClientGone => "",
        }
    }

    /// The stable code, as in `Aegis-Reason`, the log and the metrics.
    pub fn code(self) -> &'static str {
        self.facts().1
    }

    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        self.facts().0
    }
}

/// What the log shows where the client left before there was an answer (nginx's 499); never sent.
pub const CLIENT_CLOSED_REQUEST: u16 = 499;

/// `aegis-reason`.
pub const REASON: HeaderName = HeaderName::from_static("aegis-reason");
/// `x-request-id`.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The problem document of `cause`.
pub fn problem(cause: Cause, request_id: &str) -> Bytes {
    let (status, code, title) = cause.facts();
    // The parts are constants without quotes or escapes and a validated request id.
    Bytes::from(format!(
        r#"{{"type":"about:blank","title":"{title}","status":{},"detail":"{}","reason":"{code}","requestId":"{request_id}"}}"#,
        status.as_u16(),
        cause.detail(),
    ))
}

/// The problem document of a refusal by a rate limit: which rule, how much it allows, and when to come again.
/// `type` and `violated-policies` as of draft-ietf-httpapi-ratelimit-headers-11 §6.
pub fn quota_exceeded(violation: &Violation, request_id: &str) -> Bytes {
    let (status, code, title) = Cause::RateLimited.facts();
    let Violation { rule, limit, window_seconds, retry_after_seconds } = violation;
    // Ids of rules are plain text, as `check` has seen.
    Bytes::from(format!(
        r#"{{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"{title}","status":{},"detail":"The limit {rule} of {limit} requests per {window_seconds} s is used up; retry in {retry_after_seconds} s.","reason":"{code}","requestId":"{request_id}","rule":"{rule}","violated-policies":["{rule}"],"limit":{limit},"windowSeconds":{window_seconds},"retryAfterSeconds":{retry_after_seconds}}}"#,
        status.as_u16(),
    ))
}

/// The header fields of a gateway-made answer, `Retry-After` in whole seconds where there is one to give.
pub fn headers(cause: Cause, request_id: &HeaderValue, retry_after: Option<u64>) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(6);
    map.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    map.insert(REASON, HeaderValue::from_static(cause.code()));
    map.insert(REQUEST_ID, request_id.clone());
    if let Some(seconds) = retry_after {
        map.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if matches!(cause, Cause::AdminTokenMissing | Cause::AdminTokenInvalid) {
        map.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    map
}

/// A whole answer as bytes, for the places that have no HTTP machinery left to send it with: the connection is
/// closed behind it.
pub fn raw(cause: Cause, request_id: &str) -> Vec<u8> {
    let (status, code, _) = cause.facts();
    let body = problem(cause, request_id);
    let mut out = format!(
        "HTTP/1.1 {} {}\r\ncontent-length: {}\r\nconnection: close\r\ncontent-type: application/problem+json\r\naegis-reason: {code}\r\nx-request-id: {request_id}\r\ndate: {}\r\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or("Error"),
        body.len(),
        httpdate::fmt_http_date(std::time::SystemTime::now()),
    )
    .into_bytes();
    if cause == Cause::Draining {
        out.extend_from_slice(b"retry-after: 1\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_json_with_the_contracts_members() {
        for cause in [
            Cause::NoRoute,
            Cause::BadPath("The path climbs above the root."),
            Cause::HeadTooLarge,
            Cause::CircuitOpen,
            Cause::Internal,
        ] {
            let problem: serde_json::Value = serde_json::from_slice(&problem(cause, "id-1")).unwrap();
            assert_eq!(problem["status"], cause.status().as_u16());
            assert_eq!(problem["reason"], cause.code());
            assert_eq!(problem["requestId"], "id-1");
            for member in ["type", "title", "detail"] {
                assert!(problem[member].is_string(), "{member} of {cause:?}");
            }
        }
    }
}
