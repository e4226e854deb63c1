//! Whatever is sent: no panic, and nothing verifies but what was signed.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::json;

use super::super::KeySet;
use super::support::{Gateway, b64, terms};
use crate::config::settings::auth::claim_path::ClaimPath;
use crate::config::settings::auth::issuers::Algorithm;

static GATEWAY: LazyLock<Gateway> = LazyLock::new(|| Gateway::new(terms()));

#[test]
fn one_byte_changed_anywhere_and_it_is_refused() {
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256] {
        let token =
            GATEWAY.signer.token(algorithm, json!({"kid": algorithm.as_str()}), json!({"roles": ["a"]}));
        assert!(GATEWAY.judge(&token).is_ok());
        for at in 0..token.len() {
            for other in [b'A', b'B', b'.', b'=', b'-', b'\n'] {
                let mut bytes = token.clone().into_bytes();
                if bytes[at] != other {
                    bytes[at] = other;
                    let changed = String::from_utf8(bytes).unwrap();
                    assert!(GATEWAY.judge(&changed).is_err(), "{changed}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_panics_or_verifies(text in "\\PC{0,200}") {
        prop_assert!(GATEWAY.judge(&text).is_err());
    }

    #[test]
    fn nor_do_three_parts_of_anything(
        header in prop::collection::vec(any::<u8>(), 0..80),
        claims in prop::collection::vec(any::<u8>(), 0..80),
        signature in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let token = [header, claims, signature].map(|part| b64(&part)).join(".");
        prop_assert!(GATEWAY.judge(&token).is_err());
    }

    #[test]
    fn nor_do_signed_claims_of_any_kind(name in "exp|iss|aud|sub|nbf|iat|roles|scope|cnf|jti|email", json in "[\\[\\]{}0-9a-z\",:.e-]{0,24}") {
        let claims = format!("{{\"{name}\":{json}}}");
        let token = GATEWAY.signer.raw(Algorithm::EdDsa, r#"{"alg":"EdDSA"}"#, &claims);
        prop_assert!(GATEWAY.judge(&token).is_err());
    }

    #[test]
    fn no_document_panics(document in prop::collection::vec(any::<u8>(), 0..200), member in "[a-z\"{}\\[\\],:0-9]{0,60}") {
        let _ = KeySet::from_jwks(&document);
        let _ = KeySet::from_jwks(format!("{{\"keys\":[{member}]}}").as_bytes());
    }

    #[test]
    fn a_path_leads_where_its_text_says(text in "[a.\\\\]{0,8}") {
        if let Ok(path) = ClaimPath::parse(&text) {
            prop_assert_eq!(path.as_str(), text);
        }
    }
}
