//! The limiter's mailbox, timers, and calls of the shared store. All judgement is in `state`, `health` and the buckets.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use actix::fut::wrap_future;
use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, MessageResult, Recipient,
    SpawnHandle,
};
use actix_rt::ArbiterHandle;

use super::health::{Health, Turn};
use super::limit::Plan;
use super::messages::{Ask, Asks, Inspect, ModeChanged, Reply, Report, Sighted, Sightings, Watch};
use super::settings::{Algorithm, Limit, RedisSettings};
use super::shared_limit::{Limiter, Mode, SharedLimit};
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

/// How long a key that the store has not answered for is left alone, while it answers for others.
const BACK_OFF: Duration = Duration::from_secs(1);

/// Leases are not collected more often than this.
const COLLECT: Duration = Duration::from_millis(2);

/// How long a list of the most frequent clients is filled; the page shows the last two lists together.
pub const LIST: Duration = Duration::from_secs(60);
const LIST_TICKS: u32 = (LIST.as_secs() / TICK.as_secs()) as u32;

/// Clients in each of those lists.
const LISTED: usize = 256;

/// Clients that a report shows.
const SHOWN: usize = 20;

/// Makes the store of a configuration.
pub type StoreFactory = Box<dyn Fn(&RedisSettings) -> Result<Box<dyn SharedStore>, StoreError> + Send>;

