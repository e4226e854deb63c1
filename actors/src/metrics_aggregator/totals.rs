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
        let at = bounds.iter().position(|bound| micros <= *bound).unwrap_or(bounds.len());
        self.counts[at] += 1;
        self.sum_us = self.sum_us.saturating_add(micros);
    }

    /// Values counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// Durations of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    pub request: Buckets,
    pub upstream: Buckets,
    /// Lengths of streams, over [`STREAM_BOUNDS_US`].
    pub stream: Buckets,
}

/// A route's pattern and its backend's name.
pub type RouteNames = (Arc<str>, Arc<str>);

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    pub requests: Vec<(Series, u64)>,
    pub durations: Vec<(RouteNames, Durations)>,
    pub overhead: Buckets,
    /// Answers of the gateway's own, by reason.
    pub reasons: BTreeMap<&'static str, u64>,
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
}
