//! `rateLimit`, except its rules.

use std::time::Duration;

use aegis_actors::rate_limiter::settings::*;
use aegis_schema::Describe;

use super::*;

/// The section alone, on line 2 from column 13 if it is written in braces.
pub(super) fn section(keys: &str) -> String {
    format!("{GOOD}rateLimit: {{{keys}}}\n")
}

#[track_caller]
pub(super) fn settings(keys: &str) -> Settings {
    good(&section(keys)).settings.rate_limit.unwrap()
}

pub(super) fn limit(algorithm: Algorithm, requests: u32, seconds: u64, burst: u32) -> Limit {
    Limit { algorithm, requests, window: Duration::from_secs(seconds), burst }
}

/// Section 8 of the contract, and `redis` of section 2.
const CONTRACT: &str = "redis: {url: redis://127.0.0.1:6379/0}
rateLimit:
  enabled: true
  onError: local               # when Redis is away: local (share = limit / live instances) | allow | deny ; per rule too
  headers: true
  defaultAlgorithm: tokenBucket      # tokenBucket | slidingWindow | fixedWindow  (token-bucket etc. accepted)
  defaultRequests: 100
  defaultWindowSeconds: 60
  keyStrategy: composite
  ipv6PrefixLength: 64
  bypass: {ips: [], userIds: [], paths: [], internal: false}
  tierLimits: {free: {requests: 100, windowSeconds: 60}, pro: {requests: 2000, windowSeconds: 60}}
  rules:
    - id: login
      priority: 100
      match: {endpoint: /auth/login, endpointMatchType: exact, methods: [POST], tiers: [], userIds: []}   # exact | prefix | glob | regex
      rateLimit: {algorithm: slidingWindow, requests: 10, windowSeconds: 60, burst: 0, cost: 1}
      key: ip
      shadow: false            # true: decide, count and log, but let pass
      onError: deny
";

#[test]
fn without_the_section_nothing_is_limited() {
    let loaded = good(GOOD);
    assert_eq!(loaded.settings.rate_limit, None);
    assert_eq!(loaded.effective.get("rateLimit"), None);
}

#[test]
fn an_empty_section_is_on_with_the_defaults_and_nothing_at_all_is_refused() {
    assert_eq!(settings(""), Settings::default());
    refused(
        &format!("{GOOD}rateLimit:\n"),
        "2:1",
        &["`rateLimit` is empty: write `{}` after it", "or remove it"],
    );
}

#[test]
fn the_section_of_the_contract_is_read_to_the_letter() {
    let loaded = good(&format!("{GOOD}{CONTRACT}"));
    let expected = Settings {
        enabled: true,
        on_error: OnError::Local,
        headers: true,
        default_algorithm: Algorithm::TokenBucket,
        default_requests: 100,
        default_window: Duration::from_secs(60),
        default_burst: 0,
        key: KeyStrategy::Composite,
        ipv6_prefix: 64,
        max_keys: 1_000_000,
        bypass: Bypass { ips: vec![], user_ids: vec![], paths: vec![], internal: false },
        tiers: vec![
            ("free".into(), limit(Algorithm::TokenBucket, 100, 60, 0)),
            ("pro".into(), limit(Algorithm::TokenBucket, 2000, 60, 0)),
        ],
        rules: vec![Rule {
            id: "login".into(),
            priority: 100,
            matches: Match {
                endpoint: Some("/auth/login".into()),
                endpoint_match_type: Some(MatchType::Exact),
                methods: vec!["POST".into()],
                ..Match::default()
            },
            rate_limit: RuleLimit { limit: limit(Algorithm::SlidingWindow, 10, 60, 0), cost: 1 },
            key: Some(KeyStrategy::Ip),
            shadow: false,
            on_error: Some(OnError::Deny),
        }],
    };
    assert_eq!(loaded.settings.rate_limit, Some(expected));
    // Tiers need verified users; nothing else is worth a word.
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(
        warnings[0].starts_with("a.yaml:13:15: warning: `rateLimit.tierLimits` has no effect without"),
        "{warnings:#?}"
    );
}

