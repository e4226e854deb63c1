//! The composition root as an actor: it starts the others, watches and replaces them, and applies configurations.
//!
//! Nothing else starts an actor. A child that dies tells it (`stopped()` runs on a panic's unwind too); one that
//! hangs misses its heartbeats. Either way a new instance takes over from what the old one last published, while
//! requests go on with exactly that. A reload is all or nothing: loaded, validated and built beside the running one,
//! then published in one step.

mod actors;
mod build;
mod children;
mod events;
mod messages;
mod prober;
#[cfg(test)]
mod provider_keys;
mod reading;
mod reload;
mod restart_policy;
mod validate;
mod watch;
mod writing;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Addr, AsyncContext, Context, Handler, ResponseFuture, SpawnHandle};
use aegis_actors::circuit_breaker::{CircuitBreakerActor, HoldState};
use aegis_actors::supervision::{Stopped, count_message};

pub use self::actors::MetricsStore;
pub use self::build::{BuildError, build};
use self::children::Children;
pub use self::events::Event;
pub use self::messages::*;
use self::reading::Reader;
use self::restart_policy::HEARTBEAT_INTERVAL;
pub use self::validate::{RouteNumbers, compile, validate};
use self::watch::{FileState, LOOK, Watch};
use crate::config::{Settings, Source};
use crate::gateway::shared::Shared;
use crate::tls::ServerTls;

/// Only operators, files and children write to this actor.
const MAILBOX: usize = 256;

/// What the supervisor is given at start.
pub struct Deps {
    /// Where the configuration comes from, for reloads.
    pub source: Source,
    /// The configuration that is running.
    pub loaded: crate::config::Loaded,
    /// The gateway.
    pub shared: Arc<Shared>,
    /// The listener's certificates, where there are any.
    pub tls: Option<Arc<ServerTls>>,
    /// Where the admin listener really listens.
    pub admin: SocketAddr,
    /// Workers of the gateway, for counters.
    pub workers: usize,
    /// Where metrics are kept.
    pub store: MetricsStore,
}

/// See the module.
pub struct Supervisor {
    source: Source,
    /// What this process was started with.
    started: Settings,
    loaded: crate::config::Loaded,
    /// What runs, redacted, and what of `loaded` only a restart applies.
    effective: serde_json::Value,
    pending_restart: Vec<String>,
    shared: Arc<Shared>,
    tls: Option<Arc<ServerTls>>,
    admin: SocketAddr,
    workers: usize,
    children: Children,
    store: MetricsStore,
    last_reload: Option<ReloadRecord>,
    reloads: ReloadCounts,
    file_state: FileState,
    reader: Reader,
    /// When the files were touched first since they were looked at, and when they are to be.
    file_check: Option<(Instant, SpawnHandle)>,
    watch: Watch,
    /// What was in the files when they were looked at last, where that is not what runs.
    seen: Option<FileState>,
    last_heartbeat: Instant,
    events: events::Ring,
    transitions: Transitions,
}

impl Supervisor {
    /// Starts the supervisor and its children on this thread's system.
    pub fn start_with(deps: Deps) -> Addr<Self> {
        Self::create(move |ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            let Deps { source, loaded, shared, tls, admin, workers, store } = deps;
            let file_state = FileState::of(&watch::files(&loaded));
            Self {
                source,
                started: loaded.settings.clone(),
                effective: loaded.effective.clone(),
                pending_restart: Vec::new(),
                loaded,
                shared,
                tls,
                admin,
                workers,
                children: Children::default(),
                store,
                last_reload: None,
                reloads: ReloadCounts::default(),
                file_state,
                reader: Reader::default(),
                file_check: None,
                watch: Watch::default(),
                seen: None,
                last_heartbeat: Instant::now(),
                events: events::Ring::default(),
                transitions: Transitions::default(),
            }
        })
    }

    /// Tells every child which targets there are.
    fn publish_targets(&self) {
        self.children.watch(&self.shared.snapshot.load());
    }

    /// A heartbeat to every child. One leads to the next, so that those that a stall has held up do not come in a burst.
    fn heartbeat(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let late =
            now.duration_since(std::mem::replace(&mut self.last_heartbeat, now)) > HEARTBEAT_INTERVAL * 2;
        for (name, wait) in self.children.heartbeat(&ctx.address(), now, late) {
            self.replace(name, wait, ctx);
        }
        ctx.run_later(HEARTBEAT_INTERVAL, Self::heartbeat);
    }

    /// Starts the next instance of the named child after `wait`, and tells it what there is.
    fn replace(&self, name: &'static str, wait: Duration, ctx: &mut Context<Self>) {
        ctx.run_later(wait, move |this, ctx| {
            this.children.replace(name, &ctx.address());
            this.publish_targets();
            this.children.publish(&this.shared);
        });
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let supervisor = ctx.address();
        self.children = Children::start(actors::all(&supervisor, &self.shared, &self.store), &supervisor);
        self.publish_targets();
        self.children.publish(&self.shared);
        self.last_heartbeat = Instant::now();
        ctx.run_later(HEARTBEAT_INTERVAL, Self::heartbeat);
        // The configuration was read just now, on this thread too.
        self.watch_folders(watch::folders(&self.loaded), ctx);
        ctx.run_interval(LOOK, Self::look);
    }
}

