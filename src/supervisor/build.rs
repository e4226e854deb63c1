//! From settings to a snapshot, keeping everything of the one before that has not changed.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use aegis_actors::TargetState;
use aegis_actors::metrics_aggregator::Labels;
use aegis_actors::rate_limiter::{self, Decisions, KeyedBy, SharedLimit};
use rustls_pki_types::ServerName;
use thiserror::Error;

use crate::auth::ip_rules::IpRules;
use crate::auth::{Access, Auth, IdentityFields};
use crate::config::hash;
use crate::config::settings::{self, Settings};
use crate::gateway::own_paths::OwnPaths;
use crate::gateway::rate_limit::rules::Limits;
use crate::gateway::request_parts::is_host;
use crate::gateway::retry_budget::Budget;
use crate::gateway::snapshot::{
    Backend, BackendCounters, ConnectionSettingsId, Route, RouteCounters, Snapshot, Target, TargetCounters,
    smooth_turns,
};
use crate::gateway::upstream::{TargetTls, Terms, TlsError, client_config};
use crate::router::{PatternError, RouteSpec, Router};

/// Why valid settings cannot be put to work.
#[derive(Debug, Error)]
pub enum BuildError {
    /// A bundle that cannot be read any more.
    #[error("backend {0}: {1}")]
    Tls(String, TlsError),
    /// `tls.serverName` or the target's host is no name that a certificate could carry.
    #[error("backend {0}: {1:?} is not a name that a certificate can be checked against")]
    ServerName(String, String),
    /// A target that cannot be put into a URI or header.
    #[error("backend {0}: {1} is not a usable address")]
    Authority(String, String),
    /// An endpoint that `check` would have refused.
    #[error("rateLimit.rules: {0}")]
    Rules(String),
    /// What `check` would have refused.
    #[error("{0}")]
    Auth(String),
    /// A pattern that `check` would have refused.
    #[error("{0}: {1}")]
    Pattern(String, PatternError),
}

/// The snapshot of `settings`, sharing with `before` what is the same in both.
///
/// # Errors
/// [`BuildError`]; nothing has been changed then.
pub fn build(
    settings: &Settings,
    before: Option<&Snapshot>,
    generation: u64,
    workers: usize,
) -> Result<Snapshot, BuildError> {
    let mut backends = Vec::with_capacity(settings.backends.len());
    let mut routes = Vec::new();
    let mut specs = Vec::new();
    let old_routes = old_routes(before);
    let ambiguous = ambiguous(settings);
    let auth = auth_of(settings, before.and_then(|before| before.auth.as_ref()))?;
    for written in &settings.backends {
        let old = before.and_then(|b| b.backends.iter().find(|old| old.name == written.name));
        let backend = Arc::new(backend_of(written, backends.len(), old.map(Arc::as_ref), workers)?);
        for route in &written.routes {
            specs.push(RouteSpec {
                pattern: route.path.clone(),
                methods: route.methods.clone(),
                hosts: route.hosts.clone(),
                headers: route.headers.clone(),
                priority: route.priority,
                payload: routes.len(),
            });
            let counters = old_routes.get(&route_key(&written.name, route)).cloned();
            routes.push(Route {
                pattern: route.path.clone(),
                limited_as: limited_as(&ambiguous, written, route),
                backend: backend.clone(),
                timeout: route.timeout.unwrap_or(written.timeout),
                first_byte_timeout: route
                    .first_byte_timeout
                    .or(written.first_byte_timeout)
                    .or(route.timeout)
                    .unwrap_or(written.timeout),
                body_limit: route.body_limit_bytes.unwrap_or(settings.server.body_limit_bytes),
                deny: route.deny,
                client_auth: settings.client_auth(written, route),
                strip_prefix: route.strip_prefix.clone(),
                add_prefix: route.add_prefix.clone(),
                counters: counters.unwrap_or_else(|| RouteCounters::new(workers)),
                access: Access::new(&route.policy, &written.policy, &auth),
                settings: route.clone(),
            });
        }
        backends.push(backend);
    }
    let router = Router::build(specs).map_err(|errors| match errors.into_iter().next() {
        Some((index, error)) => BuildError::Pattern(format!("route {}", routes[index].pattern), error),
        None => BuildError::Authority("routes".into(), "?".into()),
    })?;
    let own_paths = OwnPaths::new(&settings.server.probes, before.map(|before| &before.own_paths), workers)
        .map_err(|error| BuildError::Pattern("server.probes".to_owned(), error))?;
    let labels = routes
        .iter()
        .map(|route: &Route| (route.pattern.as_str().into(), route.backend.name.as_str().into()));
    let labels = Arc::new(Labels { routes: labels.collect() });
    let limits = match settings.rate_limit.as_ref().filter(|limits| limits.enabled) {
        Some(limits) => {
            let keys = settings.auth.api_key.keys.iter().filter(|_| settings.auth.enabled);
            let own: Vec<_> = keys.filter_map(|key| key.rate_limit.as_ref()).collect();
            Some(limits_of(limits, &own, before.and_then(|b| b.limits.as_ref()), workers)?)
        }
        None => None,
    };
    Ok(Snapshot {
        generation,
        auth: settings.auth.enabled.then_some(auth),
        ip: IpRules::new(&settings.auth.ip),
        identity_fields: IdentityFields::new(&settings.auth),
        config_hash: hash(settings),
        body_limit: settings.server.body_limit_bytes,
        trusted_proxies: settings.server.trusted_proxies.clone(),
        escaped_slash: settings.server.paths.escaped_slash,
        via: settings.server.via,
        logging: settings.logging.clone(),
        own_paths,
        router,
        routes,
        unrouted: before.map_or_else(|| RouteCounters::new(workers), |before| before.unrouted.clone()),
        backends,
        limits,
        // The aggregator and its store are there from the start or not at all.
        metrics: before.map_or(settings.metrics.enabled, |before| before.metrics),
        slow_request: settings.metrics.slow_request,
        labels,
        redis: settings.redis.clone(),
        alerts: settings.alerts.clone().map(Arc::new),
    })
}

