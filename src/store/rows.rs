//! Rows of the tables, and how they become what the rest of the program counts in.

use aegis_actors::metrics_aggregator::{ConfigChange, Histogram, LimitTally, Rollup, Sample, Tally, Writer};
use diesel::prelude::{Insertable, Queryable};

use super::schema::{config_changes, merged_rollups, request_samples, rollups, series};

/// Counters are 64 bits with a sign in SQL. None ever gets there.
pub(super) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

/// The counters of a tally as columns, without its histogram: here alone it stands which counter is kept in which column.
#[derive(Clone, Copy, Debug, Queryable)]
pub(super) struct Counts {
    pub requests: i64,
    pub failed: i64,
    pub limited: i64,
    pub own: i64,
    pub bytes_in: i64,
    pub bytes_out: i64,
    pub total_us: i64,
    pub longest_us: i64,
    pub limit_allowed: i64,
    pub limit_limited: i64,
    pub limit_shadow: i64,
    pub limit_bypassed: i64,
}

impl Counts {
    fn of(tally: &Tally) -> Self {
        Self {
            requests: signed(tally.requests),
            failed: signed(tally.failed),
            limited: signed(tally.limited),
            own: signed(tally.own),
            bytes_in: signed(tally.bytes_in),
            bytes_out: signed(tally.bytes_out),
            total_us: signed(tally.total_us),
            longest_us: signed(tally.longest_us),
            limit_allowed: signed(tally.limits.allowed),
            limit_limited: signed(tally.limits.limited),
            limit_shadow: signed(tally.limits.shadow),
            limit_bypassed: signed(tally.limits.bypassed),
        }
    }

    /// What was counted, without durations.
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
            limits: LimitTally {
                allowed: unsigned(self.limit_allowed),
                limited: unsigned(self.limit_limited),
                shadow: unsigned(self.limit_shadow),
                bypassed: unsigned(self.limit_bypassed),
            },
        }
    }
}

/// The row of a table of tallies: its key, then what was counted, in the order of the table's columns.
macro_rules! tallies {
    ($row:ident in $table:ident { $($key:ident: $kind:ty),* $(,)? }) => {
        tallies!(
            $row in $table { $($key: $kind),* }
            [requests failed limited own bytes_in bytes_out total_us longest_us]
            [limit_allowed limit_limited limit_shadow limit_bypassed]
        );
    };
    ($row:ident in $table:ident { $($key:ident: $kind:ty),* } [$($count:ident)*] [$($limit:ident)*]) => {
        #[derive(Clone, Debug, Insertable, Queryable)]
        #[diesel(table_name = $table)]
        pub(super) struct $row {
            $(pub $key: $kind,)*
            $($count: i64,)*
            pub latency: Vec<u8>,
            $($limit: i64,)*
        }

        impl $row {
            fn of(tally: &Tally, ($($key,)*): ($($kind,)*)) -> Self {
                let Counts { $($count,)* $($limit,)* } = Counts::of(tally);
                Self { $($key,)* $($count,)* latency: tally.latency.encode(), $($limit,)* }
            }

            /// What was counted, without durations.
            pub fn counts(&self) -> Tally {
                Counts { $($count: self.$count,)* $($limit: self.$limit,)* }.tally()
            }

            /// What was counted. A histogram that cannot be read (nothing but this program writes it) counts as empty:
            /// the counters beside it still hold.
            pub fn tally(&self) -> Tally {
                Tally { latency: Histogram::decode(&self.latency).unwrap_or_default(), ..self.counts() }
            }
        }
    };
}

tallies!(RollupRow in rollups {
    instance: String,
    boot: String,
    start: i64,
    seconds: i32,
    route: String,
    backend: String,
    method: String,
    class: i16,
});

tallies!(MergedRow in merged_rollups { seconds: i32, series: i64, start: i64 });

impl RollupRow {
    pub fn new(writer: &Writer, rollup: &Rollup) -> Self {
        let Rollup { start, seconds, series, tally } = rollup;
        let key = (
            writer.instance.to_string(),
            writer.boot.to_string(),
            *start,
            i32::try_from(*seconds).unwrap_or(i32::MAX),
            series.route.to_string(),
            series.backend.to_string(),
            series.method.to_string(),
            i16::from(series.class),
        );
        Self::of(tally, key)
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

impl MergedRow {
    pub fn new(seconds: i32, series: i64, start: i64, tally: &Tally) -> Self {
        Self::of(tally, (seconds, series, start))
    }
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
