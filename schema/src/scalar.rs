//! What a piece of text means: the YAML 1.2 core schema for scalars, and durations.

use std::time::Duration;

use crate::tree::Kind;

/// Longest duration accepted: a year. Longer is a slip of the unit, and timers cannot be trusted with it.
pub(crate) const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);

/// Resolves a plain scalar by the core schema (YAML 1.2.2, 10.3.2): `yes`, `on` and `010` are not special.
pub fn resolve(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        "true" | "True" | "TRUE" => return Kind::Bool(true),
        "false" | "False" | "FALSE" => return Kind::Bool(false),
        _ => {}
    }
    let number = integer(text).map(Kind::Int).or_else(|| float(text).map(Kind::Float));
    number.unwrap_or_else(|| Kind::Text(text.to_owned()))
}

/// `123`, `-5`, `0x1f`, `0o17`.
fn integer(text: &str) -> Option<i128> {
    if let Some(hex) = text.strip_prefix("0x") {
        return digits(hex, 16);
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return digits(octal, 8);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let n = digits(unsigned, 10)?;
    Some(if text.starts_with('-') { -n } else { n })
}

fn digits(text: &str, radix: u32) -> Option<i128> {
    // from_str_radix takes a sign, which has no place after a prefix or another sign.
    (!text.is_empty() && text.chars().all(|c| c.is_digit(radix)))
        .then(|| i128::from_str_radix(text, radix).ok())
        .flatten()
}

/// `1.5`, `.5`, `1e3`; also infinities and NaN, which every range check refuses.
fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    match unsigned {
        ".inf" | ".Inf" | ".INF" if text.starts_with('-') => Some(f64::NEG_INFINITY),
        ".inf" | ".Inf" | ".INF" => Some(f64::INFINITY),
        ".nan" | ".NaN" | ".NAN" => Some(f64::NAN),
        // Rust's parser also takes `inf`, `nan` and `infinity`: a number starts with a digit or a point here.
        _ if unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') => text.parse().ok(),
        _ => None,
    }
}

/// `10MB`, `64KiB`: one whole number and one unit, in bytes. `KB`, `MB` and `GB` are powers of a thousand.
pub fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let factor = match unit.trim_start().to_ascii_lowercase().as_str() {
        "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// The first character that nobody sees, or that looks like a space and is none, in words.
pub fn invisible(text: &str) -> Option<String> {
    let unseen = |c: char| {
        c.is_control()
            || (c.is_whitespace() && c != ' ')
            || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let found = text.chars().find(|c| unseen(*c))?;
    Some(format!("an invisible character (U+{:04X})", u32::from(found)))
}

/// Why a text is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDuration {
    /// A number without a unit.
    Unitless,
    /// Not `NUMBER UNIT`.
    Malformed,
    /// More than a year.
    TooLong,
}

/// `500ms`, `30s`, `5m`, `1h`, `2d`: one whole number and one unit.
pub fn duration(text: &str) -> Result<Duration, NoDuration> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    if number.is_empty() {
        return Err(NoDuration::Malformed);
    }
    let factor = match unit.trim_start() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" => return Err(NoDuration::Unitless),
        _ => return Err(NoDuration::Malformed),
    };
    let number: i128 = number.parse().map_err(|_| NoDuration::TooLong)?;
    milliseconds(number.saturating_mul(factor))
}

/// A number of milliseconds as a duration, at most a year.
pub fn milliseconds(ms: i128) -> Result<Duration, NoDuration> {
    match u64::try_from(ms).map(Duration::from_millis) {
        Ok(duration) if duration <= MAX_DURATION => Ok(duration),
        Err(_) if ms < 0 => Err(NoDuration::Malformed),
        _ => Err(NoDuration::TooLong),
    }
}