/// `auth`, with the roles that routes and keys name.
fn auth_of(settings: &Settings, before: Option<&Auth>) -> Result<Auth, BuildError> {
    let backends = settings.backends.iter().map(|backend| &backend.policy);
    let routes = settings.backends.iter().flat_map(|backend| &backend.routes).map(|route| &route.policy);
    let roles = backends.chain(routes).flat_map(|policy| policy.roles.iter().flatten()).map(String::as_str);
    let limits = settings.rate_limit.clone().unwrap_or_default();
    Auth::build(&settings.auth, roles, limits.ipv6_prefix, before).map_err(BuildError::Auth)
}

/// The limits of `settings`. One that was there before under the same name keeps its counters, and what is used up of it
/// unless its numbers or its key have changed.
fn limits_of(
    settings: &rate_limiter::settings::Settings,
    own: &[&rate_limiter::settings::Limit],
    before: Option<&Limits>,
    workers: usize,
) -> Result<Limits, BuildError> {
    let mut shared = |name: &str, limit: &_, strategy| {
        let keyed_by = KeyedBy { strategy, ipv6_prefix: settings.ipv6_prefix };
        let old = before.and_then(|before| before.all().find(|old| *old.shared.name == *name));
        match old {
            Some(old) if old.shared.is(name, limit, keyed_by) => old.shared.clone(),
            Some(old) => SharedLimit::new(name, limit, keyed_by, old.shared.decisions.clone()),
            None => SharedLimit::new(name, limit, keyed_by, Decisions::new(workers)),
        }
    };
    Limits::build(settings, own, &mut shared).map_err(|error| BuildError::Rules(error.to_string()))
}

/// The name of a route in limits that are kept per endpoint. Where one pattern leads to several services, by host or by
/// what else the routes ask for, each of them has a limit of its own; routes of one service and the same hosts share one.
fn limited_as(ambiguous: &HashSet<&str>, backend: &settings::Backend, route: &settings::Route) -> String {
    if !ambiguous.contains(route.path.as_str()) {
        return route.path.clone();
    }
    // No pattern holds a `#`.
    format!("{}#{}#{}", route.path, backend.name, route.hosts.join(","))
}

/// The patterns that lead to several services, or stand for several hosts.
fn ambiguous(settings: &Settings) -> HashSet<&str> {
    let mut known: HashMap<&str, (&str, &[String])> = HashMap::new();
    let routes = settings.backends.iter().flat_map(|one| one.routes.iter().map(move |route| (one, route)));
    let ambiguous = routes.filter(|(backend, route)| {
        let own = (backend.name.as_str(), route.hosts.as_slice());
        *known.entry(&route.path).or_insert(own) != own
    });
    ambiguous.map(|(_, route)| route.path.as_str()).collect()
}

/// What makes a route the same in two configurations.
type RouteKey = (String, String, Vec<String>, Vec<String>, Vec<(String, String)>);

fn route_key(backend: &str, route: &settings::Route) -> RouteKey {
    (
        backend.to_owned(),
        route.path.clone(),
        route.methods.clone(),
        route.hosts.clone(),
        route.headers.clone(),
    )
}

