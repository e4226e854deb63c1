//! `/health`, `/healthz` and `/ready`: whether the process lives, whether it can serve, and what that depends on.

use actix_http::StatusCode;
use serde::Serialize;

use super::{Admin, answer, rate_limit, status};
use crate::gateway::shared::InternalAnswer;
use crate::supervisor::Inspect;

#[derive(Serialize)]
struct Health {
    status: &'static str,
    dependencies: Dependencies,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Dependencies {
    backends: &'static str,
    actors: &'static str,
    store: &'static str,
    store_error: Option<String>,
    rate_limiter: &'static str,
    rate_limiter_error: Option<String>,
}

/// Whether the process lives: it does.
pub async fn live(admin: &Admin) -> InternalAnswer {
    answer::ok(&Health { status: "ok", dependencies: dependencies(admin).await })
}

/// Whether some backend could serve, and the gateway is not on the way out.
pub async fn ready(admin: &Admin) -> InternalAnswer {
    let (code, status) = match (admin.shared.is_draining(), admin.shared.can_serve()) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "no backend can serve"),
        (false, true) => (StatusCode::OK, "ready"),
    };
    let health = Health { status, dependencies: dependencies(admin).await };
    answer::document(code, "application/json", &health)
}

async fn dependencies(admin: &Admin) -> Dependencies {
    let actors = admin.supervisor.send(Inspect).await.map(|overview| overview.actors).unwrap_or_default();
    let limiter = &admin.shared.limiter;
    Dependencies {
        backends: if admin.shared.can_serve() { "ok" } else { "no target can serve" },
        actors: match !actors.is_empty() && actors.iter().all(|actor| actor.alive) {
            true => "ok",
            false => "being replaced",
        },
        store: status::store_state(admin),
        store_error: status::store_error(admin),
        rate_limiter: rate_limit::standing(limiter),
        rate_limiter_error: limiter.error().map(|error| error.to_string()),
    }
}
