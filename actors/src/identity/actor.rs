//! The timers, the fetches in flight, those who wait, and the log. All that is decided is `state.rs`'s.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, SpawnHandle, WrapFuture,
};
use actix_rt::ArbiterHandle;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinError};
use tokio::time::error::Elapsed;

use super::asker::MOST_WAITING;
use super::fetcher::{Fetched, Fetcher, FetcherFactory};
use super::messages::{Ask, Watch};
use super::provider::{Keys, Provider, Published};
use super::state::{FETCH_TIMEOUT, Outcome, QUIET, Schedule, Turn};
use crate::supervision::{Fence, OnStop, Stopped, count_message, supervised};

/// Every request that may wait can ask, and the supervisor besides.
const MAILBOX: usize = MOST_WAITING + 64;
/// Keys that were left out, in the log.
const MOST_LINES: usize = 5;

/// How fast things go.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// [`QUIET`] outside tests.
    pub quiet: Duration,
    /// [`FETCH_TIMEOUT`] outside tests.
    pub timeout: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { quiet: QUIET, timeout: FETCH_TIMEOUT }
    }
}

/// What the actor is given by whoever starts it.
pub struct Deps<K> {
    /// Makes what fetches.
    pub fetcher: FetcherFactory<K>,
    /// The default outside tests.
    pub pace: Pace,
    /// For jitter.
    pub seed: u64,
    /// Told of the end of this instance.
    pub on_stop: OnStop,
    /// This instance's right to publish.
    pub fence: Fence,
}

/// Keeps the keys of providers fresh.
pub struct IdentityActor<K: Keys> {
    fetcher: Rc<dyn Fetcher<K>>,
    pace: Pace,
    rng: fastrand::Rng,
    on_stop: OnStop,
    fence: Fence,
    watched: HashMap<u64, Watched<K>>,
}

struct Watched<K: Keys> {
    provider: Arc<Provider<K>>,
    schedule: Schedule,
    next: Next,
    waiting: Vec<oneshot::Sender<()>>,
}

/// The wait for the next fetch, or the fetch itself: never both, so never two in flight.
enum Next {
    Waiting(SpawnHandle),
    InFlight(Flight),
}

/// Ends with whoever began it.
struct Flight(AbortHandle);

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<K: Keys> IdentityActor<K> {
    /// The name in [`Stopped`] and in logs.
    pub const NAME: &'static str = "identity";

    /// Starts an instance on the arbiter's thread. It fetches nothing until it is sent a [`Watch`].
    pub fn start_in(arbiter: &ArbiterHandle, deps: Deps<K>) -> Addr<Self> {
        Self::start_in_arbiter(arbiter, move |ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            let Deps { fetcher, pace, seed, on_stop, fence } = deps;
            let (fetcher, rng) = (fetcher().into(), fastrand::Rng::with_seed(seed));
            Self { fetcher, pace, rng, on_stop, fence, watched: HashMap::new() }
        })
    }

    /// Replaces the set of providers by the one that a reload left. Who waits for one that is gone is told by its channel.
    fn watch(&mut self, watch: Watch<K>, ctx: &mut Context<Self>) {
        let mut before = std::mem::take(&mut self.watched);
        for provider in watch.providers {
            let id = provider.id;
            if let Some(known) = before.remove(&id) {
                self.watched.insert(id, known);
                continue;
            }
            // Another instance may have fetched it.
            let due = provider.current().due;
            let wait = due.map_or(Duration::ZERO, |due| due.saturating_duration_since(Instant::now()));
            let next = Next::Waiting(wait_for(id, wait, ctx));
            let schedule = Schedule::default();
            self.watched.insert(id, Watched { provider, schedule, next, waiting: Vec::new() });
        }
        for gone in before.into_values() {
            if let Next::Waiting(timer) = gone.next {
                ctx.cancel_future(timer);
            }
        }
    }

    fn ask(&mut self, ask: Ask<K>, ctx: &mut Context<Self>) {
        let Ask { provider, kid, reply } = ask;
        let Some(watched) = self.watched.get_mut(&provider.id) else { return };
        if provider.current().has(kid.as_deref()) {
            let _ = reply.send(());
            return;
        }
        match watched.schedule.asked(Instant::now(), self.pace.quiet) {
            Turn::TooSoon => drop(reply.send(())),
            Turn::Wait => watched.waiting.push(reply),
            Turn::Begin => {
                watched.waiting.push(reply);
                if let Next::Waiting(timer) = watched.next {
                    ctx.cancel_future(timer);
                }
                self.begin(provider.id, ctx);
            }
        }
    }

    fn begin(&mut self, id: u64, ctx: &mut Context<Self>) {
        if !self.fence.is_current() {
            return ctx.stop();
        }
        let Some(watched) = self.watched.get_mut(&id) else { return };
        watched.schedule.begin(Instant::now());
        // A task of its own: a fetcher that panics then fails its fetch instead of ending this actor.
        let fetch = self.fetcher.fetch(watched.provider.remote.clone());
        let task = actix_rt::spawn(tokio::time::timeout(self.pace.timeout, fetch));
        let number = task.id();
        watched.next = Next::InFlight(Flight(task.abort_handle()));
        let timeout = self.pace.timeout;
        ctx.spawn(task.into_actor(self).map(move |joined, actor, ctx| {
            let ours = |next: &Next| matches!(next, Next::InFlight(flight) if flight.0.id() == number);
            if actor.watched.get(&id).is_some_and(|watched| ours(&watched.next)) {
                actor.ended(id, outcome(joined, timeout), ctx);
            }
        }));
    }

    fn ended(&mut self, id: u64, fetched: Result<Fetched<K>, String>, ctx: &mut Context<Self>) {
        if !self.fence.is_current() {
            return ctx.stop();
        }
        let Some(watched) = self.watched.get_mut(&id) else { return };
        let (provider, now) = (&watched.provider, Instant::now());
        let before = Arc::clone(&provider.current());
        let outcome = match &fetched {
            Ok(fetched) => Outcome::Fetched { fresh_for: fetched.fresh_for },
            Err(_) => Outcome::Failed { has_keys: before.keys.is_some() },
        };
        let (due, quiet_until) = watched.schedule.ended(now, outcome, self.rng.f64(), self.pace.quiet);
        let (keys, left_out) = match fetched {
            Ok(Fetched { keys, left_out, .. }) => (Ok(keys), left_out),
            Err(why) => (Err(why), Vec::new()),
        };
        provider.publish(keys, now, due, quiet_until);
        tell(&provider.name, &before, &provider.current(), &left_out);
        watched.next = Next::Waiting(wait_for(id, due - now, ctx));
        for reply in watched.waiting.drain(..) {
            // Whoever does not wait any more needs no answer.
            let _ = reply.send(());
        }
    }
}

