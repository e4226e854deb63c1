//! TLS on the gateway's own listener (section 2).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};

use crate::harness::http2::{Http2, block_on};
use crate::harness::scrape::scrape;
use crate::harness::{
    Authority, Backend, Builder, Call, Client, Folder, Gateway, SOON, Upstream, eventually, holds_for, run,
};

/// A configuration with a certificate in files of a folder.
fn secured(authority: &Authority, upstream: &Upstream) -> (Folder, Vec<u8>, Builder) {
    let folder = Folder::new();
    let certificate = authority.issue(&["127.0.0.1"]);
    let (cert, key) = certificate.write_pem(folder.path());
    let files = format!("tls: {{certFile: \"{}\", keyFile: \"{}\"}}", cert.display(), key.display());
    let builder = Gateway::builder().server(&files).backend(Backend::all(upstream));
    (folder, certificate.der(), builder)
}

/// Whom the certificates of [`several`] are for: the default one, and those of `certificates`.
const NAMES: [&[&str]; 3] = [&["127.0.0.1", "default.test"], &["a.test"], &["*.b.test", "b.test"]];

/// A configuration with these further keys of `server.tls`, and three certificates in folders of their own.
fn several(authority: &Authority, upstream: &Upstream, keys: &str) -> (Folder, Vec<Vec<u8>>, Builder) {
    let folder = Folder::new();
    let shown = (0..NAMES.len()).map(|n| issue(authority, folder.path(), n)).collect();
    let builder = Gateway::builder().server(&section(folder.path(), keys)).backend(Backend::all(upstream));
    (folder, shown, builder)
}

fn section(folder: &Path, keys: &str) -> String {
    let pair = |n: usize| {
        let (cert, key) = (file(folder, n, "cert.pem"), file(folder, n, "key.pem"));
        format!("certFile: \"{}\", keyFile: \"{}\"", cert.display(), key.display())
    };
    format!(
        "tls: {{{}, {keys} certificates: [{{{}}}, {{{}, hosts: ['*.B.test']}}]}}",
        pair(0),
        pair(1),
        pair(2)
    )
}

fn file(folder: &Path, n: usize, name: &str) -> PathBuf {
    folder.join(n.to_string()).join(name)
}

/// Another certificate number `n`, written in place of the one before.
fn issue(authority: &Authority, folder: &Path, n: usize) -> Vec<u8> {
    let (certificate, folder) = (authority.issue(NAMES[n]), folder.join(n.to_string()));
    fs::create_dir_all(&folder).unwrap();
    certificate.write_pem(&folder);
    certificate.der()
}

#[test]
fn http1_over_tls_is_served_and_the_upstream_is_told_of_https() {
    let (authority, upstream) = (Authority::new(), Upstream::echo());
    let (_folder, certificate, builder) = secured(&authority, &upstream);
    let gateway = builder.start();
    for protocols in [&["http/1.1"][..], &[]] {
        let (mut client, shown) = Client::secure(gateway.addr, &authority.client(protocols)).unwrap();
        assert_eq!(shown, certificate);
        let large = "x".repeat(300_000);
        for (call, body) in [(Call::get("/x"), ""), (Call::post("/x", large.as_str()), large.as_str())] {
            let response = client.send(&call);
            assert_eq!((response.status, response.json()["body"].as_str()), (200, Some(body)));
            assert_eq!(upstream.last().head.get("x-forwarded-proto"), Some("https"));
        }
        client.send(&Call::get("/..%2f")).assert_problem(400, "bad_path");
    }
}

#[test]
fn a_connection_that_waits_takes_no_processor_time() {
    let (authority, upstream) = (Authority::new(), Upstream::ok("ok"));
    let (_folder, _, builder) = secured(&authority, &upstream);
    let (secure, plain) = (builder.start(), Gateway::with(Backend::all(&upstream)));
    let config = authority.client(&["http/1.1"]);
    let mut waiting: Vec<Client> = (0..10).map(|_| Client::secure(secure.addr, &config).unwrap().0).collect();
    waiting.extend((0..10).map(|_| plain.client()));
    waiting.iter_mut().for_each(|client| assert_eq!(client.get("/x").status, 200));
    // The first byte of a request, and of HTTP/2's preface.
    let mut begun: Vec<Client> = (0..10).map(|_| plain.client()).collect();
    begun.iter_mut().for_each(|client| client.write("P"));
    let before = [secure.processor_time(), plain.processor_time()];
    assert!(holds_for(Duration::from_secs(1), || true));
    for (before, gateway) in before.iter().zip([&secure, &plain]) {
        let used = gateway.processor_time() - *before;
        assert!(used < Duration::from_millis(500), "{used:?} in a second");
    }
}