/// What the actor is given by whoever starts it.
pub struct Deps {
    /// What it publishes into.
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
    limits: Vec<Arc<SharedLimit>>,
    /// Limits that a reload has changed or removed, until nobody uses them.
    gone: Vec<Arc<SharedLimit>>,
    redis: Option<RedisSettings>,
    store: Option<Box<dyn SharedStore>>,
    /// Counts the stores: an answer of one that has been replaced is nobody's.
    generation: u64,
    health: Health,
    probing: bool,
    /// When it was last probed.
    probed: Instant,
    accounts: Accounts<Waiter>,
    collecting: Option<SpawnHandle>,
    store_calls: u64,
    /// When all buckets were looked at, and how many there were.
    swept: (Instant, usize),
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

/// Questions that a probe asks a cluster: enough to meet a node that lives where a half of them are dead.
const CANARIES: usize = 12;

/// A question for a bucket that nobody is limited by, on any node of a cluster.
fn canary() -> Take {
    let limit = Limit {
        algorithm: Algorithm::FixedWindow,
        requests: 1_000_000,
        window: Duration::from_secs(1),
        burst: 0,
    };
    let key = format!("canary:{}", fastrand::u16(..));
    Take {
        key,
        plan: Plan::new(&limit),
        least: 1,
        awaited: 1,
        most: 1,
        returnable: false,
        lease: Duration::ZERO,
    }
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
                gone: Vec::new(),
                redis: None,
                store: None,
                generation: 0,
                health: Health::default(),
                probing: false,
                probed: Instant::now(),
                accounts: Accounts::default(),
                collecting: None,
                store_calls: 0,
                swept: (Instant::now(), 0),
                ticks: 0,
                busiest: lists(),
                limited: lists(),
            }
        })
    }

    fn watch(&mut self, watch: Watch, ctx: &mut Context<Self>) {
        let stays = |limit: &Arc<SharedLimit>| watch.limits.iter().any(|other| other.id == limit.id);
        self.gone.extend(std::mem::take(&mut self.limits).into_iter().filter(|limit| !stays(limit)));
        self.limits = watch.limits;
        self.limits.iter().for_each(|limit| limit.belong_to(&self.deps.limiter.key_quota));
        self.deps.limiter.key_quota.set_most(watch.max_keys, self.limits.len());
        if self.redis != watch.redis || (self.store.is_none() && watch.redis.is_some()) {
            if let Some(store) = self.store.take() {
                ctx.spawn(wrap_future(store.unregister()));
            }
            self.health = Health::new(watch.redis.as_ref().is_some_and(RedisSettings::is_cluster));
            (self.generation, self.probing) = (self.generation + 1, false);
            self.redis = watch.redis;
            self.deps.limiter.set_patience(self.redis.as_ref().map(|redis| redis.patience));
            if let Some(redis) = &self.redis {
                match (self.deps.store)(redis) {
                    Ok(store) => self.store = Some(store),
                    // `check` has read the URL; what is left is the rule for a store that is away.
                    Err(error) => {
                        self.health.call(false, Some(&error.why));
                        self.health.probing();
                        let turn = self.health.probe(Err(&error.why));
                        self.turned(turn);
                    }
                }
            }
            self.publish_mode();
            // Told only now, so that who waits finds the new mode.
            std::mem::take(&mut self.accounts).give_up(serve);
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

    /// Tells of a change of the store's health.
    fn turned(&mut self, turn: Option<Turn>) {
        if self.deps.fence.is_current() {
            self.deps.limiter.set_error(self.health.error());
        }
        let Some(turn) = turn else { return };
        let why = self.health.error().unwrap_or_default();
        match turn {
            Turn::Lost => log::warn!(
                "Redis is given up until it answers again, limits are decided by each rule's onError: {why}"
            ),
            Turn::Back => log::info!("limits are shared again: Redis answers"),
            Turn::Partly => log::warn!(
                "Redis does not answer for some clients, their limits are decided by each rule's onError: {why}"
            ),
            Turn::Whole => log::info!("limits of all clients are shared again"),
        }
        if matches!(turn, Turn::Partly | Turn::Whole) {
            return;
        }
        self.publish_mode();
        if turn == Turn::Lost {
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
        let asked: (Vec<AccountId>, Vec<Take>) = ids
            .into_iter()
            .filter_map(|id| Some((id, self.accounts.question(id, now, Waiter::is_closed)?)))
            .unzip();
        let (ids, takes) = asked;
        // In front of the questions: what comes back is granted again at once.
        self.give_back(ctx);
        let Some(store) = self.store.as_ref().filter(|_| !takes.is_empty()) else {
            ids.into_iter().for_each(|id| self.accounts.leave(id, serve));
            return;
        };
        self.store_calls += takes.len() as u64;
        let (answers, generation) = (wrap_future::<_, Self>(store.take(takes)), self.generation);
        ctx.spawn(answers.map(move |answers, actor, ctx| {
            if actor.generation == generation {
                actor.answered(ids, answers, ctx);
            }
        }));
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
                    if self.accounts.answered(id, &taken, &limiter.key_quota, now, serve) {
                        again.push(id);
                    }
                }
                Err(error) if self.health.is_partly() => {
                    let until = now + BACK_OFF.as_nanos() as u64;
                    self.accounts.back_off(id, &limiter.key_quota, until, error.sent, serve);
                }
                Err(error) => {
                    if self.accounts.failed(id, now, error.sent, serve) {
                        again.push(id);
                    }
                }
            }
        }
        if error.as_ref().is_some_and(|error| error.refused) {
            self.health.refused();
        }
        let turn = self.health.call(any, error.as_ref().map(|error| &*error.why));
        self.turned(turn);
        // Where some keys fail all the time, that need not be asked about each time.
        if error.is_some() && (!self.health.is_partly() || self.probed.elapsed() >= PROBE) {
            self.probe(ctx);
        }
        if self.health.is_up() {
            self.ask(again, ctx);
        } else {
            again.into_iter().for_each(|id| self.accounts.leave(id, serve));
        }
        self.collect_later(ctx);
    }

    /// Arms the timer that collects what is left of the leases that have ended.
    fn collect_later(&mut self, ctx: &mut Context<Self>) {
        let Some(end) = self.accounts.sooner() else { return };
        if let Some(later) = self.collecting.take() {
            ctx.cancel_future(later);
        }
        let wait = Duration::from_nanos(end.saturating_sub(self.deps.limiter.clock.now())).max(COLLECT);
        self.collecting = Some(ctx.run_later(wait, |actor, ctx| {
            actor.collecting = None;
            let indebted = actor.accounts.collect(actor.deps.limiter.clock.now());
            actor.give_back(ctx);
            if actor.health.is_up() {
                actor.ask(indebted, ctx);
            }
            actor.collect_later(ctx);
        }));
    }

    /// Gives back what has been collected.
    fn give_back(&mut self, ctx: &mut Context<Self>) {
        let unspent = self.accounts.unspent();
        if let Some(store) = self.store.as_ref().filter(|_| self.health.is_up() && !unspent.is_empty()) {
            self.store_calls += unspent.len() as u64;
            ctx.spawn(wrap_future(store.give_back(unspent)));
        }
    }

    /// Tells the store that this instance lives, which also tells whether the store does.
    fn probe(&mut self, ctx: &mut Context<Self>) {
        let Some(store) = self.store.as_ref().filter(|_| !self.probing) else { return };
        self.probing = true;
        self.health.probing();
        self.probed = Instant::now();
        // The list of instances is on one node of a cluster, which says nothing of the others.
        let clustered = self.redis.as_ref().is_some_and(RedisSettings::is_cluster);
        let canaries = if clustered { CANARIES } else { 0 };
        let canary = store.take(std::iter::repeat_with(canary).take(canaries).collect());
        let answers = wrap_future::<_, Self>(futures_util::future::join(store.register(), canary));
        let generation = self.generation;
        ctx.spawn(answers.map(move |(instances, canary), actor, ctx| {
            if actor.generation != generation {
                return;
            }
            actor.probing = false;
            if let Ok(instances) = &instances
                && actor.deps.fence.is_current()
            {
                actor.deps.limiter.set_instances(*instances);
            }
            let alive = canary.iter().any(Result::is_ok);
            let result = instances.map(|_| ()).or_else(|error| if alive { Ok(()) } else { Err(error) });
            let turn = actor.health.probe(result.as_ref().copied().map_err(|error| &*error.why));
            actor.turned(turn);
            if result.is_err() && actor.health.is_up() {
                actor.probe(ctx);
            }
        }));
    }

    fn tick(&mut self) {
        let turn = self.health.tick();
        self.turned(turn);
        self.ticks += 1;
        if self.ticks.is_multiple_of(LIST_TICKS) {
            for lists in [&mut self.busiest, &mut self.limited] {
                lists.swap(0, 1);
                lists[0].take();
            }
        }
        self.forget_gone();
        let limiter = &self.deps.limiter;
        limiter.set_behind(limiter.clock.behind(SystemTime::now()));
        let now = Instant::now();
        let (swept, found) = self.swept;
        if now - swept >= sweep::pause(&limiter.key_quota, found) {
            self.swept = (now, limiter.key_quota.live());
            sweep::sweep(&self.limits, &limiter.key_quota, limiter.mode(), limiter.clock.now());
        }
    }

    /// Frees what limits take that are no more: their buckets at once, for a tunnel may hold such a limit for days, and the
    /// rest when nobody does. A million buckets take a moment, so it is neither a worker that does it nor this thread.
    fn forget_gone(&mut self) {
        let limiter = &self.deps.limiter;
        let now = limiter.clock.now();
        self.gone.iter().for_each(|limit| limit.leases.sweep(&limiter.key_quota, now, true));
        let mut freed: Vec<_> = self.gone.extract_if(.., |limit| Arc::strong_count(limit) == 1).collect();
        freed.extend(self.gone.iter().filter(|limit| !limit.buckets.is_empty()).cloned());
        if !freed.is_empty() {
            let limiter = limiter.clone();
            actix_rt::task::spawn_blocking(move || {
                freed.iter().for_each(|limit| limit.buckets.clear(&limiter.key_quota));
                drop(freed);
            });
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
        let (is_up, now) = (self.health.is_up() && self.store.is_some(), self.deps.limiter.clock.now());
        for Ask { limit, key, owner, cost, returnable, reply } in asks {
            let to_be_asked = match reply {
                Some(waiter) if is_up => self.accounts.wait(&limit, key, &owner, (cost, returnable), waiter),
                None if is_up => self.accounts.add_debt(&limit, key, &owner, cost, now),
                Some(waiter) => {
                    serve(waiter, Reply::Unavailable { charged: false });
                    false
                }
                None => false,
            };
            if to_be_asked {
                ids.push((limit.id, key));
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
            keys: limiter.key_quota.live(),
            max_keys: limiter.key_quota.most(),
            leased: self.limits.iter().map(|limit| limit.leases.outstanding(now)).sum(),
            store_calls: self.store_calls,
            busiest: Self::most(&self.busiest),
            limited: Self::most(&self.limited),
        })
    }
}
