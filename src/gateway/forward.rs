//! Forwarding: tries, and what each of them came to.
//!
//! A try ends in a response head or in a [`Failure`]. Every failure says which cause the client would be told, what
//! it means for the breaker, and whether another try could do better; the loop only obeys. The table "what a failure is"
//! of `docs/configuration.md` has every kind; `tests/integration/failures.rs` holds the code to it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use actix_http::{Method, Version};
use aegis_actors::TargetId;
use aegis_actors::circuit_breaker::Outcome;
use awc::error::SendRequestError;

use super::answer::Cause;
use super::answered::{Answered, pass_on};
use super::balance::{self, Needs, NoTarget, Pick};
use super::deadline::{after, within};
use super::headers::{self, Forwarding};
use super::record::{Try, TryOutcome};
use super::relayed::Blame;
use super::request::{Refused, Request};
use super::request_body::{BodyFailure, RequestBody, RequestFraming};
use super::response::Response;
use super::snapshot::Backend;
use super::upload::{Times, ended_by, upload};
use super::upstream::{self, Asked, Body, Exchange, Head, Pool, RequestLines, Violation};
use crate::config::settings::{HashOn, Via};

/// Room for the field lines that the gateway adds to a request, in bytes.
const OWN_LINES: usize = 448;

/// Why a try came to nothing.
struct Failure {
    cause: Cause,
    /// What it says about its target; nothing, where it is the client's doing or the gateway's, or a pooled connection had been
    /// closed.
    outcome: Option<Outcome>,
    again: Again,
    /// For operators.
    why: Option<Box<str>>,
    /// The upstream's own answer, to be passed on when no further try is made.
    answered: Option<Box<Answered>>,
}

/// Whether another try may follow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    Never,
    /// The request was not processed: any method may be sent again, after a pause, if the budget allows.
    Unprocessed,
    /// Processed perhaps: idempotent methods only.
    IfIdempotent,
    /// A pooled connection that the upstream had closed: at once, and without touching the budget.
    AtOnce,
}

