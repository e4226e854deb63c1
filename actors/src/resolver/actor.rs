//! The schedule, the look-ups in flight, and the log of the resolver. All judgement is `state.rs`'s.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, SpawnHandle, WrapFuture,
};
use actix_rt::ArbiterHandle;

use super::lookup::{Lookup, LookupFactory};
use super::messages::{Inspect, Report, Watch};
use super::state::{Name, News};
use crate::supervision::{Fence, OnStop, Stopped, count_message, supervised};
use crate::target::TargetState;

/// Time between two look-ups of a name that has addresses.
pub const REFRESH: Duration = Duration::from_secs(10);

/// Time between two look-ups of a name that has none yet.
pub const RETRY: Duration = Duration::from_secs(1);

/// A look-up that takes longer has failed; the system's resolver may otherwise take half a minute.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Only the supervisor and the admin write to this actor, a few messages a minute.
const MAILBOX: usize = 64;

/// What the actor is given by whoever starts it.
pub struct Deps {
    /// Makes the look-up; [`SystemLookup::factory`](super::SystemLookup::factory) outside tests.
    pub lookup: LookupFactory,
    /// [`REFRESH`] outside tests.
    pub refresh: Duration,
    /// [`RETRY`] outside tests.
    pub retry: Duration,
    /// Told of the end of this instance.
    pub on_stop: OnStop,
    /// This instance's right to publish.
    pub fence: Fence,
}

/// Keeps the addresses of host-named targets fresh.
pub struct ResolverActor {
    lookup: Box<dyn Lookup>,
    refresh: Duration,
    retry: Duration,
    on_stop: OnStop,
    fence: Fence,
    names: HashMap<(String, u16), Watched>,
}

struct Watched {
    name: Name,
    targets: Vec<Arc<TargetState>>,
    /// The wait for the next look-up, or the look-up itself: never both, so never two in flight.
    next: SpawnHandle,
}

impl ResolverActor {
    /// The name in [`Stopped`] and in logs.
    pub const NAME: &'static str = "resolver";

    /// Starts an instance on the arbiter's thread. It looks nothing up until it is sent a [`Watch`].
    pub fn start_in(arbiter: &ArbiterHandle, deps: Deps) -> Addr<Self> {
        Self::start_in_arbiter(arbiter, move |ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            let Deps { lookup, refresh, retry, on_stop, fence } = deps;
            Self { lookup: lookup(), refresh, retry, on_stop, fence, names: HashMap::new() }
        })
    }

    /// Replaces the set of names by the one that a reload left.
    fn watch(&mut self, watch: Watch, ctx: &mut Context<Self>) {
        let mut before = std::mem::take(&mut self.names);
        let mut wanted: HashMap<_, Vec<_>> = HashMap::new();
        for (shared, host, port) in watch.targets {
            wanted.entry((host, port)).or_default().push(shared);
        }
        for (key, targets) in wanted {
            match before.remove(&key) {
                Some(known) if targets.iter().all(|shared| known.serves(shared)) => {
                    self.names.insert(key, Watched { targets, ..known });
                }
                known => self.begin(key, targets, known, ctx),
            }
        }
        for gone in before.into_values() {
            ctx.cancel_future(gone.next);
        }
    }

    /// Looks up at once a name that is new or has a new target.
    fn begin(
        &mut self,
        key: (String, u16),
        targets: Vec<Arc<TargetState>>,
        known: Option<Watched>,
        ctx: &mut Context<Self>,
    ) {
        let name = match known {
            Some(known) => {
                ctx.cancel_future(known.next);
                known.name
            }
            None => {
                let mut published = targets.iter().map(|shared| shared.addresses.load_full());
                Name::known(published.find(|addresses| !addresses.is_empty()).as_deref().cloned())
            }
        };
        let next = self.ask(key.clone(), ctx);
        let watched = Watched { name, targets, next };
        watched.publish(&self.fence);
        self.names.insert(key, watched);
    }

    fn ask(&self, key: (String, u16), ctx: &mut Context<Self>) -> SpawnHandle {
        let answer = tokio::time::timeout(LOOKUP_TIMEOUT, self.lookup.lookup(key.0.clone(), key.1));
        ctx.spawn(answer.into_actor(self).map(move |answer, actor, ctx| {
            let late = |_| Err(format!("no answer within {} s", LOOKUP_TIMEOUT.as_secs()));
            actor.on_answer(key, answer.unwrap_or_else(late), ctx);
        }))
    }

    fn on_answer(
        &mut self,
        key: (String, u16),
        answer: Result<Vec<SocketAddr>, String>,
        ctx: &mut Context<Self>,
    ) {
        if !self.fence.is_current() {
            return ctx.stop();
        }
        let Some(watched) = self.names.get_mut(&key) else { return };
        let news = watched.name.on_answer(answer);
        watched.publish(&self.fence);
        watched.targets.iter().for_each(|shared| shared.unresolved.store(false, Ordering::Release));
        if let Some(news) = news {
            tell(&key, &watched.name, &news);
        }
        let wait = watched.name.wait(self.refresh, self.retry);
        watched.next = ctx.run_later(wait, move |actor, ctx| {
            let next = actor.ask(key.clone(), ctx);
            if let Some(watched) = actor.names.get_mut(&key) {
                watched.next = next;
            }
        });
    }
}

impl Watched {
    fn serves(&self, shared: &Arc<TargetState>) -> bool {
        self.targets.iter().any(|known| Arc::ptr_eq(known, shared))
    }

    /// Gives every target the last good answer, if there is one and it is not what the target has.
    fn publish(&self, fence: &Fence) {
        if self.name.addresses.is_empty() || !fence.is_current() {
            return;
        }
        for shared in &self.targets {
            if **shared.addresses.load() != self.name.addresses {
                shared.addresses.store(Arc::new(self.name.addresses.clone()));
            }
            shared.unresolved.store(false, Ordering::Release);
        }
    }
}

fn tell((host, port): &(String, u16), name: &Name, news: &News) {
    let addresses = &name.addresses;
    match news {
        News::Moved => log::info!("{host}:{port} is at {addresses:?}"),
        News::Back => log::info!("{host}:{port} can be looked up again"),
        News::Lost => {
            let error = name.failing.as_deref().unwrap_or_default();
            log::warn!("{host}:{port} cannot be looked up, keeping {addresses:?}: {error}");
        }
    }
}

impl Actor for ResolverActor {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        (self.on_stop)(Stopped::now(Self::NAME, &self.fence));
    }
}

supervised!(ResolverActor);

impl Handler<Watch> for ResolverActor {
    type Result = ();

    fn handle(&mut self, msg: Watch, ctx: &mut Self::Context) {
        count_message();
        self.watch(msg, ctx);
    }
}

impl Handler<Inspect> for ResolverActor {
    type Result = Vec<Report>;

    fn handle(&mut self, _: Inspect, _: &mut Self::Context) -> Self::Result {
        count_message();
        let mut reports: Vec<_> = self.names.iter().map(|(key, watched)| watched.report(key)).collect();
        reports.sort_by(|a, b| (&a.host, a.port).cmp(&(&b.host, b.port)));
        reports
    }
}

impl Watched {
    fn report(&self, (host, port): &(String, u16)) -> Report {
        let Name { addresses, failing } = &self.name;
        Report { host: host.clone(), port: *port, addresses: addresses.clone(), failing: failing.clone() }
    }
}
