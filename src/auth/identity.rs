//! Who somebody has proved to be.

use serde_json::{Map, Value};

use super::rbac::RoleSet;

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
#[derive(Clone, Debug, PartialEq)]
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
    /// The id of an API key.
    pub key_id: Option<Box<str>>,
    /// When the credential ends, in seconds since the Unix epoch.
    pub expires_at: Option<u64>,
}

impl Identity {
    /// Whether it has this scope.
    pub fn has_scope(&self, wanted: &str) -> bool {
        self.scopes.iter().any(|scope| **scope == *wanted)
    }
}
