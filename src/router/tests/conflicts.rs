//! What `check` warns about.

use super::*;

fn found(specs: Vec<Spec>) -> Vec<String> {
    let router = router(specs);
    let describe = |conflict: &Conflict<'_, _>| {
        let kind = if conflict.kind == ConflictKind::Tie { "ties with" } else { "is hidden by" };
        format!("{} {kind} {}", conflict.route.payload(), conflict.winner.payload())
    };
    router.conflicts().iter().map(describe).collect()
}

fn all(patterns: &[&'static str]) -> Vec<String> {
    found(patterns.iter().map(|pattern| route(pattern)).collect())
}

#[test]
fn an_ordinary_table_has_no_conflicts() {
    let table =
        ["/", "/**", "/api/**", "/api/:x", "/api/users", "/api/users/:id", "/api/users/:id/posts", "/v*/x"];
    assert_eq!(all(&table), [""; 0]);
}

#[test]
fn a_route_is_hidden_by_the_same_pattern_under_another_name() {
    assert_eq!(all(&["/a/:x", "/a/:y"]), ["/a/:y is hidden by /a/:x"]);
    assert_eq!(all(&["/a/*", "/a/:y"]), ["/a/* is hidden by /a/:y"]);
}

#[test]
fn a_priority_can_hide_what_is_more_specific() {
    let specs = vec![
        RouteSpec { priority: Some(1), ..route("/a/**") },
        route("/a/b"),
        route("/a/*/c"),
        route("/a/**/d"),
        route("/a"),
    ];
    assert_eq!(
        found(specs),
        ["/a/*/c is hidden by /a/**", "/a/**/d is hidden by /a/**", "/a/b is hidden by /a/**"]
    );
}

#[test]
fn a_narrower_winner_hides_nothing() {
    let first = RouteSpec { priority: Some(1), ..route("/x") };
    for narrow in [
        RouteSpec { methods: owned(&["GET"]), ..first.clone() },
        RouteSpec { hosts: owned(&["a.test"]), ..first.clone() },
        RouteSpec { headers: vec![("k".into(), "v".into())], ..first.clone() },
    ] {
        assert_eq!(found(vec![narrow, route("/x")]), [""; 0]);
    }
}

#[test]
fn hosts_methods_and_headers_are_weighed_when_one_hides_another() {
    let wide = RouteSpec {
        hosts: owned(&["*.example.org", "b.test"]),
        methods: owned(&["GET", "PUT"]),
        priority: Some(1),
        payload: "wide",
        ..route("/**")
    };
    let narrow = RouteSpec {
        hosts: owned(&["b.test", "*.x.example.org"]),
        methods: owned(&["HEAD"]),
        headers: vec![("k".into(), "v".into())],
        payload: "narrow",
        ..route("/a/b")
    };
    assert_eq!(found(vec![wide.clone(), narrow.clone()]), ["narrow is hidden by wide"]);
    let other = RouteSpec { hosts: owned(&["b.test", "c.test"]), ..narrow.clone() };
    assert_eq!(found(vec![wide.clone(), other]), [""; 0]);
    assert_eq!(found(vec![wide, RouteSpec { methods: vec![], ..narrow }]), [""; 0]);
}

#[test]
fn a_tie_that_can_match_the_same_request_is_named() {
    assert_eq!(all(&["/ab/:x", "/:y/cd"]), ["/:y/cd ties with /ab/:x"]);
    assert_eq!(all(&["/a*/x", "/*b/x"]), ["/*b/x ties with /a*/x"]);
    assert_eq!(all(&["/**/ab/*", "/cd/**/*"]), ["/cd/**/* ties with /**/ab/*"]);
}

#[test]
fn equal_rank_without_a_common_request_is_no_tie() {
    assert_eq!(all(&["/ab/:x", "/cd/:y"]), [""; 0]);
    assert_eq!(all(&["/a*/x", "/b*/x"]), [""; 0]);
    let get = RouteSpec { methods: owned(&["GET"]), ..route("/ab/:x") };
    let put = RouteSpec { methods: owned(&["PUT"]), ..route("/:y/cd") };
    assert_eq!(found(vec![get.clone(), put]), [""; 0]);
    let header = |value: &str, spec: Spec| RouteSpec { headers: vec![("k".into(), value.into())], ..spec };
    assert_eq!(found(vec![header("1", route("/ab/:x")), header("2", route("/:y/cd"))]), [""; 0]);
    let host = |name: &str, spec: Spec| RouteSpec { hosts: owned(&[name]), ..spec };
    assert_eq!(found(vec![host("a.test", route("/ab/:x")), host("b.test", route("/:y/cd"))]), [""; 0]);
    assert_eq!(
        found(vec![host("a.test", get), host("a.test", route("/:y/cd"))]),
        ["/:y/cd ties with /ab/:x"]
    );
}

#[test]
fn a_conflict_says_what_to_do() {
    let router = patterns(&["/a/:x", "/a/:y", "/ab/:x", "/:y/cd"]);
    let text: Vec<_> = router.conflicts().iter().map(ToString::to_string).collect();
    assert!(text[0].starts_with("route `/a/:y` can never match: `/a/:x` goes first"), "{}", text[0]);
    assert!(text[1].contains("`/ab/:x`, wins; set a priority"), "{}", text[1]);
}
