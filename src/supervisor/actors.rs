//! Every supervised actor, one entry each: its name, how an instance is started, what it is told of a snapshot, and who
//! gets its address.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Addr;
use aegis_actors::alerts::{self, AlertActor, Alerts, Ledger};
use aegis_actors::circuit_breaker::{self, CircuitBreakerActor};
use aegis_actors::health_check::{self, HealthCheckActor};
use aegis_actors::identity::{self, IdentityActor};
use aegis_actors::metrics_aggregator::{self, MetricsAggregatorActor, Sink, Writer};
use aegis_actors::rate_limiter::shared_store::RedisStore;
use aegis_actors::rate_limiter::{self, RateLimiterActor};
use aegis_actors::resolver::{self, ResolverActor, SystemLookup};

use super::Supervisor;
use super::children::Entry;
use super::prober::GatewayProber;
use crate::auth::jwt::KeySet;
use crate::config::settings;
use crate::gateway::shared::Shared;
use crate::gateway::snapshot::{Backend, Snapshot, Target};
use crate::identity::HttpFetcher;
use crate::webhook::WebhookPoster;

/// Where the aggregator's rollups go. Fixed for the life of the process.
#[derive(Clone)]
pub struct MetricsStore {
    /// `None`: they stay in memory.
    pub sink: Option<Arc<dyn Sink>>,
    /// Whose they are.
    pub writer: Writer,
    /// `metrics.flushIntervalMs`.
    pub flush_interval: Duration,
    /// Where alerts are kept; `None`: in memory only.
    pub ledger: Option<Arc<dyn Ledger>>,
    /// What is known of alerts.
    pub alerts: Arc<Alerts>,
}

/// All of them, in the order of the status page.
pub fn all(supervisor: &Addr<Supervisor>, shared: &Arc<Shared>, store: &MetricsStore) -> [Entry; 7] {
    [
        breaker(supervisor),
        health(supervisor, shared),
        resolver(),
        limiter(supervisor, shared),
        identity(),
        metrics(shared, store),
        alerts(supervisor, shared, store),
    ]
}

fn breaker(supervisor: &Addr<Supervisor>) -> Entry {
    let transitions = supervisor.clone().recipient();
    Entry::new(
        CircuitBreakerActor::NAME,
        move |arbiter, fence, on_stop| {
            let transitions = transitions.clone();
            let deps = circuit_breaker::Deps { transitions, on_stop, fence, seed: fastrand::u64(..) };
            CircuitBreakerActor::start_in(arbiter, deps)
        },
        |address, snapshot| {
            let guarded = |(backend, target, _): Each<'_>| {
                (target.shared.clone(), backend.settings.circuit_breaker.clone())
            };
            address.do_send(circuit_breaker::Watch { targets: targets(snapshot).map(guarded).collect() });
        },
        |address, shared| shared.outcomes.store(Some(Arc::new(address.recipient()))),
    )
}

fn health(supervisor: &Addr<Supervisor>, shared: &Arc<Shared>) -> Entry {
    let (supervisor, shared) = (supervisor.clone(), shared.clone());
    Entry::new(
        HealthCheckActor::NAME,
        move |arbiter, fence, on_stop| {
            let prober = GatewayProber::factory(shared.clone());
            let (changes, well) = (supervisor.clone().recipient(), supervisor.clone().recipient());
            let deps = health_check::Deps { prober, changes, well, on_stop, fence, seed: fastrand::u64(..) };
            HealthCheckActor::start_in(arbiter, deps)
        },
        |address, snapshot| {
            let checked = |(backend, target, _): Each<'_>| health_check::WatchTarget {
                shared: target.shared.clone(),
                settings: backend.settings.health_check.clone(),
            };
            address.do_send(health_check::Watch { targets: targets(snapshot).map(checked).collect() });
        },
        |_, _| {},
    )
}

fn resolver() -> Entry {
    Entry::new(
        ResolverActor::NAME,
        |arbiter, fence, on_stop| {
            let lookup = SystemLookup::factory();
            let (refresh, retry) = (resolver::REFRESH, resolver::RETRY);
            ResolverActor::start_in(arbiter, resolver::Deps { lookup, refresh, retry, on_stop, fence })
        },
        |address, snapshot| {
            let named = |(_, target, written): Each<'_>| {
                let is_name = written.url.host.parse::<IpAddr>().is_err();
                is_name.then(|| (target.shared.clone(), written.url.host.clone(), written.url.port))
            };
            address.do_send(resolver::Watch { targets: targets(snapshot).filter_map(named).collect() });
        },
        |_, _| {},
    )
}

