//! Client certificates: who is asked for one, and what becomes of requests with and without.

use std::time::{Duration, SystemTime};

use rcgen::ExtendedKeyUsagePurpose;
use rustls::DEFAULT_VERSIONS;
use rustls::version::{TLS12, TLS13};

use crate::harness::client_pki::{Pki, ask, open, status, to};
use crate::harness::http2::{Http2, block_on, read};
use crate::harness::{Authority, Backend, Call, Client, SOON, Upstream, eventually};

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn a_certificate_is_not_asked_for_may_be_there_or_must_be() {
    let (pki, upstream) = (Pki::new(), Upstream::ok("ok"));
    let good = [pki.clients.identity(|_| {}), pki.clients.identity_below(2, |_| {})];
    let now = SystemTime::now();
    let bad = [
        ("of another authority", Authority::new().identity(|_| {})),
        ("expired", pki.clients.identity(|params| params.not_after = (now - DAY).into())),
        ("not valid yet", pki.clients.identity(|params| params.not_before = (now + DAY).into())),
        (
            "for servers",
            pki.clients
                .identity(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
        ),
        ("of a server's authority", pki.servers.identity(|_| {})),
        ("below thirty authorities", pki.clients.identity_below(30, |_| {})),
    ];
    for (rule, without) in [("none", 200), ("optional", 200), ("required", 401)] {
        let gateway = pki.builder(&format!("clientAuth: {rule}")).backend(Backend::all(&upstream)).start();
        for version in [&TLS12, &TLS13] {
            let shown = |identity| pki.client_of(&[version], &["http/1.1"], identity);
            assert_eq!(status(&gateway, &shown(None)), Some(without), "{rule}");
            for one in &good {
                assert_eq!(status(&gateway, &shown(Some(one))), Some(200), "{rule}");
            }
            let before = upstream.count();
            for (what, one) in bad.iter().filter(|_| rule != "none") {
                assert_eq!(status(&gateway, &shown(Some(one))), None, "{rule}, {what}");
            }
            assert_eq!(upstream.count(), before, "{rule}");
        }
        // Who looks after the gateway has none.
        let health = ask(&gateway, "127.0.0.1", &pki.client(None), &Call::get("/health")).unwrap();
        assert_eq!(health.status, 200, "{rule}");
    }
}

#[test]
fn who_lacks_a_certificate_is_told_so_and_the_connection_ends() {
    let (pki, upstream) = (Pki::new(), Upstream::ok("ok"));
    let gateway = pki.builder("clientAuth: required").backend(Backend::all(&upstream)).start();
    let (mut client, _, _) = Client::secure_for("a.test", gateway.addr, &pki.client(None)).unwrap();
    let refused = client.send(&to("a.test"));
    refused.assert_problem(401, "auth_missing");
    assert_eq!(refused.header("www-authenticate"), Some("ClientCertificate"));
    assert!(!refused.keeps_alive() && client.ends(), "another connection may have one");
    let line = r#""path":"/x","protocol":"HTTP/1.1","status":401,"reason":"auth_missing""#;
    assert!(eventually(SOON, || gateway.log().contains(line)), "{}", gateway.log());
    block_on(async {
        let config = pki.client_of(DEFAULT_VERSIONS, &["h2"], None);
        let mut client = Http2::connect_tls_for("a.test", gateway.addr, config).await;
        let refused = client.get("/x").await;
        assert_eq!((refused.status, refused.header("aegis-reason")), (401, Some("auth_missing")));
        assert!(client.ended().await.is_ok());
    });
    assert_eq!(upstream.count(), 0);
}

/// `a.test` must show a certificate, `b.test` may, `c.test` is not asked.
fn by_host(upstream: &Upstream) -> Backend {
    let (host, auth) = (|host: &str| format!("path: /**, hosts: [{host}]"), "clientAuth:");
    Backend::named("main")
        .to(upstream)
        .route(&format!("{{{}, {auth} required}}", host("a.test")))
        .route(&format!("{{{}}}", host("b.test")))
        .route(&format!("{{{}, {auth} none}}", host("c.test")))
        .with("clientAuth: optional")
}

#[test]
fn only_who_asks_for_a_name_that_wants_a_certificate_is_asked_for_one() {
    let (pki, upstream) = (Pki::new(), Upstream::ok("ok"));
    let gateway = pki.builder("").backend(by_host(&upstream)).start();
    let identity = pki.clients.identity(|_| {});
    for (name, host, asked) in [
        ("a.test", "a.test", 1),
        ("A.Test.", "a.test:443", 1),
        ("b.test", "b.test", 1),
        ("c.test", "c.test", 0),
    ] {
        for version in [&TLS12, &TLS13] {
            let keyed = identity.keyed();
            let config = keyed.shown_by(&pki.client_of(&[version], &["http/1.1"], None));
            let answer = ask(&gateway, name, &config, &to(host)).unwrap();
            assert_eq!((answer.status, keyed.times_asked()), (200, asked), "{name}");
        }
    }
    // Who asks for no name may mean any host.
    let keyed = identity.keyed();
    let config = keyed.shown_by(&pki.client(None));
    for host in ["a.test", "b.test", "c.test"] {
        assert_eq!(ask(&gateway, "127.0.0.1", &config, &to(host)).unwrap().status, 200, "{host}");
    }
    assert_ne!(keyed.times_asked(), 0);
}

#[test]
fn a_request_on_the_connection_of_a_host_with_other_rules_is_misdirected() {
    let (pki, upstream) = (Pki::new(), Upstream::ok("ok"));
    let gateway = pki.builder("").backend(by_host(&upstream)).start();
    let (identity, none) = (pki.clients.identity(|_| {}), None);
    for (shown, name, host, expected) in [
        (Some(&identity), "c.test", "a.test", 421),
        (Some(&identity), "c.test", "b.test", 421),
        (Some(&identity), "c.test", "A.TEST.", 421),
        (none, "c.test", "a.test:443", 421),
        (none, "b.test", "a.test", 421),
        (none, "a.test", "b.test", 200),
        (none, "a.test", "c.test", 200),
        (none, "a.test", "a.test", 401),
        (Some(&identity), "a.test", "c.test", 200),
        // Of the same authority, and shown on this connection.
        (Some(&identity), "b.test", "a.test", 200),
    ] {
        let before = upstream.count();
        let (mut client, _, _) = Client::secure_for(name, gateway.addr, &pki.client(shown)).unwrap();
        let answer = client.send(&to(host));
        assert_eq!(answer.status, expected, "{host} on the connection of {name}");
        assert_eq!(upstream.count() - before, usize::from(expected == 200));
        if expected == 421 {
            answer.assert_problem(421, "misdirected");
            // The connection is good for its own host.
            let own = client.send(&to(name));
            assert_eq!(own.status, 200, "{name}");
        }
        let absolute = Call::get(&format!("https://{host}/x")).header("Host", name);
        let (mut client, _, _) = Client::secure_for(name, gateway.addr, &pki.client(shown)).unwrap();
        assert_eq!(client.send(&absolute).status, expected, "the target's host counts");
    }
    block_on(async {
        let config = pki.client_of(DEFAULT_VERSIONS, &["h2"], Some(&identity));
        let mut client = Http2::connect_tls_for("c.test", gateway.addr, config.clone()).await;
        let refused = client.get("/x").await;
        assert_eq!((refused.status, refused.header("aegis-reason")), (421, Some("misdirected")));
        let own = http::Request::get("https://c.test/x").body(()).unwrap();
        let (answer, _) = client.start(own, true).await;
        assert_eq!(read(answer).await.unwrap().status, 200);
        let mut client = Http2::connect_tls_for("a.test", gateway.addr, config).await;
        assert_eq!(client.get("/x").await.status, 200);
    });
}

#[test]
fn a_rule_that_a_reload_brings_holds_on_open_connections() {
    let (pki, upstream) = (Pki::new(), Upstream::ok("ok"));
    let gateway = pki.builder("clientAuth: none").backend(Backend::all(&upstream)).start();
    let identity = pki.clients.identity(|_| {});
    let mut open = open(&gateway, &pki.client(Some(&identity)));
    block_on(async {
        let config = pki.client_of(DEFAULT_VERSIONS, &["h2"], Some(&identity));
        let mut open_h2 = Http2::connect_tls_for("a.test", gateway.addr, config.clone()).await;
        assert_eq!(open_h2.get("/x").await.status, 200);
        for (rule, expected) in [("optional", 200), ("required", 421)] {
            let builder = pki.builder(&format!("clientAuth: {rule}")).backend(Backend::all(&upstream));
            gateway.rewrite(&builder);
            assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
            assert_eq!(open.send(&to("a.test")).status, expected, "{rule}");
            assert_eq!(open_h2.get("/x").await.status, expected, "{rule}");
        }
        assert!(open.ends(), "the next connection is asked");
        assert!(open_h2.ended().await.is_ok(), "and so is the next of HTTP/2");
        let mut new = Http2::connect_tls_for("a.test", gateway.addr, config).await;
        assert_eq!(new.get("/x").await.status, 200);
    });
}
