//! `/_aegis/status` and `/_aegis/routes`: the published state, put into JSON.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use aegis_actors::TargetId;
use aegis_actors::circuit_breaker::{self, CircuitState};
use serde_json::{Value, json};

use super::{Admin, answer};
use crate::config::{REDACTED, is_secret_field};
use crate::gateway::shared::InternalAnswer;
use crate::gateway::snapshot::{Backend, Target};
use crate::store::Store;
use crate::supervisor::{Inspect, Overview};

/// How long an actor may take for its part of the page; without it the page shows what is published.
const PATIENCE: Duration = Duration::from_millis(300);

/// Everything at a glance.
pub async fn status(admin: &Admin) -> InternalAnswer {
    let Ok(overview) = admin.supervisor.send(Inspect).await else {
        return answer::gone();
    };
    let breakers = breakers(&overview).await;
    let shared = &admin.shared;
    let snapshot = shared.snapshot.load_full();
    let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"];
    let counts = shared.statuses.each_ref().map(|count| count.sum());
    let by_class: serde_json::Map<String, Value> =
        classes.iter().zip(counts).map(|(class, count)| ((*class).to_owned(), json!(count))).collect();
    #[cfg_attr(not(feature = "test-hooks"), expect(unused_mut, reason = "test builds add to it"))]
    let mut value = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "startedAt": humantime::format_rfc3339_millis(admin.started_at).to_string(),
        "uptimeSeconds": admin.started.elapsed().as_secs(),
        "ready": shared.can_serve() && !shared.is_draining(),
        "draining": shared.is_draining(),
        "config": {
            "generation": snapshot.generation,
            "hash": overview.hash,
            "file": overview.file,
            "warnings": overview.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "pendingRestart": overview.pending_restart,
            "reloads": overview.reloads,
        },
        "lastReload": overview.last_reload,
        "workers": admin.workers,
        "inFlight": shared.in_flight(),
        "tunnels": shared.tunnels.load(Ordering::Relaxed),
        "requests": {
            "total": counts.iter().sum::<u64>(),
            "byStatus": by_class,
            "madeByGateway": shared.refused.sum(),
        },
        "rateLimiter": super::rate_limit::summary(shared),
        "store": {
            "state": store_state(admin),
            "error": store_error(admin),
            "setAside": admin.kept.store.as_ref().and_then(Store::set_aside),
            "pendingRollups": shared.metrics.waiting(),
        },
        "backends": snapshot.backends.iter().map(|b| backend(b, &breakers)).collect::<Vec<_>>(),
        "actors": overview.actors,
        "events": overview.events,
    });
    #[cfg(feature = "test-hooks")]
    {
        value["actorMessages"] = json!(aegis_actors::supervision::message_count());
    }
    answer::ok(&value)
}

/// What the metrics store was when it was last used: `none`, `opening` (not yet), `ok` or `away`.
pub fn store_state(admin: &Admin) -> &'static str {
    match (&admin.kept.store, store_error(admin)) {
        (None, _) => "none",
        (Some(_), Some(_)) => "away",
        (Some(_), None) if admin.shared.metrics.store_up() => "ok",
        (Some(_), None) => "opening",
    }
}

/// Why it is away.
pub fn store_error(admin: &Admin) -> Option<String> {
    let damaged = admin.kept.store.as_ref().and_then(Store::trouble);
    damaged.or_else(|| admin.shared.metrics.store_error())
}

/// Every backend with its targets.
pub async fn backends(admin: &Admin) -> Vec<Value> {
    let breakers = match admin.supervisor.send(Inspect).await {
        Ok(overview) => breakers(&overview).await,
        Err(_) => HashMap::new(),
    };
    admin.shared.snapshot.load().backends.iter().map(|b| backend(b, &breakers)).collect()
}

/// Targets of a backend that may take requests now.
pub fn usable_targets(backend: &Backend) -> usize {
    let usable = |t: &&std::sync::Arc<Target>| {
        t.shared.health.is_healthy()
            && !t.shared.drained.load(Ordering::Relaxed)
            && t.shared.breaker.peek() != CircuitState::Open
    };
    backend.targets.iter().filter(usable).count()
}

