//! Who may come in: what a request proves of its sender, and what that permits.
//!
//! Pure: facts of a request and an immutable configuration go in, a verdict comes out. Serving and explaining ask the same
//! function, [`judge`]; the order of its questions is `verdict.rs`. What needs an answer from elsewhere comes out as a refusal
//! that says so. Nothing here knows sockets, actors or how a request arrived. The one thing that is counted here, wrong
//! credentials by address, is counted in place.
//!
//! ```text
//! verdict.rs       the questions in their order           credentials.rs   what a request brings
//! access.rs        what a route wants, compiled           key_table.rs     API keys, found by digest; api_key.rs: their form
//! identity.rs      who somebody has proved to be          rbac/            what roles may
//! token_cache.rs   tokens that were verified          jwt/             verifying them
//! identity_fields.rs   how upstreams are told             ip_rules.rs, networks.rs   addresses
//! challenge.rs     how clients are told what to bring     failure_limit.rs   wrong credentials by address
//! mtls.rs          whose client certificates are
//! ```

mod access;
pub mod api_key;
mod challenge;
mod credentials;
mod explained;
pub mod failure_limit;
mod identity;
mod identity_fields;
pub mod ip_rules;
pub mod jwt;
mod key_table;
pub mod mtls;
mod networks;
pub mod rbac;
mod token_cache;
mod verdict;

use std::sync::Arc;

use self::access::{Accepted, Rule};
use self::failure_limit::FailureLimit;
use self::jwt::Issuers;
use self::key_table::KeyTable;
use self::mtls::MtlsTable;
use self::rbac::{Rbac, RoleNames};
use crate::config::settings::auth::issuers::entries;
use crate::config::settings::auth::{Auth as Settings, Cache};
use crate::router::PatternSet;

pub use self::access::{Access, wanted_by};
pub use self::challenge::CLIENT_CERTIFICATE;
pub use self::credentials::Field;
pub use self::explained::WrittenAt;
pub use self::identity::{Identity, Kind};
pub use self::identity_fields::IdentityFields;
pub use self::key_table::KeyRecord;
pub use self::token_cache::{TokenCache, Verified};
pub use self::verdict::{Admitted, Facts, Principal, Prove, Refusal, judge, still_proves};

/// `auth` of one configuration.
pub struct Auth {
    /// `None`: keys are not accepted.
    keys: Option<KeyTable>,
    /// The field that keys come in, and what stands in front of them there.
    key_field: Box<str>,
    key_prefix: Box<str>,
    /// `auth.issuers` and `auth.jwt`.
    pub issuers: Issuers,
    /// `auth.mtls`.
    pub mtls: Option<MtlsTable>,
    /// `auth.cache`.
    pub cache: Cache,
    /// Every kind that is configured, in the order in which the first right one is who it is.
    kinds: Vec<Accepted>,
    allow_anonymous: bool,
    anonymous_paths: PatternSet,
    forwards: bool,
    rbac: Rbac,
    /// Permissions are judged; and what they deny passes all the same.
    permissions: bool,
    shadow: bool,
    /// Wrong credentials by address.
    pub failures: Arc<FailureLimit>,
}

impl Auth {
    /// Of `settings`, which `check` has found to be good, with the roles that routes name. What was counted of wrong credentials
    /// `before` goes on where the limit is the same; of IPv6 addresses so many bits are one client.
    ///
    /// # Errors
    /// What it would have refused.
    pub fn build<'n>(
        settings: &'n Settings,
        roles: impl Iterator<Item = &'n str>,
        ipv6_prefix: u8,
        before: Option<&Self>,
    ) -> Result<Self, String> {
        let anonymous_paths = PatternSet::new(&settings.anonymous_paths).map_err(|errors| {
            let first = errors.first().map(|(_, error)| error.to_string());
            format!("auth.anonymousPaths: {}", first.unwrap_or_default())
        })?;
        let of_keys = settings.api_key.keys.iter().flat_map(|key| &key.roles).map(String::as_str);
        let rbac = Rbac::build(&settings.rbac, roles.chain(of_keys)).map_err(|problems| {
            let first = problems.first().map(|problem| format!("{}: {}", problem.path, problem.text));
            first.unwrap_or_default()
        })?;
        let keys = match settings.api_key.enabled {
            true => Some(KeyTable::build(&settings.api_key, rbac.names())?),
            false => None,
        };
        let entries = entries(&settings.issuers, &settings.jwt);
        let (issuers, _) =
            Issuers::build(&entries, before.map(|before| &before.issuers)).map_err(|unfit| {
                let first = unfit
                    .iter()
                    .find(|unfit| unfit.is_error)
                    .map(|unfit| format!("{}: {}", unfit.key, unfit.what));
                first.unwrap_or_default()
            })?;
        let configured = |kind: &Kind| match kind {
            Kind::ApiKey => keys.is_some(),
            Kind::Jwt => !issuers.entries().is_empty(),
            Kind::Mtls => settings.mtls.is_some(),
        };
        let failures = before.map(|before| &before.failures);
        let failures = failures.filter(|failures| failures.is_as(&settings.failure_limit, ipv6_prefix));
        Ok(Self {
            kinds: Kind::ALL.into_iter().filter(configured).map(Accepted::any).collect(),
            issuers,
            mtls: settings.mtls.as_ref().map(MtlsTable::new),
            cache: settings.cache.clone(),
            keys,
            key_field: settings.api_key.header_name.as_str().into(),
            key_prefix: settings.api_key.prefix.as_str().into(),
            allow_anonymous: settings.allow_anonymous,
            anonymous_paths,
            forwards: settings.forward_credentials,
            rbac,
            permissions: settings.rbac.enabled,
            shadow: settings.rbac.shadow,
            failures: failures
                .cloned()
                .unwrap_or_else(|| Arc::new(FailureLimit::new(&settings.failure_limit, ipv6_prefix))),
        })
    }

    /// The roles that the configuration knows.
    pub fn role_names(&self) -> &RoleNames {
        self.rbac.names()
    }

    /// The field that API keys come in, where they are accepted.
    pub fn key_field(&self) -> Option<&str> {
        self.keys.as_ref().map(|_| &*self.key_field)
    }

    /// The record of a key that a verdict names.
    pub fn key(&self, at: u32) -> Option<&KeyRecord> {
        self.keys.as_ref()?.record(at)
    }

    /// What a request must bring.
    fn rule<'a>(&self, access: &'a Access, facts: &Facts<'_>) -> &'a Rule {
        match access.rule() {
            Some(rule) => rule,
            None if self.anonymous_paths.any(facts.path, facts.trailing_slash) => &Rule::None,
            None if self.allow_anonymous => &Rule::Optional,
            None => &Rule::Required,
        }
    }
}
