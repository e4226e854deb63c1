//! `server`, `admin`, `logging`.

use super::*;

fn with(keys: &str) -> String {
    format!("{GOOD}{keys}\n")
}

#[test]
fn hosts_to_bind_are_addresses_or_names() {
    for (host, read) in
        [("0.0.0.0", "0.0.0.0"), ("'::'", "::"), ("'[::1]'", "::1"), ("localhost", "localhost")]
    {
        assert_eq!(good(&with(&format!("server: {{host: {host}}}"))).settings.server.host, read);
    }
    for host in ["'http://x'", "'x:80'", "''", "10.0.0.256", "'a b'", "-x"] {
        refused(
            &with(&format!("server: {{host: {host}}}")),
            "2:16",
            &["`server.host` must be an address or a host name"],
        );
    }
}

#[test]
fn trusted_proxies_are_networks_or_addresses() {
    let settings =
        good(&with("server: {trustedProxies: [10.1.2.3/8, 192.168.0.1, '::1', 'fd00::/8']}")).settings;
    let proxies: Vec<String> = settings.server.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["10.0.0.0/8", "192.168.0.1/32", "::1/128", "fd00::/8"]);
    refused(
        &with("server: {trustedProxies: [10.0.0.0/33]}"),
        "2:27",
        &["`server.trustedProxies[0]` must be a network"],
    );
    refused(&with("server: {trustedProxies: [0.0.0.0/0]}"), "2:27", &["warning", "trusts everybody"]);
    refused(&with("server: {trustedProxies: 10.0.0.0/8}"), "2:26", &["must be a list"]);
}

#[test]
fn server_tls_needs_both_files_and_they_must_be_readable() {
    let file = TempFile::new("cert.pem", b"x");
    let path = file.path();
    let tls =
        good(&with(&format!("server: {{tls: {{certFile: {path}, keyFile: {path}}}}}"))).settings.server.tls;
    assert_eq!(tls.map(|tls| tls.cert_file), Some(file.0.clone()));
    refused(
        &with(&format!("server: {{tls: {{certFile: {path}}}}}")),
        "2:10",
        &["`server.tls.keyFile` is required"],
    );
    for (key_file, why) in
        [("/nonexistent/k.pem", "cannot read `/nonexistent/k.pem`"), ("/", "it is not a file")]
    {
        let line = format!("server: {{tls: {{certFile: {path}, keyFile: ");
        let text = with(&format!("{line}{key_file}}}}}"));
        refused(&text, &format!("2:{}", line.len() + 1), &["`server.tls.keyFile`", why]);
    }
    assert_eq!(lines(&with("server: {tls: {}}")).len(), 2);
}

/// `server.tls` with this beside a certificate, from column 16 on of line 2.
fn tls(name: &str, keys: &str) -> (TempFile, String) {
    let file = TempFile::new(name, b"x");
    let text =
        with(&format!("server: {{tls: {{{keys}, certFile: {path}, keyFile: {path}}}}}", path = file.path()));
    (file, text)
}

#[test]
fn a_certificate_for_names_needs_both_files_and_names_that_clients_ask_for() {
    let file = TempFile::new("named.pem", b"x");
    let pair = format!("certFile: {path}, keyFile: {path}", path = file.path());
    let (_beside, text) = tls(
        "beside.pem",
        &format!("certificates: [{{hosts: [A.test, '*.b.test', a.test], {pair}}}, {{{pair}}}]"),
    );
    let certificates = good(&text).settings.server.tls.unwrap().certificates;
    assert_eq!(certificates[0].hosts, ["a.test", "*.b.test"]);
    assert_eq!((certificates[1].hosts.len(), &certificates[1].key_file), (0, &file.0));
    for (host, why) in [
        ("192.0.2.1", "no client asks by name"),
        ("'[::1]'", "no client asks by name"),
        ("'*'", "matches every host"),
        ("a.*.test", "only a leading"),
        ("'a.test:443'", "without a port"),
    ] {
        let (_beside, text) = tls("beside.pem", &format!("certificates: [{{hosts: [{host}], {pair}}}]"));
        refused(&text, "2:40", &["`server.tls.certificates[0].hosts[0]`", why]);
    }
    let (_beside, text) = tls("beside.pem", &format!("certificates: [{{certFile: {}}}]", file.path()));
    refused(&text, "2:31", &["`server.tls.certificates[0].keyFile` is required"]);
}

#[test]
fn the_oldest_version_of_tls_is_one_of_two() {
    let (_beside, text) = tls("version.pem", "minVersion: '1.3'");
    assert_eq!(good(&text).settings.server.tls.unwrap().min_version.as_str(), "1.3");
    for (version, why) in [("'1.1'", "must be `1.2` or `1.3`"), ("1.3", "put it in quotes")] {
        let (_beside, text) = tls("version.pem", &format!("minVersion: {version}"));
        refused(&text, "2:28", &["`server.tls.minVersion`", why]);
    }
}

#[test]
fn escaped_slash_is_reject_or_keep() {
    refused(&with("server: {paths: {escapedSlash: decode}}"), "2:32", &["`reject` or `keep`"]);
}

#[test]
fn an_admin_listener_for_others_needs_a_token() {
    refused(&with("admin: {host: 0.0.0.0}"), "2:15", &["refuses to start", "AEGIS_ADMIN_TOKEN"]);
    refused(&with("admin: {host: 0.0.0.0, token: ''}"), "2:15", &["refuses to start"]);
    assert_eq!(good(&with("admin: {host: 0.0.0.0, token: abc}")).settings.admin.token, "abc");
    for host in ["127.0.0.2", "'::1'", "localhost", "'::ffff:127.0.0.1'"] {
        good(&with(&format!("admin: {{host: {host}}}")));
    }
    let problems = load_from(GOOD, &env(&[("AEGIS__ADMIN__HOST", "10.0.0.1")])).unwrap_err().to_string();
    assert!(problems.starts_with("environment:1:1: error: `admin.host`"), "{problems}");
}

#[test]
fn a_token_that_no_header_can_carry_is_refused_without_being_shown() {
    refused(&with("admin: {token: 'hunter 2'}"), "2:16", &["visible ASCII"]);
    assert!(!one(&with("admin: {token: 'hunter 2'}")).contains("hunter"));
}

#[test]
fn allowed_origins_are_scheme_and_host() {
    let origins = good(&with("admin: {allowedOrigins: ['https://A.example', 'http://b:3000']}"))
        .settings
        .admin
        .allowed_origins;
    assert_eq!(origins, ["https://a.example", "http://b:3000"]);
    for (origin, why) in [
        ("*", "every page"),
        ("null", "every page"),
        ("a.example", "scheme://host"),
        ("https://a/x", "no path"),
        ("https://u@a", "no path, query or user"),
        ("ftp://a", "`http` or `https`"),
    ] {
        refused(
            &with(&format!("admin: {{allowedOrigins: ['{origin}']}}")),
            "2:26",
            &["`admin.allowedOrigins[0]`", why],
        );
    }
}

#[test]
fn both_listeners_on_one_port_is_an_error() {
    refused(&with("admin: {port: 8080}"), "2:15", &["both listen on port 8080"]);
    refused(&with("server: {port: 8081, host: 127.0.0.1}"), "2:16", &["both listen on port 8081"]);
    refused(&with("server: {port: 81, host: localhost}\nadmin: {port: 81}"), "3:15", &["both listen"]);
    good(&with("server: {port: 81, host: 10.0.0.1}\nadmin: {port: 81}"));
    good(&with("server: {port: 0}\nadmin: {port: 0}"));
}
