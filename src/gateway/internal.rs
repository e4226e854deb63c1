//! What the gateway answers on its own account: liveness, readiness and the reserved prefix.

use std::time::{Duration, Instant};

use actix_http::{Method, StatusCode};
use bytes::{Bytes, BytesMut};

use super::answer::Cause;
use super::deadline::timeout_at;
use super::own_paths::Answers;
use super::record::{Decider, RequestRecord};
use super::request::{Refused, Request};
use super::request_body::BodyFailure;
use super::response::{self, METHODS, Response};
use super::shared::Token;
use crate::config::is_secret_field;

/// Largest body that an administration request may have.
const BODY_LIMIT: usize = 64 * 1024;
/// The longest pause in one.
const BODY_PAUSE: Duration = Duration::from_secs(10);

/// Answers a request for one of the gateway's own paths, by its place among them.
pub async fn answer(request: Box<Request>, own: usize) -> Result<Response, Refused> {
    match request.snapshot.own_paths.all[own].answers {
        Answers::Server => Ok(answer_as_server(request.record)),
        Answers::Reserved => answer_reserved(request).await,
        Answers::Health => Ok(answer_open(request.record, false)),
        Answers::Ready => Ok(answer_open(request.record, true)),
    }
}

/// Whether the gateway is alive; for `readiness`, whether it is able to serve and not on the way out.
fn answer_open(record: Box<RequestRecord>, readiness: bool) -> Response {
    let shared = &record.worker.shared;
    let (ready, text) = match readiness {
        true if shared.is_draining() => (false, r#"{"status":"draining"}"#),
        true if !shared.can_serve() => (false, r#"{"status":"no backend can serve"}"#),
        true => (true, r#"{"status":"ready"}"#),
        false => (true, r#"{"status":"ok"}"#),
    };
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    response::small(record, status, "application/json", Vec::new(), Bytes::from_static(text.as_bytes()))
}

/// The administration interface, for those who have the token.
async fn answer_reserved(mut request: Box<Request>) -> Result<Response, Refused> {
    let Some(internal) = request.worker.shared.internal.load_full() else {
        return Err(Refused::new(request, Cause::NoRoute));
    };
    match internal.token(request.head.fields.text("authorization")) {
        Token::NotConfigured => {
            request.record.request_trace.decider = Some(Decider::AdminToken);
            return Err(Refused::new(request, Cause::NoRoute));
        }
        Token::Missing => return Err(Refused::new(request, Cause::AdminTokenMissing)),
        Token::Wrong => return Err(Refused::new(request, Cause::AdminTokenInvalid)),
        Token::Right => {}
    }
    let mut body = BytesMut::new();
    while let Some(source) = &mut request.body {
        let next = std::future::poll_fn(|cx| source.poll_next(cx));
        match timeout_at(Instant::now() + BODY_PAUSE, next).await.unwrap_or(Some(Err(BodyFailure::Stalled))) {
            None => break,
            Some(Ok(chunk)) if body.len() + chunk.len() <= BODY_LIMIT => body.extend_from_slice(&chunk),
            Some(Ok(_)) => return Err(Refused::new(request, Cause::BodyTooLarge)),
            Some(Err(failure)) => return Err(Refused::new(request, BodyFailure::cause(failure))),
        }
    }
    let head = &request.head;
    let (path, query) = (head.target.path(), head.target.query().unwrap_or(""));
    let answering = internal.answer(&head.method, path, query, body.freeze());
    let answer = answering.await;
    Ok(response::small(request.record, answer.status, answer.content_type, answer.headers, answer.body))
}

/// The answer to a request that is for the gateway itself: `OPTIONS *`, or one that may be forwarded no further (RFC 9110
/// §7.6.2). To TRACE it says what arrived (§9.3.8), less what is secret.
pub fn answer_as_server(record: Box<RequestRecord>) -> Response {
    if record.head.method != Method::TRACE {
        let allow = vec![("allow", METHODS.to_owned())];
        return response::small(record, StatusCode::NO_CONTENT, "", allow, Bytes::new());
    }
    let mut fields = record.head.fields.clone();
    fields.retain(|name, _| !is_secret_field(name));
    let mut body = format!("TRACE {} HTTP/1.1\r\n", record.head.target.path_and_query()).into_bytes();
    fields.write(&mut body);
    body.extend_from_slice(b"\r\n");
    response::small(record, StatusCode::OK, "message/http", Vec::new(), body.into())
}
