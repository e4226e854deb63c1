//! An explanation in words: the outcome first, then a line for each decision, in the order in which they are made.

use std::fmt::Write as _;

use super::placed;
use crate::config::Located;
use crate::gateway::explain::told::{AuthStage, Explanation, LimitStage, Outcome, Target, Upstream, Who};

/// Targets, and near misses, that are shown.
const SHOWN: usize = 20;

/// The explanation in words. `here`: the hash of the reader's own configuration, where that is another one than the gateway's.
pub fn describe(told: &Explanation, here: Option<&str>, locate: impl Fn(&str) -> Located) -> String {
    let by = |key: &str| match (here, locate(key)) {
        // Lines of another configuration would mislead.
        (Some(_), _) => format!("`{key}`"),
        (None, Located::Default(_)) => format!("`{key}`, a default"),
        (None, located) => format!("`{key}`, {}", placed(&located)),
    };
    let mut out = String::new();
    verdict(&mut out, told, &by);
    if let Some(path) = told.canonical_path.as_deref().filter(|path| *path != told.path) {
        let _ = writeln!(out, "Path: judged as {path}.");
    }
    route(&mut out, told, &by);
    if let Some(auth) = &told.auth {
        identity(&mut out, auth, &by);
    }
    told.limits.iter().for_each(|limit| limits(&mut out, limit, &by));
    if let Some(upstream) = &told.upstream {
        behind(&mut out, upstream, told.live, &by);
    }
    let _ = match told.live {
        true => {
            writeln!(out, "As the gateway is now: generation {}, hash {}.", told.generation, told.config_hash)
        }
        false => writeln!(
            out,
            "By the configuration alone, hash {}: targets have no state here, and limits are full.",
            told.config_hash
        ),
    };
    if let Some(here) = here {
        let _ = writeln!(
            out,
            "The configuration here is another one, with the hash {here}: its lines are not named."
        );
    }
    out
}

fn verdict(out: &mut String, told: &Explanation, by: &dyn Fn(&str) -> String) {
    let verdict = &told.verdict;
    let host = told.host.as_deref().map(|host| format!(" of {host}")).unwrap_or_default();
    let _ = write!(out, "{} {}{host} from {} ", told.method, told.path, told.client);
    let status = verdict.status.map(|status| format!(" {status}")).unwrap_or_default();
    let _ = match verdict.outcome {
        Outcome::Forwarded => {
            let backend = told.upstream.as_ref().map_or("", |upstream| &upstream.backend);
            writeln!(out, "would be forwarded to backend {backend}.")
        }
        Outcome::Answered => writeln!(out, "would be answered{status} by the gateway, as asked."),
        Outcome::Refused => {
            let reason = verdict.reason.as_deref().unwrap_or("?");
            let detail = verdict.detail.as_deref().unwrap_or("");
            writeln!(out, "would be refused:{status} {reason}. {detail}")
        }
        Outcome::Undetermined => writeln!(out, "cannot be judged from here."),
    };
    if let Some(why) = &verdict.why {
        let _ = writeln!(out, "Why: {}", sentence(why));
    }
    if let Some(key) = &verdict.decided_by {
        let _ = writeln!(out, "Decided by {}.", by(key));
    }
    if let Some(seconds) = verdict.retry_after_seconds {
        let _ = writeln!(out, "Worth another try in {seconds} s.");
    }
    for challenge in &verdict.challenges {
        let _ = writeln!(out, "It would be told to bring: {challenge}");
    }
}

/// What is for the log has neither a capital nor a full stop.
fn sentence(why: &str) -> String {
    let mut letters = why.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    let stop = if why.ends_with('.') { "" } else { "." };
    format!("{first}{}{stop}", letters.as_str())
}

fn route(out: &mut String, told: &Explanation, by: &dyn Fn(&str) -> String) {
    match &told.route {
        Some(route) => {
            let priority =
                route.priority.map(|priority| format!(", priority {priority}")).unwrap_or_default();
            let _ = writeln!(
                out,
                "Route: {} of backend {} (specificity {}{priority}), {}.",
                route.path,
                route.backend,
                route.specificity,
                by(&route.key)
            );
        }
        None if told.canonical_path.is_some() && told.verdict.outcome == Outcome::Refused => {
            out.push_str("Route: none.\n");
        }
        None => {}
    }
    for miss in told.near_misses.iter().take(SHOWN) {
        let _ = writeln!(out, "  not {} of {}: {}", miss.path, miss.backend, miss.why);
    }
    more(out, told.near_misses.len().saturating_sub(SHOWN) + told.more_near_misses, "routes");
}

fn more(out: &mut String, number: usize, what: &str) {
    if number > 0 {
        let _ = writeln!(out, "  and {number} more {what}");
    }
}