#[test]
fn every_key_at_the_top_is_read() {
    let settings = settings(
        "enabled: false, headers: false, defaultAlgorithm: fixedWindow, defaultRequests: 7, defaultWindowSeconds: 1m, \
         keyStrategy: ipEndpoint, ipv6PrefixLength: 48, maxKeys: 1000, \
         bypass: {ips: [10.1.2.3/8, '::ffff:192.168.0.1', '::1', '::ffff:172.16.0.0/108'], paths: [/status, '/public/**', /status], internal: true}",
    );
    let expected = Settings {
        enabled: false,
        on_error: OnError::Local,
        headers: false,
        default_algorithm: Algorithm::FixedWindow,
        default_requests: 7,
        default_window: Duration::from_secs(60),
        default_burst: 0,
        key: KeyStrategy::IpEndpoint,
        ipv6_prefix: 48,
        max_keys: 1000,
        bypass: Bypass {
            ips: ["10.0.0.0/8", "192.168.0.1/32", "::1/128", "172.16.0.0/12"]
                .map(|net| net.parse().unwrap())
                .to_vec(),
            user_ids: vec![],
            paths: vec!["/status".into(), "/public/**".into()],
            internal: true,
        },
        tiers: vec![],
        rules: vec![],
    };
    assert_eq!(settings, expected);
    assert_eq!(self::settings("defaultBurst: 20").default_burst, 20);
    for (word, on_error) in [("local", OnError::Local), ("allow", OnError::Allow), ("deny", OnError::Deny)] {
        let text = format!("{}redis: {{url: 'redis://h'}}\n", section(&format!("onError: {word}")));
        assert_eq!(good(&text).settings.rate_limit.unwrap().on_error, on_error);
    }
}

#[test]
fn algorithms_are_understood_in_camel_and_in_kebab_case() {
    for (words, algorithm) in [
        (["tokenBucket", "token-bucket"], Algorithm::TokenBucket),
        (["slidingWindow", "sliding-window"], Algorithm::SlidingWindow),
        (["fixedWindow", "fixed-window"], Algorithm::FixedWindow),
    ] {
        for word in words {
            assert_eq!(settings(&format!("defaultAlgorithm: {word}")).default_algorithm, algorithm);
        }
    }
}

#[test]
fn a_misspelt_word_gets_the_word_that_was_meant() {
    for (keys, at, why) in [
        (
            "defaultAlgorithm: tokenbuket",
            31,
            "`tokenBucket` or `slidingWindow` or `fixedWindow`, found `tokenbuket`: did you mean `tokenBucket`?",
        ),
        ("defaultAlgorithm: sliding_window", 31, "did you mean `slidingWindow`?"),
        ("keyStrategy: api-key", 26, "did you mean `apiKey`?"),
        ("keyStrategy: session", 26, "use one of these"),
        ("onError: alow", 22, "did you mean `allow`?"),
        ("defaultRequest: 1", 13, "did you mean `defaultRequests`?"),
        ("bypass: {ip: []}", 22, "did you mean `ips`?"),
        ("tierLimits: {a: {request: 1}}", 30, "did you mean `requests`?"),
    ] {
        let lines = lines(&section(keys));
        let first = lines.first().unwrap();
        assert!(
            first.starts_with(&format!("a.yaml:2:{at}: error: ")) && first.contains(why),
            "{keys}: {first}"
        );
    }
}

#[test]
fn numbers_have_bounds() {
    for (keys, at, why) in [
        ("defaultRequests: 0", 30, "between 1 and 100000000"),
        ("defaultRequests: 100000001", 30, "between 1 and 100000000"),
        ("defaultBurst: -1", 27, "between 0 and 100000000"),
        ("defaultWindowSeconds: 0", 35, "a whole number of seconds between 1 and 2592000"),
        ("defaultWindowSeconds: 31d", 35, "between 1 and 2592000"),
        ("defaultWindowSeconds: 500ms", 35, "or a duration such as `30s` or `5m`, found `500ms`"),
        ("defaultWindowSeconds: 1.5", 35, "a whole number of seconds"),
        ("defaultWindowSeconds: '60'", 35, "remove the quotes"),
        ("ipv6PrefixLength: 129", 31, "between 1 and 128"),
        ("ipv6PrefixLength: 0", 31, "between 1 and 128"),
        ("maxKeys: 999", 22, "between 1000 and 100000000"),
        (
            "defaultRequests: 20000000, defaultWindowSeconds: 1",
            30,
            "more than 10000000 a second: lower it, or lengthen `defaultWindowSeconds`",
        ),
        ("enabled: yes", 22, "write `true`"),
    ] {
        refused(&section(keys), &format!("2:{at}"), &["error: `rateLimit.", why]);
    }
    assert_eq!(settings("defaultWindowSeconds: 30d").default_window, Duration::from_secs(2_592_000));
    assert_eq!(
        settings("defaultRequests: 100000000, defaultWindowSeconds: 10").default_requests,
        100_000_000
    );
}

