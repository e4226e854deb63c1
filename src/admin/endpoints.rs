//! The table of endpoints, and the handlers: parse, ask, answer.

use std::time::Duration;

use actix_http::{Method, StatusCode};
use aegis_actors::circuit_breaker::{self, HoldState};
use bytes::Bytes;
use futures_core::future::LocalBoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Admin, alerts, answer, history, prometheus, rate_limit, requests, status};
use crate::config::{Severity, target_url};
use crate::gateway::shared::InternalAnswer;
use crate::supervisor::{Drain, Expected, Hold, Inspect, Reload, ReloadBy};

/// Every endpoint: method, path, what it is for. Path parts in braces are taken from the request.
pub const TABLE: &[(&str, &str, &str)] = &[
    // probes
    ("GET", "/health", "the process lives"),
    ("GET", "/healthz", "the process lives"),
    ("GET", "/ready", "the gateway can serve"),
    // machines
    ("GET", "/metrics", "Prometheus text format; on the admin listener only"),
    // history
    (
        "GET",
        "/api/metrics/{what}",
        "overview, realtime, request-rate, latency, status, errors, top-endpoints, rate-limits, backends; ?range= or ?from=&to=",
    ),
    (
        "GET",
        "/api/requests",
        "newest requests that were kept in whole; ?limit= status= backend= route= reason= client= from= to=",
    ),
    ("GET", "/api/requests/{id}", "how one request came to its answer"),
    // alerts
    ("GET", "/api/alerts", "alerts that fire, who has been told, and how every rule stands"),
    ("GET", "/api/alerts/history", "alerts that fired, the newest first; ?limit=, ?before="),
    ("POST", "/api/alerts/{id}/acknowledge", "somebody knows; it fires on until it resolves"),
    // operators
    ("GET", "/_aegis/status", "everything at a glance"),
    ("GET", "/_aegis/routes", "compiled routes, most specific first"),
    ("GET", "/_aegis/rate-limit", "limits: rules, decisions, busiest and most limited clients"),
    ("GET", "/_aegis/config", "running configuration, secrets redacted"),
    ("POST", "/_aegis/reload", "load the configuration again"),
    (
        "POST",
        "/_aegis/backends/{name}/targets/{n}/drain",
        r#"no new requests to one target; {"url","generation"}: only where it is that one"#,
    ),
    ("POST", "/_aegis/backends/{name}/targets/{n}/undrain", "requests to it again; likewise"),
    (
        "POST",
        "/_aegis/backends/{name}/breaker",
        r#"hold the breakers: {"state":"open"|"closed"|"auto","ttlMs":…}"#,
    ),
];

/// Answers one authorised request.
pub fn dispatch(
    admin: Admin,
    method: Method,
    path: String,
    query: String,
    body: Bytes,
) -> LocalBoxFuture<'static, InternalAnswer> {
    Box::pin(async move {
        let trimmed = path.trim_end_matches('/');
        let parts: Vec<&str> = trimmed.split('/').skip(1).collect();
        let read = method == Method::GET || method == Method::HEAD;
        let allow = if is_change(&parts) { "POST" } else { "GET, HEAD" };
        match parts.as_slice() {
            _ if is_change(&parts) && method != Method::POST => answer::method_not_allowed(allow),
            [] if read => index(),
            ["health" | "healthz"] if read => health(&admin, true).await,
            ["ready"] if read => health(&admin, false).await,
            ["metrics"] if read => prometheus::metrics(&admin).await,
            ["api", "metrics", what] if read => match history::answer(&admin, what, &query).await {
                Some(answer) => answer,
                None => answer::not_found(format!(
                    "there is no endpoint {path}; GET / on the admin listener lists them"
                )),
            },
            ["api", "requests"] if read => requests::newest(&admin, &query).await,
            ["api", "requests", id] if read => requests::one(&admin, id).await,
            ["api", "alerts"] if read => alerts::firing(&admin).await,
            ["api", "alerts", "history"] if read => alerts::history(&admin, &query).await,
            ["api", "alerts", id, "acknowledge"] => alerts::acknowledge(&admin, id).await,
            ["_aegis", "status"] if read => status::status(&admin).await,
            ["_aegis", "routes"] if read => status::routes(&admin),
            ["_aegis", "rate-limit"] if read => rate_limit::page(&admin).await,
            ["_aegis", "config"] if read => config(&admin).await,
            ["_aegis", "reload"] => reload(&admin).await,
            ["_aegis", "backends", name, "targets", n, action @ ("drain" | "undrain")] => {
                drain(&admin, name, n, *action == "drain", &body).await
            }
            ["_aegis", "backends", name, "breaker"] => hold(&admin, name, &body).await,
            #[cfg(feature = "test-hooks")]
            ["_aegis", "test", what, actor] => inject_fault(&admin, what, actor).await,
            _ if TABLE.iter().any(|(_, known, _)| is(known, &parts)) => answer::method_not_allowed(allow),
            _ => answer::not_found(format!(
                "there is no endpoint {path}; GET / on the admin listener lists them"
            )),
        }
    })
}

