//! `rateLimit.rules`.

use aegis_actors::rate_limiter::settings::*;

use super::rate_limit::{limit, section, settings};
use super::*;

/// A configuration with one rule `a`, whose further keys start on line 2 in column 29.
fn rule_text(keys: &str) -> String {
    section(&format!("rules: [{{id: a, {keys}}}]"))
}

/// The same, with these keys in `match`, from column 37.
fn match_text(keys: &str) -> String {
    rule_text(&format!("match: {{{keys}}}"))
}

#[track_caller]
fn rule(keys: &str) -> Rule {
    good(&rule_text(keys)).settings.rate_limit.unwrap().rules.remove(0)
}

#[test]
fn a_rule_takes_from_the_default_what_it_does_not_say() {
    let keys = "defaultAlgorithm: slidingWindow, defaultRequests: 9, defaultWindowSeconds: 5, defaultBurst: 3, keyStrategy: ip, \
                rules: [{id: a}, {id: b, match: {}, rateLimit: {requests: 4}}]";
    let text = section(keys);
    let rules = inspect("a.yaml", &text, &alone()).verdict().unwrap().settings.rate_limit.unwrap().rules;
    let expected = Rule {
        id: "a".into(),
        priority: 0,
        matches: Match::default(),
        rate_limit: RuleLimit { limit: limit(Algorithm::SlidingWindow, 9, 5, 0), cost: 1 },
        key: None,
        shadow: false,
        on_error: None,
    };
    assert_eq!(rules[0], expected);
    assert_eq!(
        rules[1],
        Rule {
            id: "b".into(),
            rate_limit: RuleLimit { limit: limit(Algorithm::SlidingWindow, 4, 5, 0), cost: 1 },
            ..expected
        }
    );
}

#[test]
fn every_key_of_a_rule_is_read() {
    let rule = rule(
        "priority: -5, match: {endpoint: '/a/*', endpointMatchType: glob, methods: [GET, PUT, GET], \
         hosts: [API.example.com, '*.example.org'], tiers: [pro], \
         userIds: [u1, 'auth0|7', u1], apiKeys: [k1]}, \
         rateLimit: {algorithm: token-bucket, requests: 5, windowSeconds: 2h, burst: 6, cost: 11}, key: userEndpoint, \
         shadow: true, onError: allow",
    );
    let expected = Rule {
        id: "a".into(),
        priority: -5,
        matches: Match {
            endpoint: Some("/a/*".into()),
            endpoint_match_type: Some(MatchType::Glob),
            methods: vec!["GET".into(), "PUT".into()],
            hosts: vec!["api.example.com".into(), "*.example.org".into()],
            tiers: vec!["pro".into()],
            user_ids: vec!["u1".into(), "auth0|7".into()],
            api_keys: vec!["k1".into()],
        },
        rate_limit: RuleLimit { limit: limit(Algorithm::TokenBucket, 5, 7200, 6), cost: 11 },
        key: Some(KeyStrategy::UserEndpoint),
        shadow: true,
        on_error: Some(OnError::Allow),
    };
    assert_eq!(rule, expected);
}

#[test]
fn ids_are_there_unique_plain_and_not_the_gateways_own() {
    refused(
        &section("rules: [{priority: 1}]"),
        "2:21",
        &["`rateLimit.rules[0].id` is required", "unique id"],
    );
    refused(
        &section("rules: [{id: a, priority: 1}, {id: a, rateLimit: {requests: 1}}]"),
        "2:48",
        &["`rateLimit.rules[1].id` is the id of `rateLimit.rules[0]` already, \"a\": ids must differ"],
    );
    for id in ["default", "'tier:pro'"] {
        refused(
            &section(&format!("rules: [{{id: {id}}}]")),
            "2:26",
            &["is the gateway's own label", "rename the rule"],
        );
    }
    for id in [
        "''".to_owned(),
        "'a b'".to_owned(),
        "a/b".to_owned(),
        "'a{b}'".to_owned(),
        "é".to_owned(),
        "x".repeat(65),
    ] {
        refused(&section(&format!("rules: [{{id: {id}}}]")), "2:26", &["must be 1 to 64 of the characters"]);
    }
    assert_eq!(settings("rules: [{id: A.b_c-9}]").rules[0].id, "A.b_c-9");
    refused(&section("rules: [5]"), "2:21", &["`rateLimit.rules[0]` must be a section with keys"]);
    refused(&section("rules: {a: {}}"), "2:20", &["`rateLimit.rules` must be a list"]);
}