fn old_routes(before: Option<&Snapshot>) -> HashMap<RouteKey, Arc<RouteCounters>> {
    let routes = before.into_iter().flat_map(|snapshot| &snapshot.routes);
    routes.map(|route| (route_key(&route.backend.name, &route.settings), route.counters.clone())).collect()
}

fn backend_of(
    written: &settings::Backend,
    index: usize,
    old: Option<&Backend>,
    workers: usize,
) -> Result<Backend, BuildError> {
    let secure = written.targets.iter().any(|target| target.url.https);
    let tls_fingerprint = tls_fingerprint(&written.tls);
    let same_tls = old.is_some_and(|old| old.tls_fingerprint == tls_fingerprint);
    let kept_config = old.filter(|_| same_tls).and_then(|old| old.tls_config.clone());
    let tls_config = match (secure, kept_config) {
        (false, _) => None,
        (true, Some(config)) => Some(config),
        (true, None) => {
            Some(client_config(&written.tls).map_err(|error| BuildError::Tls(written.name.clone(), error))?)
        }
    };
    // Connections are made with these. A target that differs in them stays what it is, drained, held or unhealthy, and gets
    // new connections.
    let same_settings = same_tls && old.is_some_and(|old| terms(&old.settings) == terms(written));
    let mut targets = Vec::with_capacity(written.targets.len());
    for target in &written.targets {
        let taken =
            |t: &Arc<Target>| targets.iter().any(|other: &Arc<Target>| other.shared.id == t.shared.id);
        let same = old.and_then(|old| {
            old.targets.iter().find(|old| old.shared.url == target.url.to_string() && !taken(old)).cloned()
        });
        targets.push(match same {
            Some(same) if same_settings && same.weight == target.weight => same,
            same => {
                let mut target = target_of(written, target, tls_config.clone(), workers)?;
                if let Some(same) = same {
                    target.shared = same.shared.clone();
                    target.counters = same.counters.clone();
                    target.connection_settings =
                        if same_settings { same.connection_settings } else { target.connection_settings };
                }
                Arc::new(target)
            }
        });
    }
    let weights: Vec<u32> = written.targets.iter().map(|target| target.weight).collect();
    Ok(Backend {
        name: written.name.clone(),
        index,
        settings: written.clone(),
        targets,
        turns: smooth_turns(&weights),
        turn: Default::default(),
        budget: old.map_or_else(|| Arc::new(Budget::new(Instant::now())), |old| old.budget.clone()),
        counters: old.map_or_else(|| BackendCounters::new(workers), |old| old.counters.clone()),
        tls_fingerprint,
        tls_config,
    })
}

/// What the connections to its targets are held to.
fn terms(backend: &settings::Backend) -> Terms {
    Terms {
        port: None,
        connect_timeout: backend.connect_timeout,
        idle: backend.pool_idle,
        head: backend.head(),
    }
}

fn target_of(
    backend: &settings::Backend,
    target: &settings::Target,
    tls_config: Option<Arc<rustls::ClientConfig>>,
    workers: usize,
) -> Result<Target, BuildError> {
    let authority = target.url.authority();
    if !is_host(authority.as_bytes()) {
        return Err(BuildError::Authority(backend.name.clone(), authority));
    }
    let tls = match tls_config.filter(|_| target.url.https) {
        None => None,
        Some(config) => {
            let name = backend.tls.server_name.clone().unwrap_or_else(|| target.url.host.clone());
            let name = ServerName::try_from(name.clone())
                .map_err(|_| BuildError::ServerName(backend.name.clone(), name))?;
            Some(TargetTls { config, name })
        }
    };
    let addresses = match target.url.host.parse::<IpAddr>() {
        Ok(ip) => vec![SocketAddr::new(ip, target.url.port)],
        // The resolver fills them in.
        Err(_) => Vec::new(),
    };
    Ok(Target {
        shared: TargetState::new(&backend.name, &target.url.to_string(), addresses),
        weight: target.weight,
        connection_settings: ConnectionSettingsId::new(),
        host: authority.into(),
        tls,
        terms: terms(backend),
        counters: TargetCounters::new(workers),
    })
}

/// Changes with the TLS settings and with the bundle's content.
fn tls_fingerprint(tls: &settings::UpstreamTls) -> u64 {
    use std::hash::{Hash as _, Hasher as _};
    let mut hasher = std::hash::DefaultHasher::new();
    tls.insecure_skip_verify.hash(&mut hasher);
    tls.server_name.hash(&mut hasher);
    tls.ca_file.hash(&mut hasher);
    if let Some(path) = &tls.ca_file {
        std::fs::read(path).ok().hash(&mut hasher);
    }
    hasher.finish()
}
