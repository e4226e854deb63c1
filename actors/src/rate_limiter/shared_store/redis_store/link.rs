//! The one connection of a store: made when it is first needed, thrown away when it fails, made anew.
//!
//! An attempt runs as a task of its own, because it may take longer than the question that caused it may wait. There is
//! one attempt at a time, bounded in time, and after one that failed the next begins at least [`PAUSE`] later, so that a
//! server that is away or frozen costs next to nothing: a question waits for an attempt only while that is younger than its own patience, and is
//! otherwise refused at once with the reason of the last failure.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::super::StoreError;
use super::connect::{Held, Pipe, Source};

/// Between the beginnings of two attempts to connect, plus up to as much again at random: instances that lost the same
/// server do not come back in step.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection, and which one it is.
pub(super) struct Current {
    pub(super) pipe: Pipe,
    pub(super) number: u64,
}

pub(super) struct Link {
    source: Source,
    /// A question waits for an attempt until that is so old.
    patience: Duration,
    state: Mutex<LinkState>,
    changed: Notify,
}

struct LinkState {
    phase: Phase,
    /// Attempts begun.
    number: u64,
    /// No attempt begins before.
    not_before: Instant,
}

enum Phase {
    Down { why: String },
    Connecting { since: Instant, why: String },
    Up { held: Held },
}

/// What a question that needs a connection finds.
enum Found {
    Up(Current),
    Wait { until: Instant, why: String },
    Down { why: String },
}

impl Link {
    pub(super) fn new(source: Source, patience: Duration) -> Self {
        let state = LinkState {
            phase: Phase::Down { why: "not connected yet".to_owned() },
            number: 0,
            not_before: Instant::now(),
        };
        Self { source, patience, state: Mutex::new(state), changed: Notify::new() }
    }

    /// The connection; begins to connect where there is none. Waits until `deadline` at most.
    pub(super) async fn current(self: &Arc<Self>, deadline: Instant) -> Result<Current, StoreError> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            match self.look() {
                Found::Up(current) => return Ok(current),
                Found::Down { why } => return Err(away(&why)),
                Found::Wait { until, why } => {
                    if timeout_at(until.min(deadline), changed).await.is_err() {
                        return Err(away(&why));
                    }
                }
            }
        }
    }

    /// That connection does not work: the next question gets another.
    pub(super) fn discard(&self, number: u64, why: &str) {
        let mut state = self.state();
        if state.number != number || !matches!(state.phase, Phase::Up { .. }) {
            return;
        }
        let down = Phase::Down { why: why.to_owned() };
        if let Phase::Up { held } = std::mem::replace(&mut state.phase, down) {
            held.discard();
        }
        drop(state);
        log::debug!("redis: connection given up: {why}");
    }

    fn look(self: &Arc<Self>) -> Found {
        let now = Instant::now();
        let mut state = self.state();
        let number = state.number;
        let why = match &state.phase {
            Phase::Up { held } => return Found::Up(Current { pipe: held.pipe(), number }),
            // The task reports in time, unless the runtime that it ran on is gone.
            Phase::Connecting { since, why } if now < *since + 2 * self.source.attempt() => {
                let (until, why) = (*since + self.patience, why.clone());
                return if now < until { Found::Wait { until, why } } else { Found::Down { why } };
            }
            Phase::Connecting { why, .. } | Phase::Down { why } => why.clone(),
        };
        if now < state.not_before {
            return Found::Down { why };
        }
        state.number += 1;
        state.not_before = now + PAUSE.mul_f64(1.0 + fastrand::f64());
        state.phase = Phase::Connecting { since: now, why: why.clone() };
        let (link, number) = (Arc::clone(self), state.number);
        drop(state);
        tokio::spawn(async move {
            let outcome = link.source.connect().await;
            link.connected(number, outcome);
        });
        Found::Wait { until: now + self.patience, why }
    }

    fn connected(&self, number: u64, outcome: Result<Held, String>) {
        let mut state = self.state();
        if state.number == number && matches!(state.phase, Phase::Connecting { .. }) {
            state.phase = match outcome {
                Ok(held) => {
                    // It has answered: if it stands still for a moment, the next connection need not wait.
                    state.not_before = Instant::now();
                    Phase::Up { held }
                }
                Err(why) => Phase::Down { why },
            };
        }
        drop(state);
        self.changed.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, LinkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn away(why: &str) -> StoreError {
    StoreError::new(format!("redis is away: {why}"))
}