/// Sends the request to its backend and passes the answer on.
pub async fn forward(mut request: Box<Request>) -> Result<Response, Refused> {
    let Some(index) = request.record.route else { return Err(Refused::new(request, Cause::NoRoute)) };
    let snapshot = request.snapshot.clone();
    let route = &snapshot.routes[index];
    let backend = &route.backend;
    let share = &snapshot.local(backend).share;
    share.earn();
    let idle = backend.settings.idle_timeout;
    backend.counters.requests.add(request.worker.index, 1);
    let body = match take_body(&mut request, route.body_limit, idle).await {
        Ok(body) => body,
        Err(cause) => return Err(Refused::new(request, cause)),
    };
    let lines = upstream_lines(&request);
    let deadline = after(request.record.started, route.timeout);
    let idempotent = is_idempotent(&request.head.method);
    let (bound, key) = (bound_target(&request, backend), hash_key(&request, backend));
    let needs = Needs { tunnel: request.head.upgrade.is_some(), bound, key };
    let (mut tried, mut stale): (Vec<TargetId>, u32) = (Vec::new(), 0);
    let mut last: Option<Failure> = None;
    loop {
        let now = Instant::now();
        let pick = match (balance::pick(backend, &request.worker, needs, &tried, now), last) {
            (Ok(pick), _) => pick,
            (Err(refusal), None) => return Err(no_target(request, backend, needs, refusal)),
            // What the try before came to says more than that nobody is left for another.
            (Err(_), Some(failure)) => return give_up(request, backend, failure, &body),
        };
        let target = pick.target;
        request.record.target = Some(pick.position);
        request.record.tries += 1;
        target.counters.requests.add(request.worker.index, 1);
        let times = Times {
            started: now,
            deadline,
            stream: route.timeout,
            first_byte: route.first_byte_timeout,
            idle,
        };
        let known = tried.contains(&target.cells.id);
        let failure = match attempt(&mut request, backend, pick, &lines, &body, times, known).await {
            Ok(answered) => return pass_on(request, backend, answered),
            Err(failure) => failure,
        };
        let now = Instant::now();
        let allowed = match failure.again {
            Again::Never => false,
            Again::AtOnce => stale < 4,
            Again::Unprocessed => true,
            Again::IfIdempotent => idempotent,
        };
        let mut retry = allowed && body.can_replay() && now < deadline;
        if retry && failure.again != Again::AtOnce {
            let budgeted = request.record.tries - stale <= backend.settings.retries;
            retry = budgeted && share.spend(&backend.budget, now);
            let counter = if retry { &backend.counters.retries } else { &backend.counters.retries_refused };
            counter.add(request.worker.index, u64::from(budgeted));
        }
        if !retry {
            return give_up(request, backend, failure, &body);
        }
        if failure.again == Again::AtOnce {
            stale += 1;
        } else {
            tried.push(target.cells.id);
            let most = 25u64 << request.record.tries.min(4);
            let pause = request.worker.random(|random| random.u64(25..=most.min(250)));
            let until = (now + Duration::from_millis(pause)).min(deadline);
            let _ = within(until, std::future::pending::<()>()).await;
            request.record.waited += until.saturating_duration_since(now);
            if Instant::now() >= deadline {
                return give_up(request, backend, failure, &body);
            }
        }
        last = Some(failure);
        if let Some(answered) = last.as_mut().and_then(|last| last.answered.as_mut()) {
            answered.in_flight = None;
        }
    }
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

/// Passes on what the last try came to.
fn give_up(
    mut request: Box<Request>,
    backend: &Backend,
    failure: Failure,
    body: &RequestBody,
) -> Result<Response, Refused> {
    request.record.bytes_in = body.received();
    match failure.answered {
        Some(answered) => pass_on(request, backend, *answered),
        None => Err(Refused::new(request, failure.cause)),
    }
}

/// One try. On success the outcome has been reported; on failure too. `known`: the request has told of this target before.
async fn attempt(
    request: &mut Request,
    backend: &Backend,
    pick: Pick<'_>,
    lines: &Rc<RequestLines>,
    body: &Rc<RequestBody>,
    times: Times,
    known: bool,
) -> Result<Answered, Failure> {
    let Times { started, deadline, .. } = times;
    let Pick { target, position, admission, in_flight } = pick;
    let worker = request.worker.clone();
    let asked = Asked { head: request.head.method == Method::HEAD, upgrade: request.head.upgrade.is_some() };
    let own = &request.snapshot.local(backend).hosts[position];
    let host = match request.head.host().filter(|_| backend.settings.preserve_host) {
        Some(host) => Rc::from(host),
        None => own.clone(),
    };
    let exchange = Exchange::new(asked, lines.clone(), host, body.reader());
    let pool = worker.pool(&request.snapshot, backend, target, position);
    let owner = request.owner();
    if pool.is_owned(&owner) || headers::binds_connection(&request.head.fields, "authorization") {
        exchange.slot.bind(owner);
    }
    let arrived = body.is_complete();
    let mut probe = admission.probe;
    let is_probe = probe.is_some();
    let mut sent = {
        let sending = send(request, &pool, body, &exchange, times);
        let mut sending = std::pin::pin!(sending);
        let mut sent = None;
        if is_probe && !body.is_complete() {
            // A client that is slow with its body must not keep everybody else from a target that has recovered.
            let patience = after(started, times.first_byte).min(deadline);
            sent = within(patience, sending.as_mut()).await;
            if sent.is_none() {
                probe = None;
            }
        }
        match sent {
            Some(sent) => sent,
            None => sending.await,
        }
    };
    let now = Instant::now();
    let took = now.saturating_duration_since(started);
    request.record.waited += took;
    let outcome = match &sent {
        Ok((head, _)) => TryOutcome::Status(head.status.as_u16()),
        Err(failure) => TryOutcome::Failed(failure.cause.code()),
    };
    let reused = exchange.reused.get();
    let mut why = None;
    if let Err(failure) = &mut sent {
        why = failure.why.take();
        if let (Some(why), Some(_)) = (&why, failure.outcome) {
            target.counters.last_failure.store(Some(Arc::new((SystemTime::now(), why.clone()))));
        }
    }
    request.record.request_trace.tries.push(Try { target: position, took, outcome, reused, why });
    if exchange.connected.get() {
        let (own, all) = (&target.counters, &backend.counters);
        let kinds = match reused {
            true => [&own.connections_reused, &all.connections_reused],
            false => [&own.connections_new, &all.connections_new],
        };
        kinds.iter().for_each(|kind| kind.add(worker.index, 1));
    }
    // Whoever sends a body takes the time that it likes.
    let uploading = match (exchange.uploaded.get(), &sent) {
        _ if arrived || !exchange.sent.get() => Duration::ZERO,
        (Some(uploaded), _) => uploaded.saturating_duration_since(started),
        (None, Err(_)) => took,
        // Answered before it was all there.
        (None, Ok(_)) => Duration::ZERO,
    };
    request.record.uploading += uploading;
    request.record.streamed |= body.is_stream() && !uploading.is_zero();
    let settings = &backend.settings.circuit_breaker;
    // The client's time is not the upstream's.
    let asked = exchange.uploaded.get().or_else(|| (!body.framing().has_bytes()).then_some(started));
    let waited = asked.map_or(Duration::ZERO, |asked| now.saturating_duration_since(asked));
    let slow = !settings.slow_call.is_zero() && waited >= settings.slow_call;
    let epoch = admission.epoch;
    let report = |outcome: Outcome| {
        if outcome.is_failure() {
            target.counters.failures.add(worker.index, 1);
        }
        // A probe is asked by itself.
        let outcome = if known && !is_probe { outcome.again()? } else { outcome };
        worker.outcome(target.cells.id, epoch, outcome, slow, is_probe);
        probe.into_iter().for_each(|probe| probe.end(outcome, slow));
        (outcome == Outcome::Answered).then_some(Blame { target: target.cells.id, epoch })
    };
    match sent {
        Ok((head, answered_body)) => {
            let answering = took.saturating_sub(uploading);
            request.record.upstream = Some(answering);
            target.counters.latency.record(worker.index, answering.as_micros() as u64);
            request.record.answered = Some(now.saturating_duration_since(request.record.started));
            let status = head.status.as_u16();
            let class = usize::from(status / 100).clamp(1, 5) - 1;
            backend.counters.statuses[class].add(worker.index, 1);
            let blame = report(settings.judge(status));
            // A stream of a request has taken its time; its answer gets its own.
            let deadline = if body.is_stream() { after(Instant::now(), times.stream) } else { deadline };
            if headers::binds_connection(&head.fields, "www-authenticate") {
                answered_body.bind(&exchange, request.owner());
            }
            let request_body = body.clone();
            let answered = Answered {
                head,
                body: answered_body,
                exchange,
                in_flight: Some(in_flight),
                blame,
                deadline,
                request_body,
            };
            if matches!(status, 502..=504) {
                // Elsewhere the client is not who it is on a connection of its own.
                let bound = answered.exchange.slot.is_bound();
                return Err(Failure {
                    cause: Cause::UpstreamBadResponse,
                    outcome: None,
                    again: if bound { Again::Never } else { Again::IfIdempotent },
                    why: None,
                    answered: Some(Box::new(answered)),
                });
            }
            Ok(answered)
        }
        Err(failure) => {
            if matches!(failure.cause, Cause::UpstreamTimeout | Cause::BodyTimeout) {
                request.record.request_trace.decider = Some(ended_by(&exchange, body, times));
            }
            failure.outcome.and_then(report);
            Err(failure)
        }
    }
}

/// Puts the request on the wire and waits for the response head, within every time limit that applies.
async fn send(
    request: &Request,
    pool: &Pool,
    body: &Rc<RequestBody>,
    exchange: &Rc<Exchange>,
    times: Times,
) -> Result<(Head, Body), Failure> {
    let Times { started, deadline, first_byte, .. } = times;
    let limit = after(started, first_byte).min(deadline);
    let sending = pool.send(exchange.clone());
    let outcome = if body.framing().has_bytes() {
        upload(sending, exchange, body, times).await
    } else {
        within(limit, sending).await
    };
    match outcome {
        Some(Ok(answered)) => Ok(answered),
        Some(Err(error)) => {
            let idempotent = is_idempotent(&request.head.method);
            let why = Some(upstream::why(&error, exchange).into());
            Err(Failure { why, ..classify(&error, exchange, body, idempotent) })
        }
        // Time is up, and it was the client that had more to send.
        None if exchange.connected.get() && !body.is_complete() && !exchange.blocked.get() => {
            let cause = BodyFailure::Stalled.cause();
            Err(Failure { cause, outcome: None, again: Again::Never, answered: None, why: None })
        }
        None => {
            let (failure, now) = (timed_out(exchange), Instant::now());
            // What is left of the request's time when its client, or the tries before, have taken most of it is no trial.
            let had = now.saturating_duration_since(exchange.uploaded.get().unwrap_or(started));
            let whole = deadline.saturating_duration_since(request.record.started);
            let tried = now < deadline || had >= first_byte.min(whole - whole / 10);
            Err(Failure { outcome: failure.outcome.filter(|_| tried), ..failure })
        }
    }
}

fn timed_out(exchange: &Exchange) -> Failure {
    let again = if exchange.sent.get() { Again::IfIdempotent } else { Again::Unprocessed };
    let why = if exchange.connected.get() { "no answer in time" } else { "no connection in time" };
    let (cause, outcome) = (Cause::UpstreamTimeout, Some(Outcome::Unanswered));
    Failure { cause, outcome, again, why: Some(why.into()), answered: None }
}

/// What an error of awc means, with the facts that the transport noted.
fn classify(error: &SendRequestError, exchange: &Exchange, body: &RequestBody, idempotent: bool) -> Failure {
    let failed = |cause, outcome, again| Failure { cause, outcome, again, answered: None, why: None };
    if let Some(failure) = body.failure() {
        return failed(failure.cause(), None, Again::Never);
    }
    if matches!(error, SendRequestError::Timeout) {
        return timed_out(exchange);
    }
    if !exchange.connected.get() {
        return failed(Cause::ConnectFailed, upstream::unconnected(error), Again::Unprocessed);
    }
    match exchange.violation.get() {
        None | Some(Violation::Truncated) => {}
        // An answer, if one beyond a bound of the gateway's own.
        Some(Violation::HeadBytes(_) | Violation::HeadFields(_) | Violation::TooManyInterim) => {
            return failed(Cause::UpstreamBadResponse, Some(Outcome::Reached), Again::Never);
        }
        Some(_) => return failed(Cause::UpstreamBadResponse, Some(Outcome::Unanswered), Again::Never),
    }
    if exchange.reused.get() && !exchange.answered.get() {
        // The upstream had closed it, most likely for its age: that says nothing about the upstream.
        let again = if idempotent || !exchange.sent.get() { Again::AtOnce } else { Again::Never };
        return failed(Cause::UpstreamReset, None, again);
    }
    // Who closes on a client that is slow with its body, or sends too much of one, may be in the best of health.
    let outcome = body.is_complete().then_some(Outcome::Unanswered);
    let again = if exchange.sent.get() { Again::IfIdempotent } else { Again::Unprocessed };
    failed(Cause::UpstreamReset, outcome, again)
}

fn no_target(mut request: Box<Request>, backend: &Backend, needs: Needs, refusal: NoTarget) -> Refused {
    request.record.request_trace.decider = balance::decider(backend, needs, refusal.cause);
    let seconds = refusal.retry_after.as_millis().div_ceil(1000).max(1) as u64;
    Refused { retry_after: Some(seconds), ..Refused::new(request, refusal.cause) }
}

/// RFC 9110 §9.2.2.
fn is_idempotent(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE].contains(method)
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

fn hash_key(request: &Request, backend: &Backend) -> u64 {
    let Some(on) = &backend.settings.hash_on else { return 0 };
    let fields = &request.head.fields;
    let ip = || balance::fnv(request.record.client.to_string().as_bytes());
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

/// The head that every try sends, but for the target's own `Host`.
fn upstream_lines(request: &Request) -> Rc<RequestLines> {
    let head = &request.head;
    let mut lines =
        RequestLines::new(head.method.as_str(), request.record.asked_for(), head.fields.bytes() + OWN_LINES);
    let facts = Forwarding {
        peer: request.peer.ip_text(),
        client: (request.hops > 0).then_some(request.record.client),
        hops: request.hops,
        trusted: request.trusted,
        secure: request.peer.secure,
        request_id: request.record.request_id.as_bytes(),
        trace: &request.record.trace,
        via: request.snapshot.via == Via::Both,
        stripped: request.record.route.and_then(|at| request.snapshot.routes[at].strip_prefix.as_deref()),
    };
    headers::to_upstream(head, &facts, lines.fields());
    Rc::new(lines)
}