#[test]
fn bypasses_are_networks_and_paths() {
    refused(
        &section("bypass: {ips: [10.0.0.0/33]}"),
        "2:28",
        &["`rateLimit.bypass.ips[0]` must be a network"],
    );
    refused(
        &section("bypass: {ips: ['::/0']}"),
        "2:28",
        &["warning", "lets everybody pass", "`enabled: false`"],
    );
    refused(
        &section("bypass: {paths: [status]}"),
        "2:30",
        &["`rateLimit.bypass.paths[0]` is `status`", "write `/status`"],
    );
    refused(&section("bypass: {paths: [/status/]}"), "2:30", &["error", "write `/status`"]);
    refused(&section("bypass: {paths: ['/a?b#c']}"), "2:30", &["no query or fragment"]);
    refused(&section("bypass: {paths: ['/**']}"), "2:30", &["warning", "lets every request pass"]);
    assert_eq!(settings("bypass: {paths: [/caf\u{e9}]}").bypass.paths, ["/caf%C3%A9"]);
}

#[test]
fn tiers_have_a_limit_each_in_the_order_of_the_file() {
    let keys = "defaultAlgorithm: slidingWindow, defaultRequests: 9, defaultWindowSeconds: 5, \
                tierLimits: {zeta: {requests: 3}, alpha: {windowSeconds: 1h, algorithm: token-bucket, burst: 4}}";
    assert_eq!(
        settings(keys).tiers,
        [
            ("zeta".to_owned(), limit(Algorithm::SlidingWindow, 3, 5, 0)),
            ("alpha".to_owned(), limit(Algorithm::TokenBucket, 9, 3600, 4))
        ]
    );
    for (keys, at, why) in [
        ("tierLimits: {'a b': {}}", 26, "`a b` in `rateLimit.tierLimits` must be 1 to 64 of the characters"),
        ("tierLimits: {a: }", 26, "`rateLimit.tierLimits.a` is empty"),
        ("tierLimits: {a: {requests: 0}}", 40, "`rateLimit.tierLimits.a.requests` must be between 1"),
        ("tierLimits: [a]", 25, "must be a section with keys"),
    ] {
        let lines = lines(&section(keys));
        let first = lines.first().unwrap();
        assert!(
            first.starts_with(&format!("a.yaml:2:{at}: error: ")) && first.contains(why),
            "{keys}: {first}"
        );
    }
}

#[test]
fn what_only_verified_users_give_a_meaning_is_a_warning() {
    const WAITS: &str = "has no effect without `auth: {enabled: true}`: requests are told apart by address";
    for (keys, at, name) in [
        ("keyStrategy: user", 26, "keyStrategy"),
        ("keyStrategy: apiKey", 26, "keyStrategy"),
        ("keyStrategy: userEndpoint", 26, "keyStrategy"),
        ("tierLimits: {pro: {}}", 25, "tierLimits"),
        ("bypass: {userIds: [u1, u2]}", 31, "bypass.userIds"),
    ] {
        refused(&section(keys), &format!("2:{at}"), &["warning", &format!("`rateLimit.{name}` {WAITS}")]);
    }
    for keys in ["keyStrategy: ip", "keyStrategy: composite", "tierLimits: {}", "bypass: {userIds: []}"] {
        assert!(lines(&section(keys)).is_empty(), "{keys}");
    }
    refused(
        &section("bypass: {userIds: [7]}"),
        "2:32",
        &["`rateLimit.bypass.userIds[0]` must be text, found the number 7: put it in quotes"],
    );
    refused(&section("bypass: {userIds: ['']}"), "2:32", &["must be 1 to 256 bytes"]);
}