fn identity(out: &mut String, auth: &AuthStage, by: &dyn Fn(&str) -> String) {
    let _ = writeln!(out, "Credential: {}, by {}.", auth.rule, by(&auth.decided_by));
    if let Some(Who { kind, issuer, user_id, key_id, tier, scopes, .. }) = &auth.identity {
        let mut said = format!("user {user_id}, by {kind}");
        let mut add = |what: &str, value: Option<&str>| {
            value.into_iter().for_each(|value| said += &format!(", {what} {value}"));
        };
        add("issuer", issuer.as_deref());
        add("key", key_id.as_deref());
        add("tier", tier.as_deref());
        add("scopes", (!scopes.is_empty()).then(|| scopes.join(" ")).as_deref());
        let _ = writeln!(out, "Identity: {said}.");
    }
    if !auth.roles.is_empty() {
        let _ = writeln!(out, "Roles: {}.", auth.roles.join(", "));
    }
    for want in &auth.wants {
        let _ = writeln!(out, "The route wants {}: {}.", want.what, by(&want.decided_by));
    }
    let Some(permissions) = &auth.permissions else { return };
    let _ = match (permissions.permitted, permissions.shadow, &permissions.exempt) {
        (_, _, Some(exempt)) => writeln!(out, "Permissions: granted by {exempt}."),
        (true, ..) => writeln!(out, "Permissions: granted."),
        (false, true, _) => writeln!(out, "Permissions: none; it passes, for auth.rbac.shadow is on."),
        (false, false, _) => writeln!(out, "Permissions: none."),
    };
    for one in &permissions.considered {
        let outcome = match one.outcome.as_str() {
            "grants" => "grants it".to_owned(),
            "method" => "is for other methods".to_owned(),
            condition => format!("does not hold: {condition}"),
        };
        let _ = writeln!(out, "  {} of role {} {outcome}, {}", one.resource, one.role, by(&one.key));
    }
}

fn limits(out: &mut String, limit: &LimitStage, by: &dyn Fn(&str) -> String) {
    let _ = write!(
        out,
        "Limit {}: {} requests per {} s for {}",
        limit.rule, limit.limit, limit.window_seconds, limit.key
    );
    let left = limit.left.map(|left| format!(", {left} left")).unwrap_or_default();
    let cost = if limit.cost == 1 { String::new() } else { format!(", of which this takes {}", limit.cost) };
    let says = match limit.says.as_str() {
        "enough" => "",
        "refuses" if limit.shadow => "; used up, and in shadow: it would pass",
        "refuses" => "; used up",
        "uncounted" => "; the shared store is away: it would pass uncounted",
        "unavailable" => "; the shared store is away, and the rule refuses then",
        "exempt" => "; the request is exempt",
        _ => "; what is left is known to the shared store alone",
    };
    let key = limit.decided_by.as_deref().map(|key| format!(" ({})", by(key))).unwrap_or_default();
    let _ = writeln!(out, "{left}{cost}{says}{key}.");
}

fn behind(out: &mut String, upstream: &Upstream, live: bool, by: &dyn Fn(&str) -> String) {
    if let Some(path) = &upstream.path {
        let host = upstream.host.as_deref().map(|host| format!(", as host {host}")).unwrap_or_default();
        let _ = writeln!(out, "Upstream: asked for {path}{host}.");
    }
    let _ = writeln!(out, "Targets of {}, by {}:", upstream.backend, upstream.load_balance);
    upstream.targets.iter().take(SHOWN).for_each(|one| target(out, one, live));
    more(out, upstream.targets.len().saturating_sub(SHOWN), "targets");
    for limit in &upstream.time_limits {
        let what = match limit.what.as_str() {
            "request" => "for the whole request",
            "firstByte" => "for one try, to the answer's head",
            "connect" => "to connect",
            "idle" => "without a byte",
            other => other,
        };
        let _ = writeln!(out, "Time: {} ms {what}, {}.", limit.ms, by(&limit.decided_by));
    }
    let retries = &upstream.retries;
    let when = match retries.idempotent {
        true => "where a try fails or answers 502, 503 or 504",
        false => "only where nothing of it has gone out, for the method is not idempotent",
    };
    let budget = &retries.budget;
    let _ = match retries.tries.saturating_sub(1) {
        0 => writeln!(out, "Retries: none, {}.", by(&retries.decided_by)),
        most => writeln!(
            out,
            "Retries: up to {most} {when}, within {} % of the backend's requests and {} a second, {}.",
            budget.percent_of_requests,
            budget.per_second,
            by(&retries.decided_by)
        ),
    };
    let Some(headers) = &upstream.headers else { return };
    if !headers.removed.is_empty() {
        let _ = writeln!(out, "Headers removed: {}.", headers.removed.join(", "));
    }
    out.push_str("Headers set:\n");
    for field in &headers.set {
        let value = field.value.as_deref().unwrap_or("(not shown)");
        let _ = writeln!(out, "  {}: {value}", field.name);
    }
}

fn target(out: &mut String, target: &Target, live: bool) {
    let chance = match (target.chosen, target.eligible) {
        (true, _) => "would be chosen",
        (false, true) => "could be chosen",
        (false, false) => "could not be chosen",
    };
    let state = target.state.as_ref().map(|state| {
        let health = if state.healthy { "healthy" } else { "unhealthy" };
        let drained = if state.drained { ", drained" } else { "" };
        format!(
            ": {health}{drained}, breaker {}, {} in flight, {} tunnels",
            state.circuit, state.in_flight, state.tunnels
        )
    });
    let state = state.unwrap_or_default();
    let _ = match live {
        true => writeln!(out, "  {} {chance}{state}", target.url),
        false => writeln!(out, "  {}", target.url),
    };
}
