//! Tokens that must not pass, as attackers make them.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use ring::hmac;
use ring::signature::KeyPair as _;
use serde_json::{Value, json};

use super::super::Fault;
use super::support::{Gateway, NOW, RSA_KEY, b64, honest, terms};
use crate::config::settings::auth::claim_path::ClaimPath;
use crate::config::settings::auth::issuers::{Algorithm, Terms};

const ES: Algorithm = Algorithm::Es256;

/// Refused, as every wrong token is, and not as one that a newer key or a later time could change.
#[track_caller]
fn invalid(gateway: &Gateway, token: &str) {
    let judged = gateway.judge(token);
    assert!(matches!(judged, Err(Fault::Invalid(_))), "{token:.300}: {judged:?}");
}

#[test]
fn an_algorithm_is_what_the_list_and_the_key_say() {
    let gateway = Gateway::new(Terms { algorithms: vec![Algorithm::Rs256, ES], ..terms() });
    let claims = honest().to_string();
    for alg in
        ["none", "nOnE", "NONE", "hs256", "HS256", "HS256 ", "es256", "ES256 ", "", "ES384", "PS256", "EdDSA"]
    {
        invalid(&gateway, &gateway.signer.raw(ES, &json!({"alg": alg}).to_string(), &claims));
        let unsigned =
            format!("{}.{}.", b64(json!({"alg": alg}).to_string().as_bytes()), b64(claims.as_bytes()));
        invalid(&gateway, &unsigned);
    }
    for alg in [json!(null), json!(["ES256"]), json!(256), json!({})] {
        invalid(&gateway, &gateway.signer.raw(ES, &json!({"alg": alg}).to_string(), &claims));
    }
    invalid(&gateway, &gateway.signer.raw(ES, "{}", &claims));
    // A good signature of an algorithm that the key could have, were it in the list.
    invalid(&gateway, &gateway.signer.token(Algorithm::Ps256, json!({}), json!({})));
    invalid(&gateway, &gateway.signer.token(Algorithm::Es384, json!({"kid": "ES384"}), json!({})));
    // The `kid` of one key, the algorithm of another.
    invalid(&gateway, &gateway.signer.token(ES, json!({"kid": "RS256"}), json!({})));
    invalid(&gateway, &gateway.signer.token(Algorithm::Rs256, json!({"kid": "ES256"}), json!({})));
}

#[test]
fn a_public_key_is_no_secret() {
    let pair = rcgen::KeyPair::from_pem(RSA_KEY).unwrap();
    let public = rcgen::PublicKeyData::subject_public_key_info(&pair);
    let text = pem::encode(&pem::Pem::new("PUBLIC KEY", public.clone()));
    let gateway = Gateway::new(terms());
    let jwk = gateway.signer.jwk(Algorithm::Rs256, "RS256");
    let point = gateway.signer.p256.public_key().as_ref().to_vec();
    let written =
        super::support::issuers(Terms { public_keys: vec![text.clone()], jwks_uri: None, ..terms() });
    let super::super::Source::Written(set) = written.entries()[0].keys().clone() else {
        panic!("it is written")
    };
    for secret in [
        text.clone().into_bytes(),
        text.trim().as_bytes().to_vec(),
        public.clone(),
        jwk["n"].as_str().unwrap().as_bytes().to_vec(),
        point.clone(),
        point[1..].to_vec(),
    ] {
        for kid in ["RS256", "ES256"] {
            let header = b64(json!({"alg": "HS256", "kid": kid}).to_string().as_bytes());
            let message = format!("{header}.{}", b64(honest().to_string().as_bytes()));
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes());
            let token = format!("{message}.{}", b64(tag.as_ref()));
            invalid(&gateway, &token);
            let read = written.read(&token).unwrap();
            assert!(matches!(written.verify(&read, &set, NOW), Err(Fault::Invalid(_))));
        }
    }
    // The same key does verify what it has signed.
    let token = gateway.signer.token(Algorithm::Rs256, json!({"kid": "whatever"}), json!({}));
    assert!(written.verify(&written.read(&token).unwrap(), &set, NOW).is_ok());
}

