//! One try of a request at one target: it ends in a response head or in a [`Failure`].
//!
//! Every failure says which cause the client would be told, what it means for the breaker, and what for another try. The
//! table "what a failure is" of `docs/configuration.md` has every kind; `tests/integration/failures.rs` holds the code to it.

use std::pin::pin;
use std::rc::Rc;
use std::time::Instant;

use actix_http::Method;
use aegis_actors::circuit_breaker::{Outcome, ProbePermit};
use awc::error::SendRequestError;

use super::answer::Cause;
use super::answered::Answered;
use super::balance::{Needs, Pick};
use super::deadline::{saturating_deadline, timeout_at};
use super::headers;
use super::report::{Call, TryReport};
use super::request::Request;
use super::request_body::{BodyFailure, RequestBody};
use super::retry::FailureKind;
use super::snapshot::{Backend, Route};
use super::upload::{Times, ended_by, upload};
use super::upstream::{self, Asked, Body, Exchange, Head, Pool, RequestLines, Violation};

/// What all tries of a request have in common.
pub struct UpstreamRequest<'a> {
    pub route: &'a Route,
    pub backend: &'a Backend,
    pub lines: Rc<RequestLines>,
    pub body: Rc<RequestBody>,
    pub needs: Needs,
    /// When all tries must be over.
    pub deadline: Instant,
}

/// Why a try came to nothing.
pub struct Failure {
    pub cause: Cause,
    /// What it says about its target; nothing, where it is the client's doing or the gateway's, or a pooled connection had been
    /// closed.
    pub outcome: Option<Outcome>,
    pub kind: FailureKind,
    /// Some of the request had gone out.
    pub sent: bool,
    /// For operators.
    pub why: Option<Box<str>>,
    /// The upstream's own answer, to be passed on when no further try is made.
    pub answered: Option<Box<Answered>>,
}

impl Failure {
    fn new(cause: Cause, outcome: Option<Outcome>, kind: FailureKind, exchange: &Exchange) -> Self {
        Self { cause, outcome, kind, sent: exchange.sent.get(), why: None, answered: None }
    }

    fn timed_out(exchange: &Exchange) -> Self {
        let why = if exchange.connected.get() { "no answer in time" } else { "no connection in time" };
        let outcome = Some(Outcome::Unanswered);
        let failure = Self::new(Cause::UpstreamTimeout, outcome, FailureKind::Transient, exchange);
        Self { why: Some(why.into()), ..failure }
    }
}

/// Sends the request to the target of `pick` and reports what came of it. `is_repeat`: the request has told of it before.
pub async fn attempt(
    request: &mut Request,
    outgoing: &UpstreamRequest<'_>,
    pick: Pick<'_>,
    started: Instant,
    is_repeat: bool,
) -> Result<Answered, Failure> {
    let UpstreamRequest { route, backend, body, deadline, .. } = outgoing;
    let Pick { target, position, admission, in_flight } = pick;
    request.record.target = Some(position);
    request.record.tries += 1;
    target.counters.requests.add(request.worker.index, 1);
    let (first_byte, idle) = (route.first_byte_timeout, backend.settings.idle_timeout);
    let times = Times { started, deadline: *deadline, first_byte, idle };
    let pool = request.worker.pool(&request.snapshot, backend, target, position);
    let exchange = begin(request, outgoing, &pool, position);
    let (epoch, mut probe) = (admission.epoch, admission.probe);
    let (is_probe, was_complete) = (probe.is_some(), body.is_complete());
    let mut sent = send(outgoing, &pool, &exchange, times, &mut probe).await;
    let ended = Instant::now();
    let call = Call { target, epoch, is_probe, is_repeat, was_complete, started, ended };
    let report = TryReport::new(call, backend, body, &exchange, &mut sent);
    report.count(&request.worker, backend);
    let blame = report.tell_breaker(&request.worker, probe);
    report.record(&mut request.record, position);
    let (head, answer) = match sent {
        Ok(answer) => answer,
        Err(failure) => {
            if matches!(failure.cause, Cause::UpstreamTimeout | Cause::BodyTimeout) {
                request.record.request_trace.decider = Some(ended_by(&exchange, body, times));
            }
            return Err(failure);
        }
    };
    if headers::binds_connection(&head.fields, "www-authenticate") {
        answer.bind(&exchange, request.owner());
    }
    // A request that is a stream may have used up the deadline; its answer gets the route's timeout anew.
    let deadline =
        if body.is_stream() { saturating_deadline(Instant::now(), route.timeout) } else { *deadline };
    let (in_flight, request_body) = (Some(in_flight), body.clone());
    unless_failed(Answered { head, body: answer, exchange, in_flight, blame, deadline, request_body })
}

