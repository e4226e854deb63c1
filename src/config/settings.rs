//! The validated configuration: what the rest of the program works with, each key declared once.
//!
//! Everything here is already checked, defaulted and typed; no option is left to be looked at twice.

pub mod auth;
mod backend;
pub(super) mod client_auth;
mod route;
mod target;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use aegis_actors::{alerts, rate_limiter};
use aegis_schema::form::{grammar, host_pattern, matching, parsed};
use aegis_schema::problem::Severity;
use aegis_schema::tree::Layer;
use aegis_schema::{Form, Secret, Section, choice, scalar, secrets, section, suggest, syntax};
use ipnet::IpNet;

pub use self::auth::Auth;
pub use self::backend::{Backend, HashOn, LoadBalance, RewriteCookies, WhenAllUnhealthy};
pub use self::client_auth::{ClientAuth, ForwardClientCert};
pub use self::route::Route;
pub use self::target::{Address, Target, UpstreamTls};
use crate::store::Database;

/// Sections of the contract that a later release brings, and what each arrives with.
const LATER: &[(&str, &str)] = &[
    ("transform", "transformation"),
    ("cors", "CORS"),
    ("compression", "compression"),
    ("securityHeaders", "security headers"),
];
/// How often may be written. Oftener costs more than it tells; rarer, and a crash loses more than a minute.
const FLUSH: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);

section! {
    /// A whole configuration of AEGIS, an API gateway.
    pub struct Settings, later LATER {
        /// the gateway listener
        server: Server, "server" section();
        /// the admin listener
        admin: Admin, "admin" section();
        /// watch the configuration file, and the certificates and CA bundles that it names, and reload when they change
        hot_reload: bool = true, "hotReload" flag();
        /// what stands behind the gateway
        backends: Vec<Backend>, "backends" list(section());
        /// where rate limits are shared by several instances; absent = each process limits by itself
        redis: Option<rate_limiter::settings::RedisSettings>, "redis" section().option();
        /// how much a client may ask; absent = nothing is limited
        rate_limit: Option<rate_limiter::settings::Settings>,
            "rateLimit" section().braces("write `{}` after it for the default limit, or remove it").option();
        /// who may come in
        auth: Auth, "auth" section();
        /// what is counted of requests, and where it is kept
        metrics: Metrics, "metrics" section();
        /// rules that are judged at intervals; absent = nothing is judged
        alerts: Option<alerts::Settings>, "alerts" section().option();
        /// log lines and access log
        logging: Logging, "logging" section();
    }
}

section! {
    /// `server`: the gateway listener.
    pub struct Server, check judge_server {
        /// address to bind; `"::"` for IPv6 and IPv4
        host: String = "0.0.0.0".to_owned(), "host" host(), restart;
        /// 0 = any free port
        port: u16 = 8080, "port" int(0..=65_535), restart;
        /// threads; 0 = one per core
        workers: usize = 0, "workers" int(0..=1024), restart;
        /// larger request bodies get 413; 0 = unlimited
        body_limit_bytes: u64 = 10 * 1024 * 1024, "bodyLimitBytes" size();
        /// peers whose `X-Forwarded-*` and `X-Request-ID` are believed; see [Who the client is](#who-the-client-is)
        trusted_proxies: Vec<IpNet>, "trustedProxies" list(network(
            "trusts everybody: any client can claim any address; list the proxies' networks"));
        /// a whole request head must arrive in this time, else 408
        header_timeout: Duration = Duration::from_secs(5), "headerTimeoutMs" duration(), live_for(NEW);
        /// idle time of a client connection between requests
        keep_alive: Duration = Duration::from_secs(75), "keepAliveMs" duration(), live_for(NEW);
        /// the longest that a stop may take; work in flight gets this long after SIGTERM. What it cuts off, or a second
        /// signal, has the reason `draining` in log, record and metrics, with the status that had been sent, 503 where
        /// none had: no client has left, and no target has failed
        shutdown_timeout: Duration = Duration::from_secs(30), "shutdownTimeoutMs" duration_or_zero(), live_for(SIGNAL);
        /// after SIGTERM connections are accepted and served for so long, while `/ready` is 503; then both listeners
        /// close, the admin listener too, and a successor can bind. Longer than the interval of the balancer's probes
        drain_period: Duration = Duration::from_secs(1),
            "drainPeriodMs" duration_or_zero().unset("1000, or a quarter of `shutdownTimeoutMs` if that is less"),
            live_for(SIGNAL);
        /// per worker
        max_connections: usize = 25_000, "maxConnections" int(1..=10_000_000), restart;
        /// bytes of a request head; above it 431. A target above 65536 bytes is 414
        max_head_bytes: usize = 128 * 1024, "maxHeadBytes" size_in(HEAD_BYTES, HEAD_WORDS), live_for(NEW);
        /// fields of it; above it 431
        max_head_fields: usize = 256, "maxHeadFields" int(8..=10_000), live_for(NEW);
        /// HTTPS with h2 and HTTP/1.1; absent = plain HTTP/1.1 and h2c
        tls: Option<ServerTls>, "tls" section().option().kept(), presence;
        /// what a path may hold
        paths: Paths, "paths" section();
        /// which messages say `Via: 1.1 aegis`; some upstreams (nginx) stop compressing when they see it
        via: Via, "via" one_of();
        /// paths that tell of the gateway itself
        probes: Probes, "probes" section();
    }
}

