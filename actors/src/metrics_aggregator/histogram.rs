//! A histogram of durations that merges exactly: log-linear buckets, of which only those that hold something are kept.
//!
//! Below 256 µs every microsecond has a bucket; above, each doubling is divided into 128 equal ones. A value is told by
//! the middle of its bucket, which is off by 0.4 % at most. Two histograms of the same values in another order, or merged
//! from parts, are equal.

/// Longer durations count as this: 12 days in microseconds.
const LARGEST: u64 = (1 << 40) - 1;
/// Values below have a bucket of their own.
const LINEAR: u64 = 256;
/// Buckets per doubling above.
const PER_DOUBLING: u64 = 128;
/// Fewer than one in so many buckets are merged one by one.
const FEW: usize = 8;
/// First byte of the encoded form.
const VERSION: u8 = 1;

/// See the module. Durations are in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Bucket and count, by bucket.
    buckets: Vec<(u16, u64)>,
}

fn bucket(value: u64) -> u16 {
    let value = value.min(LARGEST);
    if value < LINEAR {
        return value as u16;
    }
    let exponent = 63 - u64::from(value.leading_zeros());
    let within = (value >> (exponent - 7)) - PER_DOUBLING;
    (LINEAR + (exponent - 8) * PER_DOUBLING + within) as u16
}

/// The middle of a bucket.
fn middle(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    if bucket < LINEAR {
        return bucket;
    }
    let (doubling, within) = ((bucket - LINEAR) / PER_DOUBLING, (bucket - LINEAR) % PER_DOUBLING);
    let width = 1 << (doubling + 1);
    (PER_DOUBLING + within) * width + width / 2
}

impl Histogram {
    /// A histogram of these values.
    pub fn of(values: impl Iterator<Item = u64>) -> Self {
        let mut all: Vec<u16> = values.map(bucket).collect();
        all.sort_unstable();
        let buckets = all.chunk_by(u16::eq).map(|same| (same[0], same.len() as u64)).collect();
        Self { buckets }
    }

    /// Counts one value.
    pub fn record(&mut self, micros: u64) {
        self.add(bucket(micros), 1);
    }

    fn add(&mut self, bucket: u16, count: u64) {
        match self.buckets.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(at) => self.buckets[at].1 += count,
            Err(at) => self.buckets.insert(at, (bucket, count)),
        }
    }

    /// Counts everything that `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        if self.buckets.is_empty() {
            self.buckets.clone_from(&other.buckets);
            return;
        }
        // To look each of a few up is quicker than to write all of them anew.
        if other.buckets.len() * FEW < self.buckets.len() {
            other.buckets.iter().for_each(|(bucket, count)| self.add(*bucket, *count));
            return;
        }
        let mut merged = Vec::with_capacity(self.buckets.len() + other.buckets.len());
        let (mut ours, mut theirs) = (self.buckets.iter().peekable(), other.buckets.iter().peekable());
        while let (Some((a, n)), Some((b, m))) = (ours.peek(), theirs.peek()) {
            merged.push(match a.cmp(b) {
                std::cmp::Ordering::Less => (*a, *n),
                std::cmp::Ordering::Greater => (*b, *m),
                std::cmp::Ordering::Equal => (*a, n + m),
            });
            let (a, b) = (*a, *b);
            if a <= b {
                ours.next();
            }
            if b <= a {
                theirs.next();
            }
        }
        merged.extend(ours.chain(theirs));
        self.buckets = merged;
    }

    /// Values counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// The value that the share `q` (0–1) of all values does not exceed: of `n` sorted values the `⌈q·n⌉`th. `None` when
    /// nothing was counted.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let rank = ((q.clamp(0.0, 1.0) * self.count() as f64).ceil() as u64).max(1);
        let mut seen = 0;
        let found = self.buckets.iter().find(|(_, count)| {
            seen += count;
            seen >= rank
        });
        found.map(|(bucket, _)| middle(*bucket))
    }

    /// Values counted that are at most `micros`, as far as buckets tell.
    pub fn at_most(&self, micros: u64) -> u64 {
        let last = bucket(micros);
        self.buckets.iter().take_while(|(bucket, _)| *bucket <= last).map(|(_, count)| count).sum()
    }

    /// Some bytes per bucket that holds something.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1 + self.buckets.len() * 3);
        out.push(VERSION);
        let mut before = 0;
        for (bucket, count) in &self.buckets {
            write_varint(&mut out, u64::from(bucket - before));
            write_varint(&mut out, *count);
            before = *bucket;
        }
        out
    }

    /// What [`Histogram::encode`] has written; `None` when it has not.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut buckets = Vec::with_capacity(bytes.len() / 2);
        read(bytes, |bucket, count| buckets.push((bucket, count)))?;
        Some(Self { buckets })
    }
}

