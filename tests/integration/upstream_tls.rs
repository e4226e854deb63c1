//! Upstreams under TLS: whose certificate is believed, and under which name (sections 2 and 6).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::{Authority, Backend, Folder, Gate, Gateway, SOON, Then, Upstream, eventually};

/// An upstream with a certificate for `name`, and its authority's file in a folder that outlives the gateway.
fn secured(name: &str) -> (Upstream, Folder, String) {
    let authority = Authority::new();
    let upstream = Upstream::start_tls(authority.server(&[name]), |exchange| exchange.ok("secured"));
    let folder = Folder::new();
    let file = folder.path().join("ca.pem");
    authority.write_pem(&file);
    (upstream, folder, file.display().to_string())
}

#[test]
fn a_certificate_of_the_configured_authority_is_accepted() {
    let (upstream, _folder, ca) = secured("127.0.0.1");
    let gateway = Gateway::with(Backend::all(&upstream).with(&format!("tls: {{caFile: {ca}}}")));
    for _ in 0..3 {
        assert_eq!(gateway.get("/x").text(), "secured");
    }
}

#[test]
fn the_authority_may_be_one_that_the_environment_names() {
    let (upstream, folder, ca) = secured("127.0.0.1");
    let by_file = Gateway::builder().backend(Backend::all(&upstream)).variable("SSL_CERT_FILE", &ca).start();
    assert_eq!(by_file.get("/x").text(), "secured");
    let folder = folder.path().display().to_string();
    let by_folder =
        Gateway::builder().backend(Backend::all(&upstream)).variable("SSL_CERT_DIR", &folder).start();
    assert_eq!(by_folder.get("/x").text(), "secured");
    let (status, output) = Gateway::builder()
        .backend(Backend::all(&upstream))
        .variable("SSL_CERT_FILE", "/nowhere.pem")
        .start_and_fail();
    assert!(
        status == Some(1) && output.contains("SSL_CERT_FILE") && output.contains("/nowhere.pem"),
        "{output}"
    );
}

#[test]
fn the_name_to_verify_can_be_configured() {
    let (upstream, _folder, ca) = secured("inner.test");
    let wrong = Backend::named("wrong").to(&upstream).route("/wrong").with("retries: 0");
    let right = Backend::named("right").to(&upstream).route("/right");
    let gateway = Gateway::builder()
        .backend(wrong.with(&format!("tls: {{caFile: {ca}}}")))
        .backend(right.with(&format!("tls: {{caFile: {ca}, serverName: inner.test}}")))
        .start();
    gateway.get("/wrong").assert_problem(502, "connect_failed");
    assert_eq!(gateway.get("/right").text(), "secured");
}

#[test]
fn a_certificate_of_nobody_known_is_refused_unless_verification_is_off() {
    let (upstream, _folder, _) = secured("127.0.0.1");
    let strict = Backend::named("strict").to(&upstream).route("/strict").with("retries: 0");
    let blind = Backend::named("blind").to(&upstream).route("/blind");
    let gateway =
        Gateway::builder().backend(strict).backend(blind.with("tls: {insecureSkipVerify: true}")).start();
    gateway.get("/strict").assert_problem(502, "connect_failed");
    assert_eq!(upstream.count(), 0, "nothing is sent to a stranger");
    assert_eq!(gateway.get("/blind").text(), "secured");
}

#[test]
fn a_plain_server_behind_an_https_target_is_a_failed_connection() {
    let upstream = Upstream::raw(|wire, _| {
        let _ = wire.write("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        Ok(Then::Close)
    });
    let backend =
        Backend::named("main").target(&format!("url: \"https://{}\"", upstream.addr())).route("/**");
    let gateway = Gateway::with(backend.with("retries: 0").with("tls: {insecureSkipVerify: true}"));
    gateway.get("/x").assert_problem(502, "connect_failed");
}

#[test]
fn one_that_stops_reading_a_large_upload_is_given_up_after_the_idle_limit() {
    let authority = Authority::new();
    let stop = Gate::new();
    let theirs = stop.clone();
    let upstream = Upstream::start_tls(authority.server(&["127.0.0.1"]), move |_| {
        // The head is read; the body is left to the sockets' buffers.
        theirs.wait();
        Ok(Then::Drop)
    });
    let folder = Folder::new();
    let file = folder.path().join("ca.pem");
    authority.write_pem(&file);
    let backend = Backend::all(&upstream).with("retries: 0").with("idleTimeoutMs: 500").with("timeout: 500");
    let gateway = Gateway::builder()
        .server("bodyLimitBytes: 0")
        .backend(backend.with(&format!("tls: {{caFile: {}}}", file.display())))
        .start();
    let mut client = TcpStream::connect(gateway.addr).unwrap();
    let head = "POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000000\r\n\r\n";
    client.write_all(head.as_bytes()).unwrap();
    let mut sender = client.try_clone().unwrap();
    let uploading = std::thread::spawn(move || {
        // In pieces that TLS takes whole before the socket takes them.
        let piece = [b'x'; 4096];
        while sender.write_all(&piece).is_ok() {
            std::thread::sleep(Duration::from_micros(100));
        }
    });
    client.set_read_timeout(Some(SOON)).unwrap();
    let mut head = [0; 600];
    client.read_exact(&mut head[..300]).expect("an upload that nobody reads is never given up");
    let head = String::from_utf8_lossy(&head).into_owned();
    assert!(head.starts_with("HTTP/1.1 504") && head.contains("upstream_timeout"), "{head}");
    drop(client);
    stop.open();
    uploading.join().unwrap();
    assert!(eventually(SOON, || gateway.in_flight() == 0));
}
