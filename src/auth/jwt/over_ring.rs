//! The cryptography that `jsonwebtoken` verifies with: `ring`, which is there for TLS anyway (ADR 0023).

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result, new_error};
use jsonwebtoken::signature::{Error, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::signature::{
    self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use ring::{error, hmac};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: signer,
    verifier_factory: verifier,
    // For making JWKs and thumbprints, which nobody here does.
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes the library use `ring`, in this whole process.
pub(super) fn install() {
    // An error says that it was installed before, which is what the second call finds.
    let _ = PROVIDER.install_default();
}

/// The gateway makes no tokens.
fn signer(_: &Algorithm, _: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    Err(new_error(ErrorKind::UnsupportedAlgorithm))
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    // Else a public key could be taken for a secret (CVE-2015-9235 and its many successors).
    if key.family() != algorithm.family() {
        return Err(new_error(ErrorKind::InvalidAlgorithm));
    }
    let how = match algorithm {
        Algorithm::HS256 => How::Hmac(hmac::HMAC_SHA256),
        Algorithm::HS384 => How::Hmac(hmac::HMAC_SHA384),
        Algorithm::HS512 => How::Hmac(hmac::HMAC_SHA512),
        Algorithm::RS256 => How::Rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => How::Rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => How::Rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => How::Rsa(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => How::Rsa(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => How::Rsa(&signature::RSA_PSS_2048_8192_SHA512),
        // r and s one after the other, of fixed length (RFC 7518, 3.4), not the DER of certificates.
        Algorithm::ES256 => How::Point(&signature::ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => How::Point(&signature::ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => How::Point(&signature::ED25519),
        _ => return Err(new_error(ErrorKind::UnsupportedAlgorithm)),
    };
    Ok(Box::new(OverRing { algorithm: *algorithm, how, key: key.clone() }))
}

struct OverRing {
    algorithm: Algorithm,
    how: How,
    key: DecodingKey,
}

enum How {
    Hmac(hmac::Algorithm),
    Rsa(&'static RsaParameters),
    Point(&'static dyn VerificationAlgorithm),
}

impl Verifier<Vec<u8>> for OverRing {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let verified = match (&self.how, self.key.kind()) {
            // Compared in constant time, and only at its full length.
            (How::Hmac(hash), DecodingKeyKind::SecretOrDer(secret)) => {
                hmac::verify(&hmac::Key::new(*hash, secret), message, signature)
            }
            (How::Rsa(how), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                RsaPublicKeyComponents { n, e }.verify(how, message, signature)
            }
            (How::Point(how), DecodingKeyKind::SecretOrDer(point)) => {
                UnparsedPublicKey::new(*how, point).verify(message, signature)
            }
            _ => Err(error::Unspecified),
        };
        verified.map_err(|_| Error::new())
    }
}

impl JwtVerifier for OverRing {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
