//! Things to store, and what they come to.

use std::collections::BTreeMap;

use aegis_actors::metrics_aggregator::{ConfigChange, Histogram, LimitTally, Rollup, Sample, Series, Tally};

use super::*;

/// A midnight.
pub(super) const T: i64 = 1_700_006_400;

pub(super) fn writer(instance: &str, boot: &str) -> Writer {
    Writer { instance: instance.into(), boot: boot.into() }
}

pub(super) fn series(route: &str, backend: &str, method: &str, class: u8) -> Series {
    Series { route: route.into(), backend: backend.into(), method: method.into(), class }
}

/// One of 24 series: 6 routes of 3 backends, two methods, two classes.
pub(super) fn some_series(n: usize) -> Series {
    let route = n % 6;
    series(
        &format!("/r{route}/:id"),
        &format!("b{}", route % 3),
        ["GET", "POST"][n / 6 % 2],
        [2, 5][n / 12 % 2],
    )
}

/// A tally of so many requests, different for each seed.
pub(super) fn tally(requests: u64, seed: u64) -> Tally {
    let mut latency = Histogram::default();
    let (mut total_us, mut longest_us) = (0, 0);
    for n in 0..requests {
        let micros = 200 + (seed * 7_919 + n * 104_729) % 50_000;
        latency.record(micros);
        total_us += micros;
        longest_us = longest_us.max(micros);
    }
    Tally {
        requests,
        failed: seed % (requests + 1),
        limited: seed % 2,
        own: seed % 3,
        bytes_in: requests * 100 + seed,
        bytes_out: requests * 1_000,
        total_us,
        longest_us,
        latency,
        // All different, so that no column can be taken for another.
        limits: LimitTally {
            allowed: requests * 2 + 1,
            limited: requests * 3 + seed % 5,
            shadow: requests * 5 + seed % 7,
            bypassed: requests * 7 + seed % 11,
        },
    }
}

pub(super) fn rollup(start: i64, series: Series, tally: Tally) -> Rollup {
    Rollup { start, seconds: 10, series, tally }
}

pub(super) fn rollups(rollups: Vec<Rollup>) -> Batch {
    Batch { rollups, ..Batch::default() }
}

pub(super) fn sample(at_ms: i64, request_id: &str) -> Sample {
    Sample {
        at_ms,
        request_id: request_id.into(),
        instance: "a".into(),
        method: "GET".into(),
        path: "/x?y=\0'\"\u{1f600}".into(),
        route: "/x".into(),
        backend: "b".into(),
        status: 503,
        reason: Some("circuit_open"),
        duration_us: 1_500,
        client: "::1".into(),
        details: "{}".into(),
    }
}

pub(super) fn change(at_ms: i64) -> ConfigChange {
    let what = "1 backend added".into();
    ConfigChange { at_ms, instance: "a".into(), generation: 2, hash: "00ff".into(), what }
}

/// What was written, by row: the truth that the store's answers are held against.
#[derive(Default)]
pub(super) struct Truth {
    rows: BTreeMap<(String, i64, u32, Series), Tally>,
}

impl Truth {
    pub fn write(&mut self, writer: &Writer, batch: &Batch) {
        let name = format!("{}/{}", writer.instance, writer.boot);
        for r in &batch.rollups {
            self.rows.insert((name.clone(), r.start, r.seconds, r.series.clone()), r.tally.clone());
        }
    }

    fn matching<'t>(
        &'t self,
        range: Range,
        filter: &'t Filter,
    ) -> impl Iterator<Item = (i64, &'t Series, &'t Tally)> {
        let fits = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        self.rows
            .iter()
            .filter(move |((name, start, _, series), _)| {
                (range.from..range.to).contains(start)
                    && fits(&filter.route, &series.route)
                    && fits(&filter.backend, &series.backend)
                    && fits(&filter.instance, name.split('/').next().unwrap_or(""))
            })
            .map(|((_, start, _, series), tally)| (*start, series, tally))
    }

    pub fn series(&self, range: Range, seconds: i64, filter: &Filter) -> Vec<Bucket> {
        let mut buckets: BTreeMap<i64, Bucket> = BTreeMap::new();
        for (start, series, tally) in self.matching(range, filter) {
            let start = start.div_euclid(seconds) * seconds;
            let bucket = buckets.entry(start).or_insert_with(|| Bucket { start, ..Bucket::default() });
            bucket.tally.merge(tally);
            bucket.classes[usize::from(series.class) - 1] += tally.requests;
        }
        buckets.into_values().collect()
    }

    pub fn top(&self, range: Range, filter: &Filter) -> Vec<Endpoint> {
        let mut endpoints: BTreeMap<_, Endpoint> = BTreeMap::new();
        for (_, series, tally) in self.matching(range, filter) {
            let key = [series.route.to_string(), series.backend.to_string(), series.method.to_string()];
            let endpoint = endpoints.entry(key.clone()).or_insert_with(|| {
                let [route, backend, method] = key;
                Endpoint { route, backend, method, tally: Tally::default(), classes: [0; 5] }
            });
            endpoint.tally.merge(tally);
            endpoint.classes[usize::from(series.class) - 1] += tally.requests;
        }
        endpoints.into_values().collect()
    }

    /// Requests of all rows.
    pub fn requests(&self) -> u64 {
        self.rows.values().map(|tally| tally.requests).sum()
    }

    /// Holds every kind of answer about a range against the truth.
    #[track_caller]
    pub fn check(&self, store: &Store, range: Range, seconds: u32) {
        let of = |route: Option<&str>, backend: Option<&str>, instance: Option<&str>| Filter {
            route: route.map(Into::into),
            backend: backend.map(Into::into),
            instance: instance.map(Into::into),
        };
        for filter in [
            of(None, None, None),
            of(None, Some("b1"), None),
            of(Some("/r2/:id"), None, None),
            of(Some("/r2/:id"), Some("b2"), Some("a")),
            of(None, None, Some("b")),
            of(Some("/nowhere"), None, None),
        ] {
            let told = wait(store.series(range, seconds, filter.clone(), Detail::Latency));
            assert_eq!(
                told,
                self.series(range, i64::from(seconds), &filter),
                "{range:?} {seconds} {filter:?}"
            );
            let told = wait(store.top(range, filter.clone(), Detail::Latency));
            assert_eq!(told, self.top(range, &filter), "{range:?} {filter:?}");
        }
        let mut counts = self.series(range, i64::from(seconds), &Filter::default());
        counts.iter_mut().for_each(|bucket| bucket.tally.latency = Histogram::default());
        assert_eq!(wait(store.series(range, seconds, Filter::default(), Detail::Counts)), counts);
    }
}
