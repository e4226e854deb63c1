//! The mailbox, the clock and the I/O: what the ledger is asked, one question at a time, and what webhooks are sent. All
//! decisions are `state`'s.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix::fut::wrap_future;
use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Recipient, ResponseFuture,
    SpawnHandle,
};
use actix_rt::ArbiterHandle;

use super::delivery_queue::{Delivery, Failure, MOST, Then};
use super::ledger::{Ledger, LedgerError};
use super::measure::Measure;
use super::messages::{Acknowledge, Acknowledged, AlertChanged, Watch, WatchTarget};
use super::place;
use super::settings::Condition;
use super::state::{AlertsState, Answer, Ask, Output, View, Who};
use crate::metrics_aggregator::{Metrics, Writer};
use crate::supervision::{Fence, OnStop, Stopped, count_message, supervised};

/// Only the supervisor and the admin write to this actor.
const MAILBOX: usize = 64;

/// A try to send: `Err` says what was wrong and what to do about it.
pub type PostFuture = Pin<Box<dyn Future<Output = Result<(), Failure>>>>;

/// Sends to webhooks. Need not be `Send`: it lives and dies on the actor's thread.
pub trait Poster {
    /// Sends one delivery, within the webhook's time limit.
    fn post(&self, delivery: Delivery) -> PostFuture;
}

/// Makes the poster on the actor's thread.
pub type PosterFactory = Box<dyn FnOnce() -> Box<dyn Poster> + Send>;

/// What is known of alerts, kept outside of the actor's instances: one that dies loses nothing. Read by the administration
/// interface; requests never come here.
pub struct Alerts(Mutex<AlertsState>);

impl Alerts {
    /// Nothing open yet. `has_ledger`: alerts are kept in a store.
    pub fn new(writer: &Writer, has_ledger: bool) -> Self {
        let who = Who { instance: writer.instance.to_string(), boot: writer.boot.to_string() };
        Self(Mutex::new(AlertsState::new(who, has_ledger, fastrand::u64(..))))
    }

    /// Everything that is known.
    pub fn state(&self) -> MutexGuard<'_, AlertsState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same for an instance of the actor; `None` once it has been replaced. The question is asked under the lock, so
    /// that nothing of the successor's comes between it and what follows.
    fn state_for(&self, fence: &Fence) -> Option<MutexGuard<'_, AlertsState>> {
        let state = self.state();
        fence.is_current().then_some(state)
    }
}

/// What the actor is given by whoever starts it.
pub struct Deps {
    /// What it knows.
    pub alerts: Arc<Alerts>,
    /// `None`: in memory only.
    pub ledger: Option<Arc<dyn Ledger>>,
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// Since when.
    pub counting_since: Instant,
    /// Whether the gateway is stopping: what is counted then says nothing.
    pub stopping: Box<dyn Fn() -> bool + Send>,
    /// Makes the poster.
    pub poster: PosterFactory,
    /// Receives everything that happens to alerts; sent with `do_send`.
    pub changes: Recipient<AlertChanged>,
    /// Told of the end of this instance.
    pub on_stop: OnStop,
    /// This instance's right to judge and to send.
    pub fence: Fence,
}

/// Judges rules and tells of alerts.
pub struct AlertActor {
    alerts: Arc<Alerts>,
    ledger: Option<Arc<dyn Ledger>>,
    metrics: Arc<Metrics>,
    counting_since: Instant,
    stopping: Box<dyn Fn() -> bool + Send>,
    poster: Box<dyn Poster>,
    changes: Recipient<AlertChanged>,
    on_stop: OnStop,
    fence: Fence,
    targets: Vec<WatchTarget>,
    look_due: bool,
    /// The ledger is being asked something.
    asking: bool,
    tick: Option<SpawnHandle>,
    wake: Option<SpawnHandle>,
}

impl AlertActor {
    /// The name in [`Stopped`] and in logs.
    pub const NAME: &'static str = "alerts";

