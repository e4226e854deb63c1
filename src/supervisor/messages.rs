//! What the supervisor understands, and what it answers.

use std::path::PathBuf;
use std::time::SystemTime;

use actix::Message;
use aegis_actors::circuit_breaker;
use serde::Serialize;
use thiserror::Error;

use super::children::Addresses;
use super::events::Event;
use crate::config::{Changes, Problem};
use crate::tls::Certificate;

/// Load the configuration again and apply it.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<ReloadReport, Vec<Problem>>")]
pub struct Reload {
    /// Who asked.
    pub by: ReloadBy,
}

/// Who asked for a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ReloadBy {
    /// The file changed.
    File,
    /// SIGHUP.
    Signal,
    /// The administration interface.
    Admin,
}

/// What a reload changed.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReloadReport {
    pub generation: u64,
    pub hash: String,
    #[serde(flatten)]
    pub changes: Changes,
    pub warnings: Vec<String>,
}

/// The last reload, whatever came of it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReloadRecord {
    #[serde(serialize_with = "rfc3339")]
    pub at: SystemTime,
    pub by: ReloadBy,
    pub ok: bool,
    /// `FILE:LINE:COL: error: …`; empty when it was applied.
    pub errors: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
}

/// How many reloads were asked for.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ReloadCounts {
    pub applied: u64,
    pub refused: u64,
}

pub(super) fn rfc3339<S: serde::Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*at))
}

/// Something of the configuration's files may have changed.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct FilesTouched;

/// A child answered its heartbeat.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Pong {
    pub name: &'static str,
    pub instance: u64,
}

/// Keep new requests away from one target, or let them come again.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), CommandError>")]
pub struct Drain {
    pub backend: String,
    /// Position in the backend's `targets`, from 0.
    pub target: usize,
    pub drained: bool,
    /// What the operator has seen there.
    pub expected: Expected,
}

/// What the target must be for the command to be carried out: positions shift when the configuration changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    pub url: Option<String>,
    pub generation: Option<u64>,
}

/// The generation that runs, and the backend's targets in their order, each with its URL and whether it is drained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actual {
    pub generation: u64,
    pub targets: Vec<(String, bool)>,
}

/// Hold all breakers of a backend; answers how many.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<usize, CommandError>")]
pub struct Hold(pub circuit_breaker::Hold);

/// Asks for everything that the status page shows of the supervisor.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Overview")]
pub struct Inspect;

/// The answer to [`Inspect`].
pub struct Overview {
    pub actors: Vec<ChildReport>,
    pub hash: String,
    pub file: Option<PathBuf>,
    /// What runs, redacted.
    pub effective: serde_json::Value,
    /// Keys that the file has changed and only a restart applies.
    pub pending_restart: Vec<String>,
    pub warnings: Vec<Problem>,
    pub last_reload: Option<ReloadRecord>,
    pub reloads: ReloadCounts,
    pub events: Vec<Event>,
    /// Changes of breakers since the start, by backend, target and new state; of targets that are there.
    pub transitions: Transitions,
    /// What the listener serves, each file once.
    pub certificates: Vec<Certificate>,
    /// For details that only an actor knows.
    pub addresses: Addresses,
}

/// How often a breaker (backend, target) changed to a state.
pub type Transitions = std::collections::BTreeMap<(String, String, &'static str), u64>;

/// One supervised actor.
#[derive(Clone, Debug, Serialize)]
pub struct ChildReport {
    pub name: &'static str,
    /// Counts from 1.
    pub instance: u64,
    pub restarts: u64,
    pub alive: bool,
}

/// Why an operator's command was not carried out.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CommandError {
    /// What it names does not exist.
    #[error("{0}")]
    NoSuch(String),
    /// The target is not the [`Expected`] one.
    #[error(
        "the configuration is not the one that the order was made for: look at the targets, and give it again"
    )]
    Other(Actual),
    /// The actor that would have to do it is being replaced.
    #[error("the {0} actor is being replaced; try again")]
    Busy(&'static str),
}

impl CommandError {
    /// No backend of this name.
    pub fn backend(name: &str) -> Self {
        Self::NoSuch(format!("no backend is named {name:?}"))
    }

    /// No such position.
    pub fn target(backend: &str, target: usize, count: usize) -> Self {
        Self::NoSuch(format!(
            "backend {backend:?} has no target {target}: they are numbered 0 to {}",
            count.saturating_sub(1)
        ))
    }
}

/// Make a child panic or hang; test builds only. Answers whether there is such a child.
#[cfg(feature = "test-hooks")]
#[derive(Clone, Debug, Message)]
#[rtype(result = "bool")]
pub struct InjectFault {
    pub actor: String,
    /// `None` = panic, else block its thread for that long.
    pub hang: Option<std::time::Duration>,
}
