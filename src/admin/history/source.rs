//! Where history comes from: the store with what memory has not handed over yet, or memory alone.

use std::collections::BTreeMap;
use std::time::Duration;

use aegis_actors::metrics_aggregator::{
    Flush, IN_MEMORY_SECONDS, MetricsAggregatorActor, Rollup, Tally, Written,
};

use super::question::Question;
use crate::admin::Admin;
use crate::store::{Bucket, Detail, Endpoint, Filter, Store};
use crate::supervisor::Inspect;

/// How long the workers and the store may take to bring the newest up.
const ACTOR_TIMEOUT: Duration = Duration::from_millis(500);

/// A source for one question.
pub enum Source {
    Store(Box<Store>),
    /// The last quarter of an hour of this process.
    Memory,
}

/// The source of a question that is asked now: everything that was answered before is in it.
pub async fn open(admin: &Admin) -> Source {
    reported(admin).await;
    let Some(store) = &admin.history.store else { return Source::Memory };
    let Ok(overview) = admin.supervisor.send(Inspect).await else { return Source::Memory };
    let Some(aggregator) = overview.addresses.of::<MetricsAggregatorActor>() else { return Source::Memory };
    match aggregator.send(Flush).timeout(ACTOR_TIMEOUT).await {
        Ok(Written::All) => Source::Store(Box::new(store.clone())),
        // It is away: memory knows the latest.
        _ => Source::Memory,
    }
}

/// Waits until the workers have reported what they had finished when this was called.
pub async fn reported(admin: &Admin) {
    let shared = &admin.shared;
    let finished = shared.finished();
    shared.report_wanted.store(true, std::sync::atomic::Ordering::Relaxed);
    let end = tokio::time::Instant::now() + ACTOR_TIMEOUT / 2;
    while shared.metrics.missing(finished) > 0 {
        if tokio::time::Instant::now() >= end {
            // What an actor took with it when it died is not waited for again.
            shared.metrics.give_up(finished);
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    shared.report_wanted.store(false, std::sync::atomic::Ordering::Relaxed);
}

/// A store that does not answer, for the person who asked.
pub type Away = String;

impl Source {
    /// What is to be said of answers from here, if they are not all that there is.
    pub fn note(&self, admin: &Admin, question: &Question) -> Option<&'static str> {
        let forgotten = "without a metrics store this is what this process remembers of the last 15 minutes";
        self.away(admin).or_else(|| self.lacks(admin, question).then_some(forgotten))
    }

    /// Whether it cannot know of all that was counted in the range.
    fn lacks(&self, admin: &Admin, question: &Question) -> bool {
        let (is_memory, remembered) =
            (matches!(self, Self::Memory), Duration::from_secs(IN_MEMORY_SECONDS as u64));
        let older = admin.history.store.is_some() || admin.started.elapsed() > remembered;
        is_memory && older && question.now - question.range.from > IN_MEMORY_SECONDS
    }

    /// What is to be said where there is a store that could not be asked.
    pub fn away(&self, admin: &Admin) -> Option<&'static str> {
        (matches!(self, Self::Memory) && admin.history.store.is_some()).then_some(
            "the metrics store is away: this is what this process remembers of the last 15 minutes",
        )
    }

    /// Of how many seconds of the range it tells.
    pub fn covered(&self, admin: &Admin, question: &Question) -> f64 {
        if !self.lacks(admin, question) {
            return question.elapsed();
        }
        let from = question.range.from.max(question.now - IN_MEMORY_SECONDS);
        (question.range.to.min(question.now) - from).max(1) as f64
    }

    /// What was counted, by buckets.
    pub async fn series(
        &self,
        admin: &Admin,
        question: &Question,
        detail: Detail,
    ) -> Result<Vec<Bucket>, Away> {
        match self {
            Self::Store(store) => {
                let (range, filter) = (question.range, question.filter.clone());
                store.series(range, question.bucket_seconds, filter, detail).await.map_err(|e| e.to_string())
            }
            Self::Memory => {
                let bucket = i64::from(question.bucket_seconds);
                let mut sums: BTreeMap<i64, (Tally, [u64; 5])> = BTreeMap::new();
                for rollup in recent(admin, question) {
                    let start = rollup.start.div_euclid(bucket) * bucket;
                    add(sums.entry(start).or_default(), &rollup);
                }
                Ok(sums
                    .into_iter()
                    .map(|(start, (tally, classes))| Bucket { start, tally, classes })
                    .collect())
            }
        }
    }

    /// What was counted, by endpoint.
    pub async fn top(&self, admin: &Admin, question: &Question) -> Result<Vec<Endpoint>, Away> {
        match self {
            Self::Store(store) => {
                let (range, filter) = (question.range, question.filter.clone());
                store.top(range, filter, Detail::Latency).await.map_err(|e| e.to_string())
            }
            Self::Memory => {
                let mut sums: BTreeMap<(String, String, String), (Tally, [u64; 5])> = BTreeMap::new();
                for rollup in recent(admin, question) {
                    let series = &rollup.series;
                    let names = [&series.route, &series.backend, &series.method].map(|name| name.to_string());
                    add(sums.entry(names.into()).or_default(), &rollup);
                }
                let endpoint = |((route, backend, method), (tally, classes))| Endpoint {
                    route,
                    backend,
                    method,
                    tally,
                    classes,
                };
                Ok(sums.into_iter().map(endpoint).collect())
            }
        }
    }
}

/// What this process has counted; nothing for those who ask for another instance.
fn recent(admin: &Admin, question: &Question) -> Vec<Rollup> {
    let Filter { route, backend, instance } = &question.filter;
    let is = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|wanted| wanted == name);
    if !is(instance, &admin.history.instance) {
        return Vec::new();
    }
    let mut rollups = admin.shared.metrics.state().recent.within(question.range.from, question.range.to);
    rollups.retain(|rollup| is(route, &rollup.series.route) && is(backend, &rollup.series.backend));
    rollups
}

fn add((tally, classes): &mut (Tally, [u64; 5]), rollup: &Rollup) {
    tally.merge(&rollup.tally);
    classes[usize::from(rollup.series.class.clamp(1, 5)) - 1] += rollup.tally.requests;
}
