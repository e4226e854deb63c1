//! The request path.
//!
//! [`serve`] shows the stages in their order; each stage is one file. A stage either passes the request on or refuses
//! it with a [`Cause`]; `answer` alone turns causes into answers. What is decided here is read from an immutable
//! [`snapshot::Snapshot`]; what happened is reported in batches by `worker`. No lock is taken and no message awaited.

pub mod answer;
mod arrival;
mod balance;
mod chunked;
mod counting;
mod deadline;
mod downstream;
mod forward;
mod headers;
mod identity;
mod internal;
pub mod listener;
pub mod mailbox;
pub mod rate_limit;
mod record;
mod relayed;
pub mod request_body;
mod response;
pub mod retry_budget;
mod rewrite;
pub mod shared;
pub mod snapshot;
mod story;
mod tunnel;
mod upload;
pub mod upstream;
pub mod worker;

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use actix_http::header::HeaderValue;
use actix_http::{ConnectionType, Payload, RequestHead, Uri};
use actix_web::HttpResponse;
use futures_core::Stream as _;
use futures_util::FutureExt as _;

use self::answer::Cause;
use self::arrival::Arrival;
use self::downstream::ConnState;
use self::identity::{RequestId, Trace};
use self::rate_limit::{Foreseen, Quota, Verdict, Violation};
use self::record::RequestRecord;
use self::snapshot::{Snapshot, SnapshotRef};
use self::worker::Worker;
use crate::router::{Canonical, Found, RequestFacts, canonicalise};

/// Bytes of an unwanted body that are read so that its connection can go on.
const DISCARDED: usize = 64 * 1024;

/// A request on its way through the stages.
struct Request {
    worker: Rc<Worker>,
    snapshot: SnapshotRef,
    connection: Rc<ConnState>,
    arrival: Arrival,
    /// The socket peer is a trusted proxy.
    trusted: bool,
    /// What the upstream is asked for where it is not what the client asked for.
    rewritten: Option<Uri>,
    /// Whom it will most likely be charged to.
    foreseen: Option<Foreseen>,
    /// What the client is told of its limit.
    quota: Option<Quota>,
    /// To be filled in for the upstream.
    head: Option<Rc<RequestHead>>,
    record: Box<RequestRecord>,
}

impl Request {
    /// Reads what has arrived of a body that nobody wants. A small one is there already, and its connection can go on;
    /// behind any other the connection ends.
    fn discard_body(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut left = DISCARDED;
        while left > 0 {
            match Pin::new(&mut self.arrival.payload).poll_next(&mut cx) {
                Poll::Ready(Some(Ok(bytes))) => left = left.saturating_sub(bytes.len()),
                Poll::Ready(None) => return self.connection.body_closed(),
                // Behind a body that broke off there is an end, too.
                Poll::Ready(Some(Err(_))) | Poll::Pending => return,
            }
        }
    }
}

/// A request that a stage has refused.
struct Refused {
    request: Box<Request>,
    cause: Cause,
    /// Seconds for `Retry-After`.
    retry_after: Option<u64>,
    /// For 405.
    allow: Option<String>,
    /// For 429.
    more: Option<Violation>,
}

impl Refused {
    fn new(request: Box<Request>, cause: Cause) -> Self {
        Self { request, cause, retry_after: None, allow: None, more: None }
    }
}

/// Serves one request of the gateway listener; a refusal is an answer too.
///
/// Everything is taken out of `request` before anything is awaited, and its head goes back to actix's pool at once: with
/// hundreds of requests in flight the next one finds it there, and in the processor's cache.
pub fn serve(
    worker: Rc<Worker>,
    mut request: actix_http::Request,
) -> impl Future<Output = Result<HttpResponse, Infallible>> {
    let asks_upgrade = request.head().connection_type() == ConnectionType::Upgrade;
    answer(begin(worker, &mut request), asks_upgrade)
}

