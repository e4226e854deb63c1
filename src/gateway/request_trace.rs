//! How a request came to its answer: kept for every answer that the gateway made itself, for every 5xx of an upstream, for
//! slow requests, and for a sample of the rest. `aegis why` shows it.

use std::time::Duration;

use aegis_actors::metrics_aggregator::{NONE, Sample};
use serde_json::{Value, json};

use super::answer::Cause;
use super::counting::SampleReason;
use super::decided::Decided;
use super::record::{Decider, RequestRecord, TryOutcome};

/// Targets in a trace beside those that were tried: the store keeps a hundred thousand traces.
const OTHERS: usize = 16;

/// What is kept of a method and of a path, in characters: the client chooses them.
pub const METHOD: usize = 32;
pub const PATH: usize = 1024;

/// One in a hundred requests that are neither refused nor slow is kept.
const SAMPLED: u32 = 100;

/// Whether the request is kept as a sample, and why.
pub fn sample_reason(record: &RequestRecord, took: Duration) -> Option<SampleReason> {
    let refused = record.is_refused();
    let failed = record.status >= 500 && record.upstream.is_some();
    if record.own.is_some() && !refused {
        return None;
    }
    if refused || record.broken || record.cut || failed || is_slow(record, took) {
        return Some(SampleReason::Remarkable);
    }
    (record.worker.random(|random| random.u32(..SAMPLED)) == 0).then_some(SampleReason::Random)
}

fn is_slow(record: &RequestRecord, took: Duration) -> bool {
    let slow = record.snapshot.slow_request;
    !slow.is_zero() && record.latency(took) >= slow
}

/// The request and its trace, to be stored. What the client chose is cut: thousands of samples wait in memory while the store is
/// away.
pub fn sample(record: &RequestRecord, status: u16, took: Duration) -> Sample {
    let route = record.route.map(|index| &record.snapshot.routes[index]);
    let name = |name: Option<&str>| name.unwrap_or(NONE).into();
    Sample {
        at_ms: record.arrived_ms as i64,
        request_id: record.request_id.as_str().to_owned(),
        instance: "".into(),
        method: bounded(record.head.method.as_str(), METHOD),
        path: bounded(record.head.target.path(), PATH),
        route: name(route.map(|route| route.pattern.as_str())),
        backend: name(route.map(|route| route.backend.name.as_str())),
        status,
        reason: record.reason(),
        duration_us: took.as_micros() as u64,
        client: record.client.to_string(),
        details: details(record).to_string(),
    }
}

fn bounded(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// The key of the configuration that a refusal goes by, as `aegis why` finds it in the file.
fn decided_by(record: &RequestRecord) -> Option<String> {
    let refused = || record.request_trace.limits.iter().find(|limit| limit.refused && !limit.shadow);
    let limits = record.snapshot.limits.as_ref();
    let decided = Decided {
        snapshot: &record.snapshot,
        route: record.route.map(|index| &record.snapshot.routes[index]),
        client: record.client,
        decider: record.request_trace.decider,
        detail: record.auth_detail,
        limit: limits.and_then(|limits| limits.find(refused()?.limit)),
        key_id: record.key().and_then(|key| key.identity.key_id.as_deref()),
    };
    decided.by(record.cause?)
}

fn details(record: &RequestRecord) -> Value {
    let snapshot = &record.snapshot;
    let route = record.route.map(|index| &snapshot.routes[index]);
    let tries = record.request_trace.tries.iter().map(|one| {
        let target = route.and_then(|route| route.backend.targets.get(one.target));
        let mut value = json!({
            "target": target.map(|target| target.shared.url.as_str()),
            "tookMs": millis(one.took),
            "connection": if one.reused { "reused" } else { "new" },
        });
        match one.outcome {
            TryOutcome::Status(status) => value["status"] = json!(status),
            TryOutcome::Failed(code) => value["failed"] = json!(code),
        }
        if let Some(why) = &one.why {
            value["why"] = json!(why);
        }
        value
    });
    let limits = record.request_trace.limits.iter().map(|outcome| {
        let limited = snapshot.limits.as_ref().and_then(|limits| limits.find(outcome.limit));
        json!({
            "rule": limited.map(|limited| &*limited.shared.name),
            "limit": limited.map(|limited| limited.shared.plan.capacity),
            "windowSeconds": limited.map(|limited| limited.shared.limit.window.as_secs()),
            "remaining": outcome.remaining,
            "refused": outcome.refused,
            "shadow": outcome.shadow,
        })
    });
    let mut details = json!({
        "generation": snapshot.generation,
        "configHash": snapshot.config_hash,
        "host": record.head.host().map(|host| bounded(host, 255)),
        "tries": tries.collect::<Vec<_>>(),
        "limits": limits.collect::<Vec<_>>(),
        "bytesIn": record.bytes_in,
        "bytesOut": record.bytes_out,
        "traceId": record.trace.id(),
        "upstreamMs": record.upstream.map(millis),
    });
    if (record.broken || record.cut) && record.cause.is_none() {
        details["brokeOff"] = json!(true);
    }
    if record.cut || record.cause == Some(Cause::Draining) {
        details["why"] = json!(
            "It was still under way when server.shutdownTimeoutMs had passed since the stop signal, or a second one came."
        );
    }
    if let Some(identity) = record.identity() {
        details["auth"] = json!({
            "kind": identity.kind.as_str(),
            "issuer": identity.issuer,
            "userId": bounded(&identity.user, 256),
            "keyId": record.key().and_then(|key| key.identity.key_id.as_deref()),
            "roles": identity.roles.iter().take(32).collect::<Vec<_>>(),
            "tier": identity.tier,
        });
    }
    if let Some(detail) = record.auth_detail {
        details["why"] = json!(detail);
    }
    if let Some(path) = decided_by(record) {
        details["decidedBy"] = json!(path);
    }
    if let Some(Cause::BadPath(why) | Cause::BadRequest(why)) = record.cause {
        details["why"] = json!(why);
    }
    if record.cause.is_some() && record.request_trace.decider == Some(Decider::Operator) {
        details["why"] =
            json!("An operator keeps the targets away: has drained them, or holds their breakers open.");
    }
    if let Some(route) = route {
        let backend = &route.backend;
        details["timeoutMs"] = json!(route.timeout.as_millis() as u64);
        details["firstByteTimeoutMs"] = json!(route.first_byte_timeout.as_millis() as u64);
        // As they are when the trace is written, which is when the request has just ended.
        let state = |target: &std::sync::Arc<super::snapshot::Target>| {
            let shared = &target.shared;
            json!({
                "target": shared.url,
                "circuit": shared.breaker.peek().as_str(),
                "healthy": shared.health.is_healthy(),
                "drained": shared.drained.load(std::sync::atomic::Ordering::Relaxed),
                "inFlight": shared.in_flight.load(std::sync::atomic::Ordering::Relaxed),
            })
        };
        let was_tried = |at: &usize| record.request_trace.tries.iter().any(|one| one.target == *at);
        let all = 0..backend.targets.len();
        let others = all.clone().filter(|at| !was_tried(at)).take(OTHERS);
        let shown: Vec<usize> = all.filter(was_tried).chain(others).collect();
        let more = backend.targets.len() - shown.len();
        details["targets"] = shown.into_iter().map(|at| state(&backend.targets[at])).collect();
        if more > 0 {
            details["moreTargets"] = json!(more);
        }
    }
    details
}
