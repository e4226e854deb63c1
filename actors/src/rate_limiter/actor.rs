//! The limiter's mailbox, timers, and calls of the shared store. All judgement is in `state`, `health` and the buckets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::fut::wrap_future;
use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, MessageResult, Recipient,
    SpawnHandle,
};
use actix_rt::ArbiterHandle;

use super::cells::{LimitCells, Limiter, Mode};
use super::health::Health;
use super::messages::{Asks, Inspect, ModeChanged, Reply, Report, Sighted, Sightings, Watch};
use super::settings::RedisSettings;
use super::shared_store::{SharedStore, StoreError, Take, Taken};
use super::state::{AccountId, Accounts};
use super::sweep;
use super::top::{Entry, Top};
use crate::supervision::{Fence, OnStop, Stopped, count_message, supervised};

/// Batches that may wait: a worker sends one per turn of its event loop at most, and waits for the answer.
const MAILBOX: usize = 1024;

/// Time between two looks at the buckets, and between two signs of life in the shared store.
const TICK: Duration = Duration::from_secs(1);

/// Time between two probes of a shared store that is away.
const PROBE: Duration = Duration::from_millis(250);

/// Leases are not collected more often than this.
const COLLECT: Duration = Duration::from_millis(2);

/// Ticks that a list of the most frequent clients is filled for; the page shows the last two lists together.
const LIST_TICKS: u32 = 60;

/// Clients in each of those lists.
const LISTED: usize = 256;

/// Clients that a report shows.
const SHOWN: usize = 20;

/// Makes the store of a configuration.
pub type StoreFactory = Box<dyn Fn(&RedisSettings) -> Result<Box<dyn SharedStore>, StoreError> + Send>;

/// What the actor is given by whoever starts it.
pub struct Deps {
    /// The cells that it publishes into.
    pub limiter: Arc<Limiter>,
    /// Receives every loss and return of the shared store; sent with `do_send`.
    pub changes: Recipient<ModeChanged>,
    /// Makes the shared store.
    pub store: StoreFactory,
    /// Told of the end of this instance.
    pub on_stop: OnStop,
    /// This instance's right to publish.
    pub fence: Fence,
}

/// Keeps the buckets in bounds and fetches leases from the shared store.
pub struct RateLimiterActor {
    deps: Deps,
    limits: Vec<Arc<LimitCells>>,
    redis: Option<RedisSettings>,
    store: Option<Box<dyn SharedStore>>,
    health: Health,
    probing: bool,
    accounts: Accounts<Waiter>,
    collecting: Option<SpawnHandle>,
    store_calls: u64,
    /// When the buckets may be looked at again.
    next_sweep: Instant,
    ticks: u32,
    /// The list that is being filled, and the one before.
    busiest: [Top<Sighted>; 2],
    limited: [Top<Sighted>; 2],
}

/// Who waits for an answer: gone, when it does not any more.
type Waiter = tokio::sync::oneshot::Sender<Reply>;

fn serve(waiter: Waiter, reply: Reply) -> bool {
    waiter.send(reply).is_ok()
}

impl RateLimiterActor {
    /// The name in [`Stopped`] and in logs.
    pub const NAME: &'static str = "rate_limiter";

