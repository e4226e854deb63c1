//! Which limits apply to a request: the rules of one configuration, compiled.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use aegis_actors::rate_limiter::settings::{KeyStrategy, Limit, OnError, Rule, Settings};
use aegis_actors::rate_limiter::{Key, LimitId, SharedLimit, Subject};
use ipnet::IpNet;
use regex::{RegexSet, RegexSetBuilder, SetMatches};

use crate::auth::{Auth, Identity, KeyRecord};
use crate::config::endpoint::REGEX_SIZE_LIMIT;
use crate::config::{bypass_regex, endpoint_regex};
use crate::router::{HostSet, Method, MethodSet, readings, routing_form};

/// Every limit of a configuration.
pub struct Limits {
    /// `rateLimit.headers`.
    pub headers: bool,
    /// `rateLimit.maxKeys`.
    pub max_keys: usize,
    /// Highest priority first, then in the order of the file.
    rules: Vec<CompiledRule>,
    /// For requests that no rule enforces a limit on.
    default: CompiledLimit,
    /// In place of `default`, by the name of a verified user's tier.
    tiers: Vec<(String, CompiledLimit)>,
    /// In place of either, of keys that have a limit of their own: all that have the same numbers share one, in which each
    /// is counted by itself.
    own: Vec<CompiledLimit>,
    /// Their positions.
    own_places: HashMap<Limit, usize>,
    bypass: Bypass,
    /// The endpoints of `rules`, then the paths of `bypass`.
    paths: RegexSet,
}

struct CompiledRule {
    limited: CompiledLimit,
    /// Position of its endpoint in the set; none: every path.
    endpoint: Option<usize>,
    methods: MethodSet,
    hosts: HostSet,
    tiers: Vec<String>,
    users: Vec<String>,
    api_keys: Vec<String>,
}

/// One limit with everything that a request needs of it.
pub struct CompiledLimit {
    pub shared: Arc<SharedLimit>,
    /// Its position in [`Limits::all`].
    pub place: usize,
    pub cost: u64,
    pub shadow: bool,
    pub on_error: OnError,
    /// It is the rule's own, not the section's.
    pub own_on_error: bool,
}

#[derive(Default)]
struct Bypass {
    ips: Vec<IpNet>,
    users: Vec<String>,
    internal: bool,
    /// Position of the first of its paths in the set.
    paths: usize,
}

/// What is known for certain of who sends a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verified<'a> {
    pub user: Option<&'a str>,
    /// The entry of `auth.issuers` that knows the user.
    pub issuer: Option<&'a str>,
    /// The name alone does not say who it is: another issuer may know somebody who is called so, or it reads as
    /// `ISSUER:USER`.
    pub ambiguous: bool,
    pub tier: Option<&'a str>,
    /// The id of an API key.
    pub api_key: Option<&'a str>,
    /// The key's own limit.
    pub own: Option<&'a Limit>,
}

impl<'a> Verified<'a> {
    /// Who it is, with the API key that came, as far as `auth` has found that proved.
    pub fn of(auth: Option<&Auth>, identity: Option<&'a Identity>, key: Option<&'a KeyRecord>) -> Self {
        let issuer = identity.and_then(|identity| identity.issuer.as_deref());
        Self {
            user: identity.map(|identity| &*identity.user),
            issuer,
            ambiguous: identity.zip(auth).is_some_and(|(identity, auth)| {
                let issuers = auth.issuers.entries();
                match (issuer, identity.user.split_once(':')) {
                    (Some(_), prefix) => issuers.len() > 1 || prefix.is_some(),
                    (None, Some((prefix, _))) => issuers.iter().any(|issuer| issuer.name() == prefix),
                    (None, None) => false,
                }
            }),
            tier: identity.and_then(|identity| identity.tier.as_deref()),
            api_key: key.and_then(|key| key.identity.key_id.as_deref()),
            own: key.and_then(|key| key.limit.as_ref()),
        }
    }

    /// Whether `names` has the user: behind the name of its issuer and a colon, or alone. Alone only where no other issuer
    /// could give somebody that name, and only one that does not look like the former: users choose theirs at many providers.
    fn is_among(&self, names: &[String]) -> bool {
        let Some(user) = self.user else { return false };
        names.iter().any(|name| {
            let of_issuer = self.issuer.is_some() && name.split_once(':') == self.issuer.zip(Some(user));
            of_issuer || (!self.ambiguous && name == user)
        })
    }
}

/// What rules judge a request by.
pub struct Facts<'a> {
    pub method: &'a str,
    /// As the client named it, without the port; empty where it did not.
    pub host: &'a str,
    /// Canonical.
    pub path: &'a str,
    /// The path was sent with a slash at its end, which the canonical one has lost.
    pub trailing_slash: bool,
    /// What limits call the route.
    pub route: &'a str,
    /// The socket's peer is a trusted proxy.
    pub behind_proxy: bool,
    /// The client: the socket's peer, or whom trusted proxies have named.
    pub client: IpAddr,
    pub verified: Verified<'a>,
}