#[test]
fn who_does_not_speak_tls_is_told_so_and_harms_nobody() {
    let (authority, upstream) = (Authority::new(), Upstream::ok("ok"));
    let (_folder, _, builder) = secured(&authority, &upstream);
    let gateway = builder.server("headerTimeoutMs: 3000").start();
    let silent = gateway.client();
    let mut plain = gateway.client();
    let told = plain.send(&Call::post("/x", "x".repeat(100_000)));
    told.assert_problem(400, "bad_request");
    assert!(told.text().contains("speaks TLS") && told.text().contains("https"), "{}", told.text());
    assert!(plain.ends());
    assert!(
        eventually(SOON, || {
            gateway.log().contains(
            r#""method":"POST","path":"/x","status":400,"reason":"bad_request","detail":"This port speaks TLS"#
        )
        }),
        "{}",
        gateway.log()
    );
    let stranger = Client::secure(gateway.addr, &Authority::new().client(&[]));
    assert!(stranger.is_err(), "a client checks whom it speaks to");
    let (mut client, _) = Client::secure(gateway.addr, &authority.client(&[])).unwrap();
    assert_eq!(client.get("/x").text(), "ok");
    let mut silent = silent;
    assert!(silent.ends(), "a handshake that never begins is cut");
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_new_certificate_is_served_after_a_reload_and_old_connections_go_on() {
    let (authority, upstream) = (Authority::new(), Upstream::ok("ok"));
    let (folder, first, builder) = secured(&authority, &upstream);
    let gateway = builder.start();
    let config = authority.client(&["http/1.1"]);
    let (mut old, shown) = Client::secure(gateway.addr, &config).unwrap();
    assert_eq!((old.get("/x").status, shown), (200, first.clone()));

    let certificate = authority.issue(&["127.0.0.1"]);
    let (_, key) = certificate.write_pem(folder.path());
    let (_, shown) = Client::secure(gateway.addr, &config).unwrap();
    assert_eq!(shown, first, "nothing changes before the reload");
    assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
    // A new session must not be a resumed one, which would show the certificate that it began with.
    let (mut new, shown) = Client::secure(gateway.addr, &authority.client(&["http/1.1"])).unwrap();
    assert_eq!((new.get("/x").status, &shown), (200, &certificate.der()));
    assert_eq!(old.get("/x").status, 200, "the old connection goes on");

    fs::write(&key, "no key").unwrap();
    let refused = gateway.admin_post("/_aegis/reload", "");
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("key.pem"), "{}", refused.text());
    let (_, shown) = Client::secure(gateway.addr, &authority.client(&[])).unwrap();
    assert_eq!(shown, certificate.der(), "a broken key changes nothing");
}

#[test]
fn the_certificate_files_are_watched_when_hot_reload_is_on() {
    let (authority, upstream) = (Authority::new(), Upstream::ok("ok"));
    let (folder, _, builder) = secured(&authority, &upstream);
    let gateway = builder.top("hotReload: true").start();
    let certificate = authority.issue(&["127.0.0.1"]);
    certificate.write_pem(folder.path());
    let shown = || Client::secure(gateway.addr, &authority.client(&[])).map(|(_, shown)| shown);
    assert!(eventually(SOON, || shown().is_ok_and(|shown| shown == certificate.der())));
}

#[test]
fn a_bad_certificate_or_key_at_the_start_ends_with_1_and_names_the_file() {
    let (authority, upstream) = (Authority::new(), Upstream::ok("ok"));
    let stranger = Folder::new();
    authority.issue(&["127.0.0.1"]).write_pem(stranger.path());
    let foreign = fs::read_to_string(stranger.path().join("key.pem")).unwrap();
    for (name, file, content) in [
        ("a missing key", "key.pem", None),
        ("an empty key", "key.pem", Some("")),
        ("garbage in place of a key", "key.pem", Some("no PEM at all")),
        ("the key of another certificate", "key.pem", Some(foreign.as_str())),
        ("a missing certificate", "cert.pem", None),
        ("garbage in place of a certificate", "cert.pem", Some("no PEM at all")),
    ] {
        let (folder, _, builder) = secured(&authority, &upstream);
        let path = folder.path().join(file);
        match content {
            None => fs::remove_file(path).unwrap(),
            Some(content) => fs::write(path, content).unwrap(),
        }
        let (code, log) = builder.start_and_fail();
        assert_eq!(code, Some(1), "{name}: {log}");
        assert!(log.contains(file), "{name} is not named: {log}");
        assert!(!log.contains("panicked"), "{name}: {log}");
    }
}

