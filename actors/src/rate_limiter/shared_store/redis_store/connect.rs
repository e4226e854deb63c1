//! From a URL to something that connects: one server, a master that sentinels know, or a cluster.
//!
//! | scheme | over TLS | to |
//! |---|---|---|
//! | `redis://[USER:PASS@]HOST[:PORT][/DB]` | `rediss` | one server |
//! | `redis-sentinel://[USER:PASS@]HOST[:PORT],…/MASTER[/DB]` | `rediss-sentinel` | the master of that name |
//! | `redis-cluster://[USER:PASS@]HOST[:PORT],…` | `rediss-cluster` | a cluster, found from any of these nodes |
//!
//! USER and PASS (percent-encoded) are for the servers; sentinels with a password of their own get it from the settings
//! beside the URL. TLS trusts the roots of the platform, or those in the file or folder that
//! `SSL_CERT_FILE` or `SSL_CERT_DIR` names: a Redis often has a certificate of the house's own authority. Every
//! certificate is checked; there is no insecure mode. A cluster with TLS must announce names that its certificates hold
//! (`cluster-announce-hostname`).
//!
//! Single and sentinel connections come from a deadpool of one: a multiplexed connection carries any number of
//! questions, so a second one would only be a second thing to break. A cluster connection is itself a pool, of one
//! connection per node, and deadpool's manager for it leaves no way to set its time limits; it is used as it is.

use std::time::Duration;

use deadpool_redis::redis::aio::{ConnectionLike, MultiplexedConnection};
use deadpool_redis::redis::cluster::ClusterClient;
use deadpool_redis::redis::cluster_async::ClusterConnection;
use deadpool_redis::redis::{
    AsyncConnectionConfig, ConnectionInfo, IntoConnectionInfo, RedisError, Value, cmd,
};
use deadpool_redis::sentinel::{SentinelNodeConnectionInfo, SentinelServerType, TlsMode};
use deadpool_redis::{PoolConfig, PoolError, Runtime, Timeouts, sentinel};

use super::super::super::settings::RedisSettings;
use super::super::StoreError;

/// An attempt to connect that takes longer has failed; where sentinels have to be asked first, see [`Source::attempt`].
const ATTEMPT: Duration = Duration::from_secs(1);

/// Sentinels that are asked at a time, in the order of the URL; the next ones when one of them has said something or has
/// not within its time.
const SENTINELS_AT_ONCE: u32 = 3;

/// Where connections come from.
pub(super) enum Source {
    Single(deadpool_redis::Pool),
    Sentinel { pool: sentinel::Pool, attempt: Duration },
    Cluster(Box<ClusterClient>),
}

/// A connection, held for as long as it works.
pub(super) enum Held {
    Single(deadpool_redis::Connection),
    Sentinel(sentinel::Connection),
    Cluster(ClusterConnection),
}

/// A handle to a [`Held`] connection: cheap to clone, any number may ask through it at the same time.
#[derive(Clone)]
pub(super) enum Pipe {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Held {
    pub(super) fn pipe(&self) -> Pipe {
        match self {
            Self::Single(pooled) => Pipe::One((**pooled).clone()),
            Self::Sentinel(pooled) => Pipe::One((**pooled).clone()),
            Self::Cluster(cluster) => Pipe::Cluster(cluster.clone()),
        }
    }

    /// Lets go of a connection that does not work, so that the pool makes a new one.
    pub(super) fn discard(self) {
        match self {
            Self::Single(pooled) => drop(deadpool_redis::Connection::take(pooled)),
            Self::Sentinel(pooled) => drop(sentinel::Connection::take(pooled)),
            Self::Cluster(cluster) => drop(cluster),
        }
    }
}

impl Source {
    /// Reads a URL. Connects to nothing. `patience`: an answer of a cluster's node that comes later helps nobody.
    pub(super) fn new(settings: &RedisSettings, patience: Duration) -> Result<Self, StoreError> {
        let url: &str = &settings.url;
        let (scheme, rest) = url.split_once("://").ok_or_else(|| refused("has no scheme"))?;
        if rest.contains(['?', '#']) {
            return Err(refused("must not have a query or fragment (there is no insecure TLS)"));
        }
        let (plain, tls) = match scheme.strip_prefix("rediss") {
            Some(kind) => (format!("redis{kind}"), "rediss"),
            None => (scheme.to_owned(), "redis"),
        };
        if tls == "rediss" {
            // The redis crate takes the process's provider and panics where there is none to choose. One that is
            // already there stays.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match place.rsplit_once('@') {
            Some((login, hosts)) => (format!("{login}@"), hosts),
            None => (String::new(), place),
        };
        match plain.as_str() {
            "redis" => Self::single(info(url)?),
            "redis-cluster" if path.is_empty() => {
                let nodes = hosts.split(',').map(|host| info(&format!("{tls}://{login}{host}/")));
                Self::cluster(nodes.collect::<Result<_, _>>()?, patience)
            }
            "redis-cluster" => Err(refused("must not name a database: a cluster has only one")),
            "redis-sentinel" => {
                let (master, database) = path.split_once('/').unwrap_or((path, ""));
                if master.is_empty() {
                    return Err(refused("must name the master after the sentinels: …/MASTER"));
                }
                let sentinels = hosts.split(',').map(|host| {
                    let sentinel = info(&format!("{tls}://{}/", with_port(host, 26379)))?;
                    let mut greeting = sentinel.redis_settings().clone();
                    if let Some(password) = settings.sentinel_password.as_deref() {
                        greeting = greeting.set_password(password);
                    }
                    if let Some(user) = &settings.sentinel_user {
                        greeting = greeting.set_username(user);
                    }
                    Ok::<_, StoreError>(sentinel.set_redis_settings(greeting))
                });
                let node = info(&format!("{tls}://{login}localhost/{database}"))?;
                Self::sentinel(sentinels.collect::<Result<_, _>>()?, master, node, tls == "rediss")
            }
            _ => Err(refused(
                "needs one of redis, rediss, redis-sentinel, rediss-sentinel, redis-cluster, rediss-cluster",
            )),
        }
    }