/// Makes or finds the shared state of a limit: by name, limit, and whose bucket it is.
pub type SharedOf<'a> = dyn FnMut(&str, &Limit, KeyStrategy) -> Arc<SharedLimit> + 'a;

impl Limits {
    /// The limits of `settings`, and those that keys have of their `own`, with the state that `shared` makes or knows.
    ///
    /// # Errors
    /// A pattern that `check` would have refused.
    pub fn build(
        settings: &Settings,
        own: &[&Limit],
        shared: &mut SharedOf<'_>,
    ) -> Result<Self, regex::Error> {
        let mut patterns = Vec::new();
        let mut written: Vec<&Rule> = settings.rules.iter().collect();
        written.sort_by_key(|rule| std::cmp::Reverse(rule.priority));
        let mut compile = |(place, rule): (usize, &&Rule)| {
            let strategy = rule.key.unwrap_or(settings.key);
            let on_error = rule.on_error.unwrap_or(settings.on_error);
            let endpoint = rule.matches.endpoint.as_ref().map(|endpoint| {
                patterns.push(endpoint_regex(rule.matches.match_type(), endpoint));
                patterns.len() - 1
            });
            CompiledRule {
                limited: CompiledLimit {
                    shared: shared(&rule.id, &rule.rate_limit.limit, strategy),
                    place,
                    cost: rule.rate_limit.cost.into(),
                    shadow: rule.shadow,
                    on_error,
                    own_on_error: rule.on_error.is_some(),
                },
                endpoint,
                methods: MethodSet::new(rule.matches.methods.clone()),
                hosts: HostSet::new(&rule.matches.hosts),
                tiers: rule.matches.tiers.clone(),
                users: rule.matches.user_ids.clone(),
                api_keys: rule.matches.api_keys.clone(),
            }
        };
        let rules: Vec<_> = written.iter().enumerate().map(&mut compile).collect();
        let paths = patterns.len();
        patterns.extend(settings.bypass.paths.iter().map(|path| bypass_regex(path)));
        let mut plain = |place, name: &str, limit: &Limit, key| {
            let shared = shared(name, limit, key);
            let on_error = settings.on_error;
            CompiledLimit { shared, place, cost: 1, shadow: false, on_error, own_on_error: false }
        };
        let tier = |(at, (tier, limit)): (usize, &(String, _))| {
            (tier.clone(), plain(rules.len() + at, &format!("tier:{tier}"), limit, settings.key))
        };
        let tiers: Vec<_> = settings.tiers.iter().enumerate().map(tier).collect();
        let before = rules.len() + tiers.len();
        let default = plain(before, "default", &settings.default_limit(), settings.key);
        let (mut own_limits, mut own_places) = (Vec::new(), HashMap::new());
        for limit in own {
            own_places.entry((*limit).clone()).or_insert_with(|| {
                let name = own_name(limit);
                own_limits.push(plain(before + 1 + own_limits.len(), &name, limit, KeyStrategy::ApiKey));
                own_limits.len() - 1
            });
        }
        Ok(Self {
            headers: settings.headers,
            max_keys: settings.max_keys,
            default,
            rules,
            tiers,
            own: own_limits,
            own_places,
            bypass: Bypass {
                ips: settings.bypass.ips.clone(),
                users: settings.bypass.user_ids.clone(),
                internal: settings.bypass.internal,
                paths,
            },
            paths: RegexSetBuilder::new(&patterns)
                // Each has been compiled within a limit of its own.
                .size_limit(REGEX_SIZE_LIMIT.saturating_mul(patterns.len().max(10)))
                .build()?,
        })
    }

    /// Every limit that there is, by its place.
    pub fn all(&self) -> impl Iterator<Item = &CompiledLimit> {
        let tiers = self.tiers.iter().map(|(_, limited)| limited);
        self.rules.iter().map(|rule| &rule.limited).chain(tiers).chain([&self.default]).chain(&self.own)
    }

    /// The limit of that shared state, where it is one of these.
    pub fn find(&self, id: LimitId) -> Option<&CompiledLimit> {
        self.all().find(|limited| limited.shared.id == id)
    }

    /// The set of paths; a worker has a clone of its own, since matching needs room to work in.
    pub fn paths(&self) -> &RegexSet {
        &self.paths
    }

