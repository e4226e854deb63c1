//! Which keys are used, of a set and of PEM texts; whose they are.

use std::sync::Arc;

use aegis_actors::identity::Keys as _;
use rcgen::{CertificateParams, PublicKeyData as _};
use serde_json::{Value, json};

use super::super::{Fault, Issuers, KeySet, Source, Unfit, pem as pem_keys};
use super::support::{Gateway, NOW, RSA_KEY, SECRET, Signer, b64, issuers, over, terms};
use crate::config::settings::auth::issuers::{Algorithm, Issuer, Terms};

fn set(keys: &[Value]) -> KeySet {
    KeySet::from_jwks(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

#[test]
fn a_key_that_cannot_be_used_takes_no_other_with_it() {
    let gateway = Gateway::new(terms());
    let (rsa, ec, ed) = (
        gateway.signer.jwk(Algorithm::Rs256, "a"),
        gateway.signer.jwk(Algorithm::Es256, "a"),
        gateway.signer.jwk(Algorithm::EdDsa, "a"),
    );
    let short = b64(&[&[0x80], &[1; 127][..]].concat());
    let mut small = [0; 32];
    small[31] = 0x80;
    for (bad, why) in [
        (over(rsa.clone(), json!({"use": "enc"})), "`use`"),
        (over(rsa.clone(), json!({"key_ops": ["sign"]})), "`key_ops`"),
        (over(rsa.clone(), json!({"key_ops": "verify"})), "malformed"),
        (over(rsa.clone(), json!({"alg": "RSA-OAEP"})), "`alg`"),
        (over(rsa.clone(), json!({"alg": "ES256"})), "`alg`"),
        (over(rsa.clone(), json!({"alg": 1})), "malformed"),
        (over(rsa.clone(), json!({"n": short})), "less than 2048"),
        (over(rsa.clone(), json!({"n": b64(&[&[0; 200][..], &[1; 56]].concat())})), "less than 2048"),
        (over(rsa.clone(), json!({"n": b64(&[0xff; 1025])})), "more than 8192"),
        (over(rsa.clone(), json!({"e": b64(&[1])})), "no RSA key"),
        (over(rsa.clone(), json!({"e": b64(&[2])})), "no RSA key"),
        (over(rsa.clone(), json!({"e": b64(&[1; 9])})), "no RSA key"),
        (over(rsa.clone(), json!({"e": ""})), "malformed"),
        (over(rsa.clone(), json!({"n": "+/="})), "malformed"),
        (over(rsa.clone(), json!({"n": null})), "malformed"),
        (over(rsa.clone(), json!({"kid": 1})), "malformed"),
        (over(rsa.clone(), json!({"kty": "rsa"})), "`kty`"),
        (over(rsa.clone(), json!({"kty": "AKP"})), "`kty`"),
        (over(rsa.clone(), json!({"kty": null})), "malformed"),
        (json!({"kty": "oct", "k": b64(SECRET.as_bytes())}), "`oct`"),
        (over(ec.clone(), json!({"crv": "P-521"})), "`crv`"),
        (over(ec.clone(), json!({"crv": "secp256k1"})), "`crv`"),
        (over(ec.clone(), json!({"crv": "P-384"})), "malformed"),
        (over(ec.clone(), json!({"x": b64(&[1; 31])})), "malformed"),
        (over(ed.clone(), json!({"crv": "Ed448"})), "`crv`"),
        (over(ed.clone(), json!({"x": b64(&[1; 33])})), "malformed"),
        (over(ed.clone(), json!({"x": b64(&[0; 32])})), "small order"),
        (over(ed.clone(), json!({"x": b64(&small)})), "small order"),
        (json!("key"), "malformed"),
        (json!(null), "malformed"),
    ] {
        let set = set(&[bad.clone(), gateway.signer.jwk(Algorithm::Es384, "good")]);
        let skipped: Vec<String> = set.skipped().iter().map(ToString::to_string).collect();
        assert!(set.len() == 1 && set.knows("good"), "{bad}");
        assert!(skipped.len() == 1 && skipped[0].contains(why), "{bad}: {skipped:?}");
        let token = gateway.signer.token(Algorithm::Es384, json!({"kid": "good"}), json!({}));
        assert!(gateway.issuers.verify(&gateway.issuers.read(&token).unwrap(), &set, NOW).is_ok());
    }
    // As some write it, and nobody minds.
    let modulus = [
        vec![0],
        base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, rsa["n"].as_str().unwrap())
            .unwrap(),
    ]
    .concat();
    for good in [
        over(rsa.clone(), json!({"n": b64(&modulus)})),
        over(
            rsa.clone(),
            json!({"key_ops": ["verify", "sign"], "x5c": ["MIIB"], "alg": "RS256", "more": {}}),
        ),
        over(rsa, json!({"use": null, "kid": null})),
    ] {
        assert_eq!(set(std::slice::from_ref(&good)).len(), 1, "{good}");
    }
}

#[test]
fn the_algorithm_of_a_key_binds_it() {
    let gateway = Gateway::new(terms());
    let keys = set(&[over(gateway.signer.jwk(Algorithm::Rs256, "k"), json!({"alg": "PS256"}))]);
    for (algorithm, taken) in [(Algorithm::Ps256, true), (Algorithm::Rs256, false), (Algorithm::Ps384, false)]
    {
        for header in [json!({}), json!({"kid": "k"})] {
            let token = gateway.signer.token(algorithm, header, json!({}));
            let judged = gateway.issuers.verify(&gateway.issuers.read(&token).unwrap(), &keys, NOW);
            assert_eq!(judged.is_ok(), taken, "{algorithm:?}: {judged:?}");
        }
    }
}

#[test]
fn what_is_no_key_set_is_none() {
    let large = format!("{{\"keys\":[]{}}}", " ".repeat(1 << 20));
    for document in ["", "<html>", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":null}"#, "null", &large] {
        assert!(KeySet::from_jwks(document.as_bytes()).is_err(), "{document:.40}");
    }
    assert!(set(&[]).is_empty());
    let one = Signer::new().jwk(Algorithm::EdDsa, "k");
    let many = set(&vec![one; 300]);
    assert_eq!((many.len(), many.skipped().len()), (100, 100));
}

#[test]
fn sets_are_equal_where_they_verify_the_same() {
    let signer = Signer::new();
    let [rsa, ec] = [Algorithm::Rs256, Algorithm::Es256].map(|kind| signer.jwk(kind, "k"));
    let one = set(&[rsa.clone(), ec.clone()]);
    assert_eq!(one, set(&[rsa.clone(), ec.clone(), json!({"kty": "oct"})]));
    assert_eq!(one, set(&[over(rsa.clone(), json!({"more": 1})), ec.clone()]));
    for other in [
        set(std::slice::from_ref(&rsa)),
        set(&[rsa.clone(), Signer::new().jwk(Algorithm::Es256, "k")]),
        set(&[over(rsa.clone(), json!({"kid": "l"})), ec.clone()]),
        set(&[over(rsa, json!({"alg": "RS256"})), ec]),
    ] {
        assert_ne!(one, other);
    }
}

#[test]
fn at_most_eight_keys_are_tried() {
    let gateway = Gateway::new(terms());
    let other = |n: usize| Signer::new().jwk(Algorithm::Es256, &n.to_string());
    let ours = gateway.signer.jwk(Algorithm::Es256, "ours");
    for (before, taken) in [(7, true), (8, false)] {
        let keys = set(&(0..before).map(other).chain([ours.clone()]).collect::<Vec<_>>());
        let judged = |header: Value| {
            let token = gateway.signer.token(Algorithm::Es256, header, json!({}));
            gateway.issuers.verify(&gateway.issuers.read(&token).unwrap(), &keys, NOW)
        };
        assert_eq!(judged(json!({})).is_ok(), taken);
        assert!(judged(json!({"kid": "ours"})).is_ok());
        assert!(matches!(judged(json!({"kid": "0"})), Err(Fault::Invalid(_))));
    }
}

/// The public key in PEM.
fn public(pair: &rcgen::KeyPair) -> String {
    pem::encode(&pem::Pem::new("PUBLIC KEY", pair.subject_public_key_info()))
}

#[test]
fn pem_texts_hold_public_keys_and_certificates() {
    let made = |how| rcgen::KeyPair::generate_for(how).unwrap();
    let (p256, p384, ed) = (
        made(&rcgen::PKCS_ECDSA_P256_SHA256),
        made(&rcgen::PKCS_ECDSA_P384_SHA384),
        made(&rcgen::PKCS_ED25519),
    );
    let rsa = rcgen::KeyPair::from_pem(RSA_KEY).unwrap();
    let pkcs1 = pem::encode(&pem::Pem::new("RSA PUBLIC KEY", rsa.der_bytes()));
    let certificate =
        CertificateParams::new(vec!["id.test".to_owned()]).unwrap().self_signed(&p256).unwrap().pem();
    let kinds = |text: &str| {
        let keys = pem_keys::keys(text).unwrap();
        keys.iter()
            .map(|key| key.algorithms.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
    };
    let all_rsa = "RS256 RS384 RS512 PS256 PS384 PS512";
    assert_eq!(kinds(&public(&p256)), ["ES256"]);
    assert_eq!(kinds(&public(&p384)), ["ES384"]);
    assert_eq!(kinds(&public(&ed)), ["EdDSA"]);
    assert_eq!(kinds(&public(&rsa)), [all_rsa]);
    assert_eq!(kinds(&pkcs1), [all_rsa]);
    assert_eq!(kinds(&certificate), ["ES256"]);
    assert_eq!(kinds(&format!("{}{}", public(&ed), certificate)), ["EdDSA", "ES256"]);
    let whole = pem_keys::keys(&certificate).unwrap();
    assert_eq!(whole, pem_keys::keys(&public(&p256)).unwrap());
    for (text, why) in [
        (p256.serialize_pem(), "private"),
        (RSA_KEY.to_owned(), "private"),
        (pem::encode(&pem::Pem::new("PUBLIC KEY", &b"x"[..])), "can be read"),
        (pem::encode(&pem::Pem::new("CERTIFICATE", &b"x"[..])), "can be read"),
        (pem::encode(&pem::Pem::new("X509 CRL", &b"x"[..])), "neither"),
        (P521.to_owned(), "P-256 or P-384"),
        (RSA_1024.to_owned(), "less than 2048"),
        (String::new(), "no PEM"),
        ("-----BEGIN PUBLIC KEY-----".to_owned(), "no PEM"),
    ] {
        let refused = pem_keys::keys(&text).unwrap_err();
        assert!(refused.contains(why), "{text}: {refused}");
    }
}

const P521: &str = "-----BEGIN PUBLIC KEY-----
MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQBbZ4YHLb967OSiTbHZnG7UK31W+pu
TSEpAq3vDqetPvC7ObI5cwBfBEGSCP0GreuSyKG0O/DxCjCrujWvhbM0GooB/LUS
J2wK9W5DFSS/ZZ/mHUjzMW1bsa7Dj89AJwiT9g+jti5O8QBQSNkzz47heTR+piPs
SxduNifA6myHeJ3eCfE=
-----END PUBLIC KEY-----
";
const RSA_1024: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDf61/ru3xyIQhAnskNa9ReIY2E
W/U4yDEbilovd37xbi8gxOhMEbhvviKs5mO26W/G5yN6RVAA6AymrfFu4D2UYyN/
cRntfH/J2sGXOw2srMJZ4b23hsNU24iNTlCEAfJUoki6PfTGlZQ2EhDWEIKm9HfQ
Nx0zB+FhI4+DiCCBoQIDAQAB
-----END PUBLIC KEY-----
";

fn build(terms: Terms) -> Result<(Issuers, Vec<Unfit>), Vec<Unfit>> {
    Issuers::build(&[("auth.issuers[id]".to_owned(), Issuer { name: "id".to_owned(), terms })], None)
}

fn told(unfit: &[Unfit]) -> String {
    unfit
        .iter()
        .map(|unfit| format!("{} {} {}", unfit.is_error, unfit.key, unfit.what))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn keys_that_are_written_are_judged_when_they_are_read() {
    let written = |keys: &[&str], algorithms: &[Algorithm]| {
        let public_keys = keys.iter().map(|key| (*key).to_owned()).collect();
        build(Terms { jwks_uri: None, public_keys, algorithms: algorithms.to_vec(), ..terms() })
    };
    let ec = public(&rcgen::KeyPair::generate().unwrap());
    let (fine, warnings) = written(&[&ec], &[]).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(fine.entries()[0].algorithms, [Algorithm::Es256]);
    assert_eq!((fine.named("id"), fine.named("other"), fine.entries()[0].name()), (Some(0), None, "id"));
    let refused = written(&[&ec, RSA_1024], &[Algorithm::Es256, Algorithm::EdDsa]).unwrap_err();
    assert_eq!(
        told(&refused),
        "true auth.issuers[id].publicKeys[1] is an RSA key of less than 2048 bits\n\
         true auth.issuers[id].algorithms holds EdDSA, and none of the keys can verify it: remove it, or add a key that can"
    );
    let secret = build(Terms { jwks_uri: None, secret: Some(SECRET.into()), ..terms() }).unwrap().0;
    assert_eq!(secret.entries()[0].algorithms, [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512]);
    let short = Terms { jwks_uri: None, secret: Some("x".repeat(40).as_str().into()), ..terms() };
    assert_eq!(build(short).unwrap().0.entries()[0].algorithms, [Algorithm::Hs256]);
    let remote = build(terms()).unwrap().0;
    assert!(
        matches!(remote.entries()[0].keys(), Source::Published(of) if of.remote.issuer.as_deref() == Some("https://id.test"))
    );
    assert_eq!(remote.entries()[0].algorithms.len(), 9);
}

#[test]
fn a_file_of_keys_is_read_once_and_says_what_it_leaves_out() {
    let file = std::env::temp_dir().join(format!("aegis-jwks-{}.json", std::process::id()));
    let of = |keys: &[Value]| {
        std::fs::write(&file, json!({ "keys": keys }).to_string()).unwrap();
        build(Terms { jwks_uri: None, jwks_file: Some(file.clone()), ..terms() })
    };
    let good = Signer::new().jwk(Algorithm::EdDsa, "k");
    let (read, warnings) = of(&[good.clone(), json!({"kty": "oct", "kid": "s"})]).unwrap();
    assert!(matches!(read.entries()[0].keys(), Source::Written(set) if set.len() == 1));
    let warned = told(&warnings);
    assert!(
        warned.starts_with("false auth.issuers[id].jwksFile") && warned.contains("key \"s\" is a secret"),
        "{warned}"
    );
    let refused = told(&of(&[json!({"kty": "oct"})]).unwrap_err());
    assert!(refused.contains("holds no key that can be used: key number 1 is a secret"), "{refused}");
    std::fs::write(&file, "<html>").unwrap();
    let terms = Terms { jwks_uri: None, jwks_file: Some(file.clone()), ..terms() };
    assert!(told(&build(terms.clone()).unwrap_err()).contains("cannot be used: it is no JSON"));
    std::fs::remove_file(&file).unwrap();
    assert!(told(&build(terms).unwrap_err()).contains("cannot be read"));
}

#[test]
fn keys_never_cross_issuers() {
    let (ours, theirs) = (Gateway::new(terms()), Gateway::new(terms()));
    let entry = |name: &str, issuer: Option<&str>| {
        let terms =
            Terms { issuer: issuer.map(str::to_owned), insecure_skip_issuer: issuer.is_none(), ..terms() };
        (format!("auth.issuers[{name}]"), Issuer { name: name.to_owned(), terms })
    };
    let entries =
        [entry("a", Some("https://id.test")), entry("b", Some("https://b.test")), entry("rest", None)];
    let issuers = Issuers::build(&entries, None).unwrap().0;
    for (iss, number) in
        [(json!("https://id.test"), 0), (json!("https://b.test"), 1), (json!("x"), 2), (json!(null), 2)]
    {
        let token = ours.signer.token(Algorithm::Es256, json!({}), json!({ "iss": iss }));
        let read = issuers.read(&token).unwrap();
        assert_eq!((read.entry(), read.kid()), (number, None));
        assert_eq!(issuers.verify(&read, &ours.keys, NOW).map(|claims| claims.issuer), Ok(number));
        assert!(matches!(issuers.verify(&read, &theirs.keys, NOW), Err(Fault::Invalid(_))));
    }
    let listed = Issuers::build(&entries[..2], None).unwrap().0;
    for iss in [json!("x"), json!(null), json!(["https://id.test"])] {
        let token = ours.signer.token(Algorithm::Es256, json!({}), json!({ "iss": iss }));
        assert!(matches!(listed.read(&token), Err(Fault::Invalid(_))));
    }
}

#[test]
fn an_issuer_that_a_reload_does_not_change_keeps_what_it_has_published() {
    let entry = |name: &str, terms: Terms| {
        [(format!("auth.issuers[{name}]"), Issuer { name: name.to_owned(), terms })]
    };
    let of = |issuers: &Issuers| issuers.providers().next().cloned().unwrap();
    let before = Issuers::build(&entry("id", terms()), None).unwrap().0;
    assert_eq!(before.entries()[0].current().0, None);
    let build = |name: &str, terms: Terms| Issuers::build(&entry(name, terms), Some(&before)).unwrap().0;
    let same = build("id", Terms { audience: vec!["other".to_owned()], ..terms() });
    assert!(Arc::ptr_eq(&of(&before), &of(&same)));
    assert_eq!(same.entries()[0].generation(), before.entries()[0].generation());
    for other in [
        build("other", terms()),
        build("id", Terms { jwks_uri: None, ..terms() }),
        build("id", Terms { ca_file: Some("ca.pem".into()), ..terms() }),
    ] {
        assert!(!Arc::ptr_eq(&of(&before), &of(&other)));
        assert_ne!(other.entries()[0].generation(), before.entries()[0].generation());
    }
    let written = build("id", Terms { jwks_uri: None, secret: Some(SECRET.into()), ..terms() });
    assert_eq!(written.providers().count(), 0);
    assert!(written.entries()[0].current().0.is_some_and(|keys| keys.len() == 1));
}

#[test]
fn nothing_shows_a_key() {
    let gateway = Gateway::with_secret(terms());
    let shown = format!("{:?} {:?}", gateway.keys, gateway.issuers);
    assert!(!shown.contains("sixty-four") && !shown.contains("97, 110, 32, 72"), "{shown}");
    assert_eq!(issuers(terms()).entries().len(), 1);
}
