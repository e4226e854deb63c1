//! What a route, or all routes of a backend, want of who comes in.

use aegis_schema::form::{At, map};
use aegis_schema::tree::Kind;
use aegis_schema::{Form, section};
use serde_json::{Value, json};

use super::api_keys::identity;
use super::claim_path::ClaimPath;
use super::credential::{AuthRule, rule};
use super::ip_rules::IpRules;

section! {
    /// Keys of a route and of a backend, which holds for those of its routes that do not say otherwise, key by key.
    pub struct Policy {
        /// what credential a request must bring: some of any kind, one if it has one, none, one of these kinds, or all of
        /// them. `none` skips roles too, and upstreams get `Authorization` as it came
        auth: Option<AuthRule>,
            "auth" rule().option().unset("the backend's; else `none` on `auth.anonymousPaths`, else by `auth.allowAnonymous`");
        /// one of these roles, or one that inherits it. `auth.rbac.superAdminRoles` skip it
        roles: Option<Vec<String>>, "roles" list(identity()).unique().words("list of names").option().unset("the backend's, else any");
        /// all of these scopes; else 403 `insufficient_scope`
        scopes: Option<Vec<String>>, "scopes" list(identity()).unique().words("list of names").option().unset("the backend's, else any");
        /// all of these claims, each by its dotted path, with this value or one of these: `{org.plan: [pro, team]}`
        claims: Option<Vec<(ClaimPath, Vec<Value>)>>, "claims" claims().option().unset("the backend's, else any");
        /// client addresses that may come in; those of `auth.ip`, of the backend and of the route hold together
        ip: Option<IpRules>, "ip" section().option().unset("everybody");
        /// one of these tiers
        tiers: Option<Vec<String>>, "tiers" list(identity()).unique().words("list of names").option().unset("the backend's, else any");
        /// upstreams get the credential that was judged
        forward_credentials: Option<bool>, "forwardCredentials" flag().option().unset("the backend's, else `auth.forwardCredentials`");
    }
}

impl Policy {
    /// Whether it wants anything of whoever asks, besides a credential.
    pub fn wants(&self) -> bool {
        let Self { roles, scopes, claims, tiers, auth: _, ip: _, forward_credentials: _ } = self;
        let lists = [roles, scopes, tiers].into_iter().flatten();
        lists.map(Vec::len).chain(claims.iter().map(Vec::len)).any(|length| length > 0)
    }

    /// What holds for a route of a backend with this one, but for `ip`: there both hold.
    pub fn over(&self, backend: &Self) -> Self {
        let Self { auth, roles, scopes, claims, ip: _, tiers, forward_credentials } = self.clone();
        let backend = backend.clone();
        Self {
            auth: auth.or(backend.auth),
            roles: roles.or(backend.roles),
            scopes: scopes.or(backend.scopes),
            claims: claims.or(backend.claims),
            ip: None,
            tiers: tiers.or(backend.tiers),
            forward_credentials: forward_credentials.or(backend.forward_credentials),
        }
    }
}

fn claims() -> Form<Vec<(ClaimPath, Vec<Value>)>> {
    let name = |name: &str| ClaimPath::parse(name).map(|path| path.as_str().to_owned());
    map("path: value or list of values", name, values()).map(
        |claims| {
            let parsed = |(path, values): (String, _)| Some((ClaimPath::parse(&path).ok()?, values));
            claims.into_iter().filter_map(parsed).collect()
        },
        |claims| claims.iter().map(|(path, values)| (path.as_str().to_owned(), values.clone())).collect(),
    )
}

/// A text, a number, a boolean, or several of them.
fn values() -> Form<Vec<Value>> {
    fn scalar(kind: &Kind) -> Option<Value> {
        match kind {
            Kind::Text(text) => Some(text.as_str().into()),
            Kind::Bool(flag) => Some((*flag).into()),
            Kind::Int(number) => i64::try_from(*number).ok().map(Into::into),
            _ => None,
        }
    }
    let read = |at: &At<'_, '_>| {
        let found = match &at.node.kind {
            Kind::List(items) if !items.is_empty() => items.iter().map(|item| scalar(&item.kind)).collect(),
            one => scalar(one).map(|one| vec![one]),
        };
        found.or_else(|| at.mismatch("a text, a whole number, a boolean, or a list of such"))
    };
    let scalars = || json!({"type": ["string", "integer", "boolean"]});
    let schema = move || json!({"anyOf": [scalars(), {"type": "array", "minItems": 1, "items": scalars()}]});
    Form::new("value or list of values", schema, read, |values, _| match values.as_slice() {
        [one] => Some(one.clone()),
        many => Some(many.into()),
    })
}