/// Many histograms merged into one, which is quicker than one after the other: every bucket there could be is at hand.
#[derive(Clone, Debug, Default)]
pub struct HistogramSum {
    counts: Vec<u64>,
    /// The first bucket that holds something, and the one after the last.
    first: usize,
    end: usize,
}

impl HistogramSum {
    /// Counts everything in the encoded form of a histogram. False when it is none; then some of it may be counted.
    pub fn add(&mut self, encoded: &[u8]) -> bool {
        read(encoded, |bucket, count| {
            let bucket = usize::from(bucket);
            if bucket >= self.counts.len() {
                self.counts.resize(bucket + 1, 0);
            }
            if self.first == self.end {
                (self.first, self.end) = (bucket, bucket + 1);
            }
            (self.first, self.end) = (self.first.min(bucket), self.end.max(bucket + 1));
            self.counts[bucket] = self.counts[bucket].saturating_add(count);
        })
        .is_some()
    }

    /// What was counted so far; counting begins anew.
    pub fn take(&mut self) -> Histogram {
        let counted = self.counts[self.first..self.end].iter_mut().enumerate();
        let taken = counted.filter(|(_, count)| **count > 0);
        let buckets = taken.map(|(at, count)| ((self.first + at) as u16, std::mem::take(count))).collect();
        (self.first, self.end) = (0, 0);
        Histogram { buckets }
    }
}

/// Buckets of the encoded form in order, each with its count.
fn read(bytes: &[u8], mut each: impl FnMut(u16, u64)) -> Option<()> {
    let (version, mut rest) = bytes.split_first()?;
    if *version != VERSION {
        return None;
    }
    let mut before = None;
    while !rest.is_empty() {
        let step = u16::try_from(read_varint(&mut rest)?).ok()?;
        let count = read_varint(&mut rest)?;
        let bucket = match before {
            None => step,
            Some(before) if step > 0 => step.checked_add(before)?,
            Some(_) => return None,
        };
        before = Some(bucket);
        each(bucket, count);
    }
    Some(())
}

fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    if let Some((byte @ ..0x80, rest)) = bytes.split_first() {
        *bytes = rest;
        return Some(u64::from(*byte));
    }
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        values.iter().for_each(|value| histogram.record(*value));
        histogram
    }

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        let mut before = bucket(0);
        for value in (0..100_000).chain((17..40).flat_map(|e| [(1 << e) - 1, 1 << e, (1 << e) + 1])) {
            let now = bucket(value);
            assert!(now >= before, "{value}");
            assert!(value > 100_000 || now - before <= 1, "{value}");
            before = now;
        }
        assert_eq!(bucket(u64::MAX), bucket(LARGEST));
    }

    proptest! {
        #[test]
        fn a_value_is_told_within_four_per_mille(value in 0_u64..LARGEST) {
            let told = middle(bucket(value));
            prop_assert!(told.abs_diff(value) as f64 <= value as f64 * 0.004);
        }

        #[test]
        fn quantiles_are_those_of_the_sorted_values(mut values in proptest::collection::vec(0_u64..10_000_000, 1..300), q in 0.0..=1.0) {
            let told = of(&values).quantile(q).unwrap();
            values.sort_unstable();
            let rank = ((q * values.len() as f64).ceil() as usize).max(1);
            let exact = values[rank - 1];
            prop_assert!(told.abs_diff(exact) as f64 <= exact as f64 * 0.004);
        }

        #[test]
        fn merged_from_parts_and_read_back_it_is_the_same(a in proptest::collection::vec(0_u64..1 << 30, 0..100), b in proptest::collection::vec(0_u64..1 << 20, 0..100)) {
            let mut merged = of(&a);
            merged.merge(&of(&b));
            let whole = of(&[a.as_slice(), b.as_slice()].concat());
            prop_assert_eq!(&merged, &whole);
            prop_assert_eq!(&Histogram::of(a.iter().chain(&b).copied()), &whole);
            // One value at a time is merged in another way than many.
            let mut added = of(&a);
            b.iter().for_each(|value| added.merge(&of(&[*value])));
            prop_assert_eq!(&added, &whole);
            prop_assert_eq!(Histogram::decode(&whole.encode()), Some(whole.clone()));
            let mut sum = HistogramSum::default();
            for _ in 0..2 {
                prop_assert!(sum.add(&of(&b).encode()) && sum.add(&of(&a).encode()));
                prop_assert_eq!(sum.take(), whole.clone());
            }
            prop_assert_eq!(sum.take(), Histogram::default());
        }

        #[test]
        fn whatever_is_read_back_panics_never(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut sum = HistogramSum::default();
            prop_assert_eq!(sum.add(&bytes), Histogram::decode(&bytes).is_some());
            if let Some(histogram) = Histogram::decode(&bytes) {
                prop_assert_eq!(Histogram::decode(&histogram.encode()), Some(histogram));
            }
        }
    }
}
