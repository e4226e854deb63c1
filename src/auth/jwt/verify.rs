//! A token against keys and a clock: its signature first, then what it says.

use aegis_actors::identity::Keys as _;
use jsonwebtoken::errors::ErrorKind;
use serde::de::IgnoredAny;

use super::claims::{Claims, Confirmation, Subject, audience, confirmation, identifier, seconds};
use super::issuers::Entry;
use super::key_set::{Choice, Key, KeySet};
use super::{Fault, Token};

impl Entry {
    /// Verifies a token of this entry; `now` is in seconds since 1970.
    pub(super) fn verify(&self, token: &Token<'_>, keys: &KeySet, now: u64) -> Result<Claims, Fault> {
        if !self.algorithms.contains(&token.algorithm) {
            return Err(Fault::Invalid("its `alg` is not in the list of its issuer"));
        }
        self.judge_type(token)?;
        let key = self.signed_by(token, keys)?;
        let (claims, over) = self.judge(token, key, now).map_err(Fault::Invalid)?;
        match over {
            // The last that is looked at: who hears that it has expired knows that it was good.
            true if claims.confirmation == Some(Confirmation::Other) => {
                Err(Fault::Invalid("it is bound to what cannot be proved here, and has expired"))
            }
            true => Err(Fault::Expired),
            false => Ok(claims),
        }
    }

    /// Explicit typing (RFC 8725, 3.11): a logout token or a DPoP proof of the same issuer is no access token.
    fn judge_type(&self, token: &Token<'_>) -> Result<(), Fault> {
        let allowed = match &token.typ {
            Some(typ) => self.types.iter().any(|known| known == typ),
            None => self.untyped,
        };
        if allowed { Ok(()) } else { Err(Fault::Invalid("its `typ` is not in the list of its issuer")) }
    }

    /// The key that has made the signature.
    fn signed_by<'k>(&self, token: &Token<'_>, keys: &'k KeySet) -> Result<&'k Key, Fault> {
        if keys.is_empty() {
            return Err(Fault::NoKeys);
        }
        let kid = token.kid();
        let unknown = |kid: &str| Fault::UnknownKey { kid: kid.to_owned() };
        let chosen = match keys.choose(kid, token.algorithm) {
            Choice::Of(chosen) => chosen,
            Choice::Unknown => return Err(unknown(kid.unwrap_or_default())),
            Choice::Unfit => return Err(Fault::Invalid("its `alg` does not fit the key")),
        };
        let validation = self.validation(token.algorithm).ok_or(Fault::Invalid("its `alg` has no keys"))?;
        for key in chosen {
            match jsonwebtoken::decode::<IgnoredAny>(token.text, &key.key, validation)
                .map_err(|e| e.into_kind())
            {
                Ok(_) => return Ok(key),
                Err(ErrorKind::InvalidSignature) => {}
                Err(
                    ErrorKind::MissingRequiredClaim(_)
                    | ErrorKind::InvalidClaimFormat(_)
                    | ErrorKind::InvalidIssuer
                    | ErrorKind::InvalidAudience,
                ) => return Err(Fault::Invalid("`iss`, `aud` or `exp` is missing or not what it should be")),
                Err(_) => return Err(Fault::Invalid("the library refuses it")),
            }
        }
        match kid {
            Some(kid) if !keys.knows(kid) => Err(unknown(kid)),
            _ => Err(Fault::Invalid("its signature is of none of the keys")),
        }
    }

    /// The claims of a genuine token, and whether its time is over.
    fn judge(&self, token: &Token<'_>, key: &Key, now: u64) -> Result<(Claims, bool), &'static str> {
        let all = &token.claims;
        let latest = now.saturating_add(self.tolerance);
        let expires_at = seconds(all, "exp")?.ok_or("it has no `exp`")?;
        if seconds(all, "nbf")?.is_some_and(|from| from > latest) {
            return Err("it is not valid yet");
        }
        let issued_at = seconds(all, "iat")?;
        if issued_at.is_some_and(|issued_at| issued_at > latest) {
            return Err("its `iat` is in the future");
        }
        if let Some(longest) = self.max_lifetime {
            let from = issued_at.ok_or("it has no `iat`, and its lifetime is limited")?;
            if expires_at.saturating_sub(from) > longest {
                return Err("it is valid for longer than tokens may be");
            }
        }
        if self.issuer.is_some() && token.issuer().ok().flatten() != self.issuer.as_deref() {
            return Err("its `iss` is another");
        }
        match audience(all, self.audience.as_deref().unwrap_or_default())? {
            Some(false) if self.audience.is_some() => return Err("it is for somebody else (`aud`)"),
            None if self.audience.is_some() => return Err("it has no `aud`"),
            _ => {}
        }
        let Subject { user, email, roles, scopes, tier, permissions } = Subject::of(all, &self.claims)?;
        let refused_at = expires_at.saturating_add(self.tolerance);
        let claims = Claims {
            issuer: token.entry,
            user,
            email,
            roles,
            scopes,
            tier,
            permissions,
            expires_at,
            refused_at,
            issued_at,
            jti: identifier(all)?,
            confirmation: confirmation(all)?,
            kid: key.kid.clone(),
            all: all.clone(),
        };
        // RFC 7519, 4.1.4: before it, not at it.
        Ok((claims, now >= refused_at))
    }
}
