//! What all workers of a gateway share: the published snapshot, where reports go, and the stop signals.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use actix_http::{Method, StatusCode};
use aegis_actors::circuit_breaker::Outcomes;
use aegis_actors::identity::Asker;
use aegis_actors::metrics_aggregator::{Metrics, Records};
use aegis_actors::rate_limiter::settings::MAX_KEYS;
use aegis_actors::rate_limiter::{Asks, Limiter, Sightings};
use aegis_actors::traffic::Counters;
use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use futures_core::future::LocalBoxFuture;
use tokio::sync::watch;

use super::actor_handle::Published;
use super::auth_counters::AuthCounters;
use super::snapshot::{Backend, Snapshot};
use crate::auth::jwt::KeySet;
use crate::config::settings::{self, Settings};

/// An answer of the administration interface.
pub struct InternalAnswer {
    pub status: StatusCode,
    pub content_type: &'static str,
    /// Lower-case name and value of further fields.
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
}

/// A request's claim to the administration interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// None is configured.
    NotConfigured,
    Missing,
    Wrong,
    Right,
}

/// Answers the reserved prefix on the gateway listener. Implemented by the admin module; the gateway does not know
/// what is behind it.
pub trait Internal: Send + Sync {
    /// What a request's `Authorization` says of the admin token.
    fn token(&self, authorization: Option<&str>) -> Token;

    /// Answers one request that has been authorised. `path` and `query` as received.
    fn answer(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        body: Bytes,
    ) -> LocalBoxFuture<'static, InternalAnswer>;
}

/// One gateway; see the module.
pub struct Shared {
    /// The current generation.
    pub snapshot: ArcSwap<Snapshot>,
    /// The circuit breaker actor's address, replaced with the actor.
    pub outcomes: Published<Outcomes>,
    /// What all rate limits have in common.
    pub limiter: Arc<Limiter>,
    /// The rate limiter actor's address, replaced with the actor.
    pub asks: Published<Asks>,
    pub sightings: Published<Sightings>,
    /// Where keys of issuers are asked for that are not there.
    pub keys: Asker<KeySet>,
    /// The metrics aggregator's address, replaced with the actor.
    pub records: Published<Records>,
    /// What it has counted.
    pub metrics: Arc<Metrics>,
    /// Somebody waits for what the workers have counted: they report at their next beat.
    pub report_wanted: AtomicBool,
    /// Open client connections.
    pub connections: Arc<AtomicUsize>,
    /// Client connections accepted.
    pub accepted: Counters,
    /// Behind `/_aegis/`.
    pub internal: ArcSwapOption<Box<dyn Internal>>,
    /// Who may use the administration interface.
    pub admin: ArcSwap<settings::Admin>,
    /// Of the listener: time limits, which a connection takes when it is accepted, and the time for a stop.
    pub server: ArcSwap<settings::Server>,
    /// Requests begun and over; the difference is in flight.
    pub started: Counters,
    pub ended: Counters,
    /// Answers by status class 1xx–5xx, but for those at the gateway's own paths.
    pub statuses: [Counters; 5],
    /// Of them, those that the gateway made itself.
    pub refused: Counters,
    /// Of those who were asked who they are, what came of it.
    pub auth: AuthCounters,
    /// Open upgrade tunnels.
    pub tunnels: AtomicUsize,
    /// True from the stop signal on: `/ready` is 503 and every answer closes its connection.
    pub draining: AtomicBool,
    /// True once the time for a stop is over: what is still under way is cut off, whoever waits for it.
    pub cutting: AtomicBool,
    /// Turns true when tunnels are to end.
    pub stop_tunnels: watch::Sender<bool>,
    /// The next request panics in its handler.
    #[cfg(feature = "test-hooks")]
    pub panic_next: AtomicBool,
    workers: AtomicUsize,
    /// Of them, those whose last log lines and counts are written.
    pub ended_workers: AtomicUsize,
}

impl Shared {
    /// A gateway for `workers` workers that serves `snapshot`, made of `settings`.
    pub fn new(snapshot: Snapshot, settings: &Settings, workers: usize) -> Arc<Self> {
        // Also where nothing is limited yet: requests may meet the first limits before the actor does.
        let max_keys = settings.rate_limit.as_ref().map_or(MAX_KEYS, |limits| limits.max_keys);
        let limiter = Limiter::new(max_keys, settings.redis.is_some() && snapshot.limits.is_some());
        Arc::new(Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            outcomes: Published::empty(),
            limiter,
            asks: Published::empty(),
            sightings: Published::empty(),
            keys: Asker::default(),
            records: Published::empty(),
            metrics: Arc::default(),
            report_wanted: AtomicBool::new(false),
            connections: Arc::default(),
            accepted: Counters::new(workers),
            internal: ArcSwapOption::empty(),
            admin: ArcSwap::from_pointee(settings.admin.clone()),
            server: ArcSwap::from_pointee(settings.server.clone()),
            started: Counters::new(workers),
            ended: Counters::new(workers),
            statuses: std::array::from_fn(|_| Counters::new(workers)),
            refused: Counters::new(workers),
            auth: AuthCounters::new(workers),
            tunnels: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            cutting: AtomicBool::new(false),
            stop_tunnels: watch::Sender::new(false),
            #[cfg(feature = "test-hooks")]
            panic_next: AtomicBool::new(false),
            workers: AtomicUsize::new(0),
            ended_workers: AtomicUsize::new(0),
        })
    }

    /// Panics once after a test has asked for it.
    #[cfg(feature = "test-hooks")]
    pub(super) fn panic_if_asked(&self) {
        if self.panic_next.swap(false, Ordering::Relaxed) {
            panic!("a test asked the next request to panic");
        }
    }

    pub(super) fn next_worker(&self) -> usize {
        self.workers.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether the gateway is on its way out.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whether nothing under way is waited for any more.
    pub fn is_cutting(&self) -> bool {
        self.cutting.load(Ordering::Acquire)
    }

    /// Whether some backend could serve a request now: a target neither drained nor unhealthy, its breaker not open.
    /// Where all targets are unhealthy and the backend says `routeAll`, health is ignored, as the balancer does.
    pub fn can_serve(&self) -> bool {
        self.snapshot.load().backends.iter().any(|backend| could_serve(backend))
    }

    /// Requests that are over, but for those at the gateway's own paths.
    pub fn finished(&self) -> u64 {
        self.statuses.iter().map(Counters::sum).sum()
    }

    /// Threads that serve requests, or have not yet written what they know of those that they served.
    pub fn serving(&self) -> usize {
        self.workers.load(Ordering::Relaxed) - self.ended_workers.load(Ordering::Acquire)
    }

    /// Requests being served.
    pub fn in_flight(&self) -> u64 {
        let ended = self.ended.sum();
        self.started.sum().saturating_sub(ended)
    }
}

fn could_serve(backend: &Backend) -> bool {
    let ignore_health = backend.ignores_health();
    backend.targets.iter().any(|target| {
        let shared = &target.shared;
        !shared.drained.load(Ordering::Relaxed)
            && !shared.addresses.load().is_empty()
            && (ignore_health || shared.health.is_healthy())
            && shared.breaker.peek() != aegis_actors::circuit_breaker::CircuitState::Open
    })
}
