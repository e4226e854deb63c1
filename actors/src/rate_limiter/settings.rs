//! `rateLimit` and `redis` of the configuration.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use aegis_schema::form::{list, map, matching, one_of, parsed, section, text};
use aegis_schema::problem::Severity;
use aegis_schema::syntax::is_label;
use aegis_schema::{Form, Secret, Section, choice, secrets, section};
use ipnet::IpNet;

use super::redis_url::{self, Behind, behind};

/// `maxKeys` by default.
pub const MAX_KEYS: usize = 1_000_000;
/// Longest time in which a token bucket, burst included, may fill up: 100 years.
pub const LONGEST_FILL: Duration = Duration::from_secs(100 * 365 * 86_400);
/// Most requests per window, and most of a burst.
const MAX_REQUESTS: u32 = 100_000_000;
/// Longest window, in seconds: 30 days.
const MAX_WINDOW: u64 = 2_592_000;
/// How long Redis may be waited for.
const PATIENCE: RangeInclusive<Duration> = Duration::from_millis(5)..=Duration::from_secs(5);
/// Most requests per second.
const MAX_RATE: u32 = 10_000_000;

section! {
    /// Without the section nothing is limited.
    pub struct Settings, check check {
        /// a reload that switches it off forgets what was used up and decided
        enabled: bool = true, "enabled" flag();
        /// while Redis is away, or the node of a cluster that keeps a client's limit: limit to this instance's share (the
        /// limit divided by the number of live instances; where that is less than a request takes, one passes in as many
        /// windows as make up for it), let pass, or 503 `limiter_unavailable`. Per rule too.
        /// Without `redis` it has no effect (a warning)
        on_error: OnError = OnError::Local, "onError" one_of();
        /// send `X-RateLimit-Limit`, `-Remaining` and `-Reset`, `RateLimit` and `RateLimit-Policy`.
        /// `X-RateLimit-Reset` is when the whole limit is there again if nothing more is sent; `t` in `RateLimit` is the time that
        /// what is left (`r`) has to do for: the rest of a window, in a token bucket the time in which as many tokens
        /// come, and after a refusal the same as `Retry-After`, which is sent either way
        headers: bool = true, "headers" flag();
        /// how requests are counted: a bucket that fills up again, the last window to the instant, or one window after the other
        default_algorithm: Algorithm = Algorithm::TokenBucket, "defaultAlgorithm" one_of().words("algorithm");
        /// per window, at most 10000000 a second
        default_requests: u32 = 100, "defaultRequests" int(1..=MAX_REQUESTS);
        /// whole seconds, at most 30 days
        default_window: Duration = Duration::from_secs(60), "defaultWindowSeconds" seconds(1..=MAX_WINDOW);
        /// requests that may come on top at once
        default_burst: u32 = 0, "defaultBurst" int(0..=MAX_REQUESTS);
        /// whose limit a request is charged to, see below
        key: KeyStrategy = KeyStrategy::Composite, "keyStrategy" strategy();
        /// IPv6 addresses that share this many leading bits are one client
        ipv6_prefix: u8 = 64, "ipv6PrefixLength" int(1..=128);
        /// clients whose counts are kept in memory at most, over all rules. Near it those that have used less than
        /// half of their limit are forgotten, least first; beyond it new clients of one network share their counts.
        /// An eighth is kept for rules with few clients. At a million, one takes 63 to 84 bytes, and in a sliding window with
        /// one entry in its log about 97. Each further entry is 16 more, and there are at most 129
        max_keys: usize = MAX_KEYS, "maxKeys" int(1_000..=100_000_000);
        /// requests that no limit applies to
        bypass: Bypass, "bypass" section();
        /// in place of the default limit for the verified users of a tier: `requests`, `windowSeconds`, `algorithm`, `burst`.
        /// Names as ids of rules
        tiers: Vec<(String, Limit)>, "tierLimits" tiers();
        /// limits for some requests; every rule that matches a request applies
        rules: Vec<Rule>, "rules" list(section());
    }
}

