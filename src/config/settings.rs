//! The validated configuration: what the rest of the program works with.
//!
//! Everything here is already checked, defaulted and typed; no option is left to be looked at twice.

use std::path::PathBuf;
use std::time::Duration;

use aegis_actors::rate_limiter::settings::RedisSettings;
use aegis_actors::{alerts, circuit_breaker, health_check, rate_limiter};
use ipnet::IpNet;

use crate::store::Database;

/// A whole validated configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub server: Server,
    pub admin: Admin,
    /// Watch the configuration file and reload when it changes. Default true.
    pub hot_reload: bool,
    pub backends: Vec<Backend>,
    /// Where rate limits are shared by several instances; absent = each process limits by itself.
    pub redis: Option<RedisSettings>,
    /// Absent = nothing is limited.
    pub rate_limit: Option<rate_limiter::settings::Settings>,
    pub metrics: Metrics,
    /// Absent = nothing is judged.
    pub alerts: Option<alerts::Settings>,
    pub logging: Logging,
}

/// `server`: the gateway listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Address or name to bind. Default `0.0.0.0`.
    pub host: String,
    /// Port to bind; 0 lets the system choose. Default 8080.
    pub port: u16,
    /// Worker threads; 0 = one per core. Default 0.
    pub workers: usize,
    /// Largest request body in bytes; 0 = unlimited. Default 10 MiB.
    pub body_limit_bytes: u64,
    /// Peers whose forwarding headers are believed. Default none.
    pub trusted_proxies: Vec<IpNet>,
    /// Time for a whole request head. Default 5 s.
    pub header_timeout: Duration,
    /// Idle time of a client connection between requests. Default 75 s.
    pub keep_alive: Duration,
    /// Time in-flight work gets after SIGTERM. Default 30 s.
    pub shutdown_timeout: Duration,
    /// How long of that connections are still accepted. Default 1 s, at most a quarter of it.
    pub drain_period: Duration,
    /// Connections per worker. Default 25 000.
    pub max_connections: usize,
    /// Of a request. Default 128 KiB and 256 fields.
    pub head: HeadBounds,
    /// TLS; absent = plain HTTP/1.1 and h2c.
    pub tls: Option<ServerTls>,
    /// What `%2F` and `%5C` in a path mean. Default reject.
    pub escaped_slash: EscapedSlash,
    /// Which messages say `Via: 1.1 aegis`. Default both.
    pub via: Via,
    pub probes: Probes,
}

/// `server.via`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Via {
    #[default]
    Both,
    Response,
    Off,
}

/// `maxHeadBytes` and `maxHeadFields`: what a message's head may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadBounds {
    pub bytes: usize,
    pub fields: usize,
}

/// `server.probes`: paths of the gateway listener that tell of the gateway itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Probes {
    /// 200 while the process lives. Default `/health`, `/healthz`.
    pub health: Vec<String>,
    /// 200 while requests can be served. Default `/ready`.
    pub ready: Vec<String>,
    /// As a route's `hosts`; empty = every host.
    pub hosts: Vec<String>,
}

/// `server.tls`.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerTls {
    /// PEM chain, leaf first.
    pub cert_file: PathBuf,
    /// PEM private key (PKCS#8, PKCS#1 or SEC1).
    pub key_file: PathBuf,
}

/// `server.paths.escapedSlash`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EscapedSlash {
    /// 400 `bad_path`.
    #[default]
    Reject,
    /// The escape stays as it is, one segment.
    Keep,
}

/// `admin`: the admin listener.
#[derive(Clone, PartialEq)]
pub struct Admin {
    /// Default `127.0.0.1`; a non-loopback host needs a token.
    pub host: String,
    /// Default 8081.
    pub port: u16,
    /// Bearer token; empty = none.
    pub token: String,
    /// Extra origins for the dashboard websocket, and hosts this listener answers to.
    pub allowed_origins: Vec<String>,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("token", &if self.token.is_empty() { "" } else { "[redacted]" })
            .field("allowed_origins", &self.allowed_origins)
            .finish()
    }
}

/// One entry of `backends`.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// Unique; the label in metrics.
    pub name: String,
    /// At least one.
    pub targets: Vec<Target>,
    pub load_balance: LoadBalance,
    pub routes: Vec<Route>,
    /// Whole request, retries included; for streams and tunnels only until the response head. Default 30 s.
    pub timeout: Duration,
    /// Per connection attempt. Default 2 s.
    pub connect_timeout: Duration,
    /// Per try, from the request's end to the response head. Absent = what the request's `timeout` leaves.
    pub first_byte_timeout: Option<Duration>,
    /// No byte either way. Default 60 s.
    pub idle_timeout: Duration,
    /// Extra tries. Default 2.
    pub retries: u32,
    /// Requests per target. Default 1024.
    pub max_in_flight: usize,
    /// Websockets and other tunnels per target. Default 10 000.
    pub max_tunnels: usize,
    /// Of a response. Default 256 KiB and 512 fields.
    pub head: HeadBounds,
    /// How long an upstream connection may rest in the pool. Default 15 s.
    pub pool_idle: Duration,
    /// Active checks; absent = none run.
    pub health_check: Option<health_check::Settings>,
    pub circuit_breaker: circuit_breaker::Settings,
    pub when_all_unhealthy: WhenAllUnhealthy,
    /// Send the client's `Host` instead of the target's. Default false.
    pub preserve_host: bool,
    /// Make `Location` and `Content-Location` that name the target name the gateway. Default true.
    pub rewrite_redirects: bool,
    pub rewrite_cookies: RewriteCookies,
    /// Pass `Alt-Svc` on. Default false: it names the target's ports, not the gateway's.
    pub pass_alt_svc: bool,
    pub tls: UpstreamTls,
}

