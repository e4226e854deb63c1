//! Alerts: rules judged at intervals, alerts that fire once and resolve by themselves, and webhooks that are told of both.
//!
//! Owns: which alerts are open, and how far each webhook has been told. Refuses: a second alert of a rule while one is open
//! or within its cooldown. Driven by: its own timer, the supervisor's [`Watch`], the operator's [`Acknowledge`]. Reads what
//! the metrics aggregator has in memory and the targets' shared state; requests know nothing of it. What is known is kept in
//! [`Alerts`], outside of the actor's instances, and in the [`Ledger`] where there is one (ADR 0012).
//!
//! | file | holds |
//! |---|---|
//! | `settings`, `alert` | rules and webhooks; an alert |
//! | `measure` | what a condition is about |
//! | `state` | which alerts are open |
//! | `delivery_queue` | which webhook is told what, and when |
//! | `ledger` | the trait of the store behind both |
//! | `messages`, `actor` | the mailbox, the clock and the I/O around them |

mod actor;
mod alert;
mod delivery_queue;
mod journal;
mod ledger;
mod measure;
mod messages;
mod place;
mod settings;
mod state;
#[cfg(test)]
mod tests;
mod webhook_url;

pub use actor::{AlertActor, Alerts, Deps, PostFuture, Poster, PosterFactory};
pub use alert::{Alert, Push, Told};
pub use delivery_queue::{Delivery, Failure, Then};
pub use ledger::{AHEAD_MS, Asked, Entered, Entry, Lease, Ledger, LedgerError, Resolution};
pub use measure::{LONGEST_WINDOW, Measure, Measured};
pub use messages::{Acknowledge, Acknowledged, AlertChanged, Change, Watch, WatchTarget};
pub use settings::{Action, Condition, Format, Metric, Operator, Rule, Settings, Severity, Webhook};
pub use state::{RuleReport, Standing};
