//! The merged tree into validated settings, one file per section.
//!
//! Reading never stops at a problem: it notes it, takes the default and goes on, so that every problem is
//! reported at once. What it returns is therefore only good for use when no error was noted.

mod admin;
mod alert_rule;
mod alerts;
mod backend;
mod endpoint;
mod headers;
mod later;
mod logging;
mod metrics;
mod rate_limit;
mod rate_limit_rule;
mod redis;
mod resilience;
mod route;
mod rules;
mod section;
mod server;
mod syntax;
mod target;
mod values;

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::problem::{Place, Problem, Severity};
use super::settings::Settings;
use super::tree::{Layer, Node, Origin, Pos};
use section::Section;
pub use target::target_url;

/// Where things that are judged later (by the router) were written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Places {
    routes: Vec<Vec<Place>>,
    /// With the keys' names.
    probes: Vec<(String, Place)>,
    /// By the name of the key.
    files: BTreeMap<String, Place>,
}

impl Places {
    /// Where route number `route` of backend number `backend` is, both as in [`Settings::backends`].
    pub fn route(&self, backend: usize, route: usize) -> Place {
        let known = self.routes.get(backend).and_then(|routes| routes.get(route));
        known.cloned().unwrap_or_else(|| Place::start("built-in defaults"))
    }

    /// Name and place of a probe's path, counted over `server.probes.health` and `ready`.
    pub fn probe(&self, number: usize) -> (&str, Place) {
        let known = self.probes.get(number).map(|(name, place)| (name.as_str(), place.clone()));
        known.unwrap_or_else(|| ("server.probes", Place::start("built-in defaults")))
    }

    /// Where the file of this key was named, such as `server.tls.certFile`.
    pub fn file(&self, key: &str) -> Place {
        self.files.get(key).cloned().unwrap_or_else(|| Place::start("built-in defaults"))
    }
}

/// Reads the whole tree. `file` is the label for problems of the file.
pub(crate) fn settings(root: &Node, file: &str, problems: &mut Vec<Problem>) -> (Settings, Places) {
    let context = Context { file, problems: RefCell::default(), files: RefCell::default() };
    let section = Section::open(&context, root, String::new());
    let defaults = Settings::default();
    later::refuse(&section);
    let (backends, mut places) = backend::all(&section);
    let server =
        section.child("server").map_or(defaults.server, |section| server::read(section, &mut places));
    let metrics = section.child("metrics").map_or(defaults.metrics, metrics::read);
    let settings = Settings {
        alerts: alerts::read(&section, &backends, &metrics),
        admin: section.child("admin").map_or(defaults.admin, admin::read),
        hot_reload: section.flag("hotReload").unwrap_or(defaults.hot_reload),
        backends,
        redis: section.child("redis").and_then(redis::read),
        rate_limit: rate_limit::read(&section, server.escaped_slash),
        metrics,
        logging: section.child("logging").map_or(defaults.logging, logging::read),
        server,
    };
    rules::across(&section, &settings);
    section.finish();
    places.files = context.files.into_inner();
    problems.extend(context.problems.into_inner());
    (settings, places)
}

/// What every reader shares: where to note problems.
struct Context<'c> {
    file: &'c str,
    problems: RefCell<Vec<Problem>>,
    /// Where files are named, by the name of the key.
    files: RefCell<BTreeMap<String, Place>>,
}

impl Context<'_> {
    fn note(&self, severity: Severity, origin: &Origin, at: Pos, message: String) {
        let problem = located(severity, origin, at, self.file, message);
        self.problems.borrow_mut().push(problem);
    }

    /// How many errors were noted so far.
    fn errors(&self) -> usize {
        self.problems.borrow().iter().filter(|problem| problem.severity == Severity::Error).count()
    }
}

/// An error at the value of `origin`.
pub(super) fn problem_at(origin: &Origin, file: &str, message: String) -> Problem {
    located(Severity::Error, origin, origin.value, file, message)
}

fn located(severity: Severity, origin: &Origin, at: Pos, file: &str, message: String) -> Problem {
    match &origin.layer {
        Layer::Default => Place::start(file).problem(severity, message),
        Layer::File => at.place(file).problem(severity, message),
        Layer::Environment(name) => {
            Place::start("environment").problem(severity, format!("{message} (set by {name})"))
        }
        Layer::Set(key) => Place::start("--set").problem(severity, format!("{message} (set by --set {key})")),
    }
}
