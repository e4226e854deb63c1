//! Upstreams under TLS: whose certificate is believed, and under which name (sections 2 and 6).

use crate::harness::{Authority, Backend, Folder, Gateway, Upstream};

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
        Ok(crate::harness::Then::Close)
    });
    let backend =
        Backend::named("main").target(&format!("url: \"https://{}\"", upstream.addr())).route("/**");
    let gateway = Gateway::with(backend.with("retries: 0").with("tls: {insecureSkipVerify: true}"));
    gateway.get("/x").assert_problem(502, "connect_failed");
}
