//! What one configuration means to the request path: immutable, published whole, read without a lock.
//!
//! A request keeps the snapshot that it started with. Targets, their state and their counters are shared with the
//! snapshots before and after as long as the configuration does not change them.

use std::cell::OnceCell;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use aegis_actors::TargetState;
use aegis_actors::metrics_aggregator::Labels;
use aegis_actors::rate_limiter::settings::RedisSettings;
use aegis_actors::traffic::{Counters, Timings};
use arc_swap::ArcSwapOption;
use regex::RegexSet;

use super::own_paths::OwnPaths;
use super::rate_limit::HeaderCache;
use super::rate_limit::rules::Limits;
use super::request_body::RequestFraming;
use super::retry_budget::{Budget, Share};
use super::upstream::{Pool, TargetTls, Terms};
use crate::auth::ip_rules::IpRules;
use crate::auth::{Access, Auth, IdentityFields};
use crate::config::settings::{
    Backend as BackendSettings, ClientAuth, EscapedSlash, Logging, Route as RouteSettings, Via,
    WhenAllUnhealthy,
};
use crate::router::Router;

/// One generation of everything that the request path needs.
pub struct Snapshot {
    /// Counts applied configurations from 1.
    pub generation: u64,
    /// Tells configurations apart; see [`crate::config::hash`].
    pub config_hash: String,
    /// `server.bodyLimitBytes`; 0 = unlimited.
    pub body_limit: u64,
    /// `server.trustedProxies`.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// `server.paths.escapedSlash`.
    pub escaped_slash: EscapedSlash,
    /// `server.via`.
    pub via: Via,
    /// `logging`.
    pub logging: Logging,
    /// Answered by the gateway before any route.
    pub own_paths: OwnPaths,
    /// Payload: index into `routes`.
    pub router: Router<usize>,
    /// Every route, in the order of the file.
    pub routes: Vec<Route>,
    /// Of requests that meet none of them.
    pub unrouted: Arc<RouteCounters>,
    /// Every backend, in the order of the file.
    pub backends: Vec<Arc<Backend>>,
    /// `auth`, where it is enabled.
    pub auth: Option<Auth>,
    /// `auth.ip`.
    pub ip: IpRules,
    /// The fields that tell upstreams who it is.
    pub identity_fields: IdentityFields,
    /// `rateLimit`, where it is enabled.
    pub limits: Option<Limits>,
    /// `metrics.enabled`.
    pub metrics: bool,
    /// `metrics.slowRequestMs`.
    pub slow_request: Duration,
    /// The names of `routes`, for the metrics.
    pub labels: Arc<Labels>,
    /// `redis`.
    pub redis: Option<RedisSettings>,
    /// What is judged beside the requests; for the alerts actor.
    pub alerts: Option<Arc<aegis_actors::alerts::Settings>>,
}

/// A worker's handle on a snapshot: cloned per request without touching shared memory.
#[derive(Clone)]
pub struct SnapshotRef(Rc<View>);

/// A snapshot with what this worker keeps for each of its backends, by position.
struct View {
    snapshot: Arc<Snapshot>,
    locals: Vec<BackendLocal>,
    /// A clone of the limits' own: matching needs room to work in, which threads would otherwise take turns with.
    limit_paths: RegexSet,
    /// What answers say of each limit, by its place.
    header_caches: Vec<HeaderCache>,
}

/// One worker's part of a backend.
#[derive(Default)]
pub struct BackendLocal {
    /// Its share of the retry budget.
    pub share: Share,
    /// Its connections, by position of the target.
    pub pools: Vec<OnceCell<Rc<Pool>>>,
    /// The `Host` of each target: copies, so that the workers do not count references on the same line of memory.
    pub hosts: Vec<Rc<str>>,
}