    fn single(server: ConnectionInfo) -> Result<Self, StoreError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ATTEMPT))
            .set_response_timeout(Some(ATTEMPT));
        let manager = deadpool_redis::Manager::new_with_config(server, config).map_err(unusable_url)?;
        let pool =
            deadpool_redis::Pool::builder(manager).config(one(ATTEMPT)).runtime(Runtime::Tokio1).build();
        pool.map(Self::Single).map_err(|error| StoreError::new(format!("redis: {error}")))
    }

    fn sentinel(
        sentinels: Vec<ConnectionInfo>,
        master: &str,
        node: ConnectionInfo,
        tls: bool,
    ) -> Result<Self, StoreError> {
        let node = SentinelNodeConnectionInfo {
            tls_mode: tls.then_some(TlsMode::Secure),
            redis_connection_info: Some(node.redis_settings().clone().into()),
        };
        let master_only = SentinelServerType::Master;
        let rounds = u32::try_from(sentinels.len()).unwrap_or(u32::MAX).div_ceil(SENTINELS_AT_ONCE);
        // A silent one is waited for: a second for the connection, half a second for each answer, in its turn. Then the
        // master is to be reached.
        let attempt = (3 * ATTEMPT).saturating_mul(rounds);
        let manager = sentinel::Manager::new(sentinels, master.to_owned(), Some(node), master_only)
            .map_err(unusable_url)?;
        let pool = sentinel::Pool::builder(manager).config(one(attempt)).runtime(Runtime::Tokio1).build();
        pool.map(|pool| Self::Sentinel { pool, attempt })
            .map_err(|error| StoreError::new(format!("redis: {error}")))
    }

    fn cluster(nodes: Vec<ConnectionInfo>, patience: Duration) -> Result<Self, StoreError> {
        // The time limit also ends what the cluster connection keeps for a node that is silent. Two retries: one for a
        // key that moved, one for a node that is gone.
        let client = ClusterClient::builder(nodes)
            // Short enough that a node that is away leaves time to connect to the others.
            .connection_timeout(ATTEMPT / 4)
            .response_timeout(patience)
            .overall_response_timeout(Some(patience))
            .retries(2)
            .min_retry_wait(1)
            .max_retry_wait(10)
            .connection_concurrency_limit(512)
            .build();
        client.map(Box::new).map(Self::Cluster).map_err(unusable_url)
    }

    /// How long an attempt to connect may take.
    pub(super) fn attempt(&self) -> Duration {
        match self {
            Self::Sentinel { attempt, .. } => *attempt,
            Self::Single(_) | Self::Cluster(_) => ATTEMPT,
        }
    }

    /// A new connection, or why there is none, within [`Source::attempt`] and a little.
    pub(super) async fn connect(&self) -> Result<Held, String> {
        let attempt = async {
            let held = match self {
                Self::Single(pool) => Held::Single(pool.get().await.map_err(reason)?),
                Self::Sentinel { pool, .. } => Held::Sentinel(pool.get().await.map_err(reason)?),
                Self::Cluster(client) => {
                    Held::Cluster(client.get_async_connection().await.map_err(|error| error.to_string())?)
                }
            };
            // A server that wants a password, or is still loading, says so best when asked something simple.
            if let Pipe::One(mut connection) = held.pipe() {
                let answer = connection.req_packed_command(&cmd("PING")).await.and_then(Value::extract_error);
                if let Err(error) = answer {
                    held.discard();
                    return Err(error.to_string());
                }
            }
            Ok(held)
        };
        match tokio::time::timeout(self.attempt(), attempt).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no connection within {} ms", self.attempt().as_millis())),
        }
    }
}

fn reason(error: PoolError) -> String {
    match error {
        PoolError::Backend(error) => error.to_string(),
        other => other.to_string(),
    }
}

/// A pool of one whose every step is bounded in time.
fn one(limit: Duration) -> PoolConfig {
    let limit = Some(limit);
    let mut config = PoolConfig::new(1);
    config.timeouts = Timeouts { wait: limit, create: limit, recycle: limit };
    config
}

fn info(url: &str) -> Result<ConnectionInfo, StoreError> {
    url.into_connection_info().map_err(unusable_url)
}

fn unusable_url(error: RedisError) -> StoreError {
    // Neither variant of the message holds any part of the URL.
    refused(&format!("cannot be used: {error}"))
}

/// The URL itself is not repeated: it may hold a password.
fn refused(why: &str) -> StoreError {
    StoreError::new(format!("the redis url {why}"))
}

fn with_port(host: &str, port: u16) -> String {
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    if has_port { host.to_owned() } else { format!("{host}:{port}") }
}
