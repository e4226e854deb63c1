//! Questions about what was counted, and their answers put together from rows of any resolution.

use std::collections::BTreeMap;

use aegis_actors::metrics_aggregator::{HistogramSum, Sample, Tally};

/// A range of time, Unix seconds: from the first, up to and without the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub from: i64,
    pub to: i64,
}

/// Which requests count. `None` = all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub route: Option<String>,
    pub backend: Option<String>,
    pub instance: Option<String>,
}

/// Which samples are asked for; `None` = whatever it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Milliseconds since the Unix epoch: from the first, up to and without the second.
    pub from_ms: Option<i64>,
    pub to_ms: Option<i64>,
    /// The lowest and the highest.
    pub status: Option<(u16, u16)>,
    pub route: Option<String>,
    pub backend: Option<String>,
    /// The reason of an answer that the gateway made; `Some(None)` = it made none.
    pub reason: Option<Option<String>>,
    pub client: Option<String>,
}

impl Wanted {
    /// Whether one that is not in the store yet is asked for.
    pub fn has(&self, sample: &Sample) -> bool {
        let Self { from_ms, to_ms, status, route, backend, reason, client } = self;
        let is = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|wanted| wanted == name);
        from_ms.is_none_or(|from| sample.at_ms >= from)
            && to_ms.is_none_or(|to| sample.at_ms < to)
            && status.is_none_or(|(low, high)| (low..=high).contains(&sample.status))
            && is(route, &sample.route)
            && is(backend, &sample.backend)
            && reason.as_ref().is_none_or(|reason| reason.as_deref() == sample.reason)
            && is(client, &sample.client)
    }
}

/// How many samples are kept of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeptSamples {
    /// Answers that the gateway made, or that broke off.
    pub own: i64,
    /// 5xx of upstreams.
    pub failed: i64,
    /// Slow ones, and those that were drawn.
    pub others: i64,
    /// When the oldest arrived, milliseconds since the Unix epoch.
    pub since_ms: Option<i64>,
}

/// Whether durations are told by histograms too, which takes longer: without, [`Tally::latency`] stays empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    Counts,
    Latency,
}

/// What is asked about requests.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub range: Range,
    pub filter: Filter,
    pub detail: Detail,
    /// Unix seconds; nothing is stored beyond.
    pub now: i64,
}

/// One bucket of a series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Begin, Unix seconds: a multiple of the bucket's length.
    pub start: i64,
    pub tally: Tally,
    /// Of the requests, by status class: 1xx to 5xx.
    pub classes: [u64; 5],
}

/// What was counted of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub route: String,
    pub backend: String,
    pub method: String,
    pub tally: Tally,
    /// Of the requests, by status class: 1xx to 5xx.
    pub classes: [u64; 5],
}

/// One sum per key, put together from rows.
#[derive(Debug)]
pub(super) struct Sums<K>(BTreeMap<K, Sum>);

#[derive(Debug, Default)]
struct Sum {
    /// Without durations.
    tally: Tally,
    classes: [u64; 5],
    /// Encoded histograms: they are merged in one go.
    latency: Vec<Vec<u8>>,
}

impl<K> Default for Sums<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord> Sums<K> {
    /// Adds counters of a status class.
    pub fn count(&mut self, key: K, class: i16, counts: &Tally) {
        let sum = self.0.entry(key).or_default();
        sum.tally.merge(counts);
        let class = usize::try_from(class).ok().and_then(|class| class.checked_sub(1));
        if let Some(count) = class.and_then(|class| sum.classes.get_mut(class)) {
            *count += counts.requests;
        }
    }

    /// Adds an encoded histogram.
    pub fn time(&mut self, key: K, latency: Vec<u8>) {
        self.0.entry(key).or_default().latency.push(latency);
    }

    /// The sums, in the order of their keys.
    pub fn finish(self) -> impl Iterator<Item = (K, Tally, [u64; 5])> {
        let mut all = HistogramSum::default();
        self.0.into_iter().map(move |(key, Sum { tally, classes, latency })| {
            for encoded in &latency {
                // Nothing but this program writes them; one that cannot be read is missing, its counters are not.
                all.add(encoded);
            }
            (key, Tally { latency: all.take(), ..tally }, classes)
        })
    }
}
