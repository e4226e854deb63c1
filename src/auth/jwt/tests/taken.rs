//! Tokens that must pass: of every algorithm, and such as real issuers make.

use serde_json::{Value, json};

use super::super::{Confirmation, Fault, KeySet};
use super::support::{Gateway, NOW, b64, honest, over, terms};
use crate::config::settings::auth::claim_path::ClaimPath;
use crate::config::settings::auth::issuers::{Algorithm, Preset, Terms};

const ES: Algorithm = Algorithm::Es256;

#[test]
fn every_algorithm_with_and_without_a_kid_in_any_mixture_of_keys() {
    let (public, secret) = (Gateway::new(terms()), Gateway::with_secret(terms()));
    for algorithm in Algorithm::all() {
        let gateway = if algorithm.is_hmac() { &secret } else { &public };
        let claims = gateway.judged(algorithm, json!({}), json!({})).unwrap();
        assert_eq!((&*claims.user, claims.expires_at, claims.refused_at), ("ada", NOW + 60, NOW + 90));
        if !algorithm.is_hmac() {
            let kid = match algorithm {
                Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa => algorithm.as_str(),
                _ => "RS256",
            };
            let claims = gateway.judged(algorithm, json!({"kid": kid}), json!({})).unwrap();
            assert_eq!(claims.kid.as_deref(), Some(kid));
        }
    }
}

#[test]
fn what_a_header_may_say_beside() {
    let gateway = Gateway::new(terms());
    for header in [
        json!({"typ": null}),
        json!({"typ": "jwt"}),
        json!({"typ": "at+jwt"}),
        json!({"typ": "application/at+jwt"}),
        json!({"typ": "APPLICATION/JWT"}),
        json!({"b64": true}),
        // SAP and Entra write them; nobody follows them.
        json!({"jku": "https://attacker.test/keys", "x5u": "https://attacker.test/x"}),
        json!({"x5c": ["MIIB"], "x5t": "abc", "x5t#S256": "abc"}),
        json!({"jwk": {"kty": "oct", "k": "AAAA"}}),
        json!({"nonce": "n", "ver": 1, "more": {"a": [1]}}),
        json!({"kid": "ES256"}),
    ] {
        let taken = gateway.judged(ES, header.clone(), json!({}));
        assert!(taken.is_ok(), "{header}: {taken:?}");
    }
}

