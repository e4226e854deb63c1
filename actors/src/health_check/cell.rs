//! What the health checks publish and the balancer reads.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;

use crate::slow_start;

/// The published, immutable verdict on one target. The default is healthy and never checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// False from the check that reached the unhealthy threshold to the one that reached the healthy one.
    pub healthy: bool,
    /// When `healthy` last changed; `None` if it never did.
    pub since: Option<Instant>,
    /// Passed checks in a row.
    pub passes: u32,
    /// Failed checks in a row.
    pub failures: u32,
    /// What the last check said if it failed; may name the upstream's address, so it is for operators only.
    pub last_error: Option<String>,
    /// When the last check ended, by the wall clock; `None` if there was none.
    pub last_check: Option<SystemTime>,
}

impl Default for Health {
    fn default() -> Self {
        Self { healthy: true, since: None, passes: 0, failures: 0, last_error: None, last_check: None }
    }
}

/// The cell of one target's health. Written by the health check actor, read by every request.
#[derive(Debug, Default)]
pub struct HealthCell(ArcSwap<Health>);

impl HealthCell {
    /// Replaces the verdict.
    pub fn publish(&self, health: Health) {
        self.0.store(Arc::new(health));
    }

    /// True unless checks have said otherwise; a target that was never checked is healthy.
    #[inline]
    pub fn is_healthy(&self) -> bool {
        self.0.load().healthy
    }

    /// The verdict as last published.
    pub fn load(&self) -> Arc<Health> {
        self.0.load_full()
    }

    /// 0.1 rising to 1.0 over ten seconds after the target came back healthy; 1.0 in every other case, the
    /// first start included.
    pub fn weight_factor(&self, now: Instant) -> f32 {
        let health = self.0.load();
        if health.healthy { slow_start::warmth(health.since, now) } else { 1.0 }
    }
}
