//! Everything counted since the process started, as Prometheus wants it: sums that only grow.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::rollup::Series;

/// Upper bounds of a histogram; values above all have a bucket besides.
pub const BOUNDS: usize = 17;

/// Upper bounds of the histograms' buckets, microseconds. They reach past the longest default of a time limit.
pub const BOUNDS_US: [u64; BOUNDS] = [
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
];

/// Upper bounds for the gateway's own share, which is far smaller.
pub const OVERHEAD_BOUNDS_US: [u64; BOUNDS] = [
    25, 50, 75, 100, 150, 200, 300, 500, 750, 1_000, 2_500, 5_000, 10_000, 50_000, 100_000, 500_000,
    1_000_000,
];

/// Upper bounds for the length of streams: a tenth of a second to a day.
pub const STREAM_BOUNDS_US: [u64; BOUNDS] = {
    let tenths = [
        1, 5, 10, 50, 100, 300, 600, 1_200, 3_000, 6_000, 18_000, 36_000, 72_000, 144_000, 288_000, 432_000,
        864_000,
    ];
    let (mut bounds, mut at) = ([0; BOUNDS], 0);
    while at < BOUNDS {
        bounds[at] = tenths[at] * 100_000;
        at += 1;
    }
    bounds
};

/// The bucket that a value belongs to.
pub(crate) fn bucket(bounds: &[u64; BOUNDS], micros: u64) -> usize {
    bounds.iter().position(|bound| micros <= *bound).unwrap_or(BOUNDS)
}

/// A histogram with exact buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buckets {
    /// Values up to each bound and above the one before; last, those above all.
    pub counts: [u64; BOUNDS + 1],
    pub sum_us: u64,
}

impl Buckets {
    /// Counts one value.
    pub fn record(&mut self, bounds: &[u64; BOUNDS], micros: u64) {
        self.counts[bucket(bounds, micros)] += 1;
        self.sum_us = self.sum_us.saturating_add(micros);
    }

    /// Counts everything that `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(sum, count)| *sum += count);
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }

    /// Values counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// What is counted of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteTotals {
    /// Latencies.
    pub request: Buckets,
    pub upstream: Buckets,
    /// Lengths of streams, over [`STREAM_BOUNDS_US`].
    pub stream: Buckets,
}

/// Answers by exact status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codes([u64; Self::LAST - Self::FIRST + 2]);

impl Codes {
    /// What a status may be (RFC 9110 §15).
    const FIRST: usize = 100;
    const LAST: usize = 599;

    /// Counts one; those that are no statuses have a place in common.
    pub fn count(&mut self, status: u16) {
        let at = usize::from(status).wrapping_sub(Self::FIRST).min(self.0.len() - 1);
        self.0[at] += 1;
    }

    /// Every status that there was with its count; `None`: those that are none.
    pub fn iter(&self) -> impl Iterator<Item = (Option<usize>, u64)> {
        let counted = self.0.iter().enumerate().filter(|(_, count)| **count > 0);
        counted.map(|(at, count)| (Some(at + Self::FIRST).filter(|code| *code <= Self::LAST), *count))
    }
}

impl Default for Codes {
    fn default() -> Self {
        Self([0; Self::LAST - Self::FIRST + 2])
    }
}

/// What is counted of a backend; that of requests without one under [`NONE`](super::NONE).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackendTotals {
    pub codes: Box<Codes>,
    /// Answers of the gateway's own, by reason.
    pub reasons: BTreeMap<&'static str, u64>,
}

/// A route's pattern and its backend's name.
pub type RouteNames = (Arc<str>, Arc<str>);

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    pub requests: Vec<(Series, u64)>,
    pub routes: Vec<(RouteNames, RouteTotals)>,
    pub backends: Vec<(Arc<str>, BackendTotals)>,
    pub overhead: Buckets,
}

impl Totals {
    /// Answers of the gateway's own, by reason.
    pub fn reasons(&self) -> BTreeMap<&'static str, u64> {
        let mut reasons = BTreeMap::new();
        for (reason, count) in self.backends.iter().flat_map(|(_, totals)| &totals.reasons) {
            *reasons.entry(*reason).or_default() += count;
        }
        reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_is_within_it() {
        let mut buckets = Buckets::default();
        [0, 500, 501, 120_000_000, 120_000_001].iter().for_each(|value| buckets.record(&BOUNDS_US, *value));
        assert_eq!((buckets.counts[0], buckets.counts[1]), (2, 1));
        assert_eq!((buckets.counts[BOUNDS - 1], buckets.counts[BOUNDS], buckets.count()), (1, 1, 5));
        for bounds in [BOUNDS_US, OVERHEAD_BOUNDS_US, STREAM_BOUNDS_US] {
            assert!(bounds.is_sorted_by(|one, next| one < next), "{bounds:?}");
        }
    }

    #[test]
    fn whatever_an_upstream_calls_a_status_adds_no_series() {
        let mut codes = Codes::default();
        [100, 200, 200, 599, 0, 99, 600, 999, u16::MAX].iter().for_each(|status| codes.count(*status));
        let told: Vec<_> = codes.iter().collect();
        assert_eq!(told, [(Some(100), 1), (Some(200), 2), (Some(599), 1), (None, 5)]);
    }
}
