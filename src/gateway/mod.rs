//! The request path.
//!
//! [`serve`] shows the stages in their order; each stage is one file. A stage either passes the request on or refuses
//! it with a [`Cause`]; `answer` alone turns causes into answers. What is decided here is read from an immutable
//! [`snapshot::Snapshot`]; what happened is reported in batches by `worker`. No lock is waited for (those of
//! tokio's timers are a thread's own) and no message awaited.

mod access_log;
pub mod actor_handle;
pub mod answer;
mod answered;
mod attempt;
pub mod auth_counters;
mod authenticate;
mod balance;
mod bounds;
mod chunked;
pub mod client_certificate;
mod counting;
mod deadline;
mod decided;
mod ending;
pub mod explain;
mod fields;
mod forward;
mod headers;
mod incoming;
mod internal;
mod lead;
pub mod listener;
mod message;
mod outbox;
pub mod own_paths;
mod peer;
pub mod rate_limit;
mod record;
mod redirects;
mod relayed;
mod report;
mod request;
pub mod request_body;
pub mod request_context;
pub mod request_parts;
mod request_trace;
mod response;
mod retry;
pub mod retry_budget;
mod rewrite;
pub mod server;
pub mod shared;
pub mod snapshot;
mod socket;
mod tunnel;
mod unread;
mod upload;
pub mod upstream;
pub mod worker;

use std::panic::AssertUnwindSafe;

use actix_http::Method;
use futures_util::FutureExt as _;

use self::lead::Place;
use self::request::{Refused, Request};
use self::response::Response;

/// Leads a request through the stages; a refusal is an answer too.
async fn serve(request: Box<Request>) -> Response {
    let (worker, id) = (request.worker.clone(), request.record.request_id.clone());
    let is_head = request.head.method == Method::HEAD;
    let drains = worker.shared.is_draining();
    // A panic must cost one request, not the connection's task and everything else on it.
    let mut response = match AssertUnwindSafe(stages(request)).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(refused)) => response::refuse(refused),
        Err(_) => response::internal_error(id.as_str(), is_head),
    };
    response.last |= drains || worker.shared.is_draining();
    response
}

/// The stages, in the order of the contract.
async fn stages(mut request: Box<Request>) -> Result<Response, Refused> {
    #[cfg(feature = "test-hooks")]
    request.worker.shared.panic_if_asked();
    let head = request.head.clone();
    let (index, canonical) = match lead::lead(&request.snapshot, &head) {
        Ok(Place::Route(index, canonical)) => (index, canonical),
        Ok(Place::Server) => {
            request.record.own = Some(request.snapshot.own_paths.server());
            return Ok(internal::answer_as_server(request.record));
        }
        Ok(Place::Own(own)) => {
            request.record.own = Some(own);
            return internal::answer(request, own).await;
        }
        Err((cause, allow)) => return Err(Refused { allow, ..Refused::new(request, cause) }),
    };
    let snapshot = request.snapshot.clone();
    let route = &snapshot.routes[index];
    request.record.route = Some(index);
    route.counters.hits.add(request.worker.index, 1);
    route.counters.touch(request.record.arrived_ms);
    if let Err((cause, detail)) = lead::admit(&snapshot, route, &head, request.record.client) {
        request.record.auth_detail = detail;
        return Err(Refused::new(request, cause));
    }
    if let Err(cause) = client_certificate::check(&request, route.client_auth) {
        return Err(Refused::new(request, cause));
    }
    if let Some(auth) = &snapshot.auth {
        request = authenticate::authenticate(request, auth, &canonical).await?;
    }
    if let Some(limits) = &snapshot.limits {
        request = rate_limit::check(request, limits, &canonical).await?;
    }
    let rewritten = rewrite::target(route, &canonical, &head.target);
    drop(canonical);
    request.record.rewritten = match rewritten {
        Ok(rewritten) => rewritten,
        Err(cause) => return Err(Refused::new(request, cause)),
    };
    if head.is_at_last_hop() {
        return Ok(internal::answer_as_server(request.record));
    }
    forward::forward(request).await
}
