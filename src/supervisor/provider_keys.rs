//! The identity actor with the fetcher that it is started with, against a provider on a socket.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use actix_rt::Arbiter;
use aegis_actors::identity::{
    Asker, Deps, IdentityActor, Keys as _, MOST_WAITING, PATIENCE, Pace, Provider, Remote, Watch,
};
use aegis_actors::supervision::Instances;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::PrivateKeyDer;
use serde_json::{Value, json};

use crate::auth::jwt::{KeyProvider, KeySet};
use crate::identity::HttpFetcher;

/// What is sent in answer to a path; nothing: the connection is held open without a word.
type Script = Box<dyn Fn(&str) -> Option<Vec<u8>> + Send>;

/// A provider on a port of its own.
struct Server {
    url: String,
    script: Arc<Mutex<Script>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(script: impl Fn(&str) -> Option<Vec<u8>> + Send + 'static) -> Self {
        Self::start_with(None, script)
    }

    fn start_with(
        tls: Option<Arc<ServerConfig>>,
        script: impl Fn(&str) -> Option<Vec<u8>> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://localhost:{}", listener.local_addr().unwrap().port());
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(script)));
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (answers, seen) = (script.clone(), asked.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, answers, seen, tls) =
                    (stream.unwrap(), answers.clone(), seen.clone(), tls.clone());
                thread::spawn(move || match tls {
                    None => serve(stream, &answers, &seen),
                    Some(tls) => {
                        serve(StreamOwned::new(ServerConnection::new(tls).unwrap(), stream), &answers, &seen);
                    }
                });
            }
        });
        Self { url, script, asked }
    }

    fn now(&self, script: impl Fn(&str) -> Option<Vec<u8>> + Send + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(mut stream: impl Read + Write, answers: &Mutex<Script>, seen: &Mutex<Vec<String>>) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        // A handshake that fails, or a look at the port.
        let Ok(1) = stream.read(&mut byte) else { return };
        head.push(byte[0]);
    }
    let path = String::from_utf8(head).unwrap().split(' ').nth(1).unwrap().to_owned();
    seen.lock().unwrap().push(path.clone());
    let answer = answers.lock().unwrap()(&path);
    match answer {
        // The client may have gone: it does not read what is too large.
        Some(answer) => drop(stream.write_all(&answer).and_then(|()| stream.flush())),
        None => thread::sleep(Duration::from_secs(30)),
    }
}

/// An answer with these fields.
fn answer(status: &str, fields: &str, body: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    let length = body.as_ref().len();
    let head = format!("HTTP/1.1 {status}\r\n{fields}content-length: {length}\r\nconnection: close\r\n\r\n");
    Some([head.as_bytes(), body.as_ref()].concat())
}

fn keys(names: &[&str]) -> Option<Vec<u8>> {
    answer("200 OK", "", document(names.iter().map(|name| key(name)).collect()))
}

fn document(keys: Vec<Value>) -> String {
    json!({ "keys": keys }).to_string()
}

fn key(kid: &str) -> Value {
    // Any 32 bytes are a point, or are found out to be none when a signature is verified.
    let point = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, [7; 32]);
    json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": point})
}

/// The gateway's side.
struct Client {
    provider: Arc<KeyProvider>,
    asker: Asker<KeySet>,
}

/// Nobody has to wait for the next fetch, and none takes long.
const BRISK: Pace = Pace { quiet: Duration::ZERO, timeout: Duration::from_millis(500) };

impl Client {
    async fn start(remote: Remote, pace: Pace) -> Self {
        let (provider, asker) = (Provider::new("id", remote), Asker::default());
        let fence = Instances::default().next();
        let deps = Deps { fetcher: HttpFetcher::factory(), pace, seed: 1, on_stop: Box::new(drop), fence };
        let actor = IdentityActor::start_in(&Arbiter::current(), deps);
        actor.send(Watch { providers: vec![provider.clone()] }).await.unwrap();
        asker.publish(actor.recipient());
        Self { provider, asker }
    }

    async fn of(uri: &str) -> Self {
        let remote = Remote { issuer: None, jwks_uri: Some(uri.to_owned()), ca_file: None };
        Self::start(remote, BRISK).await
    }

    async fn discovering(issuer: &str) -> Self {
        let remote = Remote { issuer: Some(issuer.to_owned()), jwks_uri: None, ca_file: None };
        Self::start(remote, BRISK).await
    }

    /// Names of the keys, once a fetch has ended, as a token sees it that names this one.
    async fn ask(&self, kid: Option<&str>) -> Result<Vec<&'static str>, String> {
        let fresh = self.asker.fresh(&self.provider, kid).await;
        match (&fresh.failing, &fresh.keys) {
            (Some(why), _) => Err(why.clone()),
            (None, Some(keys)) => Ok(["a", "b", "c"].into_iter().filter(|name| keys.knows(name)).collect()),
            (None, None) => Err("nothing".to_owned()),
        }
    }

    fn has(&self, kid: &str) -> bool {
        self.provider.current().keys.as_ref().is_some_and(|keys| keys.knows(kid))
    }
}

