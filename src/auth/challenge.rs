//! What a refused client is told that it could bring: `WWW-Authenticate` (RFC 9110, section 11.6.1; RFC 6750, section 3).

use super::Auth;
use super::access::{Accepted, Access, Rule};
use super::identity::Kind;
use super::verdict::{Facts, Refusal};

/// What a client certificate is called where a scheme has to be named: none is registered.
pub const CLIENT_CERTIFICATE: &str = "ClientCertificate";
/// The protection space; one for the whole gateway.
const REALM: &str = "aegis";

impl Auth {
    /// One challenge for each scheme that the route takes, for the refusals that have one.
    pub fn challenges(&self, access: &Access, facts: &Facts<'_>, refusal: &Refusal) -> Vec<String> {
        let bearer = match refusal {
            // RFC 6750: who has brought nothing is told of no error.
            Refusal::Missing => String::new(),
            Refusal::Invalid(_) | Refusal::Expired => r#", error="invalid_token""#.to_owned(),
            Refusal::InsufficientScope => {
                format!(r#", error="insufficient_scope", scope="{}""#, access.scopes().join(" "))
            }
            _ => return Vec::new(),
        };
        let kinds: &[Accepted] = match self.rule(access, facts) {
            Rule::Any(kinds) | Rule::All(kinds) => kinds,
            Rule::None | Rule::Optional | Rule::Required => &self.kinds,
        };
        let mut challenges: Vec<String> = Vec::new();
        for accepted in kinds {
            let challenge = match accepted.kind {
                Kind::Jwt => format!(r#"Bearer realm="{REALM}"{bearer}"#),
                Kind::ApiKey => format!(r#"{} realm="{REALM}""#, self.key_scheme()),
                // TLS asks for it; a field only says that it does.
                Kind::Mtls => CLIENT_CERTIFICATE.to_owned(),
            };
            if !challenges.contains(&challenge) {
                challenges.push(challenge);
            }
        }
        challenges
    }

    /// What stands in front of a key in `Authorization`, where keys come there; else a name that says what is wanted.
    fn key_scheme(&self) -> &str {
        let scheme = self.key_prefix.trim_end();
        let is_scheme = self.key_field.eq_ignore_ascii_case("authorization")
            && !scheme.is_empty()
            && !scheme.contains(' ');
        if is_scheme { scheme } else { "Key" }
    }
}
