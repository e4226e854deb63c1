//! The client's certificate: what is known of the one that came with a connection, and whether a request may go on with it
//! or without.
//!
//! The handshake has verified it once, or, where a session was resumed, an earlier one has. What holds now is asked for each
//! request, which costs two comparisons as long as nothing has changed.

mod facts;

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::{HandshakeKind, ServerConnection};
use rustls_pki_types::CertificateDer;

pub use self::facts::CertificateFacts;
use super::answer::Cause;
use super::peer::Peer;
use super::request::Request;
use crate::auth::mtls::Why;
use crate::auth::{Auth, Identity, Refusal};
use crate::config::settings::{ClientAuth, ForwardClientCert};
use crate::tls::{Served, ServerTls, Verdict};

/// See the module; one for a connection.
pub struct ClientCertificate {
    /// As it came, the client's own first.
    chain: Vec<CertificateDer<'static>>,
    /// What it says.
    pub facts: CertificateFacts,
    tls: Arc<ServerTls>,
    verdict: Cell<Verdict>,
    /// Whose it is, in the configuration with this number.
    known: RefCell<Option<(u64, Result<Rc<Identity>, Refusal>)>>,
    leaf_field: OnceCell<Box<[u8]>>,
    chain_field: OnceCell<Box<[u8]>>,
}

impl ClientCertificate {
    /// That of a connection that has just been made as `served` says.
    pub fn of(session: &ServerConnection, tls: &Arc<ServerTls>, served: &Served) -> Option<Self> {
        let chain: Vec<_> = session.peer_certificates()?.iter().map(|one| one.clone().into_owned()).collect();
        let facts = CertificateFacts::read(chain.first()?).unwrap_or_else(|error| {
            // It has no end then, and is never found good.
            log::warn!("a client's certificate is refused, for it cannot be read: {error}");
            CertificateFacts::default()
        });
        // Of a session that is resumed it is not known by what its certificate was judged.
        let whole = session.handshake_kind().is_some_and(|kind| kind != HandshakeKind::Resumed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let clients = served.clients.as_ref().filter(|_| whole);
        let verdict = clients.map(|clients| clients.found_good(facts.ends_ms, now)).unwrap_or_default();
        let (tls, verdict) = (tls.clone(), Cell::new(verdict));
        Some(Self {
            chain,
            facts,
            tls,
            verdict,
            known: RefCell::default(),
            leaf_field: OnceCell::new(),
            chain_field: OnceCell::new(),
        })
    }

    /// Whose it is, by the table of a configuration; looked up once for each.
    ///
    /// # Errors
    /// It is nobody's.
    pub fn identity(&self, auth: &Auth, generation: u64) -> Result<Rc<Identity>, Refusal> {
        let mut known = self.known.borrow_mut();
        match &*known {
            Some((of, found)) if *of == generation => found.clone(),
            _ => known.insert((generation, self.look_up(auth))).1.clone(),
        }
    }

    fn look_up(&self, auth: &Auth) -> Result<Rc<Identity>, Refusal> {
        let table = auth.mtls.as_ref().ok_or(Refusal::Invalid("a certificate, which proves nobody here"))?;
        match table.identity(&self.facts.names) {
            Ok(found) => {
                let ends = self.facts.ends_ms / 1000;
                Ok(Rc::new(Identity::of_certificate(&found, ends, auth.role_names())))
            }
            Err(Why::Nameless) => {
                Err(Refusal::Invalid("a certificate without a name of the kinds looked at"))
            }
            Err(Why::Unlisted) => Err(Refusal::Invalid("a certificate that no entry is for")),
        }
    }

    /// Whether it is believed at this time: not ended, not revoked, and under an authority that is still believed.
    pub fn stands(&self, now_ms: u64) -> bool {
        let served = self.tls.look();
        let Some(clients) = &served.clients else { return false };
        let verdict = clients.judge(&self.chain, self.facts.ends_ms, self.verdict.get(), now_ms);
        self.verdict.set(verdict);
        verdict.good
    }

    /// The values of `Client-Cert` and `Client-Cert-Chain` (RFC 9440 §2), made once; empty = none.
    fn fields(&self, which: ForwardClientCert) -> [&[u8]; 2] {
        let leaf = || self.leaf_field.get_or_init(|| binaries(&self.chain[..1]));
        let chain = || self.chain_field.get_or_init(|| binaries(&self.chain[1..]));
        match which {
            ForwardClientCert::Off => [&[], &[]],
            ForwardClientCert::Leaf => [leaf(), &[]],
            ForwardClientCert::Chain => [leaf(), chain()],
        }
    }
}

/// A list of byte sequences (RFC 8941 §3.3.5).
fn binaries(certificates: &[CertificateDer<'_>]) -> Box<[u8]> {
    let each = certificates.iter().map(|one| format!(":{}:", STANDARD.encode(one)));
    each.collect::<Vec<_>>().join(", ").into_bytes().into()
}

/// Whether a request may go on as far as its route's rule on certificates is concerned.
///
/// # Errors
/// [`Cause::Misdirected`] where another connection may bring what is missing on this one, [`Cause::ClientCertificateMissing`]
/// and [`Cause::ClientCertificateInvalid`].
pub fn check(request: &Request, rule: ClientAuth) -> Result<(), Cause> {
    if rule == ClientAuth::None {
        return Ok(());
    }
    let (peer, now_ms) = (&request.peer, request.record.arrived_ms);
    let other_host = peer.asked_for_other_than(request.head.host_name());
    let verdict = judge(peer, rule, other_host, now_ms);
    if verdict.is_err() && !other_host {
        // A client that does not know better would go on asking in vain. One that was made for another host is good for that.
        peer.make_unfit();
    }
    verdict
}

/// What [`check`] would say to a request for `host` on that connection, and does nothing.
///
/// # Errors
/// As there.
pub fn verdict(peer: &Peer, rule: ClientAuth, host: &str, now_ms: u64) -> Result<(), Cause> {
    judge(peer, rule, peer.asked_for_other_than(host), now_ms)
}

fn judge(peer: &Peer, rule: ClientAuth, other_host: bool, now_ms: u64) -> Result<(), Cause> {
    match (rule, &peer.certificate) {
        (ClientAuth::None, _) => Ok(()),
        (_, Some(certificate)) if certificate.stands(now_ms) => Ok(()),
        (_, Some(_)) => Err(Cause::ClientCertificateInvalid),
        // Whoever was not asked on a connection for another host may have one.
        (ClientAuth::Optional, None) if other_host && !peer.asked => Err(Cause::Misdirected),
        (ClientAuth::Optional, None) => Ok(()),
        // The user may have declined for the other host. Who was not asked for this one has connected before a reload.
        (ClientAuth::Required, None) if other_host || !peer.asked => Err(Cause::Misdirected),
        (ClientAuth::Required, None) => Err(Cause::ClientCertificateMissing),
    }
}

/// The certificate that a request on a route with this rule has come with; [`check`] has passed.
pub fn presented(peer: &Peer, rule: ClientAuth) -> Option<&Rc<ClientCertificate>> {
    peer.certificate.as_ref().filter(|_| rule != ClientAuth::None)
}

/// What an upstream is told of it: the values of `Client-Cert` and `Client-Cert-Chain`, empty = none. `None`: nothing is
/// said, and what a trusted proxy says of its own client passes.
pub fn told(peer: &Peer, rule: ClientAuth, which: ForwardClientCert) -> Option<[&[u8]; 2]> {
    let fields = || presented(peer, rule).map_or([&[][..]; 2], |certificate| certificate.fields(which));
    (which != ForwardClientCert::Off).then(fields)
}
