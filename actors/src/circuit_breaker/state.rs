//! One target's breaker as a pure machine: outcomes and `now` in, a new [`BreakerState`] and a [`Change`] out.
//!
//! Invariants: the epoch rises with every change of that state; counts never outlive an epoch; a half-open spell
//! keeps the permits that it began with.

use std::time::{Duration, Instant};

use super::breaker_state::{BreakerState, CircuitState, Held, Phase};
use super::messages::{HoldState, Run, TripReason};
use super::outcome::Fault;
use super::permits::Permits;
use super::settings::Settings;
use super::window::{Totals, Window};
use crate::supervision::saturating_deadline;

/// The first pause, where the configured one is not shorter: as long as a service takes to start again.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// How often a half-open breaker looks whether a failed probe has shut it without a report having arrived:
/// reports are lost when the actor that they were sent to was being replaced.
const RECHECK: Duration = Duration::from_secs(1);

/// Connections are tried no sooner than this one after another.
const SOONEST_KNOCK: Duration = Duration::from_millis(250);

/// The state has changed, with a new epoch, and is to be published; `from` and `to` are equal when only a hold came or went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Change {
    pub from: CircuitState,
    pub to: CircuitState,
    pub reason: TripReason,
}

/// One target's breaker.
#[derive(Debug)]
pub(super) struct Breaker {
    settings: Settings,
    state: BreakerState,
    window: Window,
    /// Calls that have not reached the target since the last one that did, and what the last one met.
    consecutive: u32,
    lost_by: Fault,
    probes_passed: u32,
    rechecked: Instant,
}

impl Breaker {
    /// Starts from a published state; the default one is closed.
    pub fn resume(settings: Settings, state: BreakerState, now: Instant) -> Self {
        let window = Window::new(settings.window, now);
        let lost_by = Fault::default();
        Self { settings, state, window, consecutive: 0, lost_by, probes_passed: 0, rechecked: now }
    }

    /// Takes over new settings; the state stays, and so do the counts unless the window's length changed. A breaker
    /// that is turned off closes.
    pub fn reconfigure(&mut self, settings: Settings, now: Instant) -> Option<Change> {
        if settings.window != self.settings.window {
            self.window = Window::new(settings.window, now);
        }
        self.settings = settings;
        let closes = !self.settings.enabled && !matches!(self.state.phase, Phase::Closed);
        closes.then(|| self.shift(Phase::Closed, self.state.held, TripReason::TurnedOff, now))
    }

