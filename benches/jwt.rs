//! Cost of a token that is in no cache: read strictly, verified and judged, by algorithm; and of one that is refused early.

use std::hint::black_box;

use aegis::auth::jwt::{Issuers, KeySet, Source};
use aegis::config::settings::auth::issuers::{Issuer, Terms};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::{Criterion, criterion_group, criterion_main};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair, RsaPublicKeyComponents,
};

const NOW: u64 = 1_800_000_000;
const SECRET: &str = "a secret of thirty-two bytes or more";
const CLAIMS: &str = r#"{"iss":"https://id.test","aud":["api","account"],"sub":"5f2b8a52-7f38-4c8e-9f43-1d0c2e0d6a77","iat":1799999940,"exp":1800000240,"jti":"d6b1c1c0","scope":"openid profile read write","realm_access":{"roles":["user","editor","offline_access"]},"email":"ada@id.test","email_verified":true,"name":"Ada Lovelace","azp":"web"}"#;

/// A gateway that takes tokens of one issuer, with its keys.
fn gateway(terms: Terms) -> (Issuers, KeySet) {
    let terms = Terms { issuer: Some("https://id.test".into()), audience: vec!["api".into()], ..terms };
    let (issuers, _) =
        Issuers::build(&[("id".into(), Issuer { name: "id".into(), terms })], None).expect("it is fit");
    let keys = match issuers.entries()[0].keys() {
        Source::Written(keys) => (**keys).clone(),
        Source::Published(_) => KeySet::default(),
    };
    (issuers, keys)
}

fn public(jwk: &str) -> (Issuers, KeySet) {
    let keys = KeySet::from_jwks(format!("{{\"keys\":[{jwk}]}}").as_bytes()).expect("it is a key set");
    (gateway(Terms::default()).0, keys)
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn verify(criterion: &mut Criterion) {
    let random = SystemRandom::new();
    let pem = pem::parse(include_str!("../src/auth/jwt/tests/rsa-2048.pem")).expect("it is PEM");
    let rsa = RsaKeyPair::from_pkcs8(pem.contents()).expect("it is a key");
    let RsaPublicKeyComponents { n, e } = RsaPublicKeyComponents::<Vec<u8>>::from(rsa.public());
    let how = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let made = EcdsaKeyPair::generate_pkcs8(how, &random).expect("it can be made");
    let ec = EcdsaKeyPair::from_pkcs8(how, made.as_ref(), &random).expect("it is a key");
    let made = Ed25519KeyPair::generate_pkcs8(&random).expect("it can be made");
    let ed = Ed25519KeyPair::from_pkcs8(made.as_ref()).expect("it is a key");
    let (x, y) = ec.public_key().as_ref()[1..].split_at(32);
    let point = ed.public_key().as_ref();

    let hs256 = |message: &[u8]| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), message).as_ref().to_vec()
    };
    let rs256 = |message: &[u8]| {
        let mut signature = vec![0; rsa.public().modulus_len()];
        rsa.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).expect("it signs");
        signature
    };
    let es256 = |message: &[u8]| ec.sign(&random, message).expect("it signs").as_ref().to_vec();
    let eddsa = |message: &[u8]| ed.sign(message).as_ref().to_vec();
    type Sign<'s> = &'s dyn Fn(&[u8]) -> Vec<u8>;
    let cases: [(&str, (Issuers, KeySet), Sign<'_>); 4] = [
        ("HS256", gateway(Terms { secret: Some(SECRET.into()), ..Terms::default() }), &hs256),
        ("RS256", public(&format!(r#"{{"kty":"RSA","n":"{}","e":"{}"}}"#, b64(n), b64(e))), &rs256),
        (
            "ES256",
            public(&format!(r#"{{"kty":"EC","crv":"P-256","x":"{}","y":"{}"}}"#, b64(x), b64(y))),
            &es256,
        ),
        ("EdDSA", public(&format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#, b64(point))), &eddsa),
    ];
    let mut group = criterion.benchmark_group("a token of 550 bytes");
    for (alg, (issuers, keys), sign) in &cases {
        let header = format!(r#"{{"alg":"{alg}","typ":"JWT","kid":"2026-11"}}"#);
        // A `kid` that no key has: keys without one are tried, as those of PEM texts are.
        let message = format!("{}.{}", b64(header), b64(CLAIMS));
        let token = format!("{message}.{}", b64(sign(message.as_bytes())));
        group.bench_function(format!("{alg}, all"), |bencher| {
            bencher.iter(|| {
                let read = issuers.read(black_box(&token)).expect("it can be read");
                issuers.verify(&read, keys, NOW).expect("it is good")
            });
        });
        if *alg == "ES256" {
            group.bench_function("read and routed only", |bencher| {
                bencher.iter(|| issuers.read(black_box(&token)).expect("it can be read").entry());
            });
            let long = "x".repeat(1 << 20);
            group.bench_function("1 MiB, refused", |bencher| {
                bencher.iter(|| issuers.read(black_box(&long)).is_err());
            });
        }
    }
    group.finish();
}

criterion_group!(benches, verify);
criterion_main!(benches);
