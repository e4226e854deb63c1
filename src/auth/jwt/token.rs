//! A token as it was sent: the strict pass over its text, before anybody's key is looked at.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::{Fault, json};
use crate::config::settings::auth::issuers::Algorithm;

/// Longer ones are refused before anything is decoded.
const LONGEST: usize = 16 * 1024;
/// Bytes of a `kid`.
const LONGEST_KID: usize = 256;

/// A token in three parts that can be read in one way only. Who has made it is not known yet.
#[derive(Debug)]
pub struct Token<'t> {
    pub(super) text: &'t str,
    pub(super) algorithm: Algorithm,
    /// In lower case, without `application/`.
    pub(super) typ: Option<String>,
    pub(super) kid: Option<String>,
    pub(super) claims: Map<String, Value>,
    pub(super) entry: usize,
}

impl<'t> Token<'t> {
    /// Reads a text; the entry is not known yet.
    pub(super) fn parse(text: &'t str) -> Result<Self, Fault> {
        if text.len() > LONGEST {
            return Err(Fault::Invalid("it is longer than 16 KiB"));
        }
        let mut parts = text.split('.');
        // Five parts are an encrypted token, two an unsigned one.
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Fault::Invalid("it has not three parts"));
        };
        // Without padding, and with the one spelling that there is of the last bits (RFC 7515, 2).
        let decode =
            |part| URL_SAFE_NO_PAD.decode(part).map_err(|_| Fault::Invalid("a part is no base64url"));
        let (header, claims, signature) = (decode(header)?, decode(claims)?, decode(signature)?);
        if signature.is_empty() {
            return Err(Fault::Invalid("it has no signature"));
        }
        let header = json::object(&header).map_err(Fault::Invalid)?;
        let claims = json::object(&claims).map_err(Fault::Invalid)?;
        let text_of = |name: &str| match header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(Fault::Invalid("a member of its header is no text")),
        };
        for (name, why) in [
            // RFC 7515, 4.1.11: whoever does not understand one of them must refuse; none is understood here.
            ("crit", "it has `crit`"),
            ("enc", "it is encrypted"),
            ("zip", "it is compressed"),
            // Nested (RFC 7519, 5.2) or no claims at all.
            ("cty", "its content has a type of its own"),
        ] {
            if header.contains_key(name) {
                return Err(Fault::Invalid(why));
            }
        }
        // RFC 7797: what is signed would be another text.
        if header.get("b64").is_some_and(|b64| *b64 != Value::Bool(true)) {
            return Err(Fault::Invalid("it has `b64`"));
        }
        let name = text_of("alg")?.ok_or(Fault::Invalid("it has no `alg`"))?;
        let algorithm = Algorithm::named(name).ok_or(Fault::Invalid("its `alg` is none of ours"))?;
        let kid = text_of("kid")?;
        if kid.is_some_and(|kid| kid.len() > LONGEST_KID) {
            return Err(Fault::Invalid("its `kid` is longer than 256 bytes"));
        }
        let typ = text_of("typ")?.map(bare_type);
        Ok(Self { text, algorithm, typ, kid: kid.map(str::to_owned), claims, entry: usize::MAX })
    }

    /// The entry that it belongs to, by `iss`, which anybody can write.
    pub fn entry(&self) -> usize {
        self.entry
    }

    /// Its `kid`, which anybody can write.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Its `iss`, where that is a text.
    pub(super) fn issuer(&self) -> Result<Option<&str>, Fault> {
        match self.claims.get("iss") {
            None => Ok(None),
            Some(Value::String(issuer)) => Ok(Some(issuer)),
            Some(_) => Err(Fault::Invalid("its `iss` is no text")),
        }
    }
}

/// In lower case, and without the prefix that may be left out (RFC 7515, 4.1.9).
fn bare_type(typ: &str) -> String {
    let lower = typ.to_ascii_lowercase();
    match lower.strip_prefix("application/") {
        Some(bare) => bare.to_owned(),
        None => lower,
    }
}
