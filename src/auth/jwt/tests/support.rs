//! Keys, and whoever signs with them: an issuer as attackers and honest ones have it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaKeyPair, RsaPublicKeyComponents,
};
use serde_json::{Map, Value, json};

use super::super::{Claims, Fault, Issuers, KeySet, Source};
use crate::config::settings::auth::issuers::{Algorithm, Issuer, Terms};

/// The time of these tests.
pub const NOW: u64 = 1_800_000_000;
pub const SECRET: &str = "an HMAC secret of these tests, which has sixty-four bytes and more";
/// `ring` makes no RSA keys. This one protects nothing.
pub const RSA_KEY: &str = include_str!("rsa-2048.pem");

/// One private key of each kind.
pub struct Signer {
    pub rsa: RsaKeyPair,
    pub p256: EcdsaKeyPair,
    pub p384: EcdsaKeyPair,
    pub ed25519: Ed25519KeyPair,
    random: SystemRandom,
}

impl Signer {
    pub fn new() -> Self {
        let random = SystemRandom::new();
        let ec = |how| {
            let made = EcdsaKeyPair::generate_pkcs8(how, &random).unwrap();
            EcdsaKeyPair::from_pkcs8(how, made.as_ref(), &random).unwrap()
        };
        let ed25519 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        Self {
            rsa: RsaKeyPair::from_pkcs8(pem::parse(RSA_KEY).unwrap().contents()).unwrap(),
            p256: ec(&ECDSA_P256_SHA256_FIXED_SIGNING),
            p384: ec(&ECDSA_P384_SHA384_FIXED_SIGNING),
            ed25519: Ed25519KeyPair::from_pkcs8(ed25519.as_ref()).unwrap(),
            random,
        }
    }

    pub fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        let hmac = |hash| hmac::sign(&hmac::Key::new(hash, SECRET.as_bytes()), message).as_ref().to_vec();
        let rsa = |how| {
            let mut signature = vec![0; self.rsa.public().modulus_len()];
            self.rsa.sign(how, &self.random, message, &mut signature).unwrap();
            signature
        };
        match algorithm {
            Algorithm::Hs256 => hmac(hmac::HMAC_SHA256),
            Algorithm::Hs384 => hmac(hmac::HMAC_SHA384),
            Algorithm::Hs512 => hmac(hmac::HMAC_SHA512),
            Algorithm::Rs256 => rsa(&RSA_PKCS1_SHA256),
            Algorithm::Rs384 => rsa(&RSA_PKCS1_SHA384),
            Algorithm::Rs512 => rsa(&RSA_PKCS1_SHA512),
            Algorithm::Ps256 => rsa(&RSA_PSS_SHA256),
            Algorithm::Ps384 => rsa(&RSA_PSS_SHA384),
            Algorithm::Ps512 => rsa(&RSA_PSS_SHA512),
            Algorithm::Es256 => self.p256.sign(&self.random, message).unwrap().as_ref().to_vec(),
            Algorithm::Es384 => self.p384.sign(&self.random, message).unwrap().as_ref().to_vec(),
            Algorithm::EdDsa => self.ed25519.sign(message).as_ref().to_vec(),
        }
    }

    /// The public key as a JWK.
    pub fn jwk(&self, algorithm: Algorithm, kid: &str) -> Value {
        let point = |crv: &str, point: &[u8]| {
            let (x, y) = point[1..].split_at(point.len() / 2);
            json!({"kty": "EC", "crv": crv, "x": b64(x), "y": b64(y), "kid": kid})
        };
        match algorithm {
            Algorithm::Es256 => point("P-256", self.p256.public_key().as_ref()),
            Algorithm::Es384 => point("P-384", self.p384.public_key().as_ref()),
            Algorithm::EdDsa => {
                let x = b64(self.ed25519.public_key().as_ref());
                json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid})
            }
            _ => {
                let RsaPublicKeyComponents { n, e } =
                    RsaPublicKeyComponents::<Vec<u8>>::from(self.rsa.public());
                json!({"kty": "RSA", "n": b64(&n), "e": b64(&e), "kid": kid, "use": "sig"})
            }
        }
    }

    /// A token of `algorithm` with these parts, each as it is.
    pub fn raw(&self, algorithm: Algorithm, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", b64(header.as_bytes()), b64(claims.as_bytes()));
        format!("{message}.{}", b64(&self.sign(algorithm, message.as_bytes())))
    }

    /// An honest token, with `header` and `claims` over it; `null` takes a member out.
    pub fn token(&self, algorithm: Algorithm, header: Value, claims: Value) -> String {
        let header = over(json!({"alg": algorithm.as_str(), "typ": "JWT"}), header);
        self.raw(algorithm, &header.to_string(), &over(honest(), claims).to_string())
    }
}

pub fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The claims of an honest token.
pub fn honest() -> Value {
    json!({"iss": "https://id.test", "aud": "api", "sub": "ada", "iat": NOW - 60, "exp": NOW + 60})
}

pub fn over(whole: Value, part: Value) -> Value {
    let mut whole = whole.as_object().cloned().unwrap_or_default();
    for (name, value) in part.as_object().cloned().unwrap_or_default() {
        match value {
            Value::Null => drop(whole.remove(&name)),
            value => drop(whole.insert(name, value)),
        }
    }
    Value::Object(Map::from_iter(whole))
}

/// `keys` of an entry that takes tokens of [`honest`]. Several families in one set, as a provider may have it.
pub fn terms() -> Terms {
    Terms {
        issuer: Some("https://id.test".to_owned()),
        audience: vec!["api".to_owned()],
        jwks_uri: Some("https://id.test/keys".to_owned()),
        ..Terms::default()
    }
}

pub fn issuers(terms: Terms) -> Issuers {
    let entry = ("auth.issuers[id]".to_owned(), Issuer { name: "id".to_owned(), terms });
    Issuers::build(&[entry], None).unwrap().0
}

/// A gateway with one entry and its keys.
pub struct Gateway {
    pub issuers: Issuers,
    pub keys: KeySet,
    pub signer: Signer,
}

impl Gateway {
    /// Its issuer publishes one key of each kind.
    pub fn new(terms: Terms) -> Self {
        let signer = Signer::new();
        let kinds = [Algorithm::Rs256, Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa];
        let keys: Vec<Value> = kinds.map(|kind| signer.jwk(kind, kind.as_str())).to_vec();
        let keys = KeySet::from_jwks(json!({"keys": keys}).to_string().as_bytes()).unwrap();
        assert_eq!((keys.len(), keys.skipped()), (4, [].as_slice()));
        Self { issuers: issuers(terms), keys, signer }
    }

    /// Its issuer shares [`SECRET`] with it.
    pub fn with_secret(terms: Terms) -> Self {
        let issuers = issuers(Terms { secret: Some(SECRET.into()), jwks_uri: None, ..terms });
        let Source::Written(keys) = issuers.entries()[0].keys().clone() else {
            panic!("a secret is written")
        };
        Self { issuers, keys: (*keys).clone(), signer: Signer::new() }
    }

    pub fn judge(&self, token: &str) -> Result<Claims, Fault> {
        self.judge_at(token, NOW)
    }

    pub fn judge_at(&self, token: &str, now: u64) -> Result<Claims, Fault> {
        self.issuers.verify(&self.issuers.read(token)?, &self.keys, now)
    }

    /// Judges an honest token of this algorithm, changed so.
    pub fn judged(&self, algorithm: Algorithm, header: Value, claims: Value) -> Result<Claims, Fault> {
        self.judge(&self.signer.token(algorithm, header, claims))
    }
}