impl Handler<Stopped> for Supervisor {
    type Result = ();

    fn handle(&mut self, stopped: Stopped, ctx: &mut Self::Context) {
        count_message();
        if let Some(wait) = self.children.stopped(&stopped, Instant::now()) {
            self.replace(stopped.name, wait, ctx);
        }
    }
}

impl Handler<Pong> for Supervisor {
    type Result = ();

    fn handle(&mut self, pong: Pong, _: &mut Self::Context) {
        self.children.pong(&pong);
    }
}

impl Handler<Inspect> for Supervisor {
    type Result = actix::MessageResult<Inspect>;

    fn handle(&mut self, _: Inspect, _: &mut Self::Context) -> Self::Result {
        count_message();
        actix::MessageResult(Overview {
            actors: self.children.report(),
            hash: self.loaded.hash.clone(),
            file: self.loaded.file.clone(),
            effective: self.effective.clone(),
            pending_restart: self.pending_restart.clone(),
            warnings: self.loaded.warnings.clone(),
            last_reload: self.last_reload.clone(),
            reloads: self.reloads,
            events: self.events.recent(),
            transitions: self.transitions.clone(),
            certificates: self.tls.iter().flat_map(|tls| tls.certificates()).collect(),
            addresses: self.children.addresses(),
        })
    }
}

impl Handler<Drain> for Supervisor {
    type Result = Result<(), CommandError>;

    fn handle(&mut self, drain: Drain, _: &mut Self::Context) -> Self::Result {
        count_message();
        let snapshot = self.shared.snapshot.load();
        let backend = snapshot.backends.iter().find(|b| b.name == drain.backend);
        let backend = backend.ok_or_else(|| CommandError::backend(&drain.backend))?;
        let target = backend.targets.get(drain.target);
        let Expected { url, generation } = &drain.expected;
        let is_other = url.as_ref().is_some_and(|url| target.is_none_or(|target| target.shared.url != *url));
        if is_other || generation.is_some_and(|generation| generation != snapshot.generation) {
            let shown = |target: &Arc<crate::gateway::snapshot::Target>| {
                (target.shared.url.clone(), target.shared.drained.load(std::sync::atomic::Ordering::Relaxed))
            };
            let targets = backend.targets.iter().map(shown).collect();
            return Err(CommandError::Other(Actual { generation: snapshot.generation, targets }));
        }
        let target = target
            .ok_or_else(|| CommandError::target(&drain.backend, drain.target, backend.targets.len()))?;
        target.shared.drained.store(drain.drained, std::sync::atomic::Ordering::Relaxed);
        let what = if drain.drained { "draining" } else { "taking requests again" };
        log::info!(
            "target {} of backend {} is {what}, by request of an operator",
            target.shared.url,
            backend.name
        );
        self.events.push(Event::drain(&backend.name, &target.shared.url, drain.drained));
        Ok(())
    }
}

impl Handler<Hold> for Supervisor {
    type Result = ResponseFuture<Result<usize, CommandError>>;

    fn handle(&mut self, hold: Hold, _: &mut Self::Context) -> Self::Result {
        count_message();
        let addresses = self.children.addresses();
        let Some(breaker) = addresses.of::<CircuitBreakerActor>() else {
            return Box::pin(async { Err(CommandError::Busy(CircuitBreakerActor::NAME)) });
        };
        let backend = hold.0.backend.clone();
        let until = hold.0.ttl.map_or(String::new(), |ttl| format!(" for {ttl:?}"));
        let what = match hold.0.state {
            HoldState::Open => format!("held open{until}"),
            HoldState::Closed => format!("held closed{until}"),
            HoldState::Auto => "on their own again".to_owned(),
        };
        let answer = breaker.send(hold.0);
        Box::pin(async move {
            match answer.await {
                Ok(Ok(count)) => {
                    log::info!("breakers of backend {backend} are {what}, by request of an operator");
                    Ok(count)
                }
                Ok(Err(unknown)) => Err(CommandError::backend(&unknown.0)),
                Err(_) => Err(CommandError::Busy(CircuitBreakerActor::NAME)),
            }
        })
    }
}

#[cfg(feature = "test-hooks")]
impl Handler<InjectFault> for Supervisor {
    type Result = bool;

    fn handle(&mut self, fault: InjectFault, _: &mut Self::Context) -> bool {
        assert!(fault.actor != "supervisor", "a test asked the supervisor to panic");
        if let ("reader", Some(hang), Some(turn)) = (fault.actor.as_str(), fault.hang, self.reader.turn_now())
        {
            actix_rt::spawn(self.reader.read(turn, move || std::thread::sleep(hang * 12)));
            return true;
        }
        self.children.inject_fault(&fault)
    }
}
