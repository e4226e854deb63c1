//! One target's breaker as a pure machine: outcomes and `now` in, a new [`Gate`] and a [`Change`] out.
//!
//! Invariants: the epoch rises with every change of the gate; counts never outlive an epoch; a half-open spell
//! keeps the permits that it began with.

use std::time::{Duration, Instant};

use super::gate::{Gate, Held, Phase, State};
use super::messages::{HoldState, Run, TripReason};
use super::permits::Permits;
use super::settings::Settings;
use super::window::{Totals, Window};
use crate::supervision::after;

/// The open time doubles up to this many times the configured one.
const LONGEST: u32 = 10;

/// How often a half-open breaker looks whether a failed probe has shut it without a report having arrived:
/// reports are lost when the actor that they were sent to was being replaced.
const RECHECK: Duration = Duration::from_secs(1);

/// The gate has a new epoch and wants publishing; `from` and `to` are equal when only a hold came or went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Change {
    pub from: State,
    pub to: State,
    pub reason: TripReason,
}

/// One target's breaker.
#[derive(Debug)]
pub(super) struct Breaker {
    settings: Settings,
    gate: Gate,
    window: Window,
    consecutive: u32,
    probes_passed: u32,
    rechecked: Instant,
}

impl Breaker {
    /// Starts from a published gate; the default one is closed.
    pub fn resume(settings: Settings, gate: Gate, now: Instant) -> Self {
        let window = Window::new(settings.window, now);
        Self { settings, gate, window, consecutive: 0, probes_passed: 0, rechecked: now }
    }

    /// Takes over new settings; the state stays, and so do the counts unless the window's length changed.
    pub fn reconfigure(&mut self, settings: Settings, now: Instant) {
        if settings.window != self.settings.window {
            self.window = Window::new(settings.window, now);
        }
        self.settings = settings;
    }

    /// Counts what a worker reports. Calls of another epoch count for nothing. `draw` is uniform in 0–1 and
    /// jitters the open time.
    pub fn on_run(&mut self, run: &Run, now: Instant, draw: f64) -> Option<Change> {
        if run.epoch != self.gate.epoch {
            return None;
        }
        match self.gate.phase {
            _ if self.gate.forced() => {
                self.count(run, now);
                None
            }
            Phase::Closed => {
                self.count(run, now);
                let reason = self.tripped(now)?;
                Some(self.open(0, reason, now, draw))
            }
            Phase::HalfOpen { reopened, .. } => {
                self.count(run, now);
                self.judge_probes(run, reopened, now, draw)
            }
            Phase::Open { .. } => None,
        }
    }

    /// Does what has become due: open to half-open, the end of a hold, a half-open spell that was shut.
    pub fn on_timer(&mut self, now: Instant, draw: f64) -> Option<Change> {
        if self.due().is_none_or(|due| now < due) {
            return None;
        }
        self.rechecked = now;
        match &self.gate.phase {
            _ if self.gate.forced() => Some(self.release(now)),
            Phase::Open { reopened, .. } => {
                let phase = self.half_open(*reopened);
                Some(self.shift(phase, None, TripReason::WaitOver, now))
            }
            Phase::HalfOpen { permits, reopened } if permits.is_shut() => {
                Some(self.open(reopened.saturating_add(1), TripReason::ProbeFailed, now, draw))
            }
            _ => None,
        }
    }

    /// When [`on_timer`](Self::on_timer) next has something to do.
    pub fn due(&self) -> Option<Instant> {
        match (&self.gate.held, &self.gate.phase) {
            (Some(held), _) => held.until,
            (None, Phase::Closed) => None,
            (None, Phase::Open { until, .. }) => Some(*until),
            (None, Phase::HalfOpen { .. }) => Some(after(self.rechecked, RECHECK)),
        }
    }

    /// Obeys an operator; `None` when there was no hold to end.
    pub fn hold(&mut self, wish: HoldState, ttl: Option<Duration>, now: Instant) -> Option<Change> {
        let open = match wish {
            HoldState::Open => true,
            HoldState::Closed => false,
            HoldState::Auto => return self.gate.forced().then(|| self.release(now)),
        };
        Some(self.hold_as(Held { open, until: ttl.map(|ttl| after(now, ttl)) }, now))
    }

