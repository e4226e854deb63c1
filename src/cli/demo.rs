//! `aegis demo`: a gateway before upstreams of its own, with gentle traffic, and a key for the route that wants one.

use std::time::Duration;

use super::demo_upstreams::Upstreams;
use super::{complain, say, serve};
use crate::auth::api_key::{self, Digest, NewKey};
use crate::config::{Source, load_with};
use crate::supervisor::validate;

/// What the demo's traffic asks for, one request per turn.
const ROUND: &[&str] = &[
    "/api/users",
    "/api/users/1",
    "/api/orders",
    "/api/users/me",
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
            complain(format_args!(
                "aegis demo: the demo's own upstreams cannot listen on 127.0.0.1: {error}"
            ));
            return 1;
        }
    };
    let Ok(key) = api_key::make() else {
        complain("aegis demo: the operating system has no random numbers");
        return 1;
    };
    let source = configuration(port, &upstreams, &key);
    let loaded = match load_with(&source, validate) {
        Ok(loaded) => loaded,
        Err(problems) => {
            complain(problems);
            return 1;
        }
    };
    serve::serve(source, loaded, move |started| {
        let (gateway, admin) = (format!("http://{}", started.gateway), format!("http://{}", started.admin));
        say(introduction(&gateway, &admin, &key.key));
        actix_rt::spawn(traffic(gateway, key.key.to_string()));
    })
}

/// What somebody sees who has never used a gateway. The key is shown here and nowhere else.
fn introduction(gateway: &str, admin: &str, key: &str) -> String {
    format!(
        "\n\
         AEGIS demo: one gateway, three services behind it, a request every {} ms.\n\n\
         Try:\n  \
           curl -i {gateway}/api/users            a healthy service\n  \
           curl -i {gateway}/api/orders           fails now and then: GETs are retried, a failing POST is not\n  \
           curl -i {gateway}/api/reports/daily    slow: half a second\n  \
           curl -i {gateway}/api/users/3          limited: five in ten seconds, then 429\n  \
           curl -i {gateway}/api/users/me         wants a key: 401 without one\n  \
           curl -i {gateway}/api/nowhere          no route: a problem document that says so\n\n\
         With the key of this run, the service is told who asks:\n  \
           curl -i {gateway}/api/users/me -H 'X-API-Key: {key}'\n\n\
         Look:\n  \
           {admin}/_aegis/status    targets, breakers, counters, events\n  \
           {admin}/_aegis/routes    the compiled routes with their hits\n  \
           {admin}/_aegis/rate-limit    limits, decisions, busiest clients\n  \
           {admin}/api/metrics/overview?range=5m    what was counted; {admin}/metrics for Prometheus\n  \
           {admin}/                 everything that the admin listener answers\n\n\
         Ctrl-C stops it.\n",
        PACE.as_millis()
    )
}

/// `config/demo.yaml` with the ports, the upstreams and the key of this run.
fn configuration(port: u16, upstreams: &Upstreams, key: &NewKey) -> Source {
    let admin = if port == 0 { 0 } else { port.checked_add(1).unwrap_or(0) };
    let digest = Digest::Sha256(api_key::sha256(key.key.as_bytes()));
    Source {
        text: Some(("config/demo.yaml".into(), include_str!("../../config/demo.yaml").into())),
        set: vec![
            format!("server.port={port}"),
            format!("admin.port={admin}"),
            format!("backends.0.url=http://{}", upstreams.users),
            format!("backends.1.url=http://{}", upstreams.orders),
            format!("backends.2.url=http://{}", upstreams.reports),
            format!("auth.apiKey.keys.0.id={}", key.id),
            format!("auth.apiKey.keys.0.hashes.0={digest}"),
        ],
        ..Source::default()
    }
}

/// A request every turn, for ever; what comes of it is the gateway's to show.
async fn traffic(gateway: String, key: String) {
    let client = awc::Client::builder().timeout(Duration::from_secs(10));
    let client = client.add_default_header(("x-api-key", key)).finish();
    for path in ROUND.iter().cycle() {
        let request =
            client.get(format!("{gateway}{path}")).insert_header(("user-agent", "aegis-demo")).send();
        if let Ok(mut response) = request.await {
            let _ = response.body().await;
        }
        tokio::time::sleep(PACE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::LogFormat;

    #[test]
    fn the_demo_is_the_file_with_this_runs_ports_upstreams_and_key() {
        let address = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let upstreams = Upstreams { users: address(1), orders: address(2), reports: address(3) };
        let key = api_key::make().unwrap();
        for (port, admin) in [(9000, 9001), (0, 0), (65_535, 0)] {
            let source = configuration(port, &upstreams, &key);
            let loaded = load_with(&source, validate).expect("a good configuration");
            assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
            let settings = loaded.settings;
            assert_eq!((settings.server.port, settings.admin.port), (port, admin));
            let expected = [("users", 1), ("orders", 2), ("reports", 3)];
            assert_eq!(settings.backends.len(), expected.len());
            for (backend, (name, port)) in settings.backends.iter().zip(expected) {
                assert_eq!((backend.name.as_str(), backend.targets.len()), (name, 1));
                assert_eq!(backend.targets[0].url.port, port);
            }
            let [known] = &*settings.auth.api_key.keys else { panic!("one key") };
            assert_eq!(known.id, key.id);
            assert_eq!(known.hashes, [Digest::Sha256(api_key::sha256(key.key.as_bytes()))]);
            assert!(!settings.hot_reload && !settings.logging.access_log);
            assert_eq!(settings.logging.format, LogFormat::Text);
        }
    }
}
