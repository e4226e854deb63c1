//! The answer on its way to the client: an upstream's relayed, or one of the gateway's own.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_http::body::{BodySize, BoxBody, MessageBody};
use actix_http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_http::{ConnectionType, Method, Payload, StatusCode, Version};
use actix_web::HttpResponse;
use bytes::Bytes;

use super::answer::{self, Cause, REQUEST_ID};
use super::downstream::ConnState;
use super::forward::{Answered, AnsweredBody};
use super::rate_limit::{Quota, Told, is_quota};
use super::record::RequestRecord;
use super::relayed::{Blame, Direct, Relaying, Shelf, Streamed};
use super::snapshot::Backend;
use super::upstream::Upgraded;
use super::{Refused, Request, headers};
use crate::router::BadPath;

/// A body with a known length up to this must be complete within the request's `timeout`; a longer one, or one of
/// unknown length, is a stream and has as long as it makes progress.
const WHOLE_LIMIT: u64 = 1024 * 1024;

/// Passes an upstream's answer on.
pub fn relay(mut request: Box<Request>, backend: &Backend, answered: Answered) -> HttpResponse {
    let Answered { mut head, body, exchange, in_flight, target, epoch, deadline, request_body } = answered;
    let status = head.status;
    let mut fields = std::mem::take(&mut head.headers);
    if status == StatusCode::TOO_MANY_REQUESTS && fields.keys().any(|name| is_quota(name.as_str())) {
        // What is used up is a limit of the upstream's, and it says which.
        request.quota = None;
    }
    let via =
        headers::to_client(&mut fields, status == StatusCode::UPGRADE_REQUIRED, request.quota.is_some());
    add_own(&request, via, &mut fields);
    request.record.status = status.as_u16();
    let length = exchange.content_length.get();
    let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let payload = match body {
        AnsweredBody::Payload(payload) | AnsweredBody::Upgraded(Upgraded::Refused(payload)) => payload,
        AnsweredBody::Upgraded(Upgraded::Tunnel(..)) => Payload::None,
    };
    let size = match length {
        _ if status == StatusCode::NOT_MODIFIED => {
            if let Some(length) = length {
                fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            }
            BodySize::None
        }
        _ if bodiless => BodySize::None,
        Some(length) => BodySize::Sized(length),
        None if request.arrival.method == Method::HEAD => BodySize::None,
        None => BodySize::Stream,
    };
    let is_stream = !matches!(size, BodySize::Sized(n) if n <= WHOLE_LIMIT);
    let idle = backend.settings.idle_timeout;
    let detached = exchange.take_detached();
    let relaying = Relaying {
        idle,
        whole: (!is_stream).then_some(deadline),
        in_flight,
        blame: Blame { target, epoch },
        request_body,
        record: request.record,
        exchange,
        waiting: None,
    };
    if let (Some(detached), Some(length)) = (detached, length) {
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        let mut response = HttpResponse::with_body(status, BoxBody::new(Direct::new(relaying, detached)));
        *response.headers_mut() = fields;
        response.head_mut().no_chunking(true);
        return response;
    }
    let shelf = request.connection.http2.then(|| Shelf::new(idle));
    let empty = bodiless || request.arrival.method == Method::HEAD || matches!(payload, Payload::None);
    let end = request.connection.end_of_connection();
    let body = Streamed { end, shelf, payload, empty, size, relaying };
    let mut response = HttpResponse::with_body(status, BoxBody::new(body));
    *response.headers_mut() = fields;
    if size == BodySize::Stream && request.arrival.version < Version::HTTP_11 {
        // RFC 9112 §6.1: no chunked coding to a client that may not know it.
        response.head_mut().no_chunking(true);
        response.head_mut().set_connection_type(ConnectionType::Close);
    }
    response
}

/// Adds what the gateway itself says of an upstream's answer; nothing of these names is left among its `fields`.
pub fn add_own(request: &Request, via: HeaderValue, fields: &mut HeaderMap) {
    let id = &request.record.request_id;
    if request.connection.takes_lines() {
        request.connection.add_lines(|lines| {
            headers::add_bytes(lines, "x-request-id", id.as_bytes());
            headers::add_bytes(lines, "via", via.as_bytes());
        });
    } else {
        fields.append(REQUEST_ID, id.to_value());
        fields.append(header::VIA, via);
    }
    add_quota(&request.connection, request.quota, request.snapshot.told(), fields);
}

/// Adds what the client is told of its limit.
fn add_quota(connection: &ConnState, quota: Option<Quota>, told: &[Told], fields: &mut HeaderMap) {
    let Some(quota) = quota else { return };
    if connection.takes_lines() {
        connection.add_lines(|lines| quota.write_lines(told, lines));
    } else {
        quota.write(told, fields);
    }
}

