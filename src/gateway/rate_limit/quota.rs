//! What a client is told of its limit: header fields, and the members of a refusal's problem document.
//!
//! `X-RateLimit-*` as GitHub and others have made them usual, `RateLimit` and `RateLimit-Policy` of
//! draft-ietf-httpapi-ratelimit-headers-11. The reset is when the whole limit is available again if nothing more is sent.

use actix_http::header::{HeaderMap, HeaderName, HeaderValue};
use aegis_actors::rate_limiter::{Refusal, Standing};

use super::rules::Limited;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

const SECOND: u64 = 1_000_000_000;

/// The fields of one answer.
pub struct Quota {
    limit: HeaderValue,
    policy: HeaderValue,
    remaining: HeaderValue,
    reset: HeaderValue,
    state: HeaderValue,
}

/// Whole seconds, begun ones counted.
pub fn seconds_up(nanos: u64) -> u64 {
    nanos.div_ceil(SECOND)
}

impl Quota {
    /// What is left of a limit at `now`.
    pub fn new(limited: &Limited, standing: Standing, now: u64) -> Self {
        let remaining = standing.remaining;
        let state = format!("\"{}\";r={remaining};t={}", limited.cells.name, seconds_up(standing.reset));
        Self {
            limit: limited.limit.clone(),
            policy: limited.policy.clone(),
            remaining: HeaderValue::from(remaining),
            reset: HeaderValue::from(seconds_up(now.saturating_add(standing.reset))),
            state: HeaderValue::from_maybe_shared(bytes::Bytes::from(state))
                .unwrap_or_else(|_| HeaderValue::from_static("\"?\"")),
        }
    }

    /// Puts the fields into an answer, in place of an upstream's of the same names.
    pub fn write(self, headers: &mut HeaderMap) {
        headers.insert(LIMIT, self.limit);
        headers.insert(REMAINING, self.remaining);
        headers.insert(RESET, self.reset);
        headers.insert(POLICY, self.policy);
        headers.insert(STATE, self.state);
    }
}

/// What a refusal tells beyond every problem document's members.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The rule's id.
    pub rule: std::sync::Arc<str>,
    /// Requests per window, bursts included.
    pub limit: u64,
    pub window_seconds: u64,
    pub retry_after_seconds: u64,
}

/// The violation that a refusal is.
pub fn violation(limited: &Limited, refusal: &Refusal) -> Violation {
    Violation {
        rule: limited.cells.name.clone(),
        limit: limited.cells.plan.capacity,
        window_seconds: limited.cells.limit.window.as_secs(),
        retry_after_seconds: seconds_up(refusal.retry_after).max(1),
    }
}