section! {
    /// `server.tls`.
    pub struct ServerTls {
        /// PEM chain, leaf first; turns HTTPS on together with `keyFile`. `check` opens it, the key and CA files as
        /// `serve` does, and warns of a certificate that ends within 30 days or is not valid yet
        cert_file: PathBuf, "certFile" file().required(BOTH), live_for(FILES);
        /// PEM private key
        key_file: PathBuf, "keyFile" file().required(BOTH), live_for(FILES);
        /// more certificates, each for the names that clients ask for (SNI); whoever asks for no name, or for one that is
        /// in none of them, is shown `certFile`
        certificates: Vec<ServerCertificate>, "certificates" list(section()), live_for(FILES);
        /// the oldest version of TLS that is spoken, in quotes
        min_version: TlsVersion, "minVersion" one_of(), live_for(NEW);
        /// whether clients are asked for a certificate: nobody, whoever has one, or everybody. Per backend and per route
        /// too; see [Client certificates](#client-certificates)
        client_auth: ClientAuth, "clientAuth" one_of();
        /// PEM bundle of the authorities that client certificates must be from
        client_ca_file: Option<PathBuf>, "clientCaFile" file().option(), live_for(FILES);
        /// PEM file with their revocation lists. With it every authority in a client's chain needs one that has not ended
        crl_file: Option<PathBuf>, "crlFile" file().option(), live_for(FILES);
    }
}

section! {
    /// `server.tls.certificates[]`: a certificate for some names.
    pub struct ServerCertificate {
        /// PEM chain, leaf first
        cert_file: PathBuf, "certFile" file().required(PAIR), live_for(FILES);
        /// PEM private key
        key_file: PathBuf, "keyFile" file().required(PAIR), live_for(FILES);
        /// names that it is shown for, exact or `*.example.com`, which is for one label in place of the `*`; empty = the
        /// DNS names in the certificate
        hosts: Vec<String>, "hosts" list(asked_for()).unique().words("list of names or `*.suffix`");
    }
}

section! {
    /// `server.paths`.
    pub struct Paths {
        /// `%2F` and `%5C` in a path: 400, or stay as they are within one segment
        escaped_slash: EscapedSlash, "escapedSlash" one_of();
    }
}

section! {
    /// `server.probes`: paths of the gateway listener that tell of the gateway itself.
    pub struct Probes {
        /// answered 200 while the process lives; `[]` = none
        health: Vec<String> = vec!["/health".to_owned(), "/healthz".to_owned()],
            "health" list(text().seen(Severity::Error)).words("list of paths");
        /// answered 200 while some backend could serve a request and the gateway does not stop, else 503
        ready: Vec<String> = vec!["/ready".to_owned()], "ready" list(text().seen(Severity::Error)).words("list of paths");
        /// hosts on which these paths are the gateway's, exact or `*.example.com`; empty = on every host. On others
        /// they are paths as any
        hosts: Vec<String>, "hosts" list(host_pattern()).unique().words("list of hosts");
    }
}