/// A small body that is there already.
struct WholeBody {
    bytes: Option<Bytes>,
    size: u64,
    record: Box<RequestRecord>,
}

impl MessageBody for WholeBody {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.size)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let bytes = self.bytes.take();
        match &bytes {
            Some(bytes) => self.record.bytes_out += bytes.len() as u64,
            None => self.record.complete = true,
        }
        Poll::Ready(bytes.map(Ok))
    }
}

/// The gateway's own answer to a request that a stage has refused.
pub fn refuse(refused: Refused) -> HttpResponse {
    let Refused { request, cause, retry_after, allow, more } = refused;
    let connection = request.connection.clone();
    let mut record = request.record;
    record.refuse(cause);
    let id = record.request_id.to_value();
    // A body would wait for room with all the others.
    let head_only = request.arrival.method == Method::HEAD || cause == Cause::Overloaded;
    let bytes = match &more {
        Some(violation) => answer::quota_exceeded(violation, record.request_id.as_str()),
        None => answer::problem(cause, record.request_id.as_str()),
    };
    let mut fields = answer::headers(cause, &id, retry_after);
    add_quota(&connection, request.quota, request.snapshot.told(), &mut fields);
    if let Some(allow) = allow.and_then(|allow| HeaderValue::from_str(&allow).ok()) {
        fields.insert(header::ALLOW, allow);
    } else if cause == Cause::MethodNotAllowed {
        fields
            .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    }
    let size = if cause == Cause::Overloaded { 0 } else { bytes.len() as u64 };
    let body = WholeBody { bytes: (!head_only).then_some(bytes), size, record };
    let mut response = HttpResponse::with_body(cause.status(), BoxBody::new(body));
    *response.headers_mut() = fields;
    if matches!(cause, Cause::BadRequest(_) | Cause::BodyTimeout) && !connection.http2 {
        // Whoever sends such a request may mean something else by what follows it. On HTTP/2 nothing follows it, and the
        // connection is that of others, too.
        response.head_mut().set_connection_type(ConnectionType::Close);
        connection.close_soon();
    }
    response
}

/// A complete answer that is no refusal: health, readiness, the administration interface.
pub fn small(
    request: Box<Request>,
    status: StatusCode,
    content_type: &'static str,
    fields: Vec<(&'static str, String)>,
    bytes: Bytes,
) -> HttpResponse {
    let mut record = request.record;
    record.status = status.as_u16();
    let id = record.request_id.to_value();
    let head_only = request.arrival.method == Method::HEAD;
    let size = bytes.len() as u64;
    let body = WholeBody { bytes: (!head_only).then_some(bytes), size, record };
    let mut response = HttpResponse::with_body(status, BoxBody::new(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REQUEST_ID, id);
    for (name, value) in fields {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

/// 500 for a request whose handler panicked; its record has ended with the panic.
pub fn internal_error(id: &HeaderValue) -> HttpResponse {
    let bytes = answer::problem(Cause::Internal, id.to_str().unwrap_or(""));
    let mut response = HttpResponse::with_body(Cause::Internal.status(), BoxBody::new(bytes));
    *response.headers_mut() = answer::headers(Cause::Internal, id, None);
    response
}

/// What the connection's own state asks of an answer.
pub fn for_connection(
    mut response: HttpResponse,
    connection: &ConnState,
    is_raw: bool,
    last: bool,
) -> HttpResponse {
    connection.answers();
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return response;
    }
    if is_raw {
        // actix frames nothing on a connection whose request offered a websocket: the answer ends with it.
        response.head_mut().no_chunking(true);
    }
    // On HTTP/2 a body that nobody reads ends with its stream.
    let unread = connection.awaits_body() && !connection.http2;
    if is_raw || last || unread {
        response.head_mut().set_connection_type(ConnectionType::Close);
        connection.close_soon();
    }
    response
}

/// One sentence per rule that a path can break.
pub fn bad_path(bad: BadPath) -> &'static str {
    match bad {
        BadPath::NotAbsolute => "The path does not start with a slash.",
        BadPath::Nul => "The path contains a NUL.",
        BadPath::Control(_) => "The path contains a control character.",
        BadPath::Backslash => "The path contains a backslash.",
        BadPath::EscapedSlash => "The path contains an escaped slash or backslash.",
        BadPath::MalformedEscape => "The path contains a percent sign without two hex digits.",
        BadPath::InvalidUtf8 => "The path contains escapes that are not valid UTF-8.",
        BadPath::EscapedDotSegment => "The path contains an escaped dot segment.",
        BadPath::DotSegmentParameters => "The path contains a dot segment with parameters.",
        BadPath::EmptySegmentParameters => "The path contains an empty segment with parameters.",
        BadPath::AboveRoot => "The path climbs above the root.",
    }
}
