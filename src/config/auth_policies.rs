//! Rules of `auth` that need more than one section: what routes want must be there to be wanted.

use aegis_actors::rate_limiter::settings::KeyStrategy;
use aegis_schema::section::quoted;
use aegis_schema::{Section, suggest};

use super::settings::auth::{AuthRule, Credential, IdentityHeaders, Policy, issuers};
use super::settings::{Auth, ClientAuth, Settings};

/// The keys of a [`Policy`] that mean nothing where nobody is asked.
const WANTS: [&str; 4] = ["roles", "scopes", "claims", "tiers"];

/// Judges what routes and backends want and what keys have, and completes their limits.
pub(super) fn check(settings: &mut Settings, root: &Section<'_>) {
    let known = Known::of(&settings.auth);
    for (backend, section) in settings.backends.iter().zip(root.sections("backends")) {
        known.check(&backend.policy, None, &section);
        for (route, section) in backend.routes.iter().zip(section.sections("routes")) {
            known.check(&route.policy, Some(&backend.policy), &section);
            let written = route.policy.auth.as_ref().or(backend.policy.auth.as_ref());
            let wanted = matches!(written, Some(AuthRule::Any(kinds) | AuthRule::All(kinds)) if kinds.contains(&Credential::Mtls));
            if wanted && known.enabled && settings.client_auth(backend, route) == ClientAuth::None {
                section.error_here(format!(
                    "`{}` wants client certificates (`auth` names `mtls`), and no client is asked for one: add `clientAuth: \
                     optional` to it, its backend or `server.tls`",
                    section.path
                ));
            }
        }
    }
    if !settings.auth.enabled {
        return verified_by_nobody(settings, root);
    }
    let Some(auth) = root.child("auth") else { return };
    if known.kinds.is_empty() {
        auth.error_here(
            "`auth` wants a credential of whoever asks, and takes none: enable `apiKey`, or add an entry to `issuers`".to_owned(),
        );
    }
    identity_fields_are_no_conditions(&settings.auth, &auth);
    let limits = settings.rate_limit.as_ref().filter(|limits| limits.enabled);
    let Some(section) = auth.child("apiKey") else { return };
    for (key, section) in settings.auth.api_key.keys.iter_mut().zip(section.sections("keys")) {
        let Some(limit) = &mut key.rate_limit else { continue };
        match (limits, section.child("rateLimit")) {
            (Some(limits), Some(section)) => limits.complete(limit, &section),
            _ => section.error_of(
                "rateLimit",
                "has no effect, for nothing is limited without `rateLimit`: add `rateLimit: {}`, or remove the key",
            ),
        }
    }
}

/// A condition sees a field as the client has sent it: of one that tells who somebody is, that is anybody's word.
fn identity_fields_are_no_conditions(auth: &Auth, section: &Section<'_>) {
    let defaults = IdentityHeaders::default();
    let own = auth.identity_headers.names().chain(defaults.names());
    let names: Vec<&str> = own.chain(auth.claim_headers.iter().map(|(name, _)| &**name)).collect();
    let Some(section) = section.child("rbac") else { return };
    for (role, section) in auth.rbac.roles.iter().zip(section.sections("roles")) {
        for (permission, section) in role.permissions.iter().zip(section.sections("permissions")) {
            for (condition, section) in permission.conditions.iter().zip(section.sections("conditions")) {
                let field = condition.header.as_deref().unwrap_or("");
                if names.iter().any(|name| name.eq_ignore_ascii_case(field)) {
                    section.error_of(
                        "header",
                        format_args!(
                            "is {}, which the gateway itself sends: what a client says there proves nothing; use a condition of \
                             `type: claim`, or roles",
                            quoted(field)
                        ),
                    );
                }
            }
        }
    }
}

