//! The admin listener: who may talk to it, then the table of endpoints.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use actix_http::StatusCode;
use actix_http::header::{self, HeaderName, HeaderValue};
use actix_web::dev::{Server, ServerHandle};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};

use super::origin::Own;
use super::{Admin, answer, endpoints};
use crate::gateway::shared::{InternalAnswer, Token};

/// Largest request body.
const BODY_LIMIT: usize = 64 * 1024;

/// Serves the admin listener; the server is to be awaited.
///
/// # Errors
/// When the listener cannot be registered.
pub fn serve(listener: TcpListener, admin: Admin) -> io::Result<(Server, ServerHandle)> {
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(admin.clone()))
            .app_data(web::PayloadConfig::new(BODY_LIMIT))
            .default_service(web::to(handle))
    })
    .workers(1)
    .keep_alive(Duration::from_secs(75))
    .shutdown_timeout(1)
    .disable_signals()
    .listen(listener)?
    .run();
    let handle = server.handle();
    Ok((server, handle))
}

async fn handle(
    request: HttpRequest,
    admin: web::Data<Admin>,
    body: Result<web::Bytes, actix_web::Error>,
) -> HttpResponse {
    let answer = match (refuse(&request, &admin), body) {
        (Some(refusal), _) => refusal,
        (None, Err(why)) => {
            answer::bad_request(format!("the body cannot be used; it may have {BODY_LIMIT} bytes: {why}"))
        }
        (None, Ok(body)) => {
            let (path, query) = (request.uri().path().to_owned(), request.query_string().to_owned());
            endpoints::dispatch(admin.get_ref().clone(), request.method().clone(), path, query, body).await
        }
    };
    let mut response = HttpResponse::build(answer.status);
    response.insert_header((header::CONTENT_TYPE, answer.content_type));
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    response.insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"));
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.insert_header((HeaderName::from_static(name), value));
        }
    }
    response.body(answer.body)
}

/// Who may not: a browser that was tricked into another name for this address, and whoever lacks the token. The
/// probes need no token, so that an orchestrator can ask them. They may use any name, and so may who brings the token:
/// a page does not know it.
fn refuse(request: &HttpRequest, admin: &Admin) -> Option<InternalAnswer> {
    let text = |name| request.headers().get(name).map(|value| value.to_str().unwrap_or(""));
    // A target in absolute form beats the field (RFC 9112 §3.2.2).
    let named = request.uri().authority().map(|authority| authority.as_str());
    let host = named.or_else(|| text(header::HOST)).unwrap_or("");
    let settings = admin.shared.admin.load();
    let own = Own {
        address: request.app_config().local_addr().ip(),
        host: &admin.host,
        allowed: &settings.allowed_origins,
    };
    let probe = endpoints::is_open(request.path());
    let token = admin.token_of(text(header::AUTHORIZATION));
    if !probe && token != Token::Right && !own.knows(host) {
        let detail = "the Host header names neither this listener nor an allowed origin: ask by its address, add \
                      http://NAME:PORT to admin.allowedOrigins, or send the admin token";
        return Some(answer::problem(StatusCode::FORBIDDEN, "denied", detail, ()));
    }
    // A page of another site may send simple POSTs; its `Origin` gives it away.
    if text(header::ORIGIN).is_some_and(|origin| !own.trusts(origin, host)) {
        let detail = "the Origin header is neither this listener's own nor in admin.allowedOrigins";
        return Some(answer::problem(StatusCode::FORBIDDEN, "denied", detail, ()));
    }
    let (reason, detail) = match token {
        _ if probe => return None,
        Token::NotConfigured | Token::Right => return None,
        Token::Missing => ("auth_missing", "send the admin token: Authorization: Bearer TOKEN"),
        Token::Wrong => ("auth_invalid", "the token is not the admin token"),
    };
    let mut refusal = answer::problem(StatusCode::UNAUTHORIZED, reason, detail, ());
    refusal.headers.push(("www-authenticate", "Bearer".to_owned()));
    Some(refusal)
}
