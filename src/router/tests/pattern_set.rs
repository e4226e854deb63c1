//! Sets of patterns: all that match, and only what matches in every reading.

use proptest::prelude::*;
use proptest::sample::select;

use super::reference::{path_fits, split};
use super::*;

fn set(patterns: &[&str]) -> PatternSet {
    PatternSet::new(&owned(patterns)).unwrap()
}

/// The patterns that match the raw path, in their order.
fn all<'p>(patterns: &[&'p str], raw: &str) -> Vec<&'p str> {
    let canonical = canonicalise(raw, EscapedSlash::Keep).unwrap();
    let mut found = Vec::new();
    set(patterns).matching(&canonical.path, canonical.trailing_slash, &mut |index| found.push(index));
    found.sort_unstable();
    found.dedup();
    assert_eq!(set(patterns).any(&canonical.path, canonical.trailing_slash), !found.is_empty(), "{raw}");
    found.into_iter().map(|index| patterns[index]).collect()
}

#[test]
fn every_pattern_that_matches_is_visited() {
    let patterns =
        ["/**", "/api/**", "/api/users", "/api/:x", "/api/*", "/api/u*", "/api/users/:id", "/", "/api/users"];
    let users = ["/**", "/api/**", "/api/users", "/api/:x", "/api/*", "/api/u*", "/api/users"];
    assert_eq!(all(&patterns, "/api/users"), users);
    assert_eq!(all(&patterns, "/api/users/7"), ["/**", "/api/**", "/api/users/:id"]);
    assert_eq!(all(&patterns, "/api"), ["/**"]);
    assert_eq!(all(&patterns, "/api/"), ["/**", "/api/**"]);
    assert_eq!(all(&patterns, "/"), ["/**", "/"]);
    assert_eq!(all(&[], "/x"), Vec::<&str>::new());
}

#[test]
fn every_bad_pattern_is_told_by_its_index() {
    let errors = PatternSet::new(&owned(&["/a", "b", "/c/", "/d"])).unwrap_err();
    let indices: Vec<_> = errors.iter().map(|(index, _)| *index).collect();
    assert_eq!(indices, [1, 2]);
    assert_eq!(errors[0].1, PatternError::NotAbsolute("b".into()));
}

#[test]
fn a_pattern_matches_only_where_it_matches_every_reading() {
    let patterns = ["/public/**", "/public/:file", "/users/:id", "/users/me", "/@me", "/files/*.json"];
    for (path, expected) in [
        ("/users/7;v=1", &["/users/:id"][..]),
        // A server that cuts parameters sees `/users/me`, one that does not sees another name.
        ("/users/me;v=1", &["/users/:id"]),
        ("/users;v=1/7", &[]),
        ("/public/a%2Fb", &["/public/**"]),
        ("/public/a%2Fb%5Cc", &["/public/**"]),
        ("/public/a", &["/public/**", "/public/:file"]),
        ("/public%2Fa", &[]),
        ("/public;x/a", &[]),
        ("/public%3Bx/a", &[]),
        // One reading, in two spellings.
        ("/%40me", &["/@me"]),
        ("/users/a%20b", &["/users/:id"]),
        ("/files/secret;.json", &[]),
        ("/files/a%2F.json", &[]),
        ("/files/a.json", &["/files/*.json"]),
    ] {
        assert_eq!(all(&patterns, path), expected, "{path}");
    }
}

#[test]
fn a_slash_that_only_a_reading_has_lets_nothing_in_that_the_path_alone_would_not() {
    // `/a/;x` ends in a slash where parameters are cut.
    assert_eq!(all(&["/a/**", "/a"], "/a/;x"), ["/a/**"]);
    assert_eq!(all(&["/a/**"], "/a;x/"), Vec::<&str>::new());
}

#[test]
fn the_search_ends_with_the_first_pattern_that_is_wanted() {
    let set = set(&["/a", "/**", "/*"]);
    for path in ["/a", "/a;x"] {
        let mut asked = Vec::new();
        let found = set.find(path, false, &mut |index| {
            asked.push(index);
            index == 1
        });
        assert_eq!((found, asked.last()), (Some(1), Some(&1)), "{path}");
        assert_eq!(set.find(path, false, &mut |_| false), None);
    }
}

#[test]
fn ten_thousand_patterns_are_searched_by_visiting_those_that_match() {
    let mut patterns: Vec<String> = (0..10_000).map(|n| format!("/s{n}/:id/x*")).collect();
    patterns.push("/**".into());
    let set = PatternSet::new(&patterns).unwrap();
    let mut visited = Vec::new();
    set.matching("/s77/5/xyz", false, &mut |index| visited.push(index));
    visited.sort_unstable();
    assert_eq!(visited, [77, 10_000]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn the_set_finds_what_trying_every_pattern_on_every_reading_finds(
        patterns in proptest::collection::vec(
            proptest::collection::vec(select(vec!["a", "b", "ab", "*", "**", "a*", "*b", "*a*b", "**"]), 0..5),
            1..25,
        ),
        paths in proptest::collection::vec((
            proptest::collection::vec(
                select(vec!["a", "b", "ab", "aab", "a;b", "ab;", "b%3Ba", "a%2Fb", "a%5Cb%2Fa", "%20"]), 0..6),
            any::<bool>(),
        ), 8),
    ) {
        let patterns: Vec<String> = patterns.iter().map(|segments| format!("/{}", segments.join("/"))).collect();
        let set = PatternSet::new(&patterns).unwrap();
        for (segments, trailing_slash) in paths {
            let path = format!("/{}", segments.join("/"));
            let mut read = vec![(path.clone(), trailing_slash)];
            read.extend(readings(&path).into_iter().map(|r| (r.path, r.trailing_slash || trailing_slash)));
            let fits = |pattern: &String| read.iter().all(|(path, slash)| {
                path_fits(&split(pattern), &split(path), *slash || path == "/")
            });
            let expected: Vec<usize> = (0..patterns.len()).filter(|index| fits(&patterns[*index])).collect();
            let mut found = Vec::new();
            set.matching(&path, trailing_slash, &mut |index| found.push(index));
            found.sort_unstable();
            found.dedup();
            prop_assert_eq!(set.any(&path, trailing_slash), !expected.is_empty());
            prop_assert_eq!(found, expected, "{}", path);
        }
    }
}
