//! What a client is told of its limit: header fields, and the members of a refusal's problem document.
//!
//! `X-RateLimit-*` as GitHub and others have made them usual, `RateLimit` and `RateLimit-Policy` of
//! draft-ietf-httpapi-ratelimit-headers-11. `X-RateLimit-Reset` is when the whole limit is available again if nothing more
//! is sent. The draft's `t` is the time that what is left is for: a client that spreads it over that time is not refused.

use std::cell::RefCell;
use std::sync::Arc;

use aegis_actors::rate_limiter::settings::Algorithm;
use aegis_actors::rate_limiter::{Mode, Plan, Refusal, SharedLimit, Standing};

use super::rules::CompiledLimit;
use crate::gateway::fields::Fields;
use crate::gateway::headers::add_bytes;

const LIMIT: &str = "x-ratelimit-limit";
const REMAINING: &str = "x-ratelimit-remaining";
const RESET: &str = "x-ratelimit-reset";
const POLICY: &str = "ratelimit-policy";
const STATE: &str = "ratelimit";

const SECOND: u64 = 1_000_000_000;

/// The header fields of one limit, ready to be written; one per worker and limit.
pub struct HeaderCache {
    capacity: u64,
    /// `RateLimit-Policy`.
    policy: String,
    /// `RateLimit` up to its numbers.
    name: String,
    /// The lines of the last answer: many clients of a limit have as much left as the one before them.
    last: RefCell<CachedLines>,
}

/// All fields for some numbers, as lines.
#[derive(Default)]
struct CachedLines {
    /// None before the first answer.
    state: Option<Numbers>,
    lines: Vec<u8>,
}

/// What is left of a limit, in whole numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Numbers {
    remaining: u64,
    /// Seconds that it has to do for.
    window: u64,
    /// When the whole limit is available again, in seconds since the Unix epoch.
    reset_at: u64,
}

impl HeaderCache {
    /// For answers under this limit.
    pub fn new(shared: &SharedLimit) -> Self {
        let (name, capacity) = (&shared.name, shared.plan.capacity);
        Self {
            capacity,
            policy: format!("\"{name}\";q={capacity};w={}", shared.limit.window.as_secs()),
            name: format!("\"{name}\";r="),
            last: RefCell::default(),
        }
    }

    /// `RateLimit`.
    fn put_state(&self, state: Numbers, text: &mut Vec<u8>) {
        let mut number = itoa::Buffer::new();
        text.extend_from_slice(self.name.as_bytes());
        text.extend_from_slice(number.format(state.remaining).as_bytes());
        text.extend_from_slice(b";t=");
        text.extend_from_slice(number.format(state.window).as_bytes());
    }

    fn put_lines(&self, state: Numbers, lines: &mut Vec<u8>) {
        let mut number = itoa::Buffer::new();
        let mut add = |name: &str, value: &str| add_bytes(lines, name, value.as_bytes());
        add(LIMIT, number.format(self.capacity));
        add(REMAINING, number.format(state.remaining));
        add(RESET, number.format(state.reset_at));
        add(POLICY, &self.policy);
        lines.extend_from_slice(STATE.as_bytes());
        lines.extend_from_slice(b": ");
        self.put_state(state, lines);
        lines.extend_from_slice(b"\r\n");
    }
}

/// What one answer is to tell.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    /// The limit's place among those of the configuration.
    place: usize,
    state: Numbers,
}

/// Whole seconds, begun ones counted.
pub fn seconds_up(nanos: u64) -> u64 {
    nanos.div_ceil(SECOND)
}

impl Quota {
    /// What is left of a limit, or of this instance's share of it, after a request that has passed. `mode`: who has let it
    /// pass; `now` by the wall clock.
    pub fn new(limited: &CompiledLimit, standing: Standing, mode: Mode, now: u64) -> Self {
        let plan = match mode {
            Mode::Degraded => limited.shared.counted_by(mode),
            Mode::Local | Mode::Shared => limited.shared.plan,
        };
        Self::of(limited, standing, effective_window(&plan, standing), now)
    }

