//! Paths that the gateway listener answers itself: liveness, readiness and the reserved prefix.

use actix_web::HttpResponse;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;

use super::answer::Cause;
use super::shared::Token;
use super::{Refused, Request, response};

/// Largest body that an administration request may have.
const BODY_LIMIT: usize = 64 * 1024;

/// Whether the path is one that anybody may ask, before routing.
pub fn is_open(canonical: &str) -> bool {
    matches!(canonical, "/health" | "/healthz" | "/ready")
}

/// Whether the canonical path belongs to the gateway and is never proxied.
pub fn is_reserved(canonical: &str) -> bool {
    canonical == "/_aegis" || canonical.starts_with("/_aegis/")
}

/// `/health`, `/healthz`: alive. `/ready`: able to serve and not on the way out.
pub fn answer_open(request: Box<Request>, readiness: bool) -> HttpResponse {
    let shared = &request.worker.shared;
    let (ready, text) = match readiness {
        true if shared.is_draining() => (false, r#"{"status":"draining"}"#),
        true if !shared.can_serve() => (false, r#"{"status":"no backend can serve"}"#),
        true => (true, r#"{"status":"ready"}"#),
        false => (true, r#"{"status":"ok"}"#),
    };
    let status = if ready { actix_http::StatusCode::OK } else { actix_http::StatusCode::SERVICE_UNAVAILABLE };
    response::small(request, status, "application/json", Vec::new(), Bytes::from_static(text.as_bytes()))
}

/// The administration interface, for those who have the token.
pub async fn answer_reserved(mut request: Box<Request>) -> Result<HttpResponse, Refused> {
    let Some(internal) = request.worker.shared.internal.load_full() else {
        return Err(Refused::new(request, Cause::NoRoute));
    };
    match internal.token(&request.arrival.headers) {
        Token::NotConfigured => return Err(Refused::new(request, Cause::NoRoute)),
        Token::Missing => return Err(Refused::new(request, Cause::AdminTokenMissing)),
        Token::Wrong => return Err(Refused::new(request, Cause::AdminTokenInvalid)),
        Token::Right => {}
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = request.arrival.payload.next().await {
        match chunk {
            Ok(chunk) if body.len() + chunk.len() <= BODY_LIMIT => body.extend_from_slice(&chunk),
            Ok(_) => return Err(Refused::new(request, Cause::BodyTooLarge)),
            Err(_) => {
                return Err(Refused::new(
                    request,
                    Cause::BadRequest("The request body did not arrive whole."),
                ));
            }
        }
    }
    let arrival = &request.arrival;
    let answering = internal.answer(
        &arrival.method,
        arrival.uri.path(),
        arrival.uri.query().unwrap_or(""),
        &arrival.headers,
        body.freeze(),
    );
    let answer = answering.await;
    Ok(response::small(request, answer.status, answer.content_type, answer.headers, answer.body))
}
