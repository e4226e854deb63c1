//! `aegis demo`: a gateway before upstreams of its own, with gentle traffic.

use std::time::Duration;

use super::demo_upstreams::Upstreams;
use super::{check, serve};
use crate::config::{Source, load_with};

/// What the demo's traffic asks for, one request per turn.
const ROUND: &[&str] = &[
    "/api/users",
    "/api/users/1",
    "/api/orders",
    "/api/users/2",
    "/api/orders/42",
    "/api/reports/daily",
    "/api/users",
    "/api/nowhere",
];
/// Time between two requests.
const PACE: Duration = Duration::from_millis(200);

/// Runs the demo on `port`, the admin listener on the next one.
pub fn run(port: u16) -> i32 {
    let upstreams = match Upstreams::start() {
        Ok(upstreams) => upstreams,
        Err(error) => {
            eprintln!("aegis demo: the demo's own upstreams cannot listen on 127.0.0.1: {error}");
            return 1;
        }
    };
    let text = configuration(port, &upstreams);
    let source = Source { text: Some(("demo".into(), text)), ..Source::default() };
    let loaded = match load_with(&source, check::judge) {
        Ok(loaded) => loaded,
        Err(problems) => {
            eprintln!("{problems}");
            return 1;
        }
    };
    serve::serve(source, loaded, |started| {
        let (gateway, admin) = (format!("http://{}", started.gateway), format!("http://{}", started.admin));
        println!("{}", introduction(&gateway, &admin));
        actix_rt::spawn(traffic(gateway));
    })
}

/// What somebody sees who has never used a gateway.
fn introduction(gateway: &str, admin: &str) -> String {
    format!(
        "\n\
         AEGIS demo: one gateway, three services behind it, a request every {} ms.\n\n\
         Try:\n  \
           curl -i {gateway}/api/users            a healthy service\n  \
           curl -i {gateway}/api/orders           fails now and then: GETs are retried, a failing POST is not\n  \
           curl -i {gateway}/api/reports/daily    slow: half a second\n  \
           curl -i {gateway}/api/nowhere          no route: a problem document that says so\n\n\
         Look:\n  \
           {admin}/_aegis/status    targets, breakers, counters, events\n  \
           {admin}/_aegis/routes    the compiled routes with their hits\n  \
           {admin}/                 everything that the admin listener answers\n\n\
         Ctrl-C stops it.\n",
        PACE.as_millis()
    )
}

fn configuration(port: u16, upstreams: &Upstreams) -> String {
    let admin = if port == 0 { 0 } else { port.checked_add(1).unwrap_or(0) };
    format!(
        "server: {{host: 127.0.0.1, port: {port}}}
admin: {{host: 127.0.0.1, port: {admin}}}
hotReload: false
logging: {{level: info, format: text, accessLog: false}}
backends:
  - name: users
    url: http://{}
    routes: [/api/users, \"/api/users/**\"]
    healthCheck: {{path: /health, intervalMs: 5000}}
  - name: orders
    url: http://{}
    routes: [/api/orders, \"/api/orders/**\"]
    circuitBreaker: {{resetTimeoutMs: 5000}}
  - name: reports
    url: http://{}
    routes: [\"/api/reports/**\"]
    timeout: 5s
",
        upstreams.users, upstreams.orders, upstreams.reports
    )
}

/// A request every turn, for ever; what comes of it is the gateway's to show.
async fn traffic(gateway: String) {
    let client = awc::Client::builder().timeout(Duration::from_secs(10)).finish();
    for path in ROUND.iter().cycle() {
        let request =
            client.get(format!("{gateway}{path}")).insert_header(("user-agent", "aegis-demo")).send();
        if let Ok(mut response) = request.await {
            let _ = response.body().await;
        }
        tokio::time::sleep(PACE).await;
    }
}
