//! Everything that is counted, in one place: sums since the start, rollups by time, and the last minute by seconds.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::histogram::Histogram;
use super::recent::{Recent, SeriesId};
use super::record::{Labels, METHODS, NONE, Record};
use super::rollup::{ConfigChange, FINEST, Sample, Series, Tally};
use super::totals::{
    BOUNDS_US, BackendTotals, Buckets, OVERHEAD_BOUNDS_US, RouteNames, RouteTotals, STREAM_BOUNDS_US, Totals,
};
use super::waiting::Waiting;

/// Seconds told apart, for the display of what happens now and for short windows of alerts.
const SECONDS: usize = 64;
/// Windows up to this many seconds are counted by the second, longer ones by rollups.
const EXACT: i64 = 60;

/// Samples that wait for the store at most; beyond, the oldest are dropped.
const SAMPLES: usize = 10_000;
/// Changes of the configuration, likewise.
const CHANGES: usize = 1_000;

/// Status classes.
const CLASSES: usize = 5;

/// No series yet.
const UNKNOWN: SeriesId = SeriesId::MAX;

/// The series of one route, looked up once per configuration.
struct RouteSeries {
    /// Of `MetricsState::routes`.
    route: usize,
    /// Of `MetricsState::backends`.
    backend: usize,
    ids: [SeriesId; METHODS.len() * CLASSES],
}

/// See the module.
#[derive(Default)]
pub struct MetricsState {
    /// Requests counted.
    recorded: u64,
    /// Requests that will never be counted: an instance of the actor took them with it.
    lost: u64,
    /// Requests by series since the start.
    requests: Vec<u64>,
    routes: Vec<(RouteNames, RouteTotals)>,
    route_of: HashMap<RouteNames, usize>,
    overhead: Buckets,
    /// Rollups.
    pub recent: Recent,
    /// By second, and then by backend.
    seconds: VecDeque<(i64, Vec<Option<Box<Tally>>>)>,
    /// By the backend's name, each numbered once.
    backends: Vec<(Arc<str>, BackendTotals)>,
    /// Series by route of the newest configuration; the first is that of requests without a route.
    labels: Option<Arc<Labels>>,
    by_route: Vec<Option<Box<RouteSeries>>>,
    /// Requests in whole, for the store.
    pub samples: Waiting<Sample, SAMPLES>,
    /// Changes of the configuration, likewise.
    pub changes: Waiting<ConfigChange, CHANGES>,
}

impl MetricsState {
    /// Counts finished requests.
    pub fn record(&mut self, labels: &Arc<Labels>, records: &[Record]) {
        if !self.labels.as_ref().is_some_and(|known| Arc::ptr_eq(known, labels)) {
            self.labels = Some(labels.clone());
            self.by_route.clear();
            self.by_route.resize_with(labels.routes.len() + 1, || None);
        }
        self.recorded += records.len() as u64;
        // Some of what was given up may only have been late; what was not is given up again when somebody next waits for it.
        self.lost = self.lost.saturating_sub(records.len() as u64);
        for alike in records.chunk_by(are_alike) {
            self.count(labels, alike);
        }
    }

    /// Of `ended` requests, how many are still to be counted.
    pub fn missing(&self, ended: u64) -> u64 {
        ended.saturating_sub(self.recorded + self.lost)
    }

    /// What is missing of `ended` requests is not waited for any longer.
    pub fn give_up(&mut self, ended: u64) {
        self.lost += self.missing(ended);
    }

    /// Counts requests that are [alike](are_alike).
    fn count(&mut self, labels: &Labels, alike: &[Record]) {
        let Some(first) = alike.first() else { return };
        let (id, route, backend) = self.series_of(labels, first);
        self.requests[id as usize] += alike.len() as u64;
        let (route, answers) = (&mut self.routes[route].1, &mut self.backends[backend].1);
        for record in alike {
            route.request.record(&BOUNDS_US, record.duration_us);
            if let Some(upstream) = record.upstream_us {
                route.upstream.record(&BOUNDS_US, upstream.get());
            }
            if let Some(stream) = record.stream_us {
                route.stream.record(&STREAM_BOUNDS_US, stream.get());
            }
            if let Some(overhead) = record.overhead_us {
                self.overhead.record(&OVERHEAD_BOUNDS_US, overhead.get());
            }
            answers.codes.count(record.status);
            if let Some(reason) = record.reason {
                *answers.reasons.entry(reason).or_default() += 1;
            }
        }
        let (second, tally) = (second_of(first), tally(alike));
        self.recent.tally(second, id).merge(&tally);
        if let Some(here) = self.second(second, backend) {
            here.merge(&tally);
        }
    }