/// A request that waits for `100 Continue` but would be refused whatever its body is gets its refusal instead of the
/// invitation (RFC 9110 §10.1.1). `None`: invite it.
pub async fn refuse_uninvited(worker: Rc<Worker>, request: &mut actix_http::Request) -> Option<HttpResponse> {
    if is_invited(&worker, request.head()) {
        if let Some(connection) = request.conn_data::<Rc<ConnState>>() {
            connection.answers();
        }
        return None;
    }
    let asks_upgrade = request.head().connection_type() == ConnectionType::Upgrade;
    let Ok(refusal) = answer(begin(worker, request), asks_upgrade).await;
    Some(refusal)
}

/// Leads a request through the stages and makes the answer fit its connection.
async fn answer(request: Option<Box<Request>>, asks_upgrade: bool) -> Result<HttpResponse, Infallible> {
    let Some(request) = request else {
        // Every stream of this listener carries its state.
        return Ok(response::internal_error(&HeaderValue::from_static("none")));
    };
    let (worker, connection) = (request.worker.clone(), request.connection.clone());
    let (id, is_raw) = (request.record.request_id.clone(), request.arrival.is_raw);
    let has_body = request.arrival.framing.has_bytes();
    let drains = worker.shared.is_draining();
    let answering = connection.while_open(stages(request), has_body);
    // A panic must cost one request, not the connection's task and everything else on it.
    let response = match AssertUnwindSafe(answering).catch_unwind().await {
        // Only HTTP/2 keeps a handler whose connection is gone.
        Ok(None) => return Ok(response::internal_error(&id.to_value())),
        Ok(Some(Ok(response))) => response,
        Ok(Some(Err(mut refused))) => {
            if has_body {
                // actix decodes what arrived behind the head once the handler has been asked for the first time.
                tokio::task::yield_now().await;
                refused.request.discard_body();
            }
            response::refuse(refused)
        }
        Err(_) => response::internal_error(&id.to_value()),
    };
    let last = asks_upgrade || drains || worker.shared.is_draining();
    Ok(response::for_connection(response, &connection, is_raw, last))
}

/// The stages, in the order of the contract.
async fn stages(mut request: Box<Request>) -> Result<HttpResponse, Refused> {
    #[cfg(feature = "test-hooks")]
    request.worker.shared.panic_if_asked();
    if let Err(cause) = request.connection.admit().and_then(|()| request.arrival.check()) {
        return Err(Refused::new(request, cause));
    }
    let slash = request.snapshot.escaped_slash;
    let canonical = match canonicalise(request.arrival.raw_path(), slash) {
        Ok(canonical) => canonical,
        Err(bad) => return Err(Refused::new(request, Cause::BadPath(response::bad_path(bad)))),
    };
    if internal::is_open(&canonical.path) {
        let ready = canonical.path == "/ready";
        return Ok(internal::answer_open(request, ready));
    }
    if internal::is_reserved(&canonical.path) {
        return internal::answer_reserved(request).await;
    }
    let index = match find_route(&request.snapshot, &request.arrival, &canonical) {
        Ok(index) => index,
        Err((cause, allow)) => return Err(Refused { allow, ..Refused::new(request, cause) }),
    };
    let route = &request.snapshot.routes[index];
    request.record.route = Some(index);
    route.counters.hits.add(request.worker.index, 1);
    route.counters.touch(request.record.arrived_ms);
    if route.deny {
        return Err(Refused::new(request, Cause::Denied));
    }
    if route.is_too_long(request.arrival.framing) {
        return Err(Refused::new(request, Cause::BodyTooLarge));
    }
    let verdict = match &request.snapshot.limits {
        Some(limits) => rate_limit::check(&request, limits, &canonical).await,
        None => Verdict::default(),
    };
    let rewritten = rewrite::target(route, &canonical, &request.arrival.uri);
    drop(canonical);
    request.quota = verdict.quota;
    request.record.story.limits = verdict.consulted;
    if let Some(refusal) = verdict.refusal {
        return Err(refusal.of(request));
    }
    request.rewritten = match rewritten {
        Ok(rewritten) => rewritten,
        Err(cause) => return Err(Refused::new(request, cause)),
    };
    forward::forward(request).await
}

