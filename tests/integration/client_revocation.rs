//! Client certificates that are not good any more: revoked, ended, or of an authority that is not believed now.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use rustls::version::{TLS12, TLS13};
use rustls::{DEFAULT_VERSIONS, HandshakeKind};

use crate::harness::client_pki::{Pki, open, status, to};
use crate::harness::http2::{Http2, block_on};
use crate::harness::{Authority, Backend, Client, SOON, Upstream, eventually, run};

#[test]
fn who_is_revoked_is_refused_on_the_open_connection_and_on_a_new_one() {
    let (pki, upstream) = (Pki::new(), Upstream::ok("ok"));
    let gateway = pki.builder_with_list("clientAuth: optional").backend(Backend::all(&upstream)).start();
    for version in [&TLS12, &TLS13] {
        pki.clients.write_revoked(&pki.file("crl.pem"), &[]);
        assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
        let (revoked, other) = (pki.clients.identity(|_| {}), pki.clients.identity(|_| {}));
        let config = |shown| pki.client_of(&[version], &["http/1.1"], Some(shown));
        let (leaving, staying) = (config(&revoked), config(&other));
        let (mut leaves, mut stays) = (open(&gateway, &leaving), open(&gateway, &staying));
        let kind = |config| Client::secure_for("a.test", gateway.addr, config).map(|(_, _, kind)| kind);
        assert_eq!(kind(&leaving).unwrap(), HandshakeKind::Resumed);

        pki.clients.write_revoked(&pki.file("crl.pem"), &[&revoked]);
        assert_eq!(leaves.send(&to("a.test")).status, 200, "nothing changes before the reload");
        assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
        let refused = leaves.send(&to("a.test"));
        refused.assert_problem(401, "auth_invalid");
        assert!(leaves.ends());
        assert_eq!(status(&gateway, &leaving), None, "with a session to resume, too");
        assert_eq!(stays.send(&to("a.test")).status, 200);
        assert_eq!(status(&gateway, &staying), Some(200));
    }
    block_on(async {
        let revoked = pki.clients.identity(|_| {});
        let config = pki.client_of(DEFAULT_VERSIONS, &["h2"], Some(&revoked));
        let mut client = Http2::connect_tls_for("a.test", gateway.addr, config).await;
        assert_eq!(client.get("/x").await.status, 200);
        pki.clients.write_revoked(&pki.file("crl.pem"), &[&revoked]);
        assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
        assert_eq!(client.get("/x").await.header("aegis-reason"), Some("auth_invalid"));
        assert!(client.ended().await.is_ok());
    });
}

/// Ends those who look at it, also where the test fails before: the scope waits for them.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn no_handshake_fails_while_the_revocation_list_is_replaced() {
    let (pki, upstream) = (Pki::new(), Upstream::ok("ok"));
    let builder = pki.builder_with_list("clientAuth: required").backend(Backend::all(&upstream));
    let gateway = builder.top("hotReload: true").start();
    let (good, over) = (pki.clients.identity(|_| {}), AtomicBool::new(false));
    let mut kept = open(&gateway, &pki.client(Some(&good)));
    thread::scope(|scope| {
        let clients = [&TLS12, &TLS13].map(|version| {
            let (config, gateway, over) =
                (pki.client_of(&[version], &["http/1.1"], Some(&good)), &gateway, &over);
            scope.spawn(move || {
                let mut kinds = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let (mut client, _, kind) = Client::secure_for("a.test", gateway.addr, &config).unwrap();
                    assert_eq!(client.send(&to("a.test")).status, 200);
                    kinds.push(kind);
                }
                kinds
            })
        });
        let ends = Ends(&over);
        let mut revoked = Vec::new();
        for _ in 0..4 {
            let one = pki.clients.identity(|_| {});
            let mut leaves = open(&gateway, &pki.client(Some(&one)));
            revoked.push(one);
            pki.clients.write_revoked(&pki.file("crl.pem"), &revoked.iter().collect::<Vec<_>>());
            assert!(eventually(SOON, || leaves
                .try_send(&to("a.test"))
                .is_ok_and(|answer| answer.status == 401)));
            assert_eq!(kept.send(&to("a.test")).status, 200);
        }
        drop(ends);
        for client in clients {
            let kinds = client.join().unwrap();
            assert!(
                kinds.contains(&HandshakeKind::Resumed) && kinds.contains(&HandshakeKind::Full),
                "{}",
                kinds.len()
            );
        }
    });
}

#[test]
fn a_certificate_that_ends_is_refused_on_the_open_connection_and_on_a_resumed_one() {
    let (pki, upstream) = (Pki::new(), Upstream::ok("ok"));
    let gateway = pki.builder("clientAuth: required").backend(Backend::all(&upstream)).start();
    let end = SystemTime::now() + Duration::from_secs(2);
    let short = pki.clients.identity(|params| params.not_after = end.into());
    let config = pki.client(Some(&short));
    let mut kept = open(&gateway, &config);
    let connect = || Client::secure_for("a.test", gateway.addr, &config);
    let mut refused = None;
    assert!(eventually(SOON, || {
        let (mut client, _, kind) = connect().unwrap();
        let answer = client.send(&to("a.test"));
        refused = (answer.status == 401).then_some((answer, kind));
        refused.is_some()
    }));
    let (answer, kind) = refused.unwrap();
    answer.assert_problem(401, "auth_invalid");
    assert_eq!(kind, HandshakeKind::Resumed, "rustls does not look again");
    kept.send(&to("a.test")).assert_problem(401, "auth_invalid");
    assert_eq!(status(&gateway, &pki.client(Some(&short))), None);
}

