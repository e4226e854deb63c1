//! `auth.issuers` of the configuration, and `auth.jwt`, which is one more of them: whose tokens are believed.

mod judged;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use aegis_schema::form::{Words, grammar, parsed};
use aegis_schema::section::shown;
use aegis_schema::tree::Kind;
use aegis_schema::{Form, Secret, choice, ensure, section, suggest, syntax};
use serde_json::json;

use super::claim_path::{ClaimPath, claim_path};
pub use judged::{distinct, is_provider_url, secret_bytes};
use judged::{judge_issuer, judge_jwt};

/// Keys that a later release brings.
const LATER: &[(&str, &str)] = &[("introspection", "token introspection")];
/// What the entry that `auth.jwt` stands for is named.
pub const SHORT: &str = "jwt";
/// The longest that clocks may differ. Whoever needs more has a clock to set.
const TOLERANCE: std::ops::RangeInclusive<u64> = 0..=600;
/// The longest life of tokens that can be asked for.
const LIFETIME: std::ops::RangeInclusive<u64> = 0..=365 * 86_400;

section! {
    /// One entry of `auth.issuers`.
    pub struct Issuer, check judge_issuer, later LATER {
        /// unique; routes name it as `jwt:NAME`, metrics and logs by itself
        name: String, "name" label("rename it").required("give the issuer a unique name; routes name it as `jwt:NAME`");
        /// how its tokens are verified
        terms: Terms, "" flat();
    }
}

section! {
    /// `auth.jwt`: short for one more entry of `auth.issuers`, named `jwt`.
    pub struct Jwt, check judge_jwt, later LATER {
        /// whether it is there
        enabled: bool = false, "enabled" flag();
        /// how its tokens are verified
        terms: Terms, "" flat();
    }
}

section! {
    /// How the tokens of an issuer are verified.
    pub struct Terms {
        /// what `iss` of its tokens must be, exactly. Alone it is enough: without `secret`, `publicKeys`, `jwksFile` and
        /// `jwksUri` its keys are found by discovery (OpenID Connect, RFC 8414)
        issuer: Option<String>, "issuer" claim_text().option().unset("required");
        /// what `aud` of its tokens must hold, exactly; one of several is enough
        audience: Vec<String>, "audience" one_or_many(claim_text).unique().unset("required");
        /// take tokens whatever their `iss`, where no other entry names it; one entry at most
        insecure_skip_issuer: bool = false, "insecureSkipIssuer" flag();
        /// take tokens whoever they are for, so also those that another service of the same issuer was sent
        insecure_skip_audience: bool = false, "insecureSkipAudience" flag();
        /// for HS256, HS384, HS512: at least 32, 48, 64 bytes (RFC 7518, 3.2). `base64:…` for one that is no text
        secret: Option<Secret>, "secret" secret().option();
        /// PEM: public keys or certificates, of which only the key counts; `${file:PATH}` reads a file
        public_keys: Vec<String>, "publicKeys" list(pem()).sparse();
        /// one more of them
        public_key: Option<String>, "publicKey" pem().option();
        /// a JSON Web Key Set (RFC 7517); keys that cannot be used are left out, one by one
        jwks_file: Option<PathBuf>, "jwksFile" file().option();
        /// where the issuer publishes its keys; https, or http on this machine
        jwks_uri: Option<String>, "jwksUri" provider_url().option().unset("by discovery from `issuer`");
        /// PEM bundle to verify whoever publishes the keys with
        ca_file: Option<PathBuf>, "caFile" file().option().unset("the usual roots");
        /// which algorithms may sign; each must fit the key. HMAC and public keys never stand in one entry
        algorithms: Vec<Algorithm>, "algorithms" list(algorithm()).unique().sparse().unset("by the kinds of keys");
        /// which `typ` a token may say, in any case, with `application/` or without. A token that says none passes only
        /// where this is not written
        typ: Vec<String>, "typ" one_or_many(media_type).unique().sparse().unset("`[JWT, at+jwt]`");
        /// where a provider's tokens hold roles and scopes, where the keys below do not say it
        preset: Option<Preset>, "preset" one_of().option();
        /// who is asking: a text of 1 to 256 bytes. Of several paths, here and below, the first that is there
        user_claim: Vec<ClaimPath>, "userClaim" one_or_many(claim_path).sparse().unset("`sub`");
        /// a list or one text
        roles_claim: Vec<ClaimPath>, "rolesClaim" one_or_many(claim_path).sparse().unset("the preset's, else `roles`");
        /// a list, or a text with spaces between them
        scopes_claim: Vec<ClaimPath>,
            "scopesClaim" one_or_many(claim_path).sparse().unset("the preset's, else `[scope, scp]`");
        /// for limits
        tier_claim: Vec<ClaimPath>, "tierClaim" one_or_many(claim_path).sparse().unset("`tier`");
        /// not read where `email_verified` is `false`
        email_claim: Vec<ClaimPath>, "emailClaim" one_or_many(claim_path).sparse().unset("`email`");
        /// an object of paths, each with its methods, as `permissions` of an API key; not written: no token has any
        permissions_claim: Vec<ClaimPath>, "permissionsClaim" one_or_many(claim_path).sparse().unset("none");
        /// how far the clocks of the issuer and of this machine may differ
        clock_tolerance: Duration = Duration::from_secs(30), "clockToleranceSeconds" seconds(TOLERANCE);
        /// a token that is good for longer, from `iat` to `exp`, is refused; 0 = any
        max_lifetime: Duration = Duration::ZERO, "maxLifetimeSeconds" seconds(LIFETIME);
    }
}

