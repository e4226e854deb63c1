//! Which route a request takes, and what is said when there is none (sections 5 and 7; A3).

use crate::harness::{Backend, Builder, Call, Gateway, Upstream};

/// A gateway in front of upstreams that answer with their names; one backend for each `(name, routes)`.
fn named(backends: &[(&'static str, &[&str])]) -> (Vec<Upstream>, Builder) {
    let upstreams: Vec<_> = backends.iter().map(|(name, _)| Upstream::ok(name)).collect();
    let mut builder = Gateway::builder();
    for ((name, routes), upstream) in backends.iter().zip(&upstreams) {
        let backend = routes.iter().fold(Backend::named(name).to(upstream), |b, route| b.route(route));
        builder = builder.backend(backend);
    }
    (upstreams, builder)
}

#[test]
fn a_path_without_a_route_is_404_no_route_with_a_problem_body() {
    let (upstreams, builder) = named(&[("api", &["/api/**"])]);
    let gateway = builder.start();
    for target in ["/nothing", "/", "/api", "/apix/y", "/API/x"] {
        gateway.get(target).assert_problem(404, "no_route");
    }
    assert_eq!(upstreams[0].count(), 0);
}

#[test]
fn a_route_for_other_methods_only_is_405_with_all_of_them_in_allow() {
    let routes: &[&str] = &["{path: /items, methods: [GET, POST]}", "{path: /items, methods: [DELETE]}"];
    let (upstreams, builder) = named(&[("items", routes)]);
    let gateway = builder.start();
    for method in ["PUT", "PATCH", "BREW"] {
        let response = gateway.send(&Call::new(method, "/items"));
        response.assert_problem(405, "method_not_allowed");
        for allowed in ["GET", "POST", "DELETE"] {
            assert!(response.head.lists("allow", allowed), "{:?}", response.head);
        }
        assert!(!response.head.lists("allow", method));
    }
    assert_eq!(upstreams[0].count(), 0);
    for method in ["GET", "POST", "DELETE"] {
        assert_eq!(gateway.send(&Call::new(method, "/items")).status, 200, "{method}");
    }
}

#[test]
fn the_most_specific_pattern_wins_whatever_the_order_in_the_file() {
    let (_upstreams, builder) = named(&[
        ("all", &["/**"]),
        ("api", &["/api/**"]),
        ("any", &["/api/*"]),
        ("id", &["/api/users/:id"]),
        ("users", &["/api/users"]),
        ("me", &["/api/users/me"]),
        ("orders", &["/api/users/:id/orders"]),
        ("versions", &["/v*/status"]),
    ]);
    let gateway = builder.start();
    for (target, owner) in [
        ("/other/place", "all"),
        ("/api/a/b", "api"),
        ("/api/things", "any"),
        ("/api/users", "users"),
        ("/api/users/", "users"),
        ("/api/users?x=/api/things", "users"),
        ("/api/users/7", "id"),
        ("/api/users/me", "me"),
        ("/api/users/7/orders", "orders"),
        ("/api/users/7/other", "api"),
        ("/v2/status", "versions"),
        ("/v2/other", "all"),
        ("/%61pi/users", "users"),
        ("//api//users", "users"),
        ("/x/../api/users/./me", "me"),
    ] {
        assert_eq!(gateway.get(target).text(), owner, "{target}");
    }
}

#[test]
fn priority_beats_specificity() {
    let (_upstreams, builder) =
        named(&[("exact", &["/api/users"]), ("wide", &["{path: /api/**, priority: 10}"])]);
    assert_eq!(builder.start().get("/api/users").text(), "wide");
}

#[test]
fn hosts_are_matched_exactly_or_by_suffix_and_without_regard_to_case_or_port() {
    let (_upstreams, builder) = named(&[
        ("exact", &["{path: /**, hosts: [api.example.com]}"]),
        ("suffix", &["{path: /**, hosts: [\"*.example.org\"]}"]),
    ]);
    let gateway = builder.start();
    for (host, owner) in [
        ("api.example.com", Some("exact")),
        ("API.Example.COM", Some("exact")),
        ("api.example.com:8080", Some("exact")),
        ("a.example.org", Some("suffix")),
        ("example.org", None),
        ("notexample.org", None),
        ("evil.test", None),
    ] {
        let response = gateway.send(&Call::get("/x").header("Host", host));
        match owner {
            Some(owner) => assert_eq!(response.text(), owner, "{host}"),
            None => response.assert_problem(404, "no_route"),
        }
    }
}

#[test]
fn a_route_may_ask_for_a_header_value() {
    let (_upstreams, builder) =
        named(&[("two", &["{path: /x, headers: {x-version: \"2\"}}"]), ("any", &["/**"])]);
    let gateway = builder.start();
    for (value, owner) in [("2", "two"), ("3", "any"), ("22", "any")] {
        assert_eq!(gateway.send(&Call::get("/x").header("X-Version", value)).text(), owner, "{value}");
    }
    assert_eq!(gateway.get("/x").text(), "any");
}

#[test]
fn methods_choose_between_routes_of_one_path() {
    let (_upstreams, builder) =
        named(&[("read", &["{path: /x, methods: [GET]}"]), ("write", &["{path: /x, methods: [POST]}"])]);
    let gateway = builder.start();
    assert_eq!(gateway.get("/x").text(), "read");
    assert_eq!(gateway.send(&Call::post("/x", "")).text(), "write");
}

#[test]
fn a_prefix_can_be_stripped_and_another_added_and_the_query_stays() {
    let upstream = Upstream::echo();
    let gateway = Gateway::with(
        Backend::named("main")
            .to(&upstream)
            .route("{path: /api/**, stripPrefix: /api}")
            .route("{path: /old/**, addPrefix: /v1}")
            .route("{path: /both/**, stripPrefix: /both, addPrefix: /v2}"),
    );
    for (asked, seen) in [
        ("/api/users?a=1", "/users?a=1"),
        ("/api/a%20b", "/a%20b"),
        ("/old/x", "/v1/old/x"),
        ("/both/x/y?q", "/v2/x/y?q"),
    ] {
        assert_eq!(gateway.get(asked).json()["target"], seen, "{asked}");
    }
}

#[test]
fn the_target_of_an_absolute_form_request_wins_over_its_host_header() {
    let (_upstreams, builder) =
        named(&[("a", &["{path: /**, hosts: [a.test]}"]), ("b", &["{path: /**, hosts: [b.test]}"])]);
    let gateway = builder.start();
    assert_eq!(gateway.send(&Call::get("http://b.test/x").header("Host", "a.test")).text(), "b");
}

#[test]
fn the_gateway_listener_answers_health_and_ready_itself() {
    let (upstreams, builder) = named(&[("all", &["/**"])]);
    let gateway = builder.start();
    for target in ["/health", "/healthz", "/ready"] {
        assert_eq!(gateway.get(target).status, 200, "{target}");
    }
    assert_eq!(upstreams[0].count(), 0, "internal endpoints are never proxied");
}
