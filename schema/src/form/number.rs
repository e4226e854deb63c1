//! Numbers, sizes and switches.

use std::ops::RangeInclusive;

use serde_json::json;

use super::Form;
use crate::tree::Kind;
use crate::{Json, scalar};

/// A whole number.
pub fn int<T: TryFrom<i128> + Copy + 'static>(range: RangeInclusive<T>) -> Form<T>
where
    i128: TryFrom<T>,
{
    let wide = |n: T| i128::try_from(n).unwrap_or(i128::MAX);
    let (low, high) = (wide(*range.start()), wide(*range.end()));
    let shown = |n: i128| if n < 0 { format!("−{}", -n) } else { n.to_string() };
    let schema = move || json!({"type": "integer", "minimum": low as i64, "maximum": high as i64});
    Form::new(
        format!("{}–{}", shown(low), shown(high)),
        schema,
        move |at| match at.scalar()? {
            Kind::Int(n) if (low..=high).contains(&n) => T::try_from(n).ok(),
            Kind::Int(_) => at.mismatch(&format!("between {low} and {high}")),
            _ => at.mismatch(&format!("a whole number between {low} and {high}")),
        },
        move |n, _| i64::try_from(wide(*n)).ok().map(Into::into),
    )
}

/// A number, whole or not.
pub fn number(range: RangeInclusive<f64>) -> Form<f64> {
    let (low, high) = (*range.start(), *range.end());
    Form::new(
        format!("{low}–{high}"),
        move || json!({"type": "number", "minimum": low, "maximum": high}),
        move |at| {
            let number = match at.scalar()? {
                // Beyond 2^53 a float is no longer exact, and far out of every range.
                Kind::Int(n) => n as f64,
                Kind::Float(x) => x,
                _ => f64::NAN,
            };
            if range.contains(&number) {
                return Some(number);
            }
            at.mismatch(&format!("a number between {low} and {high}"))
        },
        |x, _| Some((*x).into()),
    )
}

/// `true` or `false`.
pub fn flag() -> Form<bool> {
    Form::new(
        "boolean",
        || json!({"type": "boolean"}),
        |at| match at.scalar()? {
            Kind::Bool(b) => Some(b),
            _ => at.mismatch("`true` or `false`"),
        },
        |b, _| Some((*b).into()),
    )
}

/// A number of bytes, in digits or with a unit.
pub fn size() -> Form<u64> {
    // Beyond `i64` no length can be written in JSON, TOML and YAML alike.
    Form::new(
        "[size](#durations-and-sizes)",
        || sizes(0, usize::MAX),
        |at| {
            let bytes = match at.scalar()? {
                Kind::Int(n) => u64::try_from(n).ok(),
                Kind::Text(text) => scalar::size(&text),
                _ => None,
            };
            bytes.filter(|bytes| i64::try_from(*bytes).is_ok()).or_else(|| {
                at.mismatch("a number of bytes, or a size such as `10MB` (10000000) or `10MiB` (10485760)")
            })
        },
        |bytes, _| Some((*bytes).into()),
    )
}

/// Likewise, within bounds; `words` say these.
pub fn size_in(range: RangeInclusive<usize>, words: &'static str) -> Form<usize> {
    let (low, high) = (*range.start(), *range.end());
    let form = size().map(|bytes| bytes as usize, |bytes| *bytes as u64).words(words);
    form.schema(move || sizes(low, high)).check(move |bytes, at| {
        if !range.contains(bytes) {
            at.error(format_args!("must be between {low} and {high} bytes, found {bytes}"));
        }
    })
}

fn sizes(low: usize, high: usize) -> Json {
    let pattern = r"^\s*[0-9]+\s*([kKmMgG][iI]?)?[bB]\s*$";
    json!({"type": ["integer", "string"], "minimum": low, "maximum": high.min(i64::MAX as usize), "pattern": pattern})
}