choice! {
    /// What can sign a token.
    pub enum Algorithm {
        Hs256 = "HS256",
        Hs384 = "HS384",
        Hs512 = "HS512",
        #[default]
        Rs256 = "RS256",
        Rs384 = "RS384",
        Rs512 = "RS512",
        Ps256 = "PS256",
        Ps384 = "PS384",
        Ps512 = "PS512",
        Es256 = "ES256",
        Es384 = "ES384",
        EdDsa = "EdDSA",
    }
}

choice! {
    /// Whose tokens they are.
    pub enum Preset {
        #[default]
        Auth0 = "auth0",
        Okta = "okta",
        Azure = "azure",
        Google = "google",
        Keycloak = "keycloak",
    }
}

/// Where in the claims is what is known of somebody; each a list of alternatives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimPaths {
    pub user: Vec<ClaimPath>,
    pub email: Vec<ClaimPath>,
    pub roles: Vec<ClaimPath>,
    pub scopes: Vec<ClaimPath>,
    pub tier: Vec<ClaimPath>,
    /// Empty: not read.
    pub permissions: Vec<ClaimPath>,
}

impl Algorithm {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::WORDS.iter().map(|(_, algorithm)| *algorithm)
    }

    /// The one of this name, exactly.
    pub fn named(name: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(word, _)| *word == name).map(|(_, algorithm)| *algorithm)
    }

    /// By a secret that both sides have.
    pub fn is_hmac(self) -> bool {
        self.hmac_bytes().is_some()
    }

    /// The shortest secret that it may have (RFC 7518, 3.2).
    pub fn hmac_bytes(self) -> Option<usize> {
        match self {
            Self::Hs256 => Some(32),
            Self::Hs384 => Some(48),
            Self::Hs512 => Some(64),
            _ => None,
        }
    }
}

impl Terms {
    /// The issuer's keys are fetched, and not written here.
    pub fn is_remote(&self) -> bool {
        let public = self.public_key.is_some() || !self.public_keys.is_empty() || self.jwks_file.is_some();
        !public && self.secret.is_none()
    }

