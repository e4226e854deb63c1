//! What a path means.

use std::borrow::Cow;

use proptest::prelude::*;

use super::*;
use EscapedSlash::{Keep, Reject};

fn path(raw: &str) -> String {
    canonicalise(raw, Reject).unwrap().path.into_owned()
}

fn refusal(raw: &str) -> BadPath {
    canonicalise(raw, Reject).unwrap_err()
}

#[test]
fn an_ordinary_path_is_borrowed_whole() {
    for raw in [
        "/",
        "/a",
        "/api/users/42",
        "/a/.well-known/x",
        "/...",
        "/a;b/c=1",
        "/a.b/..c/v1~",
        "/@x:y!$&'()*+,=",
    ] {
        let canonical = canonicalise(raw, Reject).unwrap();
        assert_eq!(
            canonical,
            Canonical { path: Cow::Borrowed(raw), rewritten: false, trailing_slash: raw == "/" }
        );
        assert!(matches!(canonical.path, Cow::Borrowed(_)), "{raw}");
    }
}

#[test]
fn a_trailing_slash_is_removed_without_a_copy_and_without_a_rewrite() {
    let canonical = canonicalise("/a/b/", Reject).unwrap();
    assert!(matches!(canonical.path, Cow::Borrowed("/a/b")));
    assert_eq!((canonical.rewritten, canonical.trailing_slash), (false, true));
}

#[test]
fn unreserved_escapes_are_decoded_and_the_upstream_still_gets_the_raw_bytes() {
    let canonical = canonicalise("/%61dmin/%7Eme/%2Ehidden", Reject).unwrap();
    assert_eq!(canonical.path, "/admin/~me/.hidden");
    assert!(!canonical.rewritten);
}

#[test]
fn other_escapes_stay_in_upper_case() {
    assert_eq!(path("/a%20b/%c3%a9/%40/%3a"), "/a%20b/%C3%A9/%40/%3A");
}

#[test]
fn characters_that_may_not_stand_raw_equal_their_escapes() {
    assert_eq!(path("/é|<x>"), "/%C3%A9%7C%3Cx%3E");
    assert_eq!(path("/é|<x>"), path("/%c3%A9%7c%3cx%3e"));
}

#[test]
fn slashes_and_dot_segments_are_resolved_and_the_upstream_gets_the_result() {
    for (raw, wanted, trailing_slash) in [
        ("//x", "/x", false),
        ("/a//b///c", "/a/b/c", false),
        ("/a//", "/a", true),
        ("/./a", "/a", false),
        ("/a/./b/.", "/a/b", true),
        ("/a/../b", "/b", false),
        ("/a/b/..", "/a", true),
        ("/a/..", "/", true),
        ("//", "/", true),
        ("/x/..//admin", "/admin", false),
        ("/a%2Db/../c%2Dd", "/c-d", false),
    ] {
        let canonical = canonicalise(raw, Reject).unwrap();
        assert_eq!((&*canonical.path, canonical.trailing_slash), (wanted, trailing_slash), "{raw}");
        assert!(canonical.rewritten, "{raw}");
    }
}

#[test]
fn query_and_fragment_are_not_judged() {
    assert_eq!(path("/a?%"), "/a");
    assert_eq!(path("/a?x=/../.."), "/a");
    assert!(!canonicalise("/a?x", Reject).unwrap().rewritten);
    assert!(canonicalise("/a#x", Reject).unwrap().rewritten);
}

#[test]
fn an_empty_path_is_the_root() {
    let canonical = canonicalise("", Reject).unwrap();
    assert_eq!((&*canonical.path, canonical.rewritten), ("/", true));
}

#[test]
fn a_double_escape_stays_literal_text() {
    assert_eq!(path("/x/%252e%252e/admin"), "/x/%252e%252e/admin");
    assert_eq!(path("/%2561dmin"), "/%2561dmin");
}

