//! What tests of client certificates have in common: a gateway that believes an authority, and clients of it.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::{ClientConfig, DEFAULT_VERSIONS, SupportedProtocolVersion};

use super::certificates::Identity;
use super::client::{Call, Client};
use super::folder::Folder;
use super::gateway::{Builder, Gateway};
use super::response::Response;
use super::tls::Authority;

const NAMES: [&str; 4] = ["127.0.0.1", "a.test", "b.test", "c.test"];

/// The authorities of one test, and what the gateway reads of them.
pub struct Pki {
    pub folder: Folder,
    pub servers: Authority,
    pub clients: Authority,
}

impl Pki {
    /// New ones that nobody knows, in files.
    pub fn new() -> Self {
        let (folder, servers, clients) = (Folder::new(), Authority::new(), Authority::new());
        servers.issue(&NAMES).write_pem(folder.path());
        clients.write_pem(&folder.path().join("clients.pem"));
        Self { folder, servers, clients }
    }

    /// One of its files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `server.tls`, with these further keys.
    fn section(&self, keys: &str) -> String {
        let file = |name| self.file(name).display().to_string();
        format!(
            "tls: {{certFile: \"{}\", keyFile: \"{}\", clientCaFile: \"{}\", {keys}}}",
            file("cert.pem"),
            file("key.pem"),
            file("clients.pem")
        )
    }

    /// A gateway with these further keys of `server.tls`.
    pub fn builder(&self, keys: &str) -> Builder {
        Gateway::builder().server(&self.section(keys))
    }

    /// With a revocation list on which nobody is.
    pub fn builder_with_list(&self, keys: &str) -> Builder {
        self.clients.write_revoked(&self.file("crl.pem"), &[]);
        self.builder(&self.list_key(keys))
    }

    fn list_key(&self, keys: &str) -> String {
        format!("crlFile: \"{}\", {keys}", self.file("crl.pem").display())
    }

    /// A client that shows it, or none.
    pub fn client(&self, shown: Option<&Identity>) -> Arc<ClientConfig> {
        self.client_of(DEFAULT_VERSIONS, &["http/1.1"], shown)
    }

    /// The same, of some versions of TLS and with some protocols.
    pub fn client_of(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
        shown: Option<&Identity>,
    ) -> Arc<ClientConfig> {
        let config = self.servers.client_of(versions, protocols);
        shown.map_or_else(|| config.clone(), |shown| shown.shown_by(&config))
    }
}

/// The answer to a request for this host on a connection for that name; `None` where the connection is refused, which a
/// client of TLS 1.3 is told only after its handshake.
pub fn ask(gateway: &Gateway, name: &str, config: &Arc<ClientConfig>, call: &Call) -> Option<Response> {
    let (mut client, _, _) = Client::secure_for(name, gateway.addr, config).ok()?;
    client.try_send(call).ok()
}

/// The status of the answer to a request for `a.test`, likewise.
pub fn status(gateway: &Gateway, config: &Arc<ClientConfig>) -> Option<u16> {
    ask(gateway, "a.test", config, &to("a.test")).map(|response| response.status)
}

/// A request for this host.
pub fn to(host: &str) -> Call {
    Call::get("/x").header("Host", host)
}

/// A connection for `a.test` that has been used.
pub fn open(gateway: &Gateway, config: &Arc<ClientConfig>) -> Client {
    let (mut client, _, _) = Client::secure_for("a.test", gateway.addr, config).unwrap();
    assert_eq!(client.send(&to("a.test")).status, 200);
    client
}
