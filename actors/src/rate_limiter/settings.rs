//! `rateLimit` and `redis` of the configuration.

use std::time::Duration;

use ipnet::IpNet;

/// `maxKeys` by default.
pub const MAX_KEYS: usize = 1_000_000;

/// Longest time in which a token bucket, burst included, may fill up: 100 years.
pub const LONGEST_FILL: Duration = Duration::from_secs(100 * 365 * 86_400);

/// `rateLimit`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Default true where the section is present; without the section nothing is limited.
    pub enabled: bool,
    /// What a request gets whose limit Redis keeps, while Redis is away. Default [`OnError::Local`].
    pub on_error: OnError,
    /// Send `X-RateLimit-*`, `RateLimit` and `RateLimit-Policy`. Default true. `Retry-After` is always sent.
    pub headers: bool,
    /// For requests that no rule matches. Default 100 requests per 60 s by token bucket.
    pub default: Limit,
    /// Whose bucket a request is charged to, where a rule does not say. Default [`KeyStrategy::Composite`].
    pub key: KeyStrategy,
    /// Addresses that share this many leading bits are one client. 1–128, default 64.
    pub ipv6_prefix: u8,
    /// Buckets kept in memory at most, over all rules. Default 1 000 000.
    pub max_keys: usize,
    pub bypass: Bypass,
    /// In place of `default` for the verified users of a tier: name and limit, in the order of the file.
    pub tiers: Vec<(String, Limit)>,
    /// In the order of the file. Every rule that matches a request applies.
    pub rules: Vec<Rule>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            on_error: OnError::Local,
            headers: true,
            default: Limit {
                algorithm: Algorithm::TokenBucket,
                requests: 100,
                window: Duration::from_secs(60),
                burst: 0,
            },
            key: KeyStrategy::Composite,
            ipv6_prefix: 64,
            max_keys: MAX_KEYS,
            bypass: Bypass::default(),
            tiers: Vec::new(),
            rules: Vec::new(),
        }
    }
}

/// So many requests in so much time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    pub algorithm: Algorithm,
    /// At least 1.
    pub requests: u32,
    /// At least one second.
    pub window: Duration,
    /// Requests that may come on top of `requests` at once. Default 0.
    pub burst: u32,
}

/// How requests are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// A bucket of `requests + burst` that refills evenly, `requests` per window.
    TokenBucket,
    /// At most `requests + burst` in any stretch of time as long as the window.
    SlidingWindow,
    /// At most `requests + burst` between two multiples of the window since the Unix epoch.
    FixedWindow,
}

/// One entry of `rules`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Unique; the label in answers and metrics.
    pub id: String,
    /// Higher ones are looked at first and named first among equals. Default 0.
    pub priority: i64,
    pub matches: Match,
    pub limit: Limit,
    /// What one request takes. At least 1, at most `requests + burst`. Default 1.
    pub cost: u32,
    /// Default [`Settings::key`].
    pub key: Option<KeyStrategy>,
    /// Decide, count and log, but let pass. Default false.
    pub shadow: bool,
    /// Default [`Settings::on_error`].
    pub on_error: Option<OnError>,
}

/// `match` of a rule: what is not written matches everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Match {
    /// Judged against the canonical path.
    pub endpoint: Option<Endpoint>,
    /// Upper-case.
    pub methods: Vec<String>,
    /// Names, addresses, or `*.suffix` for all below one.
    pub hosts: Vec<String>,
    /// Tiers of verified users.
    pub tiers: Vec<String>,
    /// Verified users.
    pub user_ids: Vec<String>,
    /// Ids of verified API keys.
    pub api_keys: Vec<String>,
}

/// `endpoint` with `endpointMatchType`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// This path and no other.
    Exact(String),
    /// Every path that begins with these characters.
    Prefix(String),
    /// `*` and `?` within a segment, `**` across segments.
    Glob(String),
    /// A regular expression, found anywhere in the path unless it is anchored.
    Regex(String),
}

/// Whose bucket a request is charged to. Only verified facts make a key; where the fact is missing, the address does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyStrategy {
    /// The client's address.
    Ip,
    /// The verified user, else the address.
    User,
    /// The verified API key, else the address.
    ApiKey,
    /// The address, for each route by itself.
    IpEndpoint,
    /// The verified user, else the address, for each route by itself.
    UserEndpoint,
    /// The verified user, else the verified API key, else the address.
    Composite,
    /// Everybody together, for each route by itself.
    Endpoint,
    /// Everybody together.
    Global,
}

impl KeyStrategy {
    /// All of them, as they are written.
    pub const ALL: [(&'static str, Self); 8] = [
        ("ip", Self::Ip),
        ("user", Self::User),
        ("apiKey", Self::ApiKey),
        ("ipEndpoint", Self::IpEndpoint),
        ("userEndpoint", Self::UserEndpoint),
        ("composite", Self::Composite),
        ("endpoint", Self::Endpoint),
        ("global", Self::Global),
    ];

    /// As it is written.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, strategy)| *strategy == self).map_or("", |(name, _)| name)
    }

    /// Whether each route is counted by itself.
    pub fn is_by_endpoint(self) -> bool {
        matches!(self, Self::IpEndpoint | Self::UserEndpoint | Self::Endpoint)
    }
}

/// What to do where Redis cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// Limit by this instance's share: the limit divided by the number of live instances.
    Local,
    /// Let pass.
    Allow,
    /// 503 `limiter_unavailable`.
    Deny,
}

/// `bypass`: requests that no limit applies to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bypass {
    /// By the client's address.
    pub ips: Vec<IpNet>,
    /// By verified user.
    pub user_ids: Vec<String>,
    /// By canonical path: exact, or globs as of [`Endpoint::Glob`].
    pub paths: Vec<String>,
    /// Loopback and private addresses of the socket peer, whatever a header says. Default false.
    pub internal: bool,
}

/// `redis`: limits shared by all instances.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisSettings {
    /// `redis://` or `rediss://` for one server; `redis-sentinel://H:P,H:P/MASTER/DB` and `redis-cluster://H:P,H:P` (with
    /// `rediss-` for TLS) for several.
    pub url: String,
    /// In front of every key, so that several gateways may share a server. Default `aegis`.
    pub key_prefix: String,
    /// Where sentinels ask for a password of their own. Default none.
    pub sentinel_login: Option<SentinelLogin>,
    /// The longest that a question waits for its answer, and nearly the longest that a request does. Default 40 ms.
    pub patience: Duration,
}

/// What the sentinels are told; the servers are told what the URL says.
#[derive(Clone, PartialEq, Eq)]
pub struct SentinelLogin {
    /// Default `default`, Redis's own name for who gives none.
    pub user: Option<String>,
    pub password: String,
}

impl RedisSettings {
    /// The default.
    pub const PATIENCE: Duration = Duration::from_millis(40);

    /// Whether the keys are spread over several servers.
    pub fn is_cluster(&self) -> bool {
        self.url.starts_with("redis-cluster://") || self.url.starts_with("rediss-cluster://")
    }
}

impl std::fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may hold a password.
        f.debug_struct("RedisSettings").field("key_prefix", &self.key_prefix).finish_non_exhaustive()
    }
}