#[actix_rt::test]
async fn keys_are_rotated_without_a_restart_and_one_that_is_removed_is_gone() {
    let server = Server::start(|_| keys(&["a"]));
    let client = Client::of(&format!("{}/keys?x=1", server.url)).await;
    assert_eq!(client.ask(None).await, Ok(vec!["a"]));
    let first = client.provider.current().generation;
    server.now(|_| keys(&["a", "b"]));
    assert_eq!(client.ask(Some("b")).await, Ok(vec!["a", "b"]));
    let second = client.provider.current().generation;
    server.now(|_| keys(&["b"]));
    assert_eq!(client.ask(Some("c")).await, Ok(vec!["b"]));
    let third = client.provider.current().generation;
    assert!(first != second && second != third && first != third);
    // The same keys in another order, with more said of them, are the same.
    server.now(|_| answer("200 OK", "x-more: 1\r\n", format!(" {}", document(vec![key("b")]))));
    client.ask(Some("c")).await.unwrap();
    assert_eq!(client.provider.current().generation, third);
    assert_eq!(server.asked(), ["/keys?x=1"; 4]);
}

#[actix_rt::test]
async fn all_who_wait_for_a_new_key_make_one_request() {
    let server = Server::start(|_| keys(&["a"]));
    let remote = Remote { issuer: None, jwks_uri: Some(server.url.clone()), ca_file: None };
    let pace = Pace { quiet: Duration::from_millis(100), ..BRISK };
    let client = Client::start(remote, pace).await;
    client.ask(None).await.unwrap();
    tokio::time::sleep(pace.quiet).await;
    server.now(|_| {
        thread::sleep(Duration::from_millis(50));
        keys(&["a", "b"])
    });
    let all = futures_util::future::join_all((0..MOST_WAITING).map(|_| client.ask(Some("b")))).await;
    assert!(all.iter().all(|got| *got == Ok(vec!["a", "b"])));
    assert_eq!(server.asked().len(), 2);
}

