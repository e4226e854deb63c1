//! TLS settings of a backend turned into what rustls wants.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use thiserror::Error;

use crate::config::settings::UpstreamTls;
use crate::trust::{self, Trust};

/// Why a backend's TLS settings cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The bundle cannot be read or holds no certificate.
    #[error("caFile {0}: {1}")]
    CaFile(PathBuf, String),
    /// Likewise what the environment names instead.
    #[error("{0}")]
    Roots(String),
    /// rustls refused the protocol versions of its own provider.
    #[error("TLS setup: {0}")]
    Setup(#[from] rustls::Error),
}

/// The client configuration for one backend: its CA bundle or [`trust::roots`], ALPN `http/1.1` only, since the
/// transport speaks nothing else.
///
/// # Errors
/// [`TlsError`] when the bundle is unusable.
pub fn client_config(settings: &UpstreamTls) -> Result<Arc<ClientConfig>, TlsError> {
    let bundle = settings.ca_file.as_deref();
    let trust = if settings.insecure_skip_verify {
        Trust::Anybody
    } else {
        let fail = |why| match bundle {
            Some(bundle) => TlsError::CaFile(bundle.into(), why),
            None => TlsError::Roots(why),
        };
        Trust::Named(trust::roots(bundle).map_err(fail)?)
    };
    let mut config = trust.client()?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
