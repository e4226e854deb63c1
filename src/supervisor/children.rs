//! The supervised actors: how each is started, and when it is replaced.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler};
use actix_rt::{Arbiter, ArbiterHandle};
use aegis_actors::alerts::{self, AlertActor, Alerts, Ledger};
use aegis_actors::circuit_breaker::{self, CircuitBreakerActor};
use aegis_actors::health_check::{self, HealthCheckActor, WatchTarget};
use aegis_actors::metrics_aggregator::{self, MetricsAggregatorActor, Sink, Writer};
use aegis_actors::rate_limiter::shared_store::RedisStore;
use aegis_actors::rate_limiter::{self, RateLimiterActor};
use aegis_actors::resolver::{self, ResolverActor, SystemLookup};
use aegis_actors::supervision::{Fence, Instances, OnStop, Ping, Stopped};

use super::Supervisor;
use super::messages::{ChildReport, Pong};
use super::patience::{Beat, Budget, Pulse};
use super::prober::GatewayProber;
use crate::gateway::shared::Shared;
use crate::gateway::snapshot::Snapshot;
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

/// Starts one instance on an arbiter.
type Factory<A> = Box<dyn Fn(&ArbiterHandle, Fence, OnStop) -> Addr<A>>;

/// One supervised actor. Each instance has a thread of its own: one that blocks its thread cannot hold up the
/// others, nor its own successor.
pub struct Child<A: Actor> {
    name: &'static str,
    factory: Factory<A>,
    instances: Instances,
    arbiter: Arbiter,
    pub addr: Addr<A>,
    instance: u64,
    restarts: u64,
    budget: Budget,
    pulse: Pulse,
    waiting: bool,
}

impl<A> Child<A>
where
    A: Actor + Handler<Ping>,
    A::Context: ToEnvelope<A, Ping>,
{
    fn start(name: &'static str, supervisor: &Addr<Supervisor>, factory: Factory<A>) -> Self {
        let instances = Instances::default();
        let (arbiter, addr, instance) = launch(&factory, &instances, supervisor);
        let (budget, pulse) = (Budget::default(), Pulse::default());
        Self { name, factory, instances, arbiter, addr, instance, restarts: 0, budget, pulse, waiting: false }
    }

    fn stopped(&mut self, stopped: &Stopped, now: Instant) -> Option<Duration> {
        if stopped.name != self.name || stopped.instance != self.instance || self.waiting {
            return None;
        }
        Some(self.lost(if stopped.panicking { "panicked" } else { "stopped" }, now))
    }

    /// The instance is of no use any more; answers how long to wait before the next one is started.
    fn lost(&mut self, how: &str, now: Instant) -> Duration {
        let wait = self.budget.wait(now);
        let (name, instance) = (self.name, self.instance);
        log::error!("actor {name} (instance {instance}) {how}; replaced in {} ms", wait.as_millis());
        self.waiting = true;
        wait
    }

    fn replace(&mut self, supervisor: &Addr<Supervisor>) {
        // The old thread ends when it gets to it; if it hangs, it is left behind, fenced off from publishing.
        self.arbiter.stop();
        let (arbiter, addr, instance) = launch(&self.factory, &self.instances, supervisor);
        (self.arbiter, self.addr, self.instance) = (arbiter, addr, instance);
        self.restarts += 1;
        self.pulse = Pulse::default();
        self.waiting = false;
        log::info!("actor {} runs again as instance {}", self.name, self.instance);
    }

    /// A heartbeat, `late` when the supervisor itself had stalled; answers how long to wait before the child is
    /// replaced, if it has not answered for too many of them.
    fn beat(
        &mut self,
        supervisor: &Addr<Supervisor>,
        now: Instant,
        late: bool,
    ) -> Option<(&'static str, Duration)> {
        if self.waiting {
            return None;
        }
        match self.pulse.beat(late) {
            Beat::Wait => return None,
            Beat::Hangs => return Some((self.name, self.lost("does not answer", now))),
            Beat::Ask => {}
        }
        let (pong, supervisor) = (Pong { name: self.name, instance: self.instance }, supervisor.clone());
        let ping = self.addr.send(Ping);
        actix_rt::spawn(async move {
            if ping.await.is_ok() {
                supervisor.do_send(pong);
            }
        });
        None
    }

    fn pong(&mut self, pong: &Pong) {
        if pong.name == self.name && pong.instance == self.instance {
            self.pulse.answered();
        }
    }

    fn report(&self) -> ChildReport {
        ChildReport {
            name: self.name,
            instance: self.instance,
            restarts: self.restarts,
            alive: self.addr.connected() && !self.waiting,
        }
    }
}