async fn breakers(overview: &Overview) -> HashMap<TargetId, circuit_breaker::Report> {
    let Some(breaker) = &overview.breaker else { return HashMap::new() };
    let reports = breaker.send(circuit_breaker::Inspect).timeout(PATIENCE).await.unwrap_or_default();
    reports.into_iter().map(|report| (report.target, report)).collect()
}

fn backend(backend: &Backend, breakers: &HashMap<TargetId, circuit_breaker::Report>) -> Value {
    let targets = &backend.targets;
    let state = match usable_targets(backend) {
        0 => "down",
        n if n == targets.len() => "up",
        _ => "degraded",
    };
    let worst = targets.iter().map(|t| t.shared.breaker.peek()).max().unwrap_or_default();
    let counters = &backend.counters;
    json!({
        "name": backend.name,
        "status": state,
        "circuit": worst.as_str(),
        "circuitEnabled": backend.settings.circuit_breaker.enabled,
        "requests": counters.requests.sum(),
        "upstreamStatus": {
            "2xx": counters.statuses[1].sum(),
            "3xx": counters.statuses[2].sum(),
            "4xx": counters.statuses[3].sum(),
            "5xx": counters.statuses[4].sum(),
        },
        "retries": counters.retries.sum(),
        "retriesRefusedByBudget": counters.retries_refused.sum(),
        "targets": targets.iter().map(|t| target(t, breakers.get(&t.shared.id))).collect::<Vec<_>>(),
    })
}

fn target(target: &Target, breaker: Option<&circuit_breaker::Report>) -> Value {
    let shared = &target.shared;
    let health = shared.health.load();
    let published = shared.breaker.load();
    let mut value = json!({
        "url": shared.url,
        "weight": target.weight,
        "healthy": health.healthy,
        "drained": shared.drained.load(Ordering::Relaxed),
        "circuit": published.circuit().as_str(),
        "circuitHeld": published.forced(),
        "circuitOpened": published.opened,
        "inFlight": shared.in_flight.load(Ordering::Relaxed),
        "tunnels": shared.tunnels.load(Ordering::Relaxed),
        "requests": target.counters.requests.sum(),
        "failures": target.counters.failures.sum(),
        "lastFailure": target.counters.last_failure.load().as_ref().map(|last| json!({
            "at": humantime::format_rfc3339_millis(last.0).to_string(),
            "why": last.1,
        })),
        "connections": {
            "new": target.counters.connections_new.sum(),
            "reused": target.counters.connections_reused.sum(),
        },
        "addresses": shared.addresses.load().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "healthCheck": {
            "lastCheck": health.last_check.map(|at| humantime::format_rfc3339_millis(at).to_string()),
            "lastError": health.last_error,
            "consecutivePasses": health.passes,
            "consecutiveFailures": health.failures,
        },
    });
    if let Some(report) = breaker {
        value["window"] = json!({
            "consecutiveFailures": report.consecutive_failures,
            "calls": report.calls,
            "failureRate": report.failure_rate,
            "slowRate": report.slow_rate,
        });
        value["retryInMs"] = json!(report.retry_in.map(|wait| wait.as_millis() as u64));
    }
    value
}

/// A header that a route asks for; its value may be a secret that stands for the client's right to the route.
fn shown((name, value): &(String, String)) -> (&str, &str) {
    (name, if is_secret_field(name) { REDACTED } else { value })
}

/// Compiled routes, most specific first.
pub fn routes(admin: &Admin) -> InternalAnswer {
    let snapshot = admin.shared.snapshot.load_full();
    let row = |compiled: &crate::router::CompiledRoute<usize>| {
        let route = &snapshot.routes[*compiled.payload()];
        let last = route.counters.last_hit_ms.load(Ordering::Relaxed);
        let last_hit = (last != 0)
            .then(|| humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(last)).to_string());
        json!({
            "path": route.pattern,
            "specificity": compiled.specificity(),
            "priority": compiled.priority(),
            "methods": compiled.methods(),
            "hosts": compiled.hosts().iter().map(ToString::to_string).collect::<Vec<_>>(),
            "headers": compiled.headers().iter().map(shown).collect::<Vec<_>>(),
            "backend": route.backend.name,
            "deny": route.deny,
            "hits": route.counters.hits.sum(),
            "lastHit": last_hit,
        })
    };
    answer::ok(
        &json!({"generation": snapshot.generation, "routes": snapshot.router.routes().map(row).collect::<Vec<_>>()}),
    )
}
