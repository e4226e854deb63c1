//! Keys of PEM texts: `PUBLIC KEY`, `RSA PUBLIC KEY`, and those of certificates.

use jsonwebtoken::DecodingKey;
use x509_cert::Certificate;
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier, UintRef};
use x509_cert::der::{Decode as _, Encode as _, Reader as _, SliceReader};
use x509_cert::spki::SubjectPublicKeyInfoRef;

use super::jwk::{ec_point, ed25519, rsa};
use super::key_set::Key;
use crate::config::settings::auth::issuers::Algorithm;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

type Read = Result<(Vec<Algorithm>, DecodingKey), &'static str>;

/// Every key of a text.
///
/// # Errors
/// What is wrong with one of them, or with the text. It never shows what is in there.
pub(super) fn keys(text: &str) -> Result<Vec<Key>, &'static str> {
    let blocks = pem::parse_many(text).map_err(|_| "is no PEM text")?;
    if blocks.is_empty() {
        return Err("is no PEM text");
    }
    let key = |block: &pem::Pem| {
        let (algorithms, key) = match block.tag() {
            "PUBLIC KEY" => of_info(block.contents()),
            "RSA PUBLIC KEY" => of_pkcs1(block.contents()),
            "CERTIFICATE" => of_certificate(block.contents()),
            tag if tag.ends_with("PRIVATE KEY") => Err("holds a private key: write the public one"),
            _ => Err("holds neither a public key nor a certificate"),
        }?;
        Ok(Key { kid: None, algorithms, key })
    };
    blocks.iter().map(key).collect()
}

/// `SubjectPublicKeyInfo` (RFC 5280, 4.1.2.7).
fn of_info(der: &[u8]) -> Read {
    let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| "holds no public key that can be read")?;
    let key = info.subject_public_key.as_bytes().ok_or("holds no public key that can be read")?;
    match info.algorithm.oid {
        RSA => of_pkcs1(key),
        RSA_PSS => {
            let (mut algorithms, key) = of_pkcs1(key)?;
            algorithms.retain(|one| matches!(one, Algorithm::Ps256 | Algorithm::Ps384 | Algorithm::Ps512));
            Ok((algorithms, key))
        }
        ED25519 => ed25519(key),
        EC => match info.algorithm.parameters.as_ref().map(curve) {
            Some(Ok(P256)) => ec_point("P-256", key),
            Some(Ok(P384)) => ec_point("P-384", key),
            _ => Err("is on a curve that nothing here can verify: use P-256 or P-384"),
        },
        _ => Err("is of a kind that nothing here can verify: use RSA, P-256, P-384 or Ed25519"),
    }
}

fn curve(parameters: &AnyRef<'_>) -> Result<ObjectIdentifier, x509_cert::der::Error> {
    parameters.decode_as()
}

/// `RSAPublicKey` (RFC 8017, A.1.1).
fn of_pkcs1(der: &[u8]) -> Read {
    let read = |der| {
        let mut reader = SliceReader::new(der)?;
        let numbers = reader.sequence(|numbers| {
            let (n, e): (UintRef<'_>, UintRef<'_>) = (numbers.decode()?, numbers.decode()?);
            Ok((n.as_bytes().to_vec(), e.as_bytes().to_vec()))
        })?;
        reader.finish(numbers)
    };
    let (n, e) = read(der).map_err(|_: x509_cert::der::Error| "holds no RSA key that can be read")?;
    rsa(&n, &e)
}

/// The key of a certificate; who vouches for it and for how long is not looked at.
fn of_certificate(der: &[u8]) -> Read {
    let certificate = Certificate::from_der(der).map_err(|_| "holds no certificate that can be read")?;
    let info = certificate.tbs_certificate.subject_public_key_info.to_der();
    of_info(&info.map_err(|_| "holds no certificate that can be read")?)
}