section! {
    /// `admin`: the admin listener.
    pub struct Admin {
        /// any other than a loopback address needs `token`
        host: String = "127.0.0.1".to_owned(), "host" host(), restart;
        /// must not collide with `server`
        port: u16 = 8081, "port" int(0..=65_535), restart;
        /// bearer token; empty = none. Visible ASCII without spaces
        token: Secret, "token" token(),
            live_for("; it cannot be taken away while the listener is bound to more than loopback");
        /// further origins that pages may ask from, compared whole, and hosts that this listener answers to. With the
        /// right bearer token, and for `/health`, `/healthz` and `/ready`, any `Host` will do
        allowed_origins: Vec<String>, "allowedOrigins" list(origin());
    }
}

section! {
    /// `metrics`: what is counted of requests, and where it is kept.
    pub struct Metrics {
        /// count requests, and keep what was counted
        enabled: bool = true, "enabled" flag(), restart;
        /// a file, which is made with its folder, relative to the working directory; or
        /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, which several instances share; `none` = in memory only, for
        /// minutes
        store: Option<Database> = Some(Database::Sqlite("data/aegis.db".into())), "store" store(), restart;
        /// what was counted is written so often; what a crash loses at most, and up to 0.2 s that the workers still
        /// held
        flush_interval: Duration = Duration::from_secs(5),
            "flushIntervalMs" duration_in(FLUSH, "duration, 100 ms to 1 min", "5s"), restart;
        /// older rollups, samples, changes and resolved alerts are deleted
        retention: Duration = Duration::from_secs(30 * 86_400), "retentionDays" days(1..=3_650), restart;
        /// requests that take at least this long are kept whole; 0 = none is slow. A stream counts to its head
        /// ([metrics.md](metrics.md))
        slow_request: Duration = Duration::from_secs(1), "slowRequestMs" duration_or_zero();
        /// make and change the tables of a PostgreSQL store at start. A SQLite file's always are
        auto_migrate: bool = true, "autoMigrate" flag(), restart;
        /// the name that this instance writes under; different for each. Not part of the hash
        instance: Option<String>, "instance" instance().option().unset("host name and gateway port"), restart;
    }
}

section! {
    /// `logging`.
    pub struct Logging {
        /// `off`, `error`, `warn`, `info`, `debug`, `trace`, or an env_logger filter such as
        /// `info,aegis::gateway=debug`. Release builds know no `trace`: it means `debug` there
        level: String = "info".to_owned(), "level" level();
        /// how a line is written
        format: LogFormat, "format" one_of();
        /// one line per request, whatever `level` says, with `limitedBy`, the rule of `rateLimit` that refused it, and
        /// `wouldLimit`, those in shadow that would have; a filter can still turn it off (`info,access=off`, also in
        /// `RUST_LOG`)
        access_log: bool = true, "accessLog" flag();
        /// the lines have the request's query, and that of its `Referer`. Off, because queries hold tokens and names
        /// more often than one thinks
        query: bool = false, "query" flag();
        /// `/health`, `/healthz` and `/ready` on the gateway listener have lines too
        probes: bool = false, "probes" flag();
    }
}

choice! {
    /// `server.via`: which messages say `Via: 1.1 aegis`.
    pub enum Via {
        #[default]
        Both = "both",
        Response = "response",
        Off = "off",
    }
}

choice! {
    /// `server.tls.minVersion`.
    pub enum TlsVersion {
        #[default]
        Tls12 = "1.2",
        Tls13 = "1.3",
    }
}

choice! {
    /// `server.paths.escapedSlash`.
    pub enum EscapedSlash {
        /// 400 `bad_path`.
        #[default]
        Reject = "reject",
        /// The escape stays as it is, one segment.
        Keep = "keep",
    }
}

choice! {
    /// `logging.format`.
    pub enum LogFormat {
        #[default]
        Json = "json",
        Text = "text",
    }
}

/// What a message's head may hold: `maxHeadBytes` and `maxHeadFields`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadBounds {
    pub bytes: usize,
    pub fields: usize,
}

