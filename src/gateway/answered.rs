//! What an upstream has answered, made into what its client gets.

use std::rc::Rc;
use std::time::Instant;

use actix_http::{Method, StatusCode};

use super::answer::{self, Cause, REQUEST_ID};
use super::arrival::Upgrade;
use super::balance::InFlight;
use super::fields::Fields;
use super::headers::{self, Passing};
use super::rate_limit::is_quota;
use super::record::Decider;
use super::redirects;
use super::relayed::{Blame, HeldUp, Relayed};
use super::request::{Refused, Request};
use super::request_body::RequestBody;
use super::response::{Content, Length, Response};
use super::snapshot::Backend;
use super::tunnel::Tunnel;
use super::upstream::{Body, Exchange, Head};
use crate::config::settings::Via;

/// A body with a known length up to this must be complete within the request's `timeout`; a longer one, or one of
/// unknown length, is a stream and has as long as it makes progress.
const WHOLE_LIMIT: u64 = 1024 * 1024;

/// What a try that reached a response head hands on.
pub struct Answered {
    pub head: Head,
    pub body: Body,
    pub exchange: Rc<Exchange>,
    /// Given back before another try.
    pub in_flight: Option<InFlight>,
    /// For a failure after the head.
    pub blame: Option<Blame>,
    /// When the whole response must be there, if it is no stream.
    pub deadline: Instant,
    /// Still arriving, when the upstream answered early.
    pub request_body: Rc<RequestBody>,
}

/// Makes of it what the client gets.
///
/// # Errors
/// Where the upstream has switched to something that nobody can carry.
pub fn pass_on(request: Box<Request>, backend: &Backend, answered: Answered) -> Result<Response, Refused> {
    match answered.head.status {
        StatusCode::SWITCHING_PROTOCOLS => open(request, backend, answered),
        _ => Ok(relay(request, backend, answered)),
    }
}

/// Passes an upstream's answer on.
fn relay(mut request: Box<Request>, backend: &Backend, answered: Answered) -> Response {
    let Answered { head, body, exchange, in_flight, blame, deadline, request_body } = answered;
    let (status, mut fields) = (head.status, head.fields);
    if status == StatusCode::TOO_MANY_REQUESTS && fields.iter().any(|(name, _)| is_quota(name)) {
        // What is used up is a limit of the upstream's, and it says which.
        request.quota = None;
    }
    headers::to_client(&mut fields, passing(&request, backend, status == StatusCode::UPGRADE_REQUIRED));
    redirects::rewrite(&mut fields, &request, backend);
    add_own(&request, &mut fields);
    request.record.status = status.as_u16();
    let length = match head.content_length {
        _ if status == StatusCode::NO_CONTENT => Length::None,
        Some(length) if status == StatusCode::NOT_MODIFIED => Length::Stated(length),
        Some(length) if request.head.method == Method::HEAD => Length::Stated(length),
        Some(length) => Length::Sized(length),
        None if request.head.method == Method::HEAD || status == StatusCode::NOT_MODIFIED => Length::None,
        None => Length::Unknown,
    };
    request.record.stream = is_stream(length);
    let idle = backend.settings.idle_timeout;
    let relayed = Relayed {
        body,
        idle,
        whole: (!request.record.stream).then_some(deadline),
        in_flight,
        blame,
        request_body,
        record: request.record,
        _exchange: exchange,
        waiting: None,
        held_up: HeldUp::default(),
    };
    let content = Content::Relayed(Box::new(relayed));
    Response { status, reason: head.reason, fields, length, content, last: false, write_limit: idle }
}

/// What of its fields goes on.
fn passing(request: &Request, backend: &Backend, upgrade: bool) -> Passing {
    let (limited, via) = (request.quota.is_some(), request.snapshot.via != Via::Off);
    Passing { upgrade, limited, alt_svc: backend.settings.pass_alt_svc, via }
}

/// Whether a body may take any time. One that does not follow takes none.
fn is_stream(length: Length) -> bool {
    match length {
        Length::None | Length::Stated(_) => false,
        Length::Sized(length) => length > WHOLE_LIMIT,
        Length::Unknown => true,
    }
}

/// Adds what the gateway itself says of an upstream's answer; nothing of these names is left among its `fields`.
fn add_own(request: &Request, fields: &mut Fields) {
    fields.push(REQUEST_ID, request.record.request_id.as_bytes());
    if let Some(quota) = request.quota {
        quota.write(request.snapshot.header_caches(), fields);
    }
    if fields.get("date").is_none() {
        // RFC 9110 §6.6.1: whoever forwards an answer that tells no time does.
        answer::push_date(fields);
    }
}

/// Answers 101; what follows is a tunnel.
///
/// # Errors
/// The upstream has switched before it had the request, so that nobody can tell where the client's first byte belongs.
fn open(mut request: Box<Request>, backend: &Backend, answered: Answered) -> Result<Response, Refused> {
    let Answered { head, body, in_flight, request_body, .. } = answered;
    let Some(taken) = body.into_tunnel().filter(|_| request_body.is_complete()) else {
        if let Some(last) = request.record.story.tries.last_mut() {
            last.why = Some("switched protocols before it had the request".into());
        }
        return Err(Refused::new(request, Cause::UpstreamBadResponse));
    };
    let most = backend.settings.max_tunnels;
    let Some(counted) = in_flight.and_then(|one| one.into_tunnel(most)) else {
        request.record.story.decider = Some(Decider::Tunnels);
        return Err(Refused::new(request, Cause::PoolFull));
    };
    let mut fields = head.fields;
    headers::to_client(&mut fields, passing(&request, backend, true));
    add_own(&request, &mut fields);
    request.record.status = head.status.as_u16();
    request.record.stream = true;
    request.record.bytes_in = request_body.received();
    let (websocket, idle) = (request.head.upgrade == Some(Upgrade::WebSocket), backend.settings.idle_timeout);
    let tunnel = Tunnel::new(taken, websocket, idle, counted, request.record);
    Ok(Response {
        status: head.status,
        reason: head.reason,
        fields,
        length: Length::None,
        content: Content::Tunnel(Box::new(tunnel)),
        last: false,
        write_limit: idle,
    })
}
