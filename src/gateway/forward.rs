//! Forwarding: readies the request, and tries targets until one has answered or no further try is allowed.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_http::{Method, Version};
use aegis_actors::TargetId;

use super::answer::Cause;
use super::answered::pass_on;
use super::attempt::{Failure, UpstreamRequest, attempt};
use super::balance::{self, Needs, NoTarget};
use super::client_certificate;
use super::deadline::{saturating_deadline, timeout_at};
use super::headers::{self, Credentials, Forwarding};
use super::request::{Refused, Request};
use super::request_body::{BodyFailure, RequestBody, RequestFraming};
use super::request_parts::RequestParts;
use super::response::Response;
use super::retry::{Decision, Facts, Reason, pauses_ms};
use super::snapshot::{Backend, Route, Snapshot};
use super::upstream::RequestLines;
use crate::config::settings::{HashOn, Via};

/// Room for the field lines that the gateway adds to a request, in bytes.
const OWN_LINES: usize = 448;

/// Sends the request to its backend and passes the answer on.
pub async fn forward(mut request: Box<Request>) -> Result<Response, Refused> {
    let Some(index) = request.record.route else { return Err(Refused::new(request, Cause::NoRoute)) };
    let snapshot = request.snapshot.clone();
    let route = &snapshot.routes[index];
    let backend = &*route.backend;
    snapshot.local(backend).share.earn();
    backend.counters.requests.add(request.worker.index, 1);
    let body = match take_body(&mut request, route.body_limit, backend.settings.idle_timeout).await {
        Ok(body) => body,
        Err(cause) => return Err(Refused::new(request, cause)),
    };
    let (lines, deadline) =
        (upstream_lines(&request, route), saturating_deadline(request.record.started, route.timeout));
    let outgoing = UpstreamRequest { route, backend, lines, body, needs: needs(&request, backend), deadline };
    let (mut tried, mut stale): (Vec<TargetId>, u32) = (Vec::new(), 0);
    let mut last: Option<Failure> = None;
    loop {
        let now = Instant::now();
        let pick = match (balance::pick(backend, &request.worker, outgoing.needs, &tried, now), last) {
            (Ok(pick), _) => pick,
            (Err(refusal), None) => return Err(no_target(request, &outgoing, refusal)),
            // What the try before came to says more than that nobody is left for another.
            (Err(_), Some(failure)) => return give_up(request, &outgoing, failure),
        };
        let target = pick.target.shared.id;
        let is_repeat = tried.contains(&target);
        let mut failure = match attempt(&mut request, &outgoing, pick, now, is_repeat).await {
            Ok(answered) => return pass_on(request, backend, answered),
            Err(failure) => failure,
        };
        match decide(&request, &outgoing, &failure, stale) {
            Decision::RetryAtOnce => stale += 1,
            Decision::RetryAfterPause => {
                tried.push(target);
                if !pause(&mut request, deadline).await {
                    return give_up(request, &outgoing, failure);
                }
            }
            Decision::GiveUp(_) => return give_up(request, &outgoing, failure),
        }
        if let Some(answered) = &mut failure.answered {
            answered.in_flight = None;
        }
        last = Some(failure);
    }
}

/// Whether another try may follow; it is paid for and counted.
fn decide(request: &Request, outgoing: &UpstreamRequest<'_>, failure: &Failure, stale: u32) -> Decision {
    let (backend, now) = (outgoing.backend, Instant::now());
    let facts = Facts {
        kind: failure.kind,
        idempotent: is_idempotent(&request.head.method),
        sent: failure.sent,
        replayable: outgoing.body.can_replay(),
        in_time: now < outgoing.deadline,
        stale,
        tries: request.record.tries - stale,
        retries: backend.settings.retries,
    };
    let decision = facts.decide(|| request.snapshot.local(backend).share.spend(&backend.budget, now));
    match decision {
        Decision::RetryAfterPause => backend.counters.retries.add(request.worker.index, 1),
        Decision::GiveUp(Reason::OverBudget) => backend.counters.retries_refused.add(request.worker.index, 1),
        _ => {}
    }
    decision
}

/// Waits before the next try; whether there is time left for it.
async fn pause(request: &mut Request, deadline: Instant) -> bool {
    let (now, pauses) = (Instant::now(), pauses_ms(request.record.tries));
    let pause = request.worker.random(|random| random.u64(pauses));
    let until = (now + Duration::from_millis(pause)).min(deadline);
    let _ = timeout_at(until, std::future::pending::<()>()).await;
    request.record.waited += until.saturating_duration_since(now);
    Instant::now() < deadline
}

/// Passes on what the last try came to.
fn give_up(
    mut request: Box<Request>,
    outgoing: &UpstreamRequest<'_>,
    failure: Failure,
) -> Result<Response, Refused> {
    request.record.bytes_in = outgoing.body.received();
    match failure.answered {
        Some(answered) => pass_on(request, outgoing.backend, *answered),
        None => Err(Refused::new(request, failure.cause)),
    }
}