fn launch<A: Actor>(
    factory: &Factory<A>,
    instances: &Instances,
    supervisor: &Addr<Supervisor>,
) -> (Arbiter, Addr<A>, u64) {
    let arbiter = Arbiter::new();
    let fence = instances.next();
    let instance = fence.instance();
    let supervisor = supervisor.clone();
    let addr = factory(&arbiter.handle(), fence, Box::new(move |stopped| supervisor.do_send(stopped)));
    (arbiter, addr, instance)
}

/// All of them.
pub struct Children {
    pub breaker: Child<CircuitBreakerActor>,
    pub health: Child<HealthCheckActor>,
    pub resolver: Child<ResolverActor>,
    pub limiter: Child<RateLimiterActor>,
    pub metrics: Child<MetricsAggregatorActor>,
    pub alerts: Child<AlertActor>,
}

/// The same call on every child.
macro_rules! each {
    ($self:ident, $child:ident => $call:expr) => {{
        let $child = &mut $self.breaker;
        let breaker = $call;
        let $child = &mut $self.health;
        let health = $call;
        let $child = &mut $self.resolver;
        let resolver = $call;
        let $child = &mut $self.limiter;
        let limiter = $call;
        let $child = &mut $self.metrics;
        let metrics = $call;
        let $child = &mut $self.alerts;
        let alerts = $call;
        [breaker, health, resolver, limiter, metrics, alerts]
    }};
}

fn alerts_child(
    supervisor: &Addr<Supervisor>,
    shared: &Arc<Shared>,
    store: &MetricsStore,
) -> Child<AlertActor> {
    let changes = supervisor.clone().recipient();
    let (alerts, ledger, metrics) = (store.alerts.clone(), store.ledger.clone(), shared.metrics.clone());
    let (instance, counting_since) = (store.writer.instance.clone(), Instant::now());
    let shared = shared.clone();
    Child::start(
        AlertActor::NAME,
        supervisor,
        Box::new(move |arbiter, fence, on_stop| {
            let shared = shared.clone();
            let deps = alerts::Deps {
                alerts: alerts.clone(),
                ledger: ledger.clone(),
                metrics: metrics.clone(),
                counting_since,
                stopping: Box::new(move || shared.is_draining()),
                poster: WebhookPoster::factory(instance.clone()),
                changes: changes.clone(),
                on_stop,
                fence,
            };
            AlertActor::start_in(arbiter, deps)
        }),
    )
}

/// How long after a start checks may take to call a target unhealthy.
fn settles(check: &health_check::Settings) -> Duration {
    (check.interval + check.interval / 10)
        .saturating_mul(check.unhealthy_threshold)
        .saturating_add(check.timeout)
}

impl Children {
    /// Starts the first instance of each.
    pub fn start(supervisor: Addr<Supervisor>, shared: Arc<Shared>, store: MetricsStore) -> Self {
        let (limiter_cells, counted) = (shared.limiter.clone(), shared.metrics.clone());
        let alerts = alerts_child(&supervisor, &shared, &store);
        let mode_changes = supervisor.clone().recipient();
        let transitions = supervisor.clone().recipient();
        let breaker = Child::start(
            CircuitBreakerActor::NAME,
            &supervisor,
            Box::new(move |arbiter, fence, on_stop| {
                let transitions = transitions.clone();
                let deps = circuit_breaker::Deps { transitions, on_stop, fence, seed: fastrand::u64(..) };
                CircuitBreakerActor::start_in(arbiter, deps)
            }),
        );
        let (changes, well) = (supervisor.clone().recipient(), supervisor.clone().recipient());
        let health = Child::start(
            HealthCheckActor::NAME,
            &supervisor,
            Box::new(move |arbiter, fence, on_stop| {
                let prober = GatewayProber::factory(shared.clone());
                let (changes, well, seed) = (changes.clone(), well.clone(), fastrand::u64(..));
                let deps = health_check::Deps { prober, changes, well, on_stop, fence, seed };
                HealthCheckActor::start_in(arbiter, deps)
            }),
        );
        let resolver = Child::start(
            ResolverActor::NAME,
            &supervisor,
            Box::new(|arbiter, fence, on_stop| {
                let deps = resolver::Deps {
                    lookup: SystemLookup::factory(),
                    refresh: resolver::REFRESH,
                    retry: resolver::RETRY,
                    on_stop,
                    fence,
                };
                ResolverActor::start_in(arbiter, deps)
            }),
        );
        // One name for the life of the process: an actor that replaces another is no other instance.
        let instance = format!("{}-{:016x}", std::process::id(), fastrand::u64(..));
        let limiter = Child::start(
            RateLimiterActor::NAME,
            &supervisor,
            Box::new(move |arbiter, fence, on_stop| {
                let instance = instance.clone();
                let deps = rate_limiter::Deps {
                    limiter: limiter_cells.clone(),
                    changes: mode_changes.clone(),
                    store: Box::new(move |redis| Ok(Box::new(RedisStore::new(redis, instance.clone())?))),
                    on_stop,
                    fence,
                };
                RateLimiterActor::start_in(arbiter, deps)
            }),
        );
        let metrics = Child::start(
            MetricsAggregatorActor::NAME,
            &supervisor,
            Box::new(move |arbiter, fence, on_stop| {
                let deps = metrics_aggregator::Deps {
                    metrics: counted.clone(),
                    sink: store.sink.clone(),
                    writer: store.writer.clone(),
                    flush_interval: store.flush_interval,
                    on_stop,
                    fence,
                };
                MetricsAggregatorActor::start_in(arbiter, deps)
            }),
        );
        Self { breaker, health, resolver, limiter, metrics, alerts }
    }