impl SnapshotRef {
    /// A handle for this thread; pools of targets that `before` had as well are carried over.
    pub fn new(snapshot: Arc<Snapshot>, before: Option<&Self>) -> Self {
        let known = |target: &Arc<Target>| {
            let before = before?;
            let mut backends = before.backends.iter().zip(&before.0.locals);
            backends.find_map(|(backend, local)| {
                let same = |old: &Arc<Target>| {
                    old.shared.id == target.shared.id && old.connection_settings == target.connection_settings
                };
                let at = backend.targets.iter().position(same)?;
                local.pools[at].get().cloned()
            })
        };
        let pool = |target: &Arc<Target>| known(target).map_or_else(OnceCell::new, OnceCell::from);
        let share = |backend: &Arc<Backend>| {
            let old = before?.backends.iter().position(|old| old.name == backend.name)?;
            Some(before?.0.locals[old].share.clone())
        };
        let local = |backend: &Arc<Backend>| BackendLocal {
            share: share(backend).unwrap_or_default(),
            pools: backend.targets.iter().map(pool).collect(),
            hosts: backend.targets.iter().map(|target| Rc::from(&*target.host)).collect(),
        };
        let locals = snapshot.backends.iter().map(local).collect();
        let limit_paths =
            snapshot.limits.as_ref().map_or_else(RegexSet::empty, |limits| limits.paths().clone());
        let limits = snapshot.limits.iter().flat_map(Limits::all);
        let header_caches = limits.map(|limited| HeaderCache::new(&limited.shared)).collect();
        Self(Rc::new(View { snapshot, locals, limit_paths, header_caches }))
    }

    /// Whether this is the handle of `other`.
    pub fn is(&self, other: &Arc<Snapshot>) -> bool {
        Arc::ptr_eq(&self.0.snapshot, other)
    }

    /// This worker's matcher for the paths of the limits.
    pub fn limit_paths(&self) -> &RegexSet {
        &self.0.limit_paths
    }

    /// What this worker's answers say of each limit, by its place.
    pub fn header_caches(&self) -> &[HeaderCache] {
        &self.0.header_caches
    }

    /// This worker's part of a backend.
    pub fn local(&self, backend: &Backend) -> &BackendLocal {
        &self.0.locals[backend.index]
    }
}

impl Deref for SnapshotRef {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.0.snapshot
    }
}

/// One route with everything resolved that it inherits.
pub struct Route {
    /// As written.
    pub pattern: String,
    /// What limits by route call it: the pattern, with what else tells it from others of the same pattern.
    pub limited_as: String,
    pub backend: Arc<Backend>,
    /// Whole request until the response head.
    pub timeout: Duration,
    /// One try, until its response head.
    pub first_byte_timeout: Duration,
    /// 0 = unlimited.
    pub body_limit: u64,
    pub deny: bool,
    /// Whether its clients must show a certificate.
    pub client_auth: ClientAuth,
    pub strip_prefix: Option<String>,
    pub add_prefix: Option<String>,
    pub counters: Arc<RouteCounters>,
    /// What it wants of who comes in.
    pub access: Access,
    /// As configured.
    pub settings: RouteSettings,
}

impl Route {
    /// Whether a body has said itself that it is larger than allowed.
    pub fn is_too_long(&self, framing: RequestFraming) -> bool {
        matches!(framing, RequestFraming::Length(length) if self.body_limit != 0 && length > self.body_limit)
    }
}

/// What happened on one route; shared by all generations that have it.
pub struct RouteCounters {
    pub hits: Counters,
    /// Of bodies and tunnels, from clients and to them, as they go.
    pub bytes_in: Counters,
    pub bytes_out: Counters,
    /// Milliseconds since the Unix epoch; 0 = never.
    pub last_hit_ms: AtomicU64,
}

impl RouteCounters {
    /// Notes a hit at that time; a second's resolution is enough, and a write that all workers would see each time
    /// is not.
    pub fn touch(&self, now_ms: u64) {
        // A clock may be set back.
        if now_ms.abs_diff(self.last_hit_ms.load(Ordering::Relaxed)) >= 1000 {
            self.last_hit_ms.store(now_ms, Ordering::Relaxed);
        }
    }

    /// Counters at zero for `workers` workers.
    pub fn new(workers: usize) -> Arc<Self> {
        let counters = || Counters::new(workers);
        let (hits, bytes_in, bytes_out) = (counters(), counters(), counters());
        Arc::new(Self { hits, bytes_in, bytes_out, last_hit_ms: Default::default() })
    }
}

/// Counts the bytes of one request's body for its route, as they come.
pub struct Meter {
    snapshot: SnapshotRef,
    route: usize,
    worker: usize,
}

impl Meter {
    /// For a request on that worker.
    pub fn new(snapshot: SnapshotRef, route: usize, worker: usize) -> Self {
        Self { snapshot, route, worker }
    }

    /// So many have come.
    pub fn count(&self, bytes: u64) {
        self.snapshot.routes[self.route].counters.bytes_in.add(self.worker, bytes);
    }
}