section! {
    /// So many requests in so much time. What is not written is as by default, but for the burst.
    #[derive(Eq, Hash)]
    pub struct Limit {
        /// how requests are counted
        algorithm: Algorithm, "algorithm" one_of().words("algorithm").unset("`defaultAlgorithm`");
        /// per window, at most 10000000 a second
        requests: u32 = 100, "requests" int(1..=MAX_REQUESTS).unset("`defaultRequests`");
        /// whole seconds, at most 30 days
        window: Duration = Duration::from_secs(60),
            "windowSeconds" seconds(1..=MAX_WINDOW).unset("`defaultWindowSeconds`");
        /// requests that may come on top at once; not `defaultBurst`. A token bucket must fill up within 100 years
        burst: u32 = 0, "burst" int(0..=MAX_REQUESTS);
    }
}

section! {
    /// One entry of `rules`. Every rule that matches a request applies.
    pub struct Rule {
        /// unique; the label in metrics and answers. `default` and `bypass` are the gateway's own
        id: String, "id" id().required("give the rule a unique id; it is the label in metrics and answers");
        /// higher ones are looked at first and named first among equals
        priority: i64 = 0, "priority" int(-1_000_000..=1_000_000);
        /// which requests; what is not written matches everything
        matches: Match, "match" section();
        /// the limit, and what a request takes of it
        rate_limit: RuleLimit, "rateLimit" section();
        /// whose limit a request is charged to, see below
        key: Option<KeyStrategy>, "key" strategy().option().unset("`keyStrategy`");
        /// decide, count and log, but let pass
        shadow: bool = false, "shadow" flag();
        /// while Redis is away, for this rule
        on_error: Option<OnError>, "onError" one_of().option().unset("the section's");
    }
}

section! {
    /// `rateLimit` of a rule.
    pub struct RuleLimit {
        /// how many requests in how much time
        limit: Limit, "" flat();
        /// what one request takes
        cost: u32 = 1, "cost" int(1..=2 * MAX_REQUESTS).words("1 to `requests` + `burst`");
    }
}

section! {
    /// `match` of a rule: what is not written matches everything.
    pub struct Match, check check_match {
        /// compared with the canonical path
        endpoint: Option<String>, "endpoint" text().option().words("path or pattern").unset("every path");
        /// how `endpoint` is compared
        endpoint_match_type: Option<MatchType>, "endpointMatchType" one_of().option().unset("`exact`");
        /// `GET` holds for HEAD too, as a route for GET does
        methods: Vec<String>, "methods" list(method()).unique().sparse().unset("every method");
        /// as `hosts` of a route. What a request names is the client's choice: routes that are to be reached by these hosts
        /// only say so too
        hosts: Vec<String>, "hosts" list(host_pattern()).unique().sparse().unset("every host");
        /// verified users of these tiers
        tiers: Vec<String>, "tiers" verified().sparse().unset("everybody");
        /// these verified users
        user_ids: Vec<String>, "userIds" verified().sparse().unset("everybody");
        /// these verified API keys, by id
        api_keys: Vec<String>, "apiKeys" verified().sparse().unset("everybody");
    }
}

section! {
    /// `bypass`: requests that no limit applies to.
    pub struct Bypass {
        /// clients that no limit applies to
        ips: Vec<IpNet>, "ips" list(network("lets everybody pass: to limit nothing, write `enabled: false`"));
        /// verified users that no limit applies to
        user_ids: Vec<String>, "userIds" verified();
        /// canonical paths that no limit applies to; a glob where it holds `*` or `?`
        paths: Vec<String>, "paths" list(text()).unique().words("list of paths or globs");
        /// no limit for loopback and private addresses of the socket's peer, whatever a header says; not for those among
        /// `trustedProxies`, who speak for others
        internal: bool = false, "internal" flag();
    }
}

section! {
    /// `redis`: limits shared by all instances.
    pub struct RedisSettings, check judge_redis {
        /// one server, sentinels or a cluster: `redis://`, `rediss://`, `redis-sentinel://`, `redis-cluster://`
        url: Secret, "url" url().required("write for example `url: redis://127.0.0.1:6379/0`");
        /// in front of every key, so that several gateways may share a server
        key_prefix: String = "aegis".into(), "keyPrefix" key_prefix();
        /// the longest that an answer is waited for; a request waits 5 ms longer at most, then `onError` decides. More where
        /// Redis is far away
        patience: Duration = RedisSettings::PATIENCE,
            "patienceMs" duration_in(PATIENCE, "duration, 5 ms – 5 s", "100ms");
        /// where the sentinels ask for a user too; beside `sentinelPassword`
        sentinel_user: Option<String>, "sentinelUser" text().option();
        /// where the sentinels ask for a password of their own
        sentinel_password: Option<Secret>, "sentinelPassword" secret().option();
    }
}

