//! Answers that the gateway makes itself: every cause, and the one place that turns a cause into an answer.
//!
//! `application/problem+json` (RFC 9457). Nothing of an upstream's address, of a stack or of a secret appears.

use std::borrow::Cow;
use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use actix_http::StatusCode;
use bytes::Bytes;

use super::bounds::TARGET_BYTES;
use super::fields::Fields;
use super::rate_limit::ExceededLimit;
use crate::auth::CLIENT_CERTIFICATE;
use crate::config::settings::HeadBounds;

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
    /// The address may not come in, whoever it is.
    IpDenied,
    /// No credential.
    AuthMissing,
    AuthInvalid,
    /// A token with nothing wrong but its age.
    AuthExpired,
    /// Too many wrong credentials of the client before.
    AuthThrottled,
    /// Whether a credential is right cannot be found out now.
    AuthUnavailable,
    InsufficientScope,
    RbacDenied,
    /// The connection was made for another host, or under other rules; another one may do.
    Misdirected,
    /// The route wants a client certificate, and the connection has none.
    ClientCertificateMissing,
    /// The connection's certificate is not good any more.
    ClientCertificateInvalid,
    /// A rate limit is used up.
    RateLimited,
    /// A rate limit cannot be asked, and its rule refuses then.
    LimiterUnavailable,
    BodyTooLarge,
    /// Request head too large or too many fields.
    HeadTooLarge(HeadBounds),
    TargetTooLong,
    HeaderTimeout,
    BodyTimeout,
    CircuitOpen,
    NoHealthyTarget,
    PoolFull,
    /// The heads of the requests that an HTTP/2 connection has open are too large together.
    Overloaded,
    /// The gateway stopped while it was under way; nobody can be told any more.
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
    /// Each of them, with some text where it has one.
    pub const ALL: [Self; 36] = [
        Self::NoRoute,
        Self::MethodNotAllowed,
        Self::BadPath(""),
        Self::BadRequest(""),
        Self::Denied,
        Self::IpDenied,
        Self::AuthMissing,
        Self::AuthInvalid,
        Self::AuthExpired,
        Self::AuthThrottled,
        Self::AuthUnavailable,
        Self::InsufficientScope,
        Self::RbacDenied,
        Self::Misdirected,
        Self::ClientCertificateMissing,
        Self::ClientCertificateInvalid,
        Self::RateLimited,
        Self::LimiterUnavailable,
        Self::BodyTooLarge,
        Self::HeadTooLarge(HeadBounds { bytes: 1, fields: 1 }),
        Self::TargetTooLong,
        Self::HeaderTimeout,
        Self::BodyTimeout,
        Self::CircuitOpen,
        Self::NoHealthyTarget,
        Self::PoolFull,
        Self::Overloaded,
        Self::Draining,
        Self::ConnectFailed,
        Self::UpstreamReset,
        Self::UpstreamBadResponse,
        Self::UpstreamTimeout,
        Self::AdminTokenMissing,
        Self::AdminTokenInvalid,
        Self::Internal,
        Self::ClientGone,
    ];

    /// Status, stable code, title, and one sentence for the person who reads the answer.
    #[rustfmt::skip]
    fn facts(self) -> (u16, &'static str, &'static str, &'static str) {
        const { assert!(TARGET_BYTES == 65_536) };
        match self {
            Self::NoRoute => (404, "no_route", "No route", "No route matches this host and path."),
            Self::MethodNotAllowed => (405, "method_not_allowed", "Method not allowed", "The path exists for other methods; see the Allow header."),
            Self::BadPath(why) => (400, "bad_path", "Ambiguous path", why),
            Self::BadRequest(why) => (400, "bad_request", "Bad request", why),
            Self::Denied => (403, "denied", "Denied", "The route refuses every request."),
            Self::IpDenied => (403, "ip_denied", "Address denied", "Requests from this address are not taken here."),
            Self::AuthMissing => (401, "auth_missing", "Credential required", "Say who you are; see the WWW-Authenticate header."),
            Self::AuthInvalid => (401, "auth_invalid", "Credential invalid", "The credential is not accepted."),
            Self::AuthExpired => (401, "auth_expired", "Credential expired", "The token has expired; get another one."),
            Self::AuthThrottled => (429, "auth_throttled", "Too many wrong credentials", "Credentials from this address are not looked at for a while; see Retry-After."),
            Self::AuthUnavailable => (503, "auth_unavailable", "Credential cannot be checked", "Whether the credential is right cannot be found out at the moment; retry later."),
            Self::InsufficientScope => (403, "insufficient_scope", "Insufficient scope", "The credential is right, but not good for this; see the WWW-Authenticate header."),
            Self::RbacDenied => (403, "rbac_denied", "Not permitted", "Whoever this is may not do this."),
            Self::Misdirected => (421, "misdirected", "Misdirected request", "This host asks for client certificates, and the connection was opened for another host or before that was so; open a new connection."),
            Self::ClientCertificateMissing => (401, "auth_missing", "Client certificate required", "This route wants a client certificate, and the connection has none."),
            Self::ClientCertificateInvalid => (401, "auth_invalid", "Client certificate invalid", "The client certificate is not valid any more."),
            Self::RateLimited => (429, "rate_limited", "Request rate limit exceeded", "The limit for this client is used up; see Retry-After."),
            Self::LimiterUnavailable => (503, "limiter_unavailable", "Rate limiter unavailable", "Requests of this client cannot be counted at the moment; retry later."),
            Self::BodyTooLarge => (413, "body_too_large", "Request body too large", "The request body exceeds the limit of this route."),
            Self::HeadTooLarge(_) => (431, "bad_request", "Request head too large", ""),
            Self::TargetTooLong => (414, "bad_request", "Request target too long", "The request target exceeds 65536 bytes."),
            Self::HeaderTimeout => (408, "header_timeout", "Request head timed out", "The request head did not arrive in time."),
            Self::BodyTimeout => (408, "body_timeout", "Request body timed out", "The request body stopped arriving."),
            Self::CircuitOpen => (503, "circuit_open", "Circuit open", "The service failed repeatedly and is given time to recover; retry later."),
            Self::NoHealthyTarget => (503, "no_healthy_target", "No healthy target", "No instance of the service may take requests: unhealthy, or kept away by an operator."),
            Self::PoolFull => (503, "pool_full", "Too many requests in flight", "Every instance of the service has as many requests or tunnels as it may."),
            Self::Overloaded => (503, "overloaded", "Too many requests at once", "The requests that the connection has open are too large; wait for answers, or open another."),
            Self::Draining => (503, "draining", "Shutting down", "The gateway stopped before the answer was complete."),
            Self::ConnectFailed => (502, "connect_failed", "Upstream unreachable", "No connection to the service could be made."),
            Self::UpstreamReset => (502, "upstream_reset", "Upstream connection lost", "The service closed the connection before it had answered."),
            Self::UpstreamBadResponse => (502, "upstream_bad_response", "Invalid upstream response", "The service answered with something that cannot be passed on."),
            Self::UpstreamTimeout => (504, "upstream_timeout", "Upstream timed out", "The service did not answer in time."),
            Self::AdminTokenMissing => (401, "auth_missing", "Admin token required", "This prefix answers only with the admin token."),
            Self::AdminTokenInvalid => (401, "auth_invalid", "Admin token invalid", "The token is not the admin token."),
            Self::Internal => (500, "internal_error", "Internal error", "The gateway failed to handle this request; the log has the details."),
            Self::ClientGone => (400, "client_gone", "Client closed the request", ""),
        }
    }

    /// The stable code, as in `Aegis-Reason`, the log and the metrics.
    pub fn code(self) -> &'static str {
        self.facts().1
    }

    /// What the person who reads the answer is told.
    pub fn detail(self) -> Cow<'static, str> {
        match self {
            Self::HeadTooLarge(HeadBounds { bytes, fields }) => Cow::Owned(format!(
                "The request line and header fields exceed {bytes} bytes or {fields} fields."
            )),
            _ => Cow::Borrowed(self.facts().3),
        }
    }

    /// What the client is told to bring, where that is the same for everybody.
    pub fn challenge(self) -> Option<&'static str> {
        match self {
            Self::AdminTokenMissing | Self::AdminTokenInvalid => Some("Bearer"),
            // No scheme is registered for it; this is the one that draft-thomson-httpbis-cant has proposed.
            Self::ClientCertificateMissing | Self::ClientCertificateInvalid => Some(CLIENT_CERTIFICATE),
            _ => None,
        }
    }

    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        // All of them are statuses.
        StatusCode::from_u16(self.facts().0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// What the log shows where the client left before there was an answer (nginx's 499); never sent.
pub const CLIENT_CLOSED_REQUEST: u16 = 499;

/// The field that tells an answer's cause.
const REASON: &str = "aegis-reason";
/// The field that tells a request's id.
pub const REQUEST_ID: &str = "x-request-id";

/// The problem document of `cause`.
pub fn problem(cause: Cause, request_id: &str) -> Bytes {
    let (status, code, title, _) = cause.facts();
    let detail = cause.detail();
    // The parts are constants without quotes or escapes and a validated request id.
    Bytes::from(format!(
        r#"{{"type":"about:blank","title":"{title}","status":{status},"detail":"{detail}","reason":"{code}","requestId":"{request_id}"}}"#,
    ))
}

/// The problem document of a refusal by a rate limit: which rule, how much it allows, and when to come again.
/// `type` and `violated-policies` as of draft-ietf-httpapi-ratelimit-headers-11 §6.
pub fn limit_exceeded(exceeded: &ExceededLimit, request_id: &str) -> Bytes {
    let (status, code, title, _) = Cause::RateLimited.facts();
    let ExceededLimit { rule, limit, window_seconds, retry_after_seconds } = exceeded;
    // Ids of rules are plain text, as `check` has seen.
    Bytes::from(format!(
        r#"{{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"{title}","status":{status},"detail":"The limit {rule} of {limit} requests per {window_seconds} s is used up; retry in {retry_after_seconds} s.","reason":"{code}","requestId":"{request_id}","rule":"{rule}","violated-policies":["{rule}"],"limit":{limit},"windowSeconds":{window_seconds},"retryAfterSeconds":{retry_after_seconds}}}"#,
    ))
}

/// The fields of a gateway-made answer, `Retry-After` in whole seconds where there is one to give.
pub fn fields(cause: Cause, request_id: &str, retry_after: Option<u64>) -> Fields {
    let mut fields = Fields::with_capacity(384, 12);
    fields.push("content-type", b"application/problem+json");
    fields.push(REASON, cause.code().as_bytes());
    fields.push(REQUEST_ID, request_id.as_bytes());
    if let Some(seconds) = retry_after {
        fields.push("retry-after", itoa::Buffer::new().format(seconds).as_bytes());
    }
    if let Some(challenge) = cause.challenge() {
        fields.push("www-authenticate", challenge.as_bytes());
    }
    push_date(&mut fields);
    fields
}

/// `Date`, which the maker of an answer tells (RFC 9110 §6.6.1); written out once a second.
pub fn push_date(fields: &mut Fields) {
    thread_local! {
        static DATE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    DATE.with_borrow_mut(|(written, text)| {
        if *written != second {
            (*written, *text) = (second, httpdate::fmt_http_date(now));
        }
        fields.push("date", text.as_bytes());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_is_among_all() {
        let kinds: std::collections::HashSet<_> = Cause::ALL.iter().map(std::mem::discriminant).collect();
        // One line of the table for each.
        let is_row = |line: &&str| line.trim_start().starts_with("Self::") && line.contains("=> (");
        let table = include_str!("answer.rs").lines().filter(is_row);
        assert_eq!((kinds.len(), table.count()), (Cause::ALL.len(), Cause::ALL.len()));
    }

    #[test]
    fn every_problem_is_json_with_the_contracts_members() {
        for cause in Cause::ALL {
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
