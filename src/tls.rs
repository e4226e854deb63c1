//! TLS on the gateway listener: certificate and key from files, loaded again when they change.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;
use x509_cert::der::Decode as _;
use x509_cert::time::Validity;

use crate::config::settings::ServerTls as Settings;

/// Why a certificate cannot be served.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// Missing, unreadable, or no PEM.
    #[error("server.tls.{key} {path}: {what}")]
    File { key: &'static str, path: String, what: String },
    /// The key is not the certificate's, or of a kind that is not supported.
    #[error("server.tls: certFile {cert} and keyFile {key} cannot be used together: {what}")]
    Pair { cert: String, key: String, what: String },
}

/// The listener's current TLS configuration. Connections keep the one that they were accepted with.
pub struct ServerTls(ArcSwap<Served>);

/// What is served.
pub struct Served {
    config: Arc<ServerConfig>,
    /// What is known of it.
    pub certificate: Certificate,
}

/// What is known of a certificate.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Its file, as configured.
    pub name: String,
    /// When the last of it and those that it is sent with begins; `None` where that cannot be told.
    pub begins: Option<SystemTime>,
    /// When the first of them ends, likewise.
    pub ends: Option<SystemTime>,
}

impl ServerTls {
    /// Loads the files.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn load(settings: &Settings) -> Result<Arc<Self>, CertificateError> {
        Ok(Arc::new(Self(ArcSwap::from_pointee(read(settings)?))))
    }

    /// Serves another certificate from now on.
    pub fn replace(&self, served: Served) {
        self.0.store(Arc::new(served));
    }

    /// An acceptor for one connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.load().config.clone())
    }

    /// The certificate that new connections get.
    pub fn certificate(&self) -> Certificate {
        self.0.load().certificate.clone()
    }
}

impl CertificateError {
    /// The key of `server.tls` that is to be mended.
    pub fn key(&self) -> &'static str {
        match self {
            Self::File { key, .. } => key,
            Self::Pair { .. } => "keyFile",
        }
    }
}

/// Reads certificate and key.
///
/// # Errors
/// [`CertificateError`].
pub fn read(settings: &Settings) -> Result<Served, CertificateError> {
    let fail = |key, path: &Path, what: String| CertificateError::File {
        key,
        path: path.display().to_string(),
        what,
    };
    let pair = |error| CertificateError::Pair {
        cert: settings.cert_file.display().to_string(),
        key: settings.key_file.display().to_string(),
        what: match error {
            rustls::Error::InconsistentKeys(_) => "the key is not the certificate's".to_owned(),
            error => error.to_string(),
        },
    };
    let cert_file = |what| fail("certFile", &settings.cert_file, what);
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&settings.cert_file)
        .and_then(Iterator::collect)
        .map_err(|e| cert_file(e.to_string()))?;
    if chain.is_empty() {
        return Err(cert_file("holds no PEM certificate".into()));
    }
    let validity = || chain.iter().filter_map(validity);
    let certificate = Certificate {
        name: settings.cert_file.display().to_string(),
        begins: validity().map(|validity| validity.not_before.to_system_time()).max(),
        ends: validity().map(|validity| validity.not_after.to_system_time()).min(),
    };
    let key = PrivateKeyDer::from_pem_file(&settings.key_file).map_err(|error| {
        let what = match error {
            pem::Error::NoItemsFound => {
                "holds no PEM private key (an encrypted one must be decrypted)".into()
            }
            error => error.to_string(),
        };
        fail("keyFile", &settings.key_file, what)
    })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(pair)?;
    config.alpn_protocols = [&b"h2"[..], b"http/1.1", b"http/1.0"].map(<[u8]>::to_vec).to_vec();
    Ok(Served { config: Arc::new(config), certificate })
}

fn validity(der: &CertificateDer<'_>) -> Option<Validity> {
    Some(x509_cert::Certificate::from_der(der).ok()?.tbs_certificate.validity)
}
