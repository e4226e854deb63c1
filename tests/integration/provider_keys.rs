//! Keys that issuers publish: fetched, rotated, withdrawn, out of reach (section 9, "Provider keys").

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use crate::harness::identity::{Got, Way};
use crate::harness::scrape::scrape;
use crate::harness::tokens::{claims, issuer, part, token};
use crate::harness::{Backend, Builder, Gateway, SOON, Upstream, eventually};

/// Requests begin one fetch in that time at most.
const QUIET: Duration = Duration::from_secs(10);

/// A private key of an issuer, under a name.
struct Signer {
    kid: &'static str,
    pair: Ed25519KeyPair,
}

impl Signer {
    fn new(kid: &'static str) -> Self {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self { kid, pair: Ed25519KeyPair::from_pkcs8(made.as_ref()).unwrap() }
    }

    fn jwk(&self) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": self.kid, "x": part(self.pair.public_key())})
    }

    /// A good token of the issuer at this address.
    fn token(&self, issuer: &str) -> String {
        let header = json!({"alg": "EdDSA", "kid": self.kid}).to_string();
        let message = format!("{}.{}", part(header), part(claims(json!({"iss": issuer})).to_string()));
        format!("{message}.{}", part(self.pair.sign(message.as_bytes())))
    }
}

/// An issuer whose metadata and keys are served by an upstream.
struct Issuer {
    server: Upstream,
    keys: Arc<Mutex<Vec<Value>>>,
}

impl Issuer {
    fn new(keys: &[&Signer]) -> Self {
        let keys = Arc::new(Mutex::new(keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()));
        let published = keys.clone();
        let server = Upstream::start(move |exchange| {
            let host = exchange.head.get("host").unwrap().to_owned();
            let answer = match exchange.target() {
                "/.well-known/openid-configuration" => {
                    json!({"issuer": format!("http://{host}"), "jwks_uri": format!("http://{host}/keys")})
                }
                "/keys" => json!({ "keys": *published.lock().unwrap() }),
                _ => return exchange.reply(404, &[], b""),
            };
            exchange.ok(&answer.to_string())
        });
        Self { server, keys }
    }

    fn publishes(&self, keys: &[&Signer]) {
        *self.keys.lock().unwrap() = keys.iter().map(|key| key.jwk()).collect();
    }

    fn fetches(&self) -> usize {
        self.server.count_of("/keys")
    }

    fn entry(&self, more: &str) -> String {
        format!("{{name: provider, issuer: '{}', audience: api{more}}}", self.server.url())
    }
}

/// A gateway that takes tokens of `entry`, and of an issuer whose secret is written.
fn gateway(upstream: &Upstream, entry: &str) -> Builder {
    let auth =
        format!("auth: {{enabled: true, failureLimit: {{failures: 0}}, issuers: [{entry}, {}]}}", issuer(""));
    Gateway::builder().top(&auth).backend(Backend::all(upstream))
}

fn ask(gateway: &Gateway, token: &str) -> Got {
    gateway.ask(Way::Http1, "GET", "/x", &[("Authorization", &format!("Bearer {token}"))])
}

#[track_caller]
fn passes(gateway: &Gateway, token: &str) {
    let got = ask(gateway, token);
    assert!(got.passed(), "{got:?}");
}

#[track_caller]
fn refused(gateway: &Gateway, token: &str, status: u16, reason: &str) {
    let got = ask(gateway, token);
    assert_eq!((got.status, got.reason.as_deref()), (status, Some(reason)), "{got:?}");
}

