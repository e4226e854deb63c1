//! `rateLimit` and `redis` in the spelling of the file.

use aegis_actors::rate_limiter::settings::*;
use serde_json::{Map, Value, json};

use super::put;

/// `redis`, password included.
pub(super) fn redis(settings: &RedisSettings) -> Value {
    let patience = u64::try_from(settings.patience.as_millis()).unwrap_or(u64::MAX);
    let mut shown = json!({"url": settings.url, "keyPrefix": settings.key_prefix, "patienceMs": patience});
    if let Some(login) = &settings.sentinel_login {
        shown["sentinelUser"] = json!(login.user);
        shown["sentinelPassword"] = json!(login.password);
    }
    shown
}

/// `rateLimit`.
pub(super) fn rate_limit(settings: &Settings) -> Value {
    let Settings { enabled, on_error, headers, default, key, ipv6_prefix, max_keys, bypass, tiers, rules } =
        settings;
    let tiers: Map<String, Value> = tiers.iter().map(|(name, tier)| (name.clone(), limit(tier))).collect();
    json!({
        "enabled": enabled,
        "onError": on_error_word(*on_error),
        "headers": headers,
        "defaultAlgorithm": algorithm(default.algorithm),
        "defaultRequests": default.requests,
        "defaultWindowSeconds": default.window.as_secs(),
        "defaultBurst": default.burst,
        "keyStrategy": key.name(),
        "ipv6PrefixLength": ipv6_prefix,
        "maxKeys": max_keys,
        "bypass": {
            "ips": bypass.ips.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "userIds": bypass.user_ids,
            "paths": bypass.paths,
            "internal": bypass.internal,
        },
        "tierLimits": tiers,
        "rules": rules.iter().map(rule).collect::<Vec<_>>(),
    })
}

fn rule(rule: &Rule) -> Value {
    let mut matches = json!({});
    if let Some(endpoint) = &rule.matches.endpoint {
        let (kind, text) = match endpoint {
            Endpoint::Exact(text) => ("exact", text),
            Endpoint::Prefix(text) => ("prefix", text),
            Endpoint::Glob(text) => ("glob", text),
            Endpoint::Regex(text) => ("regex", text),
        };
        matches = json!({"endpoint": text, "endpointMatchType": kind});
    }
    let Match { endpoint: _, methods, hosts, tiers, user_ids, api_keys } = &rule.matches;
    for (key, list) in [
        ("methods", methods),
        ("hosts", hosts),
        ("tiers", tiers),
        ("userIds", user_ids),
        ("apiKeys", api_keys),
    ] {
        put(&mut matches, key, (!list.is_empty()).then(|| json!(list)));
    }
    let mut limit = limit(&rule.limit);
    limit["cost"] = rule.cost.into();
    let mut out = json!({"id": rule.id, "priority": rule.priority, "match": matches, "rateLimit": limit});
    put(&mut out, "key", rule.key.map(KeyStrategy::name));
    out["shadow"] = rule.shadow.into();
    put(&mut out, "onError", rule.on_error.map(on_error_word));
    out
}

fn limit(limit: &Limit) -> Value {
    json!({
        "algorithm": algorithm(limit.algorithm),
        "requests": limit.requests,
        "windowSeconds": limit.window.as_secs(),
        "burst": limit.burst,
    })
}

fn algorithm(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::TokenBucket => "tokenBucket",
        Algorithm::SlidingWindow => "slidingWindow",
        Algorithm::FixedWindow => "fixedWindow",
    }
}

fn on_error_word(on_error: OnError) -> &'static str {
    match on_error {
        OnError::Local => "local",
        OnError::Allow => "allow",
        OnError::Deny => "deny",
    }
}
