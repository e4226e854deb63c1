//! `/_aegis/status` and `/_aegis/config`: the published state, and what the supervisor knows.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use serde::Serialize;

use super::backends::{self, BackendStatus};
use super::{Admin, answer, rate_limit};
use crate::gateway::shared::InternalAnswer;
use crate::store::Store;
use crate::supervisor::{ChildReport, Event, Inspect, ReloadCounts, ReloadRecord};

/// By the first digit of a status.
pub const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    version: &'static str,
    started_at: String,
    uptime_seconds: u64,
    ready: bool,
    draining: bool,
    config: Config,
    last_reload: Option<ReloadRecord>,
    workers: usize,
    in_flight: u64,
    tunnels: usize,
    requests: Requests,
    rate_limiter: rate_limit::Summary,
    store: StoreStatus,
    backends: Vec<BackendStatus>,
    actors: Vec<ChildReport>,
    events: Vec<Event>,
    #[cfg(feature = "test-hooks")]
    actor_messages: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    generation: u64,
    hash: String,
    file: Option<PathBuf>,
    warnings: Vec<String>,
    pending_restart: Vec<String>,
    reloads: ReloadCounts,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Requests {
    total: u64,
    by_status: BTreeMap<&'static str, u64>,
    made_by_gateway: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StoreStatus {
    state: &'static str,
    error: Option<String>,
    set_aside: Option<String>,
    pending_rollups: usize,
}

/// RFC 3339.
pub fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

/// Everything at a glance.
pub async fn status(admin: &Admin) -> InternalAnswer {
    let Ok(overview) = admin.supervisor.send(Inspect).await else {
        return answer::gone();
    };
    let breakers = backends::breakers(&overview).await;
    let shared = &admin.shared;
    let snapshot = shared.snapshot.load_full();
    let counts = shared.statuses.each_ref().map(|count| count.sum());
    answer::ok(&Status {
        version: env!("CARGO_PKG_VERSION"),
        started_at: time(admin.started_at),
        uptime_seconds: admin.started.elapsed().as_secs(),
        ready: shared.can_serve() && !shared.is_draining(),
        draining: shared.is_draining(),
        config: Config {
            generation: snapshot.generation,
            hash: overview.hash,
            file: overview.file,
            warnings: overview.warnings.iter().map(ToString::to_string).collect(),
            pending_restart: overview.pending_restart,
            reloads: overview.reloads,
        },
        last_reload: overview.last_reload,
        workers: admin.workers,
        in_flight: shared.in_flight(),
        tunnels: shared.tunnels.load(Ordering::Relaxed),
        requests: Requests {
            total: counts.iter().sum(),
            by_status: CLASSES.into_iter().zip(counts).collect(),
            made_by_gateway: shared.refused.sum(),
        },
        rate_limiter: rate_limit::summary(shared),
        store: StoreStatus {
            state: store_state(admin),
            error: store_error(admin),
            set_aside: admin.history.store.as_ref().and_then(Store::set_aside),
            pending_rollups: shared.metrics.waiting(),
        },
        backends: snapshot.backends.iter().map(|one| backends::backend(one, &breakers)).collect(),
        actors: overview.actors,
        events: overview.events,
        #[cfg(feature = "test-hooks")]
        actor_messages: aegis_actors::supervision::message_count(),
    })
}

/// The running configuration.
pub async fn config(admin: &Admin) -> InternalAnswer {
    match admin.supervisor.send(Inspect).await {
        Ok(overview) => answer::ok(&overview.effective),
        Err(_) => answer::gone(),
    }
}

/// What the metrics store was when it was last used: `none`, `opening` (not yet), `ok` or `away`.
pub fn store_state(admin: &Admin) -> &'static str {
    match (&admin.history.store, store_error(admin)) {
        (None, _) => "none",
        (Some(_), Some(_)) => "away",
        (Some(_), None) if admin.shared.metrics.store_up() => "ok",
        (Some(_), None) => "opening",
    }
}

/// Why it is away.
pub fn store_error(admin: &Admin) -> Option<String> {
    let damaged = admin.history.store.as_ref().and_then(Store::trouble);
    damaged.or_else(|| admin.shared.metrics.store_error())
}