choice! {
    /// How requests are counted.
    pub enum Algorithm {
        /// A bucket of `requests + burst` that refills evenly, `requests` per window.
        #[default]
        TokenBucket = "tokenBucket" | "token-bucket",
        /// At most `requests + burst` in any stretch of time as long as the window.
        SlidingWindow = "slidingWindow" | "sliding-window",
        /// At most `requests + burst` between two multiples of the window since the Unix epoch.
        FixedWindow = "fixedWindow" | "fixed-window",
    }
}

choice! {
    /// How the text of an endpoint is meant.
    pub enum MatchType {
        /// This path and no other.
        #[default]
        Exact = "exact",
        /// Every path that begins with these characters.
        Prefix = "prefix",
        /// `*` and `?` within a segment, `**` across segments.
        Glob = "glob",
        /// A regular expression, found anywhere in the path unless it is anchored.
        Regex = "regex",
    }
}

choice! {
    /// Whose bucket a request is charged to. Only verified facts make a key; where the fact is missing, the address does.
    pub enum KeyStrategy {
        /// The client's address.
        Ip = "ip",
        /// The verified user, else the address.
        User = "user",
        /// The verified API key, else the address.
        ApiKey = "apiKey",
        /// The address, for each route by itself.
        IpEndpoint = "ipEndpoint",
        /// The verified user, else the address, for each route by itself.
        UserEndpoint = "userEndpoint",
        /// The verified user, else the verified API key, else the address.
        #[default]
        Composite = "composite",
        /// Everybody together, for each route by itself.
        Endpoint = "endpoint",
        /// Everybody together.
        Global = "global",
    }
}

choice! {
    /// What to do where Redis cannot be asked.
    pub enum OnError {
        /// Limit by this instance's share: the limit divided by the number of live instances.
        #[default]
        Local = "local",
        /// Let pass.
        Allow = "allow",
        /// 503 `limiter_unavailable`.
        Deny = "deny",
    }
}

impl KeyStrategy {
    /// Whether each route is counted by itself.
    pub fn is_by_endpoint(self) -> bool {
        matches!(self, Self::IpEndpoint | Self::UserEndpoint | Self::Endpoint)
    }
}

impl Settings {
    /// For requests that no rule matches.
    pub fn default_limit(&self) -> Limit {
        let Self { default_algorithm: algorithm, default_requests: requests, default_window: window, .. } =
            *self;
        Limit { algorithm, requests, window, burst: self.default_burst }
    }
}

impl Settings {
    /// Fills in what is not written of a limit that stands elsewhere, in `section`, and judges what comes of it.
    pub fn complete(&self, limit: &mut Limit, section: &Section<'_>) {
        inherit(limit, Some(section), &self.default_limit());
    }
}

impl KeyStrategy {
    /// What to write in its place where nobody is verified, if it means somebody who is.
    pub fn without_users(self) -> Option<&'static str> {
        match self {
            Self::User | Self::ApiKey => Some("ip"),
            Self::UserEndpoint => Some("ipEndpoint"),
            _ => None,
        }
    }
}

impl Match {
    /// What `endpoint` means.
    pub fn match_type(&self) -> MatchType {
        self.endpoint_match_type.unwrap_or_default()
    }
}

impl RedisSettings {
    /// The default.
    pub const PATIENCE: Duration = Duration::from_millis(40);

    /// Whether the keys are spread over several servers.
    pub fn is_cluster(&self) -> bool {
        behind(&self.url) == Some(Behind::Cluster)
    }
}