#[test]
fn keys_are_found_by_the_issuer_alone_and_rotated_without_a_restart() {
    let (upstream, old, new) = (Upstream::ok("ok"), Signer::new("old"), Signer::new("new"));
    let provider = Issuer::new(&[&old]);
    let url = provider.server.url();
    let (of_old, of_new) = (old.token(&url), new.token(&url));
    let started = Instant::now();
    let gateway = gateway(&upstream, &provider.entry("")).start();
    for way in Way::ALL {
        let got = gateway.ask(way, "GET", "/x", &[("Authorization", &format!("Bearer {of_old}"))]);
        assert!(got.status == 200, "{way:?} {got:?}");
    }
    assert_eq!(provider.fetches(), 1);

    // What was fetched just now is not fetched again, whoever invents names of keys; and nobody is held up.
    provider.publishes(&[&new]);
    while started.elapsed() < QUIET / 2 {
        let asked = Instant::now();
        refused(&gateway, &of_new, 401, "auth_invalid");
        assert!(asked.elapsed() < Duration::from_secs(1));
    }
    assert_eq!(provider.fetches(), 1);
    passes(&gateway, &of_old);

    assert!(
        eventually(QUIET + SOON, || ask(&gateway, &of_new).passed()),
        "the new key is fetched for its token"
    );
    assert_eq!(provider.fetches(), 2);
    // It was remembered, and its key is gone.
    refused(&gateway, &of_old, 401, "auth_invalid");
    refused(&gateway, &old.token(&url), 401, "auth_invalid");
    passes(&gateway, &token(json!({})));
    let samples = scrape(&gateway);
    let of = |name: &str| samples[name];
    assert_eq!(of("aegis_jwks_fetches_total{issuer=\"provider\",result=\"ok\"}"), 2.0);
    assert_eq!(of("aegis_jwks_fetches_total{issuer=\"provider\",result=\"failed\"}"), 0.0);
    assert!(of("aegis_jwks_age_seconds{issuer=\"provider\"}") < QUIET.as_secs_f64());
}

#[test]
fn an_issuer_that_was_never_reached_makes_its_own_tokens_unavailable_and_nothing_else() {
    let (upstream, key) = (Upstream::ok("ok"), Signer::new("key"));
    let provider = Issuer::new(&[&key]);
    provider.server.stop();
    let gateway = gateway(&upstream, &provider.entry("")).start();
    let of_provider = key.token(&provider.server.url());
    for _ in 0..20 {
        let asked = Instant::now();
        refused(&gateway, &of_provider, 503, "auth_unavailable");
        assert!(asked.elapsed() < 2 * SOON);
        passes(&gateway, &token(json!({})));
        refused(&gateway, "a.b.c", 401, "auth_invalid");
    }
    let samples = scrape(&gateway);
    assert!(samples["aegis_jwks_fetches_total{issuer=\"provider\",result=\"failed\"}"] >= 1.0);
    assert!(!samples.contains_key("aegis_jwks_age_seconds{issuer=\"provider\"}"));
    assert!(gateway.log().contains("its keys cannot be fetched"), "{}", gateway.log());
    provider.server.restart();
    assert!(
        eventually(QUIET + SOON, || ask(&gateway, &of_provider).passed()),
        "it is asked again by the clock"
    );
}

#[test]
fn keys_outlive_their_issuer_a_reload_and_the_actor_that_has_fetched_them() {
    let (upstream, key) = (Upstream::ok("ok"), Signer::new("key"));
    let provider = Issuer::new(&[&key]);
    let of_provider = key.token(&provider.server.url());
    let mut gateway = gateway(&upstream, &provider.entry("")).start();
    gateway.expect_panics();
    passes(&gateway, &of_provider);
    provider.server.stop();

    gateway.rewrite(&self::gateway(&upstream, &provider.entry(", clockToleranceSeconds: 10")));
    assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
    passes(&gateway, &of_provider);
    passes(&gateway, &key.token(&provider.server.url()));

    for how in ["panic", "hang"] {
        let restarts = || {
            let status = gateway.admin_json("/_aegis/status");
            let actors = status["actors"].as_array().unwrap().clone();
            actors.iter().find(|actor| actor["name"] == "identity").unwrap()["restarts"].as_u64().unwrap()
        };
        let before = restarts();
        assert!(gateway.admin_post(&format!("/_aegis/test/{how}/identity"), "").status < 300);
        assert!(eventually(2 * QUIET, || {
            passes(&gateway, &key.token(&provider.server.url()));
            restarts() > before
        }));
    }
    passes(&gateway, &of_provider);
    assert_eq!(provider.fetches(), 1, "nothing made them be fetched again before their time");
}

#[test]
fn a_bundle_without_certificates_is_found_before_anything_is_fetched_with_it() {
    let (upstream, provider) = (Upstream::ok("ok"), Issuer::new(&[]));
    let file = std::env::temp_dir().join(format!("aegis-no-bundle-{}.pem", std::process::id()));
    std::fs::write(&file, "no certificate").unwrap();
    let entry = provider.entry(&format!(", caFile: {}", file.display()));
    let (code, output) = gateway(&upstream, &entry).start_and_fail();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(code, Some(1));
    assert!(
        output.contains("`auth.issuers[provider].caFile`") && output.contains("must hold certificates"),
        "{output}"
    );
    assert_eq!(provider.server.count(), 0);
}