fn limiter(supervisor: &Addr<Supervisor>, shared: &Arc<Shared>) -> Entry {
    let (limiter, changes) = (shared.limiter.clone(), supervisor.clone().recipient());
    // One name for the life of the process: an actor that replaces another is no other instance.
    let instance = format!("{}-{:016x}", std::process::id(), fastrand::u64(..));
    Entry::new(
        RateLimiterActor::NAME,
        move |arbiter, fence, on_stop| {
            let instance = instance.clone();
            let deps = rate_limiter::Deps {
                limiter: limiter.clone(),
                changes: changes.clone(),
                store: Box::new(move |redis| Ok(Box::new(RedisStore::new(redis, instance.clone())?))),
                on_stop,
                fence,
            };
            RateLimiterActor::start_in(arbiter, deps)
        },
        |address, snapshot| {
            let limits = snapshot.limits.as_ref();
            address.do_send(rate_limiter::Watch {
                limits: limits.iter().flat_map(|limits| limits.all()).map(|one| one.shared.clone()).collect(),
                max_keys: limits.map_or(rate_limiter::settings::MAX_KEYS, |limits| limits.max_keys),
                redis: snapshot.redis.clone().filter(|_| limits.is_some()),
            });
        },
        |address, shared| {
            shared.asks.store(Some(Arc::new(address.clone().recipient())));
            shared.sightings.store(Some(Arc::new(address.recipient())));
        },
    )
}

fn identity() -> Entry {
    Entry::new(
        IdentityActor::<KeySet>::NAME,
        |arbiter, fence, on_stop| {
            let (fetcher, pace, seed) =
                (HttpFetcher::factory(), identity::Pace::default(), fastrand::u64(..));
            IdentityActor::start_in(arbiter, identity::Deps { fetcher, pace, seed, on_stop, fence })
        },
        |address, snapshot| {
            let providers = snapshot.auth.iter().flat_map(|auth| auth.issuers.providers());
            address.do_send(identity::Watch { providers: providers.cloned().collect() });
        },
        |address, shared| shared.keys.publish(address.recipient()),
    )
}

fn metrics(shared: &Arc<Shared>, store: &MetricsStore) -> Entry {
    let (metrics, store) = (shared.metrics.clone(), store.clone());
    Entry::new(
        MetricsAggregatorActor::NAME,
        move |arbiter, fence, on_stop| {
            let deps = metrics_aggregator::Deps {
                metrics: metrics.clone(),
                sink: store.sink.clone(),
                writer: store.writer.clone(),
                flush_interval: store.flush_interval,
                on_stop,
                fence,
            };
            MetricsAggregatorActor::start_in(arbiter, deps)
        },
        |_, _| {},
        |address, shared| shared.records.store(Some(Arc::new(address.recipient()))),
    )
}

fn alerts(supervisor: &Addr<Supervisor>, shared: &Arc<Shared>, store: &MetricsStore) -> Entry {
    let changes = supervisor.clone().recipient();
    let (shared, store, counting_since) = (shared.clone(), store.clone(), Instant::now());
    Entry::new(
        AlertActor::NAME,
        move |arbiter, fence, on_stop| {
            let stopping = shared.clone();
            let deps = alerts::Deps {
                alerts: store.alerts.clone(),
                ledger: store.ledger.clone(),
                metrics: shared.metrics.clone(),
                counting_since,
                stopping: Box::new(move || stopping.is_draining()),
                poster: WebhookPoster::factory(store.writer.instance.clone()),
                changes: changes.clone(),
                on_stop,
                fence,
            };
            AlertActor::start_in(arbiter, deps)
        },
        |address, snapshot| {
            let measured = |(backend, target, _): Each<'_>| alerts::WatchTarget {
                shared: target.shared.clone(),
                health_settles: backend.settings.health_check.as_ref().map_or(Duration::ZERO, settles),
                breaker_settles: backend.settings.circuit_breaker.window,
            };
            let targets = targets(snapshot).map(measured).collect();
            address.do_send(alerts::Watch { settings: snapshot.alerts.clone(), targets });
        },
        |_, _| {},
    )
}

/// A target with its backend, and as it is written.
type Each<'a> = (&'a Backend, &'a Target, &'a settings::Target);

fn targets(snapshot: &Snapshot) -> impl Iterator<Item = Each<'_>> {
    snapshot.backends.iter().flat_map(|backend| {
        let targets = backend.targets.iter().zip(&backend.settings.targets);
        targets.map(move |(target, written)| (&**backend, &**target, written))
    })
}

/// How long after a start checks may take to call a target unhealthy.
fn settles(check: &health_check::Settings) -> Duration {
    (check.interval + check.interval / 10)
        .saturating_mul(check.unhealthy_threshold)
        .saturating_add(check.timeout)
}