    /// Where to look in the claims.
    pub fn claim_paths(&self) -> ClaimPaths {
        let names = |names: &[&'static str]| names.iter().copied().map(ClaimPath::name).collect::<Vec<_>>();
        let or = |written: &[ClaimPath], otherwise: Vec<ClaimPath>| match written {
            [] => otherwise,
            written => written.to_vec(),
        };
        let roles = match self.preset {
            Some(Preset::Okta) => names(&["groups"]),
            Some(Preset::Keycloak) => {
                vec![ClaimPath::name("realm_access").then("roles")]
            }
            _ => names(&["roles"]),
        };
        let scopes = match self.preset {
            // What the user may do with this API, where its settings say so; else what was asked for.
            Some(Preset::Auth0) => names(&["permissions", "scope"]),
            Some(Preset::Okta | Preset::Azure) => names(&["scp"]),
            Some(Preset::Google | Preset::Keycloak) => names(&["scope"]),
            None => names(&["scope", "scp"]),
        };
        ClaimPaths {
            user: or(&self.user_claim, names(&["sub"])),
            email: or(&self.email_claim, names(&["email"])),
            roles: or(&self.roles_claim, roles),
            scopes: or(&self.scopes_claim, scopes),
            tier: or(&self.tier_claim, names(&["tier"])),
            permissions: self.permissions_claim.clone(),
        }
    }
}

impl Jwt {
    /// The entry that it stands for, if it is enabled.
    pub fn entry(&self) -> Option<Issuer> {
        let Self { enabled, terms } = self;
        enabled.then(|| Issuer { name: SHORT.to_owned(), terms: terms.clone() })
    }
}

/// Every entry, each with where it is written: those of the list, then the short one.
pub fn entries(issuers: &[Issuer], jwt: &Jwt) -> Vec<(String, Issuer)> {
    let listed = issuers.iter().map(|issuer| (format!("auth.issuers[{}]", issuer.name), issuer.clone()));
    listed.chain(jwt.entry().map(|entry| ("auth.jwt".to_owned(), entry))).collect()
}

/// What a claim must be: visible, and short enough for a token.
fn claim_text() -> Form<String> {
    grammar(
        "text",
        |text| {
            ensure!(!text.is_empty(), "it is empty: write what the issuer puts into its tokens");
            ensure!(text.len() <= 1024, "no token holds so much: 1024 bytes at most");
            ensure!(!text.contains(char::is_control), "it must not hold control characters");
            ensure!(text.trim() == text, "spaces around it would have to be in every token: remove them");
            Ok(text.to_owned())
        },
        String::clone,
    )
}

fn algorithm() -> Form<Algorithm> {
    let read = |text: &str| {
        if let Some(known) = Algorithm::named(text) {
            return Ok(known);
        }
        let words = || Algorithm::all().map(Algorithm::as_str);
        Err(match text {
            "ES512" => "is ES512, for which no library that the gateway can use verifies signatures: let the issuer sign \
                        with ES256 or ES384"
                .to_owned(),
            "none" => "is none: whoever likes could make such a token; remove it".to_owned(),
            _ => {
                let listed = words().collect::<Vec<_>>().join(", ");
                let hint = suggest::hint(text, words(), "use one of these");
                format!("must be one of {listed}, found {{found}}: {hint}")
            }
        })
    };
    let show = |algorithm: &Algorithm| algorithm.as_str().to_owned();
    let words = || Algorithm::all().map(Algorithm::as_str).collect::<Vec<_>>();
    parsed("algorithms", read, show).schema(move || json!({"type": "string", "enum": words()}))
}

/// Without `application/`, in lower case (RFC 7515, 4.1.9).
fn media_type() -> Form<String> {
    let read = |text: &str| {
        let lower = text.to_ascii_lowercase();
        let bare = lower.strip_prefix("application/").unwrap_or(&lower);
        ensure!(syntax::is_token(bare), "write what the header of the tokens says, for example `at+jwt`");
        Ok(bare.to_owned())
    };
    grammar("type", read, String::clone)
}

/// A PEM text: line breaks at its end belong to it.
fn pem() -> Form<String> {
    const WHAT: &str = "must be a PEM text, found";
    Form::new(
        "PEM text",
        || json!({"type": "string"}),
        |at| {
            match &at.node.kind {
            Kind::Text(text) if text.contains("PRIVATE KEY-----") => at.refuse(
                "holds a private key: write the public one, for example of `openssl pkey -pubout`; the gateway verifies \
                 tokens and must not be able to make them",
            ),
            Kind::Text(text) if text.trim_start().starts_with("-----BEGIN ") => Some(text.trim().to_owned()),
            // Perhaps a key all the same, so it is not shown.
            Kind::Text(_) => at.refuse(format_args!("{WHAT} another one: put in a file with `${{file:PATH}}`")),
            _ => at.refuse(format_args!("{WHAT} {}", shown(at.node, at.secret))),
        }
        },
        |pem, _| Some(pem.clone().into()),
    )
}

fn provider_url() -> Form<String> {
    grammar("URL", |text| is_provider_url(text).map(|()| text.to_owned()), String::clone)
}
