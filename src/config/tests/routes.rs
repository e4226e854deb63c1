//! Routes of a backend.

use std::time::Duration;

use super::*;

#[test]
fn a_route_is_a_path_or_an_object() {
    let text = "backends: [{name: a, url: 'http://h:1', routes: [/a, {path: /b/**}]}]";
    let routes = good(text).settings.backends.remove(0).routes;
    assert_eq!(routes[0], Route { path: "/a".into(), ..Route::default() });
    assert_eq!(routes[1], Route { path: "/b/**".into(), ..Route::default() });
}

#[test]
fn every_key_of_a_route_is_read() {
    let route = route(
        "path: /api/**, methods: [GET, POST, GET], hosts: [API.example.com, '*.example.org'], headers: {X-Version: '2'}, \
         priority: -5, stripPrefix: /api, addPrefix: /v2, timeout: 5s, bodyLimitBytes: 0, deny: true",
    );
    assert_eq!(route.methods, ["GET", "POST"]);
    assert_eq!(route.hosts, ["api.example.com", "*.example.org"]);
    assert_eq!(route.headers, [("x-version".to_owned(), "2".to_owned())]);
    assert_eq!((route.priority, route.timeout), (Some(-5), Some(Duration::from_secs(5))));
    assert_eq!((route.strip_prefix.as_deref(), route.add_prefix.as_deref()), (Some("/api"), Some("/v2")));
    assert_eq!((route.body_limit_bytes, route.deny), (Some(0), true));
}

#[test]
fn a_backend_needs_at_least_one_route() {
    refused("backends:\n  - {name: a, url: 'http://h:1'}", "2:5", &["`backends[0].routes` is required"]);
    refused(
        "backends: [{name: a, url: 'http://h:1', routes: []}]",
        "1:49",
        &["is empty: write at least one path"],
    );
    refused("backends: [{name: a, url: 'http://h:1', routes: /x}]", "1:49", &["must be a list"]);
    refused(
        "backends: [{name: a, url: 'http://h:1', routes: [5]}]",
        "1:50",
        &["must be a section with keys"],
    );
    refused(&route_text("deny: true"), "1:50", &["`backends[0].routes[0].path` is required"]);
}

#[test]
fn a_path_starts_with_a_slash_and_has_no_query() {
    for (path, why) in [
        ("api", "start with `/`"),
        ("/a?b", "no query"),
        ("/a#b", "no query"),
        ("'/a b'", "spaces"),
        ("\"/a\\0\"", "control"),
    ] {
        refused(&route_text(&format!("path: {path}")), "1:57", &["`backends[0].routes[0].path` is ", why]);
    }
}

#[test]
fn methods_are_upper_case_tokens() {
    refused(&route_text("path: /x, methods: [get]"), "1:71", &["upper-case, write GET"]);
    refused(&route_text("path: /x, methods: ['G T']"), "1:71", &["write a method such as GET"]);
    refused(&route_text("path: /x, methods: GET"), "1:70", &["must be a list, found text: write `[…]`"]);
}

#[test]
fn hosts_are_names_with_at_most_a_leading_wildcard() {
    for (host, why) in [
        ("*", "leave `hosts` out"),
        ("a.*.b", "only a leading"),
        ("http://a", "without scheme"),
        ("a:80", "without a port"),
        ("a_b..c", "not a host name"),
        ("*.10.0.0.1", "no subdomains"),
    ] {
        refused(
            &route_text(&format!("path: /x, hosts: ['{host}']")),
            "1:69",
            &["`backends[0].routes[0].hosts[0]`", why],
        );
    }
    assert_eq!(route("path: /x, hosts: ['[::1]', 10.0.0.1]").hosts, ["::1", "10.0.0.1"]);
}

#[test]
fn header_names_are_tokens_and_values_are_quoted() {
    refused(&route_text("path: /x, headers: {'a b': c}"), "1:71", &["is not a header name"]);
    refused(&route_text("path: /x, headers: {X-V: 2}"), "1:76", &["put it in quotes"]);
    refused(&route_text("path: /x, headers: {X-V: a, x-v: b}"), "1:79", &["twice, for case does not matter"]);
    refused(&route_text("path: /x, headers: {a: \"b\\nc\"}"), "1:74", &["cannot be sent in a header"]);
}

#[test]
fn prefixes_are_plain_paths() {
    for (prefix, why) in [
        ("api", "start with `/`"),
        ("/", "must not end with `/`"),
        ("/a/", "must not end"),
        ("/a/*", "no pattern"),
        ("/:a", "no pattern"),
        ("/a//b", "empty or dot"),
        ("/a/../b", "empty or dot"),
        ("'/a b'", "percent-encode"),
    ] {
        refused(
            &route_text(&format!("path: /x, addPrefix: {prefix}")),
            "1:72",
            &["`backends[0].routes[0].addPrefix`", why],
        );
    }
}

#[test]
fn a_prefix_that_is_never_there_is_a_warning() {
    refused(&route_text("path: /api/**, stripPrefix: /v1"), "1:79", &["warning", "never at the front"]);
    refused(&route_text("path: /api, stripPrefix: /api/v1"), "1:76", &["warning"]);
    for keys in [
        "path: /api/**, stripPrefix: /api/v1",
        "path: /api/x, stripPrefix: /api",
        "path: /:a/x, stripPrefix: /b",
    ] {
        assert!(lines(&route_text(keys)).is_empty(), "{keys}");
    }
}

#[test]
fn a_misspelt_key_of_a_route_is_found() {
    refused(&route_text("path: /x, stripPrefx: /a"), "1:61", &["did you mean `stripPrefix`?"]);
}
