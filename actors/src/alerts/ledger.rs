//! Where alerts are kept, and what several instances agree by. Implemented by the metrics store.
//!
//! At most one alert of a rule is open, whoever fired it. An instance that sees an alert's condition holds the alert; it
//! can be resolved when nobody else does. Pushes are leased: one instance at a time tells a webhook of an alert.

use std::pin::Pin;

use super::alert::{Alert, Push};

/// An answer to come, within the ledger's own time limit.
pub type Asked<T> = Pin<Box<dyn Future<Output = Result<T, LedgerError>> + Send>>;

/// Why the ledger did not answer; for the log. What was asked for may have been done all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerError(pub String);

impl std::fmt::Display for LedgerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LedgerError {}

/// Milliseconds by which a time of the ledger may lie ahead of the clock of whoever asks. What lies further ahead was noted
/// under a clock that was wrong: it holds nothing, cools nothing and leases nothing.
pub const AHEAD_MS: i64 = 3_600_000;

/// Who asks, and until when what it takes is its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// This start of this instance.
    pub by: String,
    pub now_ms: i64,
    pub until_ms: i64,
}

/// An alert to be entered.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub alert: Alert,
    /// Whom it is told to, and how far that has come.
    pub pushes: Vec<Push>,
    /// Not when the rule's last alert fired after this. `None`: it has been told already, and is to be kept whatever was
    /// before.
    pub cooled_since_ms: Option<i64>,
    pub lease: Lease,
}

/// What came of an [`Entry`]. The alert is as it is kept now.
#[derive(Clone, Debug, PartialEq)]
pub enum Entered {
    /// It is the rule's alert.
    Ours(Alert),
    /// Another one of the rule is open.
    Theirs(Alert),
    /// The rule fired a short time ago.
    Cooling(Alert),
}

/// The wish to end an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    pub alert: String,
    pub at_ms: i64,
    pub reason: Option<String>,
    /// Whose own hold does not count.
    pub instance: String,
    /// Holds from before this are of instances that are gone.
    pub stale_ms: i64,
}

/// See the module. All of it may be called from any thread.
pub trait Ledger: Send + Sync {
    /// Every open alert.
    fn open(&self) -> Asked<Vec<Alert>>;

    /// Enters an alert, held by its instance; entering it again changes nothing.
    fn enter(&self, entry: Entry) -> Asked<Entered>;

    /// Notes that an instance sees the condition of an alert.
    fn hold(&self, alert: String, instance: String, at_ms: i64) -> Asked<()>;

    /// Ends an alert that nobody else holds; the alert when it has ended, whoever ended it.
    fn resolve(&self, resolution: Resolution) -> Asked<Option<Alert>>;

    /// Notes that somebody knows of an alert; the first time counts. `None`: there is no such alert.
    fn acknowledge(&self, alert: String, at_ms: i64) -> Asked<Option<Alert>>;

    /// Takes over, and keeps, the pushes to these webhooks that are to be made and are nobody else's; `most` of them, the
    /// oldest first.
    fn claim(&self, webhooks: Vec<String>, lease: Lease, most: u32) -> Asked<Vec<(Alert, Push)>>;

    /// Notes how far a push has come.
    fn pushed(&self, push: Push) -> Asked<()>;
}
