//! `/_aegis/rate-limit`: who keeps the limits, what they decided, and whom they met most.

use std::time::Duration;

use aegis_actors::rate_limiter::settings::OnError;
use aegis_actors::rate_limiter::{Entry, Inspect, LIST, Limiter, Mode, RateLimiterActor, Report, Sighted};
use serde::Serialize;

use super::{Admin, answer};
use crate::gateway::rate_limit::SAMPLE;
use crate::gateway::rate_limit::rules::CompiledLimit;
use crate::gateway::shared::{InternalAnswer, Shared};
use crate::supervisor;

/// How long the actor may take for its part of the page.
const ACTOR_TIMEOUT: Duration = Duration::from_millis(300);

/// The mode in one word; a store that answers only in part is `degraded` as well.
pub fn standing(limiter: &Limiter) -> &'static str {
    match (limiter.mode(), limiter.error()) {
        (Mode::Shared, Some(_)) => mode(Mode::Degraded),
        (other, _) => mode(other),
    }
}

/// The limiter in the status page.
#[derive(Serialize)]
pub struct Summary {
    enabled: bool,
    mode: &'static str,
    error: Option<String>,
    instances: u64,
    keys: usize,
}

/// The whole page.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(flatten)]
    summary: Summary,
    max_keys: usize,
    rules: Vec<Rule>,
    /// `None` while the actor does not answer.
    #[serde(flatten)]
    details: Option<Details>,
}

/// What only the actor knows.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Details {
    leased: u64,
    store_calls: u64,
    busiest: Vec<Client>,
    most_limited: Vec<Client>,
    lists: Lists,
}

/// How the lists of clients come about.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Lists {
    seconds: [u64; 2],
    busiest: List,
    most_limited: List,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List {
    one_in: u32,
    what: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    id: String,
    algorithm: &'static str,
    requests: u32,
    window_seconds: u64,
    burst: u32,
    cost: u64,
    key: &'static str,
    shadow: bool,
    on_error: &'static str,
    decisions: Decided,
    keys: usize,
    leased: u64,
    over_admission_bound: Option<u64>,
}

#[derive(Serialize)]
struct Decided {
    allowed: u64,
    limited: u64,
    shadow: u64,
    bypassed: u64,
    error: u64,
}

/// A client with its requests of the last one to two minutes, counted as `lists` says; up to `error` of them are others',
/// whose place in the list it took.
#[derive(Serialize)]
struct Client {
    rule: String,
    key: String,
    requests: u64,
    error: u64,
}

/// The limiter as it stands.
pub fn summary(shared: &Shared) -> Summary {
    let limiter = &shared.limiter;
    Summary {
        enabled: shared.snapshot.load().limits.is_some(),
        mode: mode(limiter.mode()),
        error: limiter.error().map(|error| error.to_string()),
        instances: limiter.instances(),
        keys: limiter.key_quota.live(),
    }
}

/// Answers with the whole page.
pub async fn page(admin: &Admin) -> InternalAnswer {
    let Ok(overview) = admin.supervisor.send(supervisor::Inspect).await else { return answer::gone() };
    let report = match overview.addresses.of::<RateLimiterActor>() {
        Some(limiter) => limiter.send(Inspect).timeout(ACTOR_TIMEOUT).await.ok(),
        None => None,
    };
    let shared = &admin.shared;
    let snapshot = shared.snapshot.load_full();
    let now = shared.limiter.clock.now();
    let mut summary = summary(shared);
    let rules = snapshot.limits.iter().flat_map(|limits| limits.all());
    // An error while the store is in use: it answers only for some keys.
    let all = report.as_ref().is_some_and(|report| report.error.is_none());
    let rules = rules.map(|limited| rule(limited, &shared.limiter, all, now)).collect();
    if let Some(report) = &report {
        summary.error.clone_from(&report.error);
    }
    let max_keys = shared.limiter.key_quota.most();
    answer::ok(&Page { summary, max_keys, rules, details: report.as_ref().map(details) })
}

fn details(report: &Report) -> Details {
    let seconds = LIST.as_secs();
    Details {
        leased: report.leased,
        store_calls: report.store_calls,
        busiest: report.busiest.iter().map(client).collect(),
        most_limited: report.limited.iter().map(client).collect(),
        lists: Lists {
            seconds: [seconds, 2 * seconds],
            busiest: List {
                one_in: SAMPLE,
                what: format!(
                    "estimated: one in {SAMPLE} of the requests that a limit let pass is drawn at random and stands for \
                     {SAMPLE}; who has sent few may be missing, and n may be too many or too few by about 4 times the root of n"
                ),
            },
            most_limited: List {
                one_in: 1,
                what: "counted: every request that a limit refused, or would have refused in shadow"
                    .to_owned(),
            },
        },
    }
}

/// How much more than the limit may be used in a window, as things are; `None` where there is no bound. `all`: the shared
/// store answers for all keys.
fn over_admission(limited: &CompiledLimit, limiter: &Limiter, all: bool) -> Option<u64> {
    let shared = &limited.shared;
    // What is leased was charged when it was leased. What has passed by a share the store may not know of, nor the share of
    // what the store has let pass: at most the shares more, while the store is away or one of them is in use.
    let shares = || limiter.by_shares(shared, limited.cost).map(|shares| shares.max(shared.plan.capacity));
    match (limiter.mode(), limited.on_error) {
        (Mode::Local, _) | (_, OnError::Deny) => Some(0),
        (Mode::Degraded, OnError::Allow) => None,
        (Mode::Degraded, OnError::Local) => shares(),
        (Mode::Shared, OnError::Allow) if !all => None,
        (Mode::Shared, _) if shared.buckets.is_empty() => Some(0),
        (Mode::Shared, _) => shares(),
    }
}

fn rule(limited: &CompiledLimit, limiter: &Limiter, all: bool, now: u64) -> Rule {
    let shared = &limited.shared;
    let (limit, decisions) = (&shared.limit, &shared.decisions);
    Rule {
        id: shared.name.to_string(),
        algorithm: limit.algorithm.as_str(),
        requests: limit.requests,
        window_seconds: limit.window.as_secs(),
        burst: limit.burst,
        cost: limited.cost,
        key: shared.keyed_by.strategy.as_str(),
        shadow: limited.shadow,
        on_error: limited.on_error.as_str(),
        decisions: Decided {
            allowed: decisions.allowed.sum(),
            limited: decisions.limited.sum(),
            shadow: decisions.shadow.sum(),
            bypassed: decisions.bypassed.sum(),
            error: decisions.error.sum(),
        },
        keys: shared.buckets.len(),
        leased: shared.leases.outstanding(now),
        over_admission_bound: over_admission(limited, limiter, all),
    }
}

fn client(entry: &Entry<Sighted>) -> Client {
    Client {
        rule: entry.key.name.to_string(),
        key: entry.key.owner.as_key().to_string(),
        requests: entry.count,
        error: entry.error,
    }
}

/// Who keeps the limits, as the pages call it.
pub fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Local => "local",
        Mode::Shared => "redis",
        Mode::Degraded => "degraded",
    }
}
