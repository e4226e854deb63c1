//! The breakers' mailbox, timer and log. All decisions are `state.rs`'s.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use actix::fut::wrap_future;
use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Recipient, SpawnHandle,
};
use actix_rt::ArbiterHandle;

use super::breaker_state::CircuitState;
use super::knock::knock;
use super::messages::{Hold, Inspect, Outcomes, Report, Transition, UnknownBackend, Watch, Well};
use super::state::{Breaker, Change};
use crate::supervision::{Fence, OnStop, Stopped, count_message, saturating_deadline, supervised};
use crate::target::{TargetId, TargetState};

/// Batches that may wait before `try_send` reports a full mailbox: a worker sends a few hundred a second, so
/// this is seconds of delay with every worker busy; more would only be older news.
const MAILBOX: usize = 1024;

/// What the actor is given by whoever starts it.
pub struct Deps {
    /// Receives every change of a breaker's state; sent with `do_send`.
    pub transitions: Recipient<Transition>,
    /// Told of the end of this instance.
    pub on_stop: OnStop,
    /// This instance's right to publish.
    pub fence: Fence,
    /// Seed of the jitter; anything will do.
    pub seed: u64,
}

/// Decides for every target whether requests may go there.
pub struct CircuitBreakerActor {
    deps: Deps,
    guarded: HashMap<TargetId, Guarded>,
    armed: Option<(Instant, SpawnHandle)>,
    rng: fastrand::Rng,
}

struct Guarded {
    shared: Arc<TargetState>,
    breaker: Breaker,
    /// A connection is about to be tried.
    knocking: bool,
}

impl CircuitBreakerActor {
    /// The name in [`Stopped`] and in logs.
    pub const NAME: &'static str = "circuit_breaker";

    /// Starts an instance on the arbiter's thread. It guards nothing until it is sent a [`Watch`].
    pub fn start_in(arbiter: &ArbiterHandle, deps: Deps) -> Addr<Self> {
        Self::start_in_arbiter(arbiter, move |ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            let rng = fastrand::Rng::with_seed(deps.seed);
            Self { deps, guarded: HashMap::new(), armed: None, rng }
        })
    }

    /// Replaces the set of targets by the one that a reload left.
    fn watch(&mut self, watch: Watch, now: Instant) {
        let mut before = std::mem::take(&mut self.guarded);
        let held: HashMap<_, _> = before
            .values()
            .filter_map(|guarded| Some((guarded.shared.backend.clone(), guarded.breaker.state().held?)))
            .collect();
        for (shared, settings) in watch.targets {
            let guarded = match before.remove(&shared.id) {
                Some(mut known) => {
                    let change = known.breaker.reconfigure(settings, now);
                    change.into_iter().for_each(|change| announce(&self.deps, &known, change));
                    known
                }
                None => {
                    let state = shared.breaker.load().as_ref().clone();
                    let mut breaker = Breaker::resume(settings.clone(), state, now);
                    let change = breaker.reconfigure(settings, now);
                    let mut new = Guarded { shared, breaker, knocking: false };
                    change.into_iter().for_each(|change| announce(&self.deps, &new, change));
                    if let Some(held) =
                        held.get(&new.shared.backend).filter(|_| !new.breaker.state().forced())
                    {
                        let change = new.breaker.hold_as(*held, now);
                        announce(&self.deps, &new, change);
                    }
                    new
                }
            };
            self.guarded.insert(guarded.shared.id, guarded);
        }
    }

    /// Holds every breaker of the backend or lets go of them; answers how many there are.
    fn hold(&mut self, wish: &Hold, now: Instant) -> usize {
        let mut count = 0;
        for guarded in self.guarded.values_mut().filter(|guarded| guarded.shared.backend == wish.backend) {
            count += 1;
            if let Some(change) = guarded.breaker.hold(wish.state, wish.ttl, now) {
                announce(&self.deps, guarded, change);
            }
        }
        count
    }

    fn on_timer(&mut self, now: Instant) {
        for guarded in self.guarded.values_mut() {
            if let Some(change) = guarded.breaker.on_timer(now, self.rng.f64()) {
                announce(&self.deps, guarded, change);
            }
        }
    }

    /// Tries a connection to every target that is kept out for refusing them.
    fn knock(&mut self, ctx: &mut Context<Self>) {
        for guarded in self.guarded.values_mut().filter(|guarded| !guarded.knocking) {
            let Some(wait) = guarded.breaker.knocks_in() else { continue };
            guarded.knocking = true;
            let (shared, epoch) = (guarded.shared.clone(), guarded.breaker.state().epoch);
            let (target, asked) = (shared.id, saturating_deadline(Instant::now(), wait));
            let knocked = async move { knock(&shared, wait).await };
            ctx.spawn(wrap_future::<_, Self>(knocked).map(move |taken, actor, ctx| {
                let Some(guarded) = actor.guarded.get_mut(&target) else { return };
                guarded.knocking = false;
                if taken && guarded.breaker.state().epoch == epoch {
                    actor.well(&Well { target, again: true, asked }, Instant::now());
                }
                actor.arm(ctx);
            }));
        }
    }

    fn well(&mut self, well: &Well, now: Instant) {
        if let Some(guarded) = self.guarded.get_mut(&well.target)
            && let Some(change) = guarded.breaker.on_well(well.again, well.asked, now)
        {
            announce(&self.deps, guarded, change);
        }
    }

    /// Keeps exactly one timer, for the breaker that is due first. A timer that fires late or for nothing does
    /// no harm: the breakers judge by the clock, not by who woke them. An instance that was replaced ends here.
    fn arm(&mut self, ctx: &mut Context<Self>) {
        if !self.deps.fence.is_current() {
            return ctx.stop();
        }
        self.knock(ctx);
        let due = self.guarded.values().filter_map(|guarded| guarded.breaker.due()).min();
        if due == self.armed.map(|(at, _)| at) {
            return;
        }
        if let Some((_, timer)) = self.armed.take() {
            ctx.cancel_future(timer);
        }
        self.armed = due.map(|at| {
            let wait = at.saturating_duration_since(Instant::now());
            let timer = ctx.run_later(wait, |actor, ctx| {
                actor.armed = None;
                actor.on_timer(Instant::now());
                actor.arm(ctx);
            });
            (at, timer)
        });
    }
}

