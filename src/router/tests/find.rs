//! Which route a request gets.

use super::*;

#[test]
fn the_most_specific_pattern_wins_whatever_the_order_in_the_file() {
    let router = patterns(&["/**", "/api/**", "/api/*", "/api/users/:id", "/api/users", "/api/users/me"]);
    for (path, wanted) in [
        ("/", "/**"),
        ("/other", "/**"),
        ("/api", "/**"),
        ("/api/x", "/api/*"),
        ("/api/x/y", "/api/**"),
        ("/api/users", "/api/users"),
        ("/api/users/7", "/api/users/:id"),
        ("/api/users/me", "/api/users/me"),
        ("/api/users/me/x", "/api/**"),
    ] {
        assert_eq!(get(&router, path), wanted, "{path}");
    }
    let order: Vec<_> = router.routes().map(|route| route.specificity()).collect();
    assert_eq!(order, [330, 315, 220, 200, 160, 50]);
}

#[test]
fn a_double_star_at_the_end_matches_nothing_only_behind_a_slash() {
    let router = patterns(&["/api/**"]);
    assert_eq!(get(&router, "/api"), "404");
    assert_eq!(get(&router, "/api/"), "/api/**");
    assert_eq!(get(&router, "/api/a"), "/api/**");
    assert_eq!(get(&router, "/api/a/b"), "/api/**");
    assert_eq!(get(&router, "/apix/a"), "404");
}

#[test]
fn a_double_star_in_the_middle_matches_one_segment_or_more() {
    let router = patterns(&["/a/**/b", "/x/**/y/**"]);
    assert_eq!(get(&router, "/a/b"), "404");
    assert_eq!(get(&router, "/a/x/b"), "/a/**/b");
    assert_eq!(get(&router, "/a/b/b/b"), "/a/**/b");
    assert_eq!(get(&router, "/x/1/2/y/"), "/x/**/y/**");
    assert_eq!(get(&router, "/x/1/2/y"), "404");
}

#[test]
fn a_star_matches_one_segment_or_a_part_of_one() {
    let router = patterns(&["/v*/users", "/files/*.tar.*", "/x/*a*b*", "/one/*"]);
    assert_eq!(get(&router, "/v/users"), "/v*/users");
    assert_eq!(get(&router, "/v12/users"), "/v*/users");
    assert_eq!(get(&router, "/w1/users"), "404");
    assert_eq!(get(&router, "/files/a.tar.gz"), "/files/*.tar.*");
    assert_eq!(get(&router, "/files/a.tar"), "404");
    assert_eq!(get(&router, "/x/1a2b3"), "/x/*a*b*");
    assert_eq!(get(&router, "/x/ba"), "404");
    assert_eq!(get(&router, "/one/a/b"), "404");
    assert_eq!(get(&router, "/one/"), "404");
}

#[test]
fn a_literal_matches_every_spelling_of_itself() {
    let router = patterns(&["/@admin", "/café", "/a%2Ab", "/**"]);
    for path in ["/@admin", "/%40admin", "/%40%61dmin", "//@admin/"] {
        assert_eq!(get(&router, path), "/@admin", "{path}");
    }
    assert_eq!(get(&router, "/caf%c3%a9"), "/café");
    assert_eq!(get(&router, "/café"), "/café");
    assert_eq!(get(&router, "/a*b"), "/a%2Ab");
    assert_eq!(get(&router, "/a%2ab"), "/a%2Ab");
    assert_eq!(get(&router, "/a%252ab"), "/**");
}

#[test]
fn hosts_match_in_any_case_exactly_or_below_a_suffix() {
    let router = router(vec![
        RouteSpec { payload: "any", ..route("/**") },
        RouteSpec { hosts: owned(&["*.example.org"]), payload: "below", ..route("/**") },
        RouteSpec { hosts: owned(&["*.b.example.org"]), payload: "deeper", ..route("/**") },
        RouteSpec { hosts: owned(&["API.example.org", "[::1]"]), payload: "exact", ..route("/**") },
    ]);
    for (url, wanted) in [
        ("http://api.EXAMPLE.org/x", "exact"),
        ("http://api.example.org./x", "exact"),
        ("http://[::1]/x", "exact"),
        ("http://www.example.org/x", "below"),
        ("http://a.c.example.org/x", "below"),
        ("http://a.b.example.org/x", "deeper"),
        ("http://example.org/x", "any"),
        ("http://.example.org/x", "any"),
        ("http://badexample.org/x", "any"),
    ] {
        assert_eq!(get(&router, url), wanted, "{url}");
    }
    let long = format!("http://{}.example.org/x", "a".repeat(300));
    assert_eq!(get(&router, &long), "any");
}

