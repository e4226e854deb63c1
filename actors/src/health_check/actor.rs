//! The schedule, the probes in flight, and the log of health checks. All verdicts are `state.rs`'s.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Recipient, SpawnHandle,
    WrapFuture,
};
use actix_rt::ArbiterHandle;
use tokio::task::{AbortHandle, JoinError};

use super::cell::Health;
use super::messages::{HealthChanged, Inspect, Report, Watch};
use super::settings::Settings;
use super::state;
use crate::circuit_breaker::{CircuitState, Well};
use crate::supervision::{Fence, OnStop, Stopped, count_message, supervised};
use crate::target::{TargetId, TargetState};

/// Only the supervisor and the admin write to this actor, a few messages a minute.
const MAILBOX: usize = 64;

/// A check in flight: `Err` says in a phrase for operators what was wrong.
pub type ProbeFuture = Pin<Box<dyn Future<Output = Result<(), String>>>>;

/// Does the I/O of a check. Need not be `Send`: it lives and dies on the actor's thread.
pub trait Prober {
    /// Asks the target as `check` says and passes on a status of 200–399. Need not watch `timeout` itself: the actor
    /// drops the future when the time is over.
    fn probe(&self, target: Arc<TargetState>, check: Settings) -> ProbeFuture;
}

/// Makes the prober on the actor's thread.
pub type ProberFactory = Box<dyn FnOnce() -> Box<dyn Prober> + Send>;

/// What the actor is given by whoever starts it.
pub struct Deps {
    /// Makes the prober.
    pub prober: ProberFactory,
    /// Receives every change of a verdict; sent with `do_send`.
    pub changes: Recipient<HealthChanged>,
    /// Told of every healthy target whose breaker is open; sent with `do_send`.
    pub well: Recipient<Well>,
    /// Told of the end of this instance.
    pub on_stop: OnStop,
    /// This instance's right to publish.
    pub fence: Fence,
    /// Seed of the jitter; anything will do.
    pub seed: u64,
}

/// Checks targets and publishes whether they are healthy.
pub struct HealthCheckActor {
    prober: Box<dyn Prober>,
    changes: Recipient<HealthChanged>,
    well: Recipient<Well>,
    on_stop: OnStop,
    fence: Fence,
    rng: fastrand::Rng,
    checked: HashMap<TargetId, Checked>,
}

struct Checked {
    shared: Arc<TargetState>,
    settings: Settings,
    next: Next,
}

/// A target is either waiting for its next check or in one, so there are never two in flight.
enum Next {
    Waiting(SpawnHandle),
    InFlight(Probe),
}

/// Cancels the probe when it is dropped, so a forgotten target is not checked behind our back.
struct Probe(AbortHandle);

impl Drop for Probe {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Which check a result belongs to.
struct Ticket {
    target: TargetId,
    task: tokio::task::Id,
    started: Instant,
}

impl HealthCheckActor {
    /// The name in [`Stopped`] and in logs.
    pub const NAME: &'static str = "health_check";

    /// Starts an instance on the arbiter's thread. It checks nothing until it is sent a [`Watch`].
    pub fn start_in(arbiter: &ArbiterHandle, deps: Deps) -> Addr<Self> {
        Self::start_in_arbiter(arbiter, move |ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            let Deps { prober, changes, well, on_stop, fence, seed } = deps;
            let rng = fastrand::Rng::with_seed(seed);
            Self { prober: prober(), changes, well, on_stop, fence, rng, checked: HashMap::new() }
        })
    }

    /// Replaces the set of targets by the one that a reload left.
    fn watch(&mut self, watch: Watch, ctx: &mut Context<Self>) {
        let mut before = std::mem::take(&mut self.checked);
        for target in watch.targets {
            let (id, shared) = (target.shared.id, target.shared);
            match (before.remove(&id), target.settings) {
                (Some(known), Some(settings)) => self.keep(known, settings, ctx),
                (None, Some(settings)) => {
                    let wait = state::first_wait(settings.interval, self.rng.f64());
                    let next = Next::Waiting(self.schedule(id, wait, ctx));
                    self.checked.insert(id, Checked { shared, settings, next });
                }
                (known, None) => {
                    known.into_iter().for_each(|known| forget(known, ctx));
                    self.trust(&shared);
                }
            }
        }
        before.into_values().for_each(|known| forget(known, ctx));
    }

    fn keep(&mut self, mut known: Checked, settings: Settings, ctx: &mut Context<Self>) {
        let id = known.shared.id;
        if let Next::Waiting(timer) = known.next
            && settings.interval != known.settings.interval
        {
            ctx.cancel_future(timer);
            let wait = state::first_wait(settings.interval, self.rng.f64());
            known.next = Next::Waiting(self.schedule(id, wait, ctx));
        }
        self.checked.insert(id, Checked { settings, ..known });
    }

