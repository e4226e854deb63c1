//! Tests of the breaker: the machine as a table, random schedules, and the actor around it.

mod actor;
mod machine;
mod meaning;
mod permits;
mod schedules;

use std::time::{Duration, Instant};

use super::breaker_state::{Admission, CircuitState, Refusal, SharedBreakerState};
use super::messages::{HoldState, Outcomes, Run, TripReason};
use super::outcome::{Fault, Outcome};
use super::settings::Settings;
use super::state::{Breaker, Change};
use crate::target::TargetId;

/// Jitter in the middle of its range: none.
const MIDDLE: f64 = 0.5;

/// A breaker, the shared state that it publishes, and a clock that only moves when told to.
struct Rig {
    breaker: Breaker,
    cell: SharedBreakerState,
    now: Instant,
}

impl Rig {
    fn new(settings: Settings) -> Self {
        let now = Instant::now();
        Self {
            breaker: Breaker::resume(settings, Default::default(), now),
            cell: SharedBreakerState::default(),
            now,
        }
    }

    fn state(&self) -> CircuitState {
        self.cell.peek()
    }

    fn epoch(&self) -> u64 {
        self.cell.load().epoch
    }

    fn admit(&self) -> Result<Admission, Refusal> {
        self.cell.admit(self.now)
    }

    fn apply(&mut self, change: Option<Change>) -> Option<TripReason> {
        let change = change?;
        self.cell.publish(self.breaker.state().clone());
        assert_eq!(change.to, self.cell.peek());
        Some(change.reason)
    }

    fn report(&mut self, epoch: u64, successes: u32, failures: u32, slow: u32) -> Option<TripReason> {
        self.run(Run {
            target: TargetId(1),
            epoch,
            answered: successes,
            lost: failures,
            slow,
            ..Run::default()
        })
    }

    fn run(&mut self, run: Run) -> Option<TripReason> {
        let change = self.breaker.on_run(&run, self.now, MIDDLE);
        self.apply(change)
    }

    /// One call of the current epoch.
    fn end(&mut self, outcome: Outcome) -> Option<TripReason> {
        let mut batch = Outcomes::default();
        batch.add(TargetId(1), self.epoch(), outcome, false);
        self.run(batch.runs[0])
    }

    fn succeed(&mut self, times: u32) -> Option<TripReason> {
        self.report(self.epoch(), times, 0, 0)
    }

    /// The target was not reached.
    fn fail(&mut self, times: u32) -> Option<TripReason> {
        self.report(self.epoch(), 0, times, 0)
    }

    fn hold(&mut self, wish: HoldState, ttl: Option<Duration>) -> Option<TripReason> {
        let change = self.breaker.hold(wish, ttl, self.now);
        self.apply(change)
    }

    fn wait(&mut self, time: Duration) -> Option<TripReason> {
        self.now += time;
        let change = self.breaker.on_timer(self.now, MIDDLE);
        self.apply(change)
    }

    /// How long the breaker has decided to stay as it is.
    fn due_in(&self) -> Duration {
        self.breaker.due().map_or(Duration::MAX, |due| due.saturating_duration_since(self.now))
    }

    /// Trips a closed breaker by bad answers and waits until it is half-open.
    fn reach_half_open_by_answers(&mut self) {
        for _ in 0..20 {
            self.end(Outcome::Failed);
        }
        assert_eq!(self.state(), CircuitState::Open);
        self.wait(self.due_in());
        assert_eq!(self.state(), CircuitState::HalfOpen);
    }

    /// Trips a closed breaker by consecutive failures and waits until it is half-open.
    fn reach_half_open(&mut self) {
        self.fail(5);
        assert_eq!(self.state(), CircuitState::Open);
        self.wait(self.due_in());
        assert_eq!(self.state(), CircuitState::HalfOpen);
    }
}
