//! `rateLimit.rules`.

use std::collections::HashMap;

use aegis_actors::rate_limiter::settings::{KeyStrategy, Limit, Match, Rule};

use super::rate_limit::{MAX_REQUESTS, PLAIN, ids, is_label, key_strategy, limit, on_error};
use super::section::{Section, shown_for};
use super::{endpoint, route};
use crate::config::settings::EscapedSlash;
use crate::config::tree::Node;

/// Reads every rule. `default` and `key` stand in for what a rule leaves out; `shared`: there is a Redis.
pub(super) fn all(
    rate_limit: &Section<'_>,
    default: &Limit,
    key: KeyStrategy,
    shared: bool,
    slash: EscapedSlash,
) -> Vec<Rule> {
    let errors = rate_limit.context.errors();
    let mut rules = Vec::new();
    let mut nodes = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (n, node) in rate_limit.list("rules").unwrap_or_default().iter().enumerate() {
        if node.broken() {
            continue;
        }
        let section = Section::open(rate_limit.context, node, rate_limit.name(format!("rules[{n}]")));
        let rule = read(&section, default, shared, slash);
        if let Some(first) = seen.get(&rule.id)
            && let Some(node) = section.node("id")
        {
            let what = format!(
                "`{}` is the id of `{}` already, {:?}: ids must differ",
                section.name("id"),
                rate_limit.name(format!("rules[{first}]")),
                rule.id
            );
            section.error(node, what);
        } else if !rule.id.is_empty() {
            seen.insert(rule.id.clone(), n);
        }
        section.finish();
        rules.push(rule);
        nodes.push((n, node));
    }
    // What is wrong was read as if it were not there, and may only seem to be alike.
    if rate_limit.context.errors() == errors {
        idle(rate_limit, &rules, &nodes, key);
    }
    rules
}

fn read(section: &Section<'_>, default: &Limit, shared: bool, slash: EscapedSlash) -> Rule {
    let (limit, cost) = match section.child("rateLimit") {
        Some(section) => limit_and_cost(section, default),
        None => (Limit { burst: 0, ..default.clone() }, 1),
    };
    Rule {
        id: id(section).unwrap_or_default(),
        priority: section.integer("priority", -1_000_000..=1_000_000).unwrap_or(0),
        matches: section.child("match").map_or_else(Match::default, |section| matches(section, slash)),
        limit,
        cost,
        key: key_strategy(section, "key"),
        shadow: section.flag("shadow").unwrap_or(false),
        on_error: on_error(section, shared),
    }
}

fn id(section: &Section<'_>) -> Option<String> {
    section.require("id", "give the rule a unique id; it is the label in metrics and answers");
    let (text, node) = section.text("id")?;
    if text == "default" || text.starts_with("tier:") {
        let what = format!(
            "`{}` is {}, which is the gateway's own label for requests that no rule decides: rename the rule",
            section.name("id"),
            shown_for("id", node)
        );
        section.error(node, what);
    } else if !is_label(text) {
        let what = format!(
            "`{}` must be 1 to 64 of the characters A-Z a-z 0-9 . _ -, found {}: rename the rule",
            section.name("id"),
            shown_for("id", node)
        );
        section.error(node, what);
    }
    Some(text.to_owned())
}

fn matches(section: Section<'_>, slash: EscapedSlash) -> Match {
    const NONE: &str = ", and the rule matches none of them";
    let matches = Match {
        endpoint: endpoint::matched(&section, slash),
        methods: route::methods(&section),
        hosts: route::hosts(&section),
        tiers: ids(&section, "tiers", NONE),
        user_ids: ids(&section, "userIds", NONE),
        api_keys: ids(&section, "apiKeys", NONE),
    };
    section.finish();
    matches
}

fn limit_and_cost(section: Section<'_>, default: &Limit) -> (Limit, u32) {
    let limit = limit(&section, &PLAIN, default);
    let cost: u32 = section.integer("cost", 1..=2 * MAX_REQUESTS).unwrap_or(1);
    let capacity = u64::from(limit.requests) + u64::from(limit.burst);
    if u64::from(cost) > capacity
        && let Some(node) = section.node("cost")
    {
        let what = format!(
            "`{}` is more than `requests` and `burst` together ({capacity}), so that no request could ever pass: \
             lower it, or raise `requests`",
            section.name("cost")
        );
        section.error(node, what);
    }
    section.finish();
    (limit, cost)
}

/// Warns of rules that never decide, because another one counts the same requests in the same way and allows no more.
fn idle(rate_limit: &Section<'_>, rules: &[Rule], nodes: &[(usize, &Node)], key: KeyStrategy) {
    let mut alike: HashMap<String, Vec<usize>> = HashMap::new();
    for (at, rule) in rules.iter().enumerate() {
        let Match { endpoint, methods, hosts, tiers, user_ids, api_keys } = &rule.matches;
        let mut lists = [methods, hosts, tiers, user_ids, api_keys].map(Clone::clone);
        lists.iter_mut().for_each(|list| list.sort_unstable());
        let Limit { algorithm, window, requests: _, burst: _ } = rule.limit;
        let (key, on_error) = (rule.key.unwrap_or(key), rule.on_error);
        // A rule in shadow decides nothing anyway, and is often there to be compared.
        if !rule.shadow {
            let same =
                format!("{endpoint:?} {lists:?} {algorithm:?} {window:?} {key:?} {on_error:?} {}", rule.cost);
            alike.entry(same).or_default().push(at);
        }
    }
    let allows = |at: usize| {
        let Limit { requests, burst, .. } = rules[at].limit;
        (u64::from(requests) + u64::from(burst), requests)
    };
    for group in alike.values().filter(|group| group.len() > 1) {
        let Some(&tightest) = group.iter().min_by_key(|at| allows(**at)) else { continue };
        let (capacity, requests) = allows(tightest);
        // Both must be as large: a bucket that holds more but refills more slowly does decide, later.
        for &at in group
            .iter()
            .filter(|at| **at != tightest && allows(**at).0 >= capacity && allows(**at).1 >= requests)
        {
            let (n, node) = nodes[at];
            let name = |n: usize| rate_limit.name(format!("rules[{n}]"));
            let what = format!(
                "`{}` never decides: `{}`, {:?}, counts the same requests and allows no more; remove one of them, or \
                 change what it matches",
                name(n),
                name(nodes[tightest].0),
                rules[tightest].id
            );
            rate_limit.warning(node, what);
        }
    }
}