/// One backend.
pub struct Backend {
    pub name: String,
    /// Position in [`Snapshot::backends`].
    pub index: usize,
    pub settings: BackendSettings,
    pub targets: Vec<Arc<Target>>,
    /// Order in which round robin visits the targets, by index; smooth by weight.
    pub turns: Vec<usize>,
    /// Next turn; the one word that round robin shares over all workers.
    pub turn: AtomicUsize,
    pub budget: Arc<Budget>,
    pub counters: Arc<BackendCounters>,
    /// Changes with the TLS settings and the CA bundle's content.
    pub tls_fingerprint: u64,
    /// For `https://` targets.
    pub tls_config: Option<Arc<rustls::ClientConfig>>,
}

impl Backend {
    /// Whether the configuration says to take unhealthy targets, too, since nobody who may take requests is healthy.
    pub fn ignores_health(&self) -> bool {
        self.settings.when_all_unhealthy == WhenAllUnhealthy::RouteAll
            && self.targets.iter().all(|target| {
                target.shared.drained.load(Ordering::Relaxed) || !target.shared.health.is_healthy()
            })
    }
}

/// What happened on one backend.
pub struct BackendCounters {
    pub requests: Counters,
    /// By status class 1xx–5xx of what the upstream answered.
    pub statuses: [Counters; 5],
    pub retries: Counters,
    pub retries_refused: Counters,
    /// Tries by the connection that they went out on, those to targets that are gone included.
    pub connections_new: Counters,
    pub connections_reused: Counters,
}

impl BackendCounters {
    /// Counters at zero for `workers` workers.
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            requests: Counters::new(workers),
            statuses: std::array::from_fn(|_| Counters::new(workers)),
            retries: Counters::new(workers),
            retries_refused: Counters::new(workers),
            connections_new: Counters::new(workers),
            connections_reused: Counters::new(workers),
        })
    }
}

/// One target.
pub struct Target {
    pub shared: Arc<TargetState>,
    pub weight: u32,
    /// A reload carries pools over only where this is the same.
    pub connection_settings: ConnectionSettingsId,
    /// The `Host` of requests to it.
    pub host: Box<str>,
    pub tls: Option<TargetTls>,
    pub terms: Terms,
    pub counters: Arc<TargetCounters>,
}

/// Stands for all settings by which connections to a target are made: another one after every change of those.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionSettingsId(u64);

impl ConnectionSettingsId {
    /// One that no other target had before.
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What happened on one target.
pub struct TargetCounters {
    /// When a try came to nothing last, and why.
    pub last_failure: ArcSwapOption<(SystemTime, Box<str>)>,
    /// Tries.
    pub requests: Counters,
    pub failures: Counters,
    /// Of tries, until the response head.
    pub latency: Timings,
    pub connections_new: Counters,
    pub connections_reused: Counters,
}

impl TargetCounters {
    /// Counters at zero for `workers` workers.
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            last_failure: ArcSwapOption::empty(),
            requests: Counters::new(workers),
            failures: Counters::new(workers),
            latency: Timings::new(workers),
            connections_new: Counters::new(workers),
            connections_reused: Counters::new(workers),
        })
    }
}

/// Smooth weighted round robin (nginx's): the sequence of one full turn, in which a heavy target's turns are spread.
/// Weights are divided by their greatest common divisor; beyond 10 000 turns they are scaled down.
pub fn smooth_turns(weights: &[u32]) -> Vec<usize> {
    const MOST: u64 = 10_000;
    let divisor = weights.iter().fold(0, |a, b| gcd(a, *b)).max(1);
    let mut weights: Vec<i64> = weights.iter().map(|w| i64::from(w / divisor)).collect();
    let total: i64 = weights.iter().sum();
    if total as u64 > MOST {
        weights.iter_mut().for_each(|w| *w = (*w * MOST as i64 / total).max(1));
    }
    let total: i64 = weights.iter().sum();
    let mut current = vec![0; weights.len()];
    (0..total)
        .map(|_| {
            let mut best = 0;
            for i in 0..weights.len() {
                current[i] += weights[i];
                if current[i] > current[best] {
                    best = i;
                }
            }
            current[best] -= total;
            best
        })
        .collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_robin_spreads_a_heavy_targets_turns() {
        assert_eq!(smooth_turns(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(smooth_turns(&[2, 2]), [0, 1]);
        assert_eq!(smooth_turns(&[1000, 500]), [0, 1, 0]);
        assert!(smooth_turns(&[1000; 300]).len() == 300);
    }
}