fn check(settings: &mut Settings, section: &Section<'_>) {
    const KEYS: [&str; 4] = ["defaultAlgorithm", "defaultRequests", "defaultWindowSeconds", "defaultBurst"];
    let (default, errors) = (settings.default_limit(), section.context.errors());
    judge(section, &default, KEYS);
    let table = section.child("tierLimits");
    for (name, tier) in &mut settings.tiers {
        if let Some(section) = table.as_ref().and_then(|table| table.child(name)) {
            inherit(tier, Some(&section), &default);
        }
    }
    for (rule, section) in settings.rules.iter_mut().zip(section.sections("rules")) {
        let section = section.child("rateLimit");
        inherit(&mut rule.rate_limit.limit, section.as_ref(), &default);
        let RuleLimit { limit, cost } = &rule.rate_limit;
        let capacity = u64::from(limit.requests) + u64::from(limit.burst);
        if let (true, Some(section)) = (u64::from(*cost) > capacity, section) {
            section.error_of(
                "cost",
                format_args!(
                    "is more than `requests` and `burst` together ({capacity}), so that no request could ever pass: lower \
                     it, or raise `requests`"
                ),
            );
        }
    }
    section.distinct("rules", "id", settings.rules.iter().map(|rule| &*rule.id));
    // What is wrong was read as if it were not there, and may only seem to be alike.
    if section.clean("rules") && section.context.errors() == errors {
        idle(section, settings);
    }
}

/// What is not written of a limit is as by default, and judged is what comes of it.
fn inherit(limit: &mut Limit, section: Option<&Section<'_>>, default: &Limit) {
    let unwritten = |key| section.is_none_or(|section| !section.has(key));
    if unwritten("algorithm") {
        limit.algorithm = default.algorithm;
    }
    if unwritten("requests") {
        limit.requests = default.requests;
    }
    if unwritten("windowSeconds") {
        limit.window = default.window;
    }
    if let Some(section) = section {
        judge(section, limit, ["algorithm", "requests", "windowSeconds", "burst"]);
    }
}

/// Notes what no limit can be; `keys` are those of algorithm, requests, window and burst.
fn judge(section: &Section<'_>, limit: &Limit, keys: [&str; 4]) {
    let [algorithm, requests, window, burst] = keys;
    if Duration::from_secs(limit.requests.into()) > limit.window.saturating_mul(MAX_RATE)
        && let Some(node) = section.node(requests).or_else(|| section.node(window))
    {
        let name = section.name(requests);
        let what = format!("comes to more than {MAX_RATE} a second: lower it, or lengthen `{window}`");
        section.error(node, format!("`{name}` {what}"));
    }
    let most = u64::from(limit.requests);
    // As many as come in again within the longest time that a bucket may take.
    let fill = (most * LONGEST_FILL.as_secs() / limit.window.as_secs().max(1)).saturating_sub(most);
    match limit.algorithm {
        Algorithm::TokenBucket if u64::from(limit.burst) > fill => section.error_of(
            burst,
            format_args!("would take more than 100 years to come again: lower it to at most {fill}, or raise `{requests}`"),
        ),
        Algorithm::SlidingWindow | Algorithm::FixedWindow if limit.burst > 0 => section.warning_of(
            burst,
            format_args!(
                "only raises the limit of a window, to {}: write that in `{requests}`, or use `{algorithm}: tokenBucket`",
                most + u64::from(limit.burst)
            ),
        ),
        _ => {}
    }
}

/// Warns of rules that never decide, because another one counts the same requests in the same way and allows no more.
fn idle(section: &Section<'_>, settings: &Settings) {
    let rules = &settings.rules;
    let mut alike: HashMap<String, Vec<usize>> = HashMap::new();
    // A rule in shadow decides nothing anyway, and is often there to be compared.
    for (at, rule) in rules.iter().enumerate().filter(|(_, rule)| !rule.shadow) {
        let Match { endpoint, endpoint_match_type, methods, hosts, tiers, user_ids, api_keys } =
            &rule.matches;
        let mut lists = [methods, hosts, tiers, user_ids, api_keys].map(Clone::clone);
        lists.iter_mut().for_each(|list| list.sort_unstable());
        let RuleLimit { limit: Limit { algorithm, window, requests: _, burst: _ }, cost } = rule.rate_limit;
        let (key, on_error) = (rule.key.unwrap_or(settings.key), rule.on_error);
        let endpoint = (endpoint, endpoint_match_type);
        let same = format!("{endpoint:?} {lists:?} {algorithm:?} {window:?} {key:?} {on_error:?} {cost}");
        alike.entry(same).or_default().push(at);
    }
    let allows = |at: usize| {
        let Limit { requests, burst, .. } = rules[at].rate_limit.limit;
        (u64::from(requests) + u64::from(burst), requests)
    };
    let items = section.items("rules");
    for group in alike.values().filter(|group| group.len() > 1) {
        let Some(&tightest) = group.iter().min_by_key(|at| allows(**at)) else { continue };
        let (capacity, requests) = allows(tightest);
        // Both must be as large: a bucket that holds more but refills more slowly does decide, later.
        for at in group
            .iter()
            .filter(|at| **at != tightest && allows(**at).0 >= capacity && allows(**at).1 >= requests)
        {
            items[*at].warn(format_args!(
                "never decides: `{}`, {:?}, counts the same requests and allows no more; remove one of them, or change what \
                 it matches",
                items[tightest].name, rules[tightest].id
            ));
        }
    }
}