#[test]
fn numbers_of_a_rule_have_bounds() {
    for (keys, at, why) in [
        (
            "rateLimit: {requests: 0}",
            51,
            "`rateLimit.rules[0].rateLimit.requests` must be between 1 and 100000000",
        ),
        ("rateLimit: {burst: 100000001}", 48, "between 0 and 100000000"),
        ("rateLimit: {windowSeconds: 0}", 56, "between 1 and 2592000"),
        ("rateLimit: {cost: 0}", 47, "between 1 and 200000000"),
        ("rateLimit: {requests: 2, burst: 1, cost: 4}", 70, "more than `requests` and `burst` together (3)"),
        ("rateLimit: {cost: 101}", 47, "together (100), so that no request could ever pass"),
        ("rateLimit: {requests: 90000000, windowSeconds: 8}", 51, "more than 10000000 a second"),
        (
            "rateLimit: {requests: 1, windowSeconds: 30d, burst: 1216}",
            81,
            "`rateLimit.rules[0].rateLimit.burst` would take more than 100 years to come again: lower it to at most 1215",
        ),
        ("rateLimit: {requests: 10000001, windowSeconds: 1s}", 51, "lengthen `windowSeconds`"),
        ("priority: 1000001", 39, "between -1000000 and 1000000"),
        ("rateLimit: {algorithm: leaky}", 52, "`tokenBucket` or `slidingWindow`"),
        ("rateLimit: {window: 5}", 41, "unknown key `rateLimit.rules[0].rateLimit.window`"),
        ("key: ipendpoint", 34, "did you mean `ipEndpoint`?"),
        ("shadow: 1", 37, "must be `true` or `false`"),
        ("onError: x", 38, "use one of these"),
        ("matches: {}", 29, "did you mean `match`?"),
    ] {
        refused(&rule_text(keys), &format!("2:{at}"), &["error: ", why]);
    }
    assert_eq!(rule("rateLimit: {requests: 2, burst: 1, cost: 3}").rate_limit.cost, 3);
}

#[test]
fn endpoints_are_of_four_kinds_and_exact_by_default() {
    let endpoint = |keys: &str| {
        let matches = good(&match_text(keys)).settings.rate_limit.unwrap().rules.remove(0).matches;
        (matches.match_type(), matches.endpoint.unwrap())
    };
    assert_eq!(endpoint("endpoint: /a/b"), (MatchType::Exact, "/a/b".to_owned()));
    assert_eq!(endpoint("endpoint: /"), (MatchType::Exact, "/".to_owned()));
    assert_eq!(endpoint("endpoint: /a/, endpointMatchType: prefix"), (MatchType::Prefix, "/a/".to_owned()));
    assert_eq!(endpoint("endpoint: /a/., endpointMatchType: prefix"), (MatchType::Prefix, "/a/.".to_owned()));
    assert_eq!(
        endpoint("endpoint: '/a/**/v?', endpointMatchType: glob"),
        (MatchType::Glob, "/a/**/v?".to_owned())
    );
    assert_eq!(
        endpoint("endpoint: '\\.(png|jpe?g)$', endpointMatchType: regex"),
        (MatchType::Regex, "\\.(png|jpe?g)$".to_owned())
    );
    refused(&match_text("endpoint: /a, endpointMatchType: globb"), "2:70", &["did you mean `glob`?"]);
    refused(&match_text("endpointMatchType: glob"), "2:56", &["warning", "does nothing without `endpoint`"]);
}

#[test]
fn endpoints_are_spelt_as_canonical_paths_are() {
    let exact = |text: &str| rule(&format!("match: {{endpoint: '{text}'}}")).matches.endpoint.unwrap();
    assert_eq!(exact("/caf\u{e9}"), "/caf%C3%A9");
    assert_eq!(exact("/%c3%a9/%41%2d%2a"), "/%C3%A9/A-%2A");
    assert_eq!(exact("/%40a%3a%3B"), "/@a:%3B");
    assert_eq!(exact("/a@b:c!$&()+,="), "/a@b:c!$&()+,=");
}

#[test]
fn an_endpoint_that_no_canonical_path_can_match_is_refused_with_the_mend() {
    for (endpoint, kind, why) in [
        ("login", "exact", "it must start with `/`: write `/login`"),
        ("login", "prefix", "write `/login`"),
        ("**/login", "glob", "write `/**/login`"),
        ("", "glob", "write a path such as"),
        ("", "regex", "write a path such as"),
        (
            "/login/",
            "exact",
            "the slash at the end is removed from every path: write `/login`, or the glob `/login/**`",
        ),
        ("/*/", "glob", "write `/*`"),
        ("/a//b", "exact", "slashes in a row are one in every path"),
        ("//", "prefix", "keep one"),
        ("/a//*", "glob", "keep one"),
        ("/a/../b", "exact", "dot segments are resolved"),
        ("/a/%2e/b", "prefix", "dot segments are resolved"),
        ("/a/..", "glob", "dot segments are resolved"),
        ("/a?b=1", "exact", "no query or fragment"),
        ("/a?", "prefix", "no query or fragment"),
        ("/a#b", "glob", "no query or fragment"),
        ("/a;v=1", "exact", "path parameters"),
        ("/a b", "exact", "write `%20`"),
        ("/a/{id}", "glob", "write `%7B`"),
        ("/a\\b", "prefix", "write `/`"),
        ("/100%", "exact", "write `%25`"),
        ("/%zz", "exact", "two hex digits"),
        ("/%é1", "exact", "two hex digits"),
        ("/%00", "exact", "control character"),
        ("/a%2Fb", "exact", "`server.paths.escapedSlash`"),
        ("/(a", "regex", "it is not a regular expression (unclosed group): fix it"),
        ("/a{9,1}", "regex", "(invalid repetition count range"),
        ("/(a{500}){500}", "regex", "takes more than 1 MiB"),
    ] {
        let text = match_text(&format!("endpoint: '{endpoint}', endpointMatchType: {kind}"));
        refused(&text, "2:47", &["error: `rateLimit.rules[0].match.endpoint` is ", why]);
    }
    refused(
        &match_text("endpoint: \"^/a\\nb\", endpointMatchType: regex"),
        "2:47",
        &["holds a line break or another control character"],
    );
    refused(&match_text(&format!("endpoint: /{}", "a".repeat(2000))), "2:47", &["longer than 2000 bytes"]);
    let keep = format!("{}server: {{paths: {{escapedSlash: keep}}}}\n", match_text("endpoint: /a%2fb"));
    assert_eq!(good(&keep).settings.rate_limit.unwrap().rules[0].matches.endpoint, Some("/a%2Fb".to_owned()));
}

