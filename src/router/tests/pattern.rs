//! What a pattern means, and what is wrong with one.

use super::*;

fn specificity(pattern: &str) -> i64 {
    Pattern::parse(pattern).unwrap().specificity()
}

fn message(pattern: &str) -> String {
    Pattern::parse(pattern).unwrap_err().to_string()
}

#[test]
fn specificity_is_as_the_contract_gives_it() {
    for (pattern, wanted) in [
        ("/api/users", 220),
        ("/api/users/:id", 315),
        ("/api/*", 200),
        ("/api/**", 160),
        ("/v*/x", 200),
        ("/**", 50),
        ("/", 0),
    ] {
        assert_eq!(specificity(pattern), wanted, "{pattern}");
    }
}

#[test]
fn literal_characters_leave_out_slashes_and_names() {
    assert_eq!(Pattern::parse("/api/v*/:id/**").unwrap().literal_characters(), 4);
}

#[test]
fn escapes_in_patterns_are_normalised_as_in_paths() {
    let literal = |pattern: &str| match Pattern::parse(pattern).unwrap().segments() {
        [Segment::Literal(text)] => text.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(literal("/%61%7e"), "a~");
    assert_eq!(literal("/caf%c3%a9"), literal("/café"));
    assert_eq!(literal("/%3Aid"), ":id");
    assert_eq!(literal("/a%2Ab"), "a*b");
    assert_eq!(literal("/a%20b"), "a%20b");
}

#[test]
fn each_error_says_how_to_mend_it() {
    for (pattern, wanted) in [
        ("api", "write `/api`"),
        ("/a//b", "drop the doubled slash"),
        ("/api/", "write `/api`, or `/api/**`"),
        ("/a/./b", "dot segment"),
        ("/a/%2e%2e", "dot segment"),
        ("/:", "write `:id`"),
        ("/:a.b", "`.` in its name"),
        ("/:id/:id", "named twice"),
        ("/a**", "segment of its own"),
        ("/***", "segment of its own"),
        ("/a?b", "`%3F`"),
        ("/a#b", "`%23`"),
        ("/a b", "`%20`"),
        ("/a\\b", "`/`"),
        ("/{id}", "`:name` for a parameter, or `%7B`"),
        ("/a;b", "path parameter"),
        ("/a%3bb", "path parameter"),
        ("/a%2fb", "`*` or `:name`"),
        ("/a%zz", "two hex digits"),
        ("/%c0%ae", "UTF-8"),
        ("/a%00", "NUL"),
        ("/a\tb", "U+0009"),
    ] {
        assert!(message(pattern).contains(wanted), "{pattern}: {}", message(pattern));
    }
    assert!(message(&"/a".repeat(129)).contains("129"));
}

#[test]
fn every_bad_route_is_named_by_its_index() {
    let bad_host = RouteSpec { hosts: owned(&["a.*.b"]), ..route("/ok") };
    let errors = Router::build(vec![route("/ok"), route("bad"), bad_host]).unwrap_err();
    assert_eq!(errors.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn hosts_are_names_without_scheme_and_port() {
    for (host, wanted) in [
        ("", "empty"),
        ("a..b", "empty"),
        ("*", "no host for every host"),
        ("*.a.*", "leading `*.`"),
        ("a.test:80", "port"),
        ("http://a.test", "port"),
        ("exämple.com", "punycode"),
    ] {
        let error = HostPattern::parse(host).unwrap_err().to_string();
        assert!(error.contains(wanted), "{host}: {error}");
    }
    assert_eq!(HostPattern::parse("*.Example.COM.").unwrap().to_string(), "*.example.com");
    assert_eq!(HostPattern::parse("[::1]").unwrap().to_string(), "::1");
}
