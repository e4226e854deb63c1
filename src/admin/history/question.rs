//! What a request for history asks: a range of time, its buckets, and which requests count.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::admin::query;
use crate::store::{Filter, Range, finest};

/// Named ranges and the length of their buckets, seconds.
const RANGES: [(&str, i64, u32); 7] = [
    ("5m", 300, 10),
    ("15m", 900, 30),
    ("1h", 3_600, 60),
    ("6h", 21_600, 300),
    ("24h", 86_400, 600),
    ("7d", 604_800, 3_600),
    ("30d", 2_592_000, 21_600),
];

/// What a request gets that names no range.
const DEFAULT: &str = "1h";

/// Lengths of buckets for free ranges: the first that makes at most [`MOST_BUCKETS`] and splits no row that is kept.
const LENGTHS: [u32; 9] = [10, 30, 60, 300, 600, 1_800, 3_600, 21_600, 86_400];
const MOST_BUCKETS: i64 = 360;

/// Rows that `top-endpoints` tells at most.
const MOST: u32 = 1_000;

/// No range is longer: ten years.
const LONGEST: i64 = 10 * 366 * 86_400;

/// A question, with everything that was not said filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// When it was asked, Unix seconds.
    pub now: i64,
    /// As it was asked for, or `FROM/TO`.
    pub name: String,
    /// Aligned to the buckets.
    pub range: Range,
    pub bucket_seconds: u32,
    pub filter: Filter,
    pub limit: usize,
    pub by: By,
}

/// What `top-endpoints` is ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Requests,
    Errors,
    Latency,
}

impl Question {
    /// Reads a query string at `now`.
    ///
    /// # Errors
    /// What is wrong with it, and a hint.
    pub fn read(text: &str, now: SystemTime) -> Result<Self, String> {
        let (mut range, mut from, mut to) = (None, None, None);
        let (mut filter, mut limit, mut by) = (Filter::default(), 10, By::Requests);
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            match &*name {
                "range" => range = Some(value.into_owned()),
                "from" => from = Some(seconds(query::moment("from", &value)?)),
                "to" => to = Some(seconds(query::moment("to", &value)?)),
                "route" => filter.route = Some(query::name("route", &value)?),
                "backend" => filter.backend = Some(query::name("backend", &value)?),
                "instance" => filter.instance = Some(query::name("instance", &value)?),
                "limit" => limit = query::number("limit", &value, MOST)? as usize,
                "by" => {
                    by = match &*value {
                        "requests" => By::Requests,
                        "errors" => By::Errors,
                        "latency" => By::Latency,
                        _ => return Err(format!("by must be requests, errors or latency, not {value:?}")),
                    }
                }
                _ => {
                    return Err(query::unknown(
                        &name,
                        "range, from, to, route, backend, instance, limit, by",
                    ));
                }
            }
        }
        let now = seconds(now);
        let (name, range, bucket_seconds) = match (range, from, to) {
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
                return Err("range cannot stand beside from or to: use one or the other".into());
            }
            (None, Some(from), to) => {
                // The second that has begun is part of it.
                let to = to.unwrap_or(now + 1);
                if to <= from {
                    return Err("to must be after from".into());
                }
                if to - from > LONGEST {
                    return Err("the range is longer than ten years".into());
                }
                let fits = |length: &&u32| {
                    let length = i64::from(**length);
                    (to - from) / length <= MOST_BUCKETS && length % finest(now - from + length) == 0
                };
                let length = *LENGTHS.iter().find(fits).unwrap_or(&LENGTHS[LENGTHS.len() - 1]);
                (format!("{}/{}", rfc3339(from), rfc3339(to)), Range { from, to }, length)
            }
            (None, None, Some(_)) => return Err("to needs from beside it".into()),
            (range, None, None) => {
                let range = range.unwrap_or_else(|| DEFAULT.to_owned());
                let known = RANGES.iter().find(|(name, ..)| *name == range);
                let (_, length, bucket) = known.ok_or_else(|| {
                    let names = RANGES.map(|(name, ..)| name).join(", ");
                    format!("range must be one of {names}, not {range:?}; or use from and to")
                })?;
                (range, Range { from: now - length, to: now + 1 }, *bucket)
            }
        };
        let bucket = i64::from(bucket_seconds);
        let range = Range {
            from: range.from.div_euclid(bucket) * bucket,
            // A bucket that has begun is part of it.
            to: (range.to + bucket - 1).div_euclid(bucket) * bucket,
        };
        Ok(Self { name, range, bucket_seconds, filter, limit, by, now })
    }

    /// How long the range is, seconds; what has not passed yet is not counted.
    pub fn elapsed(&self) -> f64 {
        (self.range.to.min(self.now) - self.range.from).max(1) as f64
    }
}

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64
}