#[test]
fn what_claims_may_say() {
    let gateway = Gateway::new(terms());
    for claims in [
        json!({"exp": NOW as f64 + 0.9}),
        json!({"exp": 1e18}),
        json!({"exp": u64::MAX}),
        json!({"exp": NOW - 29}),
        json!({"nbf": NOW + 30}),
        json!({"nbf": 0, "iat": 0}),
        json!({"iat": NOW + 30}),
        json!({"iat": NOW as f64 - 0.5}),
        json!({"iat": null}),
        json!({"aud": ["other", "api"]}),
        json!({"sub": "Ädä 日本"}),
        json!({"sub": "x".repeat(256)}),
        json!({"roles": null, "scope": "", "email": "", "tier": ""}),
        json!({"roles": "admin", "scope": ["a", "b"]}),
        json!({"nested": {"a": {"b": [1, 2.5, null]}}}),
        json!({"crit": ["exp"], "alg": "none"}),
    ] {
        let taken = gateway.judged(ES, json!({}), claims.clone());
        assert!(taken.is_ok(), "{claims}: {taken:?}");
    }
    let floor = gateway.judged(ES, json!({}), json!({"exp": NOW as f64 + 0.9})).unwrap();
    assert_eq!(floor.expires_at, NOW);
    let padded = format!(" {} ", honest());
    assert!(gateway.judge(&gateway.signer.raw(ES, r#" {"alg" : "ES256"} "#, &padded)).is_ok());
}

#[test]
fn the_twin_of_an_ecdsa_signature_is_as_good() {
    let gateway = Gateway::new(terms());
    let token = gateway.signer.token(ES, json!({}), json!({}));
    let (message, signature) = token.rsplit_once('.').unwrap();
    let mut twin =
        base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, signature).unwrap();
    // s becomes n - s.
    const N: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let mut borrow = 0;
    for at in (0..32).rev() {
        let n = i32::from(u8::from_str_radix(&N[at * 2..at * 2 + 2], 16).unwrap());
        let mut difference = n - i32::from(twin[32 + at]) - borrow;
        borrow = i32::from(difference < 0);
        difference += 256 * borrow;
        twin[32 + at] = difference as u8;
    }
    assert!(gateway.judge(&format!("{message}.{}", b64(&twin))).is_ok());
}

#[test]
fn what_is_known_of_the_user_comes_from_the_claims_that_are_named() {
    let claims = json!({
        "email": "ada@id.test", "roles": ["a", "", "b"], "scp": "read  write", "tier": "pro", "jti": "1",
        "realm_access": {"roles": ["k"]}, "org": {"id": "o"}, "may": {"/api/**": ["GET", "PUT"], "/b": "GET"},
    });
    let gateway = Gateway::new(terms());
    let of = gateway.judged(ES, json!({}), claims.clone()).unwrap();
    assert_eq!(
        (of.email.as_deref(), of.tier.as_deref(), of.jti.as_deref()),
        (Some("ada@id.test"), Some("pro"), Some("1"))
    );
    assert_eq!((of.roles.join(" "), of.scopes.join(" ")), ("a b".into(), "read write".into()));
    assert_eq!((of.permissions.len(), of.issued_at, of.confirmation), (0, Some(NOW - 60), None));
    assert_eq!(of.all["org"]["id"], "o");
    for (said, email) in [(json!(false), None), (json!("false"), None), (json!(true), Some("ada@id.test"))] {
        let said = over(claims.clone(), json!({"email_verified": said}));
        assert_eq!(gateway.judged(ES, json!({}), said).unwrap().email.as_deref(), email);
    }
    let path = |text: &str| vec![ClaimPath::parse(text).unwrap()];
    let otherwise = Gateway::new(Terms {
        preset: Some(Preset::Keycloak),
        user_claim: [path("none"), path("org.id")].concat(),
        permissions_claim: path("may"),
        ..terms()
    });
    let of = otherwise.judged(ES, json!({}), claims).unwrap();
    assert_eq!((&*of.user, of.roles.join(" "), of.scopes.len()), ("o", "k".into(), 0));
    let may: Vec<(&str, String)> = of.permissions.iter().map(|(path, of)| (&**path, of.join(" "))).collect();
    assert_eq!(may, [("/api/**", "GET PUT".into()), ("/b", "GET".into())]);
}

#[test]
fn what_must_be_proved_is_told() {
    let gateway = Gateway::new(terms());
    let of = |cnf: Value| gateway.judged(ES, json!({}), json!({"cnf": cnf})).unwrap().confirmation;
    assert_eq!(of(json!({"x5t#S256": b64(&[7; 32])})), Some(Confirmation::Certificate([7; 32])));
    for other in [
        json!({}),
        json!({"jkt": "x"}),
        json!({"x5t#S256": b64(&[7; 31])}),
        json!({"x5t#S256": b64(&[7; 32]), "jkt": "x"}),
        json!({"x5t#S256": 1}),
    ] {
        assert_eq!(of(other.clone()), Some(Confirmation::Other), "{other}");
    }
}

#[test]
fn without_an_issuer_or_an_audience_only_where_that_is_said() {
    let open = Gateway::new(Terms {
        issuer: None,
        audience: Vec::new(),
        insecure_skip_issuer: true,
        insecure_skip_audience: true,
        ..terms()
    });
    for claims in [json!({"iss": null, "aud": null}), json!({"iss": "x", "aud": "y"})] {
        let taken = open.judged(ES, json!({}), claims.clone());
        assert!(taken.is_ok(), "{claims}: {taken:?}");
    }
    for claims in [json!({"iss": 1}), json!({"aud": 1}), json!({"aud": []})] {
        assert!(open.judged(ES, json!({}), claims.clone()).is_err(), "{claims}");
    }
}

#[test]
fn the_time_is_the_callers_and_expired_is_said_of_good_tokens_only() {
    let gateway = Gateway::new(terms());
    let token = gateway.signer.token(ES, json!({}), json!({}));
    assert!(gateway.judge_at(&token, NOW + 89).is_ok());
    assert_eq!(gateway.judge_at(&token, NOW + 90), Err(Fault::Expired));
    // The claims say when it was made, and the clock has gone back.
    assert_eq!(gateway.judge_at(&token, NOW - 91), Err(Fault::Invalid("its `iat` is in the future")));
    let wrong = gateway.signer.token(ES, json!({}), json!({"aud": "other", "exp": NOW - 60}));
    assert!(matches!(gateway.judge(&wrong), Err(Fault::Invalid(_))));
    let forged = format!("{}AAAA", &token[..token.len() - 4]);
    assert!(matches!(gateway.judge_at(&forged, NOW + 90), Err(Fault::Invalid(_))));
}

#[test]
fn keys_without_a_name_are_tried_and_a_name_that_nobody_has_may_be_a_new_key() {
    let gateway = Gateway::new(terms());
    let unknown = gateway.signer.token(ES, json!({"kid": "new"}), json!({}));
    assert_eq!(gateway.judge(&unknown), Err(Fault::UnknownKey { kid: "new".to_owned() }));
    assert_eq!(
        gateway.issuers.verify(&gateway.issuers.read(&unknown).unwrap(), &KeySet::default(), NOW),
        Err(Fault::NoKeys)
    );
    let mut jwk = gateway.signer.jwk(ES, "");
    jwk.as_object_mut().unwrap().remove("kid");
    let nameless = KeySet::from_jwks(json!({"keys": [jwk]}).to_string().as_bytes()).unwrap();
    let token = gateway.issuers.read(&unknown).unwrap();
    assert_eq!(gateway.issuers.verify(&token, &nameless, NOW).unwrap().kid, None);
    let forged = format!("{}AAAA", &unknown[..unknown.len() - 4]);
    let token = gateway.issuers.read(&forged).unwrap();
    assert_eq!(
        gateway.issuers.verify(&token, &nameless, NOW),
        Err(Fault::UnknownKey { kid: "new".to_owned() })
    );
}
