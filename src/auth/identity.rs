//! Who somebody has proved to be.

use serde_json::{Map, Value};

use super::jwt::{Claims, Confirmation};
use super::mtls;
use super::rbac::{Permissions, RoleNames, RoleSet};

/// By what it has been proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    ApiKey,
    Jwt,
    Mtls,
}

impl Kind {
    /// Each of them, in their order for a route that does not say another one.
    pub const ALL: [Self; 3] = [Self::Jwt, Self::ApiKey, Self::Mtls];

    /// As in the configuration, in logs and for upstreams.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "apiKey",
            Self::Jwt => "jwt",
            Self::Mtls => "mtls",
        }
    }
}

/// Somebody, as far as one credential says.
#[derive(Debug)]
pub struct Identity {
    pub kind: Kind,
    /// The name of the entry of `auth.issuers` that vouches for it; users of two of them are two users.
    pub issuer: Option<Box<str>>,
    pub user: Box<str>,
    pub email: Option<Box<str>>,
    /// As they were given.
    pub roles: Box<[Box<str>]>,
    /// Those that the configuration knows, with all that they inherit.
    pub role_set: RoleSet,
    pub scopes: Box<[Box<str>]>,
    pub tier: Option<Box<str>>,
    /// Of a token; of a key its metadata.
    pub claims: Option<Box<Map<String, Value>>>,
    /// What it may beside what its roles do.
    pub permissions: Option<Box<Permissions>>,
    /// What must be proved besides, for the credential to count.
    pub confirmation: Option<Confirmation>,
    /// The id of an API key.
    pub key_id: Option<Box<str>>,
    /// When the credential ends, in seconds since the Unix epoch.
    pub expires_at: Option<u64>,
}

impl Identity {
    /// Of whom nothing is known yet.
    pub fn nobody(kind: Kind) -> Self {
        Self {
            kind,
            issuer: None,
            user: "".into(),
            email: None,
            roles: Box::default(),
            role_set: RoleSet::default(),
            scopes: Box::default(),
            tier: None,
            claims: None,
            permissions: None,
            confirmation: None,
            key_id: None,
            expires_at: None,
        }
    }

    /// Who has a client certificate that ends then.
    pub fn of_certificate(found: &mtls::Identity<'_>, ends: u64, roles: &RoleNames) -> Self {
        let boxed = |names: &[String]| names.iter().map(|name| name.as_str().into()).collect();
        Self {
            user: found.user.into(),
            roles: boxed(found.roles),
            role_set: roles.effective(found.roles.iter().map(String::as_str)),
            scopes: boxed(found.scopes),
            tier: found.tier.map(Into::into),
            expires_at: Some(ends),
            ..Self::nobody(Kind::Mtls)
        }
    }

    /// Who a verified token of the entry `issuer` says it is.
    ///
    /// # Errors
    /// It has permissions that are none, which is told to the log.
    pub fn of_token(claims: Claims, issuer: &str, roles: &RoleNames) -> Result<Self, &'static str> {
        let boxed = |names: &[String]| names.iter().map(|name| name.as_str().into()).collect();
        let permissions = (!claims.permissions.is_empty()).then(|| Permissions::build(&claims.permissions));
        let permissions =
            permissions.transpose().map_err(|_| "its permissions hold a path that is no pattern")?;
        Ok(Self {
            issuer: Some(issuer.into()),
            user: claims.user.into(),
            email: claims.email.map(Into::into),
            roles: boxed(&claims.roles),
            role_set: roles.effective(claims.roles.iter().map(String::as_str)),
            scopes: boxed(&claims.scopes),
            tier: claims.tier.map(Into::into),
            claims: Some(Box::new(claims.all)),
            permissions: permissions.map(Box::new),
            confirmation: claims.confirmation,
            expires_at: Some(claims.refused_at),
            ..Self::nobody(Kind::Jwt)
        })
    }

    /// Whether it has this scope.
    pub fn has_scope(&self, wanted: &str) -> bool {
        self.scopes.iter().any(|scope| **scope == *wanted)
    }
}
