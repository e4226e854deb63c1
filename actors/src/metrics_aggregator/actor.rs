//! The aggregator's mailbox, its timers, and the writes to the store. All counting is `state`'s.
//!
//! An instance that hung, was replaced and woke up again still counts what it had been sent: it is counted by nobody else,
//! and a sum does not mind who adds to it. Everything else is its successor's: what is written and what is forgotten.

use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use actix::fut::wrap_future;
use actix::{Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, ResponseFuture};
use actix_rt::ArbiterHandle;
use tokio::sync::oneshot;

use super::messages::{Changed, Flush, Records, Written};
use super::recent::IN_MEMORY_SECONDS;
use super::rollup::{Batch, FINEST, Sink, SinkError, Writer};
use super::shared_state::Metrics;
use super::state::MetricsState;
use crate::supervision::{Fence, OnStop, Stopped, count_message, supervised};

/// Batches that may wait: a worker sends a few a second, and under load one per thousand requests.
const MAILBOX: usize = 4096;

/// Rollups, samples and changes in one write, at most so many of each.
const BATCH: usize = 2_000;

/// What the actor is given by whoever starts it.
pub struct Deps {
    /// What it counts into.
    pub metrics: Arc<Metrics>,
    /// `None`: in memory only.
    pub sink: Option<Arc<dyn Sink>>,
    /// Whose rollups these are.
    pub writer: Writer,
    /// Time between two writes.
    pub flush_interval: Duration,
    /// Told of the end of this instance.
    pub on_stop: OnStop,
    /// This instance's right to write.
    pub fence: Fence,
}

/// Counts what the workers report, and hands it to the store.
pub struct MetricsAggregatorActor {
    deps: Deps,
    writing: bool,
    /// There was a first write.
    tried: bool,
    /// Another write is wanted behind the one under way.
    again: bool,
    /// When a write last went through, or the instance started.
    written: Instant,
    /// Those who wait until what was counted when they asked is written.
    flushers: Vec<oneshot::Sender<Written>>,
}

impl MetricsAggregatorActor {
    /// The name in [`Stopped`] and in logs.
    pub const NAME: &'static str = "metrics_aggregator";

    /// Starts an instance on the arbiter's thread.
    pub fn start_in(arbiter: &ArbiterHandle, deps: Deps) -> Addr<Self> {
        Self::start_in_arbiter(arbiter, move |ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            Self {
                written: deps.metrics.stamp().1,
                deps,
                writing: false,
                tried: false,
                again: false,
                flushers: Vec::new(),
            }
        })
    }

    /// What is counted; `None` once this instance has been replaced.
    fn state(&self) -> Option<MutexGuard<'_, MetricsState>> {
        self.deps.metrics.state_for(&self.deps.fence)
    }

    /// Unix seconds.
    fn now(&self) -> i64 {
        self.deps.metrics.now_ms() / 1_000
    }

    /// Writes what waits, one batch at a time until nothing does or one fails.
    fn write(&mut self, ctx: &mut Context<Self>) {
        let Some(sink) = self.deps.sink.clone() else { return self.answer_flushers(Written::Nowhere) };
        if self.writing {
            self.again = true;
            return;
        }
        let waiting = self.state().map(|mut state| {
            let (samples, changes) = (state.samples.first(BATCH), state.changes.first(BATCH));
            (state.recent.due(BATCH), samples, changes)
        });
        let Some((due, samples, changes)) = waiting else { return self.answer_flushers(Written::NotYet) };
        let batch = Batch { rollups: due.clone(), samples: samples.items, changes: changes.items };
        if batch.is_empty() {
            return self.answer_flushers(Written::All);
        }
        (self.writing, self.tried) = (true, true);
        // Requests in whole wait for the next time, unless somebody asks: a flood of them must not fill the disk as fast
        // as it comes.
        let more = batch.rollups.len() >= BATCH;
        let full = more || batch.samples.len() >= BATCH;
        // What they asked for is in this batch, unless it did not fit. What comes meanwhile is not theirs to wait for.
        let served = if full { Vec::new() } else { std::mem::take(&mut self.flushers) };
        let writing = wrap_future::<_, Self>(sink.write(self.deps.writer.clone(), batch));
        ctx.spawn(writing.map(move |written, actor, ctx| {
            actor.writing = false;
            let Some(mut state) = actor.state() else {
                // The successor writes all of it again, and says what the store is.
                answer(served, Written::NotYet);
                actor.answer_flushers(Written::NotYet);
                return ctx.stop();
            };
            if written.is_ok() {
                state.recent.written(&due);
                state.samples.written(samples.end);
                state.changes.written(changes.end);
            }
            drop(state);
            let failed = written.is_err();
            if !failed {
                actor.written = actor.deps.metrics.stamp().1;
            }
            actor.note(written);
            answer(served, if failed { Written::NotYet } else { Written::All });
            if failed {
                actor.answer_flushers(Written::NotYet);
            } else if std::mem::take(&mut actor.again) || !actor.flushers.is_empty() || more {
                actor.write(ctx);
            }
        }));
    }

    /// Publishes and logs how a write ended; a loss and a return are logged once each.
    fn note(&self, written: Result<(), SinkError>) {
        let metrics = &self.deps.metrics;
        let was_up = metrics.store_up();
        match &written {
            Ok(()) if !was_up && metrics.store_error().is_some() => {
                log::info!("the metrics store takes writes again; what waited for it is being written");
            }
            Err(error) if was_up || metrics.store_error().is_none() => {
                log::warn!("the metrics store takes no writes; what is counted waits in memory: {error}");
            }
            _ => {}
        }
        metrics.set_store(written.err().map(|error| error.0));
        let waiting = metrics.state().recent.waiting();
        metrics.set_waiting(waiting);
    }

    fn answer_flushers(&mut self, written: Written) {
        answer(std::mem::take(&mut self.flushers), written);
    }
}

