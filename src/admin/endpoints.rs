//! The table of endpoints. Routing, the answer of `GET /`, 404 and 405, who needs no token, and the table of
//! `docs/admin-api.md` all come from it.

use std::sync::LazyLock;

use actix_http::Method;
use actix_web::dev::{Path, ResourceDef};
use bytes::Bytes;
use futures_core::future::LocalBoxFuture;
use serde::Serialize;

use super::{
    Admin, alerts, answer, explain, health, history, orders, prometheus, rate_limit, requests, routes, status,
};
use crate::gateway::shared::InternalAnswer;

/// One endpoint.
#[derive(Serialize)]
pub struct Endpoint {
    /// `GET`, which answers HEAD too, or `POST` for whatever changes something, so that no link and no image can do it.
    method: &'static str,
    /// Parts in braces are taken from the request.
    path: &'static str,
    /// What it is for.
    what: &'static str,
    #[serde(skip)]
    access: Access,
    #[serde(skip)]
    handler: Handler,
}

/// Who may ask, on the admin listener.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Anybody,
    /// Whoever has the token, where one is configured.
    Token,
}

type Handler = for<'a> fn(&'a Call) -> LocalBoxFuture<'a, InternalAnswer>;

const fn probe(path: &'static str, handler: Handler, what: &'static str) -> Endpoint {
    Endpoint { method: "GET", path, what, access: Access::Anybody, handler }
}

const fn get(path: &'static str, handler: Handler, what: &'static str) -> Endpoint {
    Endpoint { method: "GET", path, what, access: Access::Token, handler }
}

const fn post(path: &'static str, handler: Handler, what: &'static str) -> Endpoint {
    Endpoint { method: "POST", path, what, access: Access::Token, handler }
}

/// Every endpoint.
const TABLE: &[Endpoint] = &[
    get("/", |_| Box::pin(index()), "this table as JSON"),
    // probes
    probe("/health", |call| Box::pin(health::live(&call.admin)), "the process lives"),
    probe("/healthz", |call| Box::pin(health::live(&call.admin)), "the process lives"),
    probe("/ready", |call| Box::pin(health::ready(&call.admin)), "the gateway can serve"),
    // machines
    get(
        "/metrics",
        |call| Box::pin(prometheus::metrics(&call.admin)),
        "Prometheus text format; on the admin listener only",
    ),
    // history
    get(
        "/api/metrics/{what}",
        |call| Box::pin(history(call)),
        "overview, realtime, request-rate, latency, status, errors, top-endpoints, rate-limits, backends; ?range= or ?from=&to=",
    ),
    get(
        "/api/requests",
        |call| Box::pin(requests::newest(&call.admin, &call.query)),
        "newest requests that were kept in whole; ?limit= status= backend= route= reason= client= from= to=",
    ),
    get(
        "/api/requests/{id}",
        |call| Box::pin(requests::one(&call.admin, call.part("id"))),
        "how one request came to its answer",
    ),
    // alerts
    get(
        "/api/alerts",
        |call| Box::pin(alerts::firing(&call.admin)),
        "alerts that fire, who has been told, and how every rule stands",
    ),
    get(
        "/api/alerts/history",
        |call| Box::pin(alerts::history(&call.admin, &call.query)),
        "alerts that fired, the newest first; ?limit=, ?before=",
    ),
    post(
        "/api/alerts/{id}/acknowledge",
        |call| Box::pin(alerts::acknowledge(&call.admin, call.part("id"))),
        "somebody knows; it fires on until it resolves",
    ),
    // operators
    get("/_aegis/status", |call| Box::pin(status::status(&call.admin)), "everything at a glance"),
    get(
        "/_aegis/routes",
        |call| Box::pin(routes::routes(&call.admin)),
        "compiled routes, most specific first",
    ),
    get(
        "/_aegis/rate-limit",
        |call| Box::pin(rate_limit::page(&call.admin)),
        "limits: rules, decisions, busiest and most limited clients",
    ),
    get(
        "/_aegis/config",
        |call| Box::pin(status::config(&call.admin)),
        "running configuration, secrets redacted",
    ),
    get(
        "/_aegis/explain",
        |call| Box::pin(explain::by_query(&call.admin, &call.query)),
        "how a request would be handled, which is not sent; ?method= url= ip=",
    ),
    post(
        "/_aegis/explain",
        |call| Box::pin(explain::by_body(&call.admin, &call.body)),
        r#"likewise, of one with headers: {"method","url","ip","headers":{NAME: VALUE or list}}"#,
    ),
    post("/_aegis/reload", |call| Box::pin(orders::reload(&call.admin)), "load the configuration again"),
    post(
        "/_aegis/backends/{name}/targets/{n}/drain",
        |call| Box::pin(orders::drain(&call.admin, call.part("name"), call.part("n"), true, &call.body)),
        r#"no new requests to one target; {"url","generation"}: only where it is that one"#,
    ),
    post(
        "/_aegis/backends/{name}/targets/{n}/undrain",
        |call| Box::pin(orders::drain(&call.admin, call.part("name"), call.part("n"), false, &call.body)),
        "requests to it again; likewise",
    ),
    post(
        "/_aegis/backends/{name}/breaker",
        |call| Box::pin(orders::hold(&call.admin, call.part("name"), &call.body)),
        r#"hold the breakers: {"state":"open"|"closed"|"auto","ttlMs":…}"#,
    ),
];

