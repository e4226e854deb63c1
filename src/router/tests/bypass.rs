//! Paths that servers read in more than one way must not reach an upstream past a denied prefix.

use super::*;

fn guarded() -> Router<&'static str> {
    router(vec![
        RouteSpec { payload: "open", ..route("/**") },
        RouteSpec { payload: "deny", ..route("/admin") },
        RouteSpec { payload: "deny", ..route("/admin/**") },
    ])
}

/// Every spelling of the probe suite and some more; `@` is the prefix.
const SPELLINGS: &[&str] = &[
    "/@",
    "/@/",
    "//@",
    "///@/x",
    "/./@/x",
    "/@/./x",
    "/x/../@/x",
    "/x/..//@",
    "/../@",
    "/x/y/../../@",
    "/.//@",
    "/%2e/@",
    "/x/%2e%2e/@",
    "/x/%2E%2E%2F@",
    "/x%2f..%2f@",
    "/%2f@",
    "/%2F/@",
    "/x/..%2f@",
    "/x/..;/@",
    "/;/@",
    "/;a=b/@/x",
    "/@;/x",
    "/@;a=b",
    "/@%3b/x",
    "/x/.%2e/@",
    "/x/%2e./@",
    "/@%2fx",
    "/@%2Fx",
    "/@%00",
    "/@%00.css",
    "/@%09",
    "/@/..;/@/x",
    "/@/x?a=/../..",
    "/@?x",
    "/@#x",
    "/x/\\..\\@",
    "/\\@",
    "/x\\..\\@",
    "/%5c@",
    "/x/..%5c@",
    "/%c0%ae%c0%ae/@",
    "/x/..%c0%af@",
    "/%2e%2e/@",
    "/@/%2e%2e/@/x",
    "/x/.%00./@",
    "/@/.%2fx",
    "/%20/../@",
    "/%61dmin",
    "/%61%64%6d%69%6e",
    "/admi%6E/x",
    "/@;x%2Fy",
    "/@%3Bx;y/z",
    "/@%5cx",
    "/%2f%2f@/x",
    "/@/;x",
    "/@;/..%3b/x",
];

#[test]
fn no_spelling_of_a_denied_prefix_reaches_the_open_route() {
    let router = guarded();
    for spelling in SPELLINGS {
        let path = spelling.replace('@', "admin");
        for slash in [EscapedSlash::Reject, EscapedSlash::Keep] {
            let found = outcome_with(&router, "GET", &path, &[], slash);
            assert!(matches!(found.as_str(), "deny" | "400"), "{path} ({slash:?}): {found}");
        }
    }
}

#[test]
fn text_that_no_server_reads_as_the_prefix_is_forwarded() {
    let router = guarded();
    for path in [
        "/admin%20",
        "/admin.",
        "/admin../x",
        "/admin..;/x",
        "/%2561dmin",
        "/x/%252e%252e/admin",
        "/x/...//admin",
        "/anything/semi;colon=1",
        "/anything/a%20b/%C3%A9",
        "/app/;jsessionid=1",
        "/<script>",
        "/%E5%98%8A%E5%98%8DSet-Cookie:evil=1",
    ] {
        assert_eq!(get(&router, path), "open", "{path}");
    }
}

#[test]
fn parameters_are_forwarded_when_both_readings_lead_to_one_route() {
    let router = patterns(&["/users/:id", "/users/:id/posts", "/users/me"]);
    assert_eq!(get(&router, "/users/7;v=1"), "/users/:id");
    assert_eq!(get(&router, "/users/7;v=1/posts"), "/users/:id/posts");
    assert_eq!(get(&router, "/users/me;v=1"), "400");
    assert_eq!(get(&router, "/users;v=1/7"), "404");
}

#[test]
fn parameters_that_leave_a_path_without_a_route_are_ambiguous() {
    let router = patterns(&["/files/*.json"]);
    assert_eq!(get(&router, "/files/a.json"), "/files/*.json");
    assert_eq!(get(&router, "/files/secret;.json"), "400");
}

#[test]
fn a_kept_slash_stays_in_its_segment_unless_another_route_would_take_the_path() {
    let router = patterns(&["/projects/:id", "/projects/:id/issues", "/projects/group/hidden"]);
    assert_eq!(get_keeping_slashes(&router, "/projects/group%2Fname"), "/projects/:id");
    assert_eq!(get_keeping_slashes(&router, "/projects/group%2fname/issues"), "/projects/:id/issues");
    assert_eq!(get_keeping_slashes(&router, "/projects/group%2Fhidden"), "400");
    assert_eq!(get_keeping_slashes(&router, "/projects/group%5Chidden"), "400");
    assert_eq!(get_keeping_slashes(&router, "/projects/group;x%2Fhidden"), "400");
    assert_eq!(get(&router, "/projects/group%2Fname"), "400");
}

#[test]
fn a_kept_slash_under_one_route_for_everything_is_forwarded() {
    assert_eq!(get_keeping_slashes(&patterns(&["/**"]), "/anything/a%2Fb"), "/**");
}

#[test]
fn readings_are_none_for_paths_without_parameters_and_kept_separators() {
    for path in ["/", "/a/b", "/a%20b", "/%40"] {
        assert_eq!(readings(path), []);
    }
    let all: Vec<_> = readings("/a;x/b%2Fc").into_iter().map(|reading| reading.path).collect();
    assert_eq!(all, ["/a/b%2Fc", "/a;x/b/c", "/a/b/c"]);
}