fn answer(flushers: Vec<oneshot::Sender<Written>>, written: Written) {
    for flusher in flushers {
        let _ = flusher.send(written);
    }
}

impl Actor for MetricsAggregatorActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // Whether the store can be used is to be known before there is something to write.
        if let Some(sink) = self.deps.sink.clone() {
            ctx.spawn(wrap_future::<_, Self>(async move { sink.prove().await }).map(|opened, actor, _| {
                if opened.is_err() && !actor.tried && actor.deps.fence.is_current() {
                    actor.note(opened);
                }
            }));
        }
        ctx.run_interval(self.deps.flush_interval, |actor, ctx| {
            let (now_ms, at) = actor.deps.metrics.stamp();
            let waiting = at.saturating_duration_since(actor.written).as_secs();
            let Some(mut state) = actor.state() else { return ctx.stop() };
            state.set_back(now_ms / 1_000);
            let lost = state.recent.age(now_ms / 1_000, actor.deps.sink.as_ref().map(|_| waiting));
            drop(state);
            if lost > 0 {
                log::warn!(
                    "the metrics store has been away for a week: what {lost} requests were counted as is given up, the \
                     oldest first"
                );
            }
            actor.write(ctx);
        });
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        (self.deps.on_stop)(Stopped::now(Self::NAME, &self.deps.fence));
    }
}

supervised!(MetricsAggregatorActor);

impl Handler<Records> for MetricsAggregatorActor {
    type Result = ();

    fn handle(&mut self, mut batch: Records, _: &mut Self::Context) {
        count_message();
        for sample in &mut batch.samples {
            sample.instance = self.deps.writer.instance.clone();
        }
        if !self.deps.fence.is_current() {
            // What is that old may be written and forgotten: counted anew, it would replace what the store has.
            let oldest = self.now() - IN_MEMORY_SECONDS + i64::from(FINEST);
            batch.records.retain(|record| (record.ended_ms / 1000) as i64 > oldest);
        }
        let mut state = self.deps.metrics.state();
        state.record(&batch.labels, &batch.records);
        let dropped = state.samples.add(batch.samples);
        drop(state);
        self.deps.metrics.give_back(batch.records);
        if dropped > 0 {
            log::debug!("{dropped} samples of requests were dropped: the metrics store does not take them");
        }
    }
}

impl Handler<Changed> for MetricsAggregatorActor {
    type Result = ();

    fn handle(&mut self, Changed(change): Changed, _: &mut Self::Context) {
        count_message();
        self.deps.metrics.state().changes.add([change]);
    }
}

impl Handler<Flush> for MetricsAggregatorActor {
    type Result = ResponseFuture<Written>;

    fn handle(&mut self, _: Flush, ctx: &mut Self::Context) -> Self::Result {
        count_message();
        let (flusher, written) = oneshot::channel();
        self.flushers.push(flusher);
        self.write(ctx);
        Box::pin(async move { written.await.unwrap_or(Written::NotYet) })
    }
}
