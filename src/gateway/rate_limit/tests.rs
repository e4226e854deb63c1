//! Which limits apply to whom.

use aegis_actors::rate_limiter::settings::{
    Algorithm, Bypass, KeyStrategy, Limit, Match, MatchType, Rule, RuleLimit, Settings,
};
use aegis_actors::rate_limiter::{Decisions, KeyedBy, SharedLimit};

use super::rules::{Facts, Limits, Verified};
use crate::auth::{Auth, Identity, Kind};
use crate::config::settings::auth;
use crate::config::settings::auth::issuers::{Issuer, Terms};

fn limits(settings: &Settings) -> Limits {
    let mut shared = |name: &str, limit: &_, strategy| {
        SharedLimit::new(name, limit, KeyedBy { strategy, ipv6_prefix: 64 }, Decisions::new(1))
    };
    Limits::build(settings, &[], &mut shared).unwrap()
}

fn limit(requests: u32) -> Limit {
    Limit {
        algorithm: Algorithm::TokenBucket,
        requests,
        window: std::time::Duration::from_secs(60),
        burst: 0,
    }
}

fn at(kind: MatchType, endpoint: &str) -> Match {
    Match { endpoint: Some(endpoint.to_owned()), endpoint_match_type: Some(kind), ..Match::default() }
}

fn rule(id: &str, matches: Match) -> Rule {
    let rate_limit = RuleLimit { limit: limit(10), cost: 1 };
    Rule { id: id.to_owned(), matches, rate_limit, ..Rule::default() }
}

fn facts<'a>(path: &'a str, verified: Verified<'a>) -> Facts<'a> {
    let client = "192.0.2.1".parse().unwrap();
    Facts {
        method: "GET",
        host: "",
        path,
        trailing_slash: false,
        route: "/**",
        behind_proxy: false,
        client,
        verified,
    }
}

fn applying(limits: &Limits, facts: &Facts<'_>) -> (Vec<String>, bool) {
    let mut names = Vec::new();
    let exempt =
        limits.applying(limits.paths(), facts, |limited| names.push(limited.shared.name.to_string()));
    (names, exempt)
}

#[test]
fn nobody_behind_a_proxy_is_internal() {
    let settings = Settings { bypass: Bypass { internal: true, ..Bypass::default() }, ..Settings::default() };
    let limits = limits(&settings);
    let exempt = |client: &str, behind_proxy| {
        let client = client.parse().unwrap();
        let facts = Facts { client, behind_proxy, ..facts("/x", Verified::default()) };
        applying(&limits, &facts).1
    };
    assert!(exempt("10.0.0.1", false) && exempt("::1", false) && !exempt("192.0.2.1", false));
    // Whether its own address, for it named nobody, or one that it named.
    assert!(!exempt("10.0.0.1", true) && !exempt("192.0.2.1", true));
}

#[test]
fn rules_of_users_tiers_and_keys_apply_to_the_verified_only() {
    let one = |name: &str| vec![name.to_owned()];
    let settings = Settings {
        rules: vec![
            rule("user", Match { user_ids: one("ann"), ..Match::default() }),
            rule("tier", Match { tiers: one("pro"), ..Match::default() }),
            rule("key", Match { api_keys: one("k1"), ..Match::default() }),
        ],
        ..Settings::default()
    };
    let limits = limits(&settings);
    let of = |verified| applying(&limits, &facts("/x", verified)).0;
    assert_eq!(of(Verified::default()), ["default"]);
    assert_eq!(of(Verified { user: Some("ann"), ..Verified::default() }), ["user"]);
    let all = Verified { user: Some("ann"), tier: Some("pro"), api_key: Some("k1"), ..Verified::default() };
    assert_eq!(of(all), ["user", "tier", "key"]);
    assert_eq!(
        of(Verified { user: Some("bob"), tier: Some("free"), api_key: Some("k2"), ..Verified::default() }),
        ["default"]
    );
}

