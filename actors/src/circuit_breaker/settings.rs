//! `backends[].circuitBreaker` of the configuration.

use std::time::Duration;

use super::outcome::{Outcome, UNJUDGED};

/// When a target's breaker opens and how it comes back. A rule whose number is 0 is off.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Off: it never opens by itself; outcomes are counted and decide nothing. Default true.
    pub enabled: bool,
    /// Failures to reach the target, one after the other, that open the breaker; 0 turns the rule off. Default 5.
    pub failure_threshold: u32,
    /// Statuses of answers that count as failures, by rate only. Default 500, 502, 503, 504.
    pub failure_statuses: Vec<u16>,
    /// Successful probes that close a half-open breaker. Default 1.
    pub success_threshold: u32,
    /// The longest that the breaker stays open: a second the first time (or this, if it is less), and twice as long
    /// (with jitter) after every probe that fails. Default 30 s.
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
            enabled: true,
            failure_threshold: 5,
            failure_statuses: vec![500, 502, 503, 504],
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

impl Settings {
    /// What an answer with this status says about its target.
    pub fn judge(&self, status: u16) -> Outcome {
        if self.failure_statuses.contains(&status) {
            Outcome::Failed
        } else if UNJUDGED.contains(&status) {
            Outcome::Reached
        } else {
            Outcome::Answered
        }
    }
}
