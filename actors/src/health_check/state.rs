//! The thresholds and the schedule of health checks as pure functions.

use std::time::{Duration, Instant, SystemTime};

use super::cell::Health;
use super::settings::Settings;

/// No check follows another faster than this, whatever is configured.
const SHORTEST: Duration = Duration::from_millis(10);

/// The verdict after one more check.
pub(super) fn judge(
    last: &Health,
    check: Result<(), String>,
    rules: &Settings,
    now: Instant,
    at: SystemTime,
) -> Health {
    let (passes, failures) = match check {
        Ok(()) => (last.passes.saturating_add(1), 0),
        Err(_) => (0, last.failures.saturating_add(1)),
    };
    let healthy = if last.healthy {
        failures < rules.unhealthy_threshold.max(1)
    } else {
        passes >= rules.healthy_threshold.max(1)
    };
    let since = if healthy == last.healthy { last.since } else { Some(now) };
    Health { healthy, since, passes, failures, last_error: check.err(), last_check: Some(at) }
}

/// The verdict on a target that is no longer checked: healthy, with a slow start if it was not.
pub(super) fn unchecked(last: &Health, now: Instant) -> Health {
    let since = if last.healthy { last.since } else { Some(now) };
    Health { since, ..Health::default() }
}

/// Why `health` says what it says.
pub(super) fn reason(health: &Health) -> String {
    match &health.last_error {
        Some(error) => format!("{} checks failed in a row: {error}", health.failures),
        None => format!("{} checks passed in a row", health.passes),
    }
}

/// The wait before a target's first check: anywhere within one interval, at most one second, so that targets
/// do not march in step. `draw` is uniform in 0–1.
pub(super) fn first_wait(interval: Duration, draw: f64) -> Duration {
    interval.min(Duration::from_secs(1)).mul_f64(draw.clamp(0.0, 1.0))
}

/// The wait after a check that took `elapsed`: the interval counts from start to start, ± 10 %, and a check
/// that took longer than that is followed by the next one right away. `draw` is uniform in 0–1.
pub(super) fn next_wait(interval: Duration, elapsed: Duration, draw: f64) -> Duration {
    let swing = interval / 10;
    let jittered = (interval - swing).saturating_add(swing.mul_f64(2.0 * draw.clamp(0.0, 1.0)));
    jittered.saturating_sub(elapsed).max(SHORTEST)
}
