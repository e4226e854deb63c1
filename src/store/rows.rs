//! Rows of the tables, and how they become what the rest of the program counts in.

use aegis_actors::metrics_aggregator::{
    ConfigChange, Histogram, LimitRollup, LimitTally, Rollup, Sample, Tally, Writer,
};
use diesel::prelude::{Insertable, Queryable};

use super::schema::{
    config_changes, limit_rollups, merged_limits, merged_rollups, request_samples, rollups, series,
};

/// Counters are 64 bits with a sign in SQL. None ever gets there.
pub(super) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

#[derive(Clone, Debug, Insertable, Queryable)]
#[diesel(table_name = rollups)]
pub(super) struct RollupRow {
    pub instance: String,
    pub boot: String,
    pub start: i64,
    pub seconds: i32,
    pub route: String,
    pub backend: String,
    pub method: String,
    pub class: i16,
    pub requests: i64,
    pub failed: i64,
    pub limited: i64,
    pub own: i64,
    pub bytes_in: i64,
    pub bytes_out: i64,
    pub total_us: i64,
    pub longest_us: i64,
    pub latency: Vec<u8>,
}

impl RollupRow {
    pub fn new(writer: &Writer, rollup: &Rollup) -> Self {
        let Rollup { start, seconds, series, tally } = rollup;
        Self {
            instance: writer.instance.to_string(),
            boot: writer.boot.to_string(),
            start: *start,
            seconds: i32::try_from(*seconds).unwrap_or(i32::MAX),
            route: series.route.to_string(),
            backend: series.backend.to_string(),
            method: series.method.to_string(),
            class: i16::from(series.class),
            requests: signed(tally.requests),
            failed: signed(tally.failed),
            limited: signed(tally.limited),
            own: signed(tally.own),
            bytes_in: signed(tally.bytes_in),
            bytes_out: signed(tally.bytes_out),
            total_us: signed(tally.total_us),
            longest_us: signed(tally.longest_us),
            latency: tally.latency.encode(),
        }
    }

    pub fn tally(&self) -> Tally {
        Tally { latency: histogram(&self.latency), ..self.counts() }
    }

    /// What was counted, without durations.
    pub fn counts(&self) -> Tally {
        Tally {
            requests: unsigned(self.requests),
            failed: unsigned(self.failed),
            limited: unsigned(self.limited),
            own: unsigned(self.own),
            bytes_in: unsigned(self.bytes_in),
            bytes_out: unsigned(self.bytes_out),
            total_us: unsigned(self.total_us),
            longest_us: unsigned(self.longest_us),
            latency: Histogram::default(),
        }
    }

    /// What the row is about, merged.
    pub fn key(&self) -> SeriesKey {
        SeriesKey {
            instance: self.instance.clone(),
            scope: scope::SERIES,
            route: self.route.clone(),
            backend: self.backend.clone(),
            method: self.method.clone(),
            class: self.class,
        }
    }
}

/// The counters of a row, without its histogram.
#[derive(Clone, Copy, Debug, Queryable)]
pub(super) struct CountsRow {
    pub requests: i64,
    pub failed: i64,
    pub limited: i64,
    pub own: i64,
    pub bytes_in: i64,
    pub bytes_out: i64,
    pub total_us: i64,
    pub longest_us: i64,
}

impl CountsRow {
    pub fn tally(&self) -> Tally {
        Tally {
            requests: unsigned(self.requests),
            failed: unsigned(self.failed),
            limited: unsigned(self.limited),
            own: unsigned(self.own),
            bytes_in: unsigned(self.bytes_in),
            bytes_out: unsigned(self.bytes_out),
            total_us: unsigned(self.total_us),
            longest_us: unsigned(self.longest_us),
            latency: Histogram::default(),
        }
    }
}

/// A histogram as stored. What cannot be read (nothing but this program writes it) counts as empty: the counters beside
/// it still hold.
pub(super) fn histogram(bytes: &[u8]) -> Histogram {
    Histogram::decode(bytes).unwrap_or_default()
}

/// What the rows of `merged_rollups` are about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Insertable, Queryable)]
#[diesel(table_name = series)]
pub(super) struct SeriesKey {
    pub instance: String,
    /// One of [`scope`].
    pub scope: i16,
    pub route: String,
    pub backend: String,
    pub method: String,
    pub class: i16,
}

/// How much a row of `merged_rollups` holds; names that do not tell rows of a scope apart are empty.
pub(super) mod scope {
    pub const SERIES: i16 = 0;
    pub const BACKEND: i16 = 1;
    pub const EVERYTHING: i16 = 2;
}

#[derive(Clone, Debug, Insertable, Queryable)]
#[diesel(table_name = merged_rollups)]
pub(super) struct MergedRow {
    pub seconds: i32,
    pub series: i64,
    pub start: i64,
    pub requests: i64,
    pub failed: i64,
    pub limited: i64,
    pub own: i64,
    pub bytes_in: i64,
    pub bytes_out: i64,
    pub total_us: i64,
    pub longest_us: i64,
    pub latency: Vec<u8>,
}

