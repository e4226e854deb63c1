//! `backends[].circuitBreaker` of the configuration.

use std::time::Duration;

/// When a target's breaker opens and how it comes back. A rule whose number is 0 is off.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Consecutive failures that open the breaker; 0 turns the rule off. Default 5.
    pub failure_threshold: u32,
    /// Successful probes that close a half-open breaker. Default 1.
    pub success_threshold: u32,
    /// How long the breaker stays open the first time; doubles (with jitter) up to ten times this. Default 30 s.
    pub reset_timeout: Duration,
    /// Share of failed calls in the window that opens it, 0–1; 0 turns the rule off. Default 0.5.
    pub failure_rate: f64,
    /// Calls the window must hold before a rate is judged. Default 20.
    pub min_requests: u32,
    /// Length of the sliding window. Default 10 s.
    pub window: Duration,
    /// A call that took at least this long is slow; zero turns the slow-call rule off. Default off.
    pub slow_call: Duration,
    /// Share of slow calls in the window that opens it, 0–1. Default 1.0.
    pub slow_call_rate: f64,
    /// Probes in flight at once while half-open. Default 1.
    pub half_open_requests: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            failure_threshold: 5,
            success_threshold: 1,
            reset_timeout: Duration::from_secs(30),
            failure_rate: 0.5,
            min_requests: 20,
            window: Duration::from_secs(10),
            slow_call: Duration::ZERO,
            slow_call_rate: 1.0,
            half_open_requests: 1,
        }
    }
}
