//! What a reload would change: the difference of two configurations.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::effective;
use super::settings::{Metrics, Settings};

/// Keys that only a restart applies: they belong to sockets and threads that exist already. Of `server.tls`
/// only its presence: the files themselves are read again when they change.
const RESTART: [&str; 12] = [
    "server.host",
    "server.port",
    "server.workers",
    "server.maxConnections",
    "admin.host",
    "admin.port",
    "metrics.enabled",
    "metrics.store",
    "metrics.flushIntervalMs",
    "metrics.retentionDays",
    "metrics.autoMigrate",
    "metrics.instance",
];

/// The difference of two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Changes {
    /// Backends that are the same; their breakers, health and connections survive.
    pub kept: Vec<String>,
    /// Backends that are new.
    pub added: Vec<String>,
    /// Backends that are gone.
    pub removed: Vec<String>,
    /// Backends of the same name with other settings.
    pub changed: Vec<String>,
    /// Other keys that changed and apply at once.
    pub applied: Vec<String>,
    /// Keys that changed and apply only after a restart.
    pub needs_restart: Vec<String>,
}

impl Changes {
    /// Whether the two configurations are the same.
    pub fn is_empty(&self) -> bool {
        let Self { kept: _, added, removed, changed, applied, needs_restart } = self;
        [added, removed, changed, applied, needs_restart].iter().all(|list| list.is_empty())
    }
}

/// What runs where `loaded` has been applied to a process that was started with `started`: sockets and threads are as they
/// were.
pub fn running(started: &Settings, loaded: &Settings) -> Settings {
    let mut running = loaded.clone();
    running.server.host.clone_from(&started.server.host);
    running.server.port = started.server.port;
    running.server.workers = started.server.workers;
    running.server.max_connections = started.server.max_connections;
    if started.server.tls.is_some() != loaded.server.tls.is_some() {
        running.server.tls = started.server.tls.clone();
    }
    running.admin.host.clone_from(&started.admin.host);
    running.admin.port = started.admin.port;
    let slow_request = loaded.metrics.slow_request;
    running.metrics = Metrics { slow_request, ..started.metrics.clone() };
    running
}

/// Compares the running settings with new ones.
pub fn diff(old: &Settings, new: &Settings) -> Changes {
    let mut changes = Changes::default();
    for backend in &new.backends {
        let name = backend.name.clone();
        match old.backends.iter().find(|other| other.name == name) {
            Some(other) if other == backend => changes.kept.push(name),
            Some(_) => changes.changed.push(name),
            None => changes.added.push(name),
        }
    }
    let gone = |name: &String| !new.backends.iter().any(|backend| backend.name == *name);
    changes.removed = old.backends.iter().map(|backend| backend.name.clone()).filter(gone).collect();

    let (before, after) = (keys(old), keys(new));
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    // A section that comes or goes is one change, not one for each of its keys.
    let turned = [
        ("rateLimit", old.rate_limit.is_some() != new.rate_limit.is_some()),
        ("alerts", old.alerts.is_some() != new.alerts.is_some()),
        ("redis", old.redis.is_some() != new.redis.is_some()),
    ];
    for name in names.into_iter().filter(|name| before.get(*name) != after.get(*name)) {
        let section = name.split('.').next().unwrap_or(name);
        if turned.contains(&(section, true)) {
            if changes.applied.last().is_none_or(|last| last != section) {
                changes.applied.push(section.to_owned());
            }
            continue;
        }
        if RESTART.contains(&name.as_str()) {
            changes.needs_restart.push(name.clone());
        } else if !name.starts_with("server.tls.") || old.server.tls.is_some() == new.server.tls.is_some() {
            changes.applied.push(name.clone());
        }
    }
    if old.server.tls.is_some() != new.server.tls.is_some() {
        changes.needs_restart.push("server.tls".to_owned());
    }
    changes
}

/// Every key outside `backends` with its value.
fn keys(settings: &Settings) -> BTreeMap<String, Value> {
    fn walk(path: String, value: Value, out: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                    walk(path, value, out);
                }
            }
            value => {
                out.insert(path, value);
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(String::new(), effective::render(settings), &mut out);
    out.remove("backends");
    out
}

/// One line: `backends: 2 kept, added new, changed users; applied logging.level; needs a restart:
/// server.port`.
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return write!(f, "nothing changed ({} backends kept)", self.kept.len());
        }
        write!(f, "backends: {} kept", self.kept.len())?;
        for (what, names) in [("added", &self.added), ("removed", &self.removed), ("changed", &self.changed)]
        {
            if !names.is_empty() {
                write!(f, ", {what} {}", names.join(" "))?;
            }
        }
        if !self.applied.is_empty() {
            write!(f, "; applied {}", self.applied.join(" "))?;
        }
        if !self.needs_restart.is_empty() {
            write!(f, "; needs a restart: {}", self.needs_restart.join(" "))?;
        }
        Ok(())
    }
}
