//! For how long an answer is good, as its fields say it (RFC 9111).

use std::time::Duration;

/// Of `Cache-Control`, all of it, and `Age`. `None` where nothing is said. Nothing at all where it must not be kept: the actor
/// has a shortest time for that.
pub(super) fn fresh_for(control: &[u8], age: Option<&str>) -> Option<Duration> {
    let control = String::from_utf8_lossy(control).to_ascii_lowercase();
    let mut longest = None;
    for directive in control.split(',').map(str::trim) {
        match directive.split_once('=').map_or((directive, ""), |(name, value)| (name.trim(), value.trim())) {
            ("no-store" | "no-cache", _) => return Some(Duration::ZERO),
            // Of several the least.
            ("max-age", age) => {
                let age = seconds(age.trim_matches('"'))?;
                longest = Some(longest.map_or(age, |longest: u64| longest.min(age)));
            }
            _ => {}
        }
    }
    // What it has spent in caches on its way.
    let spent = age.and_then(|age| seconds(age.trim())).unwrap_or(0);
    longest.map(|longest| Duration::from_secs(longest.saturating_sub(spent)))
}

/// RFC 9111, 1.2.2: more than fits is as much as fits.
fn seconds(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::from(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_that_is_said_counts_less_what_was_spent_on_the_way() {
        let of = |control: &str, age| fresh_for(control.as_bytes(), age).map(|fresh| fresh.as_secs());
        for (control, fresh) in [
            ("max-age=300", Some(300)),
            ("public, Max-Age=\"300\", must-revalidate", Some(300)),
            ("max-age=300, max-age=20", Some(20)),
            ("max-age=99999999999999999999999", Some(u64::from(u32::MAX))),
            ("max-age=300, no-store", Some(0)),
            ("no-cache", Some(0)),
            ("private", None),
            ("s-maxage=60", None),
            ("max-age=soon", None),
            ("max-age=-1", None),
            ("", None),
        ] {
            assert_eq!(of(control, None), fresh, "{control}");
        }
        assert_eq!(of("public, max-age=60", Some("50")), Some(10));
        assert_eq!(of("max-age=60", Some("61")), Some(0));
        assert_eq!(of("max-age=60", Some("soon")), Some(60));
        assert_eq!(fresh_for(b"\xff, max-age=60", None), Some(Duration::from_secs(60)));
    }
}