    /// What is left of a limit that has refused a request.
    pub fn refused(limited: &CompiledLimit, refusal: &Refusal, now: u64) -> Self {
        Self::of(limited, refusal.standing, refusal.retry_after.max(1), now)
    }

    fn of(limited: &CompiledLimit, standing: Standing, window: u64, now: u64) -> Self {
        let state = Numbers {
            remaining: standing.remaining,
            window: seconds_up(window),
            reset_at: seconds_up(now.saturating_add(standing.reset)),
        };
        Self { place: limited.place, state }
    }

    /// Puts the fields into an answer, in which nothing of [their names](is_quota) may be left. `caches` are the worker's, of
    /// all limits of the configuration by their places.
    pub fn write(self, caches: &[HeaderCache], fields: &mut Fields) {
        let (cache, state) = (&caches[self.place], self.state);
        let mut last = cache.last.borrow_mut();
        if last.state != Some(state) {
            last.state = Some(state);
            last.lines.clear();
            cache.put_lines(state, &mut last.lines);
        }
        fields.push_lines(&last.lines);
    }
}

/// How long what is left has to do for, in nanoseconds. Of a window until it is over. A bucket gains a token at each
/// interval, so that as many as are left may be sent over and over in as many intervals; from an empty one none before the
/// next token is there.
fn effective_window(plan: &Plan, Standing { remaining, reset }: Standing) -> u64 {
    match plan.algorithm {
        // A log forgets a request one moment, or one of its slots, after the window.
        Algorithm::SlidingWindow | Algorithm::FixedWindow => reset.min(plan.window),
        Algorithm::TokenBucket if remaining > 0 => remaining.saturating_mul(plan.interval),
        Algorithm::TokenBucket => {
            let others = (plan.capacity - 1).saturating_mul(plan.interval);
            reset.saturating_sub(others).clamp(1, plan.interval)
        }
    }
}

