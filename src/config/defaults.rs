//! The built-in defaults, safe for production. They are also the lowest layer of the merge.

use std::time::Duration;

use aegis_actors::circuit_breaker;

use serde_json::Value;

use super::effective;
use super::settings::*;
use super::tree::{Kind, Node, Origin};
use crate::store::Database;

impl Default for Settings {
    fn default() -> Self {
        Self {
            server: Server::default(),
            admin: Admin::default(),
            hot_reload: true,
            backends: Vec::new(),
            redis: None,
            rate_limit: None,
            metrics: Metrics::default(),
            alerts: None,
            logging: Logging::default(),
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            host: "0.0.0.0".to_owned(),
            port: 8080,
            workers: 0,
            body_limit_bytes: 10 * 1024 * 1024,
            trusted_proxies: Vec::new(),
            header_timeout: Duration::from_secs(5),
            keep_alive: Duration::from_secs(75),
            shutdown_timeout: Duration::from_secs(30),
            drain_period: Duration::from_secs(1),
            max_connections: 25_000,
            head: HeadBounds { bytes: 128 * 1024, fields: 256 },
            tls: None,
            escaped_slash: EscapedSlash::Reject,
            via: Via::Both,
            probes: Probes::default(),
        }
    }
}

impl Default for Probes {
    fn default() -> Self {
        Self {
            health: vec!["/health".to_owned(), "/healthz".to_owned()],
            ready: vec!["/ready".to_owned()],
            hosts: Vec::new(),
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { host: "127.0.0.1".to_owned(), port: 8081, token: String::new(), allowed_origins: Vec::new() }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            enabled: true,
            store: Some(Database::Sqlite("data/aegis.db".into())),
            flush_interval: Duration::from_secs(5),
            retention: Duration::from_secs(30 * 86_400),
            slow_request: Duration::from_secs(1),
            auto_migrate: true,
            instance: None,
        }
    }
}

impl Default for Logging {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Json,
            access_log: true,
            query: false,
            probes: false,
        }
    }
}

/// What a backend's keys are when they are not written. Name, targets and routes are empty and must be filled
/// in.
impl Default for Backend {
    fn default() -> Self {
        Self {
            name: String::new(),
            targets: Vec::new(),
            load_balance: LoadBalance::default(),
            routes: Vec::new(),
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(2),
            first_byte_timeout: None,
            idle_timeout: Duration::from_secs(60),
            retries: 2,
            max_in_flight: 1024,
            max_tunnels: 10_000,
            head: HeadBounds { bytes: 256 * 1024, fields: 512 },
            pool_idle: Duration::from_secs(15),
            health_check: None,
            circuit_breaker: circuit_breaker::Settings::default(),
            when_all_unhealthy: WhenAllUnhealthy::default(),
            preserve_host: false,
            rewrite_redirects: true,
            rewrite_cookies: RewriteCookies::default(),
            pass_alt_svc: false,
            tls: UpstreamTls::default(),
        }
    }
}

/// The defaults as the lowest layer of the merge.
pub(crate) fn layer() -> Node {
    from_json(effective::render(&Settings::default()))
}

fn from_json(value: Value) -> Node {
    let kind = match value {
        Value::Null => Kind::Null,
        Value::Bool(b) => Kind::Bool(b),
        Value::Number(n) => match n.as_i128() {
            Some(n) => Kind::Int(n),
            None => Kind::Float(n.as_f64().unwrap_or_default()),
        },
        Value::String(text) => Kind::Text(text),
        Value::Array(items) => Kind::List(items.into_iter().map(from_json).collect()),
        Value::Object(map) => {
            Kind::Table(map.into_iter().map(|(key, value)| (key, from_json(value))).collect())
        }
    };
    Node { kind, origin: Origin::DEFAULT }
}
