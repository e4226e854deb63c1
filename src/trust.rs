//! Whom this process believes when it is the client of a TLS connection: towards backends, webhooks and PostgreSQL.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// Whose certificates are good enough.
pub enum Trust {
    /// Issued under one of these roots for the name that was asked for.
    Named(RootCertStore),
    /// Issued under one of these roots for whatever name.
    Issued(RootCertStore),
    /// Any at all: what is sent is hidden from listeners, not from somebody who stands in between.
    Anybody,
}

impl Trust {
    /// A client's configuration, without a protocol to agree on.
    ///
    /// # Errors
    /// rustls refuses the protocol versions of its own provider.
    pub fn client(self) -> Result<ClientConfig, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let roots = match self {
            Self::Named(roots) => return Ok(builder.with_root_certificates(roots).with_no_client_auth()),
            Self::Issued(roots) => Some(roots),
            Self::Anybody => None,
        };
        let verifier = Arc::new(Nameless { provider, roots });
        Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
    }
}

/// The certificates of a PEM file. Without one those that the environment names for every program of the machine
/// (`SSL_CERT_FILE`, `SSL_CERT_DIR`), else the roots of the web that are built in.
///
/// # Errors
/// What is wrong with the file, without its name.
pub fn roots(bundle: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(path) = bundle else {
        let named = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        if named("SSL_CERT_FILE") || named("SSL_CERT_DIR") {
            let found = rustls_native_certs::load_native_certs();
            let (good, _) = roots.add_parsable_certificates(found.certs);
            if good > 0 {
                return Ok(roots);
            }
            let why = found.errors.first().map_or("no certificate".to_owned(), ToString::to_string);
            return Err(format!("nothing usable in SSL_CERT_FILE or SSL_CERT_DIR: {why}"));
        }
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        return Ok(roots);
    };
    for certificate in CertificateDer::pem_file_iter(path).map_err(|e| e.to_string())? {
        let certificate = certificate.map_err(|e| e.to_string())?;
        roots.add(certificate).map_err(|e| e.to_string())?;
    }
    if roots.is_empty() {
        return Err("holds no PEM certificate".into());
    }
    Ok(roots)
}

/// Looks at who issued a certificate, or at nothing; never at its names. The handshake's signatures are checked always.
#[derive(Debug)]
struct Nameless {
    provider: Arc<CryptoProvider>,
    roots: Option<RootCertStore>,
}

impl ServerCertVerifier for Nameless {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(roots) = &self.roots {
            let certificate = ParsedCertificate::try_from(certificate)?;
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
