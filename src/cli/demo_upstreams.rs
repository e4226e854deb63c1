//! The demo's own services: one healthy, one flaky, one slow. Real servers on free ports of the loopback interface.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::{Value, json};

/// Where the demo's services listen.
pub struct Upstreams {
    pub users: SocketAddr,
    pub orders: SocketAddr,
    pub reports: SocketAddr,
}

impl Upstreams {
    /// Starts them on a thread of their own, which ends with the process.
    ///
    /// # Errors
    /// When a loopback port cannot be bound.
    pub fn start() -> io::Result<Self> {
        let bind = || TcpListener::bind(("127.0.0.1", 0));
        let (users, orders, reports) = (bind()?, bind()?, bind()?);
        let addresses =
            Self { users: users.local_addr()?, orders: orders.local_addr()?, reports: reports.local_addr()? };
        std::thread::Builder::new().name("demo-upstreams".into()).spawn(move || {
            let system = actix_rt::System::new();
            if let Err(error) = system.block_on(serve(users, orders, reports)) {
                log::error!("the demo's upstreams ended: {error}");
            }
        })?;
        Ok(addresses)
    }
}

async fn serve(users: TcpListener, orders: TcpListener, reports: TcpListener) -> io::Result<()> {
    let users = server(users, |request| Box::pin(self::users(request)));
    let orders = server(orders, |request| Box::pin(self::orders(request)));
    let reports = server(reports, |request| Box::pin(self::reports(request)));
    let (users, orders, reports) =
        (actix_rt::spawn(users?), actix_rt::spawn(orders?), actix_rt::spawn(reports?));
    users.await??;
    orders.await??;
    reports.await?
}

type Answering = std::pin::Pin<Box<dyn Future<Output = HttpResponse>>>;

fn server(
    listener: TcpListener,
    handler: fn(HttpRequest) -> Answering,
) -> io::Result<actix_web::dev::Server> {
    let server = HttpServer::new(move || App::new().default_service(web::to(handler)));
    Ok(server.workers(1).disable_signals().listen(listener)?.run())
}

async fn users(request: HttpRequest) -> HttpResponse {
    let user = |id: u32, name: &str| json!({"id": id, "name": name});
    if request.path() == "/health" {
        return reply(StatusCode::OK, json!({"status": "ok"}));
    }
    // Who asks is what the gateway says: nobody else can set this field.
    let asking = request.headers().get("x-user-id").and_then(|user| user.to_str().ok());
    match request.path().trim_start_matches("/api/users").trim_matches('/') {
        "" => reply(StatusCode::OK, json!({"users": [user(1, "Ada"), user(2, "Grace"), user(3, "Barbara")]})),
        "1" => reply(StatusCode::OK, user(1, "Ada")),
        "2" => reply(StatusCode::OK, user(2, "Grace")),
        "3" => reply(StatusCode::OK, user(3, "Barbara")),
        "me" => reply(StatusCode::OK, json!({"userId": asking})),
        other => reply(StatusCode::NOT_FOUND, json!({"error": format!("there is no user {other:?}")})),
    }
}

/// Fails every fourth time.
async fn orders(_: HttpRequest) -> HttpResponse {
    static TURN: AtomicU32 = AtomicU32::new(0);
    if TURN.fetch_add(1, Ordering::Relaxed) % 4 == 3 {
        return reply(StatusCode::SERVICE_UNAVAILABLE, json!({"error": "the order database is busy"}));
    }
    reply(StatusCode::OK, json!({"orders": [{"id": 42, "total": 99.5}]}))
}

/// Takes half a second.
async fn reports(_: HttpRequest) -> HttpResponse {
    tokio::time::sleep(Duration::from_millis(500)).await;
    reply(StatusCode::OK, json!({"report": "daily", "rows": 7}))
}

fn reply(status: StatusCode, value: Value) -> HttpResponse {
    HttpResponse::build(status).content_type("application/json").body(value.to_string())
}