/// Refuses permissions, and warns of what only verified users and API keys give a meaning.
fn verified_by_nobody(settings: &Settings, root: &Section<'_>) {
    let rbac = root.child("auth").and_then(|auth| auth.child("rbac"));
    if let Some(section) = rbac.filter(|_| settings.auth.rbac.enabled) {
        section.error_of(
            "enabled",
            "has no effect, for nobody is asked: set `auth: {enabled: true}`, or remove the key, and know that everybody may \
             come in",
        );
    }
    let (Some(limits), Some(section)) = (&settings.rate_limit, root.child("rateLimit")) else { return };
    let warn = |section: &Section<'_>, key: &str, then: &str| {
        section.warning_of(
            key,
            format_args!(
                "has no effect without `auth: {{enabled: true}}`: requests are told apart by address{then}"
            ),
        );
    };
    let strategy = |section: &Section<'_>, key: &str, strategy: KeyStrategy| {
        if let Some(instead) = strategy.without_users() {
            warn(section, key, &format!("; write `{instead}`, or enable it"));
        }
    };
    strategy(&section, "keyStrategy", limits.key);
    if !limits.tiers.is_empty() {
        warn(&section, "tierLimits", ", and all get the default limit");
    }
    if let (false, Some(section)) = (limits.bypass.user_ids.is_empty(), section.child("bypass")) {
        warn(&section, "userIds", ", and nobody is let pass for it");
    }
    for (rule, section) in limits.rules.iter().zip(section.sections("rules")) {
        rule.key.iter().for_each(|key| strategy(&section, "key", *key));
        let Some(section) = section.child("match") else { continue };
        let of = &rule.matches;
        for (key, ids) in [("tiers", &of.tiers), ("userIds", &of.user_ids), ("apiKeys", &of.api_keys)] {
            if !ids.is_empty() {
                warn(&section, key, ", and the rule matches none of them");
            }
        }
    }
}

/// What the routes may name.
struct Known {
    enabled: bool,
    /// The kinds of credentials that are configured, as they are written.
    kinds: Vec<&'static str>,
    issuers: Vec<String>,
    /// Keys come in `Authorization`, where tokens come.
    shares_authorization: bool,
}

impl Known {
    fn of(auth: &Auth) -> Self {
        let entries = issuers::entries(&auth.issuers, &auth.jwt);
        let kinds =
            [("apiKey", auth.api_key.enabled), ("jwt", !entries.is_empty()), ("mtls", auth.mtls.is_some())];
        Self {
            enabled: auth.enabled,
            kinds: kinds.into_iter().filter(|(_, is)| *is).map(|(kind, _)| kind).collect(),
            issuers: entries.into_iter().map(|(_, issuer)| issuer.name).collect(),
            shares_authorization: auth.api_key.header_name.eq_ignore_ascii_case("authorization"),
        }
    }

    /// Judges what is written in `section`, which holds over what the backend says.
    fn check(&self, policy: &Policy, backend: Option<&Policy>, section: &Section<'_>) {
        if !self.enabled {
            for key in ["auth"].iter().chain(&WANTS).filter(|key| section.has(key)) {
                let is_none = *key == "auth" && policy.auth == Some(AuthRule::None);
                if !is_none {
                    section.error_of(
                        key,
                        "has no effect, for nobody is asked: set `auth: {enabled: true}`, or remove the key, and know that \
                         everybody may come in",
                    );
                }
            }
            return;
        }
        let rule = policy.auth.as_ref().or(backend.and_then(|backend| backend.auth.as_ref()));
        if rule == Some(&AuthRule::None) {
            for key in WANTS.iter().filter(|key| section.has(key)) {
                section.error_of(
                    key,
                    "has no effect under `auth: none`, where nobody is asked: remove one of the two",
                );
            }
        }
        let Some(AuthRule::Any(kinds) | AuthRule::All(kinds)) = &policy.auth else { return };
        for kind in kinds {
            self.check_kind(kind, section);
        }
        if let Some(AuthRule::All(kinds)) = &policy.auth {
            let tokens = kinds.iter().filter(|kind| matches!(kind, Credential::Jwt(_))).count();
            let keys = usize::from(self.shares_authorization && kinds.contains(&Credential::ApiKey));
            if tokens + keys > 1 {
                section.error_of(
                    "auth",
                    "wants two credentials in `Authorization`, which holds one: have keys come in another field \
                     (`auth.apiKey.headerName`), or use `any`",
                );
            }
        }
    }

    fn check_kind(&self, kind: &Credential, section: &Section<'_>) {
        let (name, of) = match kind {
            Credential::ApiKey => ("apiKey", None),
            Credential::Jwt(issuer) => ("jwt", issuer.as_deref()),
            Credential::Mtls => ("mtls", None),
        };
        if !self.kinds.contains(&name) {
            let hint = match name {
                "apiKey" => "set `auth.apiKey.enabled`",
                "jwt" => "add an entry to `auth.issuers`",
                _ => "add `auth.mtls`",
            };
            section.error_of(
                "auth",
                format_args!("names {}, which nobody can have: {hint}", quoted(&kind.name())),
            );
        } else if let Some(issuer) = of
            && !self.issuers.iter().any(|known| known == issuer)
        {
            let hint = suggest::hint(
                issuer,
                self.issuers.iter().map(String::as_str),
                "use the `name` of one of `auth.issuers`",
            );
            section.error_of(
                "auth",
                format_args!("names the issuer {}, which there is not: {hint}", quoted(issuer)),
            );
        }
    }
}