/// Whether that is one of the fields that tell of a limit.
pub fn is_quota(name: &str) -> bool {
    [LIMIT, REMAINING, RESET, POLICY, STATE].iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// What a refusal tells beyond every problem document's members.
#[derive(Clone, Debug)]
pub struct ExceededLimit {
    /// The rule's id.
    pub rule: Arc<str>,
    /// Requests per window, bursts included.
    pub limit: u64,
    pub window_seconds: u64,
    pub retry_after_seconds: u64,
}

/// The members of a refusal's problem document.
pub fn exceeded(limited: &CompiledLimit, refusal: &Refusal) -> ExceededLimit {
    ExceededLimit {
        rule: limited.shared.name.clone(),
        limit: limited.shared.plan.capacity,
        window_seconds: limited.shared.limit.window.as_secs(),
        retry_after_seconds: seconds_up(refusal.retry_after).max(1),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aegis_actors::rate_limiter::settings::{Algorithm, KeyStrategy, Limit, OnError};
    use aegis_actors::rate_limiter::{Decisions, KeyedBy};

    use super::*;

    fn limited(place: usize) -> CompiledLimit {
        let window = Duration::from_secs(60);
        let limit = Limit { algorithm: Algorithm::TokenBucket, requests: 100, window, burst: 0 };
        let keyed_by = KeyedBy { strategy: KeyStrategy::Ip, ipv6_prefix: 64 };
        let shared = SharedLimit::new("some", &limit, keyed_by, Decisions::new(1));
        CompiledLimit { shared, place, cost: 1, shadow: false, on_error: OnError::Local, own_on_error: false }
    }

    fn fields(
        caches: &[HeaderCache],
        limited: &CompiledLimit,
        remaining: u64,
        reset: u64,
        now: u64,
    ) -> [String; 5] {
        let mut fields = Fields::default();
        Quota::new(limited, Standing { remaining, reset }, Mode::Local, now).write(caches, &mut fields);
        assert_eq!(fields.len(), 5);
        [LIMIT, REMAINING, RESET, POLICY, STATE].map(|name| fields.text(name).unwrap().to_owned())
    }

    #[test]
    fn each_answer_says_what_is_left_whatever_was_said_before() {
        let limited = limited(1);
        let caches = [HeaderCache::new(&limited.shared), HeaderCache::new(&limited.shared)];
        let now = 1_700_000_000 * SECOND;
        let mut kept = Vec::new();
        // Every state twice, and zero as the first.
        for n in 0..1_000_u64 {
            let (remaining, reset) = (n / 2, n / 2 * SECOND + 1);
            kept.push((n / 2, fields(&caches, &limited, remaining, reset, now)));
        }
        for (remaining, said) in kept {
            let (n, reset) = (remaining.to_string(), remaining + 1);
            let reset_at = (1_700_000_000 + reset).to_string();
            let window = if remaining == 0 { 1 } else { (remaining * 600).div_ceil(1000) };
            let state = format!("\"some\";r={n};t={window}");
            assert_eq!(said, ["100", &n, &reset_at, "\"some\";q=100;w=60", &state]);
        }
    }

    #[test]
    fn the_same_state_a_second_later_is_said_anew() {
        let limited = limited(0);
        let caches = [HeaderCache::new(&limited.shared)];
        let [_, _, reset, ..] = fields(&caches, &limited, 5, SECOND, 7 * SECOND);
        let [_, _, later, ..] = fields(&caches, &limited, 5, SECOND, 8 * SECOND);
        assert_eq!((reset.as_str(), later.as_str()), ("8", "9"));
        let largest = fields(&caches, &limited, u64::MAX, u64::MAX, u64::MAX);
        assert_eq!(largest[1], u64::MAX.to_string());
    }

    #[test]
    fn what_has_never_been_said_is_right_too() {
        let limited = limited(0);
        let [_, remaining, reset, _, state] = fields(&[HeaderCache::new(&limited.shared)], &limited, 0, 0, 0);
        assert_eq!((&*remaining, &*reset, &*state), ("0", "0", "\"some\";r=0;t=1"));
    }

    #[test]
    fn what_is_left_is_enough_for_the_time_that_is_said() {
        // A token each 600 ms.
        let limited = limited(0);
        let window = |remaining, reset_ms: u64| {
            let standing = Standing { remaining, reset: reset_ms * 1_000_000 };
            seconds_up(effective_window(&limited.shared.plan, standing))
        };
        assert_eq!((window(99, 600), window(50, 30_000), window(1, 59_400)), (60, 30, 1));
        // The last token is just spent, so that the next one comes in 600 ms; or it comes in one.
        assert_eq!((window(0, 60_000), window(0, 59_401)), (1, 1));
        let month = Duration::from_secs(30 * 86_400);
        let of = |algorithm, burst| Plan::new(&Limit { algorithm, requests: 10, window: month, burst });
        let day = 86_400 * SECOND;
        let spent = Standing { remaining: 0, reset: 43 * day };
        assert_eq!(
            effective_window(&of(Algorithm::TokenBucket, 5), spent),
            day,
            "all but the next of fifteen tokens"
        );
        let fixed = effective_window(&of(Algorithm::FixedWindow, 0), Standing { remaining: 7, reset: day });
        assert_eq!(fixed, day);
    }

    #[test]
    fn who_is_refused_may_come_again_when_the_time_is_over() {
        let limited = limited(0);
        let standing = Standing { remaining: 0, reset: 60 * SECOND };
        let refusal = Refusal { standing, retry_after: 5 * SECOND + 1 };
        let mut fields = Fields::default();
        Quota::refused(&limited, &refusal, 7 * SECOND)
            .write(&[HeaderCache::new(&limited.shared)], &mut fields);
        assert_eq!(fields.text(STATE).unwrap(), "\"some\";r=0;t=6");
        assert_eq!(fields.text(RESET).unwrap(), "67");
        assert_eq!(exceeded(&limited, &refusal).retry_after_seconds, 6);
    }
}