    /// Starts an instance on the arbiter's thread. It judges nothing until it is sent a [`Watch`].
    pub fn start_in(arbiter: &ArbiterHandle, deps: Deps) -> Addr<Self> {
        Self::start_in_arbiter(arbiter, move |ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            let Deps { alerts, ledger, metrics, counting_since, stopping, poster, changes, on_stop, fence } =
                deps;
            if let Some(mut state) = alerts.state_for(&fence) {
                state.taken_over();
            }
            Self {
                alerts,
                ledger,
                metrics,
                counting_since,
                stopping,
                poster: poster(),
                changes,
                on_stop,
                fence,
                targets: Vec::new(),
                look_due: false,
                asking: false,
                tick: None,
                wake: None,
            }
        })
    }

    /// What is known; `None` once this instance has been replaced: all of it is its successor's then.
    fn state(&self) -> Option<MutexGuard<'_, AlertsState>> {
        self.alerts.state_for(&self.fence)
    }

    /// By the clock that requests are counted by, milliseconds.
    fn now(&self) -> i64 {
        self.metrics.now_ms()
    }

    /// Looks at every rule, now and after each interval, while there is anything to look at.
    fn tick(&mut self, ctx: &mut Context<Self>) {
        self.look_due = true;
        self.drive(ctx);
        self.tick_later(ctx);
    }

    fn tick_later(&mut self, ctx: &mut Context<Self>) {
        let Some(state) = self.state() else { return ctx.stop() };
        let (active, interval) = (state.is_active(), state.settings().check_interval);
        drop(state);
        self.tick = active.then(|| ctx.run_later(interval, Self::tick));
    }

    /// Does what is to be done next: the ledger is told what waits, then asked what is open, then for what is to be sent.
    fn drive(&mut self, ctx: &mut Context<Self>) {
        if self.asking {
            return;
        }
        let Some(ledger) = self.ledger.clone() else {
            if std::mem::take(&mut self.look_due) {
                self.look(View::Alone);
            }
            return self.deliver(ctx);
        };
        let now = self.now();
        let Some(next) = self.state().map(|mut state| state.next_write(now)) else { return ctx.stop() };
        if let Some(ask) = next {
            self.asking = true;
            let written = wrap_future::<_, Self>(write(ledger, ask));
            ctx.spawn(written.map(|answer, actor, ctx| {
                actor.asking = false;
                let out = actor.state().map(|mut state| state.answered(actor.now(), answer));
                actor.speak(out.unwrap_or_default());
                actor.drive(ctx);
            }));
        } else if std::mem::take(&mut self.look_due) {
            self.asking = true;
            ctx.spawn(wrap_future::<_, Self>(ledger.open()).map(|open, actor, ctx| {
                actor.asking = false;
                actor.look(match open {
                    Ok(open) => View::Open(open),
                    Err(error) => View::Away(error.0),
                });
                actor.drive(ctx);
            }));
        } else {
            let claim = self.state().map(|mut state| state.claim(now));
            if let Some((webhooks, lease)) = claim.flatten() {
                self.asking = true;
                let claimed = ledger.claim(webhooks, lease, MOST as u32);
                ctx.spawn(wrap_future::<_, Self>(claimed).map(|rows, actor, ctx| {
                    actor.asking = false;
                    // When the ledger did not answer, the next look finds out.
                    if let (Ok(rows), Some(mut state)) = (rows, actor.state()) {
                        state.claimed(rows);
                    }
                    actor.drive(ctx);
                }));
            }
        }
        self.deliver(ctx);
    }

    fn look(&mut self, view: View) {
        if (self.stopping)() {
            return;
        }
        let (now, at) = (self.now(), Instant::now());
        let mut measure = Measure::new(&self.metrics, &self.targets, now / 1_000, at, self.counting_since);
        let place = |condition: &Condition| place::of(&self.metrics, &self.targets, now / 1_000, condition);
        let out =
            self.state().map(|mut state| state.look(now, view, |condition| measure.of(condition), place));
        self.speak(out.unwrap_or_default());
    }

    fn speak(&self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Log(level, what) => log::log!(level, "{what}"),
                Output::Publish(change) => self.changes.do_send(*change),
            }
        }
    }

    /// Sends what is due, and comes back when more is.
    fn deliver(&mut self, ctx: &mut Context<Self>) {
        let now = self.now();
        let Some(deliveries) = self.state().map(|mut state| state.due(now)) else { return ctx.stop() };
        for delivery in deliveries {
            let limit = delivery.webhook.timeout;
            // A task of its own: a poster that panics then fails its try instead of ending this actor.
            let task = actix_rt::spawn(tokio::time::timeout(limit, self.poster.post(delivery.clone())));
            ctx.spawn(wrap_future::<_, Self>(task).map(move |joined, actor, ctx| {
                let result = match joined {
                    Ok(Ok(result)) => result,
                    Ok(Err(_)) => Err(again(format!("no answer within {} ms", limit.as_millis()))),
                    Err(_) => Err(again("sending itself failed".to_owned())),
                };
                let out = actor.state().map(|mut state| state.sent(actor.now(), &delivery, result));
                actor.speak(out.unwrap_or_default());
                actor.drive(ctx);
            }));
        }
        if let Some(wake) = self.wake.take() {
            ctx.cancel_future(wake);
        }
        let next = self.state().and_then(|state| state.next_due()).filter(|next| *next > now);
        self.wake = next.map(|next| {
            let wait = Duration::from_millis(u64::try_from(next - now).unwrap_or_default());
            ctx.run_later(wait, |actor, ctx| {
                actor.wake = None;
                actor.deliver(ctx);
            })
        });
    }
}

