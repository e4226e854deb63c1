//! Tokens that the test signs itself, good and bad.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

use super::limits::unix_now;

/// Whatever is encoded in a part of a token.
pub fn part(bytes: impl AsRef<[u8]>) -> String {
    BASE64.encode(bytes)
}

/// An HMAC secret, and signing with it.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A token with this header and these claims, signed by HS256 with `secret`.
pub fn hs256(secret: &str, header: &Value, claims: &Value) -> String {
    signed(secret, &header.to_string(), &claims.to_string())
}

/// Likewise of texts, which need be no JSON.
pub fn signed(secret: &str, header: &str, claims: &str) -> String {
    let message = format!("{}.{}", part(header), part(claims));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    format!("{message}.{}", part(ring::hmac::sign(&key, message.as_bytes())))
}

/// Claims that the gateway of [`issuer`] takes, with `more` over them; `null` takes one out.
pub fn claims(more: Value) -> Value {
    let now = unix_now();
    let mut claims =
        json!({"iss": "https://id.test", "aud": "api", "sub": "ann", "iat": now, "exp": now + 600});
    for (name, value) in more.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

/// A good token of [`issuer`], with `more` claims.
pub fn token(more: Value) -> String {
    hs256(SECRET, &json!({"alg": "HS256", "typ": "JWT"}), &claims(more))
}

/// An entry of `auth.issuers` for them.
pub fn issuer(more: &str) -> String {
    format!(
        "{{name: id, issuer: 'https://id.test', audience: api, secret: '{SECRET}', algorithms: [HS256]{more}}}"
    )
}
