//! `rateLimit`: the default limit, tiers and bypasses. Rules are read by [`super::rate_limit_rule`].

use std::time::Duration;

use aegis_actors::rate_limiter::settings::{
    Algorithm, Bypass, KeyStrategy, LONGEST_FILL, Limit, OnError, Settings,
};

use super::section::{Section, nothing, quoted, shown_for};
use super::{endpoint, rate_limit_rule, server};
use crate::config::problem::Severity;
use crate::config::settings::EscapedSlash;
use crate::config::tree::Node;

/// Most requests per window, and most of a burst.
pub(super) const MAX_REQUESTS: i128 = 100_000_000;

/// Longest window, in seconds: 30 days.
const MAX_WINDOW: u64 = 2_592_000;

/// Most requests per second.
const MAX_RATE: u64 = 10_000_000;

/// Reads the section; `None` where there is none. `slash` is what `%2F` in a path means.
pub(super) fn read(root: &Section<'_>, slash: EscapedSlash) -> Option<Settings> {
    if let Some(node) = root.written("rateLimit").filter(|node| nothing(node) && !node.broken()) {
        // Empty could mean "the defaults" or "none": whoever wrote it must say which.
        let what = "`rateLimit` is empty: write `{}` after it for the default limit, or remove it";
        root.error_at_key(node, what.to_owned());
    }
    let section = root.child("rateLimit")?;
    let shared = root.node("redis").is_some();
    let defaults = Settings::default();
    let enabled = section.flag("enabled").unwrap_or(defaults.enabled);
    let on_error = on_error(&section, shared).unwrap_or(defaults.on_error);
    let headers = section.flag("headers").unwrap_or(defaults.headers);
    let default = limit(&section, &DEFAULT, &defaults.default);
    let key = key_strategy(&section, "keyStrategy").unwrap_or(defaults.key);
    let settings = Settings {
        enabled,
        on_error,
        headers,
        key,
        ipv6_prefix: section.integer("ipv6PrefixLength", 1..=128).unwrap_or(defaults.ipv6_prefix),
        max_keys: section.integer("maxKeys", 1_000..=100_000_000).unwrap_or(defaults.max_keys),
        bypass: section.child("bypass").map_or(defaults.bypass, |section| bypass(section, slash)),
        tiers: tiers(&section, &default),
        rules: rate_limit_rule::all(&section, &default, key, shared, slash),
        default,
    };
    section.finish();
    Some(settings)
}

/// How a limit's keys are spelt in one place.
pub(super) struct Spelling {
    algorithm: &'static str,
    requests: &'static str,
    window: &'static str,
    burst: &'static str,
}

/// At the top of `rateLimit`.
const DEFAULT: Spelling = Spelling {
    algorithm: "defaultAlgorithm",
    requests: "defaultRequests",
    window: "defaultWindowSeconds",
    burst: "defaultBurst",
};

/// In `tierLimits` and in a rule.
pub(super) const PLAIN: Spelling =
    Spelling { algorithm: "algorithm", requests: "requests", window: "windowSeconds", burst: "burst" };

/// A limit; what is not written is as in `base`, only the burst is 0.
pub(super) fn limit(section: &Section<'_>, keys: &Spelling, base: &Limit) -> Limit {
    use Algorithm::{FixedWindow, SlidingWindow, TokenBucket};
    let algorithms =
        [("tokenBucket", TokenBucket), ("slidingWindow", SlidingWindow), ("fixedWindow", FixedWindow)];
    let kebab =
        [("token-bucket", TokenBucket), ("sliding-window", SlidingWindow), ("fixed-window", FixedWindow)];
    let limit = Limit {
        algorithm: section.choice_or_alias(keys.algorithm, &algorithms, &kebab).unwrap_or(base.algorithm),
        requests: section.integer(keys.requests, 1..=MAX_REQUESTS).unwrap_or(base.requests),
        window: section.seconds(keys.window, 1..=MAX_WINDOW).unwrap_or(base.window),
        burst: section.integer(keys.burst, 0..=MAX_REQUESTS).unwrap_or(0),
    };
    let most = limit.window.saturating_mul(u32::try_from(MAX_RATE).unwrap_or(u32::MAX));
    if Duration::from_secs(limit.requests.into()) > most
        && let Some(node) = section.node(keys.requests).or_else(|| section.node(keys.window))
    {
        let what = format!(
            "`{}` comes to more than {MAX_RATE} a second: lower it, or lengthen `{}`",
            section.name(keys.requests),
            keys.window
        );
        section.error(node, what);
    }
    let requests = u64::from(limit.requests);
    // As many as come in again within the longest time that a bucket may take.
    let most = (requests * LONGEST_FILL.as_secs() / limit.window.as_secs().max(1)).saturating_sub(requests);
    if limit.algorithm == TokenBucket
        && u64::from(limit.burst) > most
        && let Some(node) = section.node(keys.burst)
    {
        let what = format!(
            "`{}` would take more than 100 years to come again: lower it to at most {most}, or raise `{}`",
            section.name(keys.burst),
            keys.requests
        );
        section.error(node, what);
    }
    if limit.burst > 0
        && limit.algorithm != TokenBucket
        && let Some(node) = section.node(keys.burst)
    {
        let what = format!(
            "`{}` only raises the limit of a window, to {}: write that in `{}`, or use `{}: tokenBucket`",
            section.name(keys.burst),
            u64::from(limit.requests) + u64::from(limit.burst),
            keys.requests,
            keys.algorithm
        );
        section.warning(node, what);
    }
    limit
}