#[test]
fn what_can_do_nothing_is_a_warning() {
    refused(
        &section("onError: deny"),
        "2:22",
        &["warning", "`rateLimit.onError` has no effect without `redis`"],
    );
    refused(
        &section("defaultAlgorithm: fixedWindow, defaultBurst: 5"),
        "2:58",
        &["warning", "only raises the limit of a window, to 105: write that in `defaultRequests`"],
    );
    assert!(lines(&section("defaultAlgorithm: tokenBucket, defaultBurst: 5")).is_empty());
}

#[test]
fn variables_and_set_reach_the_section() {
    let off = load_from(GOOD, &env(&[("AEGIS__RATE_LIMIT__ENABLED", "false")])).unwrap();
    assert_eq!(off.settings.rate_limit, Some(Settings { enabled: false, ..Settings::default() }));
    let source = set(&[
        "rateLimit.defaultRequests=5",
        "rateLimit.rules.0.id=a",
        "rateLimit.rules.0.rateLimit.requests=3",
    ]);
    let settings = load_from(GOOD, &source).unwrap().settings.rate_limit.unwrap();
    assert_eq!((settings.default_requests, settings.rules[0].rate_limit.limit.requests), (5, 3));
    let source = env(&[
        ("AEGIS__RATE_LIMIT__TIER_LIMITS__PRO__REQUESTS", "9"),
        ("AEGIS__RATE_LIMIT__DEFAULT_WINDOW_SECONDS", "30"),
    ]);
    let settings = load_from(&format!("{GOOD}{CONTRACT}"), &source).unwrap().settings.rate_limit.unwrap();
    assert_eq!((settings.tiers[1].1.requests, settings.tiers[1].1.window.as_secs()), (9, 60));
    assert_eq!(settings.default_window.as_secs(), 30);
    assert_eq!(settings.rules[0].rate_limit.limit.requests, 10);
    assert_eq!(
        load_from(GOOD, &set(&["rateLimit.maxKeys=5"])).unwrap_err().to_string(),
        "--set:1:1: error: `rateLimit.maxKeys` must be between 1000 and 100000000, found `5` (set by --set rateLimit.maxKeys)"
    );
}

#[test]
fn what_is_shown_has_every_default_and_reads_back_as_the_same_settings() {
    let effective = good(&section("")).effective["rateLimit"].clone();
    assert_eq!(
        effective,
        serde_json::json!({
            "enabled": true, "onError": "local", "headers": true, "defaultAlgorithm": "tokenBucket",
            "defaultRequests": 100, "defaultWindowSeconds": 60, "defaultBurst": 0, "keyStrategy": "composite",
            "ipv6PrefixLength": 64, "maxKeys": 1_000_000,
            "bypass": {"ips": [], "userIds": [], "paths": [], "internal": false},
            "tierLimits": {}, "rules": [],
        })
    );
    let full = CONTRACT.to_owned()
        + "    - {id: a, match: {endpoint: '/a/**', endpointMatchType: glob, tiers: [t], userIds: [u], apiKeys: [k]}}\n\
           \x20   - {id: b, match: {endpoint: '^/(a|b)', endpointMatchType: regex}, key: userEndpoint, shadow: true}\n\
           \x20   - {id: c, match: {endpoint: /p, endpointMatchType: prefix}, rateLimit: {algorithm: fixedWindow, cost: 7}}\n";
    for text in [format!("{GOOD}{full}"), section("")] {
        let settings = good(&text).settings;
        let json = settings.show(true).to_string();
        let again =
            inspect("a.json", &json, &alone()).verdict().unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(again.settings, settings);
        assert_eq!(again.hash, good(&text).hash);
    }
    // Ids of keys are no secrets.
    assert_eq!(good(&format!("{GOOD}{full}")).effective["rateLimit"]["rules"][1]["match"]["apiKeys"][0], "k");
}
