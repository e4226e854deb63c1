//! Tests of the whole path from text to settings or problems, by concern.

mod alerts;
mod backends;
mod client_auth;
mod described;
mod diffs;
mod fixtures;
mod formats;
mod interpolation;
mod layers;
mod listeners;
mod metrics;
mod never_panics;
mod origins;
mod positions;
mod rate_limit;
mod rate_limit_rules;
mod redis;
mod reports;
mod routes;
mod sample;
mod secrets;
mod values;

use std::path::PathBuf;

use super::settings::{Backend, Route};
use super::{Env, Inspection, Loaded, Problems, Source, inspect_text};

/// A backend that is fine, to build on.
const GOOD: &str = "backends: [{name: a, url: 'http://h:1', routes: [/x]}]\n";

fn inspect(file: &str, text: &str, source: &Source) -> Inspection {
    let inspection = inspect_text(Some((PathBuf::from(file), text)), source, |_, _| Vec::new());
    if inspection.problems.errors() == 0 {
        fixtures::keep(file, text, true);
    }
    inspection
}

/// Neither environment nor `--set`.
fn alone() -> Source {
    Source { env: Env::empty(), ..Source::default() }
}

fn set(entries: &[&str]) -> Source {
    Source { set: entries.iter().map(|entry| (*entry).to_owned()).collect(), ..alone() }
}

fn env(variables: &[(&str, &str)]) -> Source {
    Source { env: variables.iter().copied().collect(), ..alone() }
}

fn load_from(text: &str, source: &Source) -> Result<Loaded, Problems> {
    inspect("a.yaml", text, source).verdict()
}

#[track_caller]
fn good(text: &str) -> Loaded {
    load_from(text, &alone()).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Every problem, warnings included, as lines.
fn lines(text: &str) -> Vec<String> {
    inspect("a.yaml", text, &alone()).problems.0.into_iter().map(|p| p.to_string()).collect()
}

/// The only problem of a text.
#[track_caller]
fn one(text: &str) -> String {
    let mut lines = lines(text);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    lines.remove(0)
}

/// Asserts that the text's only problem starts with the position and holds each of the parts.
#[track_caller]
fn refused(text: &str, position: &str, parts: &[&str]) {
    let problem = one(text);
    assert!(problem.starts_with(&format!("a.yaml:{position}: ")), "{problem}");
    for part in parts {
        assert!(problem.contains(part), "{part:?} is not in {problem}");
    }
}

/// A configuration with one backend that has these further keys, each on its line (the first on line 2).
fn backend_text(keys: &str) -> String {
    let mut text = "{backends: [{name: a, url: 'http://h:1', routes: [/x],\n".to_owned();
    text.push_str(keys);
    text.push_str("}]}\n");
    text
}

#[track_caller]
fn backend(keys: &str) -> Backend {
    good(&backend_text(keys)).settings.backends.remove(0)
}

/// A configuration with one route in object form, on line 1 from column 42.
fn route_text(keys: &str) -> String {
    format!("backends: [{{name: a, url: 'http://h:1', routes: [{{{keys}}}]}}]\n")
}

#[track_caller]
fn route(keys: &str) -> Route {
    good(&route_text(keys)).settings.backends.remove(0).routes.remove(0)
}

/// A file of that name under the system's temporary directory, removed at the end of the test.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, content: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("aegis-config-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