#[test]
fn what_a_header_must_not_say() {
    let gateway = Gateway::new(terms());
    for header in [
        json!({"crit": ["x"]}),
        json!({"crit": []}),
        json!({"crit": ["exp", "exp"]}),
        json!({"crit": ["alg"]}),
        json!({"crit": ["b64"], "b64": true}),
        json!({"b64": false}),
        json!({"b64": "false"}),
        json!({"zip": "DEF"}),
        json!({"enc": "A256GCM"}),
        json!({"cty": "JWT"}),
        json!({"typ": "secevent+jwt"}),
        json!({"typ": "logout+jwt"}),
        json!({"typ": "dpop+jwt"}),
        json!({"typ": "entity-statement+jwt"}),
        json!({"typ": "application/application/jwt"}),
        json!({"typ": ""}),
        json!({"typ": 1}),
        json!({"kid": 1}),
        json!({"kid": ["ES256"]}),
        json!({"kid": "x".repeat(257)}),
    ] {
        let judged = gateway.judged(ES, header.clone(), json!({}));
        assert!(matches!(judged, Err(Fault::Invalid(_))), "{header}: {judged:?}");
    }
    for kid in ["../../../dev/null", "' OR 1=1 --", "https://attacker.test/k", "\0", "", &"x".repeat(256)] {
        let judged = gateway.judged(ES, json!({"kid": kid}), json!({}));
        assert_eq!(judged, Err(Fault::UnknownKey { kid: kid.to_owned() }));
    }
    let raw = |header: &str| gateway.signer.raw(ES, header, &honest().to_string());
    for header in [
        r#"{"alg":"ES256","alg":"ES256"}"#,
        r#"{"alg":"none","alg":"ES256"}"#,
        r#"{"alg":"ES256","kid":"ES256","kid":"x"}"#,
        r#"{"alg":"ES256","more":1,"more":1}"#,
        r#"{"alg":"ES256","typ":null}"#,
        r#"{"alg":"ES256","kid":null}"#,
        r#"{"alg":"ES256"} "#.repeat(2).as_str(),
        r#"["ES256"]"#,
    ] {
        invalid(&gateway, &raw(header));
    }
}

#[test]
fn where_types_are_listed_only_these_pass() {
    let gateway = Gateway::new(Terms { typ: vec!["at+jwt".to_owned()], ..terms() });
    for typ in [json!(null), json!("JWT")] {
        assert!(matches!(gateway.judged(ES, json!({"typ": typ}), json!({})), Err(Fault::Invalid(_))));
    }
    assert!(gateway.judged(ES, json!({"typ": "application/AT+JWT"}), json!({})).is_ok());
}

