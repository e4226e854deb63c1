//! What a route wants of who comes in, with everything resolved that it inherits.

use serde_json::Value;

use super::Auth;
use super::identity::{Identity, Kind};
use super::ip_rules::IpRules;
use super::rbac::RoleSet;
use super::verdict::Refusal;
use crate::config::settings::auth::{AuthRule, ClaimPath, Credential, Policy};

const NO_ROLE: &str = "none of the route's roles";
const NO_TIER: &str = "none of the route's tiers";
const NO_CLAIM: &str = "not the route's claims";

/// Which key of a policy asks for what somebody lacks, by what [`Access::admits`] says of it.
pub fn wanted_by(lacking: &str) -> Option<&'static str> {
    match lacking {
        NO_ROLE => Some("roles"),
        NO_TIER => Some("tiers"),
        NO_CLAIM => Some("claims"),
        _ => None,
    }
}

/// See the module.
pub struct Access {
    /// What is written for it; `None`: what `auth` says of its path holds.
    rule: Option<Rule>,
    /// Upstreams get the credential that was judged.
    pub forwards: bool,
    /// Of the route and of its backend, besides those for all.
    pub ip: [IpRules; 2],
    roles: Option<RoleSet>,
    scopes: Box<[Box<str>]>,
    claims: Box<[(ClaimPath, Vec<Value>)]>,
    tiers: Box<[Box<str>]>,
}

/// Which credentials a request must bring.
#[derive(Clone, Debug)]
pub enum Rule {
    None,
    Optional,
    Required,
    Any(Box<[Accepted]>),
    All(Box<[Accepted]>),
}

/// A kind of credential that a route takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    pub kind: Kind,
    /// Of which entry of `auth.issuers`, by its number; `None`: of any.
    pub issuer: Option<usize>,
}

impl Access {
    /// Of a route with this policy and its backend's.
    pub fn new(route: &Policy, backend: &Policy, auth: &Auth) -> Self {
        let ip = [route, backend].map(|policy| policy.ip.as_ref().map(IpRules::new).unwrap_or_default());
        let policy = route.over(backend);
        let accepted = |kinds: &[Credential]| kinds.iter().map(|kind| Accepted::of(kind, auth)).collect();
        let rule = policy.auth.as_ref().map(|rule| match rule {
            AuthRule::None => Rule::None,
            AuthRule::Optional => Rule::Optional,
            AuthRule::Required => Rule::Required,
            AuthRule::Any(kinds) => Rule::Any(accepted(kinds)),
            AuthRule::All(kinds) => Rule::All(accepted(kinds)),
        });
        let boxed =
            |names: &Option<Vec<String>>| names.iter().flatten().map(|name| name.as_str().into()).collect();
        let wanted = policy.roles.as_ref().filter(|roles| !roles.is_empty());
        Self {
            rule,
            forwards: policy.forward_credentials.unwrap_or(auth.forwards),
            ip,
            roles: wanted.map(|wanted| auth.rbac.names().exactly(wanted.iter().map(String::as_str))),
            scopes: boxed(&policy.scopes),
            claims: policy.claims.iter().flatten().cloned().collect(),
            tiers: boxed(&policy.tiers),
        }
    }

    /// What is written for it.
    pub fn rule(&self) -> Option<&Rule> {
        self.rule.as_ref()
    }

    /// Whether somebody with these roles, or nobody, may use the route; a super admin needs none of its roles.
    ///
    /// # Errors
    /// What it lacks.
    pub fn admits(
        &self,
        identity: Option<&Identity>,
        roles: &RoleSet,
        is_super_admin: bool,
    ) -> Result<(), Refusal> {
        let is_open =
            self.roles.is_none() && self.scopes.is_empty() && self.claims.is_empty() && self.tiers.is_empty();
        if is_open {
            return Ok(());
        }
        let Some(identity) = identity else {
            let roles_suffice = self.scopes.is_empty() && self.claims.is_empty() && self.tiers.is_empty();
            let is_role = self.roles.as_ref().is_some_and(|wanted| wanted.meets(roles));
            return if roles_suffice && is_role { Ok(()) } else { Err(Refusal::Missing) };
        };
        if !is_super_admin && self.roles.as_ref().is_some_and(|wanted| !wanted.meets(roles)) {
            return Err(Refusal::Denied(NO_ROLE));
        }
        if !self.tiers.is_empty() && !self.tiers.iter().any(|tier| identity.tier.as_ref() == Some(tier)) {
            return Err(Refusal::Denied(NO_TIER));
        }
        if !self.claims.iter().all(|(path, values)| has_claim(identity, path, values)) {
            return Err(Refusal::Denied(NO_CLAIM));
        }
        if !self.scopes.iter().all(|scope| identity.has_scope(scope)) {
            return Err(Refusal::InsufficientScope);
        }
        Ok(())
    }

    /// The scopes that it wants, for those who lack them.
    pub fn scopes(&self) -> &[Box<str>] {
        &self.scopes
    }
}

impl Accepted {
    /// Any credential of a kind.
    pub fn any(kind: Kind) -> Self {
        Self { kind, issuer: None }
    }

    fn of(kind: &Credential, auth: &Auth) -> Self {
        match kind {
            Credential::ApiKey => Self::any(Kind::ApiKey),
            Credential::Mtls => Self::any(Kind::Mtls),
            Credential::Jwt(None) => Self::any(Kind::Jwt),
            // One that is not known would be nobody's: `check` has refused it.
            Credential::Jwt(Some(name)) => {
                let issuer = auth.issuers.named(name).unwrap_or(usize::MAX);
                Self { kind: Kind::Jwt, issuer: Some(issuer) }
            }
        }
    }
}

/// Whether a claim is one of these values, or a list that holds one of them.
fn has_claim(identity: &Identity, path: &ClaimPath, values: &[Value]) -> bool {
    let found = identity.claims.as_ref().and_then(|claims| path.find(claims));
    found.is_some_and(|found| match found {
        Value::Array(list) => list.iter().any(|one| values.contains(one)),
        one => values.contains(one),
    })
}
