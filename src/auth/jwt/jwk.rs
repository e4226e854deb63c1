//! Keys of a JSON Web Key Set (RFC 7517), read one by one: a key that cannot be used takes no other with it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use super::key_set::{Key, KeySet, MOST_KEYS, Skipped};
use crate::config::settings::auth::issuers::Algorithm;

/// A larger document is not read.
pub(super) const LARGEST: usize = 1024 * 1024;
/// Bits of an RSA modulus: fewer are too weak (RFC 7518, 3.3), more `ring` does not take.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
const RSA: [Algorithm; 6] = [
    Algorithm::Rs256,
    Algorithm::Rs384,
    Algorithm::Rs512,
    Algorithm::Ps256,
    Algorithm::Ps384,
    Algorithm::Ps512,
];

impl KeySet {
    /// Reads a JWKS document.
    ///
    /// # Errors
    /// It is no such document. Keys in it that cannot be used are no error, but [`KeySet::skipped`].
    pub fn from_jwks(document: &[u8]) -> Result<Self, &'static str> {
        if document.len() > LARGEST {
            return Err("is larger than 1 MiB");
        }
        let document: Value = serde_json::from_slice(document).map_err(|_| "is no JSON")?;
        let keys =
            document.get("keys").and_then(Value::as_array).ok_or("is no key set: it has no list `keys`")?;
        let mut set = Self::default();
        for (number, jwk) in keys.iter().enumerate() {
            let kid = jwk.get("kid").and_then(Value::as_str).map(str::to_owned);
            let read = match number {
                0..MOST_KEYS => key(jwk),
                _ => Err("is beyond the first hundred"),
            };
            match read {
                Ok((algorithms, key)) => set.keys.push(Key { kid, algorithms, key }),
                Err(why) => set.skipped.push(Skipped { number, kid, why }),
            }
        }
        // There may be as many as fit into the document.
        set.skipped.truncate(MOST_KEYS);
        Ok(set)
    }
}

type Read = Result<(Vec<Algorithm>, DecodingKey), &'static str>;

fn key(jwk: &Value) -> Read {
    const MALFORMED: &str = "is malformed";
    let jwk = jwk.as_object().ok_or(MALFORMED)?;
    let text = |name: &str| match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(MALFORMED),
    };
    text("kid")?;
    if text("use")?.is_some_and(|r#use| r#use != "sig") {
        return Err("is not for signatures (`use`)");
    }
    match jwk.get("key_ops") {
        None => {}
        Some(Value::Array(ops)) if ops.iter().any(|op| op == "verify") => {}
        Some(Value::Array(_)) => return Err("is not for verifying (`key_ops`)"),
        Some(_) => return Err(MALFORMED),
    }
    let (mut algorithms, key) = match text("kty")?.ok_or(MALFORMED)? {
        "RSA" => rsa(&bytes(jwk, "n")?, &bytes(jwk, "e")?)?,
        "EC" => ec(text("crv")?.ok_or(MALFORMED)?, &bytes(jwk, "x")?, &bytes(jwk, "y")?)?,
        "OKP" if text("crv")? == Some("Ed25519") => ed25519(&bytes(jwk, "x")?)?,
        "OKP" => return Err("is on a curve that nothing here can verify (`crv`)"),
        // What everybody can fetch is no secret.
        "oct" => return Err("is a secret (`oct`), and a published one is none"),
        _ => return Err("is of a kind that is not known here (`kty`)"),
    };
    if let Some(name) = text("alg")? {
        algorithms.retain(|algorithm| algorithm.as_str() == name);
        if algorithms.is_empty() {
            return Err("is for an algorithm that it cannot have or that is not known here (`alg`)");
        }
    }
    Ok((algorithms, key))
}

fn bytes(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, &'static str> {
    let text = jwk.get(name).and_then(Value::as_str).ok_or("is malformed")?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| "is malformed")
}

/// Modulus and exponent, most significant byte first.
pub(super) fn rsa(n: &[u8], e: &[u8]) -> Read {
    // RFC 7518, 6.3.1.1: there should be no zeros in front, and some write one.
    let trimmed = |bytes: &[u8]| bytes.iter().position(|b| *b != 0).map(|at| bytes[at..].to_vec());
    let (Some(n), Some(e)) = (trimmed(n), trimmed(e)) else { return Err("is malformed") };
    let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
    if bits < *RSA_BITS.start() {
        return Err("is an RSA key of less than 2048 bits");
    }
    if bits > *RSA_BITS.end() {
        return Err("is an RSA key of more than 8192 bits");
    }
    let odd = |bytes: &[u8]| bytes.last().is_some_and(|last| last & 1 == 1);
    // 33 bits are what `ring` takes; 1 would let everybody sign.
    let wide = e.len() > 5 || (e.len() == 5 && e[0] > 1);
    if !odd(&n) || !odd(&e) || e == [1] || wide {
        return Err("is no RSA key that can be used");
    }
    Ok((RSA.to_vec(), DecodingKey::from_rsa_raw_components(&n, &e)))
}

/// A point by its coordinates.
fn ec(curve: &str, x: &[u8], y: &[u8]) -> Read {
    let (algorithm, length) = match curve {
        "P-256" => (Algorithm::Es256, 32),
        "P-384" => (Algorithm::Es384, 48),
        _ => return Err("is on a curve that nothing here can verify (`crv`)"),
    };
    if x.len() != length || y.len() != length {
        return Err("is malformed");
    }
    let point = [&[4], x, y].concat();
    Ok((vec![algorithm], DecodingKey::from_ec_der(&point)))
}

pub(super) fn ed25519(point: &[u8]) -> Read {
    let point: &[u8; 32] = point.try_into().map_err(|_| "is malformed")?;
    if is_small_order(point) {
        return Err("is a key under which anybody can sign (a point of small order)");
    }
    Ok((vec![Algorithm::EdDsa], DecodingKey::from_ed_der(point)))
}

/// The points of small order of Curve25519, by their y, in every encoding that is read as one of them (RFC 8032, 5.1.7 and 8.9;
/// the list is libsodium's). A signature of zeros verifies much under such a key.
fn is_small_order(point: &[u8; 32]) -> bool {
    const EIGHTH: [u8; 32] = [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ];
    const OTHER_EIGHTH: [u8; 32] = [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
        0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ];
    /// `first`, then `middle` up to the last byte, which is `last`.
    const fn filled(first: u8, middle: u8, last: u8) -> [u8; 32] {
        let mut bytes = [middle; 32];
        bytes[0] = first;
        bytes[31] = last;
        bytes
    }
    // 0, 1, and p - 1, p, p + 1.
    const PLAIN: [[u8; 32]; 5] = [
        filled(0, 0, 0),
        filled(1, 0, 0),
        filled(0xec, 0xff, 0x7f),
        filled(0xed, 0xff, 0x7f),
        filled(0xee, 0xff, 0x7f),
    ];
    let mut unsigned = *point;
    unsigned[31] &= 0x7f;
    PLAIN.contains(&unsigned) || unsigned == EIGHTH || unsigned == OTHER_EIGHTH
}

/// An uncompressed point, as certificates and PEM texts have it.
pub(super) fn ec_point(curve: &str, point: &[u8]) -> Read {
    match point.split_first() {
        Some((4, coordinates)) => {
            let (x, y) = coordinates.split_at(coordinates.len() / 2);
            ec(curve, x, y)
        }
        _ => Err("is a compressed point, which nothing here can verify"),
    }
}
