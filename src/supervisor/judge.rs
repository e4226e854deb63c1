//! The router's verdict on a configuration: what the configuration alone cannot know.
//!
//! `load_with` takes it as a further judge, at start, at a reload and for `aegis check`.

use crate::config::{Places, Problem, Settings};
use crate::router::{Conflict, ConflictKind, Pattern, PatternError, RouteSpec, Router};

/// A route by the numbers of its backend and of itself, as in [`Settings::backends`].
pub type RouteNumbers = (usize, usize);

/// The router's view: patterns it cannot compile, routes that hide each other or that the gateway's own paths hide.
pub fn judge(settings: &Settings, places: &Places) -> Vec<Problem> {
    let (own, mut problems) = own_paths(settings, places);
    // Routes in front of all others.
    let own = own.map(|(pattern, hosts)| RouteSpec {
        pattern,
        hosts,
        priority: Some(i64::MAX),
        ..RouteSpec::default()
    });
    let router = match Router::build(specs(settings, Some).chain(own).collect()) {
        Ok(router) => router,
        Err(errors) => {
            let at: Vec<RouteNumbers> = numbers(settings).collect();
            let place = |n: usize| at.get(n).map(|(backend, route)| places.route(*backend, *route));
            let problem =
                |(n, error): (usize, PatternError)| place(n).map(|place| place.error(error.to_string()));
            problems.extend(errors.into_iter().filter_map(problem));
            return problems;
        }
    };
    let warn = |conflict: Conflict<'_, Option<RouteNumbers>>| {
        let (backend, route) = (*conflict.route.payload())?;
        let place = places.route(backend, route);
        let Some((winner_backend, winner_route)) = *conflict.winner.payload() else {
            let (route, own) = (conflict.route.pattern().text(), conflict.winner.pattern().text());
            let mend = if own.starts_with("/_aegis") { "" } else { ", or change `server.probes`" };
            let what = format!(
                "route `{route}` is never reached: the gateway answers `{own}` itself; use another path{mend}"
            );
            return Some(place.warning(what));
        };
        let line = places.route(winner_backend, winner_route).line;
        let which = match conflict.kind {
            ConflictKind::Unreachable => "the one that hides it",
            ConflictKind::Tie => "the winner",
        };
        Some(place.warning(format!("{conflict} ({which} is on line {line})")))
    };
    problems.extend(router.conflicts().into_iter().filter_map(warn));
    problems
}

/// The gateway's own paths with their hosts, as patterns, and what is wrong with those of the probes.
fn own_paths(
    settings: &Settings,
    places: &Places,
) -> (impl Iterator<Item = (String, Vec<String>)>, Vec<Problem>) {
    let probes = &settings.server.probes;
    let (mut known, mut problems) = (Vec::new(), Vec::new());
    for (number, path) in probes.health.iter().chain(&probes.ready).enumerate() {
        let (name, place) = places.probe(number);
        let trouble = match Pattern::parse(path).map(|pattern| pattern.only_path()) {
            Err(error) => error.to_string(),
            Ok(None) => "it stands for several paths; write each of them".to_owned(),
            Ok(Some(path)) if path == "/_aegis" || path.starts_with("/_aegis/") => {
                "this prefix is the administration interface's; use another path".to_owned()
            }
            Ok(Some(path)) if known.contains(&path) => {
                "it is there already; remove one of the two".to_owned()
            }
            Ok(Some(path)) => {
                known.push(path);
                continue;
            }
        };
        problems.push(place.error(format!("`{name}` is `{path}`: {trouble}")));
    }
    let reserved = ["/_aegis", "/_aegis/**"].map(|path| (path.to_owned(), Vec::new()));
    let hosts = probes.hosts.clone();
    (reserved.into_iter().chain(known.into_iter().map(move |path| (path, hosts.clone()))), problems)
}

