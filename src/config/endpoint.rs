//! Sets of paths as a rate limit names them, turned into regular expressions over canonical paths.
//!
//! Owns the syntax of globs: `*` is any number of characters within a segment, none included, `?` one character
//! within a segment, `**` any number of characters across segments; everything else is itself. Whether an endpoint
//! is fit for use is judged by the readers; whoever matches requests compiles what this returns, and compares it with
//! paths in the form in which routes are found: without escapes of what may stand for itself. The readers write endpoints
//! in that form, but for `%2A`, which in a glob is no wildcard.

use aegis_actors::rate_limiter::settings::MatchType;

/// Bytes that one compiled expression may take. The readers refuse an endpoint that takes more; a set of several
/// needs a larger limit of its own.
pub const REGEX_SIZE_LIMIT: usize = 1 << 20;

/// The expression that finds something in exactly the paths that `endpoint` means.
pub fn endpoint_regex(kind: MatchType, endpoint: &str) -> String {
    match kind {
        MatchType::Exact => format!("^{}$", literal(endpoint)),
        MatchType::Prefix => format!("^{}", literal(endpoint)),
        MatchType::Glob => glob_to_regex(endpoint),
        MatchType::Regex => endpoint.to_owned(),
    }
}

/// [`endpoint_regex`] for one of `bypass.paths`.
pub fn bypass_regex(path: &str) -> String {
    endpoint_regex(path_or_glob(path), path)
}

/// One of `bypass.paths`: a glob where it has wildcards, else exactly that path.
pub fn path_or_glob(path: &str) -> MatchType {
    if path.contains(['*', '?']) { MatchType::Glob } else { MatchType::Exact }
}

/// The expression for a text that means itself.
fn literal(text: &str) -> String {
    regex::escape(text).replace("%2A", r"\*")
}

/// The expression for a glob, anchored at both ends.
pub fn glob_to_regex(glob: &str) -> String {
    let mut regex = regex::escape(glob).replace(r"\?", "[^/]");
    while regex.contains(r"\*\*\*") {
        regex = regex.replace(r"\*\*\*", r"\*\*");
    }
    let regex = regex.replace(r"\*\*", ".*").replace(r"\*", "[^/]*").replace("%2A", r"\*");
    format!("^{regex}$")
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    #[track_caller]
    fn judge(regex: &str, inside: &[&str], outside: &[&str]) {
        let compiled = Regex::new(regex).unwrap();
        for path in inside {
            assert!(compiled.is_match(path), "{regex} does not match {path}");
        }
        for path in outside {
            assert!(!compiled.is_match(path), "{regex} matches {path}");
        }
    }

    #[test]
    fn one_star_stays_within_a_segment_and_may_stand_for_nothing() {
        judge(
            &glob_to_regex("/api/v*/users/*"),
            &["/api/v1/users/7", "/api/v/users/", "/api/v2-beta/users/a.b"],
            &["/api/v1/x/users/7", "/api/v1/users/7/8", "/api/v1/users", "/x/api/v1/users/7"],
        );
    }

    #[test]
    fn two_stars_go_across_segments_and_more_are_the_same() {
        for glob in ["/a/**", "/a/***", "/a/****"] {
            judge(&glob_to_regex(glob), &["/a/b", "/a/b/c", "/a/"], &["/a", "/ab", "/b/a/c"]);
        }
        judge(&glob_to_regex("/**/x"), &["/a/x", "/a/b/x", "//x"], &["/x", "/a/xy"]);
        judge(&glob_to_regex("/a**b"), &["/ab", "/a/b", "/axb"], &["/a", "/abc"]);
        judge(&glob_to_regex("/**"), &["/", "/a", "/a/b"], &[""]);
    }

    #[test]
    fn a_question_mark_is_exactly_one_character_of_a_segment() {
        judge(&glob_to_regex("/v?/x"), &["/v1/x", "/v?/x"], &["/v/x", "/v12/x", "/v//x"]);
        judge(&glob_to_regex("/?*"), &["/a", "/abc"], &["/", "/a/b"]);
    }

    #[test]
    fn everything_else_in_a_glob_is_itself() {
        assert_eq!(glob_to_regex("/a.b+(c)|[d]{e}^$\\"), r"^/a\.b\+\(c\)\|\[d\]\{e\}\^\$\\$");
        judge(&glob_to_regex("/a.b/%C3%A9"), &["/a.b/%C3%A9"], &["/axb/%C3%A9", "/a.b/%C3%A9/"]);
        judge(&glob_to_regex(""), &[""], &["/"]);
    }

    #[test]
    fn an_escaped_star_is_that_character_and_no_wildcard() {
        judge(&endpoint_regex(MatchType::Exact, "/a%2Ab"), &["/a*b"], &["/ab", "/axb"]);
        judge(&endpoint_regex(MatchType::Prefix, "/%2A"), &["/*a"], &["/a"]);
        judge(&glob_to_regex("/%2A/*"), &["/*/a"], &["/x/a", "/%2A/a"]);
        judge(&glob_to_regex("/a%2Fb%3Bc/*"), &["/a%2Fb%3Bc/d"], &["/a/b;c/d"]);
        judge(&bypass_regex("/%2A"), &["/*"], &["/x", "/%2A"]);
    }

    #[test]
    fn every_kind_of_endpoint_has_its_expression() {
        judge(&endpoint_regex(MatchType::Exact, "/a.b/*"), &["/a.b/*"], &["/axb/*", "/a.b/c", "/a.b/*/"]);
        judge(&endpoint_regex(MatchType::Prefix, "/a.b"), &["/a.b", "/a.bc", "/a.b/c"], &["/axb", "/x/a.b"]);
        judge(&endpoint_regex(MatchType::Glob, "/a/*"), &["/a/b"], &["/a/b/c"]);
        judge(&endpoint_regex(MatchType::Regex, "/a(b|c)"), &["/ab", "/x/acd"], &["/ad"]);
    }

    #[test]
    fn a_bypass_path_is_exact_unless_it_has_wildcards() {
        judge(&bypass_regex("/status"), &["/status"], &["/status/x", "/statusx"]);
        judge(&bypass_regex("/public/**"), &["/public/a/b"], &["/public"]);
        judge(&bypass_regex("/v?"), &["/v1"], &["/v?x"]);
    }
}
