//! The permits of one half-open spell: so many probes at once, and none after one has failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The value that closes a spell: no permit is free and none ever will be.
const SHUT: u32 = u32::MAX;

/// The free permits of one half-open spell.
#[derive(Debug)]
pub struct Permits(AtomicU32);

impl Permits {
    /// That many free permits, at least one.
    pub fn new(count: u32) -> Arc<Self> {
        Arc::new(Self(AtomicU32::new(count.clamp(1, SHUT - 1))))
    }

    /// Takes a permit if one is free.
    pub fn take(self: &Arc<Self>) -> Option<ProbePermit> {
        let taken = self.change(|free| free.checked_sub(1));
        taken.then(|| ProbePermit { permits: self.clone() })
    }

    /// Permits that could be taken now.
    pub fn free(&self) -> u32 {
        match self.0.load(Ordering::Acquire) {
            SHUT => 0,
            free => free,
        }
    }

    /// True once a probe of this spell has failed.
    pub fn is_shut(&self) -> bool {
        self.0.load(Ordering::Acquire) == SHUT
    }

    fn change(&self, step: impl Fn(u32) -> Option<u32>) -> bool {
        let step = |free| if free == SHUT { None } else { step(free) };
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, step).is_ok()
    }
}

/// One probe's permit. Dropping it gives it back, so every way out does: an answer, an error, a client that
/// went away, a panic.
#[derive(Debug)]
pub struct ProbePermit {
    permits: Arc<Permits>,
}

impl ProbePermit {
    /// Ends the half-open spell at once: the probe has failed, so no other may start while the report of it is
    /// still on its way to the breaker. The report must be sent all the same.
    pub fn fail(self) {
        self.permits.0.store(SHUT, Ordering::Release);
    }
}

impl Drop for ProbePermit {
    fn drop(&mut self) {
        self.permits.change(|free| Some(free + 1));
    }
}