    fn schedule(&self, id: TargetId, wait: Duration, ctx: &mut Context<Self>) -> SpawnHandle {
        ctx.run_later(wait, move |actor, ctx| actor.check(id, ctx))
    }

    fn check(&mut self, id: TargetId, ctx: &mut Context<Self>) {
        if !self.fence.is_current() {
            return ctx.stop();
        }
        let Some(target) = self.checked.get_mut(&id) else { return };
        let timeout = target.settings.timeout;
        let probe = self.prober.probe(target.shared.clone(), target.settings.clone());
        // A task of its own: a prober that panics then fails its check instead of ending this actor.
        let task = actix_rt::spawn(tokio::time::timeout(timeout, probe));
        let ticket = Ticket { target: id, task: task.id(), started: Instant::now() };
        target.next = Next::InFlight(Probe(task.abort_handle()));
        ctx.spawn(task.into_actor(self).map(move |joined, actor, ctx| {
            actor.done(ticket, outcome(joined, timeout), ctx);
        }));
    }

    /// Judges a check that has ended, unless its target was forgotten meanwhile (and perhaps met again).
    fn done(&mut self, ticket: Ticket, check: Result<(), String>, ctx: &mut Context<Self>) {
        let Ticket { target: id, task, started } = ticket;
        let ours = |next: &Next| matches!(next, Next::InFlight(probe) if probe.0.id() == task);
        let Some(target) = self.checked.get(&id).filter(|target| ours(&target.next)) else { return };
        let now = Instant::now();
        let last = target.shared.health.load();
        let health = state::judge(&last, check, &target.settings, now, SystemTime::now());
        let (reason, well) = (state::reason(&health), health.healthy && health.passes > 0);
        self.announce(&target.shared, health, reason);
        if well && self.fence.is_current() && target.shared.breaker.peek() == CircuitState::Open {
            let again = !last.healthy || last.failures > 0;
            self.well.do_send(Well { target: id, again, asked: started });
        }
        let wait = state::next_wait(target.settings.interval, now - started, self.rng.f64());
        let next = Next::Waiting(self.schedule(id, wait, ctx));
        if let Some(target) = self.checked.get_mut(&id) {
            target.next = next;
        }
    }

    /// Makes a target healthy that is not checked any more.
    fn trust(&self, shared: &TargetState) {
        let last = shared.health.load();
        if last.last_check.is_some() {
            let health = state::unchecked(&last, Instant::now());
            self.announce(shared, health, "it is no longer checked".to_owned());
        }
    }

    /// Publishes a verdict, and tells of it when it changed; an instance that has been replaced does neither.
    fn announce(&self, shared: &TargetState, health: Health, reason: String) {
        if !self.fence.is_current() {
            return;
        }
        let (before, healthy) = (shared.health.is_healthy(), health.healthy);
        shared.health.publish(health);
        if healthy != before {
            let (level, verdict) =
                if healthy { (log::Level::Info, "healthy") } else { (log::Level::Warn, "unhealthy") };
            log::log!(level, "{} of backend {} is {verdict}: {reason}", shared.url, shared.backend);
            let (backend, target, at) = (shared.backend.clone(), shared.url.clone(), SystemTime::now());
            self.changes.do_send(HealthChanged { backend, target, healthy, reason, at });
        }
    }
}

fn forget(known: Checked, ctx: &mut Context<HealthCheckActor>) {
    if let Next::Waiting(timer) = known.next {
        ctx.cancel_future(timer);
    }
}

fn outcome(
    joined: Result<Result<Result<(), String>, tokio::time::error::Elapsed>, JoinError>,
    timeout: Duration,
) -> Result<(), String> {
    match joined {
        Ok(Ok(check)) => check,
        Ok(Err(_)) => Err(format!("no answer within {} ms", timeout.as_millis())),
        Err(error) => Err(format!("the check itself failed: {error}")),
    }
}

impl Actor for HealthCheckActor {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        (self.on_stop)(Stopped::now(Self::NAME, &self.fence));
    }
}

supervised!(HealthCheckActor);

impl Handler<Watch> for HealthCheckActor {
    type Result = ();

    fn handle(&mut self, msg: Watch, ctx: &mut Self::Context) {
        count_message();
        self.watch(msg, ctx);
    }
}

impl Handler<Inspect> for HealthCheckActor {
    type Result = Vec<Report>;

    fn handle(&mut self, _: Inspect, _: &mut Self::Context) -> Self::Result {
        count_message();
        let mut reports: Vec<_> = self.checked.values().map(Checked::report).collect();
        reports.sort_by(|a, b| (&a.backend, a.target).cmp(&(&b.backend, b.target)));
        reports
    }
}

impl Checked {
    fn report(&self) -> Report {
        Report {
            target: self.shared.id,
            backend: self.shared.backend.clone(),
            url: self.shared.url.clone(),
            health: self.shared.health.load().as_ref().clone(),
            checking: matches!(self.next, Next::InFlight(_)),
        }
    }
}