    /// Numbers of the series, of the route and of the backend.
    fn series_of(&mut self, labels: &Labels, record: &Record) -> (SeriesId, usize, usize) {
        let slot = record.route.map_or(0, |route| route as usize + 1);
        let names = record.route.and_then(|route| labels.routes.get(route as usize));
        let slot = if names.is_some() { slot } else { 0 };
        let names = names.cloned().unwrap_or_else(|| (NONE.into(), NONE.into()));
        if self.by_route[slot].is_none() {
            let route = *self.route_of.entry(names.clone()).or_insert_with(|| {
                self.routes.push((names.clone(), RouteTotals::default()));
                self.routes.len() - 1
            });
            let backend =
                self.backends.iter().position(|(known, _)| *known == names.1).unwrap_or_else(|| {
                    self.backends.push((names.1.clone(), BackendTotals::default()));
                    self.backends.len() - 1
                });
            let ids = [UNKNOWN; METHODS.len() * CLASSES];
            self.by_route[slot] = Some(Box::new(RouteSeries { route, backend, ids }));
        }
        let Some(known) = &mut self.by_route[slot] else { return (0, 0, 0) };
        let method = usize::from(record.method).min(METHODS.len() - 1);
        let at = method * CLASSES + usize::from(record.class()) - 1;
        if known.ids[at] == UNKNOWN {
            let (route, backend) = names;
            let series = Series { route, backend, method: METHODS[method].into(), class: record.class() };
            known.ids[at] = self.recent.id(&series);
            self.requests.resize(self.requests.len().max(known.ids[at] as usize + 1), 0);
        }
        (known.ids[at], known.route, known.backend)
    }

    /// The tally of a backend in a second; `None` when that is too long ago.
    fn second(&mut self, second: i64, backend: usize) -> Option<&mut Tally> {
        // Workers report apart from each other: the newest second is not always the last one reported.
        let before = self.seconds.iter().rposition(|(at, _)| *at <= second);
        let mut at = before.map_or(0, |at| at + usize::from(self.seconds[at].0 < second));
        if self.seconds.get(at).is_none_or(|(known, _)| *known != second) {
            if self.seconds.len() == SECONDS {
                // The oldest one makes room, unless it would be this.
                at = at.checked_sub(1)?;
                self.seconds.pop_front();
            }
            self.seconds.insert(at, (second, Vec::new()));
        }
        let (_, tallies) = self.seconds.get_mut(at)?;
        if tallies.len() <= backend {
            tallies.resize_with(backend + 1, || None);
        }
        Some(tallies[backend].get_or_insert_default())
    }

    /// Forgets seconds to come: the clock was ahead, and has been set right. They would take the place of those that come.
    pub fn set_back(&mut self, now: i64) {
        self.seconds.retain(|(second, _)| *second <= now + SECONDS as i64);
    }

    /// What happened in the `window` seconds before `now`.
    pub fn lately(&self, now: i64, window: i64) -> Tally {
        self.in_seconds(now, window, None)
    }

    fn in_seconds(&self, now: i64, window: i64, backend: Option<usize>) -> Tally {
        let mut sum = Tally::default();
        let within = |at: i64| at < now && at >= now - window;
        for (_, tallies) in self.seconds.iter().filter(|(at, _)| within(*at)) {
            let wanted = |at: usize| backend.is_none_or(|backend| backend == at);
            tallies
                .iter()
                .enumerate()
                .filter(|(at, _)| wanted(*at))
                .filter_map(|(_, tally)| tally.as_ref())
                .for_each(|tally| sum.merge(tally));
        }
        sum
    }

    /// What happened at a backend, or in all, in the `window` seconds before `now`; and how many seconds that really was: a
    /// window of more than a minute begins at a multiple of ten seconds.
    pub fn window(&self, now: i64, window: i64, backend: Option<&str>) -> (Tally, f64) {
        if window > EXACT {
            let from = now - window - (now - window).rem_euclid(FINEST.into());
            return (self.recent.sum(from, now, backend), (now - from) as f64);
        }
        let number = backend.map(|name| self.backends.iter().position(|(known, _)| **known == *name));
        let tally = match number {
            // Nothing has come to it yet.
            Some(None) => Tally::default(),
            Some(number) => self.in_seconds(now, window, number),
            None => self.in_seconds(now, window, None),
        };
        (tally, window as f64)
    }

    /// Sums since the start.
    pub fn totals(&self) -> Totals {
        let series = |(id, count): (usize, &u64)| (self.recent.series(id as SeriesId).clone(), *count);
        Totals {
            requests: self.requests.iter().enumerate().map(series).collect(),
            routes: self.routes.clone(),
            backends: self.backends.clone(),
            overhead: self.overhead.clone(),
        }
    }
}

fn second_of(record: &Record) -> i64 {
    (record.ended_ms / 1000) as i64
}

/// Whether two records are of the same series in the same second.
fn are_alike(one: &Record, other: &Record) -> bool {
    let what = |record: &Record| (record.route, record.method, record.class(), second_of(record));
    what(one) == what(other)
}

/// What these come to.
fn tally(records: &[Record]) -> Tally {
    let latency = Histogram::of(records.iter().map(|record| record.duration_us));
    let mut tally = Tally { requests: records.len() as u64, latency, ..Tally::default() };
    for record in records {
        tally.failed += u64::from(record.failed());
        tally.limited += u64::from(record.limited());
        tally.own += u64::from(record.reason.is_some());
        tally.bytes_in += record.bytes_in;
        tally.bytes_out += record.bytes_out;
        tally.total_us += record.duration_us;
        tally.longest_us = tally.longest_us.max(record.duration_us);
        tally.limits.add(record.limits);
    }
    tally
}
