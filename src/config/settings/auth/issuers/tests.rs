//! What can be written of an issuer, and what cannot be meant.

use aegis_schema::problem::{Problem, Severity};
use aegis_schema::tree::{Kind, Node, Origin};
use aegis_schema::{Describe as _, Section, read};
use serde_json::{Value, json};

use super::*;

section! {
    /// `auth`, as far as issuers go.
    struct Auth, check distinct_ones {
        /// the list
        issuers: Vec<Issuer>, "issuers" list(section());
        /// the short form
        jwt: Jwt, "jwt" section();
    }
}

fn distinct_ones(auth: &mut Auth, section: &Section<'_>) {
    distinct(&auth.issuers, &auth.jwt, section);
}

fn node(value: &Value) -> Node {
    let kind = match value {
        Value::Null => Kind::Null,
        Value::Bool(flag) => Kind::Bool(*flag),
        Value::Number(number) => Kind::Int(number.as_i64().unwrap().into()),
        Value::String(text) => Kind::Text(text.clone()),
        Value::Array(items) => Kind::List(items.iter().map(node).collect()),
        Value::Object(members) => {
            Kind::Table(members.iter().map(|(key, value)| (key.clone(), node(value))).collect())
        }
    };
    Node { kind, origin: Origin::DEFAULT }
}

fn auth(value: &Value) -> (Auth, Vec<Problem>) {
    let mut problems = Vec::new();
    let (auth, _) = read::<Auth>(&node(value), "a.yaml", &mut problems, |_, _| {});
    (auth, problems)
}

/// An entry that is fine, with `keys` over it; `null` takes one out.
fn entry(keys: Value) -> Value {
    let mut entry = json!({"name": "id", "issuer": "https://id.test", "audience": "api"});
    for (key, value) in keys.as_object().unwrap() {
        match value {
            Value::Null => drop(entry.as_object_mut().unwrap().remove(key)),
            value => entry[key] = value.clone(),
        }
    }
    entry
}

fn told(problems: &[Problem], severity: Severity) -> Vec<&str> {
    problems.iter().filter(|p| p.severity == severity).map(|p| &*p.message).collect()
}

#[track_caller]
fn fine(keys: Value) -> Issuer {
    let (mut auth, problems) = auth(&json!({"issuers": [entry(keys)]}));
    assert_eq!(told(&problems, Severity::Error), [""; 0]);
    auth.issuers.remove(0)
}

#[track_caller]
fn refused(keys: Value, part: &str) {
    let (_, problems) = auth(&json!({"issuers": [entry(keys)]}));
    let errors = told(&problems, Severity::Error);
    assert!(errors.len() == 1 && errors[0].contains(part), "{part:?} is not all of {errors:#?}");
}

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const PEM: &str = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";

#[test]
fn an_issuer_and_an_audience_are_enough() {
    let issuer = fine(json!({}));
    assert!(issuer.terms.is_remote());
    assert_eq!(issuer.terms.audience, ["api"]);
    assert_eq!(issuer.terms.clock_tolerance, Duration::from_secs(30));
    fine(json!({"issuer": "any text", "secret": SECRET}));
    fine(json!({"issuer": "any text", "jwksUri": "http://127.0.0.1:9/keys"}));
    fine(
        json!({"publicKeys": [PEM], "algorithms": ["RS256", "ES256"], "typ": ["at+jwt", "application/JWT"]}),
    );
    fine(json!({"secret": "base64:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY", "audience": ["a", "b"]}));
}

#[test]
fn what_is_left_out_must_be_left_out_by_name() {
    refused(
        json!({"issuer": null, "secret": SECRET}),
        "`insecureSkipIssuer: true` would take tokens whoever has made",
    );
    refused(json!({"audience": null}), "`insecureSkipAudience: true` would take");
    refused(json!({"audience": []}), "`issuers[0].audience` is required");
    refused(json!({"insecureSkipAudience": true}), "contradicts `audience`");
    refused(json!({"issuer": null, "insecureSkipIssuer": true}), "has no keys");
    let (_, problems) = auth(&json!({"issuers": [
        entry(json!({"issuer": null, "audience": null, "secret": SECRET, "insecureSkipIssuer": true,
            "insecureSkipAudience": true}))
    ]}));
    assert_eq!(told(&problems, Severity::Error), [""; 0]);
    assert_eq!(told(&problems, Severity::Warning).len(), 2, "{problems:?}");
}

#[test]
fn a_secret_and_public_keys_never_meet() {
    for (key, value) in
        [("publicKeys", json!([PEM])), ("publicKey", json!(PEM)), ("jwksUri", json!("https://id.test/k"))]
    {
        refused(json!({"secret": SECRET, key: value}), "cannot stand beside");
    }
    refused(json!({"publicKeys": [PEM], "algorithms": ["RS256", "HS256"]}), "HS256, which needs a `secret`");
    refused(json!({"algorithms": ["HS256"]}), "HS256, which needs a `secret`");
    refused(
        json!({"secret": SECRET, "algorithms": ["HS256", "RS256"]}),
        "RS256, which a `secret` cannot verify",
    );
    refused(json!({"publicKeys": [PEM], "jwksUri": "https://id.test/k"}), "written or fetched");
}

