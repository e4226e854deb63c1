//! What a reload would change: the difference of two configurations.

use std::fmt;

use aegis_schema::{Describe, Description, Reload};
use serde::Serialize;
use serde_json::Value;

use super::Settings;

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
    running.keep(started);
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
    let mut description = Settings::describe();
    description.keys.retain(|key| key.name != "backends");
    changes.compare("", &description, &old.show(true), &new.show(true));
    changes.applied.sort();
    changes.needs_restart.sort();
    changes
}

impl Changes {
    /// Of a section that comes or goes it is one change, not one for each of its keys.
    fn compare(&mut self, prefix: &str, description: &Description, old: &Value, new: &Value) {
        for key in &description.keys {
            let (before, after, name) =
                (old.get(key.name), new.get(key.name), format!("{prefix}{}", key.name));
            match (key.reload, key.shape.inner, before, after) {
                _ if before == after => {}
                (Reload::Restart, ..) => self.needs_restart.push(name),
                (_, Some(inner), Some(before @ Value::Object(_)), Some(after @ Value::Object(_)))
                    if !key.shape.many =>
                {
                    self.compare(&format!("{name}."), &inner(), before, after);
                }
                (Reload::Presence, ..) => self.needs_restart.push(name),
                _ => self.applied.push(name),
            }
        }
    }
}

/// One line: `backends: 2 kept, added new, changed users; applied logging.level; needs a restart:
/// server.port`.
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return write!(f, "nothing changed ({} backends kept)", self.kept.len());
        }
        write!(f, "backends: {} kept", self.kept.len())?;
        for (what, names) in [
            (", added", &self.added),
            (", removed", &self.removed),
            (", changed", &self.changed),
            ("; applied", &self.applied),
            ("; needs a restart:", &self.needs_restart),
        ] {
            if !names.is_empty() {
                write!(f, "{what} {}", names.join(" "))?;
            }
        }
        Ok(())
    }
}