#[test]
fn other_shapes_and_other_spellings() {
    let gateway = Gateway::new(terms());
    let token = gateway.signer.token(ES, json!({}), json!({}));
    assert!(gateway.judge(&token).is_ok());
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!("three parts") };
    let bytes = URL_SAFE.decode(format!("{signature}==")).unwrap();
    // The last character of 64 bytes has two bits that mean nothing.
    let last = match signature.as_bytes()[85] {
        b'A' => "B",
        b'Q' => "R",
        b'g' => "h",
        _ => "x",
    };
    for other in [
        format!("{header}.{claims}"),
        format!("{header}.{claims}."),
        format!("{header}..{signature}"),
        format!(".{claims}.{signature}"),
        format!("{token}."),
        format!("{token}.{signature}"),
        format!("{header}.{claims}.{signature}.{claims}.{signature}"),
        json!({"payload": claims, "protected": header, "signature": signature}).to_string(),
        format!("{token}="),
        format!("{token}=="),
        format!("{header}.{claims}.{}", STANDARD.encode(&bytes)),
        format!("{header}.{claims}.{}{last}", &signature[..85]),
        format!("{header}.{claims}.{}", &signature[..84]),
        format!(" {token}"),
        format!("{token}\n"),
        format!("{header}.{}\n{}.{signature}", &claims[..8], &claims[8..]),
        format!("{header}. {claims}.{signature}"),
        format!("{header}.{claims}.{}", b64(&bytes[..63])),
        format!("{header}.{claims}.{}", b64(&[&bytes[..], &[0]].concat())),
        format!("{header}.{claims}.{}", b64(&[0; 64])),
        format!("{header}.{claims}.{}", b64(&der(&bytes))),
        "é.é.é".to_owned(),
        String::new(),
        "..".to_owned(),
    ] {
        invalid(&gateway, &other);
    }
    let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551".as_bytes();
    let n: Vec<u8> = order
        .chunks(2)
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
        .collect();
    invalid(&gateway, &format!("{header}.{claims}.{}", b64(&[n.clone(), n].concat())));
    // Nested: a token in place of the claims.
    invalid(&gateway, &gateway.signer.raw(ES, r#"{"alg":"ES256"}"#, &token));
    invalid(&gateway, &gateway.signer.raw(ES, r#"{"alg":"ES256","cty":"JWT"}"#, &token));
}

#[test]
fn an_ed25519_signature_has_one_s() {
    let gateway = Gateway::new(terms());
    let token = gateway.signer.token(Algorithm::EdDsa, json!({}), json!({}));
    let (message, signature) = token.rsplit_once('.').unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    // s becomes s + L, least significant byte first (RFC 8032, 5.1.7).
    const L: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0;
    for (byte, l) in bytes[32..].iter_mut().zip(L) {
        carry += u16::from(*byte) + u16::from(l);
        *byte = carry as u8;
        carry >>= 8;
    }
    invalid(&gateway, &format!("{message}.{}", b64(&bytes)));
}

/// The same signature as certificates have it.
fn der(signature: &[u8]) -> Vec<u8> {
    let number = |bytes: &[u8]| [&[2, 33, 0], bytes].concat();
    let both = [number(&signature[..32]), number(&signature[32..])].concat();
    [vec![0x30, both.len() as u8], both].concat()
}

#[test]
fn what_is_too_long_is_not_even_decoded() {
    let gateway = Gateway::new(terms());
    let of = |more: usize| gateway.signer.token(ES, json!({}), json!({"more": "x".repeat(more)}));
    let longest = (11_900..).map(of).take_while(|token| token.len() <= 16 * 1024).last().unwrap();
    assert!(longest.len() > 16 * 1024 - 3 && gateway.judge(&longest).is_ok());
    for more in [12_288, 1 << 20] {
        assert_eq!(gateway.judge(&of(more)), Err(Fault::Invalid("it is longer than 16 KiB")));
    }
}

#[test]
fn times_are_numbers_and_there() {
    let gateway = Gateway::new(terms());
    let wrong = [
        json!("1800000060"),
        json!(-1),
        json!(-0.5),
        json!([NOW + 60]),
        json!({}),
        json!(true),
        json!(1e99),
        json!(18_446_744_073_709_551_616.0),
    ];
    for value in &wrong {
        for name in ["exp", "nbf", "iat"] {
            let judged = gateway.judged(ES, json!({}), json!({ name: value }));
            assert!(matches!(judged, Err(Fault::Invalid(_))), "{name} {value}: {judged:?}");
        }
    }
    for claims in [json!({"exp": null}), json!({"nbf": NOW + 31}), json!({"iat": NOW + 31})] {
        assert!(matches!(gateway.judged(ES, json!({}), claims.clone()), Err(Fault::Invalid(_))), "{claims}");
    }
    let raw = |claims: &str| gateway.signer.raw(ES, r#"{"alg":"ES256"}"#, claims);
    let with = |member: &str| format!(r#"{{"iss":"https://id.test","aud":"api","sub":"ada",{member}}}"#);
    assert!(gateway.judge(&raw(&with(r#""exp":1800000060"#))).is_ok());
    for member in [
        r#""exp":null"#,
        r#""exp":NaN"#,
        r#""exp":1e999"#,
        r#""exp":1800000060,"exp":1800000060"#,
        r#""exp":1800000060,"\u0065xp":9999999999"#,
        r#""exp":1800000060,"nbf":null"#,
        r#""exp":1800000060,"iat":null"#,
    ] {
        invalid(&gateway, &raw(&with(member)));
    }
    assert_eq!(gateway.judged(ES, json!({}), json!({"exp": NOW - 31})), Err(Fault::Expired));
    assert_eq!(gateway.judged(ES, json!({}), json!({"exp": 0})), Err(Fault::Expired));
    // Something else is wrong with it, too.
    let bound = gateway.judged(ES, json!({}), json!({"exp": 0, "cnf": {"jkt": "x"}}));
    assert!(matches!(bound, Err(Fault::Invalid(_))), "{bound:?}");
}

#[test]
fn a_limited_lifetime_is_from_iat_to_exp() {
    let lifetime = std::time::Duration::from_secs(120);
    let gateway = Gateway::new(Terms { max_lifetime: lifetime, ..terms() });
    assert!(gateway.judged(ES, json!({}), json!({})).is_ok());
    for claims in
        [json!({"exp": NOW + 61}), json!({"exp": u64::MAX}), json!({"iat": null}), json!({"exp": 1e18})]
    {
        assert!(matches!(gateway.judged(ES, json!({}), claims.clone()), Err(Fault::Invalid(_))), "{claims}");
    }
}

#[test]
fn issuer_and_audience_are_compared_as_they_are() {
    let gateway = Gateway::new(terms());
    let raw = |member: &str| {
        let claims = format!(r#"{{"sub":"ada","exp":1800000060,{member}}}"#);
        gateway.signer.raw(ES, r#"{"alg":"ES256"}"#, &claims)
    };
    assert!(gateway.judge(&raw(r#""iss":"https://id.test","aud":"api""#)).is_ok());
    for iss in [
        r#""https://id.test/""#,
        r#""HTTPS://id.test""#,
        r#""https://id.test ""#,
        r#"["https://id.test"]"#,
        r#"{"a":"https://id.test"}"#,
        "1",
        "null",
        r#""""#,
        r#""https://id.test","iss":"https://id.test""#,
    ] {
        invalid(&gateway, &raw(&format!(r#""aud":"api","iss":{iss}"#)));
    }
    invalid(&gateway, &raw(r#""aud":"api""#));
    for aud in [
        r#""ap""#,
        r#""api2""#,
        r#""API""#,
        r#"["other"]"#,
        "[]",
        r#"["api",1]"#,
        r#"[["api"]]"#,
        r#"{"api":1}"#,
        "null",
        "1",
        r#""api","aud":"api""#,
    ] {
        invalid(&gateway, &raw(&format!(r#""iss":"https://id.test","aud":{aud}"#)));
    }
    invalid(&gateway, &raw(r#""iss":"https://id.test""#));
}

#[test]
fn a_user_is_a_text_that_can_be_passed_on() {
    let gateway = Gateway::new(terms());
    for claims in [
        json!({"sub": null}),
        json!({"sub": ""}),
        json!({"sub": 7}),
        json!({"sub": ["ada"]}),
        json!({"sub": "x".repeat(257)}),
        json!({"sub": "ada\r\nX-User-Roles: admin"}),
        json!({"sub": "ada\0"}),
        json!({"sub": "ada\u{85}"}),
        json!({"email": "a@b\r\n"}),
        json!({"email": 1}),
        json!({"roles": ["admin", "x\n"]}),
        json!({"roles": [1]}),
        json!({"roles": {"admin": true}}),
        json!({"scope": "read\twrite"}),
        json!({"scope": 1}),
        json!({"tier": "\u{1b}[2J"}),
        json!({"tier": ["pro"]}),
        json!({"jti": 1}),
        json!({"cnf": "x"}),
    ] {
        let judged = gateway.judged(ES, json!({}), claims.clone());
        assert!(matches!(judged, Err(Fault::Invalid(_))), "{claims}: {judged:?}");
    }
    let path = vec![ClaimPath::parse("may").unwrap()];
    let gateway = Gateway::new(Terms { permissions_claim: path, ..terms() });
    for may in [json!(["x"]), json!("x"), json!({"/x": 1}), json!({"/x": [1]}), json!({"/\n": []})] {
        let judged = gateway.judged(ES, json!({}), json!({ "may": may }));
        assert!(matches!(judged, Err(Fault::Invalid(_))), "{may}: {judged:?}");
    }
}

#[test]
fn no_member_is_there_twice_at_any_level() {
    let gateway = Gateway::new(terms());
    let claims = honest().to_string();
    let (rest, raw) = (&claims[1..], |claims: &str| gateway.signer.raw(ES, r#"{"alg":"ES256"}"#, claims));
    assert!(gateway.judge(&raw(&format!("{{{rest}"))).is_ok());
    for more in [
        r#""sub":"ada","#,
        r#""roles":["a"],"roles":["admin"],"#,
        r#""scope":"a","scope":"b","#,
        r#""x":{"y":1,"y":1},"#,
        r#""x":[{"y":1,"\u0079":1}],"#,
    ] {
        invalid(&gateway, &raw(&format!("{{{more}{rest}")));
    }
    for claims in [
        r#"["https://id.test","api","ada",1800000000,1800000060]"#.to_owned(),
        format!("{claims} {{}}"),
        format!("\u{feff}{claims}"),
        format!(r#"{{"x":"\ud800",{rest}"#),
        format!(r#"{{"x":{}1{},{rest}"#, "[".repeat(5_000), "]".repeat(5_000)),
        Value::Null.to_string(),
    ] {
        invalid(&gateway, &raw(&claims));
    }
}