#[test]
fn an_authority_that_is_not_believed_any_more_takes_its_clients_along() {
    let (pki, upstream) = (Pki::new(), Upstream::ok("ok"));
    let gateway = pki.builder("clientAuth: required").backend(Backend::all(&upstream)).start();
    let (old, successor) = (pki.clients.identity(|_| {}), Authority::new());
    let new = successor.identity(|_| {});
    let mut kept = open(&gateway, &pki.client(Some(&old)));
    let both = fs::read_to_string(pki.file("clients.pem")).unwrap();
    successor.write_pem(&pki.file("clients.pem"));
    let only = fs::read_to_string(pki.file("clients.pem")).unwrap();
    for (bundle, expected) in [(both + &only, [200, 200]), (only, [401, 200])] {
        fs::write(pki.file("clients.pem"), bundle).unwrap();
        assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
        assert_eq!(kept.send(&to("a.test")).status, expected[0]);
        assert_eq!(status(&gateway, &pki.client(Some(&new))), Some(expected[1]));
    }
    assert_eq!(status(&gateway, &pki.client(Some(&old))), None);
}

#[test]
fn a_broken_file_leaves_what_was_there_and_is_told() {
    let (pki, upstream) = (Pki::new(), Upstream::ok("ok"));
    let gateway = pki.builder_with_list("clientAuth: required").backend(Backend::all(&upstream)).start();
    let (revoked, good) = (pki.clients.identity(|_| {}), pki.clients.identity(|_| {}));
    pki.clients.write_revoked(&pki.file("crl.pem"), &[&revoked]);
    assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
    let mut kept = open(&gateway, &pki.client(Some(&good)));
    let certificate = fs::read_to_string(pki.file("clients.pem")).unwrap();
    let cut = fs::read_to_string(pki.file("crl.pem")).unwrap().replace("MII", "MIJ").replace("MIH", "MIX");
    for (name, content, key) in [
        ("crl.pem", "", "server.tls.crlFile"),
        ("crl.pem", "no PEM", "server.tls.crlFile"),
        ("crl.pem", certificate.as_str(), "server.tls.crlFile"),
        ("crl.pem", cut.as_str(), "server.tls.crlFile"),
        ("clients.pem", "no PEM", "server.tls.clientCaFile"),
        (
            "clients.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "server.tls.clientCaFile",
        ),
    ] {
        let before = fs::read_to_string(pki.file(name)).unwrap();
        fs::write(pki.file(name), content).unwrap();
        let refused = gateway.admin_post("/_aegis/reload", "");
        assert_eq!(refused.status, 422, "{key}: {content}");
        assert!(refused.text().contains(key) && refused.text().contains(name), "{}", refused.text());
        let checked = run(pki.folder.path(), &["check", "-c", gateway.file("aegis.yaml").to_str().unwrap()]);
        assert_eq!(checked.status.code(), Some(1));
        let said =
            String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
        assert!(said.contains(key), "{said}");
        assert_eq!(status(&gateway, &pki.client(Some(&revoked))), None);
        assert_eq!(status(&gateway, &pki.client(Some(&good))), Some(200));
        assert_eq!(kept.send(&to("a.test")).status, 200);
        fs::write(pki.file(name), before).unwrap();
    }
    fs::remove_file(pki.file("crl.pem")).unwrap();
    assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 422);
    assert_eq!(status(&gateway, &pki.client(Some(&revoked))), None);
}

#[test]
fn a_list_that_has_ended_or_is_missing_refuses_its_authoritys_clients_and_check_warns() {
    let (pki, upstream) = (Pki::new(), Upstream::ok("ok"));
    let gateway = pki.builder_with_list("clientAuth: required").backend(Backend::all(&upstream)).start();
    let good = pki.clients.identity(|_| {});
    let mut kept = open(&gateway, &pki.client(Some(&good)));
    let other = Authority::new();
    let warned = |what: &str| {
        assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
        let checked = run(pki.folder.path(), &["check", "-c", gateway.file("aegis.yaml").to_str().unwrap()]);
        let said =
            String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success() && said.contains("warning") && said.contains(what), "{said}");
    };
    pki.clients.write_revoked_until(&pki.file("crl.pem"), &[], SystemTime::now() - Duration::from_secs(60));
    warned("ended at");
    assert_eq!(status(&gateway, &pki.client(Some(&good))), None);
    kept.send(&to("a.test")).assert_problem(401, "auth_invalid");
    // Lists are known by their authority's name, which all have here; this one's signature is another's.
    other.write_revoked(&pki.file("crl.pem"), &[]);
    assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
    assert_eq!(status(&gateway, &pki.client(Some(&good))), None);
    pki.clients.write_revoked(&pki.file("crl.pem"), &[]);
    assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
    assert_eq!(status(&gateway, &pki.client(Some(&good))), Some(200));
}

#[test]
fn an_open_connection_does_not_outlive_the_list_that_it_was_checked_with() {
    let (pki, upstream) = (Pki::new(), Upstream::ok("ok"));
    let builder = pki.builder_with_list("clientAuth: required").backend(Backend::all(&upstream));
    pki.clients.write_revoked_until(&pki.file("crl.pem"), &[], SystemTime::now() + Duration::from_secs(2));
    let gateway = builder.start();
    let mut kept = open(&gateway, &pki.client(Some(&pki.clients.identity(|_| {}))));
    assert!(eventually(SOON, || kept.try_send(&to("a.test")).is_ok_and(|answer| answer.status == 401)));
}