    /// Tells each child about every target that concerns it.
    pub fn watch(&self, snapshot: &Snapshot) {
        let mut guarded = Vec::new();
        let mut checked = Vec::new();
        let mut named = Vec::new();
        let mut judged = Vec::new();
        for backend in &snapshot.backends {
            let settings = &backend.settings;
            for (target, written) in backend.targets.iter().zip(&settings.targets) {
                let cells = &target.cells;
                guarded.push((cells.clone(), settings.circuit_breaker.clone()));
                judged.push(alerts::WatchTarget {
                    cells: cells.clone(),
                    health_settles: settings.health_check.as_ref().map_or(Duration::ZERO, settles),
                    breaker_settles: settings.circuit_breaker.window,
                });
                checked.push(WatchTarget { cells: cells.clone(), settings: settings.health_check.clone() });
                if written.host.parse::<std::net::IpAddr>().is_err() {
                    named.push((cells.clone(), written.host.clone(), written.port));
                }
            }
        }
        self.breaker.addr.do_send(circuit_breaker::Watch { targets: guarded });
        self.health.addr.do_send(health_check::Watch { targets: checked });
        self.resolver.addr.do_send(resolver::Watch { targets: named });
        let limits = snapshot.limits.iter().flat_map(|limits| limits.all());
        self.limiter.addr.do_send(rate_limiter::Watch {
            limits: limits.map(|limited| limited.shared.clone()).collect(),
            max_keys: snapshot
                .limits
                .as_ref()
                .map_or(rate_limiter::settings::MAX_KEYS, |limits| limits.max_keys),
            redis: snapshot.redis.clone().filter(|_| snapshot.limits.is_some()),
        });
        self.alerts.addr.do_send(alerts::Watch { settings: snapshot.alerts.clone(), targets: judged });
    }

    /// See [`Child::stopped`]: how long to wait before the named child is replaced, if it is to be.
    pub fn stopped(&mut self, stopped: &Stopped, now: Instant) -> Option<Duration> {
        each!(self, child => child.stopped(stopped, now)).into_iter().flatten().next()
    }

    /// Starts the next instance of the named child.
    pub fn replace(&mut self, name: &str, supervisor: &Addr<Supervisor>) {
        each!(self, child => if child.name == name { child.replace(supervisor) });
    }

    /// A heartbeat to each: which are to be replaced, and after how long. `late` = the supervisor itself had stalled.
    pub fn beat(
        &mut self,
        supervisor: &Addr<Supervisor>,
        now: Instant,
        late: bool,
    ) -> impl Iterator<Item = (&'static str, Duration)> + use<> {
        each!(self, child => child.beat(supervisor, now, late)).into_iter().flatten()
    }

    /// A heartbeat was answered.
    pub fn pong(&mut self, pong: &Pong) {
        each!(self, child => child.pong(pong));
    }

    /// For the status page.
    pub fn report(&self) -> Vec<ChildReport> {
        vec![
            self.breaker.report(),
            self.health.report(),
            self.resolver.report(),
            self.limiter.report(),
            self.metrics.report(),
            self.alerts.report(),
        ]
    }

    /// Makes one of them panic or hang.
    #[cfg(feature = "test-hooks")]
    pub fn torment(&self, torment: &super::messages::Torment) -> bool {
        fn send<A>(child: &Child<A>, torment: &super::messages::Torment) -> bool
        where
            A: Actor + Handler<aegis_actors::supervision::Panic> + Handler<aegis_actors::supervision::Hang>,
            A::Context: ToEnvelope<A, aegis_actors::supervision::Panic>
                + ToEnvelope<A, aegis_actors::supervision::Hang>,
        {
            if child.name != torment.actor {
                return false;
            }
            match torment.hang {
                None => child.addr.do_send(aegis_actors::supervision::Panic),
                Some(time) => child.addr.do_send(aegis_actors::supervision::Hang(time)),
            }
            true
        }
        send(&self.breaker, torment)
            || send(&self.health, torment)
            || send(&self.resolver, torment)
            || send(&self.limiter, torment)
            || send(&self.metrics, torment)
            || send(&self.alerts, torment)
    }
}
