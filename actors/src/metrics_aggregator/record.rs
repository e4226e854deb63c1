//! What a worker notes of each request, as small as it can be.

use std::num::NonZeroU64;
use std::sync::Arc;

/// Methods that are told apart; every other is the last one.
pub const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "OTHER"];

/// What requests without a route or backend are counted under.
pub const NONE: &str = "none";

/// The place of a method in [`METHODS`].
pub fn method_index(method: &str) -> u8 {
    let known = METHODS.iter().position(|known| *known == method);
    known.unwrap_or(METHODS.len() - 1) as u8
}

/// The names behind the numbers of a configuration's routes.
#[derive(Debug, Default)]
pub struct Labels {
    /// Pattern and backend, by the route's position.
    pub routes: Vec<(Arc<str>, Arc<str>)>,
}

/// What the rate limits decided for one request. They saturate: nobody has 255 limits on one path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitCounts {
    /// Limits that let it pass, those in shadow among them.
    pub allowed: u8,
    /// Limits that refused it.
    pub limited: u8,
    /// Limits in shadow that would have refused it.
    pub shadow: u8,
    /// Limits that it is exempt from.
    pub bypassed: u8,
}

/// A duration in microseconds that takes no more room where there is none; less than one counts as one.
pub type Micros = NonZeroU64;

/// So many of them.
pub fn micros(us: u64) -> Micros {
    Micros::MIN.saturating_add(us.saturating_sub(1))
}

/// One finished request. By default a GET of which nothing more is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record {
    /// Milliseconds since the Unix epoch.
    pub ended_ms: u64,
    /// Position of the route; `None` = it met none.
    pub route: Option<u32>,
    /// Of [`METHODS`].
    pub method: u8,
    pub status: u16,
    /// Stable code of an answer that the gateway made itself.
    pub reason: Option<&'static str>,
    /// Its latency: from its arrival to the last byte of its answer, but for what is a stream.
    pub duration_us: u64,
    /// Of it, waiting for the upstream's response head in the last try.
    pub upstream_us: Option<Micros>,
    /// Of it until the response head, what was not spent waiting for the upstream.
    pub overhead_us: Option<Micros>,
    /// How long it was a stream: tunnel, stream of events, long body either way.
    pub stream_us: Option<Micros>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub limits: LimitCounts,
}

// A batch of them goes through the processor's caches.
const _: () = assert!(size_of::<Record>() == 88);

impl Record {
    /// 5xx, and 4xx of the gateway's own other than 429.
    pub fn failed(&self) -> bool {
        self.status >= 500 || (self.reason.is_some() && self.status >= 400 && self.status != 429)
    }

    /// Refused by a rate limit.
    pub fn limited(&self) -> bool {
        self.reason == Some("rate_limited")
    }

    /// Status class, 1–5.
    pub fn class(&self) -> u8 {
        (self.status / 100).clamp(1, 5) as u8
    }
}