/// Whether a path is one of an endpoint; `{…}` stands for any part.
fn is(endpoint: &str, parts: &[&str]) -> bool {
    let known = endpoint.split('/').skip(1);
    known.clone().count() == parts.len()
        && known.zip(parts).all(|(known, part)| known == *part || known.starts_with('{'))
}

/// Whether the path changes something: those are POST only, so that no link and no image can trigger them.
fn is_change(parts: &[&str]) -> bool {
    matches!(
        parts,
        ["_aegis", "reload"]
            | ["_aegis", "test", ..]
            | ["_aegis", "backends", ..]
            | ["api", "alerts", _, "acknowledge"]
    )
}

fn index() -> InternalAnswer {
    let row =
        |(method, path, what): &(&str, &str, &str)| json!({"method": method, "path": path, "what": what});
    answer::ok(&json!({
        "name": "aegis",
        "version": env!("CARGO_PKG_VERSION"),
        "endpoints": TABLE.iter().map(row).collect::<Vec<_>>(),
    }))
}

/// Liveness or readiness, with what it depends on.
async fn health(admin: &Admin, liveness: bool) -> InternalAnswer {
    let shared = &admin.shared;
    let (draining, serves) = (shared.is_draining(), shared.can_serve());
    let actors = admin.supervisor.send(Inspect).await.map(|overview| overview.actors).unwrap_or_default();
    let ok = liveness || (!draining && serves);
    let text = match (ok, draining) {
        (true, _) if liveness => "ok",
        (true, _) => "ready",
        (false, true) => "draining",
        (false, false) => "no backend can serve",
    };
    let dependencies = json!({
        "backends": if serves { "ok" } else { "no target can serve" },
        "actors": if !actors.is_empty() && actors.iter().all(|actor| actor.alive) { "ok" } else { "being replaced" },
        "store": status::store_state(admin),
        "storeError": status::store_error(admin),
        "rateLimiter": rate_limit::standing(&shared.limiter),
        "rateLimiterError": shared.limiter.error().as_deref(),
    });
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    answer::document(status, "application/json", &json!({"status": text, "dependencies": dependencies}))
}

async fn config(admin: &Admin) -> InternalAnswer {
    match admin.supervisor.send(Inspect).await {
        Ok(overview) => answer::ok(&overview.effective),
        Err(_) => answer::gone(),
    }
}

async fn reload(admin: &Admin) -> InternalAnswer {
    match admin.supervisor.send(Reload { by: ReloadBy::Admin }).await {
        Ok(Ok(report)) => answer::ok(&report),
        Ok(Err(problems)) => {
            let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
            let detail = format!("{errors} errors; the running configuration stays");
            let errors: Vec<String> = problems.iter().map(ToString::to_string).collect();
            let more = json!({"errors": errors, "problems": problems});
            answer::problem(StatusCode::UNPROCESSABLE_ENTITY, "bad_config", detail, more)
        }
        Err(_) => answer::gone(),
    }
}

/// The largest body of an order to one target.
const EXPECTED: usize = 4096;

