//! The permits of one half-open spell: so many probes at once, and none after one has failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::outcome::{Fault, Outcome};

/// The value that closes a spell: no permit is free and none ever will be.
const SHUT: u32 = u32::MAX;

/// The free permits of one half-open spell.
#[derive(Debug)]
pub struct Permits {
    free: AtomicU32,
    /// What the probes are asked about.
    pub(super) fault: Fault,
}

impl Permits {
    /// That many free permits, at least one.
    pub fn new(count: u32, fault: Fault) -> Arc<Self> {
        Arc::new(Self { free: AtomicU32::new(count.clamp(1, SHUT - 1)), fault })
    }

    /// Takes a permit if one is free.
    pub fn take(self: &Arc<Self>) -> Option<ProbePermit> {
        let taken = self.change(|free| free.checked_sub(1));
        taken.then(|| ProbePermit { permits: self.clone() })
    }

    /// Permits that could be taken now.
    pub fn free(&self) -> u32 {
        match self.free.load(Ordering::Acquire) {
            SHUT => 0,
            free => free,
        }
    }

    /// True once a probe of this spell has failed.
    pub fn is_shut(&self) -> bool {
        self.free.load(Ordering::Acquire) == SHUT
    }

    fn change(&self, step: impl Fn(u32) -> Option<u32>) -> bool {
        let step = |free| if free == SHUT { None } else { step(free) };
        self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, step).is_ok()
    }
}

/// One probe's permit. Dropping it gives it back, so every way out does: an answer, an error, a client that
/// went away, a panic.
#[derive(Debug)]
pub struct ProbePermit {
    permits: Arc<Permits>,
}

impl ProbePermit {
    /// The probe has ended. One that has failed ends the half-open spell at once, so that no other starts while the
    /// report of it is still on its way to the breaker. The report must be sent all the same.
    pub fn end(self, outcome: Outcome, slow: bool) {
        if self.permits.fault.stays(outcome, slow) {
            self.permits.free.store(SHUT, Ordering::Release);
        }
    }
}

impl Drop for ProbePermit {
    fn drop(&mut self) {
        self.permits.change(|free| Some(free + 1));
    }
}