#[test]
fn wildcards_of_another_kind_of_pattern_are_a_warning() {
    for (endpoint, kind, why) in [
        ("/api/*", "exact", "the `*` means itself here; write `endpointMatchType: glob`"),
        ("/api/*", "prefix", "the `*` means itself here"),
        ("/users/:id", "exact", "`:id` means itself here; write `*` in its place"),
        ("/users/:id/**", "glob", "`:id` means itself here"),
    ] {
        let text = match_text(&format!("endpoint: '{endpoint}', endpointMatchType: {kind}"));
        refused(&text, "2:47", &["warning: `rateLimit.rules[0].match.endpoint`: ", why]);
    }
}

#[test]
fn methods_are_as_in_routes() {
    refused(
        &match_text("methods: [post]"),
        "2:47",
        &["`rateLimit.rules[0].match.methods[0]`", "upper-case, write POST"],
    );
    refused(&match_text("methods: POST"), "2:46", &["must be a list"]);
}

#[test]
fn what_a_rule_cannot_do_yet_is_a_warning() {
    const WAITS: &str = "has no effect without `auth: {enabled: true}`: requests are told apart by address";
    for (keys, at, name) in [
        ("match: {tiers: [pro]}", 44, "match.tiers"),
        ("match: {userIds: [u]}", 46, "match.userIds"),
        ("match: {apiKeys: [k]}", 46, "match.apiKeys"),
        ("key: user", 34, "key"),
        ("key: userEndpoint", 34, "key"),
    ] {
        refused(
            &rule_text(keys),
            &format!("2:{at}"),
            &["warning", &format!("`rateLimit.rules[0].{name}` {WAITS}")],
        );
    }
    refused(&rule_text("onError: deny"), "2:38", &["warning", "has no effect without `redis`"]);
    refused(
        &rule_text("rateLimit: {algorithm: slidingWindow, burst: 5}"),
        "2:74",
        &["warning", "only raises the limit of a window, to 105"],
    );
}

#[test]
fn a_rule_that_never_decides_is_a_warning() {
    let two = |first: &str, second: &str| {
        section(&format!("keyStrategy: ip, rules: [{{id: a, {first}}},\n{{id: b, {second}}}]"))
    };
    for (first, second, at) in [
        ("rateLimit: {requests: 5}", "rateLimit: {requests: 6}", "3:1"),
        ("rateLimit: {requests: 6}", "key: ip, rateLimit: {requests: 5}", "2:38"),
        ("match: {methods: [GET, PUT]}", "match: {methods: [PUT, GET]}, priority: 9", "3:1"),
        ("rateLimit: {requests: 5, burst: 1}", "rateLimit: {requests: 5, burst: 2}", "3:1"),
    ] {
        refused(&two(first, second), at, &["warning", "never decides: `rateLimit.rules[", "allows no more"]);
    }
    for (first, second) in [
        ("rateLimit: {requests: 5}", "rateLimit: {requests: 50, windowSeconds: 3600}"),
        ("rateLimit: {requests: 5, burst: 9}", "rateLimit: {requests: 6, burst: 1}"),
        ("rateLimit: {requests: 5}", "rateLimit: {requests: 6}, key: ipEndpoint"),
        ("rateLimit: {requests: 5}", "rateLimit: {requests: 6, cost: 2}"),
        ("rateLimit: {requests: 5}, shadow: true", "rateLimit: {requests: 6}"),
        ("match: {methods: [GET]}", "match: {methods: [PUT]}"),
        ("match: {hosts: [a.example]}", "match: {hosts: [b.example]}"),
    ] {
        let lines = lines(&two(first, second));
        assert!(lines.is_empty(), "{lines:#?}");
    }
}
