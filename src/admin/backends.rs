//! Backends and their targets as they stand: health, breakers, counters.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::time::Duration;

use aegis_actors::TargetId;
use aegis_actors::circuit_breaker::{self, CircuitBreakerActor, CircuitState};
use serde::Serialize;

use super::Admin;
use super::status::{CLASSES, time};
use crate::gateway::snapshot::{Backend, Target};
use crate::supervisor::{Inspect, Overview};

/// How long an actor may take for its part of the page; without it the page shows what is published.
const ACTOR_TIMEOUT: Duration = Duration::from_millis(300);

/// A backend with its targets.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendStatus {
    name: String,
    status: &'static str,
    circuit: &'static str,
    circuit_enabled: bool,
    requests: u64,
    upstream_status: BTreeMap<&'static str, u64>,
    retries: u64,
    retries_refused_by_budget: u64,
    targets: Vec<TargetStatus>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TargetStatus {
    url: String,
    weight: u32,
    healthy: bool,
    drained: bool,
    circuit: &'static str,
    circuit_held: bool,
    circuit_opened: u64,
    in_flight: usize,
    tunnels: usize,
    requests: u64,
    failures: u64,
    last_failure: Option<LastFailure>,
    connections: Connections,
    addresses: Vec<String>,
    health_check: HealthCheck,
    /// `None` while the breakers' actor does not answer.
    #[serde(flatten)]
    breaker: Option<Breaker>,
}

#[derive(Serialize)]
struct LastFailure {
    at: String,
    why: String,
}

#[derive(Serialize)]
struct Connections {
    new: u64,
    reused: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HealthCheck {
    last_check: Option<String>,
    last_error: Option<String>,
    consecutive_passes: u32,
    consecutive_failures: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Breaker {
    window: Window,
    retry_in_ms: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Window {
    consecutive_failures: u32,
    calls: u64,
    failure_rate: f64,
    slow_rate: f64,
}

/// Every backend with its targets.
pub async fn backends(admin: &Admin) -> Vec<BackendStatus> {
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

/// What the breakers' actor knows of each target; nothing where it does not answer.
pub async fn breakers(overview: &Overview) -> HashMap<TargetId, circuit_breaker::Report> {
    let Some(breaker) = overview.addresses.of::<CircuitBreakerActor>() else { return HashMap::new() };
    let reports = breaker.send(circuit_breaker::Inspect).timeout(ACTOR_TIMEOUT).await.unwrap_or_default();
    reports.into_iter().map(|report| (report.target, report)).collect()
}

/// A backend as it stands.
pub fn backend(backend: &Backend, breakers: &HashMap<TargetId, circuit_breaker::Report>) -> BackendStatus {
    let targets = &backend.targets;
    let status = match usable_targets(backend) {
        0 => "down",
        n if n == targets.len() => "up",
        _ => "degraded",
    };
    let worst = targets.iter().map(|t| t.shared.breaker.peek()).max().unwrap_or_default();
    let counters = &backend.counters;
    let classes = CLASSES.into_iter().zip(counters.statuses.each_ref().map(|count| count.sum()));
    BackendStatus {
        name: backend.name.clone(),
        status,
        circuit: worst.as_str(),
        circuit_enabled: backend.settings.circuit_breaker.enabled,
        requests: counters.requests.sum(),
        // A 1xx is never the answer.
        upstream_status: classes.skip(1).collect(),
        retries: counters.retries.sum(),
        retries_refused_by_budget: counters.retries_refused.sum(),
        targets: targets.iter().map(|t| target(t, breakers.get(&t.shared.id))).collect(),
    }
}

fn target(target: &Target, breaker: Option<&circuit_breaker::Report>) -> TargetStatus {
    let (shared, counters) = (&target.shared, &target.counters);
    let (health, published) = (shared.health.load(), shared.breaker.load());
    let last_failure = counters.last_failure.load();
    let last_failure =
        last_failure.as_ref().map(|last| LastFailure { at: time(last.0), why: last.1.to_string() });
    TargetStatus {
        url: shared.url.clone(),
        weight: target.weight,
        healthy: health.healthy,
        drained: shared.drained.load(Ordering::Relaxed),
        circuit: published.circuit().as_str(),
        circuit_held: published.forced(),
        circuit_opened: published.opened,
        in_flight: shared.in_flight.load(Ordering::Relaxed),
        tunnels: shared.tunnels.load(Ordering::Relaxed),
        requests: counters.requests.sum(),
        failures: counters.failures.sum(),
        last_failure,
        connections: Connections {
            new: counters.connections_new.sum(),
            reused: counters.connections_reused.sum(),
        },
        addresses: shared.addresses.load().iter().map(ToString::to_string).collect(),
        health_check: HealthCheck {
            last_check: health.last_check.map(time),
            last_error: health.last_error.clone(),
            consecutive_passes: health.passes,
            consecutive_failures: health.failures,
        },
        breaker: breaker.map(|report| Breaker {
            window: Window {
                consecutive_failures: report.consecutive_failures,
                calls: report.calls,
                failure_rate: report.failure_rate,
                slow_rate: report.slow_rate,
            },
            retry_in_ms: report.retry_in.map(|wait| wait.as_millis() as u64),
        }),
    }
}
