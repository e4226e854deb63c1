//! Which key of the configuration a decision goes by: for `aegis why`, of what has happened, and for `aegis explain`.
//!
//! Keys are written as [`Places::locate`](crate::config::Places::locate) finds them in the file.

use std::net::IpAddr;

use super::answer::Cause;
use super::lead;
use super::rate_limit::rules::CompiledLimit;
use super::record::Decider;
use super::response::bad_path;
use super::snapshot::{Route, Snapshot};
use crate::auth::wanted_by;
use crate::config::settings::Backend;
use crate::config::settings::auth::Policy;
use crate::router::BadPath;

/// What a refusal goes by.
pub struct Decided<'a> {
    pub snapshot: &'a Snapshot,
    pub route: Option<&'a Route>,
    pub client: IpAddr,
    /// What decided, where the cause alone does not say.
    pub decider: Option<Decider>,
    /// What was wrong with a credential, or is lacking.
    pub detail: Option<&'static str>,
    /// The limit that has refused.
    pub limit: Option<&'a CompiledLimit>,
    /// The id of the API key that came.
    pub key_id: Option<&'a str>,
}

impl Route {
    /// The name of a key of this route.
    pub fn key(&self, key: &str) -> String {
        format!("backends[{}].routes[{}].{key}", self.backend.name, self.pattern)
    }

    /// The name of a key of its backend.
    pub fn backend_key(&self, key: &str) -> String {
        format!("backends[{}].{key}", self.backend.name)
    }

    /// The name of a key of the policy: the route's, else the backend's, whichever is written; `None` where neither is.
    pub fn policy_key(&self, key: &str, is_written: impl Fn(&Policy) -> bool) -> Option<String> {
        match (is_written(&self.settings.policy), is_written(&self.backend.settings.policy)) {
            (true, _) => Some(self.key(key)),
            (false, true) => Some(self.backend_key(key)),
            (false, false) => None,
        }
    }

    /// The name of the key that says whether a certificate is wanted, where the route or its backend says so.
    fn client_auth_key(&self) -> Option<String> {
        match (&self.settings.client_auth, &self.backend.settings.client_auth) {
            (Some(_), _) => Some(self.key("clientAuth")),
            (None, Some(_)) => Some(self.backend_key("clientAuth")),
            (None, None) => None,
        }
    }

    /// The name of the key that bounds the whole request.
    pub fn timeout_key(&self) -> String {
        match self.settings.timeout {
            Some(_) => self.key("timeout"),
            None => self.backend_key("timeout"),
        }
    }

    /// The name of the key that bounds one try.
    pub fn first_byte_key(&self) -> String {
        let backend: &Backend = &self.backend.settings;
        match (self.settings.first_byte_timeout, backend.first_byte_timeout) {
            (Some(_), _) => self.key("firstByteTimeoutMs"),
            (None, Some(_)) => self.backend_key("firstByteTimeoutMs"),
            (None, None) => self.timeout_key(),
        }
    }
}

/// The name of a limit's key, or of its section where `key` is empty.
pub fn limit_key(limited: &CompiledLimit, key: &str, key_id: Option<&str>) -> Option<String> {
    Some(match (&*limited.shared.name, key) {
        (_, "onError") if !limited.own_on_error => "rateLimit.onError".to_owned(),
        ("default", _) => "rateLimit.defaultRequests".to_owned(),
        (name, _) if name.starts_with("apiKey:") => format!("auth.apiKey.keys[{}].rateLimit", key_id?),
        (name, _) => match name.strip_prefix("tier:") {
            Some(tier) => format!("rateLimit.tierLimits.{tier}"),
            None => format!("rateLimit.rules[{name}].{key}"),
        },
    })
}

impl Decided<'_> {
    /// The key that such a refusal goes by; `None` where it goes by none.
    pub fn by(&self, cause: Cause) -> Option<String> {
        let (route, decider) = (self.route, self.decider);
        let backend = |key: &str| route.map(|route| route.backend_key(key));
        match cause {
            Cause::NoRoute if decider == Some(Decider::AdminToken) => Some("admin.token".to_owned()),
            Cause::NoRoute | Cause::MethodNotAllowed => Some("backends".to_owned()),
            Cause::Denied => route.map(|route| route.key("deny")),
            Cause::IpDenied => route.and_then(|route| self.address_key(route)),
            Cause::AuthMissing | Cause::AuthInvalid | Cause::AuthExpired => route
                .and_then(|route| route.policy_key("auth", |policy| policy.auth.is_some()))
                .or(Some("auth".to_owned())),
            Cause::AuthThrottled => Some("auth.failureLimit".to_owned()),
            Cause::InsufficientScope => self.policy_key("scopes"),
            Cause::RbacDenied => match self.detail.and_then(wanted_by) {
                Some(key) => self.policy_key(key),
                None => Some("auth.rbac".to_owned()),
            },
            Cause::Misdirected | Cause::ClientCertificateMissing | Cause::ClientCertificateInvalid => {
                route.and_then(Route::client_auth_key).or(Some("server.tls.clientAuth".to_owned()))
            }
            Cause::RateLimited => limit_key(self.limit?, "rateLimit", self.key_id),
            Cause::LimiterUnavailable => limit_key(self.limit?, "onError", self.key_id),
            Cause::BodyTooLarge => route.map(|route| match route.settings.body_limit_bytes {
                Some(_) => route.key("bodyLimitBytes"),
                None => "server.bodyLimitBytes".to_owned(),
            }),
            // All else that is refused is refused whatever the configuration says.
            Cause::BadPath(why) if why == bad_path(BadPath::EscapedSlash) => {
                Some("server.paths.escapedSlash".to_owned())
            }
            Cause::HeaderTimeout => Some("server.headerTimeoutMs".to_owned()),
            Cause::BodyTimeout if decider == Some(Decider::Timeout) => route.map(Route::timeout_key),
            Cause::BodyTimeout => backend("idleTimeoutMs"),
            Cause::CircuitOpen if decider == Some(Decider::Breaker) => backend("circuitBreaker"),
            Cause::NoHealthyTarget if decider == Some(Decider::HealthCheck) => backend("healthCheck"),
            Cause::PoolFull if decider == Some(Decider::Tunnels) => backend("maxTunnels"),
            Cause::PoolFull => backend("maxInFlight"),
            // One target may be written as `url` or in `targets`; who knows the backend finds it.
            Cause::ConnectFailed => route.map(|route| format!("backends[{}]", route.backend.name)),
            Cause::UpstreamTimeout => match decider? {
                Decider::FirstByte => route.map(Route::first_byte_key),
                Decider::Idle => backend("idleTimeoutMs"),
                _ => route.map(Route::timeout_key),
            },
            _ => None,
        }
    }

    /// Of the rules for addresses, those that refuse the client.
    fn address_key(&self, route: &Route) -> Option<String> {
        let rules = lead::addresses(self.snapshot, route);
        let at = rules.iter().position(|rules| rules.judge(self.client).is_err())?;
        Some(match at {
            0 => "auth.ip".to_owned(),
            1 => route.key("ip"),
            _ => route.backend_key("ip"),
        })
    }

    fn policy_key(&self, key: &str) -> Option<String> {
        self.route?.policy_key(key, |policy| match key {
            "roles" => policy.roles.is_some(),
            "tiers" => policy.tiers.is_some(),
            "claims" => policy.claims.is_some(),
            _ => policy.scopes.is_some(),
        })
    }
}