#[test]
fn each_dangerous_path_is_refused_for_its_own_reason() {
    use BadPath::*;
    for (raw, wanted) in [
        ("*", NotAbsolute),
        ("a/b", NotAbsolute),
        ("/a%00", Nul),
        ("/a\0", Nul),
        ("/a%0d%0ab", Control('\r')),
        ("/a%7f", Control('\x7f')),
        ("/a\tb", Control('\t')),
        ("/a%c2%85", Control('\u{85}')),
        ("/a\u{9b}", Control('\u{9b}')),
        ("/a\\b", Backslash),
        ("/a%2fb", EscapedSlash),
        ("/a%2Fb", EscapedSlash),
        ("/a%5cb", EscapedSlash),
        ("/%", MalformedEscape),
        ("/%4", MalformedEscape),
        ("/%zz", MalformedEscape),
        ("/%+4", MalformedEscape),
        ("/%c3%a", MalformedEscape),
        ("/%u002f", MalformedEscape),
        ("/%c0%ae%c0%ae/x", InvalidUtf8),
        ("/%c0%af", InvalidUtf8),
        ("/%e0%80%af", InvalidUtf8),
        ("/%ff", InvalidUtf8),
        ("/%c3", InvalidUtf8),
        ("/%c3x%a9", InvalidUtf8),
        ("/%ed%a0%80", InvalidUtf8),
        ("/a/%2e%2e/b", EscapedDotSegment),
        ("/a/.%2E/b", EscapedDotSegment),
        ("/%2e", EscapedDotSegment),
        ("/a/..;/b", DotSegmentParameters),
        ("/a/.;x=1", DotSegmentParameters),
        ("/a/%2e%2e;/b", DotSegmentParameters),
        ("/a/..%3bx/b", DotSegmentParameters),
        ("/;/admin", EmptySegmentParameters),
        ("/%3bx/admin", EmptySegmentParameters),
        ("/..", AboveRoot),
        ("/../x", AboveRoot),
        ("/a/../../x", AboveRoot),
    ] {
        assert_eq!(refusal(raw), wanted, "{raw:?}");
    }
}

#[test]
fn a_refused_segment_is_refused_even_when_a_dot_segment_would_drop_it() {
    assert_eq!(refusal("/a%00/../b"), BadPath::Nul);
}

#[test]
fn parameters_of_ordinary_segments_and_of_a_final_empty_one_are_kept() {
    assert_eq!(path("/anything/semi;colon=1"), "/anything/semi;colon=1");
    assert_eq!(path("/app/;jsessionid=1"), "/app/;jsessionid=1");
}

#[test]
fn a_kept_separator_may_not_hide_a_dot_segment() {
    assert_eq!(canonicalise("/a%2fb%5cc", Keep).unwrap().path, "/a%2Fb%5Cc");
    for raw in ["/public/..%2fadmin", "/a%2f..", "/a%2F.%2Fb", "/x%5c..%5cadmin", "/a%2f%2e%2e%2fb"] {
        assert_eq!(canonicalise(raw, Keep), Err(BadPath::EscapedDotSegment), "{raw}");
    }
    assert_eq!(canonicalise("/a%2f..;x", Keep), Err(BadPath::DotSegmentParameters));
}

/// Paths made of the pieces that matter.
fn hostile() -> impl Strategy<Value = String> {
    let piece = proptest::sample::select(vec![
        "/", "/", "a", "b", ".", "..", ";", "%", "%2e", "%2E", "%2f", "%2F", "%5C", "%3b", "%61", "%c3%a9",
        "%c0", "é", "%25", "25", "?", "#", " ", "\\", "%00", "\u{85}", "%40", "@", "*",
    ]);
    proptest::collection::vec(piece, 0..14).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn canonicalising_twice_changes_nothing(raw in hostile(), keep in any::<bool>()) {
        let slash = if keep { Keep } else { Reject };
        if let Ok(first) = canonicalise(&raw, slash) {
            let second = canonicalise(&first.path, slash).unwrap();
            prop_assert_eq!(&second.path, &first.path);
            prop_assert!(!second.rewritten);
        }
    }

    #[test]
    fn a_canonical_path_has_no_structure_left_to_resolve(raw in hostile()) {
        if let Ok(canonical) = canonicalise(&raw, Reject) {
            let path = canonical.path;
            prop_assert!(path.starts_with('/'));
            prop_assert!(path == "/" || path[1..].split('/').all(|s| !matches!(s, "" | "." | "..")));
            prop_assert!(!path.contains(['\\', '?', '#', ' ']) && path.is_ascii());
        }
    }

    #[test]
    fn no_string_makes_it_panic(raw in ".{0,40}", hostile in hostile()) {
        for raw in [raw, hostile] {
            let _ = (canonicalise(&raw, Keep), canonicalise(&raw, Reject), readings(&raw));
            let _ = Pattern::parse(&raw);
            let router = patterns(&["/**", "/a/**/b/**/c", "/v*"]);
            let facts = RequestFacts { method: &raw, host: &raw, path: &raw, trailing_slash: false, headers: &() };
            let _ = router.find(&facts);
        }
    }
}