/// The route of a request: its index, or the cause of its refusal, with `Allow` for a 405.
fn find_route(
    snapshot: &Snapshot,
    arrival: &Arrival,
    canonical: &Canonical<'_>,
) -> Result<usize, (Cause, Option<String>)> {
    let facts = RequestFacts {
        method: arrival.method.as_str(),
        host: arrival.host_name(),
        path: &canonical.path,
        trailing_slash: canonical.trailing_slash,
        headers: &forward::RoutedHeaders(&arrival.headers),
    };
    match snapshot.router.find(&facts) {
        Found::Route(route) => Ok(*route.payload()),
        Found::NoRoute => Err((Cause::NoRoute, None)),
        Found::Ambiguous { .. } => {
            Err((Cause::BadPath("Another reading of the path leads to another route."), None))
        }
        Found::MethodNotAllowed { allow } => Err((Cause::MethodNotAllowed, Some(allow))),
    }
}

/// Whether a request that waits for `100 Continue` may send its body, as far as its head tells.
fn is_invited(worker: &Worker, head: &RequestHead) -> bool {
    let snapshot = worker.snapshot();
    let (method, uri) = (head.method.clone(), head.uri.clone());
    let arrival =
        Arrival::new(method, uri, head.version, head.headers.clone(), Payload::None, head.connection_type());
    if arrival.check().is_err() {
        return false;
    }
    let Ok(canonical) = canonicalise(arrival.raw_path(), snapshot.escaped_slash) else { return false };
    let Ok(index) = find_route(&snapshot, &arrival, &canonical) else {
        return internal::is_reserved(&canonical.path);
    };
    let route = &snapshot.routes[index];
    !route.deny && !route.is_too_long(arrival.framing)
}

/// Takes the request out of actix and starts its record; `None` where the connection has no state.
fn begin(worker: Rc<Worker>, request: &mut actix_http::Request) -> Option<Box<Request>> {
    let connection = request.conn_data::<Rc<ConnState>>()?.clone();
    let payload = request.take_payload();
    let head = request.head_mut();
    let mut spare = worker.take_head();
    let table = Rc::get_mut(&mut spare).map(|spare| std::mem::take(&mut spare.headers)).unwrap_or_default();
    let arrival = Arrival::new(
        head.method.clone(),
        head.uri.clone(),
        head.version,
        std::mem::replace(&mut head.headers, table),
        payload,
        head.connection_type(),
    );
    connection.begin(arrival.framing.has_bytes(), arrival.is_raw);
    worker.in_flight_begin();
    let snapshot = worker.snapshot();
    let trusted = identity::is_trusted(&snapshot.trusted_proxies, connection.peer_ip());
    let client = identity::client_ip(&arrival.headers, &connection, &snapshot.trusted_proxies);
    let limits = snapshot.limits.as_ref();
    let foreseen = limits.and_then(|limits| rate_limit::foresee(&worker.shared.limiter, limits, client));
    let (arrived_ms, started) = worker.shared.metrics.stamp();
    let arrived_ms = arrived_ms as u64;
    let request_id = RequestId::of(&arrival.headers, trusted, arrived_ms);
    let draw = worker.random(|random| (random.u128(..), random.u64(..)));
    let trace = Trace::of(&arrival.headers, draw);
    let record = Box::new(RequestRecord {
        started,
        arrived_ms,
        method: arrival.method.clone(),
        uri: arrival.uri.clone(),
        version: arrival.version,
        host: arrival.host.clone(),
        user_agent: arrival.headers.get(actix_http::header::USER_AGENT).cloned(),
        client,
        request_id,
        trace,
        route: None,
        target: None,
        tries: 0,
        upstream: None,
        waited: std::time::Duration::ZERO,
        story: story::Story::default(),
        answered: None,
        bytes_in: 0,
        bytes_out: 0,
        status: 0,
        cause: None,
        limits: Default::default(),
        broken: false,
        complete: false,
        worker: worker.clone(),
        snapshot: snapshot.clone(),
        connection: connection.clone(),
    });
    Some(Box::new(Request {
        worker,
        snapshot,
        connection,
        arrival,
        trusted,
        rewritten: None,
        foreseen,
        quota: None,
        head: Some(spare),
        record,
    }))
}
