//! Client certificates as credentials: whose they are, and tokens that are bound to one (section 9; RFC 8705).

use rcgen::string::Ia5String;
use rcgen::{CertificateParams, SanType};
use serde_json::json;

use crate::harness::client_pki::{Pki, ask, to};
use crate::harness::identity::sha256;
use crate::harness::tokens::{issuer, part, token};
use crate::harness::{Backend, Builder, Call, Response, Upstream};

/// Certificates of the names that a table knows, or does not.
fn named(uri: &str) -> impl FnOnce(&mut CertificateParams) {
    let uri = SanType::URI(Ia5String::try_from(uri).unwrap());
    move |params| params.subject_alt_names = vec![uri]
}

const TABLE: &str = "{identities: [{match: 'spiffe://prod/a', userId: service-a, roles: [caller], scopes: [read], tier: pro}, \
                     {match: 'spiffe://prod/jobs/*', userId: jobs}]}";

fn guarded(pki: &Pki, upstream: &Upstream, auth: &str, routes: &[&str]) -> Builder {
    let backend =
        routes.iter().fold(Backend::named("main").to(upstream), |backend, route| backend.route(route));
    pki.builder("clientAuth: optional")
        .top(&format!("auth: {{enabled: true, failureLimit: {{failures: 0}}, {auth}}}"))
        .backend(backend)
}

fn reason(response: &Response) -> &str {
    response.reason().unwrap_or("")
}

#[test]
fn a_certificate_is_whose_the_table_says_and_else_nobodys() {
    let (pki, upstream) = (Pki::new(), Upstream::echo());
    let auth = format!("apiKey: {{enabled: false}}, mtls: {TABLE}");
    let routes = ["/**", "{path: /callers, roles: [caller]}", "{path: /writers, scopes: [write]}"];
    let gateway = guarded(&pki, &upstream, &auth, &routes).start();
    let of = |uri: Option<&str>, path: &str| {
        let identity = uri.map(|uri| pki.clients.identity(named(uri)));
        ask(&gateway, "a.test", &pki.client(identity.as_ref()), &Call::get(path).header("Host", "a.test"))
            .unwrap()
    };
    for (uri, path, expected) in [
        (Some("spiffe://prod/a"), "/x", ""),
        (Some("spiffe://prod/a"), "/callers", ""),
        (Some("spiffe://prod/a"), "/writers", "insufficient_scope"),
        (Some("spiffe://prod/jobs/7"), "/x", ""),
        (Some("spiffe://prod/jobs/7"), "/callers", "rbac_denied"),
        (Some("spiffe://prod/jobs/7/8"), "/x", "auth_invalid"),
        (Some("spiffe://prod/A"), "/x", "auth_invalid"),
        (Some("spiffe://other/a"), "/x", "auth_invalid"),
        (None, "/x", "auth_missing"),
    ] {
        let response = of(uri, path);
        assert_eq!(reason(&response), expected, "{uri:?} {path}");
        if response.status == 401 {
            assert_eq!(response.header("www-authenticate"), Some("ClientCertificate"));
        }
    }
    of(Some("spiffe://prod/a"), "/x");
    let head = upstream.last().head;
    let told = ["x-user-id", "x-user-roles", "x-user-tier", "x-auth-type"].map(|name| head.get(name));
    assert_eq!(told, [Some("service-a"), Some("caller"), Some("pro"), Some("mtls")]);
}

#[test]
fn a_certificate_beside_another_credential_proves_somebody_else_and_the_order_says_who_it_is() {
    let (pki, upstream) = (Pki::new(), Upstream::echo());
    let keys = format!("{{id: k1, hashes: ['{}'], userId: ann}}", sha256("a-key"));
    let auth = format!("apiKey: {{keys: [{keys}]}}, mtls: {TABLE}");
    let routes =
        ["/any", "{path: /both, auth: {all: [mtls, apiKey]}}", "{path: /keys, auth: {any: [apiKey]}}"];
    let gateway = guarded(&pki, &upstream, &auth, &routes).start();
    let known = pki.clients.identity(named("spiffe://prod/a"));
    let stranger = pki.clients.identity(named("spiffe://other/a"));
    for (identity, key, path, expected) in [
        (Some(&known), Some("a-key"), "/any", "apiKey"),
        (Some(&known), None, "/any", "mtls"),
        (Some(&known), Some("a-key"), "/both", "mtls"),
        (Some(&known), None, "/both", "auth_missing"),
        (None, Some("a-key"), "/both", "auth_missing"),
        (Some(&known), Some("wrong"), "/any", "auth_invalid"),
        (Some(&stranger), Some("a-key"), "/any", "auth_invalid"),
        (Some(&stranger), Some("a-key"), "/keys", "apiKey"),
    ] {
        let call = Call::get(path).header("Host", "a.test");
        let call = key.into_iter().fold(call, |call, key| call.header("X-API-Key", key));
        let response = ask(&gateway, "a.test", &pki.client(identity), &call).unwrap();
        if response.status == 200 {
            assert_eq!(upstream.last().head.get("x-auth-type"), Some(expected), "{path} {key:?}");
        } else {
            assert_eq!(reason(&response), expected, "{path} {key:?}");
        }
    }
}

#[test]
fn a_token_that_is_bound_to_a_certificate_counts_on_its_connection_alone() {
    let (pki, upstream) = (Pki::new(), Upstream::echo());
    let auth = format!("issuers: [{}]", issuer(""));
    let gateway = guarded(&pki, &upstream, &auth, &["/**"]).start();
    let (own, other) = (pki.clients.identity(|_| {}), pki.clients.identity(|_| {}));
    let digest = ring::digest::digest(&ring::digest::SHA256, &own.chain()[0]);
    let bound = token(json!({"cnf": {"x5t#S256": part(digest.as_ref())}}));
    let call = to("a.test").header("Authorization", &format!("Bearer {bound}"));
    // Also where a worker has verified it before.
    for _ in 0..3 {
        for (identity, expected) in [(Some(&own), ""), (Some(&other), "auth_invalid"), (None, "auth_invalid")]
        {
            let response = ask(&gateway, "a.test", &pki.client(identity), &call).unwrap();
            assert_eq!(reason(&response), expected);
        }
    }
}

#[test]
fn a_route_that_wants_a_certificate_where_nobody_is_asked_is_an_error() {
    let (pki, upstream) = (Pki::new(), Upstream::echo());
    let backend = Backend::named("main").to(&upstream).route("{path: /x, auth: {any: [mtls]}}");
    let auth = format!("auth: {{enabled: true, mtls: {TABLE}}}");
    let (code, text) = pki.builder("clientAuth: none").top(&auth).backend(backend).start_and_fail();
    assert_eq!(code, Some(1));
    assert!(text.contains("no client is asked for one: add `clientAuth: optional`"), "{text}");
}
