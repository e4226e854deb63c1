//! The answer on its way to the client: an upstream's relayed, or one of the gateway's own.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_http::body::{BodySize, BoxBody, MessageBody};
use actix_http::header::{self, HeaderName, HeaderValue};
use actix_http::{ConnectionType, Method, Payload, StatusCode, Version};
use actix_web::HttpResponse;
use bytes::Bytes;
use futures_core::Stream as _;
use thiserror::Error;

use super::answer::{self, Cause, REQUEST_ID};
use super::balance::InFlight;
use super::deadline::Deadline;
use super::downstream::ConnState;
use super::forward::{Answered, AnsweredBody};
use super::record::RequestRecord;
use super::request_body::RequestBody;
use super::snapshot::Backend;
use super::upstream::{Exchange, Upgraded};
use super::worker::after;
use super::{Refused, Request, headers};
use crate::router::BadPath;

/// A body with a known length up to this must be complete within the request's `timeout`; a longer one, or one of
/// unknown length, is a stream and has as long as it makes progress.
const WHOLE_LIMIT: u64 = 1024 * 1024;

/// The upstream's body broke off; the client's connection is cut.
#[derive(Debug, Error)]
#[error("the upstream's response broke off")]
struct Broken;

/// Passes an upstream's answer on.
pub fn relay(mut request: Box<Request>, backend: &Backend, answered: Answered) -> HttpResponse {
    let Answered { mut head, body, exchange, in_flight, target, epoch, deadline, request_body } = answered;
    let status = head.status;
    let mut fields = std::mem::take(&mut head.headers);
    headers::to_client(
        &mut fields,
        request.record.request_id.to_value(),
        status == StatusCode::UPGRADE_REQUIRED,
    );
    if let Some(quota) = request.quota.take() {
        quota.write(&mut fields);
    }
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
    let shelf = request.connection.http2.then(|| Shelf::new(backend.settings.idle_timeout));
    let body = RelayedBody {
        shelf,
        empty: bodiless || request.arrival.method == Method::HEAD || matches!(payload, Payload::None),
        payload,
        size,
        idle: backend.settings.idle_timeout,
        waiting: None,
        whole: (!is_stream).then_some(deadline),
        in_flight,
        blame: Blame { target, epoch },
        exchange,
        request_body,
        record: request.record,
    };
    let mut response = HttpResponse::with_body(status, BoxBody::new(body));
    *response.headers_mut() = fields;
    if size == BodySize::Stream && request.arrival.version < Version::HTTP_11 {
        // RFC 9112 §6.1: no chunked coding to a client that may not know it.
        response.head_mut().no_chunking(true);
        response.head_mut().set_connection_type(ConnectionType::Close);
    }
    response
}

/// Who is to be blamed when the body breaks off.
struct Blame {
    target: aegis_actors::TargetId,
    epoch: u64,
}

/// An upstream's body. Holds what the request holds of its target until the last byte.
struct RelayedBody {
    /// On HTTP/2, where a body that nobody reads is never asked again.
    shelf: Option<Rc<Shelf>>,
    payload: Payload,
    empty: bool,
    size: BodySize,
    idle: Duration,
    waiting: Option<Deadline>,
    whole: Option<Instant>,
    in_flight: Option<InFlight>,
    blame: Blame,
    exchange: Rc<Exchange>,
    request_body: Rc<RequestBody>,
    record: Box<RequestRecord>,
}

impl RelayedBody {
    fn finish(&mut self) {
        self.record.complete = true;
        self.in_flight = None;
    }

    fn break_off(&mut self) -> Broken {
        self.in_flight = None;
        self.payload = Payload::None;
        if self.request_body.failure().is_some() {
            // The client stopped sending what the upstream was still reading: nobody's fault but its own.
            self.record.cause = Some(Cause::ClientGone);
        } else {
            self.record.broken = true;
            self.record.worker.outcome(self.blame.target, self.blame.epoch, false, false, false);
        }
        if !self.record.connection.http2 {
            self.record.connection.abort();
        }
        Broken
    }
}

