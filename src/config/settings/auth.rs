//! `auth`: who may come in.

mod api_keys;
pub mod claim_path;
mod credential;
mod digest;
pub mod failure_limit;
pub mod ip_rules;
pub mod issuers;
pub mod mtls;
mod policy;
pub mod rbac;

use std::time::Duration;

use aegis_schema::section::quoted;
use aegis_schema::{Form, Section, ensure, section, syntax};

pub use self::api_keys::{ApiKey, ApiKeys};
pub use self::claim_path::ClaimPath;
pub use self::credential::{AuthRule, Credential};
pub use self::digest::Digest;
pub use self::failure_limit::FailureLimit;
pub use self::ip_rules::IpRules;
pub use self::mtls::Mtls;
pub use self::policy::Policy;
pub use self::rbac::Rbac;
use super::route::path;

/// Keys that a later release brings.
const LATER: &[(&str, &str)] = &[
    ("basic", "passwords"),
    ("forward", "decisions by another service"),
    ("oidc", "logins of browsers"),
    ("introspection", "token introspection"),
    ("tokenFrom", "tokens in cookies"),
    ("revocations", "revocation"),
    ("resource", "resource metadata"),
];

section! {
    /// `auth`: who may come in, and with what. See [identity.md](identity.md).
    pub struct Auth, check check, later LATER {
        /// requests are judged by who sends them; a route without an `auth` of its own wants a credential then
        enabled: bool = false, "enabled" flag();
        /// who brings no credential is let in as role `anonymous`, where a route says nothing else. A wrong one is 401 all
        /// the same
        allow_anonymous: bool = false, "allowAnonymous" flag();
        /// patterns as a route's `path`, on which nobody is asked, as by `auth: none`. Only where each server would read the
        /// path so
        anonymous_paths: Vec<String>, "anonymousPaths" list(path()).words("list of patterns");
        /// upstreams get the credential that was judged: `Authorization`, the key's field. Per route too
        forward_credentials: bool = false, "forwardCredentials" flag();
        /// how upstreams are told who it is. Whatever a client sends under these names, in any spelling, is removed, also
        /// while `enabled` is `false`
        identity_headers: IdentityHeaders, "identityHeaders" section();
        /// more fields for upstreams, from claims: names and dotted paths, as `{X-Tenant: org.tenant}`. Lists are joined by
        /// commas; what is not there is not sent; a claim with a control character makes the token unusable
        claim_headers: Vec<(String, ClaimPath)>,
            "claimHeaders" fields("name: path", claim_path::claim_path());
        /// keys of programs
        api_key: ApiKeys, "apiKey" section();
        /// whose tokens are believed
        issuers: Vec<issuers::Issuer>, "issuers" list(section());
        /// short for one more of `issuers`, which is named `jwt`
        jwt: issuers::Jwt, "jwt" section();
        /// whose client certificates are; absent = they prove nobody, and are none of the kinds of credentials
        mtls: Option<Mtls>, "mtls" section().braces("write `allowUnlisted: true` or `identities` in it, or remove it").option();
        /// tokens that were verified, so that the same one costs no signature again
        cache: Cache, "cache" section();
        /// how many wrong credentials an address may bring
        failure_limit: FailureLimit, "failureLimit" section();
        /// what roles may do
        rbac: Rbac, "rbac" section();
        /// addresses that may come in at all. It holds while `enabled` is `false`, too
        ip: IpRules, "ip" section();
    }
}

section! {
    /// `auth.cache`: tokens that were verified. Who somebody is, is kept; whether that suffices is judged for each request.
    pub struct Cache {
        /// of each worker; 0 = none. The longest that are kept have 4 KiB
        entries: usize = 10_000, "entries" int(0..=1_000_000);
        /// none is kept for longer, nor beyond its own end
        max_age: Duration = Duration::from_secs(300), "maxAgeSeconds" seconds(1..=86_400);
    }
}

section! {
    /// `auth.identityHeaders`: the fields that tell upstreams who it is; an empty name = not sent, but removed where a client
    /// sends it under the default name.
    pub struct IdentityHeaders {
        /// the user
        user: String = "X-User-ID".to_owned(), "user" field_name();
        /// the e-mail address, where the credential has one
        email: String = "X-User-Email".to_owned(), "email" field_name();
        /// the roles as they were given, joined by commas
        roles: String = "X-User-Roles".to_owned(), "roles" field_name();
        /// the tier
        tier: String = "X-User-Tier".to_owned(), "tier" field_name();
        /// the kind of credential: `apiKey`, `jwt`, `mtls`
        kind: String = "X-Auth-Type".to_owned(), "type" field_name();
    }
}

impl IdentityHeaders {
    /// The names that are sent.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let names = [&self.user, &self.email, &self.roles, &self.tier, &self.kind];
        names.into_iter().map(String::as_str).filter(|name| !name.is_empty())
    }
}

/// How servers tell the names of fields apart that fold the most: CGI reads `-` and `_` as the same, PHP dots too.
pub fn folded(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}

fn check(auth: &mut Auth, section: &Section<'_>) {
    issuers::distinct(&auth.issuers, &auth.jwt, section);
    distinct_fields(auth, section);
}

/// Fields of two meanings under one name could not be told apart: a user called `admin` would have that role.
fn distinct_fields(auth: &Auth, section: &Section<'_>) {
    let IdentityHeaders { user, email, roles, tier, kind } = &auth.identity_headers;
    let own = [("user", user), ("email", email), ("roles", roles), ("tier", tier), ("type", kind)];
    let same =
        |one: &str, other: &str| !one.is_empty() && one.bytes().map(folded).eq(other.bytes().map(folded));
    if let Some(section) = section.child("identityHeaders") {
        for (at, (key, name)) in own.iter().enumerate() {
            if let Some((other, _)) = own[..at].iter().find(|(_, other)| same(name, other)) {
                let key = if section.has(key) { key } else { other };
                section.error_of(
                    key,
                    "is the name of two fields: services could not tell them apart, use another name",
                );
            }
        }
    }
    for (at, (name, _)) in auth.claim_headers.iter().enumerate() {
        let claims = auth.claim_headers[..at].iter().map(|(name, _)| name);
        if own.iter().map(|(_, name)| *name).chain(claims).any(|other| same(name, other)) {
            let what = format!(
                "has two fields called {}: services could not tell them apart, use another name",
                quoted(name)
            );
            section.error_of("claimHeaders", what);
        } else if is_taken(name) {
            let what = format!(
                "has {}, and requests need this field for something else: use another name",
                quoted(name)
            );
            section.error_of("claimHeaders", what);
        }
    }
}

/// Whether messages or the gateway itself cannot do without the field, in whatever spelling.
fn is_taken(name: &str) -> bool {
    const TAKEN: [&str; 26] = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "upgrade",
        "te",
        "trailer",
        "expect",
        "via",
        "authorization",
        "cookie",
        "x-request-id",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-prefix",
        "x-forwarded-proto",
        "x-real-ip",
        "max-forwards",
        "traceparent",
        "tracestate",
        "client-cert",
        "client-cert-chain",
    ];
    TAKEN.iter().any(|taken| taken.bytes().eq(name.bytes().map(folded)))
}

/// A field's name, or nothing. Those that messages or the gateway itself cannot do without are nobody's identity.
fn field_name() -> Form<String> {
    aegis_schema::form::grammar(
        "name",
        |text| {
            ensure!(
                text.is_empty() || syntax::is_token(text),
                "it is no header name: use letters, digits and `-`"
            );
            ensure!(!is_taken(text), "requests need this field for something else: use another name");
            Ok(text.to_owned())
        },
        String::clone,
    )
}
