//! One canonical path for everybody who judges a request, and the upstream sees no other (section 5; A3).

use crate::harness::{Backend, Gateway, Upstream};

#[test]
fn paths_that_two_parsers_could_read_in_two_ways_are_400_bad_path() {
    let upstream = Upstream::echo();
    let gateway = Gateway::with(Backend::all(&upstream));
    let bad = [
        "/%00",
        "/a%00b",
        "/a%01b",
        "/a%0ab",
        "/a%0d%0ab",
        "/a%1fb",
        "/a%7fb", // control characters
        "/a\\b",
        "/a%5cb",
        "/a%5Cb",
        "/x/..\\admin", // backslashes
        "/a%2fb",
        "/a%2Fb",
        "/public/..%2fadmin",
        "/%2f/x", // escaped slashes
        "/%c0%ae",
        "/%c0%af",
        "/%e0%80%af",
        "/%ff",
        "/%c3%28",
        "/%ed%a0%80", // not UTF-8
        "/%2e",
        "/a/%2e%2e/b",
        "/a/.%2e/b",
        "/a/%2E./b",
        "/x/%2e%2e/admin", // dots after decoding only
        "/x/..;/admin",
        "/x/..;a=b/admin",
        "/x/.;/admin", // dot segments with parameters
        "/..",
        "/../a",
        "/a/../../b",
        "/./../a",
        "//../a", // above the root
    ];
    let mut wrong = Vec::new();
    for target in bad {
        if let Err(problem) = gateway.get(target).check_problem(400, "bad_path") {
            wrong.push(format!("{target}: {problem}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(upstream.count(), 0);
}

#[test]
fn the_upstream_sees_the_canonical_path_where_the_two_would_differ() {
    let upstream = Upstream::echo();
    let gateway = Gateway::with(Backend::all(&upstream));
    for (asked, seen) in [
        ("//x", "/x"),
        ("/x//y///z", "/x/y/z"),
        ("/a/../b", "/b"),
        ("/a/./b", "/a/b"),
        ("/./a", "/a"),
        ("/a/b/../../c", "/c"),
        ("/a/../b?x=//y/../z", "/b?x=//y/../z"),
        ("//a%20b", "/a%20b"),
    ] {
        assert_eq!(gateway.get(asked).json()["target"], seen, "{asked}");
    }
}

#[test]
fn what_needs_no_mending_reaches_the_upstream_byte_for_byte() {
    let upstream = Upstream::echo();
    let gateway = Gateway::with(Backend::all(&upstream));
    for target in [
        "/a%20b?x=%2F&y",
        "/caf%C3%A9",
        "/a?",
        "/a?%",
        "/a?b?c",
        "/a?x=%00&y=..%2f",
        "/semi;colon=1",
        "/~tilde'quote(1)!$&*+,=:@",
        "/UPPER/lower",
        "/a%3Fb%23c",
        "/...",
        "/a..b",
    ] {
        assert_eq!(gateway.get(target).json()["target"], target);
    }
}

#[test]
fn a_denied_route_is_403_denied_however_its_path_is_spelled() {
    let upstream = Upstream::echo();
    let backend =
        Backend::all(&upstream).route("{path: /admin, deny: true}").route("{path: /admin/**, deny: true}");
    let gateway = Gateway::with(backend);
    for target in [
        "/admin",
        "/admin/",
        "/admin/x",
        "/admin?x",
        "//admin",
        "/admin//x",
        "/%61dmin",
        "/adm%69n/x",
        "/x/../admin",
        "/./admin",
        "/x/./../admin/y",
        "http://a.test/admin",
    ] {
        gateway.get(target).assert_problem(403, "denied");
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(gateway.get("/administrator").status, 200);
}

#[test]
fn escaped_slashes_can_be_kept_as_part_of_a_segment() {
    let upstream = Upstream::echo();
    let backend =
        Backend::named("main").to(&upstream).route("/files/:name").route("{path: /admin/**, deny: true}");
    let gateway = Gateway::builder().server("paths: {escapedSlash: keep}").backend(backend).start();
    assert_eq!(gateway.get("/files/a%2Fb").json()["target"], "/files/a%2Fb");
    gateway.get("/files%2Fa").assert_problem(404, "no_route");
    for target in ["/files/..%2fadmin", "/files/%2e%2e%2fadmin"] {
        let response = gateway.get(target);
        let same = response.status == 200 && response.json()["target"] == target;
        assert!(same || response.reason() == Some("bad_path"), "{target}: {response:?}");
    }
}