#[test]
fn metrics_tell_how_long_the_served_certificate_is_good_for() {
    let (authority, upstream) = (Authority::new(), Upstream::ok("ok"));
    let (folder, _, builder) = secured(&authority, &upstream);
    const DAY: f64 = 86_400.0;
    let write = |days: f64| {
        let (now, life) = (SystemTime::now(), Duration::from_secs_f64(days.abs() * DAY));
        let end = if days < 0.0 { now - life } else { now + life };
        authority.issue_until(&["127.0.0.1"], Some(end)).write_pem(folder.path());
    };
    write(10.0);
    let gateway = builder.start();
    let key =
        format!("aegis_certificate_expiry_seconds{{name=\"{}\"}}", folder.path().join("cert.pem").display());
    let tells = |days: f64| {
        let left = scrape(&gateway)[&key];
        assert!(left > (days - 0.1) * DAY && left <= days * DAY, "{left} s left of {days} days");
    };
    tells(10.0);
    for days in [20.0, -3.0] {
        write(days);
        assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
        tells(days);
    }
}

#[test]
fn a_client_is_shown_the_certificate_of_the_name_that_it_asks_for() {
    let (authority, upstream) = (Authority::new(), Upstream::ok("ok"));
    let (_folder, certificates, builder) = several(&authority, &upstream, "");
    let gateway = builder.start();
    for (name, n) in [
        ("127.0.0.1", 0),
        ("default.test", 0),
        ("a.test", 1),
        ("A.Test", 1),
        ("a.test.", 1),
        ("x.b.test", 2),
        ("X.B.TEST", 2),
    ] {
        let (mut client, shown, _) =
            Client::secure_for(name, gateway.addr, &authority.client(&["http/1.1"])).unwrap();
        assert_eq!(certificates.iter().position(|one| *one == shown), Some(n), "{name}");
        assert_eq!(client.get("/x").text(), "ok", "{name}");
        block_on(async {
            let config = authority.client(&["h2"]);
            let mut client = Http2::connect_tls_for(name, gateway.addr, config).await;
            assert_eq!(client.get("/x").await.text(), "ok", "{name}");
        });
    }
    // The third has the name and is not shown for it, as `hosts` say which of its names it is for.
    for unknown in ["b.test", "unknown.test", "y.x.b.test"] {
        let refused = Client::secure_for(unknown, gateway.addr, &authority.client(&[])).map(drop);
        let why = refused.unwrap_err().to_string();
        assert!(why.contains("default.test"), "{unknown}: {why}");
    }
}

#[test]
fn no_handshake_fails_while_one_certificate_of_three_is_replaced() {
    let (authority, upstream) = (Authority::new(), Upstream::ok("ok"));
    let (folder, mut certificates, builder) = several(&authority, &upstream, "");
    let gateway = builder.top("hotReload: true").start();
    let over = AtomicBool::new(false);
    let asked = ["default.test", "a.test", "x.b.test"];
    let shown = |name: &str| Client::secure_for(name, gateway.addr, &authority.client(&[])).unwrap().1;
    thread::scope(|scope| {
        let clients = asked.map(|name| {
            let (config, over, addr) = (authority.client(&["http/1.1"]), &over, gateway.addr);
            scope.spawn(move || {
                let mut kinds = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let (mut client, _, kind) = Client::secure_for(name, addr, &config).unwrap();
                    assert_eq!(client.get("/x").status, 200);
                    kinds.push(kind);
                }
                kinds
            })
        });
        for _ in 0..4 {
            certificates[1] = issue(&authority, folder.path(), 1);
            assert!(eventually(SOON, || shown("a.test") == certificates[1]));
        }
        over.store(true, Ordering::Relaxed);
        for client in clients {
            let kinds = client.join().unwrap();
            let whole = kinds.iter().filter(|kind| **kind == HandshakeKind::Full).count();
            assert!(whole >= 4 && kinds.contains(&HandshakeKind::Resumed), "{whole} of {}", kinds.len());
        }
    });
    assert_eq!(asked.map(shown).as_slice(), certificates);
}

