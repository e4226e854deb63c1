//! Client certificates: which routes want one, and which upstreams are told of it.

use std::path::PathBuf;

use aegis_schema::{Section, choice};

use super::{Backend, Route, Settings};

choice! {
    /// `clientAuth`, of the listener, a backend or a route.
    pub enum ClientAuth {
        /// Nobody is asked for one.
        #[default]
        None = "none",
        /// Who has one shows it; who has none may pass.
        Optional = "optional",
        /// Who has none is refused.
        Required = "required",
    }
}

choice! {
    /// `backends[].forwardClientCert`.
    pub enum ForwardClientCert {
        /// Nothing.
        #[default]
        Off = "off",
        /// `Client-Cert` (RFC 9440).
        Leaf = "leaf",
        /// `Client-Cert-Chain` too.
        Chain = "chain",
    }
}

impl Settings {
    /// What holds for a route: its own word, else its backend's, else the listener's.
    pub fn client_auth(&self, backend: &Backend, route: &Route) -> ClientAuth {
        let listener = || self.server.tls.as_ref().map_or(ClientAuth::None, |tls| tls.client_auth);
        route.client_auth.or(backend.client_auth).unwrap_or_else(listener)
    }
}

/// Judges what needs the listener, its backends and their routes together; `root` says where to point.
pub(in crate::config) fn check(settings: &Settings, root: &Section<'_>) {
    for (backend, section) in settings.backends.iter().zip(root.sections("backends")) {
        let asks = |route: &Route| settings.client_auth(backend, route) != ClientAuth::None;
        if backend.forward_client_cert != ForwardClientCert::Off && !backend.routes.iter().any(asks) {
            section.warning_of(
                "forwardClientCert",
                "has nothing to tell: no route of this backend wants a client certificate; set `clientAuth`, or remove the key",
            );
        }
    }
    let wanting = wanting(settings, root);
    let Some(tls) = &settings.server.tls else { return without_tls(&wanting) };
    let Some(section) = root.child("server").and_then(|server| server.child("tls")) else { return };
    // One that was written and cannot be used has been told of.
    let written = |key: &str, file: &Option<PathBuf>| file.is_some() || section.has(key);
    let believed = written("clientCaFile", &tls.client_ca_file);
    if let (false, Some((first, _))) = (believed, wanting.first()) {
        first.error_of(
            "clientAuth",
            "needs `server.tls.clientCaFile`, which holds the authorities whose certificates are believed: add it, or remove the \
             key",
        );
    }
    if wanting.is_empty() {
        section.warning_of(
            "clientCaFile",
            "has no effect, for nobody is asked for a certificate: set `clientAuth`, here or for backends or routes, or remove \
             the key",
        );
    }
    if !believed {
        section.warning_of(
            "crlFile",
            "has no effect without `clientCaFile`, whose certificates it revokes: add that, or remove the key",
        );
    }
}

/// The sections that ask for certificates themselves, with what they say.
fn wanting<'a>(settings: &Settings, root: &Section<'a>) -> Vec<(Section<'a>, ClientAuth)> {
    let mut all = Vec::new();
    let mut look = |section: Option<Section<'a>>, rule: Option<ClientAuth>| {
        let rule = rule.filter(|rule| *rule != ClientAuth::None);
        all.extend(section.zip(rule));
    };
    let listener = root.child("server").and_then(|server| server.child("tls"));
    look(listener, settings.server.tls.as_ref().map(|tls| tls.client_auth));
    for (backend, section) in settings.backends.iter().zip(root.sections("backends")) {
        let routes = section.sections("routes");
        look(Some(section), backend.client_auth);
        for (route, section) in backend.routes.iter().zip(routes) {
            look(Some(section), route.client_auth);
        }
    }
    all
}

/// Over plain HTTP nobody can show a certificate.
fn without_tls(wanting: &[(Section<'_>, ClientAuth)]) {
    for (section, rule) in wanting {
        match rule {
            ClientAuth::Required => section.error_of(
                "clientAuth",
                "is `required`, and the listener speaks plain HTTP, over which nobody can show a certificate: add `server.tls`, \
                 or remove the key",
            ),
            ClientAuth::Optional | ClientAuth::None => section.warning_of(
                "clientAuth",
                "has no effect over plain HTTP: add `server.tls`, or remove the key",
            ),
        }
    }
}
