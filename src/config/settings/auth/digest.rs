//! What is known of a key: a digest of it.

use std::fmt;

use aegis_schema::Form;
use aegis_schema::form::parsed;
use aegis_schema::secrets::REDACTED;

/// The digest by which a key is known.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Digest {
    /// `sha256:HEX`.
    Sha256([u8; 32]),
    /// `sha512:HEX`.
    Sha512([u8; 64]),
    /// `hmac-sha256:PEPPER:HEX`.
    HmacSha256 {
        /// Its name in `auth.apiKey.peppers`.
        pepper: String,
        /// The code.
        code: [u8; 32],
    },
}

impl Digest {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong, and how to mend it; without the text, which may be a key.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "write `sha256:HEX`, `sha512:HEX` or `hmac-sha256:PEPPER:HEX`; `aegis key hash` makes one of a key";
        let (algorithm, rest) = text.split_once(':').ok_or(if text.starts_with("ak_") {
            "this is the key itself, and the configuration has only its digest: `aegis key hash` makes it; as the key has been \
             written down here, make a new one"
        } else {
            FORM
        })?;
        match algorithm {
            "sha256" => hex(rest).map(Self::Sha256),
            "sha512" => hex(rest).map(Self::Sha512),
            "hmac-sha256" => {
                let (pepper, code) = rest.split_once(':').ok_or(FORM)?;
                if pepper.is_empty() {
                    return Err(
                        "it names no pepper: write `hmac-sha256:PEPPER:HEX`, with a name of `peppers`",
                    );
                }
                Ok(Self::HmacSha256 { pepper: pepper.to_owned(), code: hex(code)? })
            }
            "bcrypt" | "argon2" | "argon2id" | "scrypt" => Err(
                "hashes for passwords take a tenth of a second on every request, and a key is too long to be guessed: \
                 use `sha256:HEX`",
            ),
            _ => Err(FORM),
        }
    }
}

/// As it is written in the configuration.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, bytes): (_, &[u8]) = match self {
            Self::Sha256(bytes) => ("sha256", bytes),
            Self::Sha512(bytes) => ("sha512", bytes),
            Self::HmacSha256 { pepper, code } => {
                write!(f, "hmac-sha256:{pepper}:")?;
                return bytes_in_hex(code, f);
            }
        };
        write!(f, "{name}:")?;
        bytes_in_hex(bytes, f)
    }
}

/// Without its value, from which a weak key of somebody else's making could be guessed.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256(_) => "Sha256",
            Self::Sha512(_) => "Sha512",
            Self::HmacSha256 { .. } => "HmacSha256",
        })
    }
}

fn bytes_in_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn hex<const N: usize>(text: &str) -> Result<[u8; N], &'static str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("write the hex digits of a digest in lower case");
    }
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let mut bytes = [0; N];
    if pairs.len() != N || !rest.is_empty() {
        return Err(
            "it has not as many hex digits as its algorithm makes: 64 for sha256 and hmac-sha256, 128 for sha512",
        );
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let (Some(high), Some(low)) = (digit(*high), digit(*low)) else {
            return Err("what stands behind the last colon is no hex number");
        };
        *byte = high << 4 | low;
    }
    Ok(bytes)
}

/// A digest in the configuration.
pub(super) fn digest() -> Form<Digest> {
    let form = parsed(
        "digest",
        |text| Digest::parse(text).map_err(|why| format!("is no digest: {why}")),
        Digest::to_string,
    );
    form.redacted(|_| REDACTED.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_digest_is_refused_with_how_to_mend_it() {
        let hex = "0".repeat(64);
        let key = format!("ak_0123456789ab_{}", "z".repeat(49));
        for (text, part) in [
            (String::new(), "write `sha256:HEX`"),
            (hex.clone(), "write `sha256:HEX`"),
            (format!("md5:{hex}"), "write `sha256:HEX`"),
            (format!("SHA256:{hex}"), "write `sha256:HEX`"),
            ("sha256:".to_owned(), "as many hex digits"),
            (format!("sha256:{}", &hex[1..]), "as many hex digits"),
            (format!("sha512:{hex}"), "as many hex digits"),
            (format!("sha256:{}", hex.replace('0', "g")), "no hex number"),
            (format!("sha256:{}é", &hex[2..]), "no hex number"),
            (format!("sha256:{}", hex.replace('0', "A")), "in lower case"),
            (format!("sha256: {hex}"), "as many hex digits"),
            (format!("hmac-sha256:{hex}"), "write `sha256:HEX`"),
            (format!("hmac-sha256::{hex}"), "names no pepper"),
            ("bcrypt:$2b$12$x".to_owned(), "for passwords"),
            (key, "the key itself"),
        ] {
            let why = Digest::parse(&text).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
            assert!(text.len() < 20 || !why.contains(&text), "{why}");
        }
    }
}