impl Server {
    /// Of a request.
    pub fn head(&self) -> HeadBounds {
        HeadBounds { bytes: self.max_head_bytes, fields: self.max_head_fields }
    }
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

const NEW: &str = ", for new connections";
const SIGNAL: &str = ": what holds at the signal";
const FILES: &str = ", and when the file changes";
const BOTH: &str = "TLS needs both `certFile` and `keyFile`; add it, or remove `tls`";
const PAIR: &str = "a certificate needs both `certFile` and `keyFile`; add it, or remove the entry";
const HEAD_BYTES: std::ops::RangeInclusive<usize> = 1024..=16 << 20;
const HEAD_WORDS: &str = "[size](#durations-and-sizes), 1 KiB to 16 MiB";

/// Of a stop that is short, most is for the requests; what is written may leave them nothing.
fn judge_server(server: &mut Server, section: &Section<'_>) {
    let whole = server.shutdown_timeout;
    let written = section.node("drainPeriodMs").is_some_and(|node| node.origin.layer != Layer::Default);
    if !written {
        server.drain_period = server.drain_period.min(whole / 4);
    } else if server.drain_period >= whole && !whole.is_zero() {
        section.warning_of(
            "drainPeriodMs",
            format_args!(
                "leaves nothing of `shutdownTimeoutMs` ({} ms) to the requests that are in flight when the listener closes: \
                 make it shorter, or `shutdownTimeoutMs` longer",
                whole.as_millis()
            ),
        );
    }
}

/// A token that cannot stand in an Authorization header would lock everybody out.
fn token() -> Form<Secret> {
    aegis_schema::form::secret().check(|token, at| {
        let Some(c) = token.chars().find(|c| !c.is_ascii_graphic()) else { return };
        let found = match c {
            ' ' => "a space".to_owned(),
            c => scalar::invisible(c.encode_utf8(&mut [0; 4]))
                .unwrap_or_else(|| "a character beyond ASCII".to_owned()),
        };
        at.error(format_args!(
            "holds {found}, but it must be visible ASCII characters without spaces: make a new one, for example with \
             `openssl rand -hex 32`"
        ));
    }).words("text")
}

/// A name that a client may ask for in a TLS handshake.
fn asked_for() -> Form<String> {
    host_pattern().check(|host, at| {
        if host.parse::<IpAddr>().is_ok() {
            at.error(format_args!(
                "is {}, an address, for which no client asks by name: remove it; whoever connects to an address is shown \
                 `server.tls.certFile`",
                at.found()
            ));
        }
    })
}

fn origin() -> Form<String> {
    grammar("`scheme://host[:port]`", syntax::origin, String::clone)
}

/// The store's URL may hold a password, so no message shows any of it.
fn store() -> Form<Option<Database>> {
    let read = |text: &str| match text {
        "none" => Ok(None),
        _ => Database::parse(text)
            .map(Some)
            .map_err(|why| format!("cannot be used: {why}; or `none` to keep nothing")),
    };
    let show = |store: &Option<Database>| store.as_ref().map_or("none".to_owned(), Database::url);
    parsed("URL or `none`", read, show).redacted(|store| {
        let url = store.as_ref().map_or("none".to_owned(), Database::url);
        secrets::without_userinfo(&url).unwrap_or(url).into()
    })
}

fn instance() -> Form<String> {
    const WHAT: &str = "must be 1 to 128 of the characters A-Z a-z 0-9 . _ : -, found {found}: change it";
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b':');
    let fits = move |text: &str| (1..=128).contains(&text.len()) && text.bytes().all(allowed);
    matching("1–128 of `A-Za-z0-9._:-`", WHAT, fits)
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// A level, or an env_logger filter: `info,aegis::gateway=debug`. A lone unknown word is refused although env_logger would
/// take it for a module's name: it is a misspelt level nearly always.
fn level() -> Form<String> {
    let read = |text: &str| {
        let directives = text.split('/').next().unwrap_or("");
        for directive in directives.split(',').map(str::trim) {
            let (module, word) = match directive.split_once('=') {
                Some((module, word)) => (module.trim(), word.trim()),
                None => ("", directive),
            };
            let known = LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
            let module_fits =
                module.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-'));
            let module_alone = module.is_empty() && word.contains("::");
            if (known || module_alone) && module_fits && !(module.is_empty() && directive.contains('=')) {
                continue;
            }
            let otherwise = "write for example `info` or `info,aegis::gateway=debug`";
            let (levels, hint) = (LEVELS.join(", "), suggest::hint(word, LEVELS, otherwise));
            return Err(format!(
                "must be a level ({levels}) or an env_logger filter, found {{found}}: {hint}"
            ));
        }
        Ok(text.to_owned())
    };
    parsed("level or filter", read, String::clone)
}