#[test]
fn weak_secrets_and_what_nobody_can_verify_are_refused() {
    refused(json!({"secret": "x".repeat(31)}), "31 bytes long, and HS256 needs 32");
    refused(json!({"secret": ""}), "0 bytes long");
    refused(json!({"secret": SECRET, "algorithms": ["HS256", "HS512"]}), "32 bytes long, and HS512 needs 64");
    refused(json!({"secret": "base64:AAAA"}), "3 bytes long");
    refused(json!({"secret": "base64:%"}), "no base64");
    refused(json!({"algorithms": ["ES512"]}), "no library that the gateway can use");
    refused(json!({"algorithms": ["none"]}), "whoever likes");
    refused(json!({"algorithms": ["rs256"]}), "did you mean");
    refused(json!({"algorithms": []}), "empty list");
    refused(json!({"typ": []}), "empty list");
}

#[test]
fn no_message_and_no_debug_output_holds_a_secret() {
    let private = "-----BEGIN PRIVATE KEY-----\nHUSHHUSH\n-----END PRIVATE KEY-----";
    for keys in [
        json!({"publicKeys": [private]}),
        json!({"publicKeys": ["HUSH"]}),
        json!({"secret": "HUSH"}),
        json!({"secret": "base64:HUSH"}),
        json!({"jwksUri": "https://user:HUSH@id.test"}),
    ] {
        let (_, problems) = auth(&json!({"issuers": [entry(keys)]}));
        assert_eq!(told(&problems, Severity::Error).len(), 1, "{problems:?}");
        assert!(!format!("{problems:?}").contains("HUSH"), "{problems:?}");
    }
    let issuer = fine(json!({"secret": format!("HUSH{SECRET}")}));
    assert!(!format!("{issuer:?}").contains("HUSH"));
    assert!(!issuer.show(false).to_string().contains("HUSH"));
}

#[test]
fn keys_come_over_tls_or_from_this_machine() {
    for url in [
        "http://id.test/k",
        "ftp://id.test/k",
        "id.test",
        "https://id.test/k#x",
        "http://127.0.0.1.nip.test/",
    ] {
        refused(json!({"jwksUri": url}), "jwksUri");
    }
    for url in ["https://id.test/k?x=1", "http://localhost:9/k", "http://[::1]:9/k", "http://127.0.0.1/k"] {
        fine(json!({"jwksUri": url}));
    }
    for issuer in ["http://id.test", "text", "https://id.test/?a=1"] {
        refused(json!({"issuer": issuer}), "is no address to find keys by");
    }
}

#[test]
fn a_token_belongs_to_one_entry() {
    let two = |a: Value, b: Value| auth(&json!({"issuers": [entry(a), entry(b)]})).1;
    let errors = |problems: &[Problem]| told(problems, Severity::Error).join("\n");
    assert_eq!(errors(&two(json!({}), json!({"name": "other", "issuer": "https://id.test/"}))), "");
    assert!(errors(&two(json!({}), json!({"name": "other"}))).contains("is the issuer of"));
    assert!(errors(&two(json!({}), json!({"issuer": "https://other.test"}))).contains("names must differ"));
    let skip =
        |name: &str| json!({"name": name, "issuer": null, "secret": SECRET, "insecureSkipIssuer": true});
    assert!(errors(&two(skip("a"), skip("b"))).contains("one entry only"));
    let (_, problems) = auth(&json!({
        "issuers": [entry(json!({"name": "jwt"}))],
        "jwt": {"enabled": true, "issuer": "https://id.test", "audience": "a", "publicKey": PEM},
    }));
    let told = told(&problems, Severity::Error).join("\n");
    assert!(told.contains("is what `auth.jwt` goes by") && told.contains("is the issuer of"), "{told}");
}

#[test]
fn the_short_form_is_one_more_entry_where_it_is_enabled() {
    let written = json!({"issuer": "i", "audience": "a", "publicKey": PEM});
    let (off, problems) = auth(&json!({"jwt": written}));
    assert!(told(&problems, Severity::Warning)[0].contains("is not enabled"), "{problems:?}");
    assert_eq!(entries(&off.issuers, &off.jwt), []);
    let mut written = written;
    written["enabled"] = true.into();
    let (on, problems) = auth(&json!({"jwt": written, "issuers": [entry(json!({}))]}));
    assert_eq!(problems, []);
    let entries = entries(&on.issuers, &on.jwt);
    assert_eq!([&*entries[0].0, &*entries[1].0], ["auth.issuers[id]", "auth.jwt"]);
    assert_eq!((&*entries[1].1.name, entries[1].1.terms.is_remote()), ("jwt", false));
    let (_, problems) = auth(&json!({"jwt": {"enabled": true}}));
    assert_eq!(told(&problems, Severity::Error).len(), 3, "{problems:?}");
}

#[test]
fn presets_say_where_claims_are_and_keys_say_it_better() {
    let paths = |keys: Value| {
        let paths = fine(keys).terms.claim_paths();
        let text = |paths: Vec<ClaimPath>| paths.iter().map(ClaimPath::as_str).collect::<Vec<_>>().join(" ");
        [paths.user, paths.roles, paths.scopes].map(text)
    };
    assert_eq!(paths(json!({})), ["sub", "roles", "scope scp"]);
    assert_eq!(paths(json!({"preset": "keycloak"})), ["sub", "realm_access.roles", "scope"]);
    assert_eq!(paths(json!({"preset": "azure", "userClaim": "oid"})), ["oid", "roles", "scp"]);
    assert_eq!(paths(json!({"preset": "okta", "rolesClaim": ["a.b", "c"]})), ["sub", "a.b c", "scp"]);
    assert_eq!(paths(json!({"preset": "auth0"})), ["sub", "roles", "permissions scope"]);
    refused(json!({"rolesClaim": "https://id.test/roles"}), "write `\\.` for each dot");
    refused(json!({"introspection": {}}), "token introspection");
}