/// `backends[].rewriteCookies`: what of a cookie is made to fit what the client asked for. Default nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RewriteCookies {
    pub path: bool,
    pub domain: bool,
}

/// One target of a backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// `https://` instead of `http://`.
    pub https: bool,
    /// Name or address, IPv6 without brackets.
    pub host: String,
    /// Explicit or the scheme's default.
    pub port: u16,
    /// Share of new requests relative to the others. Default 1, at least 1.
    pub weight: u32,
}

impl Target {
    /// `host` or `host:port` where the port is not the scheme's own: the `Host` header for this target.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.https, self.port) {
            (false, 80) | (true, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// `scheme://authority`.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.https { "https" } else { "http" }, self.authority())
    }
}

/// `backends[].loadBalance` with `hashOn`.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum LoadBalance {
    /// Power of two choices by requests in flight per weight.
    #[default]
    LeastRequest,
    /// Smooth weighted round robin.
    RoundRobin,
    /// Weighted rendezvous hashing.
    Hash(HashOn),
}

/// `backends[].hashOn`.
#[derive(Clone, Debug, PartialEq)]
pub enum HashOn {
    Ip,
    /// Lower-case header name.
    Header(String),
    Cookie(String),
}

/// `backends[].whenAllUnhealthy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenAllUnhealthy {
    /// 503 `no_healthy_target`.
    #[default]
    FailFast,
    /// Treat every target as healthy.
    RouteAll,
}

/// One entry of `backends[].routes`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Route {
    /// Pattern of section 5 of the contract.
    pub path: String,
    /// Upper-case; empty = every method.
    pub methods: Vec<String>,
    /// Lower-case, exact or `*.suffix`; empty = every host.
    pub hosts: Vec<String>,
    /// Lower-case name to exact value; all must match.
    pub headers: Vec<(String, String)>,
    /// Beats specificity when set.
    pub priority: Option<i64>,
    /// Removed from the front of the path.
    pub strip_prefix: Option<String>,
    /// Put in front of the path (after stripping).
    pub add_prefix: Option<String>,
    /// Overrides the backend's.
    pub timeout: Option<Duration>,
    /// Overrides the backend's.
    pub first_byte_timeout: Option<Duration>,
    /// Overrides the server's; 0 = unlimited.
    pub body_limit_bytes: Option<u64>,
    /// Refuse with 403 `denied`, whoever asks.
    pub deny: bool,
}

/// `backends[].tls`, for `https://` targets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpstreamTls {
    /// PEM bundle that replaces the built-in roots.
    pub ca_file: Option<PathBuf>,
    /// Accept any certificate. Default false.
    pub insecure_skip_verify: bool,
    /// Name to verify and to send as SNI instead of the target's host.
    pub server_name: Option<String>,
}

/// `metrics`: what is counted of requests, and where it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    /// Default true.
    pub enabled: bool,
    /// Default `sqlite://data/aegis.db`; `None` = in memory only.
    pub store: Option<Database>,
    /// What was counted is written so often. Default 5 s.
    pub flush_interval: Duration,
    /// How old anything in the store may get; whole days. Default 30 days.
    pub retention: Duration,
    /// A request that takes at least this long is kept whole; zero = none is slow. Default 1 s.
    pub slow_request: Duration,
    /// Apply missing migrations of a PostgreSQL store at start. SQLite's always are. Default true.
    pub auto_migrate: bool,
    /// The name that this instance writes under; `None` = [`Metrics::instance`] makes one.
    pub instance: Option<String>,
}

impl Metrics {
    /// The name that this instance writes under: as configured, else the host's name and the gateway's port.
    pub fn instance(&self, port: u16) -> String {
        self.instance.clone().unwrap_or_else(|| {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
            let host = host.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
            let host = if host.trim().is_empty() { "localhost" } else { host.trim() };
            format!("{host}:{port}")
        })
    }
}

/// `logging`.
#[derive(Clone, Debug, PartialEq)]
pub struct Logging {
    /// `error`, `warn`, `info`, `debug`, `trace` or an env_logger filter. Default `info`.
    pub level: String,
    pub format: LogFormat,
    /// One line per request. Default true.
    pub access_log: bool,
    /// Queries are in the lines, of the request and of its `Referer`. Default false: they may hold secrets.
    pub query: bool,
    /// The gateway's own `/health`, `/healthz` and `/ready` have lines. Default false.
    pub probes: bool,
}

/// `logging.format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    #[default]
    Json,
    Text,
}
