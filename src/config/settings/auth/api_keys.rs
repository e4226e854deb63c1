//! `auth.apiKey`: keys of programs.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use aegis_actors::rate_limiter::settings::Limit;
use aegis_schema::form::{known, secret};
use aegis_schema::problem::Severity;
use aegis_schema::section::quoted;
use aegis_schema::tree::Given;
use aegis_schema::{Form, Secret, Section, ensure, section, suggest, syntax};
use ipnet::IpNet;

use super::digest::{Digest, digest};

/// Bytes of a pepper at least: what HMAC-SHA-256 takes its strength from (RFC 2104, section 3).
const PEPPER: usize = 32;

section! {
    /// `auth.apiKey`: keys of programs, of which only digests are known.
    pub struct ApiKeys, check check {
        /// keys are accepted
        enabled: bool = true, "enabled" flag();
        /// the field that a key comes in
        header_name: String = "X-API-Key".to_owned(), "headerName" header_name();
        /// what stands in front of the key there, as `Key ` in `Authorization: Key …`; a key without it is wrong
        prefix: String, "prefix" prefix();
        /// secrets for digests `hmac-sha256:NAME:HEX`, by name, 32 bytes or more
        peppers: Vec<(String, Secret)>, "peppers" map("name: secret", pepper_name, pepper());
        /// who has a key; `aegis key new` makes one with its entry
        keys: Vec<ApiKey>, "keys" list(section());
    }
}

section! {
    /// `auth.apiKey.keys[]`: one key.
    pub struct ApiKey {
        /// unique; what logs and limits call it
        id: String, "id" label("rename it").required("give the key a unique id; `aegis key new` makes a whole entry");
        /// digests of the key: `sha256:HEX`, `sha512:HEX` or `hmac-sha256:PEPPER:HEX`. Several while it is being replaced.
        /// `aegis key hash` makes one of a key that was made elsewhere
        hashes: Vec<Digest>, "hashes" list(digest()).unique().words("list of digests").required("write the digest of the key");
        /// for people
        name: String, "name" text();
        /// whose it is
        user_id: Option<String>, "userId" identity().option().unset("its `id`");
        /// what the user is
        roles: Vec<String>, "roles" list(identity()).unique().words("list of names");
        /// what it is good for
        scopes: Vec<String>, "scopes" list(identity()).unique().words("list of names");
        /// for `tierLimits` and `tiers`
        tier: Option<String>, "tier" identity().option().unset("none");
        /// what it permits beside what its roles do, under `rbac.enabled`: patterns and methods, as
        /// `{/api/reports/**: [GET]}`
        permissions: Vec<(String, Vec<String>)>,
            "permissions" map("pattern: methods", pattern, list(method())).sparse();
        /// its own limit, counted by the key, in place of `tierLimits` and the default
        rate_limit: Option<Limit>, "rateLimit" section().option();
        /// networks that it may be used from; empty = everywhere
        allowed_ips: Vec<IpNet>, "allowedIps" list(network("holds every address: leave `allowedIps` out")).words("list of networks");
        /// more about it, for `claimHeaders` and conditions
        metadata: Vec<(String, String)>, "metadata" map("name: text", metadata_name, text()).sparse();
        /// when it ends, as `2027-01-01T00:00:00Z`
        expires_at: Option<SystemTime>, "expiresAt" time().option().unset("never");
        /// `false`: refused like one that is not known
        active: bool = true, "active" flag();
    }
}

impl ApiKey {
    /// Whose it is.
    pub fn user(&self) -> &str {
        self.user_id.as_deref().unwrap_or(&self.id)
    }
}

