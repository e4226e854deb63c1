//! The router's verdict on a configuration: what the configuration alone cannot know.
//!
//! `load_with` takes it as a further judge, at start, at a reload and for `aegis check`.

use crate::config::{Places, Problem, Settings};
use crate::router::{Conflict, ConflictKind, PatternError, RouteSpec, Router};

/// A route by the numbers of its backend and of itself, as in [`Settings::backends`].
pub type RouteNumbers = (usize, usize);

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
    let warn = |conflict: Conflict<'_, RouteNumbers>| {
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
///
/// # Errors
/// Every pattern that does not compile, by the route's position.
pub fn compile(settings: &Settings) -> Result<Router<RouteNumbers>, Vec<(usize, PatternError)>> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::EscapedSlash;
    use crate::config::{Env, Source, load_with};
    use crate::router::{Found, RequestFacts, canonicalise};

    #[test]
    fn what_the_production_example_denies_cannot_be_reached_by_a_more_specific_route() {
        let text = include_str!("../../config/production.yaml");
        let source = Source {
            text: Some(("production.yaml".into(), text.into())),
            env: Env::from_iter([("AEGIS_ADMIN_TOKEN", "x")]),
            ..Source::default()
        };
        let loaded = load_with(&source, judge).expect("a good configuration");
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        let router = compile(&loaded.settings).expect("good patterns");
        let denied = |method: &str, path: &str| {
            let canonical = canonicalise(path, EscapedSlash::Reject).expect("a good path");
            let facts = RequestFacts {
                method,
                host: "api.example.com",
                path: &canonical.path,
                trailing_slash: canonical.trailing_slash,
                headers: &(),
            };
            let Found::Route(route) = router.find(&facts) else { panic!("no route for {path}") };
            let (backend, number) = *route.payload();
            loaded.settings.backends[backend].routes[number].deny
        };
        for below in ["", "/", "/avatar", "/a/b"] {
            let path = format!("/api/users/internal{below}");
            assert!(denied("PUT", &path) && denied("GET", &path), "{path}");
        }
        assert!(!denied("PUT", "/api/users/7/avatar") && !denied("GET", "/api/users/7"));
    }
}
