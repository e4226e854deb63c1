//! A target as everybody shares it: an identity, and one published value per owner of a fact about it.
//!
//! It is read on the request path without a lock or a message; each value has exactly one writer: the
//! breaker actor (`breaker`), the health actor (`health`), the resolver (`addresses`, `unresolved`), the supervisor (`drained`).
//! A target outlives reloads that do not change it, and so does everything in it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;

use crate::circuit_breaker::SharedBreakerState;
use crate::health_check::HealthCell;

/// Unique for the life of the process; a reload keeps that of a backend's target with the same URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetId(pub u64);

impl TargetId {
    /// The next unused identity.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The shared state of one target.
#[derive(Debug)]
pub struct TargetState {
    /// Identity, for reports and connection pools.
    pub id: TargetId,
    /// Name of the backend it belongs to, for events and metrics.
    pub backend: String,
    /// `scheme://host:port`, for events and metrics; never shown to a gateway client.
    pub url: String,
    /// Since when there is this state: a reload may bring a target into a process that has run for long.
    pub since: Instant,
    /// Written by the circuit breaker actor.
    pub breaker: SharedBreakerState,
    /// Written by the health check actor.
    pub health: HealthCell,
    /// Written by the resolver actor; one fixed entry for an IP literal.
    pub addresses: ArcSwap<Vec<SocketAddr>>,
    /// Written by the resolver actor: true until the host name has been looked up once, whatever came of it.
    pub unresolved: AtomicBool,
    /// Written by the supervisor: true while an operator keeps new requests away.
    pub drained: AtomicBool,
    /// Requests in flight over all workers; the request path counts it up and down.
    pub in_flight: AtomicUsize,
    /// Websockets and other tunnels, likewise.
    pub tunnels: AtomicUsize,
}

impl TargetState {
    /// Fresh state: breaker closed, healthy, not drained, nothing in flight.
    pub fn new(backend: &str, url: &str, addresses: Vec<SocketAddr>) -> Arc<Self> {
        Arc::new(Self {
            id: TargetId::next(),
            backend: backend.to_owned(),
            url: url.to_owned(),
            since: Instant::now(),
            breaker: SharedBreakerState::default(),
            health: HealthCell::default(),
            unresolved: AtomicBool::new(addresses.is_empty()),
            addresses: ArcSwap::from_pointee(addresses),
            drained: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            tunnels: AtomicUsize::new(0),
        })
    }

    /// The share of its weight that the balancer should give this target now, 0.1–1.0: below 1.0 for the ten
    /// seconds after its breaker closed or its checks passed again, 1.0 otherwise. Says nothing about whether
    /// the target may be used at all.
    pub fn warmth(&self, now: Instant) -> f32 {
        self.breaker.warmth(now).min(self.health.weight_factor(now))
    }
}
