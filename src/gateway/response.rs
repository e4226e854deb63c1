//! The answer on its way to the client: an upstream's relayed, or one of the gateway's own.
//!
//! How it goes over the wire is decided by `server`; here is what it says and where its bytes come from.

use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::{Method, StatusCode};
use bytes::{Buf as _, Bytes};

use super::answer::{self, Cause, REQUEST_ID};
use super::fields::Fields;
use super::record::RequestRecord;
use super::relayed::{Relayed, Step, Write};
use super::request::Refused;
use super::tunnel::Tunnel;
use crate::router::BadPath;

/// How long a client may take nothing of an answer that the gateway makes itself.
const WRITE_LIMIT: Duration = Duration::from_secs(60);

/// See the module.
pub struct Response {
    pub status: StatusCode,
    /// Where it is not the status's usual one.
    pub reason: Option<Box<str>>,
    pub fields: Fields,
    pub length: Length,
    pub content: Content,
    /// Nothing may follow it on an HTTP/1 connection.
    pub last: bool,
    /// How long the client may take nothing of it.
    pub write_limit: Duration,
}

/// What is said of the length of an answer's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Nothing: there is none.
    None,
    /// That of a body which does not follow, as behind HEAD.
    Stated(u64),
    Sized(u64),
    /// It ends where it ends.
    Unknown,
}

/// What follows an answer's head.
pub enum Content {
    Whole(Bytes, Option<Box<RequestRecord>>),
    Relayed(Box<Relayed>),
    Tunnel(Box<Tunnel>),
}

impl Response {
    /// Gives what there is of the body to `put`, until one side has to wait or all is done.
    pub fn transfer(&mut self, cx: &mut Context<'_>, put: &mut Write<'_>) -> Step {
        match &mut self.content {
            Content::Tunnel(_) => Step::Done,
            Content::Relayed(relayed) => relayed.transfer(cx, put),
            Content::Whole(bytes, record) => {
                while !bytes.is_empty() {
                    match put(cx, bytes) {
                        Poll::Ready(Ok(n)) => {
                            bytes.advance(n);
                            record.iter_mut().for_each(|record| record.sent(n as u64));
                        }
                        Poll::Ready(Err(_)) => return Step::Broken,
                        Poll::Pending => return Step::AwaitsReader,
                    }
                }
                Step::Done
            }
        }
    }

    /// All of it has been handed over.
    pub fn complete(&mut self) {
        match &mut self.content {
            Content::Whole(_, record) => record.iter_mut().for_each(|record| record.complete = true),
            Content::Relayed(relayed) => relayed.finish(),
            Content::Tunnel(_) => {}
        }
    }

    /// Whether bytes follow the head.
    pub fn has_body(&self) -> bool {
        matches!(self.length, Length::Unknown | Length::Sized(1..))
    }
}

/// An answer whose body is there already.
fn whole(
    status: StatusCode,
    fields: Fields,
    bytes: Bytes,
    is_head: bool,
    record: Option<Box<RequestRecord>>,
) -> Response {
    let size = bytes.len() as u64;
    let (bytes, length) = match is_head {
        _ if status == StatusCode::NO_CONTENT => (bytes, Length::None),
        true => (Bytes::new(), Length::Stated(size)),
        false => (bytes, Length::Sized(size)),
    };
    let content = Content::Whole(bytes, record);
    Response { status, reason: None, fields, length, content, last: false, write_limit: WRITE_LIMIT }
}

/// The gateway's own answer to a request that a stage has refused.
pub fn refuse(refused: Refused) -> Response {
    let Refused { request, cause, retry_after, allow, more } = refused;
    let mut record = request.record;
    record.refuse(cause);
    let id = record.request_id.as_str();
    let bytes = match &more {
        Some(exceeded) => answer::limit_exceeded(exceeded, id),
        None => answer::problem(cause, id),
    };
    let mut fields = answer::fields(cause, id, retry_after);
    request.challenges.iter().for_each(|challenge| fields.push("www-authenticate", challenge.as_bytes()));
    if let Some(quota) = request.quota {
        quota.write(request.snapshot.header_caches(), &mut fields);
    }
    match allow {
        Some(allow) => fields.push("allow", allow.as_bytes()),
        None if cause == Cause::MethodNotAllowed => fields.push("allow", METHODS.as_bytes()),
        None => {}
    }
    let mut response =
        whole(cause.status(), fields, bytes, request.head.method == Method::HEAD, Some(record));
    // Whoever sends such a request may mean something else by what follows it.
    response.last = matches!(cause, Cause::BadRequest(_) | Cause::BodyTimeout) || request.peer.is_unfit();
    response
}

/// What the gateway passes on.
pub const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// A complete answer that is no refusal: health, readiness, the administration interface.
pub fn small(
    mut record: Box<RequestRecord>,
    status: StatusCode,
    content_type: &'static str,
    more: Vec<(&'static str, String)>,
    bytes: Bytes,
) -> Response {
    record.status = status.as_u16();
    let mut fields = Fields::with_capacity(256, 8);
    if !bytes.is_empty() {
        fields.push("content-type", content_type.as_bytes());
    }
    fields.push("cache-control", b"no-store");
    fields.push(REQUEST_ID, record.request_id.as_bytes());
    for (name, value) in &more {
        fields.push(name, value.as_bytes());
    }
    answer::push_date(&mut fields);
    let is_head = record.head.method == Method::HEAD;
    whole(status, fields, bytes, is_head, Some(record))
}

/// 500 for a request whose handler panicked; its record has ended with the panic.
pub fn internal_error(id: &str, is_head: bool) -> Response {
    Response { last: true, ..bare(Cause::Internal, id, is_head) }
}

/// The answer to a request that has no record.
pub fn bare(cause: Cause, id: &str, is_head: bool) -> Response {
    let fields = answer::fields(cause, id, None);
    whole(cause.status(), fields, answer::problem(cause, id), is_head, None)
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
