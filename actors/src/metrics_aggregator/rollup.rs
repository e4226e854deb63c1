//! What was counted in one stretch of time, and where it is kept.

use std::pin::Pin;
use std::sync::Arc;

use super::histogram::Histogram;
use super::record::LimitCounts;

/// Seconds that the finest rollups cover; their borders are multiples of it since the Unix epoch.
pub const FINEST: u32 = 10;

/// Seconds that rollups may cover, finest first: what is older is merged into the next.
pub const RESOLUTIONS: [u32; 4] = [FINEST, 60, 600, 3600];

/// What requests are told apart by. Every part comes from the configuration or a fixed list, so that their number is
/// bounded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Series {
    /// The route's pattern; `none` for requests that met none.
    pub route: Arc<str>,
    /// The backend's name; `none` likewise.
    pub backend: Arc<str>,
    /// A standard method, else `OTHER`.
    pub method: Arc<str>,
    /// Status class, 1–5.
    pub class: u8,
}

/// What is counted of the requests of a series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub requests: u64,
    /// Of them: 5xx, and 4xx of the gateway's own other than 429.
    pub failed: u64,
    /// Of them: refused by a rate limit.
    pub limited: u64,
    /// Of them: answered by the gateway itself.
    pub own: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Sum and longest of the durations, microseconds.
    pub total_us: u64,
    pub longest_us: u64,
    /// Latencies of the requests.
    pub latency: Histogram,
    /// What rate limits decided for the requests.
    pub limits: LimitTally,
}

impl Tally {
    /// Counts everything that `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.limited += other.limited;
        self.own += other.own;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.total_us += other.total_us;
        self.longest_us = self.longest_us.max(other.longest_us);
        self.latency.merge(&other.latency);
        self.limits.merge(&other.limits);
    }
}

/// What rate limits decided. A request counts once for every limit that decided something for it: often for none, and
/// for several where several apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitTally {
    pub allowed: u64,
    pub limited: u64,
    pub shadow: u64,
    pub bypassed: u64,
}

impl LimitTally {
    /// Counts everything that `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        self.allowed += other.allowed;
        self.limited += other.limited;
        self.shadow += other.shadow;
        self.bypassed += other.bypassed;
    }

    /// Counts what was decided for one more request.
    pub fn add(&mut self, request: LimitCounts) {
        self.allowed += u64::from(request.allowed);
        self.limited += u64::from(request.limited);
        self.shadow += u64::from(request.shadow);
        self.bypassed += u64::from(request.bypassed);
    }
}

/// Everything that one process has counted of one series in one stretch of time, so far. Writing it again replaces it: a
/// write whose outcome is not known can simply be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollup {
    /// Begin of the stretch, Unix seconds, a multiple of `seconds`.
    pub start: i64,
    /// One of [`RESOLUTIONS`].
    pub seconds: u32,
    pub series: Series,
    pub tally: Tally,
}

/// Who writes. Rollups of two writers never overwrite each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Writer {
    /// The instance's name, as a query may ask for it.
    pub instance: Arc<str>,
    /// This start of it: a restarted process counts from zero again.
    pub boot: Arc<str>,
}

/// One request that is kept in whole: every one that the gateway answered with an error, every slow one, some others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Milliseconds since the Unix epoch.
    pub at_ms: i64,
    pub request_id: String,
    /// Filled in by the aggregator.
    pub instance: Arc<str>,
    pub method: String,
    pub path: String,
    pub route: Arc<str>,
    pub backend: Arc<str>,
    pub status: u16,
    /// `Aegis-Reason`, where the gateway answered.
    pub reason: Option<&'static str>,
    pub duration_us: u64,
    pub client: String,
    /// The decision record, as JSON.
    pub details: String,
}

/// A change of the running configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    /// Milliseconds since the Unix epoch.
    pub at_ms: i64,
    pub instance: Arc<str>,
    pub generation: u64,
    pub hash: String,
    /// One phrase.
    pub what: String,
}

/// What goes to the store in one transaction: all of it or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub rollups: Vec<Rollup>,
    pub samples: Vec<Sample>,
    pub changes: Vec<ConfigChange>,
}

impl Batch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.rollups.is_empty() && self.samples.is_empty() && self.changes.is_empty()
    }
}

/// Why a batch was not written, or may not have been; for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkError(pub String);

impl std::fmt::Display for SinkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SinkError {}

/// Where rollups are kept. Given to the aggregator, which writes and never reads.
pub trait Sink: Send + Sync {
    /// Finds out whether anything can be written, within the sink's own time limit.
    fn prove(&self) -> Pin<Box<dyn Future<Output = Result<(), SinkError>> + Send>> {
        Box::pin(async { Ok(()) })
    }

    /// Writes a batch whole or not at all, within the sink's own time limit.
    fn write(
        &self,
        writer: Writer,
        batch: Batch,
    ) -> Pin<Box<dyn Future<Output = Result<(), SinkError>> + Send>>;
}