    /// Joins a hold that other breakers of the backend are under.
    pub fn hold_as(&mut self, held: Held, now: Instant) -> Change {
        let phase = self.gate.phase.clone();
        self.shift(phase, Some(held), TripReason::Held, now)
    }

    /// What is to be published.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Failures since the last success.
    pub fn consecutive_failures(&self) -> u32 {
        self.consecutive
    }

    /// Sums over the window.
    pub fn totals(&self, now: Instant) -> Totals {
        self.window.totals(now)
    }

    fn count(&mut self, run: &Run, now: Instant) {
        if run.successes > 0 {
            self.consecutive = 0;
        }
        self.consecutive = self.consecutive.saturating_add(run.failures);
        let calls = u64::from(run.successes) + u64::from(run.failures);
        self.window.add(Totals { calls, failures: run.failures.into(), slow: run.slow.into() }, now);
    }

    fn tripped(&self, now: Instant) -> Option<TripReason> {
        let rules = &self.settings;
        if rules.failure_threshold > 0 && self.consecutive >= rules.failure_threshold {
            return Some(TripReason::ConsecutiveFailures(self.consecutive));
        }
        let totals = self.window.totals(now);
        if totals.calls < u64::from(rules.min_requests.max(1)) {
            return None;
        }
        if rules.failure_rate > 0.0 && totals.failure_rate() >= rules.failure_rate {
            return Some(TripReason::FailureRate(totals.failure_rate()));
        }
        let slow = self.slow_counts() && totals.slow_rate() >= rules.slow_call_rate;
        slow.then(|| TripReason::SlowCallRate(totals.slow_rate()))
    }

    fn slow_counts(&self) -> bool {
        !self.settings.slow_call.is_zero() && self.settings.slow_call_rate > 0.0
    }

    /// In the order in which the probes ended, so a batch decides as single reports would have.
    fn judge_probes(&mut self, run: &Run, reopened: u32, now: Instant, draw: f64) -> Option<Change> {
        let again = reopened.saturating_add(1);
        if run.slow > 0 && self.slow_counts() {
            return Some(self.open(again, TripReason::ProbeSlow, now, draw));
        }
        self.probes_passed = self.probes_passed.saturating_add(run.successes);
        if self.probes_passed >= self.settings.success_threshold.max(1) {
            return Some(self.shift(Phase::Closed, None, TripReason::ProbesPassed, now));
        }
        (run.failures > 0).then(|| self.open(again, TripReason::ProbeFailed, now, draw))
    }

    fn open(&mut self, reopened: u32, reason: TripReason, now: Instant, draw: f64) -> Change {
        let until = after(now, open_time(self.settings.reset_timeout, reopened, draw));
        self.shift(Phase::Open { until, reopened }, None, reason, now)
    }

    fn half_open(&self, reopened: u32) -> Phase {
        Phase::HalfOpen { permits: Permits::new(self.settings.half_open_requests), reopened }
    }

    fn release(&mut self, now: Instant) -> Change {
        let phase = match &self.gate.phase {
            Phase::Open { until, reopened } if *until <= now => self.half_open(*reopened),
            same => same.clone(),
        };
        self.shift(phase, None, TripReason::HoldEnded, now)
    }

    /// The one place where a gate changes.
    fn shift(&mut self, phase: Phase, held: Option<Held>, reason: TripReason, now: Instant) -> Change {
        let from = self.gate.state();
        self.gate.epoch += 1;
        self.gate.phase = phase;
        self.gate.held = held;
        let to = self.gate.state();
        if from != to {
            self.gate.changed = Some(now);
            self.gate.opened += u64::from(to == State::Open);
        }
        (self.consecutive, self.probes_passed, self.rechecked) = (0, 0, now);
        self.window.clear();
        Change { from, to, reason }
    }
}

/// The configured time at first; doubled with every reopening in a row, ± 10 % so that gateways do not probe
/// in step, never above ten times the configured one.
fn open_time(reset: Duration, reopened: u32, draw: f64) -> Duration {
    let longest = reset.saturating_mul(LONGEST);
    if reopened == 0 {
        return reset;
    }
    let doubled = reset.saturating_mul(1 << reopened.min(4)).min(longest);
    let swing = doubled / 10;
    (doubled - swing + swing.mul_f64(2.0 * draw.clamp(0.0, 1.0))).min(longest)
}