/// Unix seconds as RFC 3339.
pub fn rfc3339(second: i64) -> String {
    let since = Duration::from_secs(u64::try_from(second).unwrap_or(0).min(253_402_300_799));
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Question, String> {
        Question::read(query, UNIX_EPOCH + Duration::from_secs(1_700_000_005))
    }

    #[test]
    fn ranges_begin_and_end_on_borders_of_their_buckets() {
        for (name, length, bucket) in RANGES {
            let question = read(&format!("range={name}")).unwrap();
            assert_eq!(question.bucket_seconds, bucket);
            let Range { from, to } = question.range;
            let bucket = i64::from(bucket);
            assert!(from % bucket == 0 && to % bucket == 0, "{name}");
            assert!(from <= 1_700_000_005 - length && to > 1_700_000_005, "{name}");
            assert!(to - from <= length + 2 * bucket, "{name}");
        }
        assert_eq!(read("").unwrap().name, "1h");
    }

    #[test]
    fn free_ranges_get_buckets_that_make_a_readable_number_of_points() {
        let of = |query: &str| {
            let question = read(query).unwrap();
            (question.name, question.bucket_seconds)
        };
        let (name, bucket) = of("from=2023-11-14T22:00:00Z&to=2023-11-14T23:00:00Z");
        assert_eq!((name.as_str(), bucket), ("2023-11-14T22:00:00Z/2023-11-14T23:00:00Z", 10));
        assert_eq!(of("from=2023-11-13T22:00:00Z").1, 600, "after eight hours rows of ten minutes are left");
        assert_eq!(of("from=2022-11-13T22:00:00%2B00:00").1, 86_400);
        assert_eq!(of("from=2023-11-13T23:00:00+01:00").1, 600);
    }

    #[test]
    fn no_bucket_is_finer_than_the_rows_that_are_kept_of_its_time() {
        let now = 1_700_000_005;
        for (ago, length) in
            [(60, 60), (7_000, 7_000), (7_300, 600), (30_000, 20_000), (90_000, 90_000), (500_000, 3_600)]
        {
            let (from, to) = (now - ago, now - ago + length);
            let question = read(&format!("from={}&to={}", rfc3339(from), rfc3339(to))).unwrap();
            let bucket = i64::from(question.bucket_seconds);
            assert_eq!(bucket % finest(now - question.range.from), 0, "{ago} {length}: {bucket}");
        }
        let week_old = read("from=2023-11-07T10:05:00Z&to=2023-11-07T10:55:00Z").unwrap();
        assert_eq!((week_old.bucket_seconds, week_old.range.to - week_old.range.from), (3_600, 3_600));
    }

    #[test]
    fn ranges_that_meet_count_nothing_twice() {
        for (query, length) in [
            ("from=2023-11-14T20:00:00Z&to=2023-11-14T21:00:00Z", 3_600),
            ("from=2023-11-14T21:00:00Z&to=2023-11-14T22:00:01Z", 3_610),
            ("from=2022-11-14T00:00:00Z&to=2023-11-14T00:00:00Z", 365 * 86_400),
        ] {
            let Range { from, to } = read(query).unwrap().range;
            assert_eq!(to - from, length, "{query}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_reason() {
        for (query, reason) in [
            ("range=2h", "one of 5m, 15m"),
            ("range=1h&from=2023-11-14T22:00:00Z", "one or the other"),
            ("to=2023-11-14T22:00:00Z", "needs from"),
            ("from=2023-11-14T22:00:00Z&to=2023-11-14T21:00:00Z", "after from"),
            ("from=yesterday", "2026-11-23T09:00:00Z"),
            ("limit=0", "1 to 1000"),
            ("by=size", "requests, errors or latency"),
            ("rnage=1h", "unknown parameter"),
            ("from=1000-01-01T00:00:00Z", "from must be"),
        ] {
            let error = read(query).unwrap_err();
            assert!(error.contains(reason), "{query}: {error}");
        }
    }

    #[test]
    fn filters_are_taken_as_they_are() {
        let question = read("route=/api/**&backend=users&instance=a%20b&limit=3&by=latency").unwrap();
        assert_eq!(question.filter.route.as_deref(), Some("/api/**"));
        assert_eq!(question.filter.instance.as_deref(), Some("a b"));
        assert_eq!((question.limit, question.by), (3, By::Latency));
    }
}