#[test]
fn no_session_from_before_a_reload_is_resumed() {
    let (authority, upstream) = (Authority::new(), Upstream::ok("ok"));
    let (folder, mut certificates, builder) = several(&authority, &upstream, "");
    let gateway = builder.start();
    for version in [&TLS12, &TLS13] {
        let config = authority.client_of(&[version], &["http/1.1"]);
        let connect = || {
            let (mut client, shown, kind) = Client::secure_for("a.test", gateway.addr, &config).unwrap();
            // The answer comes after what a session is resumed with.
            assert_eq!(client.get("/x").status, 200);
            (shown, kind)
        };
        assert_eq!(connect(), (certificates[1].clone(), HandshakeKind::Full));
        assert_eq!(connect(), (certificates[1].clone(), HandshakeKind::Resumed));
        certificates[1] = issue(&authority, folder.path(), 1);
        assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
        assert_eq!(connect(), (certificates[1].clone(), HandshakeKind::Full));
    }
}

#[test]
fn where_one_file_is_broken_all_stay_as_they_were() {
    let (authority, upstream) = (Authority::new(), Upstream::ok("ok"));
    let (folder, certificates, builder) = several(&authority, &upstream, "");
    let gateway = builder.start();
    let stranger = Folder::new();
    issue(&authority, stranger.path(), 2);
    let foreign = fs::read_to_string(file(stranger.path(), 2, "key.pem")).unwrap();
    for (name, content, key) in [
        ("key.pem", "no key", "server.tls.certificates[1].keyFile"),
        ("key.pem", foreign.as_str(), "server.tls.certificates[1].keyFile"),
        ("cert.pem", "no PEM", "server.tls.certificates[1].certFile"),
    ] {
        // The others have changed, and are good.
        for n in [0, 1] {
            issue(&authority, folder.path(), n);
        }
        let broken = file(folder.path(), 2, name);
        let good = fs::read_to_string(&broken).unwrap();
        fs::write(&broken, content).unwrap();
        let refused = gateway.admin_post("/_aegis/reload", "");
        assert_eq!(refused.status, 422);
        let text = refused.text();
        assert!(text.contains(key) && text.contains(broken.to_str().unwrap()), "{key}: {text}");
        assert!(gateway.log().contains(key), "{}", gateway.log());
        for (name, certificate) in ["127.0.0.1", "a.test", "x.b.test"].iter().zip(&certificates) {
            let (_, shown, _) = Client::secure_for(name, gateway.addr, &authority.client(&[])).unwrap();
            assert_eq!(shown, *certificate, "{name}");
        }
        let checked = run(folder.path(), &["check", "-c", gateway.file("aegis.yaml").to_str().unwrap()]);
        assert_eq!(checked.status.code(), Some(1));
        let said =
            String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
        assert!(said.contains(key), "{said}");
        fs::write(&broken, good).unwrap();
    }
    assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
}

#[test]
fn a_client_that_is_older_than_min_version_is_refused() {
    let (authority, upstream) = (Authority::new(), Upstream::ok("ok"));
    let (folder, _, builder) = several(&authority, &upstream, "minVersion: '1.3',");
    let gateway = builder.start();
    let connect = |version| {
        let config = authority.client_of(&[version], &["http/1.1"]);
        Client::secure(gateway.addr, &config).map(|(mut client, _)| client.get("/x").text())
    };
    let why = connect(&TLS12).unwrap_err().to_string();
    assert!(why.contains("ProtocolVersion"), "{why}");
    assert_eq!(connect(&TLS13).unwrap(), "ok");
    let builder = Gateway::builder().server(&section(folder.path(), "")).backend(Backend::all(&upstream));
    gateway.rewrite(&builder);
    assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
    assert_eq!([&TLS12, &TLS13].map(|version| connect(version).unwrap()), ["ok", "ok"]);
}

#[test]
fn metrics_tell_of_each_certificate_file_once() {
    let (authority, upstream) = (Authority::new(), Upstream::ok("ok"));
    let (folder, _, _) = several(&authority, &upstream, "");
    let tls = section(folder.path(), "").replace(
        "certificates: [",
        &format!(
            "certificates: [{{certFile: \"{}\", keyFile: \"{}\", hosts: [again.test]}}, ",
            file(folder.path(), 0, "cert.pem").display(),
            file(folder.path(), 0, "key.pem").display()
        ),
    );
    let gateway = Gateway::builder().server(&tls).backend(Backend::all(&upstream)).start();
    let text = gateway.ask_admin(Call::get("/metrics")).text();
    for n in 0..NAMES.len() {
        let series = format!(
            "aegis_certificate_expiry_seconds{{name=\"{}\"}}",
            file(folder.path(), n, "cert.pem").display()
        );
        assert_eq!(text.matches(&series).count(), 1, "{series} in {text}");
    }
}
