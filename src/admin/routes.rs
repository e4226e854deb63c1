//! `/_aegis/routes`: the compiled routes with what they were asked.

use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;

use super::status::time;
use super::{Admin, answer};
use crate::config::{REDACTED, is_secret_field};
use crate::gateway::shared::InternalAnswer;

/// `/_aegis/routes`.
#[derive(Serialize)]
struct Routes<'a> {
    generation: u64,
    routes: Vec<RouteRow<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RouteRow<'a> {
    path: &'a str,
    specificity: i64,
    priority: Option<i64>,
    methods: &'a [String],
    hosts: Vec<String>,
    headers: Vec<(&'a str, &'a str)>,
    backend: &'a str,
    deny: bool,
    hits: u64,
    last_hit: Option<String>,
}

/// A header that a route asks for; its value may be a secret that stands for the client's right to the route.
fn shown((name, value): &(String, String)) -> (&str, &str) {
    (name, if is_secret_field(name) { REDACTED } else { value })
}

/// Compiled routes, most specific first.
pub async fn routes(admin: &Admin) -> InternalAnswer {
    let snapshot = admin.shared.snapshot.load_full();
    let routes = snapshot.router.routes().map(|compiled| {
        let route = &snapshot.routes[*compiled.payload()];
        let last = route.counters.last_hit_ms.load(Ordering::Relaxed);
        RouteRow {
            path: &route.pattern,
            specificity: compiled.specificity(),
            priority: compiled.priority(),
            methods: compiled.methods(),
            hosts: compiled.hosts().iter().map(ToString::to_string).collect(),
            headers: compiled.headers().iter().map(shown).collect(),
            backend: &route.backend.name,
            deny: route.deny,
            hits: route.counters.hits.sum(),
            last_hit: (last != 0).then(|| time(UNIX_EPOCH + Duration::from_millis(last))),
        }
    });
    answer::ok(&Routes { generation: snapshot.generation, routes: routes.collect() })
}
