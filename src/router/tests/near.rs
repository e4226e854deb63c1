//! Routes that lost, and why.

use super::*;

/// Every near miss: its payload and what it lost by.
fn near(
    router: &Router<&'static str>,
    method: &str,
    host: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Vec<(&'static str, Lost)> {
    let canonical = canonicalise(path, EscapedSlash::Reject).unwrap();
    let headers: Vec<(String, String)> =
        headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let facts = RequestFacts {
        method,
        host,
        path: &canonical.path,
        trailing_slash: canonical.trailing_slash,
        headers: &headers,
    };
    let chosen = match router.find(&facts) {
        Found::Route(route) => Some(route),
        _ => None,
    };
    router.near(&facts, chosen).iter().map(|miss| (*miss.route.payload(), miss.lost)).collect()
}

#[test]
fn each_route_of_the_path_is_told_with_what_it_lost_by() {
    let with = |pattern: &'static str, payload: &'static str| Spec { payload, ..route(pattern) };
    let router = router(vec![
        with("/a/b", "chosen"),
        with("/a/b", "later"),
        Spec { methods: owned(&["POST"]), ..with("/a/b", "method") },
        Spec { hosts: owned(&["other.test", "*.other.test"]), ..with("/a/b", "host") },
        Spec {
            headers: vec![("X-One".into(), "1".into()), ("X-Two".into(), "2".into())],
            ..with("/a/b", "header")
        },
        Spec { priority: Some(-1), ..with("/a/b", "priority") },
        with("/a/*", "specificity"),
        with("/x/**", "another path"),
    ]);
    let mut told = near(&router, "GET", "a.test", "/a/b", &[("X-One", "1")]);
    told.sort_unstable_by_key(|(name, _)| *name);
    assert_eq!(
        told,
        [
            ("header", Lost::Header(1)),
            ("host", Lost::Host),
            ("later", Lost::Order),
            ("method", Lost::Method),
            ("priority", Lost::Priority),
            ("specificity", Lost::Specificity),
        ]
    );
    // In match order, the nearest first.
    assert_eq!(near(&router, "GET", "a.test", "/a/c", &[]), []);
    assert_eq!(near(&router, "GET", "x.other.test", "/a/b", &[])[..1], [("header", Lost::Header(0))]);
    assert_eq!(near(&router, "GET", "a.test", "/nowhere", &[]), []);
}

#[test]
fn narrower_routes_win_by_what_makes_them_narrower() {
    let hosts = |list: &[&str]| Spec { hosts: owned(list), payload: "hosts", ..route("/a") };
    let headers = vec![("x-a".to_owned(), "1".to_owned())];
    let narrow = router(vec![route("/a"), hosts(&["a.test"])]);
    assert_eq!(near(&narrow, "GET", "a.test", "/a", &[]), [("/a", Lost::Hosts)]);
    let headed = router(vec![route("/a"), Spec { headers, payload: "headers", ..route("/a") }]);
    assert_eq!(near(&headed, "GET", "a.test", "/a", &[("X-A", "1")]), [("/a", Lost::Headers)]);
    let long = patterns(&["/a*", "/ab*"]);
    assert_eq!(near(&long, "GET", "a.test", "/abc", &[]), [("/a*", Lost::Literals)]);
    let ambiguous = patterns(&["/api/**", "/api/shut"]);
    assert_eq!(near(&ambiguous, "GET", "a.test", "/api/shut;x", &[]), [("/api/**", Lost::Reading)]);
}

#[test]
fn where_no_route_takes_the_method_all_of_them_are_near() {
    let router = router(vec![
        Spec { methods: owned(&["POST"]), ..route("/a") },
        Spec { methods: owned(&["PUT"]), ..route("/**") },
    ]);
    assert_eq!(near(&router, "GET", "", "/a", &[]), [("/a", Lost::Method), ("/**", Lost::Method)]);
}