#[test]
fn a_name_behind_an_issuers_is_the_user_of_that_issuer_and_no_key_or_certificate_of_that_name() {
    let ids = vec!["id:vip".to_owned(), "spiffe://x/y".to_owned()];
    let settings = Settings {
        rules: vec![rule("user", Match { user_ids: ids, ..Match::default() })],
        ..Settings::default()
    };
    let limits = limits(&settings);
    let terms = Terms {
        issuer: Some("https://id.test".to_owned()),
        audience: vec!["api".to_owned()],
        jwks_uri: Some("https://id.test/keys".to_owned()),
        ..Terms::default()
    };
    let issuers = vec![Issuer { name: "id".to_owned(), terms }];
    let auth = auth::Auth { issuers, ..auth::Auth::default() };
    let auth = Auth::build(&auth, std::iter::empty(), 64, None).unwrap();
    let matched = |issuer: Option<&str>, user: &str| {
        let kind = if issuer.is_some() { Kind::Jwt } else { Kind::Mtls };
        let identity =
            Identity { issuer: issuer.map(Into::into), user: user.into(), ..Identity::nobody(kind) };
        applying(&limits, &facts("/x", Verified::of(Some(&auth), Some(&identity), None))).0 == ["user"]
    };
    assert!(
        matched(Some("id"), "vip") && !matched(Some("other"), "vip") && !matched(Some("other"), "id:vip")
    );
    assert!(!matched(None, "id:vip") && matched(None, "spiffe://x/y"));
}

#[test]
fn a_rule_for_get_holds_for_head_and_not_the_other_way_round() {
    let methods = |one: &str| Match { methods: vec![one.to_owned()], ..Match::default() };
    let settings = Settings {
        rules: vec![
            rule("get", methods("GET")),
            rule("head", methods("HEAD")),
            rule("post", methods("POST")),
        ],
        ..Settings::default()
    };
    let limits = limits(&settings);
    let of = |method| applying(&limits, &Facts { method, ..facts("/x", Verified::default()) }).0;
    assert_eq!(of("GET"), ["get"]);
    assert_eq!(of("HEAD"), ["get", "head"]);
    assert_eq!(of("POST"), ["post"]);
    assert_eq!(of("PUT"), ["default"]);
}

#[test]
fn a_rule_for_hosts_holds_for_requests_that_name_them() {
    let hosts = ["api.example.com".to_owned(), "*.example.org".to_owned()];
    let settings = Settings {
        rules: vec![rule("hosts", Match { hosts: hosts.to_vec(), ..Match::default() })],
        ..Settings::default()
    };
    let limits = limits(&settings);
    let of = |host| applying(&limits, &Facts { host, ..facts("/x", Verified::default()) }).0;
    for host in ["api.example.com", "API.example.com.", "a.b.example.org"] {
        assert_eq!(of(host), ["hosts"], "{host}");
    }
    for host in ["", "example.com", "example.org", "xapi.example.com", "api.example.com.org"] {
        assert_eq!(of(host), ["default"], "{host}");
    }
}

#[test]
fn a_verified_tiers_limit_takes_the_place_of_the_default() {
    let settings = Settings {
        tiers: vec![("pro".to_owned(), limit(2000))],
        rules: vec![rule("api", at(MatchType::Prefix, "/api"))],
        ..Settings::default()
    };
    let limits = limits(&settings);
    let pro = Verified { tier: Some("pro"), ..Verified::default() };
    assert_eq!(applying(&limits, &facts("/x", pro)).0, ["tier:pro"]);
    assert_eq!(applying(&limits, &facts("/x", Verified::default())).0, ["default"]);
    assert_eq!(applying(&limits, &facts("/api/x", pro)).0, ["api"]);
}

#[test]
fn a_rule_in_shadow_leaves_the_default_in_force() {
    let settings = Settings {
        rules: vec![Rule { shadow: true, ..rule("shadow", Match::default()) }],
        ..Settings::default()
    };
    assert_eq!(applying(&limits(&settings), &facts("/x", Verified::default())).0, ["shadow", "default"]);
}

#[test]
fn higher_priorities_come_first() {
    let settings = Settings {
        rules: vec![
            rule("a", Match::default()),
            Rule { priority: 5, ..rule("b", Match::default()) },
            Rule { priority: 5, ..rule("c", Match::default()) },
        ],
        ..Settings::default()
    };
    assert_eq!(applying(&limits(&settings), &facts("/x", Verified::default())).0, ["b", "c", "a"]);
}