fn check_match(matches: &mut Match, section: &Section<'_>) {
    if matches.endpoint.is_none() {
        if !section.has("endpoint") {
            section.warning_of(
                "endpointMatchType",
                "does nothing without `endpoint`: add that, or remove the key",
            );
        }
        matches.endpoint_match_type = None;
    } else if !section.has("endpointMatchType") {
        matches.endpoint_match_type = Some(MatchType::Exact);
    }
}

fn judge_redis(redis: &mut RedisSettings, section: &Section<'_>) {
    let asks_sentinels = redis.url.is_empty() || behind(&redis.url) == Some(Behind::Sentinels);
    let user = redis.sentinel_user.as_deref();
    for (key, value) in [("sentinelUser", user), ("sentinelPassword", redis.sentinel_password.as_deref())] {
        match value {
            None => {}
            Some("") => section.error_of(key, "is empty: set it, or remove it"),
            Some(_) if !asks_sentinels => section.error_of(
                key,
                "is for sentinels, and the url names none: remove it, or write the url of sentinels, \
                 redis-sentinel://HOST:PORT,HOST:PORT/MASTER",
            ),
            Some(_) if redis.sentinel_password.is_none() => section
                .error_of(key, format_args!("needs a password: set `{}`", section.name("sentinelPassword"))),
            Some(_) => {}
        }
    }
}

fn id() -> Form<String> {
    text().words("1–64 of `A-Za-z0-9._-`").check(|text, at| {
        let found = at.found();
        if matches!(text.as_str(), "default" | "bypass") || text.starts_with("tier:") {
            let what = "which is the gateway's own label for requests that no rule decides: rename the rule";
            at.error(format_args!("is {found}, {what}"));
        } else if !is_label(text) {
            at.error(format_args!(
                "must be 1 to 64 of the characters A-Z a-z 0-9 . _ -, found {found}: rename the rule"
            ));
        }
    })
}

fn strategy() -> Form<KeyStrategy> {
    one_of().words("key")
}

/// Ids of verified users, keys or tiers.
fn verified() -> Form<Vec<String>> {
    const WHAT: &str = "must be 1 to 256 bytes without outer spaces and control characters, found {found}: write it as it was \
                        issued, or remove it";
    let fits = |text: &str| {
        text.trim() == text && (1..=256).contains(&text.len()) && !text.contains(char::is_control)
    };
    let id = matching("text", WHAT, fits);
    list(id.seen(Severity::Warning)).unique()
}

fn tiers() -> Form<Vec<(String, Limit)>> {
    const NAME: &str =
        "must be 1 to 64 of the characters A-Z a-z 0-9 . _ -: it is a label in metrics and answers";
    let name = |name: &str| is_label(name).then(|| name.to_owned()).ok_or(NAME);
    map("name: limit", name, section().braces("write `{requests: 100, windowSeconds: 60}`"))
}

fn url() -> Form<Secret> {
    let judged = |text: &str| {
        redis_url::judge(text).map(|()| text.into()).map_err(|why| format!("cannot be used: {why}"))
    };
    let shown = |url: &Secret| secrets::without_userinfo(url).unwrap_or_else(|| url.to_string()).into();
    parsed("URL", judged, |url: &Secret| url.to_string()).redacted(shown)
}

fn key_prefix() -> Form<String> {
    const WHAT: &str = "must be 1 to 64 of the characters A-Z a-z 0-9 . _ : -, found {found}: change it";
    // Braces would decide which part of a cluster a key belongs to.
    matching("1–64 of `A-Za-z0-9._:-`", WHAT, |text| is_label(&text.replace(':', "_")))
}
