//! What a client is told of its limit: header fields, and the members of a refusal's problem document.
//!
//! `X-RateLimit-*` as GitHub and others have made them usual, `RateLimit` and `RateLimit-Policy` of
//! draft-ietf-httpapi-ratelimit-headers-11. The reset is when the whole limit is available again if nothing more is sent.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use actix_http::header::{HeaderMap, HeaderName, HeaderValue};
use aegis_actors::rate_limiter::{LimitCells, Refusal, Standing};
use bytes::{Bytes, BytesMut};

use super::rules::Limited;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

const UNKNOWN: HeaderValue = HeaderValue::from_static("\"?\"");

const SECOND: u64 = 1_000_000_000;

/// What all answers under one limit say of it: text, which they copy. Values that they shared would have every worker count
/// references on the same line of memory.
pub struct Told {
    /// `RateLimit-Policy`.
    policy: Box<[u8]>,
    /// Where the limit itself stands in that.
    limit: Range<usize>,
    /// `RateLimit` up to its numbers.
    name: Box<[u8]>,
}

impl Told {
    /// What does not change as long as the limit does not.
    pub fn new(cells: &LimitCells) -> Self {
        let (name, capacity) = (&cells.name, cells.plan.capacity.to_string());
        // An id is plain text, as `check` has seen.
        let before = format!("\"{name}\";q=");
        let limit = before.len()..before.len() + capacity.len();
        let policy = format!("{before}{capacity};w={}", cells.limit.window.as_secs());
        Self { policy: policy.into_bytes().into(), limit, name: format!("\"{name}\";r=").into_bytes().into() }
    }
}

/// The fields of one answer.
pub struct Quota {
    /// `RateLimit-Policy`, `RateLimit` and `X-RateLimit-Reset`, behind each other.
    text: Bytes,
    limit: Range<usize>,
    remaining: Range<usize>,
    /// Where `RateLimit` begins and ends.
    state: Range<usize>,
}

/// Whole seconds, begun ones counted.
pub fn seconds_up(nanos: u64) -> u64 {
    nanos.div_ceil(SECOND)
}

impl Quota {
    /// What is left of a limit at `now`.
    pub fn new(limited: &Limited, standing: Standing, now: u64, texts: &Texts) -> Self {
        let told = &limited.told;
        let (mut remaining, mut state) = (0..0, told.policy.len()..0);
        let text = texts.write(told.policy.len() + told.name.len() + 3 + 3 * LONGEST, |text| {
            text.extend_from_slice(&told.policy);
            text.extend_from_slice(&told.name);
            remaining.start = text.len();
            digits(text, standing.remaining);
            remaining.end = text.len();
            text.extend_from_slice(b";t=");
            digits(text, seconds_up(standing.reset));
            state.end = text.len();
            // Seconds since the Unix epoch.
            digits(text, seconds_up(now.saturating_add(standing.reset)));
        });
        Self { text, limit: told.limit.clone(), remaining, state }
    }

    /// Puts the fields into an answer, in which nothing of [their names](is_quota) may be left.
    pub fn write(self, headers: &mut HeaderMap) {
        let Self { text, limit, remaining, state } = self;
        let value = |range| HeaderValue::from_maybe_shared(text.slice(range)).unwrap_or(UNKNOWN);
        headers.append(LIMIT, value(limit));
        headers.append(REMAINING, value(remaining));
        headers.append(RESET, value(state.end..text.len()));
        headers.append(POLICY, value(0..state.start));
        headers.append(STATE, value(state));
    }
}

/// Whether that is one of the fields that tell of a limit.
pub fn is_quota(name: &str) -> bool {
    matches!(
        name,
        "x-ratelimit-limit"
            | "x-ratelimit-remaining"
            | "x-ratelimit-reset"
            | "ratelimit-policy"
            | "ratelimit"
    )
}

/// Texts of many answers behind each other: one piece of memory for a hundred of them, used again when they are gone.
#[derive(Default)]
pub struct Texts(RefCell<BytesMut>);

impl Texts {
    /// A text of at most so many bytes.
    fn write(&self, longest: usize, write: impl FnOnce(&mut BytesMut)) -> Bytes {
        let mut block = self.0.borrow_mut();
        if block.capacity() < longest {
            block.reserve(longest.max(BLOCK));
        }
        write(&mut block);
        block.split().freeze()
    }
}

/// Bytes of memory that are taken at once.
const BLOCK: usize = 8 * 1024;

/// Digits of the largest number.
const LONGEST: usize = 20;

/// Appends a number in decimal.
fn digits(text: &mut BytesMut, mut number: u64) {
    let (mut digits, mut from) = ([0; LONGEST], LONGEST);
    loop {
        from -= 1;
        digits[from] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.extend_from_slice(&digits[from..]);
}

/// What a refusal tells beyond every problem document's members.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The rule's id.
    pub rule: Arc<str>,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn text(number: u64) -> String {
        let mut text = BytesMut::new();
        digits(&mut text, number);
        String::from_utf8(text.to_vec()).unwrap()
    }

    #[test]
    fn numbers_are_written_as_everybody_writes_them() {
        for number in [0, 1, 9, 10, 99, 100, 1_700_000_000, u64::MAX] {
            assert_eq!(text(number), number.to_string());
        }
    }

    #[test]
    fn texts_keep_what_they_say_and_share_their_memory() {
        let texts = Texts::default();
        let write = |n: u64| texts.write(LONGEST, |text| digits(text, n));
        let some: Vec<_> = (0..1_000).map(write).collect();
        assert!(some.iter().zip(0..).all(|(text, n)| *text == n.to_string()));
        assert!(some.windows(2).filter(|two| two[0].as_ptr_range().end == two[1].as_ptr()).count() > 990);
    }
}