    /// Starts an instance on the arbiter's thread. It knows no limit until it is sent a [`Watch`].
    pub fn start_in(arbiter: &ArbiterHandle, deps: Deps) -> Addr<Self> {
        Self::start_in_arbiter(arbiter, move |ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            let lists = || std::array::from_fn(|_| Top::new(LISTED));
            Self {
                deps,
                limits: Vec::new(),
                redis: None,
                store: None,
                health: Health::default(),
                probing: false,
                accounts: Accounts::default(),
                collecting: None,
                store_calls: 0,
                next_sweep: Instant::now(),
                ticks: 0,
                busiest: lists(),
                limited: lists(),
            }
        })
    }

    fn watch(&mut self, watch: Watch, ctx: &mut Context<Self>) {
        self.limits = watch.limits;
        self.deps.limiter.population.set_most(watch.max_keys);
        if self.redis != watch.redis || (self.store.is_none() && watch.redis.is_some()) {
            if let Some(store) = self.store.take() {
                ctx.spawn(wrap_future(store.unregister()));
            }
            self.accounts.give_up(serve);
            self.accounts = Accounts::default();
            self.health = Health::default();
            self.redis = watch.redis;
            if let Some(redis) = &self.redis {
                match (self.deps.store)(redis) {
                    Ok(store) => self.store = Some(store),
                    // `check` has read the URL; what is left is the rule for a store that is away.
                    Err(error) => self.note(Err(&error.0)),
                }
            }
            self.publish_mode();
            self.probe(ctx);
        }
    }

    fn publish_mode(&self) {
        if !self.deps.fence.is_current() {
            return;
        }
        let mode = match (&self.redis, self.health.is_up() && self.store.is_some()) {
            (None, _) => Mode::Local,
            (Some(_), true) => Mode::Shared,
            (Some(_), false) => Mode::Degraded,
        };
        if mode == Mode::Local {
            self.deps.limiter.set_instances(1);
        }
        self.deps.limiter.set_mode(mode);
    }

    /// Notes how a call of the store ended.
    fn note(&mut self, result: Result<(), &str>) {
        if !self.health.note(result) {
            return;
        }
        self.publish_mode();
        let up = self.health.is_up();
        if up {
            log::info!("limits are shared again: Redis answers");
        } else {
            let why = self.health.error().unwrap_or_default();
            log::warn!(
                "Redis is given up until it answers again, limits are decided by each rule's onError: {why}"
            );
            self.accounts.give_up(serve);
        }
        if self.deps.fence.is_current() {
            let error = self.health.error().map(str::to_owned);
            self.deps.changes.do_send(ModeChanged { mode: self.deps.limiter.mode(), error });
        }
    }

    /// Asks the store for every key that is to be asked for.
    fn ask(&mut self, ids: impl IntoIterator<Item = AccountId>, ctx: &mut Context<Self>) {
        let now = self.deps.limiter.clock.now();
        let asked: (Vec<AccountId>, Vec<Take>) =
            ids.into_iter().filter_map(|id| Some((id, self.accounts.question(id, now)?))).unzip();
        let (ids, takes) = asked;
        let Some(store) = self.store.as_ref().filter(|_| !takes.is_empty()) else {
            ids.into_iter().for_each(|id| self.accounts.failed(id, serve));
            return;
        };
        self.store_calls += takes.len() as u64;
        let answers = wrap_future::<_, Self>(store.take(takes));
        ctx.spawn(answers.map(move |answers, actor, ctx| actor.answered(ids, answers, ctx)));
    }

    fn answered(
        &mut self,
        ids: Vec<AccountId>,
        answers: Vec<Result<Taken, StoreError>>,
        ctx: &mut Context<Self>,
    ) {
        let limiter = self.deps.limiter.clone();
        let now = limiter.clock.now();
        let error = answers.iter().find_map(|answer| answer.as_ref().err().cloned());
        let any = answers.iter().any(Result::is_ok);
        let mut again = Vec::new();
        for (id, answer) in ids.into_iter().zip(answers) {
            match answer {
                Ok(taken) => {
                    if self.accounts.answered(id, &taken, &limiter.population, now, serve) {
                        again.push(id);
                    }
                }
                Err(_) => self.accounts.failed(id, serve),
            }
        }
        // An error beside good answers is one key's, not the store's.
        self.note(error.as_ref().filter(|_| !any).map_or(Ok(()), |error| Err(&error.0)));
        if self.health.is_up() {
            self.ask(again, ctx);
        } else {
            again.into_iter().for_each(|id| self.accounts.failed(id, serve));
        }
        self.collect_later(ctx);
    }

    /// Arms the timer that collects what is left of the leases that have ended.
    fn collect_later(&mut self, ctx: &mut Context<Self>) {
        let Some(end) = self.accounts.next_end().filter(|_| self.collecting.is_none()) else { return };
        let wait = Duration::from_nanos(end.saturating_sub(self.deps.limiter.clock.now())).max(COLLECT);
        self.collecting = Some(ctx.run_later(wait, |actor, ctx| {
            actor.collecting = None;
            let unspent = actor.accounts.ended(actor.deps.limiter.clock.now());
            if let Some(store) = actor.store.as_ref().filter(|_| actor.health.is_up() && !unspent.is_empty())
            {
                actor.store_calls += unspent.len() as u64;
                ctx.spawn(wrap_future(store.give_back(unspent)));
            }
            actor.collect_later(ctx);
        }));
    }

    /// Tells the store that this instance lives, which also tells whether the store does.
    fn probe(&mut self, ctx: &mut Context<Self>) {
        let Some(store) = self.store.as_ref().filter(|_| !self.probing) else { return };
        self.probing = true;
        let answer = wrap_future::<_, Self>(store.register());
        ctx.spawn(answer.map(|answer, actor, _| {
            actor.probing = false;
            match answer {
                Ok(instances) => {
                    if actor.deps.fence.is_current() && actor.redis.is_some() {
                        actor.deps.limiter.set_instances(instances);
                    }
                    actor.note(Ok(()));
                }
                Err(error) => actor.note(Err(&error.0)),
            }
        }));
    }

    fn tick(&mut self) {
        self.ticks += 1;
        if self.ticks.is_multiple_of(LIST_TICKS) {
            for lists in [&mut self.busiest, &mut self.limited] {
                lists.swap(0, 1);
                lists[0].take();
            }
        }
        let limiter = &self.deps.limiter;
        let began = Instant::now();
        if began >= self.next_sweep {
            sweep::sweep(&self.limits, &limiter.population, limiter.clock.now());
            // A twentieth of a core at most, however many buckets there are.
            self.next_sweep = began + (began.elapsed() * 20).max(TICK / 2);
        }
    }

    fn most(lists: &[Top<Sighted>; 2]) -> Vec<Entry<Sighted>> {
        let mut both = lists[0].clone();
        both.merge(lists[1].most(LISTED).into_iter().cloned());
        both.most(SHOWN).into_iter().cloned().collect()
    }
}

