//! `aegis check`: every problem of a configuration, one per line.

use std::io::Write;
use std::path::PathBuf;

use crate::config::{Places, Problem, Settings, Source, report};
use crate::router::{ConflictKind, PatternError, RouteSpec, Router};

/// A route by the numbers of its backend and of itself, as in [`Settings::backends`].
pub(super) type RouteNumbers = (usize, usize);

/// Prints the problems and a summary; the exit code is 0 when nothing is an error, else 1.
pub fn run(file: Option<PathBuf>, set: Vec<String>, json: bool) -> i32 {
    let report = report::report(&Source { file, set, ..Source::default() }, judge);
    let text = if json { format!("{:#}", report.json()) } else { report.text() };
    // Whoever closes the pipe early has seen enough; the exit code still tells.
    let _ = writeln!(std::io::stdout(), "{text}");
    if report.ok() { 0 } else { 1 }
}

/// The router's view: patterns it cannot compile, routes that hide each other.
pub fn judge(settings: &Settings, places: &Places) -> Vec<Problem> {
    let router = match compile(settings) {
        Ok(router) => router,
        Err(errors) => {
            let at: Vec<RouteNumbers> = numbers(settings).collect();
            let place = |n: usize| at.get(n).map(|(backend, route)| places.route(*backend, *route));
            let problem =
                |(n, error): (usize, PatternError)| place(n).map(|place| place.error(error.to_string()));
            return errors.into_iter().filter_map(problem).collect();
        }
    };
    let warn = |conflict: crate::router::Conflict<'_, RouteNumbers>| {
        let (backend, route) = *conflict.route.payload();
        let (winner_backend, winner_route) = *conflict.winner.payload();
        let line = places.route(winner_backend, winner_route).line;
        let which = match conflict.kind {
            ConflictKind::Unreachable => "the one that hides it",
            ConflictKind::Tie => "the winner",
        };
        places.route(backend, route).warning(format!("{conflict} ({which} is on line {line})"))
    };
    router.conflicts().into_iter().map(warn).collect()
}

/// The route table of the settings; a route leads to its numbers in [`Settings::backends`].
pub(super) fn compile(settings: &Settings) -> Result<Router<RouteNumbers>, Vec<(usize, PatternError)>> {
    let spec = |(backend, number): RouteNumbers| {
        let route = &settings.backends[backend].routes[number];
        RouteSpec {
            pattern: route.path.clone(),
            methods: route.methods.clone(),
            hosts: route.hosts.clone(),
            headers: route.headers.clone(),
            priority: route.priority,
            payload: (backend, number),
        }
    };
    Router::build(numbers(settings).map(spec).collect())
}

/// Every route as (backend, route), in the order of the file.
fn numbers(settings: &Settings) -> impl Iterator<Item = RouteNumbers> {
    let backends = settings.backends.iter().enumerate();
    backends.flat_map(|(backend, b)| (0..b.routes.len()).map(move |route| (backend, route)))
}
