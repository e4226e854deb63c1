//! The values of query parameters, or why one is invalid.

use std::time::{Duration, SystemTime};

/// A number from 1 to `most`.
pub fn number(name: &str, value: &str, most: u32) -> Result<u32, String> {
    let number = value.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| format!("{name} must be a number from 1 to {most}, not {value:?}"))
}

/// A moment in RFC 3339, with whatever offset.
pub fn moment(name: &str, value: &str) -> Result<SystemTime, String> {
    // `+` in a query is a space: an offset that was not escaped.
    let text = value.replace(' ', "+");
    let parsed = match offset(&text) {
        Some((local, east, offset)) => humantime::parse_rfc3339(&format!("{local}Z"))
            .ok()
            .and_then(|at| if east { at.checked_sub(offset) } else { at.checked_add(offset) }),
        None => humantime::parse_rfc3339(&text).ok(),
    };
    parsed.ok_or_else(|| format!("{name} must be a time such as 2026-11-23T09:00:00Z, not {value:?}"))
}

/// `…+01:30`: what stands before it, whether it is east of Greenwich, and how far from it.
fn offset(text: &str) -> Option<(&str, bool, Duration)> {
    let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let east = match offset.as_bytes().first()? {
        b'+' => true,
        b'-' => false,
        _ => return None,
    };
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let is_part = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    let part = |text: &str, most: u64| text.parse().ok().filter(|n: &u64| is_part(text) && *n <= most);
    let (hours, minutes) = (part(hours, 23)?, part(minutes, 59)?);
    Some((local, east, Duration::from_secs(60 * (60 * hours + minutes))))
}

/// A name, as the configuration has it: none has a control character, and PostgreSQL's text no NUL.
pub fn name(name: &str, value: &str) -> Result<String, String> {
    match value.chars().any(char::is_control) {
        true => Err(format!("{name} must not hold control characters: {value:?}")),
        false => Ok(value.to_owned()),
    }
}

/// The error for an unknown parameter.
pub fn unknown(name: &str, known: &str) -> String {
    format!("unknown parameter {name:?}; known: {known}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_any_offset_and_nothing_else() {
        let seconds = |text: &str| {
            let at = moment("from", text).ok()?;
            Some(at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
        };
        for (text, expected) in [
            ("2023-11-14T22:13:20Z", Some(1_700_000_000)),
            ("2023-11-14T22:13:20.999Z", Some(1_700_000_000)),
            ("2023-11-14T23:43:20+01:30", Some(1_700_000_000)),
            ("2023-11-14T23:43:20 01:30", Some(1_700_000_000)),
            ("2023-11-14T14:13:20-08:00", Some(1_700_000_000)),
            ("2023-11-14T22:13:20+00:00", Some(1_700_000_000)),
            ("2023-11-14T22:13:20+0100", None),
            ("2023-11-14T22:13:20+24:00", None),
            ("2023-11-14T22:13:20++1:00", None),
            ("2023-11-14T22:13:20", None),
            ("2023-11-14", None),
            ("-01:00", None),
            ("ü1:00", None),
            ("tomorrow", None),
            ("", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }

    #[test]
    fn numbers_and_names_are_refused_with_the_reason() {
        assert_eq!(number("limit", "1000", 1000), Ok(1000));
        for bad in ["0", "1001", "-1", "+", "", "1e3"] {
            assert!(number("limit", bad, 1000).unwrap_err().contains("from 1 to 1000"), "{bad}");
        }
        assert_eq!(name("route", "/a b/:id").as_deref(), Ok("/a b/:id"));
        assert!(name("route", "\0").unwrap_err().contains("control"));
    }
}
