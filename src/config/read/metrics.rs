//! `metrics`. The store's URL may hold a password, so no message shows any of it.

use std::time::Duration;

use super::section::{Section, shown_for};
use crate::config::settings::Metrics;
use crate::store::Database;

/// How often may be written. Oftener costs more than it tells; rarer, and a crash loses more than a minute.
const FLUSH: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);

/// Longest retention, days: ten years.
const RETENTION: i128 = 3_650;

/// Reads the section.
pub(super) fn read(section: Section<'_>) -> Metrics {
    let defaults = Metrics::default();
    let metrics = Metrics {
        enabled: section.flag("enabled").unwrap_or(defaults.enabled),
        store: store(&section).unwrap_or(defaults.store),
        flush_interval: flush_interval(&section).unwrap_or(defaults.flush_interval),
        retention: section
            .integer::<u64>("retentionDays", 1..=RETENTION)
            .map_or(defaults.retention, |days| Duration::from_secs(days * 86_400)),
        slow_request: section.duration_or_zero("slowRequestMs").unwrap_or(defaults.slow_request),
        auto_migrate: section.flag("autoMigrate").unwrap_or(defaults.auto_migrate),
        instance: instance(&section),
    };
    section.finish();
    metrics
}

fn store(section: &Section<'_>) -> Option<Option<Database>> {
    let (text, node) = section.text("store")?;
    if text == "none" {
        return Some(None);
    }
    match Database::parse(text) {
        Ok(place) => Some(Some(place)),
        Err(why) => {
            let name = section.name("store");
            section.error(node, format!("`{name}` cannot be used: {why}; or `none` to keep nothing"));
            None
        }
    }
}

fn flush_interval(section: &Section<'_>) -> Option<Duration> {
    let interval = section.duration("flushIntervalMs")?;
    if FLUSH.contains(&interval) {
        return Some(interval);
    }
    if let Some(node) = section.node("flushIntervalMs") {
        let what = format!(
            "`{}` must be between {} and {} milliseconds: write for example `5s`",
            section.name("flushIntervalMs"),
            FLUSH.start().as_millis(),
            FLUSH.end().as_millis()
        );
        section.error(node, what);
    }
    None
}

fn instance(section: &Section<'_>) -> Option<String> {
    let (text, node) = section.text("instance")?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b':');
    if (1..=128).contains(&text.len()) && text.bytes().all(allowed) {
        return Some(text.to_owned());
    }
    let what = format!(
        "`{}` must be 1 to 128 of the characters A-Z a-z 0-9 . _ : -, found {}: change it",
        section.name("instance"),
        shown_for("instance", node)
    );
    section.error(node, what);
    None
}