#[test]
fn a_more_specific_path_beats_a_narrower_host() {
    let router = router(vec![
        RouteSpec { hosts: owned(&["a.test"]), payload: "host", ..route("/**") },
        RouteSpec { payload: "path", ..route("/x") },
    ]);
    assert_eq!(get(&router, "/x"), "path");
    assert_eq!(get(&router, "/y"), "host");
}

#[test]
fn headers_must_all_match_and_beat_a_route_without() {
    let router = router(vec![
        RouteSpec { payload: "plain", ..route("/x") },
        RouteSpec { headers: vec![("X-Version".into(), "2".into())], payload: "v2", ..route("/x") },
        RouteSpec {
            headers: vec![("x-version".into(), "2".into()), ("x-beta".into(), "1".into())],
            payload: "beta",
            ..route("/x")
        },
    ]);
    assert_eq!(outcome(&router, "GET", "/x", &[]), "plain");
    assert_eq!(outcome(&router, "GET", "/x", &[("x-version", "3")]), "plain");
    assert_eq!(outcome(&router, "GET", "/x", &[("X-VERSION", "2")]), "v2");
    assert_eq!(outcome(&router, "GET", "/x", &[("x-version", "1"), ("x-version", "2")]), "v2");
    assert_eq!(outcome(&router, "GET", "/x", &[("x-beta", "1"), ("x-version", "2")]), "beta");
}

#[test]
fn methods_choose_among_routes_and_get_takes_head_along() {
    let router = router(vec![
        RouteSpec { methods: owned(&["GET"]), payload: "read", ..route("/x") },
        RouteSpec { methods: owned(&["POST", "PUT", "PURGE"]), payload: "write", ..route("/x") },
    ]);
    for (method, wanted) in [
        ("GET", "read"),
        ("HEAD", "read"),
        ("PUT", "write"),
        ("PURGE", "write"),
        ("OPTIONS", "405 GET, POST, PURGE, PUT"),
        ("get", "405 GET, POST, PURGE, PUT"),
    ] {
        assert_eq!(outcome(&router, method, "/x", &[]), wanted, "{method}");
    }
}

#[test]
fn a_method_that_only_a_less_specific_route_allows_falls_through_to_it() {
    let router = router(vec![RouteSpec { methods: owned(&["GET"]), ..route("/x") }, route("/**")]);
    assert_eq!(outcome(&router, "POST", "/x", &[]), "/**");
}

#[test]
fn allow_leaves_out_routes_for_other_hosts_and_headers() {
    let router = router(vec![
        RouteSpec { methods: owned(&["GET"]), ..route("/x") },
        RouteSpec { methods: owned(&["PUT"]), hosts: owned(&["b.test"]), ..route("/x") },
        RouteSpec { methods: owned(&["PATCH"]), headers: vec![("k".into(), "v".into())], ..route("/x") },
        RouteSpec { methods: owned(&["DELETE"]), headers: vec![("k".into(), "v".into())], ..route("/y") },
    ]);
    assert_eq!(outcome(&router, "POST", "/x", &[]), "405 GET");
    assert_eq!(outcome(&router, "POST", "http://b.test/x", &[("k", "v")]), "405 GET, PATCH, PUT");
    assert_eq!(outcome(&router, "POST", "/y", &[]), "404");
}

#[test]
fn priority_beats_specificity_both_ways() {
    let router = router(vec![
        RouteSpec { priority: Some(1), ..route("/a/**") },
        route("/a/b"),
        RouteSpec { priority: Some(-1), ..route("/x/y") },
        route("/x/**"),
    ]);
    assert_eq!(get(&router, "/a/b"), "/a/**");
    assert_eq!(get(&router, "/x/y"), "/x/**");
}

#[test]
fn ties_go_to_more_literal_characters_and_then_to_the_file() {
    let router = patterns(&["/:x/b", "/ab/:y", "/:first/c", "/d/:second"]);
    assert_eq!(get(&router, "/ab/b"), "/ab/:y");
    assert_eq!(get(&router, "/d/c"), "/:first/c");
}