fn again(what: String) -> Failure {
    Failure { what, then: Then::Again }
}

async fn write(ledger: Arc<dyn Ledger>, ask: Ask) -> Result<Answer, LedgerError> {
    Ok(match ask {
        Ask::Enter(entry) => Answer::Entered(ledger.enter(*entry).await?),
        Ask::Hold { alert, instance, at_ms } => {
            ledger.hold(alert, instance, at_ms).await?;
            Answer::Done
        }
        Ask::Resolve(resolution) => Answer::Resolved(ledger.resolve(resolution).await?),
        Ask::Acknowledge { alert, at_ms } => Answer::Acknowledged(ledger.acknowledge(alert, at_ms).await?),
        Ask::Pushed(push) => {
            ledger.pushed(push).await?;
            Answer::Done
        }
    })
}

impl Actor for AlertActor {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        (self.on_stop)(Stopped::now(Self::NAME, &self.fence));
    }
}

supervised!(AlertActor);

impl Handler<Watch> for AlertActor {
    type Result = ();

    fn handle(&mut self, watch: Watch, ctx: &mut Self::Context) {
        count_message();
        let settings = watch
            .settings
            .unwrap_or_else(|| Arc::new(super::settings::Settings { enabled: false, ..Default::default() }));
        let Some(mut state) = self.state() else { return ctx.stop() };
        let out = state.watch(settings);
        let pressing = state.is_pressing();
        drop(state);
        self.targets = watch.targets;
        self.speak(out);
        if let Some(tick) = self.tick.take() {
            ctx.cancel_future(tick);
        }
        // A gateway without rules does not open its store for this.
        if pressing { self.tick(ctx) } else { self.tick_later(ctx) }
    }
}

impl Handler<Acknowledge> for AlertActor {
    type Result = ResponseFuture<Acknowledged>;

    fn handle(&mut self, msg: Acknowledge, ctx: &mut Self::Context) -> Self::Result {
        count_message();
        let now = self.now();
        let Some(known) = self.state().map(|mut state| state.acknowledge(now, &msg.alert)) else {
            ctx.stop();
            return Box::pin(async { Acknowledged::Replaced });
        };
        if let Some((alert, out)) = known {
            self.speak(out);
            self.drive(ctx);
            return Box::pin(async move { Acknowledged::Yes(Box::new(alert)) });
        }
        let Some(ledger) = self.ledger.clone() else { return Box::pin(async { Acknowledged::NoSuch }) };
        Box::pin(async move {
            match ledger.acknowledge(msg.alert, now).await {
                Ok(Some(alert)) => Acknowledged::Yes(Box::new(alert)),
                Ok(None) => Acknowledged::NoSuch,
                Err(error) => Acknowledged::Away(error.0),
            }
        })
    }
}
