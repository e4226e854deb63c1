//! `clientAuth` of listener, backends and routes, and what goes with it.

use super::*;
use crate::config::settings::{ClientAuth, ForwardClientCert};

/// A configuration with `server.tls` and these keys in it on line 2, and a backend with these on line 3.
fn text(file: &TempFile, tls: &str, backend: &str) -> String {
    let path = file.path();
    format!(
        "server: {{tls: {{certFile: {path}, keyFile: {path},\n  {}}}}}\nbackends: [{{name: a, url: 'http://h:1', {backend}}}]\n",
        tls.replace("FILE", path)
    )
}

#[test]
fn a_route_goes_before_its_backend_and_that_before_the_listener() {
    let file = TempFile::new("client-auth.pem", b"x");
    let routes = "clientAuth: none, forwardClientCert: chain, routes: [/x, {path: /y, clientAuth: optional}, {path: /z, deny: true}]";
    let other = ", {name: b, url: 'http://h:1', routes: [/w]}]";
    let text = text(&file, "clientAuth: required, clientCaFile: FILE, crlFile: FILE", routes);
    let loaded = good(&(text.trim_end().trim_end_matches(']').to_owned() + other));
    assert_eq!(loaded.warnings, []);
    let settings = loaded.settings;
    let rules = settings.backends.iter().flat_map(|backend| {
        let settings = &settings;
        backend.routes.iter().map(move |route| settings.client_auth(backend, route))
    });
    use ClientAuth::{None, Optional, Required};
    assert_eq!(rules.collect::<Vec<_>>(), [None, Optional, None, Required]);
    assert_eq!(settings.backends[0].forward_client_cert, ForwardClientCert::Chain);
}

#[test]
fn whoever_asks_for_certificates_says_whose_are_believed() {
    let file = TempFile::new("client-auth-ca.pem", b"x");
    let needs = "needs `server.tls.clientCaFile`";
    refused(
        &text(&file, "clientAuth: optional", "routes: [/x]"),
        "2:15",
        &["error: `server.tls.clientAuth`", needs],
    );
    refused(
        &text(&file, "", "clientAuth: required, routes: [/x]"),
        "3:53",
        &["error: `backends[0].clientAuth`", needs],
    );
    let route = "routes: [/x, {path: /y, clientAuth: required}]";
    refused(&text(&file, "", route), "3:77", &["error: `backends[0].routes[1].clientAuth`", needs]);
    // One that cannot be read is there.
    refused(
        &text(&file, "clientAuth: optional, clientCaFile: /nonexistent", "routes: [/x]"),
        "2:39",
        &["cannot read"],
    );
}

#[test]
fn what_has_no_effect_is_a_warning() {
    let file = TempFile::new("client-auth-idle.pem", b"x");
    let no_effect = |keys: &str, at: &str, key: &str| {
        refused(&text(&file, keys, "routes: [/x]"), at, &["warning", key, "has no effect"]);
    };
    no_effect("clientCaFile: FILE", "2:17", "server.tls.clientCaFile");
    no_effect("crlFile: FILE", "2:12", "server.tls.crlFile");
    let told = "clientAuth: optional, clientCaFile: FILE";
    let backend = "clientAuth: none, forwardClientCert: leaf, routes: [/x]";
    refused(
        &text(&file, told, backend),
        "3:78",
        &["warning", "backends[0].forwardClientCert", "has nothing to tell"],
    );
}

#[test]
fn over_plain_http_nobody_can_show_one() {
    let plain = |keys: &str| format!("backends: [{{name: a, url: 'http://h:1', {keys}}}]\n");
    let tls = "add `server.tls`";
    refused(&plain("clientAuth: required, routes: [/x]"), "1:53", &["error: `backends[0].clientAuth`", tls]);
    refused(
        &plain("routes: [{path: /x, clientAuth: required}]"),
        "1:73",
        &["error", "routes[0].clientAuth", tls],
    );
    refused(
        &plain("routes: [{path: /x, clientAuth: optional}]"),
        "1:73",
        &["warning", "routes[0].clientAuth", tls],
    );
    assert_eq!(good(&plain("clientAuth: none, routes: [/x]")).warnings, []);
    refused(&plain("clientAuth: requird, routes: [/x]"), "1:53", &["did you mean `required`?"]);
}