/// The route table of the settings; a route leads to its numbers in [`Settings::backends`].
///
/// # Errors
/// Every pattern that does not compile, by the route's position.
pub fn compile(settings: &Settings) -> Result<Router<RouteNumbers>, Vec<(usize, PatternError)>> {
    Router::build(specs(settings, |numbers| numbers).collect())
}

/// Every route, in the order of the file.
fn specs<T>(settings: &Settings, payload: impl Fn(RouteNumbers) -> T) -> impl Iterator<Item = RouteSpec<T>> {
    numbers(settings).map(move |(backend, number)| {
        let route = &settings.backends[backend].routes[number];
        RouteSpec {
            pattern: route.path.clone(),
            methods: route.methods.clone(),
            hosts: route.hosts.clone(),
            headers: route.headers.clone(),
            priority: route.priority,
            payload: payload((backend, number)),
        }
    })
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

    /// What is said of `server` with a backend of these `routes`.
    fn said(server: &str, routes: &str) -> Vec<String> {
        let text = format!(
            "server: {server}\nbackends:\n  - {{name: b, url: \"http://127.0.0.1:1\", routes: [{routes}]}}\n"
        );
        let source = Source { text: Some(("a.yaml".into(), text)), env: Env::default(), ..Source::default() };
        let problems = match load_with(&source, judge) {
            Ok(loaded) => loaded.warnings,
            Err(problems) => problems.0,
        };
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_route_that_the_gateways_own_paths_hide_is_a_warning() {
        for hidden in [
            "/health",
            "/healthz",
            "{path: /ready, methods: [POST], headers: {x-a: b}, priority: 9}",
            "{path: /health, hosts: [a.test]}",
            "/%68ealth",
            "/_aegis",
            "/_aegis/**",
            "/_aegis/a/:b",
        ] {
            let said = said("{}", &format!("/a, {hidden}"));
            assert!(said.len() == 1 && said[0].contains("is never reached"), "{hidden}: {said:?}");
            assert!(said[0].starts_with("a.yaml:3:"), "{hidden}: {said:?}");
        }
        for reached in ["/**", "/:page", "/healthy", "/health/deep", "/_aegisx", "/h*"] {
            assert_eq!(said("{}", reached), [""; 0], "{reached}");
        }
        let elsewhere = "{probes: {health: [/up], hosts: [lb.test]}}";
        for reached in ["/health", "/up", "{path: /up, hosts: [a.test, lb.test]}"] {
            assert_eq!(said(elsewhere, reached), [""; 0], "{reached}");
        }
        let said = said(elsewhere, "{path: /up, hosts: [lb.test]}");
        assert!(said.len() == 1 && said[0].contains("or change `server.probes`"), "{said:?}");
    }

    #[test]
    fn a_probe_has_one_path_that_requests_may_have() {
        for (probes, name, why) in [
            ("{health: [up]}", "server.probes.health[0]", "does not start with a slash; write `/up`"),
            ("{health: [/a, /up/]}", "server.probes.health[1]", "ends in a slash"),
            ("{ready: [/up/**]}", "server.probes.ready[0]", "stands for several paths"),
            ("{ready: ['/:x']}", "server.probes.ready[0]", "stands for several paths"),
            ("{ready: [/_aegis/ready]}", "server.probes.ready[0]", "administration interface"),
            ("{ready: [/%68ealth]}", "server.probes.ready[0]", "is there already"),
            ("{health: ['/a?b']}", "server.probes.health[0]", "the path alone"),
            ("{hosts: ['a:80']}", "server.probes.hosts[0]", "without a port"),
        ] {
            let said = said(&format!("{{probes: {probes}}}"), "/b");
            assert!(said.len() == 1 && said[0].contains(name) && said[0].contains(why), "{probes}: {said:?}");
            assert!(said[0].starts_with("a.yaml:1:"), "{probes}: {said:?}");
        }
        assert_eq!(said("{probes: {health: [], ready: [/]}}", "/health"), [""; 0]);
    }
}
