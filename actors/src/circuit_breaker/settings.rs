//! `backends[].circuitBreaker` of the configuration.

use std::time::Duration;

use aegis_schema::form::int;
use aegis_schema::tree::Kind;
use aegis_schema::{Form, Section};

use super::outcome::{Outcome, UNJUDGED};

/// Largest count that any threshold takes.
const MAX_COUNT: u32 = 1_000_000;

aegis_schema::section! {
    /// When a target's breaker opens and how it comes back. A rule whose number is 0 is off.
    pub struct Settings, check check {
        /// `false`: it never opens and nothing is probed; calls are counted for the status page (`circuitEnabled: false`
        /// there), and an operator can still hold it. A reload switches it
        enabled: bool = true, "enabled" flag();
        /// requests in a row that did not reach the target; 0 = rule off
        failure_threshold: u32 = 5, "failureThreshold" int(0..=MAX_COUNT);
        /// answers that are failures. 501 and 505 are refused here, like everything below 500: callers can provoke them
        failure_statuses: Vec<u16> = vec![500, 502, 503, 504], "failureStatuses" list(status());
        /// good probes that close it again
        success_threshold: u32 = 1, "successThreshold" int(1..=MAX_COUNT);
        /// the longest pause. The first is a second, or this if it is less, and each probe that fails doubles it (±10 %)
        reset_timeout: Duration = Duration::from_secs(30), "resetTimeoutMs" duration();
        /// share of failures of both kinds in the window that opens it; 0 = rule off
        failure_rate: f64 = 0.5, "failureRate" number(0.0..=1.0);
        /// calls the window needs before a rate is judged
        min_requests: u32 = 20, "minRequests" int(1..=MAX_COUNT);
        /// length of the sliding window
        window: Duration = Duration::from_secs(10), "windowMs" duration();
        /// calls at least this long are slow; 0 = rule off
        slow_call: Duration = Duration::ZERO, "slowCallMs" duration_or_zero();
        /// share of slow calls in the window that opens it
        slow_call_rate: f64 = 1.0, "slowCallRate" number(0.0..=1.0).words("above 0 to 1");
        /// probes at once while half-open
        half_open_requests: u32 = 1, "halfOpenRequests" int(1..=MAX_COUNT);
    }
}

fn check(settings: &mut Settings, section: &Section<'_>) {
    settings.failure_statuses.sort_unstable();
    settings.failure_statuses.dedup();
    if settings.slow_call_rate == 0.0 {
        section.error_of(
            "slowCallRate",
            "must be above 0: any call would be too many; set `slowCallMs: 0` to turn the rule off",
        );
    }
}

/// A status that an upstream itself is to blame for.
fn status() -> Form<u16> {
    const EXPECTED: &str = "must be a status from 500 to 599, found";
    int(500..=599).reads(|at| match at.scalar() {
        Some(Kind::Int(status)) => match u16::try_from(status) {
            Ok(status) if UNJUDGED.contains(&status) => at.refuse(format_args!(
                "must not be {status}: callers can provoke it, and would keep a target from everybody else; remove it"
            )),
            Ok(status @ 500..=599) => Some(status),
            _ => at.refuse(format_args!(
                "{EXPECTED} {status}: an answer below says that the target is there, and what was wrong with the request; \
                 remove it"
            )),
        },
        _ => at.refuse(format_args!("{EXPECTED} {}: write for example `[500, 503]`", at.found())),
    })
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
