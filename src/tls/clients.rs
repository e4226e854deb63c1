//! Whose client certificates are believed: those under the authorities of `clientCaFile`, less what `crlFile` revokes.
//!
//! rustls judges a certificate in the handshake, and never again: not where a session is resumed, not while the connection
//! lasts. So what it judges by is kept, and a [`Verdict`] on a certificate says until when it holds.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aegis_schema::section::quoted;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use x509_cert::crl::CertificateList;
use x509_cert::der::Decode as _;
use x509_cert::name::Name;

use super::CertificateError;
use crate::config::settings::ServerTls;
use crate::trust;

/// How long a verdict against a certificate holds: whoever has it may not make this gateway verify signatures all the time.
const REFUSED_MS: u64 = 1000;

/// See the module.
pub struct ClientTrust {
    verifier: Arc<dyn ClientCertVerifier>,
    /// Stands for what is in the files.
    id: u64,
    authorities: Vec<Name>,
    lists: Option<Vec<List>>,
}

/// A revocation list.
struct List {
    issuer: Name,
    ends: Option<SystemTime>,
}

/// What was found of a certificate, and how long that holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The [`ClientTrust`] that found it; none yet.
    by: Option<u64>,
    until_ms: u64,
    /// It is believed.
    pub good: bool,
}

impl ClientTrust {
    /// Reads the files, where there are authorities. Of what `config` could not open it has told.
    ///
    /// # Errors
    /// What is wrong with either file.
    pub fn read(
        settings: &ServerTls,
        provider: Arc<CryptoProvider>,
    ) -> Result<Option<Self>, CertificateError> {
        let Some(bundle) = &settings.client_ca_file else { return Ok(None) };
        let wrong = |key: &str, file: &Path, what: String| CertificateError {
            key: format!("server.tls.{key}"),
            what: format!("{}: {what}", file.display()),
        };
        let roots = trust::roots(Some(bundle)).map_err(|why| {
            wrong("clientCaFile", bundle, format!("{why}; it must hold certificates in PEM"))
        })?;
        let mut hasher = DefaultHasher::new();
        for root in &roots.roots {
            (&*root.subject, &*root.subject_public_key_info).hash(&mut hasher);
            root.name_constraints.as_deref().hash(&mut hasher);
        }
        let authorities = names(&roots);
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            // Which requests may come without one is for their routes to say.
            .allow_unauthenticated()
            .enforce_revocation_expiration();
        let mut lists = None;
        if let Some(file) = &settings.crl_file {
            let (ders, read) = read_lists(file).map_err(|what| wrong("crlFile", file, what))?;
            ders.iter().for_each(|der| der.as_ref().hash(&mut hasher));
            (builder, lists) = (builder.with_crls(ders), Some(read));
        }
        let named =
            settings.crl_file.as_deref().map_or(("clientCaFile", &**bundle), |file| ("crlFile", file));
        let verifier = builder.build().map_err(|error| wrong(named.0, named.1, error.to_string()))?;
        Ok(Some(Self { verifier, id: hasher.finish(), authorities, lists }))
    }

    /// What rustls judges handshakes by.
    pub fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        self.verifier.clone()
    }

    /// The verdict on a certificate, good until `ends_ms`, that this has just found good in a handshake.
    pub fn found_good(&self, ends_ms: u64, now_ms: u64) -> Verdict {
        let lists = self.lists.iter().flatten().filter_map(|list| list.ends);
        let ends = lists.map(|ends| ends.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64);
        // One that ends is one that may not be relied on any more.
        let until_ms = ends.filter(|ends| *ends > now_ms).chain([ends_ms]).min().unwrap_or(ends_ms);
        Verdict { by: Some(self.id), until_ms, good: true }
    }

    /// The verdict on a certificate, good until `ends_ms`, with the chain that it came with: the one `before` as long as it
    /// holds, which costs two comparisons.
    pub fn judge(&self, chain: &[CertificateDer<'_>], ends_ms: u64, before: Verdict, now_ms: u64) -> Verdict {
        if before.by == Some(self.id) && now_ms < before.until_ms {
            return before;
        }
        let now = UnixTime::since_unix_epoch(Duration::from_millis(now_ms));
        let good = chain.split_first().is_some_and(|(leaf, others)| {
            now_ms < ends_ms && self.verifier.verify_client_cert(leaf, others, now).is_ok()
        });
        match good {
            true => self.found_good(ends_ms, now_ms),
            false => Verdict { by: Some(self.id), until_ms: now_ms + REFUSED_MS, good },
        }
    }

    /// What of `crlFile` has clients refused that nobody has revoked.
    pub fn doubts(&self, now: SystemTime) -> Vec<String> {
        let Some(lists) = &self.lists else { return Vec::new() };
        let ended = lists.iter().filter_map(|list| {
            let ends = list.ends.filter(|ends| *ends <= now)?;
            Some(format!(
                "holds a list of {} that ended at {}, and clients under that authority are refused since: get a new one",
                quoted(&list.issuer.to_string()),
                humantime::format_rfc3339_seconds(ends)
            ))
        });
        let without = self.authorities.iter().filter(|name| lists.iter().all(|list| list.issuer != **name));
        let missing = without.map(|name| {
            format!(
                "holds no list of {}, an authority of `clientCaFile`, and clients under it are refused: add one, an empty one if \
                 nothing is revoked",
                quoted(&name.to_string())
            )
        });
        ended.chain(missing).collect()
    }
}

fn names(roots: &RootCertStore) -> Vec<Name> {
    roots.subjects().iter().filter_map(|name| Name::from_der(name.as_ref()).ok()).collect()
}

type Lists = (Vec<CertificateRevocationListDer<'static>>, Vec<List>);

fn read_lists(file: &Path) -> Result<Lists, String> {
    let ders = CertificateRevocationListDer::pem_file_iter(file).and_then(Iterator::collect);
    let ders: Vec<_> = ders.map_err(|error| error.to_string())?;
    if ders.is_empty() {
        return Err("holds no PEM revocation list (X509 CRL)".to_owned());
    }
    let list = |der: &CertificateRevocationListDer<'_>| {
        let list = CertificateList::from_der(der)
            .map_err(|error| format!("holds a list that cannot be read: {error}"))?;
        let ends = list.tbs_cert_list.next_update.map(|ends| ends.to_system_time());
        Ok(List { issuer: list.tbs_cert_list.issuer, ends })
    };
    let lists = ders.iter().map(list).collect::<Result<_, String>>()?;
    Ok((ders, lists))
}