impl MessageBody for RelayedBody {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.get_mut();
        if this.empty {
            this.finish();
            return Poll::Ready(None);
        }
        if this.record.connection.poll_gone(cx).is_ready() {
            this.payload = Payload::None;
            this.in_flight = None;
            return Poll::Ready(Some(Err(Broken.into())));
        }
        if let Some(shelf) = &this.shelf
            && !shelf.take(&mut this.payload, &mut this.in_flight)
        {
            return Poll::Ready(Some(Err(Broken.into())));
        }
        let polled = Pin::new(&mut this.payload).poll_next(cx);
        if let (Poll::Ready(Some(Ok(_))), Some(shelf)) = (&polled, &this.shelf) {
            shelf.put(&mut this.payload, &mut this.in_flight);
        }
        match polled {
            Poll::Ready(Some(Ok(bytes))) => {
                this.waiting = None;
                this.record.bytes_out += bytes.len() as u64;
                if this.size == BodySize::Sized(this.record.bytes_out) {
                    // The last byte: whoever waits for this target's slot need not wait for a slow client.
                    this.in_flight = None;
                }
                Poll::Ready(Some(Ok(bytes)))
            }
            Poll::Ready(None) => {
                if this.exchange.violation.get().is_some() {
                    return Poll::Ready(Some(Err(this.break_off().into())));
                }
                this.finish();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(_))) => Poll::Ready(Some(Err(this.break_off().into()))),
            Poll::Pending => {
                let waiting = this.waiting.get_or_insert_with(|| {
                    let idle = after(Instant::now(), this.idle);
                    Deadline::at(this.whole.map_or(idle, |whole| whole.min(idle)))
                });
                match waiting.poll_passed(cx) {
                    Poll::Ready(()) => Poll::Ready(Some(Err(this.break_off().into()))),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }
}

impl Drop for RelayedBody {
    fn drop(&mut self) {
        self.record.bytes_in = self.request_body.received();
        if self.empty || self.size == BodySize::Sized(0) {
            // The dispatcher never asks a body for bytes that its size rules out.
            self.record.complete = true;
        }
    }
}

/// Where a body waits between two questions for it. actix asks an HTTP/2 stream for more only when the client has room,
/// which may be never; what waits too long is let go, and with it the upstream's connection.
struct Shelf {
    waiting: RefCell<Option<(Payload, Option<InFlight>)>>,
    since: Cell<Instant>,
    expired: Cell<bool>,
}

impl Shelf {
    /// An empty shelf that keeps nothing for longer than `idle`.
    fn new(idle: Duration) -> Rc<Self> {
        let shelf = Rc::new(Self {
            waiting: RefCell::default(),
            since: Cell::new(Instant::now()),
            expired: Cell::new(false),
        });
        let weak = Rc::downgrade(&shelf);
        actix_rt::spawn(async move {
            let mut wait = idle;
            loop {
                tokio::time::sleep(wait).await;
                let Some(shelf) = weak.upgrade() else { return };
                wait = idle.saturating_sub(shelf.since.get().elapsed());
                if wait.is_zero() {
                    if shelf.waiting.take().is_some() {
                        shelf.expired.set(true);
                        return;
                    }
                    wait = idle;
                }
            }
        });
        shelf
    }

    fn put(&self, payload: &mut Payload, in_flight: &mut Option<InFlight>) {
        self.since.set(Instant::now());
        self.waiting.replace(Some((std::mem::replace(payload, Payload::None), in_flight.take())));
    }

    /// Takes back what was put there; `false` when it has been let go.
    fn take(&self, payload: &mut Payload, in_flight: &mut Option<InFlight>) -> bool {
        if let Some((waiting, held)) = self.waiting.take() {
            (*payload, *in_flight) = (waiting, held);
        }
        !self.expired.get()
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
    let head_only = request.arrival.method == Method::HEAD;
    let bytes = match &more {
        Some(violation) => answer::quota_exceeded(violation, record.request_id.as_str()),
        None => answer::problem(cause, record.request_id.as_str()),
    };
    let mut fields = answer::headers(cause, &id, retry_after);
    if let Some(quota) = request.quota {
        quota.write(&mut fields);
    }
    if let Some(allow) = allow.and_then(|allow| HeaderValue::from_str(&allow).ok()) {
        fields.insert(header::ALLOW, allow);
    } else if cause == Cause::MethodNotAllowed {
        fields
            .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    }
    let size = bytes.len() as u64;
    let body = WholeBody { bytes: (!head_only).then_some(bytes), size, record };
    let mut response = HttpResponse::with_body(cause.status(), BoxBody::new(body));
    *response.headers_mut() = fields;
    if matches!(cause, Cause::BadRequest(_) | Cause::BodyTimeout) {
        // Whoever sends such a request may mean something else by what follows it.
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