/// Publishes, logs and tells of a change; an instance that has been replaced does none of it.
fn announce(deps: &Deps, guarded: &Guarded, change: Change) {
    if !deps.fence.is_current() {
        return;
    }
    let (shared, Change { from, to, reason }) = (&guarded.shared, change);
    shared.breaker.publish(guarded.breaker.state().clone());
    let level = if to == CircuitState::Open { log::Level::Warn } else { log::Level::Info };
    let (backend, target) = (&shared.backend, &shared.url);
    log::log!(level, "breaker of {backend} {target}: {} -> {}: {reason}", from.as_str(), to.as_str());
    if from != to {
        let (backend, target, at) = (backend.clone(), target.clone(), SystemTime::now());
        deps.transitions.do_send(Transition { backend, target, from, to, reason, at });
    }
}

impl Actor for CircuitBreakerActor {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        (self.deps.on_stop)(Stopped::now(Self::NAME, &self.deps.fence));
    }
}

supervised!(CircuitBreakerActor);

impl Handler<Outcomes> for CircuitBreakerActor {
    type Result = ();

    fn handle(&mut self, msg: Outcomes, ctx: &mut Self::Context) {
        count_message();
        let (now, mut changed) = (Instant::now(), false);
        for run in &msg.runs {
            let Some(guarded) = self.guarded.get_mut(&run.target) else { continue };
            let Some(change) = guarded.breaker.on_run(run, now, self.rng.f64()) else { continue };
            announce(&self.deps, guarded, change);
            changed = true;
        }
        if changed {
            self.arm(ctx);
        }
    }
}

impl Handler<Watch> for CircuitBreakerActor {
    type Result = ();

    fn handle(&mut self, msg: Watch, ctx: &mut Self::Context) {
        count_message();
        self.watch(msg, Instant::now());
        self.arm(ctx);
    }
}

impl Handler<Well> for CircuitBreakerActor {
    type Result = ();

    fn handle(&mut self, msg: Well, ctx: &mut Self::Context) {
        count_message();
        self.well(&msg, Instant::now());
        self.arm(ctx);
    }
}

impl Handler<Hold> for CircuitBreakerActor {
    type Result = Result<usize, UnknownBackend>;

    fn handle(&mut self, msg: Hold, ctx: &mut Self::Context) -> Self::Result {
        count_message();
        let count = self.hold(&msg, Instant::now());
        self.arm(ctx);
        if count == 0 { Err(UnknownBackend(msg.backend)) } else { Ok(count) }
    }
}

impl Handler<Inspect> for CircuitBreakerActor {
    type Result = Vec<Report>;

    fn handle(&mut self, _: Inspect, _: &mut Self::Context) -> Self::Result {
        count_message();
        let (now, wall) = (Instant::now(), SystemTime::now());
        let mut reports: Vec<_> = self.guarded.values().map(|guarded| guarded.report(now, wall)).collect();
        reports.sort_by(|a, b| (&a.backend, a.target).cmp(&(&b.backend, b.target)));
        reports
    }
}

impl Guarded {
    fn report(&self, now: Instant, wall: SystemTime) -> Report {
        let (shared, breaker, state) = (&self.shared, &self.breaker, self.breaker.state());
        let totals = breaker.totals(now);
        Report {
            target: shared.id,
            backend: shared.backend.clone(),
            url: shared.url.clone(),
            state: state.circuit(),
            forced: state.forced(),
            consecutive_failures: breaker.consecutive_failures(),
            calls: totals.calls,
            failures: totals.failures,
            slow: totals.slow,
            failure_rate: totals.failure_rate(),
            slow_rate: totals.slow_rate(),
            opened: state.opened,
            retry_in: state.opens_until().map(|until| until.saturating_duration_since(now)),
            last_transition: state.changed.and_then(|at| wall.checked_sub(now.saturating_duration_since(at))),
        }
    }
}