impl Actor for RateLimiterActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(PROBE, |actor, ctx| {
            if !actor.deps.fence.is_current() {
                return ctx.stop();
            }
            if !actor.health.is_up() {
                actor.probe(ctx);
            }
        });
        ctx.run_interval(TICK, |actor, ctx| {
            actor.tick();
            actor.probe(ctx);
        });
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        (self.deps.on_stop)(Stopped::now(Self::NAME, &self.deps.fence));
    }
}

supervised!(RateLimiterActor);

impl Handler<Watch> for RateLimiterActor {
    type Result = ();

    fn handle(&mut self, watch: Watch, ctx: &mut Self::Context) {
        count_message();
        self.watch(watch, ctx);
    }
}

impl Handler<Asks> for RateLimiterActor {
    type Result = ();

    fn handle(&mut self, Asks(asks): Asks, ctx: &mut Self::Context) {
        count_message();
        let mut ids = Vec::new();
        for ask in asks {
            if !self.health.is_up() || self.store.is_none() {
                serve(ask.reply, Reply::Unavailable);
            } else if self.accounts.wait(
                &ask.limit,
                ask.key,
                &ask.owner,
                (ask.cost, ask.returnable),
                ask.reply,
            ) {
                ids.push((ask.limit.id, ask.key));
            }
        }
        self.ask(ids, ctx);
    }
}

impl Handler<Sightings> for RateLimiterActor {
    type Result = ();

    fn handle(&mut self, sightings: Sightings, _: &mut Self::Context) {
        count_message();
        self.busiest[0].merge(sightings.busiest);
        self.limited[0].merge(sightings.limited);
    }
}

impl Handler<Inspect> for RateLimiterActor {
    type Result = MessageResult<Inspect>;

    fn handle(&mut self, _: Inspect, _: &mut Self::Context) -> Self::Result {
        count_message();
        let limiter = &self.deps.limiter;
        let now = limiter.clock.now();
        MessageResult(Report {
            mode: limiter.mode(),
            instances: limiter.instances(),
            error: self.health.error().map(str::to_owned),
            keys: limiter.population.live(),
            max_keys: limiter.population.most(),
            leased: self.limits.iter().map(|limit| limit.leases.outstanding(now)).sum(),
            store_calls: self.store_calls,
            busiest: Self::most(&self.busiest),
            limited: Self::most(&self.limited),
        })
    }
}