/// `keyStrategy`, or `key` of a rule.
pub(super) fn key_strategy(section: &Section<'_>, key: &'static str) -> Option<KeyStrategy> {
    let strategy = section.choice(key, &KeyStrategy::ALL)?;
    let by_address = match strategy {
        KeyStrategy::User | KeyStrategy::ApiKey => "`ip`",
        KeyStrategy::UserEndpoint => "`ipEndpoint`",
        _ => return Some(strategy),
    };
    if let Some(node) = section.node(key) {
        needs_authentication(section, key, node, &format!("; until then write {by_address}"));
    }
    Some(strategy)
}

/// `onError`. `shared`: there is a Redis that could fail.
pub(super) fn on_error(section: &Section<'_>, shared: bool) -> Option<OnError> {
    let choices = [("local", OnError::Local), ("allow", OnError::Allow), ("deny", OnError::Deny)];
    let on_error = section.choice("onError", &choices)?;
    if !shared && let Some(node) = section.node("onError") {
        let what = format!(
            "`{}` has no effect without `redis`, for each process limits by itself: add `redis: {{url: …}}`, or remove \
             the key",
            section.name("onError")
        );
        section.warning(node, what);
    }
    Some(on_error)
}

/// Warns of a key that only verified users and API keys give a meaning; `then` says what follows.
pub(super) fn needs_authentication(section: &Section<'_>, key: &str, node: &Node, then: &str) {
    let what = format!(
        "`{}` has no effect until authentication is configured: requests are told apart by address{then}",
        section.name(key)
    );
    section.warning(node, what);
}

/// A list of ids: texts that are not empty, each once.
pub(super) fn ids(section: &Section<'_>, key: &'static str, then: &str) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    for (text, node, name) in section.texts(key).unwrap_or_default() {
        if text.trim() != text || text.is_empty() || text.len() > 256 || text.contains(char::is_control) {
            let what = format!(
                "`{name}` must be 1 to 256 bytes without outer spaces and control characters, found {}: write it as it \
                 was issued, or remove it",
                shown_for(key, node)
            );
            section.error(node, what);
        } else if !ids.iter().any(|known| known == text) {
            section.all_seen(Severity::Warning, &name, text, node);
            ids.push(text.to_owned());
        }
    }
    if let (false, Some(node)) = (ids.is_empty(), section.node(key)) {
        needs_authentication(section, key, node, then);
    }
    ids
}

/// Whether a text can be a metric's label, a header's value and part of a Redis key as it stands.
pub(super) fn is_label(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

fn bypass(section: Section<'_>, slash: EscapedSlash) -> Bypass {
    let everybody = "lets everybody pass: to limit nothing, write `enabled: false`";
    let bypass = Bypass {
        ips: server::networks(&section, "ips", everybody),
        user_ids: ids(&section, "userIds", "; until then use `ips`"),
        paths: endpoint::bypassed(&section, slash),
        internal: section.flag("internal").unwrap_or(false),
    };
    section.finish();
    bypass
}

fn tiers(section: &Section<'_>, default: &Limit) -> Vec<(String, Limit)> {
    let Some(table) = section.child("tierLimits") else { return Vec::new() };
    let mut tiers = Vec::new();
    for (name, node) in table.free() {
        if !is_label(name) {
            let what = format!(
                "{} in `{}` must be 1 to 64 of the characters A-Z a-z 0-9 . _ -: it is a label in metrics and answers",
                quoted(name),
                table.path
            );
            table.error_at_key(node, what);
        }
        if nothing(node) {
            if !node.broken() {
                let what =
                    format!("`{}` is empty: write `{{requests: 100, windowSeconds: 60}}`", table.name(name));
                table.error_at_key(node, what);
            }
            continue;
        }
        let tier = Section::open(section.context, node, table.name(name));
        tiers.push((name.clone(), limit(&tier, &PLAIN, default)));
        tier.finish();
    }
    if let (false, Some(node)) = (tiers.is_empty(), section.node("tierLimits")) {
        needs_authentication(section, "tierLimits", node, ", and all get the default limit");
    }
    tiers
}