    /// Counts what a worker reports. Calls of another epoch count for nothing. `draw` is uniform in 0–1 and
    /// jitters the open time.
    pub fn on_run(&mut self, run: &Run, now: Instant, draw: f64) -> Option<Change> {
        if run.epoch != self.state.epoch {
            return None;
        }
        match self.state.phase {
            _ if self.state.forced() || !self.settings.enabled => {
                self.count(run, now);
                None
            }
            Phase::Closed => {
                self.count(run, now);
                let (reason, fault) = self.tripped(now)?;
                Some(self.open(0, fault, reason, now, draw))
            }
            Phase::HalfOpen { reopened, ref permits } => {
                let fault = permits.fault;
                self.count(run, now);
                self.judge_probes(run, reopened, fault, now, draw)
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
        match &self.state.phase {
            _ if self.state.forced() => Some(self.release(now)),
            Phase::Open { reopened, fault, .. } => {
                let phase = self.half_open(*reopened, *fault);
                Some(self.shift(phase, None, TripReason::WaitOver, now))
            }
            Phase::HalfOpen { permits, reopened } if permits.is_shut() => {
                let (again, fault) = (reopened.saturating_add(1), permits.fault);
                Some(self.open(again, fault, TripReason::ProbeFailed, now, draw))
            }
            _ => None,
        }
    }

    /// A check or a connection begun at `asked` has succeeded: an open breaker goes half-open at once. After a failed probe
    /// only if the check before had failed (`again`), else a target whose checks pass and whose requests fail would be
    /// probed without the growing pauses.
    pub fn on_well(&mut self, again: bool, asked: Instant, now: Instant) -> Option<Change> {
        match self.state.phase {
            Phase::Open { reopened, fault, .. }
                if !self.state.forced()
                    && (again || reopened == 0)
                    && self.state.changed.is_none_or(|opened| opened <= asked) =>
            {
                let phase = self.half_open(reopened, fault);
                Some(self.shift(phase, None, TripReason::FoundWell, now))
            }
            _ => None,
        }
    }

    /// After how long a connection is tried to a target that refuses them: an eighth of the pause, at least [`SOONEST_KNOCK`].
    /// `None` unless it is open for that reason.
    pub fn knocks_in(&self) -> Option<Duration> {
        match self.state.phase {
            Phase::Open { reopened, fault: Fault::Refused, .. } if !self.state.forced() => {
                let pause = open_time(self.settings.reset_timeout, reopened, 0.5);
                Some((pause / 8).max(SOONEST_KNOCK))
            }
            _ => None,
        }
    }

    /// When [`on_timer`](Self::on_timer) next has something to do.
    pub fn due(&self) -> Option<Instant> {
        match (&self.state.held, &self.state.phase) {
            (Some(held), _) => held.until,
            (None, Phase::Closed) => None,
            (None, Phase::Open { until, .. }) => Some(*until),
            (None, Phase::HalfOpen { .. }) => Some(saturating_deadline(self.rechecked, RECHECK)),
        }
    }

    /// Begins or ends an operator's hold; `None` when there was none to end.
    pub fn hold(&mut self, wish: HoldState, ttl: Option<Duration>, now: Instant) -> Option<Change> {
        let open = match wish {
            HoldState::Open => true,
            HoldState::Closed => false,
            HoldState::Auto => return self.state.forced().then(|| self.release(now)),
        };
        Some(self.hold_as(Held { open, until: ttl.map(|ttl| saturating_deadline(now, ttl)) }, now))
    }

    /// Joins a hold that other breakers of the backend are under.
    pub fn hold_as(&mut self, held: Held, now: Instant) -> Change {
        let phase = self.state.phase.clone();
        self.shift(phase, Some(held), TripReason::Held, now)
    }

    /// What is to be published.
    pub fn state(&self) -> &BreakerState {
        &self.state
    }

    /// Calls that have not reached the target since the last one that did.
    pub fn consecutive_failures(&self) -> u32 {
        self.consecutive
    }

    /// Sums over the window.
    pub fn totals(&self, now: Instant) -> Totals {
        self.window.totals(now)
    }

    fn count(&mut self, run: &Run, now: Instant) {
        if run.answered > 0 || run.failed > 0 || run.reached > 0 {
            self.consecutive = 0;
        }
        if run.lost > 0 {
            self.consecutive = self.consecutive.saturating_add(run.lost);
            self.lost_by = if run.refused { Fault::Refused } else { Fault::Unanswered };
        }
        let [answered, failed, lost, broke_off] =
            [run.answered, run.failed, run.lost, run.broke_off].map(u64::from);
        let totals = Totals {
            calls: answered + failed + lost,
            failures: failed + lost + broke_off,
            slow: run.slow.into(),
        };
        self.window.add(totals, now);
    }

    /// Why it has to open, and what is held against the target then.
    fn tripped(&self, now: Instant) -> Option<(TripReason, Fault)> {
        let rules = &self.settings;
        let fault = if self.consecutive > 0 { self.lost_by } else { Fault::Answers };
        if rules.failure_threshold > 0 && self.consecutive >= rules.failure_threshold {
            return Some((TripReason::ConsecutiveFailures(self.consecutive), fault));
        }
        let totals = self.window.totals(now);
        if totals.calls < u64::from(rules.min_requests.max(1)) {
            return None;
        }
        if rules.failure_rate > 0.0 && totals.failure_rate() >= rules.failure_rate {
            return Some((TripReason::FailureRate(totals.failure_rate()), fault));
        }
        let slow = self.slow_counts() && totals.slow_rate() >= rules.slow_call_rate;
        slow.then(|| (TripReason::SlowCallRate(totals.slow_rate()), Fault::Answers))
    }

    fn slow_counts(&self) -> bool {
        !self.settings.slow_call.is_zero() && self.settings.slow_call_rate > 0.0
    }

    /// In the order in which the probes ended, so a batch decides as single reports would have.
    fn judge_probes(
        &mut self,
        run: &Run,
        reopened: u32,
        fault: Fault,
        now: Instant,
        draw: f64,
    ) -> Option<Change> {
        let again = reopened.saturating_add(1);
        let (passed, failed) = match fault {
            Fault::Answers if run.slow > 0 && self.slow_counts() => {
                return Some(self.open(again, fault, TripReason::ProbeSlow, now, draw));
            }
            Fault::Answers => (run.answered, run.failed > 0 || run.broke_off > 0),
            Fault::Refused | Fault::Unanswered => (run.answered + run.failed + run.reached, false),
        };
        self.probes_passed = self.probes_passed.saturating_add(passed);
        if self.probes_passed >= self.settings.success_threshold.max(1) {
            return Some(self.shift(Phase::Closed, None, TripReason::ProbesPassed, now));
        }
        let fault = if run.lost > 0 { self.lost_by } else { fault };
        (failed || run.lost > 0).then(|| self.open(again, fault, TripReason::ProbeFailed, now, draw))
    }

    fn open(&mut self, reopened: u32, fault: Fault, reason: TripReason, now: Instant, draw: f64) -> Change {
        let until = saturating_deadline(now, open_time(self.settings.reset_timeout, reopened, draw));
        self.shift(Phase::Open { until, reopened, fault }, None, reason, now)
    }

    fn half_open(&self, reopened: u32, fault: Fault) -> Phase {
        Phase::HalfOpen { permits: Permits::new(self.settings.half_open_requests, fault), reopened }
    }

    fn release(&mut self, now: Instant) -> Change {
        let phase = match &self.state.phase {
            Phase::Open { until, reopened, fault } if *until <= now => self.half_open(*reopened, *fault),
            same => same.clone(),
        };
        self.shift(phase, None, TripReason::HoldEnded, now)
    }

    /// The one place where the state changes.
    fn shift(&mut self, phase: Phase, held: Option<Held>, reason: TripReason, now: Instant) -> Change {
        let from = self.state.circuit();
        self.state.epoch += 1;
        self.state.phase = phase;
        self.state.held = held;
        let to = self.state.circuit();
        if from != to {
            self.state.changed = Some(now);
            self.state.opened += u64::from(to == CircuitState::Open);
        }
        (self.consecutive, self.probes_passed, self.rechecked) = (0, 0, now);
        self.window.clear();
        Change { from, to, reason }
    }
}

/// [`FIRST_PAUSE`]; doubled with every reopening in a row, ± 10 % so that gateways do not probe in step, never above
/// the configured one.
fn open_time(longest: Duration, reopened: u32, draw: f64) -> Duration {
    if reopened == 0 {
        return FIRST_PAUSE.min(longest);
    }
    let doubled = FIRST_PAUSE.saturating_mul(1 << reopened.min(31)).min(longest);
    let swing = doubled / 10;
    (doubled - swing + swing.mul_f64(2.0 * draw.clamp(0.0, 1.0))).min(longest)
}
