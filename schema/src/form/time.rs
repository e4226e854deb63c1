//! Durations.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::json;

use super::{At, Form, int};
use crate::Json;
use crate::scalar::{self, MAX_DURATION, NoDuration};
use crate::tree::Kind;

/// Whoever gives a whole request so few milliseconds has probably thought of seconds.
const SECONDS_PERHAPS: i128 = 300;
const DAY: u64 = 86_400;
/// With a unit.
const PATTERN: &str = r"^\s*[0-9]+\s*(ms|s|m|h|d)\s*$";

/// Longer than nothing. Whole numbers are milliseconds.
pub fn duration() -> Form<Duration> {
    let what = "must be longer than 0: write for example `5s`";
    form("duration > 0", 1).only(|duration| !duration.is_zero(), what.to_owned())
}

/// Likewise, zero included.
pub fn duration_or_zero() -> Form<Duration> {
    form("duration", 0)
}

/// Between two bounds, of which `words` say more; `example` is one that fits.
pub fn duration_in(
    range: RangeInclusive<Duration>,
    words: &'static str,
    example: &'static str,
) -> Form<Duration> {
    let (low, high) = (range.start().as_millis(), range.end().as_millis());
    let form = if low == 0 { duration_or_zero() } else { duration() };
    let what = format!("must be between {low} and {high} milliseconds: write for example `{example}`");
    form.only(move |duration| range.contains(duration), what).words(words).schema(move || schema(low, high))
}

fn form(words: &str, least: u128) -> Form<Duration> {
    Form::new(
        words,
        move || schema(least, MAX_DURATION.as_millis()),
        read,
        |duration, _| u64::try_from(duration.as_millis()).ok().map(Into::into),
    )
}

fn schema(low: u128, high: u128) -> Json {
    json!({"type": ["integer", "string"], "minimum": low as u64, "maximum": high as u64, "pattern": PATTERN})
}

fn read(at: &At<'_, '_>) -> Option<Duration> {
    let outcome = match at.scalar()? {
        Kind::Int(n) => {
            if (1..=SECONDS_PERHAPS).contains(&n) && !at.name.ends_with("Ms") {
                at.warn(format_args!("is {n} milliseconds: write `{n}s` if seconds are meant, else `{n}ms`"));
            }
            scalar::milliseconds(n)
        }
        Kind::Text(text) => scalar::duration(&text),
        _ => Err(NoDuration::Malformed),
    };
    match outcome {
        Ok(duration) => Some(duration),
        Err(NoDuration::TooLong) => at.mismatch("at most a year (`365d`)"),
        Err(NoDuration::Unitless) => {
            at.refuse("has no unit: add `ms`, `s`, `m`, `h` or `d`, or remove the quotes")
        }
        Err(NoDuration::Malformed) => at.mismatch(
            "a duration such as `500ms`, `30s`, `5m`, `1h` or `2d`, or a whole number of milliseconds",
        ),
    }
}

/// A whole number of seconds, or a duration with a unit that is one.
pub fn seconds(range: RangeInclusive<u64>) -> Form<Duration> {
    let (low, high) = (*range.start(), *range.end());
    Form::new(
        format!("{low}–{high}, or a duration such as `5m`"),
        move || schema(low.into(), high.into()),
        move |at| {
            let duration = match at.scalar()? {
                Kind::Int(n) => u64::try_from(n).ok().map(Duration::from_secs),
                Kind::Text(text) => scalar::duration(&text).ok(),
                _ => None,
            };
            let fits =
                |duration: &Duration| duration.subsec_nanos() == 0 && range.contains(&duration.as_secs());
            duration.filter(fits).or_else(|| {
                at.mismatch(&format!(
                    "a whole number of seconds between {low} and {high}, or a duration such as `30s` or `5m`"
                ))
            })
        },
        |duration, _| Some(duration.as_secs().into()),
    )
}

/// A whole number of days.
pub fn days(range: RangeInclusive<u64>) -> Form<Duration> {
    int(range).map(|days| Duration::from_secs(days * DAY), |duration| duration.as_secs() / DAY)
}