/// What is expected of the target that an order is for.
fn expected(body: &[u8]) -> Result<Expected, String> {
    let mut expected = Expected::default();
    if body.trim_ascii().is_empty() {
        return Ok(expected);
    }
    if body.len() > EXPECTED {
        return Err(format!("the body is larger than {EXPECTED} bytes"));
    }
    const FORM: &str = r#"the body must be {"url": …, "generation": …}, one of them, or none at all"#;
    let members: serde_json::Map<String, Value> =
        serde_json::from_slice(body).map_err(|error| format!("{FORM}: {error}"))?;
    if members.is_empty() {
        return Err(FORM.to_owned());
    }
    for (name, value) in members {
        match (name.as_str(), value) {
            ("url", Value::String(url)) => {
                expected.url = Some(target_url(&url).map_err(|why| format!("url is {url:?}: {why}"))?);
            }
            ("url", value) => {
                return Err(format!("url must be a text, the target's as status shows it, not {value}"));
            }
            ("generation", value) => match value.as_u64() {
                Some(generation) => expected.generation = Some(generation),
                None => return Err(format!("generation must be a number, as status shows it, not {value}")),
            },
            (name, _) => return Err(format!("{FORM}; there is no member {name:?}")),
        }
    }
    Ok(expected)
}

async fn drain(admin: &Admin, backend: &str, target: &str, drained: bool, body: &[u8]) -> InternalAnswer {
    let Ok(target) = target.parse::<usize>() else {
        return answer::bad_request(format!("{target:?} is not a target's number; they count from 0"));
    };
    let expected = match expected(body) {
        Ok(expected) => expected,
        Err(why) => return answer::bad_request(why),
    };
    match admin.supervisor.send(Drain { backend: backend.to_owned(), target, drained, expected }).await {
        Ok(Ok(())) => answer::ok(&json!({"backend": backend, "target": target, "drained": drained})),
        Ok(Err(why)) => answer::not_done(&why),
        Err(_) => answer::gone(),
    }
}

/// The body of a breaker request.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HoldRequest {
    state: HoldState,
    ttl_ms: Option<u64>,
}

async fn hold(admin: &Admin, backend: &str, body: &[u8]) -> InternalAnswer {
    let request: HoldRequest = match serde_json::from_slice(body) {
        Ok(request) => request,
        Err(error) => {
            return answer::bad_request(format!(
                r#"the body must be {{"state":"open"|"closed"|"auto","ttlMs":…}}: {error}"#
            ));
        }
    };
    let ttl = request.ttl_ms.map(Duration::from_millis);
    let hold = circuit_breaker::Hold { backend: backend.to_owned(), state: request.state, ttl };
    match admin.supervisor.send(Hold(hold)).await {
        Ok(Ok(count)) => answer::ok(
            &json!({"backend": backend, "state": request.state, "ttlMs": request.ttl_ms, "breakers": count}),
        ),
        Ok(Err(why)) => answer::not_done(&why),
        Err(_) => answer::gone(),
    }
}

/// Test builds: `panic/ACTOR`, `panic/next-request`, `hang/ACTOR`, `hang/reader`.
#[cfg(feature = "test-hooks")]
async fn inject_fault(admin: &Admin, what: &str, actor: &str) -> InternalAnswer {
    use crate::supervisor::InjectFault;
    if (what, actor) == ("panic", "next-request") {
        admin.shared.panic_next.store(true, std::sync::atomic::Ordering::Relaxed);
        return answer::ok(&json!({"ok": true}));
    }
    let hang = (what == "hang").then_some(Duration::from_secs(5));
    match admin.supervisor.send(InjectFault { actor: actor.to_owned(), hang }).await {
        Ok(true) => answer::ok(&json!({"ok": true})),
        // That was the supervisor.
        Err(_) => answer::gone(),
        Ok(false) => answer::not_found(format!("no actor is named {actor:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_has_every_endpoint_and_no_other() {
        let reference = include_str!("../../docs/admin-api.md");
        let row = |line: &'static str| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let (method, path) =
                (cells.next()?.strip_suffix('`')?, cells.next()?.strip_prefix('`')?.strip_suffix('`')?);
            path.starts_with('/').then_some((method, path))
        };
        let written: Vec<_> = reference.lines().filter_map(row).filter(|(_, path)| *path != "/").collect();
        let known: Vec<_> = TABLE.iter().map(|(method, path, _)| (*method, *path)).collect();
        assert_eq!(written, known);
    }
}