fn no_target(mut request: Box<Request>, outgoing: &UpstreamRequest<'_>, refusal: NoTarget) -> Refused {
    request.record.request_trace.decider = balance::decider(outgoing.backend, outgoing.needs, refusal.cause);
    let seconds = refusal.retry_after.as_millis().div_ceil(1000).max(1) as u64;
    Refused { retry_after: Some(seconds), ..Refused::new(request, refusal.cause) }
}

/// RFC 9110 §9.2.2.
pub fn is_idempotent(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE].contains(method)
}

/// What the choice of a target goes by.
fn needs(request: &Request, backend: &Backend) -> Needs {
    let (tunnel, bound) = (request.head.upgrade.is_some(), bound_target(request, backend));
    Needs { tunnel, bound, key: hash_key(&request.head, request.record.client, backend) }
}

/// The target with a connection that belongs to this client.
fn bound_target(request: &Request, backend: &Backend) -> Option<usize> {
    if request.peer.private.is_empty() {
        return None;
    }
    let owner = request.owner();
    let pools = &request.snapshot.local(backend).pools;
    pools.iter().position(|pool| pool.get().is_some_and(|pool| pool.is_owned(&owner)))
}

/// Readies the client's body for the tries.
async fn take_body(request: &mut Request, limit: u64, idle: Duration) -> Result<Rc<RequestBody>, Cause> {
    let (source, framing) = (request.body.take(), request.head.framing);
    if framing == RequestFraming::None {
        return Ok(RequestBody::none());
    }
    let body = RequestBody::new(source, framing, limit, idle).metered(request.record.meter());
    // An HTTP/2 body that is not as long as it says makes the request malformed (RFC 9113 §8.1.1), and its upstream must not
    // hear of it, as far as that can be known before.
    let whole = request.head.version == Version::HTTP_2 && body.is_small();
    // Who waits to be invited is not asked before there is an upstream to send it to.
    if framing.has_bytes() && (whole || !request.head.expects) {
        let began = Instant::now();
        body.look(whole).await.map_err(BodyFailure::cause)?;
        if whole {
            let waited = began.elapsed();
            request.record.uploading += waited;
            request.record.waited += waited;
        }
    }
    Ok(Rc::new(body))
}

/// What `hash` goes by.
pub fn hash_key(head: &RequestParts, client: IpAddr, backend: &Backend) -> u64 {
    let Some(on) = &backend.settings.hash_on else { return 0 };
    let fields = &head.fields;
    let ip = || balance::fnv(client.to_string().as_bytes());
    match on {
        HashOn::Ip => ip(),
        HashOn::Header(name) => fields.get(name).map_or_else(ip, balance::fnv),
        HashOn::Cookie(name) => {
            let cookies = fields.get_all("cookie").filter_map(|value| std::str::from_utf8(value).ok());
            let mut pairs =
                cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
            pairs.find(|(key, _)| key == name).map_or_else(ip, |(_, value)| balance::fnv(value.as_bytes()))
        }
    }
}

/// What of a request's credentials the gateway has judged, or would have, and keeps to itself. `asked`: somebody had to say
/// who it is.
pub fn judged<'a>(snapshot: &'a Snapshot, route: &Route, asked: bool) -> Credentials<'a> {
    let Some(auth) = &snapshot.auth else { return Credentials::default() };
    let keeps = !route.access.forwards;
    Credentials { authorization: keeps && asked, key: auth.key_field().filter(|_| keeps) }
}

/// The head that every try sends, but for the target's own `Host`.
fn upstream_lines(request: &Request, route: &Route) -> Rc<RequestLines> {
    let head = &request.head;
    let certificate = client_certificate::told(
        &request.peer,
        route.client_auth,
        route.backend.settings.forward_client_cert,
    );
    let room = OWN_LINES + certificate.iter().flatten().map(|field| field.len()).sum::<usize>();
    let mut lines =
        RequestLines::new(head.method.as_str(), request.record.asked_for(), head.fields.bytes() + room);
    let facts = Forwarding {
        peer: request.peer.ip_text(),
        client: (request.hops > 0).then_some(request.record.client),
        hops: request.hops,
        trusted: request.trusted,
        secure: request.peer.secure,
        request_id: request.record.request_id.as_bytes(),
        trace: &request.record.trace,
        via: request.snapshot.via == Via::Both,
        stripped: route.strip_prefix.as_deref(),
        certificate,
        identity_fields: &request.snapshot.identity_fields,
        identity: request.record.identity(),
        credentials: judged(&request.snapshot, route, request.record.asked),
    };
    headers::to_upstream(head, &facts, lines.fields());
    Rc::new(lines)
}