    /// Visits every limit that applies to a request, and tells whether the request is exempt from them. `paths` is the
    /// caller's clone of [`Limits::paths`].
    pub fn applying<'a>(
        &'a self,
        paths: &RegexSet,
        facts: &Facts<'_>,
        mut visit: impl FnMut(&'a CompiledLimit),
    ) -> bool {
        let matched = (!paths.is_empty()).then(|| Matched::of(paths, facts));
        let is_matched = |at: usize| matched.as_ref().is_some_and(|matched| matched.perhaps(at));
        let is_one = |among: &[String], one: Option<&str>| {
            among.is_empty() || one.is_some_and(|one| among.iter().any(|other| other == one))
        };
        let method = Method::new(facts.method);
        let (mut enforced, verified) = (false, &facts.verified);
        for rule in &self.rules {
            if rule.endpoint.is_none_or(is_matched)
                && rule.methods.has(method)
                && rule.hosts.has(facts.host)
                && is_one(&rule.tiers, verified.tier)
                && (rule.users.is_empty() || verified.is_among(&rule.users))
                && is_one(&rule.api_keys, verified.api_key)
            {
                visit(&rule.limited);
                enforced |= !rule.limited.shadow;
            }
        }
        if !enforced {
            let own = verified.own.and_then(|limit| self.own.get(*self.own_places.get(limit)?));
            let tier = || verified.tier.and_then(|tier| self.tiers.iter().find(|(name, _)| name == tier));
            visit(own.or_else(|| tier().map(|(_, limited)| limited)).unwrap_or(&self.default));
        }
        let is_sure = |at: usize| matched.as_ref().is_some_and(|matched| matched.surely(at));
        (self.bypass.paths..paths.len()).any(is_sure) || self.bypass.covers(facts)
    }
}

/// Which of the set's paths match, for each way in which a request's path may be read.
///
/// The set is written in the [`routing_form`], in which `%40` and `@` are the same; a regular expression may as well be meant
/// for the canonical path.
struct Matched {
    own: Reading,
    /// As other servers would read it; none for almost every path.
    others: Vec<Reading>,
    /// All these without the routing form, where they have another one.
    unrouted: Vec<Reading>,
}

/// What matches in one reading of a path.
struct Reading {
    plain: SetMatches,
    /// With a slash at its end, where it has one.
    slashed: Option<SetMatches>,
}

impl Reading {
    fn of(paths: &RegexSet, path: &str, trailing_slash: bool) -> Self {
        let slashed = (trailing_slash && path != "/").then(|| paths.matches(&format!("{path}/")));
        Self { plain: paths.matches(path), slashed }
    }

    fn matched(&self, at: usize) -> bool {
        self.plain.matched(at) || self.slashed.as_ref().is_some_and(|slashed| slashed.matched(at))
    }
}

impl Matched {
    fn of(paths: &RegexSet, facts: &Facts<'_>) -> Self {
        let mut unrouted = Vec::new();
        let mut reading = |path: &str, trailing_slash| {
            let routed = routing_form(path);
            if let Cow::Owned(_) = routed {
                unrouted.push(Reading::of(paths, path, trailing_slash));
            }
            Reading::of(paths, &routed, trailing_slash)
        };
        let own = reading(facts.path, facts.trailing_slash);
        let others = readings(facts.path).into_iter();
        let others =
            others.map(|one| reading(&one.path, one.trailing_slash || facts.trailing_slash)).collect();
        Self { own, others, unrouted }
    }

    /// A server could take the path for this one: a limit holds.
    fn perhaps(&self, at: usize) -> bool {
        self.own.matched(at)
            || self.others.iter().any(|other| other.matched(at))
            || self.unrouted.iter().any(|unrouted| unrouted.matched(at))
    }

    /// Every server would take the path for this one: an exemption holds.
    fn surely(&self, at: usize) -> bool {
        self.own.matched(at) && self.others.iter().all(|other| other.matched(at))
    }
}

impl Bypass {
    fn covers(&self, facts: &Facts<'_>) -> bool {
        self.ips.iter().any(|net| net.contains(&facts.client))
            || facts.verified.is_among(&self.users)
            // Behind a proxy the peer is always near; then nothing but the client's own nearness would count, and that
            // is only said by a header, if it is.
            || (self.internal && !facts.behind_proxy && is_internal(facts.client))
    }
}

/// What the limit of some keys is called in metrics and answers.
fn own_name(limit: &Limit) -> String {
    let Limit { algorithm, requests, window, burst } = limit;
    let burst = if *burst > 0 { format!("+{burst}") } else { String::new() };
    format!("apiKey:{requests}{burst}/{}s:{}", window.as_secs(), algorithm.as_str())
}

/// Loopback, private (RFC 1918, RFC 4193) and link-local addresses.
fn is_internal(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

impl CompiledLimit {
    /// Whom a request is charged to. Where a fact is not verified, the address takes its place.
    pub fn key<'a>(&self, facts: &Facts<'a>) -> Key<'a> {
        let by = self.shared.keyed_by;
        let verified = &facts.verified;
        let user = verified.user.map(|user| match verified.issuer {
            Some(issuer) => Subject::TokenUser(issuer, user),
            None => Subject::User(user),
        });
        let api_key = verified.api_key.map(Subject::ApiKey);
        let subject = match by.strategy {
            KeyStrategy::Ip | KeyStrategy::IpEndpoint => None,
            KeyStrategy::User | KeyStrategy::UserEndpoint => user,
            KeyStrategy::ApiKey => api_key,
            KeyStrategy::Composite => user.or(api_key),
            KeyStrategy::Endpoint | KeyStrategy::Global => Some(Subject::Everybody),
        };
        let endpoint = by.strategy.is_by_endpoint().then_some(facts.route);
        Key { subject: subject.unwrap_or_else(|| Subject::address(facts.client, by.ipv6_prefix)), endpoint }
    }
}