#[actix_rt::test]
async fn whatever_a_provider_answers_keys_are_kept_until_there_are_others() {
    let canary = Server::start(|_| keys(&["c"]));
    let elsewhere = canary.url.clone();
    let server = Server::start(|_| keys(&["a"]));
    let client = Client::of(&server.url).await;
    client.ask(None).await.unwrap();
    let large = || format!("{}{}", document(vec![key("b")]), " ".repeat(2 << 20));
    let chunked = || {
        let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000)).repeat(32);
        Some(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunk}0\r\n\r\n").into_bytes())
    };
    let cases: [(Script, &str); 12] = [
        (Box::new(|_| None), "no answer within 500 ms"),
        (Box::new(move |_| answer("200 OK", "", large())), "larger than 1048576 bytes"),
        (Box::new(move |_| chunked()), "larger than 1048576 bytes"),
        (Box::new(|_| answer("200 OK", "", "<html>Sign in</html>")), "is no JSON"),
        (Box::new(|_| answer("200 OK", "", "[]")), "is no key set"),
        (
            Box::new(|_| answer("200 OK", "content-encoding: gzip\r\n", document(vec![key("b")]))),
            "is encoded",
        ),
        (Box::new(|_| answer("500 Oops", "", document(vec![key("b")]))), "status 500"),
        (Box::new(|_| answer("204 No Content", "", "")), "status 204"),
        (
            Box::new(move |_| answer("302 Found", &format!("location: {elsewhere}\r\n"), "")),
            "status 302, a redirect, which is not followed",
        ),
        (Box::new(|_| Some(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{}".to_vec())), "ended early"),
        (Box::new(|_| Some(b"220 smtp.test ESMTP\r\n".to_vec())), "malformed"),
        (Box::new(|_| Some(Vec::new())), "closed before an answer"),
    ];
    for (script, why) in cases {
        server.now(script);
        let got = client.ask(Some("b")).await.unwrap_err();
        assert!(got.contains(why) && client.has("a") && !client.has("b"), "{why}: {got}");
    }
    assert_eq!(canary.asked(), [""; 0]);
    server.now(|_| keys(&["b"]));
    assert_eq!(client.ask(Some("b")).await, Ok(vec!["b"]));
}

#[actix_rt::test]
async fn a_key_that_cannot_be_used_is_left_out_alone() {
    let bad = [
        json!({"kty": "RSA", "kid": "b", "n": "AQAB", "e": "AQAB"}),
        json!({"kty": "oct", "kid": "c"}),
        json!(1),
    ];
    let all = document(bad.into_iter().chain([key("a")]).collect());
    let server = Server::start(move |_| answer("200 OK", "", &all));
    assert_eq!(Client::of(&server.url).await.ask(None).await, Ok(vec!["a"]));
    // None at all: the issuer has withdrawn them, and that counts.
    server.now(|_| answer("200 OK", "", document(Vec::new())));
    let client = Client::of(&server.url).await;
    assert_eq!(client.ask(None).await, Ok(Vec::new()));
    assert!(client.provider.current().keys.as_ref().is_some_and(|keys| keys.is_empty()));
}

#[actix_rt::test]
async fn a_provider_that_hangs_holds_nobody_up_for_longer_than_two_seconds() {
    let server = Server::start(|_| None);
    let remote = Remote { issuer: None, jwks_uri: Some(server.url.clone()), ca_file: None };
    let client = Client::start(remote, Pace::default()).await;
    let before = Instant::now();
    assert_eq!(client.ask(None).await, Err("nothing".to_owned()));
    let waited = before.elapsed();
    assert!(waited >= PATIENCE && waited < PATIENCE + Duration::from_secs(1), "{waited:?}");
}

#[actix_rt::test]
async fn how_long_keys_are_good_for_is_the_providers_to_say() {
    let due = async |fields: &'static str| {
        let server = Server::start(move |_| answer("200 OK", fields, document(vec![key("a")])));
        let client = Client::of(&server.url).await;
        client.ask(None).await.unwrap();
        let current = client.provider.current();
        (current.due.unwrap() - current.fetched.unwrap()).as_secs()
    };
    assert!((3_240..=3_600).contains(&due("cache-control: public, max-age=3600\r\n").await));
    assert_eq!(due("cache-control: no-store\r\n").await, 60);
    assert!((540..=600).contains(&due("").await));
}

#[actix_rt::test]
async fn an_issuer_alone_is_enough() {
    const PLACES: [&str; 2] =
        ["/realms/a/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/realms/a"];
    for place in PLACES {
        let server = Server::start(|_| None);
        let issuer = format!("{}/realms/a", server.url);
        let metadata = json!({"issuer": issuer, "jwks_uri": format!("{}/keys", server.url)}).to_string();
        server.now(move |path| match path {
            "/keys" => keys(&["a"]),
            path if path == place => answer("200 OK", "", &metadata),
            _ => answer("404 Not Found", "", "<html>"),
        });
        assert_eq!(Client::discovering(&issuer).await.ask(None).await, Ok(vec!["a"]), "{place}");
        let asked = PLACES.into_iter().take_while(|other| *other != place).chain([place, "/keys"]);
        assert_eq!(server.asked(), asked.collect::<Vec<_>>());
    }
}

#[actix_rt::test]
async fn metadata_of_another_issuer_or_that_lead_out_of_reach_lead_nowhere() {
    let canary = Server::start(|_| keys(&["a"]));
    let server = Server::start(|_| None);
    for (issuer, uri, why) in [
        ("https://other.test".to_owned(), format!("{}/keys", canary.url), "of another issuer"),
        (format!("{}/", server.url), format!("{}/keys", canary.url), "of another issuer"),
        (server.url.clone(), "http://keys.test/".to_owned(), "cannot be used"),
        (server.url.clone(), "file:///etc/passwd".to_owned(), "cannot be used"),
    ] {
        server.now(move |_| answer("200 OK", "", json!({"issuer": issuer, "jwks_uri": uri}).to_string()));
        let got = Client::discovering(&server.url).await.ask(None).await.unwrap_err();
        assert!(got.contains(why), "{why}: {got}");
    }
    assert_eq!(canary.asked(), [""; 0]);
    server.now(|_| answer("404 Not Found", "", ""));
    let got = Client::discovering(&server.url).await.ask(None).await.unwrap_err();
    assert!(got.contains("openid-configuration answers with status 404, and"), "{got}");
}

#[actix_rt::test]
async fn over_tls_only_whoever_is_believed_has_keys() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let file = std::env::temp_dir().join(format!("aegis-provider-{}.pem", std::process::id()));
    std::fs::write(&file, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let server = Server::start_with(Some(Arc::new(config)), |_| keys(&["a"]));
    let of = async |ca_file: Option<PathBuf>| {
        let remote = Remote { issuer: None, jwks_uri: Some(server.url.clone()), ca_file };
        Client::start(remote, BRISK).await.ask(None).await
    };
    assert_eq!(of(Some(file.clone())).await, Ok(vec!["a"]));
    let stranger = of(None).await.unwrap_err();
    assert!(stranger.contains("certificate"), "{stranger}");
    std::fs::remove_file(&file).unwrap();
    assert!(of(Some(file)).await.is_err(), "a file that is gone is no reason to believe everybody");
    assert_eq!(server.asked(), ["/"]);
}