fn check(keys: &mut ApiKeys, section: &Section<'_>) {
    section.distinct("keys", "id", keys.keys.iter().map(|key| &*key.id));
    let mut seen: HashMap<&Digest, String> = HashMap::new();
    for (key, section) in keys.keys.iter().zip(section.sections("keys")) {
        for (digest, at) in key.hashes.iter().zip(section.items("hashes")) {
            if let Some(first) = seen.get(digest) {
                at.error(format_args!(
                    "is the digest of `{first}` already: one key cannot be two, remove one of them"
                ));
            } else {
                seen.insert(digest, section.path.clone());
            }
            if let Digest::HmacSha256 { pepper: name, .. } = digest
                && !keys.peppers.iter().any(|(known, _)| known == name)
            {
                let hint = suggest::hint(
                    name,
                    keys.peppers.iter().map(|(name, _)| &**name),
                    "add it to `auth.apiKey.peppers`",
                );
                // What came through `${…}` may be the pepper itself.
                let called = match at.node.origin.given {
                    Given::Filled { .. } => "in the value put in for `${…}`".to_owned(),
                    _ => quoted(name),
                };
                at.error(format_args!("names the pepper {called}, which is not known: {hint}"));
            }
        }
        let empty = key.hashes.is_empty() && section.has("hashes") && section.clean("hashes");
        if empty {
            section.error_of(
                "hashes",
                "is empty: nobody could have this key; write its digest, or remove the entry",
            );
        }
    }
}

fn header_name() -> Form<String> {
    const WHAT: &str =
        "must be the name of a field that programs can set, found {found}: write for example X-API-Key";
    let parse = |name: &str| {
        let free = name.eq_ignore_ascii_case("authorization") || !super::is_taken(name);
        (syntax::is_token(name) && free).then(|| name.to_owned())
    };
    known("name", WHAT, parse, String::clone)
}

fn prefix() -> Form<String> {
    const WHAT: &str = "cannot stand in front of a key in a field: use visible ASCII characters, and a space at the end where it is \
                        a scheme";
    let fits = |text: &str| {
        text.is_empty() || (text.bytes().all(|b| (b' '..=b'~').contains(&b)) && !text.starts_with(' '))
    };
    known("text", WHAT, move |text| fits(text).then(|| text.to_owned()), String::clone)
}

fn pepper_name(name: &str) -> Result<String, &'static str> {
    ensure!(
        syntax::is_label(name),
        "is no name for a pepper: use 1 to 64 of the characters A-Z a-z 0-9 . _ -"
    );
    Ok(name.to_owned())
}

fn pepper() -> Form<Secret> {
    secret().check(|pepper, at| {
        if pepper.len() < PEPPER {
            at.error(format_args!(
                "is shorter than {PEPPER} bytes: make one with `openssl rand -hex 32`, and keep it: no key can be checked \
                 without"
            ));
        }
    })
}

/// What a user, a role, a scope or a tier may be called: it is sent in header fields.
pub(super) fn identity() -> Form<String> {
    const WHAT: &str =
        "cannot name anybody: use 1 to 256 bytes without control characters, commas and outer spaces";
    let fits = |text: &str| {
        (1..=256).contains(&text.len())
            && text.trim() == text
            && !text.contains(|c: char| c.is_control() || c == ',')
    };
    known("name", WHAT, move |text| fits(text).then(|| text.to_owned()), String::clone)
        .seen(Severity::Warning)
}

fn pattern(text: &str) -> Result<String, &'static str> {
    ensure!(text.starts_with('/'), "is no pattern: it must start with `/`");
    Ok(text.to_owned())
}

fn metadata_name(name: &str) -> Result<String, &'static str> {
    ensure!(!name.is_empty() && !name.contains(char::is_control), "is no name");
    Ok(name.to_owned())
}

/// A moment (RFC 3339).
fn time() -> Form<SystemTime> {
    const WHAT: &str = "must be a time with its zone, such as 2027-01-01T00:00:00Z, found {found}";
    let read = |text: &str| {
        humantime::parse_rfc3339(text)
            .ok()
            .filter(|time| *time > SystemTime::UNIX_EPOCH + Duration::from_secs(1))
    };
    let form = known("time", WHAT, read, |time| humantime::format_rfc3339_seconds(*time).to_string());
    form.pattern(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z$")
}