fn wait_for<K: Keys>(id: u64, wait: Duration, ctx: &mut Context<IdentityActor<K>>) -> SpawnHandle {
    ctx.run_later(wait, move |actor, ctx| actor.begin(id, ctx))
}

fn outcome<K>(
    joined: Result<Result<Result<Fetched<K>, String>, Elapsed>, JoinError>,
    timeout: Duration,
) -> Result<Fetched<K>, String> {
    match joined {
        Ok(Ok(fetched)) => fetched,
        Ok(Err(_)) => Err(format!("no answer within {} ms", timeout.as_millis())),
        Err(error) => Err(format!("the fetch itself failed: {error}")),
    }
}

/// Logs what has changed, and nothing that is as it was.
fn tell<K: Keys>(name: &str, before: &Published<K>, now: &Published<K>, left_out: &[String]) {
    let count = now.keys.as_ref().map_or(0, |keys| keys.count());
    match (&before.failing, &now.failing) {
        (None, Some(why)) if now.keys.is_none() => {
            log::warn!(
                "issuer {name}: its keys cannot be fetched, and its tokens cannot be judged until then: {why}"
            );
        }
        (None, Some(why)) => {
            log::warn!("issuer {name}: its keys cannot be fetched, and are kept ({count}): {why}")
        }
        (Some(_), None) if now.generation == before.generation => {
            log::info!("issuer {name}: its keys can be fetched again");
        }
        _ => {}
    }
    if now.generation != before.generation {
        match count {
            0 => log::warn!("issuer {name}: it has no key that can be used, and its tokens are refused"),
            _ => log::info!("issuer {name}: keys that can be used: {count}"),
        }
        left_out
            .iter()
            .take(MOST_LINES)
            .for_each(|line| log::warn!("issuer {name}: {line}, and is left out"));
    }
}

impl<K: Keys> Actor for IdentityActor<K> {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        (self.on_stop)(Stopped::now(Self::NAME, &self.fence));
    }
}

supervised!(for [K: Keys] IdentityActor<K>);

impl<K: Keys> Handler<Watch<K>> for IdentityActor<K> {
    type Result = ();

    fn handle(&mut self, msg: Watch<K>, ctx: &mut Self::Context) {
        count_message();
        self.watch(msg, ctx);
    }
}

impl<K: Keys> Handler<Ask<K>> for IdentityActor<K> {
    type Result = ();

    fn handle(&mut self, msg: Ask<K>, ctx: &mut Self::Context) {
        count_message();
        self.ask(msg, ctx);
    }
}
