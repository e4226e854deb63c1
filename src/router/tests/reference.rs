//! The compiled table against the plainest matcher there is: every route in match order, pattern text by recursion.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn segment_fits(pattern: &str, segment: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern.starts_with(':') || pattern == segment,
        Some((before, after)) => segment.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).any(|at| {
                if after.contains('*') { segment_fits(after, &rest[at..]) } else { rest[at..] == *after }
            })
        }),
    }
}

pub(super) fn path_fits(pattern: &[&str], path: &[&str], slash: bool) -> bool {
    match (pattern, path) {
        ([], path) => path.is_empty(),
        (["**"], path) => !path.is_empty() || slash,
        (["**", rest @ ..], path) => (1..=path.len()).any(|taken| path_fits(rest, &path[taken..], slash)),
        ([first, rest @ ..], [segment, others @ ..]) => {
            segment_fits(first, segment) && path_fits(rest, others, slash)
        }
        _ => false,
    }
}

pub(super) fn split(text: &str) -> Vec<&str> {
    text.split('/').filter(|segment| !segment.is_empty()).collect()
}

fn host_fits(patterns: &[HostPattern], host: &str) -> bool {
    patterns.is_empty()
        || patterns.iter().any(|pattern| match pattern.to_string().strip_prefix('*') {
            Some(suffix) => host.ends_with(suffix) && host != suffix,
            None => pattern.to_string() == host,
        })
}

/// The payload of the first route that fits in match order.
fn naive(
    router: &Router<usize>,
    method: &str,
    host: &str,
    path: &str,
    slash: bool,
    header: &str,
) -> Option<usize> {
    let fits = |route: &&CompiledRoute<usize>| {
        let methods = route.methods();
        let method_fits = methods.is_empty()
            || methods.iter().any(|known| known == method || (known == "GET" && method == "HEAD"));
        method_fits
            && host_fits(route.hosts(), host)
            && route.headers().iter().all(|(_, value)| value == header)
            && path_fits(&split(route.pattern().text()), &split(path), slash || path == "/")
    };
    router.routes().find(fits).map(|route| *route.payload())
}

fn spec() -> impl Strategy<Value = RouteSpec<usize>> {
    let segment = select(vec!["a", "b", "ab", ":x", "*", "**", "a*", "*b", "*a*b", "**"]);
    let list = |from: &[&str], most: usize| proptest::collection::vec(select(owned(from)), 0..=most);
    (
        proptest::collection::vec(segment, 0..5),
        list(&["GET", "POST", "HEAD", "PURGE"], 2),
        list(&["h.test", "x.h.test", "*.h.test", "*.x.h.test"], 2),
        select(vec![None, None, Some("1"), Some("2")]),
        select(vec![None, None, None, Some(-1), Some(1)]),
    )
        .prop_map(|(segments, methods, hosts, header, priority)| {
            let mut names = 0;
            let text = segments.iter().map(|segment| match *segment {
                ":x" => {
                    names += 1;
                    format!("/:x{names}")
                }
                other => format!("/{other}"),
            });
            let pattern = text.collect::<String>();
            RouteSpec {
                pattern: if pattern.is_empty() { "/".into() } else { pattern },
                methods,
                hosts,
                headers: header.into_iter().map(|value| ("k".into(), value.into())).collect(),
                priority,
                payload: 0,
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn the_tree_finds_what_trying_every_route_in_order_finds(
        mut specs in proptest::collection::vec(spec(), 1..25),
        requests in proptest::collection::vec((
            select(vec!["GET", "HEAD", "POST", "PURGE"]),
            select(vec!["h.test", "x.h.test", "y.x.h.test", "other"]),
            proptest::collection::vec(select(vec!["a", "b", "ab", "c", "aab"]), 0..7),
            any::<bool>(),
            select(vec!["1", "2", "3"]),
        ), 8),
    ) {
        for (position, spec) in specs.iter_mut().enumerate() {
            spec.payload = position;
        }
        let router = Router::build(specs).unwrap();
        let hidden: Vec<usize> = router
            .conflicts()
            .iter()
            .filter(|conflict| conflict.kind == ConflictKind::Unreachable)
            .map(|conflict| *conflict.route.payload())
            .collect();
        for (method, host, segments, trailing_slash, header) in requests {
            let path = format!("/{}", segments.join("/"));
            let headers = vec![("k".to_owned(), header.to_owned())];
            let facts = RequestFacts { method, host, path: &path, trailing_slash, headers: &headers };
            let found = match router.find(&facts) {
                Found::Route(route) => Some(*route.payload()),
                _ => None,
            };
            prop_assert_eq!(found, naive(&router, method, host, &path, trailing_slash, header));
            prop_assert!(found.is_none_or(|route| !hidden.contains(&route)), "route {:?} is not hidden", found);

            // Whenever two routes of one rank fit, `conflicts` knows of a tie.
            let rivals: Vec<_> = router
                .routes()
                .filter(|route| !hidden.contains(route.payload()))
                .filter(|route| {
                    let one = Router::build(vec![respecified(route)]).unwrap();
                    naive(&one, method, host, &path, trailing_slash, header).is_some()
                })
                .take(2)
                .collect();
            if let [a, b] = rivals[..] && a.order() == b.order() {
                let known = router.conflicts().iter().any(|conflict| {
                    conflict.kind == ConflictKind::Tie
                        && (conflict.winner.position(), conflict.route.position()) == (a.position(), b.position())
                });
                let share = a.hosts().is_empty() || a.hosts().iter().any(|host| b.hosts().contains(host));
                prop_assert!(known || !share, "{:?} and {:?}", a.pattern().text(), b.pattern().text());
            }
        }
    }
}

fn respecified(route: &CompiledRoute<usize>) -> RouteSpec<usize> {
    RouteSpec {
        pattern: route.pattern().text().into(),
        methods: route.methods().to_vec(),
        hosts: route.hosts().iter().map(ToString::to_string).collect(),
        headers: route.headers().to_vec(),
        priority: route.priority(),
        payload: 0,
    }
}