/// What only test builds answer, and no table lists.
#[cfg(feature = "test-hooks")]
const HOOKS: &[Endpoint] = &[post(
    "/_aegis/test/{what}/{actor}",
    |call| Box::pin(orders::inject_fault(&call.admin, call.part("what"), call.part("actor"))),
    "panic/ACTOR, panic/next-request, hang/ACTOR, hang/reader",
)];
#[cfg(not(feature = "test-hooks"))]
const HOOKS: &[Endpoint] = &[];

static ROUTES: LazyLock<Vec<(ResourceDef, &Endpoint)>> = LazyLock::new(|| {
    let all = TABLE.iter().chain(HOOKS);
    all.map(|endpoint| (ResourceDef::new(endpoint.path), endpoint)).collect()
});

/// An authorised request for an endpoint.
struct Call {
    admin: Admin,
    /// As it was asked for.
    path: String,
    /// What stands in the path for the braces of the endpoint's.
    parts: Path<String>,
    query: String,
    body: Bytes,
}

impl Call {
    fn part(&self, name: &str) -> &str {
        self.parts.query(name)
    }
}

/// Answers one authorised request.
pub fn dispatch(
    admin: Admin,
    method: Method,
    path: String,
    query: String,
    body: Bytes,
) -> LocalBoxFuture<'static, InternalAnswer> {
    Box::pin(async move {
        let trimmed = match path.trim_end_matches('/') {
            "" => "/",
            trimmed => trimmed,
        };
        let there: Vec<_> = ROUTES.iter().filter(|(resource, _)| resource.is_match(trimmed)).collect();
        let asked = if method == Method::HEAD { "GET" } else { method.as_str() };
        let Some((resource, endpoint)) = there.iter().find(|(_, endpoint)| endpoint.method == asked) else {
            let allow = |method| if method == "GET" { "GET, HEAD" } else { method };
            let allow: Vec<_> = there.iter().map(|(_, endpoint)| allow(endpoint.method)).collect();
            return match allow.as_slice() {
                [] => no_endpoint(&path),
                allow => answer::method_not_allowed(allow.join(", ")),
            };
        };
        let mut parts = Path::new(trimmed.to_owned());
        resource.capture_match_info(&mut parts);
        (endpoint.handler)(&Call { admin, path, parts, query, body }).await
    })
}

/// Whether a path is an endpoint's that needs no token.
pub fn is_open(path: &str) -> bool {
    TABLE.iter().any(|endpoint| endpoint.access == Access::Anybody && endpoint.path == path)
}

fn no_endpoint(path: &str) -> InternalAnswer {
    answer::not_found(format!("there is no endpoint {path}; GET / on the admin listener lists them"))
}

#[derive(Serialize)]
struct Index {
    name: &'static str,
    version: &'static str,
    endpoints: &'static [Endpoint],
}

async fn index() -> InternalAnswer {
    answer::ok(&Index { name: "aegis", version: env!("CARGO_PKG_VERSION"), endpoints: TABLE })
}

async fn history(call: &Call) -> InternalAnswer {
    let answer = history::answer(&call.admin, call.part("what"), &call.query).await;
    answer.unwrap_or_else(|| no_endpoint(&call.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/admin-api.md");

    /// The table as the reference has it.
    fn written() -> String {
        let row = |endpoint: &Endpoint| {
            let needs = match endpoint.access {
                Access::Anybody => "nothing",
                Access::Token => "the token",
            };
            let Endpoint { method, path, what, .. } = endpoint;
            format!("| `{method}` | `{path}` | {needs} | {} |\n", what.replace('|', "\\|"))
        };
        let rows: String = TABLE.iter().map(row).collect();
        format!("\n\n| method | path | needs | |\n|---|---|---|---|\n{rows}\n")
    }

    #[test]
    fn the_reference_has_the_table() {
        let text = std::fs::read_to_string(REFERENCE).expect("the reference is there");
        let (before, rest) = text.split_once("<!-- endpoints -->").expect("a mark before the table");
        let (_, after) = rest.split_once("<!-- end -->").expect("a mark behind it");
        let wanted = format!("{before}<!-- endpoints -->{}<!-- end -->{after}", written());
        if std::env::var_os("AEGIS_WRITE_REFERENCE").is_some() {
            std::fs::write(REFERENCE, wanted).expect("it is written");
        } else {
            assert_eq!(text, wanted, "AEGIS_WRITE_REFERENCE=1 cargo test --lib endpoints writes it anew");
        }
    }
}