#[test]
fn keys_are_made_of_what_is_verified_and_else_of_the_address() {
    let key = |key, verified| {
        let settings = Settings { key, ..Settings::default() };
        let limits = limits(&settings);
        let facts = facts("/x", verified);
        let mut name = String::new();
        limits.applying(limits.paths(), &facts, |limited| name = limited.key(&facts).to_string());
        name
    };
    let all = Verified { user: Some("ann"), api_key: Some("k1"), ..Verified::default() };
    let keyed = Verified { api_key: Some("k1"), ..Verified::default() };
    for (strategy, verified, expected) in [
        (KeyStrategy::Ip, all, "ip:192.0.2.1"),
        (KeyStrategy::User, all, "user:ann"),
        (KeyStrategy::User, keyed, "ip:192.0.2.1"),
        (KeyStrategy::ApiKey, all, "key:k1"),
        (KeyStrategy::Composite, all, "user:ann"),
        (KeyStrategy::Composite, keyed, "key:k1"),
        (KeyStrategy::Composite, Verified::default(), "ip:192.0.2.1"),
        (KeyStrategy::IpEndpoint, all, "ip:192.0.2.1@/**"),
        (KeyStrategy::UserEndpoint, all, "user:ann@/**"),
        (KeyStrategy::Endpoint, all, "all@/**"),
        (KeyStrategy::Global, all, "all"),
    ] {
        assert_eq!(key(strategy, verified), expected, "{strategy:?}");
    }
}

#[test]
fn an_exemption_holds_for_verified_users_and_for_paths_with_one_reading() {
    let bypass = Bypass { user_ids: vec!["ann".into()], paths: vec!["/free/**".into()], ..Bypass::default() };
    let settings = Settings {
        bypass,
        rules: vec![rule("login", at(MatchType::Exact, "/login"))],
        ..Settings::default()
    };
    let limits = limits(&settings);
    let exempt = |path, user| applying(&limits, &facts(path, Verified { user, ..Verified::default() })).1;
    assert!(exempt("/x", Some("ann")) && !exempt("/x", Some("bob")) && !exempt("/x", None));
    assert!(exempt("/free/a", None) && exempt("/free/a;v=1", None) && !exempt("/x;/free/a", None));
    let slashed = Facts { trailing_slash: true, ..facts("/free", Verified::default()) };
    assert!(applying(&limits, &slashed).1, "/free/ is sent as it is");
    for path in ["/login", "/login;x=1", "/%6Cogin", "/log%69n"] {
        // The canonical path has no escapes of such characters; a rule holds even if it had.
        assert_eq!(applying(&limits, &facts(path, Verified::default())).0, ["login"], "{path}");
    }
}

#[test]
fn a_rule_holds_in_every_reading_and_spelling_of_a_path() {
    let settings = Settings {
        rules: vec![
            rule("colon", at(MatchType::Exact, "/v1/users:login")),
            rule("at", at(MatchType::Prefix, "/a@b")),
            rule("below", at(MatchType::Glob, "/below/**")),
            rule("escaped", at(MatchType::Regex, "^/r%40$")),
            rule("plain", at(MatchType::Regex, "^/p@$")),
        ],
        bypass: Bypass { paths: vec!["/free:".into()], ..Bypass::default() },
        ..Settings::default()
    };
    let limits = limits(&settings);
    let of = |path| applying(&limits, &facts(path, Verified::default()));
    for (path, name) in [
        ("/v1/users:login", "colon"),
        ("/v1/users%3Alogin", "colon"),
        ("/v1/users%3Alogin;x", "colon"),
        ("/v1;y/users%3Alogin", "colon"),
        ("/v1/users%3Alogin%3Bx", "colon"),
        ("/v1%2Fusers%3Alogin", "colon"),
        ("/a@b", "at"),
        ("/a%40b;x/c", "at"),
        ("/below;x/", "below"),
        ("/below/;x", "below"),
        ("/r%40", "escaped"),
        ("/r%40;x", "escaped"),
        ("/p%40", "plain"),
        ("/p@", "plain"),
        ("/r@", "default"),
        ("/v1/users", "default"),
    ] {
        assert_eq!(of(path).0, [name], "{path}");
    }
    let exempt = |path| of(path).1;
    assert!(exempt("/free:") && exempt("/free%3A") && !exempt("/free%3A;x") && !exempt("/free%253A"));
    assert!(!exempt("/free%3A%2Fx"), "a server may take the slash for one");
}

#[test]
fn every_limit_knows_its_place() {
    let settings = Settings {
        rules: vec![rule("a", Match::default()), Rule { priority: 9, ..rule("b", Match::default()) }],
        tiers: vec![("free".to_owned(), limit(1)), ("pro".to_owned(), limit(2))],
        ..Settings::default()
    };
    let limits = limits(&settings);
    let names: Vec<_> = limits.all().map(|limited| &*limited.shared.name).collect();
    assert_eq!(names, ["b", "a", "tier:free", "tier:pro", "default"]);
    assert!(limits.all().zip(0..).all(|(limited, at)| limited.place == at));
}
