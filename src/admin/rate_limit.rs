//! `/_aegis/rate-limit`: who keeps the limits, what they decided, and whom they met most.

use std::time::Duration;

use aegis_actors::rate_limiter::settings::{Algorithm, OnError};
use aegis_actors::rate_limiter::{Entry, Inspect, LIST, Limiter, Mode, Report, Sighted};
use serde_json::{Value, json};

use super::{Admin, answer};
use crate::gateway::rate_limit::SAMPLE;
use crate::gateway::rate_limit::rules::CompiledLimit;
use crate::gateway::shared::{InternalAnswer, Shared};
use crate::supervisor;

/// How long the actor may take for its part of the page.
const PATIENCE: Duration = Duration::from_millis(300);

/// The same in one word, of a store that is there only in part too.
pub fn standing(limiter: &Limiter) -> &'static str {
    match (limiter.mode(), limiter.error()) {
        (Mode::Shared, Some(_)) => mode(Mode::Degraded),
        (other, _) => mode(other),
    }
}

/// The limiter in the status page.
pub fn summary(shared: &Shared) -> Value {
    let enabled = shared.snapshot.load().limits.is_some();
    let limiter = &shared.limiter;
    json!({
        "enabled": enabled,
        "mode": mode(limiter.mode()),
        "error": limiter.error().as_deref(),
        "instances": limiter.instances(),
        "keys": limiter.key_quota.live(),
    })
}

/// The whole page.
pub async fn page(admin: &Admin) -> InternalAnswer {
    let Ok(overview) = admin.supervisor.send(supervisor::Inspect).await else { return answer::gone() };
    let report = match overview.limiter {
        Some(limiter) => limiter.send(Inspect).timeout(PATIENCE).await.ok(),
        None => None,
    };
    let shared = &admin.shared;
    let snapshot = shared.snapshot.load_full();
    let now = shared.limiter.clock.now();
    let mut page = summary(shared);
    page["maxKeys"] = json!(shared.limiter.key_quota.most());
    let rules = snapshot.limits.iter().flat_map(|limits| limits.all());
    // An error while the store is in use: it is there only in part.
    let all = report.as_ref().is_some_and(|report| report.error.is_none());
    page["rules"] = rules.map(|limited| rule(limited, &shared.limiter, all, now)).collect();
    if let Some(report) = report {
        details(&mut page, &report);
    }
    answer::ok(&page)
}

fn details(page: &mut Value, report: &Report) {
    page["error"] = json!(report.error);
    page["leased"] = json!(report.leased);
    page["storeCalls"] = json!(report.store_calls);
    page["busiest"] = report.busiest.iter().map(client).collect();
    page["mostLimited"] = report.limited.iter().map(client).collect();
    let seconds = LIST.as_secs();
    page["lists"] = json!({
        "seconds": [seconds, 2 * seconds],
        "busiest": {
            "oneIn": SAMPLE,
            "what": format!(
                "estimated: one in {SAMPLE} of the requests that a limit let pass is drawn at random and stands for \
                 {SAMPLE}; who has sent few may be missing, and n may be too many or too few by about 4 times the root of n"
            ),
        },
        "mostLimited": {
            "oneIn": 1,
            "what": "counted: every request that a limit refused, or would have refused in shadow",
        },
    });
}

/// How much more than the limit may be used in a window, as things are; `None` where there is no bound. `all`: the shared
/// store answers for all keys.
fn over_admission(limited: &CompiledLimit, limiter: &Limiter, all: bool) -> Option<u64> {
    let cells = &limited.shared;
    // What is leased was charged when it was leased. What has passed by a share the store may not know of, nor the share of
    // what the store has let pass: at most the shares more, while the store is away or one of them is in use.
    let shares = || limiter.by_shares(cells, limited.cost).map(|shares| shares.max(cells.plan.capacity));
    match (limiter.mode(), limited.on_error) {
        (Mode::Local, _) | (_, OnError::Deny) => Some(0),
        (Mode::Degraded, OnError::Allow) => None,
        (Mode::Degraded, OnError::Local) => shares(),
        (Mode::Shared, OnError::Allow) if !all => None,
        (Mode::Shared, _) if cells.buckets.is_empty() => Some(0),
        (Mode::Shared, _) => shares(),
    }
}

fn rule(limited: &CompiledLimit, limiter: &Limiter, all: bool, now: u64) -> Value {
    let cells = &limited.shared;
    let (limit, decisions) = (&cells.limit, &cells.decisions);
    json!({
        "id": &*cells.name,
        "algorithm": match limit.algorithm {
            Algorithm::TokenBucket => "tokenBucket",
            Algorithm::SlidingWindow => "slidingWindow",
            Algorithm::FixedWindow => "fixedWindow",
        },
        "requests": limit.requests,
        "windowSeconds": limit.window.as_secs(),
        "burst": limit.burst,
        "cost": limited.cost,
        "key": cells.keyed_by.strategy.name(),
        "shadow": limited.shadow,
        "onError": match limited.on_error {
            OnError::Local => "local",
            OnError::Allow => "allow",
            OnError::Deny => "deny",
        },
        "decisions": {
            "allowed": decisions.allowed.sum(),
            "limited": decisions.limited.sum(),
            "shadow": decisions.shadow.sum(),
            "bypassed": decisions.bypassed.sum(),
            "error": decisions.error.sum(),
        },
        "keys": cells.buckets.len(),
        "leased": cells.leases.outstanding(now),
        "overAdmissionBound": over_admission(limited, limiter, all),
    })
}

/// A client with its requests of the last one to two minutes, counted as `lists` says; up to `error` of them are others',
/// whose place in the list it took.
fn client(entry: &Entry<Sighted>) -> Value {
    json!({
        "rule": &*entry.key.name,
        "key": entry.key.owner.as_key().to_string(),
        "requests": entry.count,
        "error": entry.error,
    })
}

/// Who keeps the limits, as the pages call it.
pub fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Local => "local",
        Mode::Shared => "redis",
        Mode::Degraded => "degraded",
    }
}