/// An answer is passed on, unless it says that another target may do better. The breaker has been told of it either way.
fn unless_failed(answered: Answered) -> Result<Answered, Failure> {
    if !matches!(answered.head.status.as_u16(), 502..=504) {
        return Ok(answered);
    }
    // A connection that is authenticated as this client (NTLM) is at this target alone.
    let bound = answered.exchange.key.is_bound();
    let kind = if bound { FailureKind::Final } else { FailureKind::Transient };
    let failure = Failure::new(Cause::UpstreamBadResponse, None, kind, &answered.exchange);
    Err(Failure { sent: true, answered: Some(Box::new(answered)), ..failure })
}

/// What is asked of the target at `position`, and on which connections.
fn begin(request: &Request, outgoing: &UpstreamRequest<'_>, pool: &Pool, position: usize) -> Rc<Exchange> {
    let UpstreamRequest { backend, lines, body, .. } = outgoing;
    let asked = Asked { head: request.head.method == Method::HEAD, upgrade: outgoing.needs.tunnel };
    let host = match request.head.host().filter(|_| backend.settings.preserve_host) {
        Some(host) => Rc::from(host),
        None => request.snapshot.local(backend).hosts[position].clone(),
    };
    let exchange = Exchange::new(asked, lines.clone(), host, body.reader());
    let owner = request.owner();
    if pool.is_owned(&owner) || headers::binds_connection(&request.head.fields, "authorization") {
        exchange.key.bind(owner);
    }
    exchange
}

/// Puts the request on the wire and waits for the response head, within every time limit that applies. A probe's permit is
/// given back early where the client is slow.
async fn send(
    outgoing: &UpstreamRequest<'_>,
    pool: &Pool,
    exchange: &Rc<Exchange>,
    times: Times,
    probe: &mut Option<ProbePermit>,
) -> Result<(Head, Body), Failure> {
    let body = &outgoing.body;
    let limit = saturating_deadline(times.started, times.first_byte).min(times.deadline);
    let sending = pool.send(exchange.clone());
    let outcome = if body.framing().has_bytes() {
        let (mut upload, mut sent) = (pin!(upload(sending, exchange, body, times)), None);
        if probe.is_some() && !body.is_complete() {
            // A client that is slow with its body must not keep everybody else from a target that has recovered.
            sent = timeout_at(limit, upload.as_mut()).await;
            if sent.is_none() {
                *probe = None;
            }
        }
        match sent {
            Some(sent) => sent,
            None => upload.await,
        }
    } else {
        timeout_at(limit, sending).await
    };
    match outcome {
        Some(Ok(answered)) => Ok(answered),
        Some(Err(error)) => {
            let why = Some(upstream::why(&error, exchange).into());
            Err(Failure { why, ..classify(&error, exchange, body) })
        }
        // Time is up, and it was the client that had more to send.
        None if exchange.connected.get() && !body.is_complete() && !exchange.blocked.get() => {
            Err(Failure::new(BodyFailure::Stalled.cause(), None, FailureKind::Final, exchange))
        }
        None => {
            let (failure, now) = (Failure::timed_out(exchange), Instant::now());
            // Held against the target only where it had its whole first-byte limit, or 90 % of the request's time: the client,
            // or the tries before, may have taken the rest.
            let had = now.saturating_duration_since(exchange.uploaded.get().unwrap_or(times.started));
            let most = outgoing.route.timeout - outgoing.route.timeout / 10;
            let tried = now < times.deadline || had >= times.first_byte.min(most);
            Err(Failure { outcome: failure.outcome.filter(|_| tried), ..failure })
        }
    }
}

/// What an error of awc means, with the facts that the transport noted.
fn classify(error: &SendRequestError, exchange: &Exchange, body: &RequestBody) -> Failure {
    let failed = |cause, outcome, kind| Failure::new(cause, outcome, kind, exchange);
    if let Some(failure) = body.failure() {
        return failed(failure.cause(), None, FailureKind::Final);
    }
    if matches!(error, SendRequestError::Timeout) {
        return Failure::timed_out(exchange);
    }
    if !exchange.connected.get() {
        return failed(Cause::ConnectFailed, upstream::unconnected(error), FailureKind::Transient);
    }
    match exchange.violation.get() {
        None | Some(Violation::Truncated) => {}
        // An answer, if one beyond a bound of the gateway's own.
        Some(Violation::HeadBytes(_) | Violation::HeadFields(_) | Violation::TooManyInterim) => {
            return failed(Cause::UpstreamBadResponse, Some(Outcome::Reached), FailureKind::Final);
        }
        Some(_) => {
            return failed(Cause::UpstreamBadResponse, Some(Outcome::Unanswered), FailureKind::Final);
        }
    }
    if exchange.reused.get() && !exchange.answered.get() {
        // The upstream had closed it, most likely for its age: that says nothing about the upstream.
        return failed(Cause::UpstreamReset, None, FailureKind::StaleConnection);
    }
    // An upstream that closes before it has the whole body may be healthy: the client was slow, or sent too much.
    let outcome = body.is_complete().then_some(Outcome::Unanswered);
    failed(Cause::UpstreamReset, outcome, FailureKind::Transient)
}