impl MergedRow {
    pub fn new(seconds: i32, series: i64, start: i64, tally: &Tally) -> Self {
        Self {
            seconds,
            series,
            start,
            requests: signed(tally.requests),
            failed: signed(tally.failed),
            limited: signed(tally.limited),
            own: signed(tally.own),
            bytes_in: signed(tally.bytes_in),
            bytes_out: signed(tally.bytes_out),
            total_us: signed(tally.total_us),
            longest_us: signed(tally.longest_us),
            latency: tally.latency.encode(),
        }
    }

    pub fn tally(&self) -> Tally {
        Tally {
            requests: unsigned(self.requests),
            failed: unsigned(self.failed),
            limited: unsigned(self.limited),
            own: unsigned(self.own),
            bytes_in: unsigned(self.bytes_in),
            bytes_out: unsigned(self.bytes_out),
            total_us: unsigned(self.total_us),
            longest_us: unsigned(self.longest_us),
            latency: histogram(&self.latency),
        }
    }
}

#[derive(Clone, Debug, Insertable, Queryable)]
#[diesel(table_name = limit_rollups)]
pub(super) struct LimitRow {
    pub instance: String,
    pub boot: String,
    pub start: i64,
    pub seconds: i32,
    pub rule: String,
    pub allowed: i64,
    pub limited: i64,
    pub shadow: i64,
    pub bypassed: i64,
    pub error: i64,
}

impl LimitRow {
    pub fn new(writer: &Writer, rollup: &LimitRollup) -> Self {
        let LimitRollup { start, seconds, rule, tally } = rollup;
        Self {
            instance: writer.instance.to_string(),
            boot: writer.boot.to_string(),
            start: *start,
            seconds: i32::try_from(*seconds).unwrap_or(i32::MAX),
            rule: rule.to_string(),
            allowed: signed(tally.allowed),
            limited: signed(tally.limited),
            shadow: signed(tally.shadow),
            bypassed: signed(tally.bypassed),
            error: signed(tally.error),
        }
    }

    pub fn tally(&self) -> LimitTally {
        LimitTally {
            allowed: unsigned(self.allowed),
            limited: unsigned(self.limited),
            shadow: unsigned(self.shadow),
            bypassed: unsigned(self.bypassed),
            error: unsigned(self.error),
        }
    }
}

#[derive(Clone, Debug, Insertable, Queryable)]
#[diesel(table_name = merged_limits)]
pub(super) struct MergedLimitRow {
    pub seconds: i32,
    pub start: i64,
    pub rule: String,
    pub instance: String,
    pub allowed: i64,
    pub limited: i64,
    pub shadow: i64,
    pub bypassed: i64,
    pub error: i64,
}

impl MergedLimitRow {
    pub fn new(seconds: i32, start: i64, rule: String, instance: String, tally: &LimitTally) -> Self {
        Self {
            seconds,
            start,
            rule,
            instance,
            allowed: signed(tally.allowed),
            limited: signed(tally.limited),
            shadow: signed(tally.shadow),
            bypassed: signed(tally.bypassed),
            error: signed(tally.error),
        }
    }

    pub fn tally(&self) -> LimitTally {
        LimitTally {
            allowed: unsigned(self.allowed),
            limited: unsigned(self.limited),
            shadow: unsigned(self.shadow),
            bypassed: unsigned(self.bypassed),
            error: unsigned(self.error),
        }
    }
}

/// A sample as it is read back.
#[derive(Clone, Debug, PartialEq, Eq, Insertable, Queryable)]
#[diesel(table_name = request_samples)]
pub struct StoredSample {
    pub request_id: String,
    /// Milliseconds since the Unix epoch.
    pub at_ms: i64,
    pub instance: String,
    pub method: String,
    pub path: String,
    pub route: String,
    pub backend: String,
    pub status: i32,
    /// `Aegis-Reason`, where the gateway answered.
    pub reason: Option<String>,
    pub duration_us: i64,
    pub client: String,
    /// The decision record, as JSON.
    pub details: String,
}

/// PostgreSQL has no text with a NUL in it, and would refuse the whole batch.
fn text(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

impl From<Sample> for StoredSample {
    fn from(sample: Sample) -> Self {
        Self {
            request_id: text(sample.request_id),
            at_ms: sample.at_ms,
            instance: sample.instance.to_string(),
            method: text(sample.method),
            path: text(sample.path),
            route: sample.route.to_string(),
            backend: sample.backend.to_string(),
            status: i32::from(sample.status),
            reason: sample.reason.map(str::to_owned),
            duration_us: signed(sample.duration_us),
            client: text(sample.client),
            details: text(sample.details),
        }
    }
}

/// A change of the running configuration as it is read back.
#[derive(Clone, Debug, PartialEq, Eq, Insertable, Queryable)]
#[diesel(table_name = config_changes)]
pub struct StoredChange {
    pub instance: String,
    /// Milliseconds since the Unix epoch.
    pub at_ms: i64,
    pub generation: i64,
    pub hash: String,
    pub what: String,
}

impl From<ConfigChange> for StoredChange {
    fn from(change: ConfigChange) -> Self {
        Self {
            instance: change.instance.to_string(),
            at_ms: change.at_ms,
            generation: signed(change.generation),
            hash: change.hash,
            what: text(change.what),
        }
    }
}
