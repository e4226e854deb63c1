//! TLS on the gateway listener: certificates and keys from files, loaded again when they change, and whose client
//! certificates are believed.

mod asked;
mod by_name;
mod clients;

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use aegis_schema::section::quoted;
use arc_swap::{ArcSwap, Guard};
use rustls::crypto::CryptoProvider;
use rustls::server::WantsServerCert;
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ConfigBuilder, DEFAULT_VERSIONS, ServerConfig};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

pub use self::asked::Asked;
use self::by_name::ByName;
pub use self::clients::{ClientTrust, Verdict};
use crate::config::settings::{ServerTls as Settings, TlsVersion};

/// Why the certificates cannot be served: everything that is wrong with them.
#[derive(Debug, Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct CertificateErrors(pub Vec<CertificateError>);

/// What is wrong with one of them.
#[derive(Debug, Error)]
#[error("{key} {what}")]
pub struct CertificateError {
    /// The key of the configuration that is to be fixed, such as `server.tls.certificates[1].keyFile`.
    pub key: String,
    what: String,
}

/// The listener's current TLS configuration. Connections keep the one that they were accepted with.
pub struct ServerTls(ArcSwap<Served>);

/// What is served.
pub struct Served {
    /// It remembers the sessions that began with it and no others, so none outlives its certificate by being resumed.
    config: Arc<ServerConfig>,
    /// The same for those who are asked for a certificate, where anybody is.
    asking: Option<Arc<ServerConfig>>,
    asked: Asked,
    /// Whose certificates are believed; nobody's without `clientCaFile`.
    pub clients: Option<ClientTrust>,
    /// What is known of the certificates, each file once.
    pub certificates: Vec<Certificate>,
}

/// What is known of a certificate.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The key of the configuration that names its file, such as `server.tls.certFile`.
    pub key: String,
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
    /// [`CertificateErrors`].
    pub fn load(settings: &Settings, asked: Asked) -> Result<Arc<Self>, CertificateErrors> {
        Ok(Arc::new(Self(ArcSwap::from_pointee(read(settings, asked)?))))
    }

    /// Serves other certificates from now on.
    pub fn replace(&self, served: Served) {
        self.0.store(Arc::new(served));
    }

    /// What a new connection gets.
    pub fn current(&self) -> Arc<Served> {
        self.0.load_full()
    }

    /// The same, for a look at it.
    pub fn look(&self) -> Guard<Arc<Served>> {
        self.0.load()
    }

    /// The certificates that new connections get.
    pub fn certificates(&self) -> Vec<Certificate> {
        self.0.load().certificates.clone()
    }
}

impl Served {
    /// Whether somebody is asked for a certificate, so that the name that a client asks for must be known first.
    pub fn asks_somebody(&self) -> bool {
        self.asking.is_some()
    }

    /// For a client that asks for this name, which rustls gives in lower case and without a dot at its end; and whether it is
    /// asked for a certificate.
    pub fn config(&self, name: Option<&str>) -> (Arc<ServerConfig>, bool) {
        match self.asking.as_ref().filter(|_| self.asked.asks(name)) {
            Some(asking) => (asking.clone(), true),
            None => (self.config.clone(), false),
        }
    }
}

/// Reads certificates, keys and authorities; `asked` says whom to ask for a certificate.
///
/// # Errors
/// [`CertificateErrors`].
pub fn read(settings: &Settings, asked: Asked) -> Result<Served, CertificateErrors> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = match settings.min_version {
        TlsVersion::Tls12 => DEFAULT_VERSIONS,
        TlsVersion::Tls13 => &[&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions);
    let builder = builder.map_err(|error| {
        let (key, what) = ("server.tls.minVersion".to_owned(), error.to_string());
        CertificateErrors(vec![CertificateError { key, what }])
    })?;
    let clients = ClientTrust::read(settings, provider.clone());
    let (default, others, clients) = match (pairs(settings, &provider), clients) {
        (Ok((default, others)), Ok(clients)) => (default, others, clients),
        (pairs, clients) => {
            let errors = pairs.err().map(|errors| errors.0).unwrap_or_default();
            return Err(CertificateErrors(errors.into_iter().chain(clients.err()).collect()));
        }
    };
    let mut by_name = ByName::new(default.certified.clone());
    let mut errors = default.name(&mut by_name);
    for pair in &others {
        if pair.names.is_empty() {
            let what = format!("{}: holds no DNS name; write in `hosts` whom it is for", pair.known.name);
            errors.push(CertificateError { key: pair.known.key.clone(), what });
        }
        errors.extend(pair.name(&mut by_name));
    }
    if !errors.is_empty() {
        return Err(CertificateErrors(errors));
    }
    let by_name = Arc::new(by_name);
    let finish = |builder: ConfigBuilder<ServerConfig, WantsServerCert>| {
        let mut config = builder.with_cert_resolver(by_name.clone());
        config.alpn_protocols = [&b"h2"[..], b"http/1.1", b"http/1.0"].map(<[u8]>::to_vec).to_vec();
        Arc::new(config)
    };
    let verifier = clients.as_ref().filter(|_| asked.is_anybody()).map(ClientTrust::verifier);
    let asking = verifier.map(|verifier| finish(builder.clone().with_client_cert_verifier(verifier)));
    let config = finish(builder.with_no_client_auth());
    let mut certificates = vec![default.known];
    for Pair { known, .. } in others {
        if certificates.iter().all(|other| other.name != known.name) {
            certificates.push(known);
        }
    }
    Ok(Served { config, asking, asked, clients, certificates })
}

/// The default certificate and the others, or what is wrong with their files. Of those that `config` could not open it has
/// told, and left their names empty.
fn pairs(settings: &Settings, provider: &CryptoProvider) -> Result<(Pair, Vec<Pair>), CertificateErrors> {
    let Settings { cert_file, key_file, certificates, .. } = settings;
    let mut errors = Vec::new();
    let mut read = |section: &str, cert_file: &Path, key_file: &Path, hosts: &[String]| {
        let told = [cert_file, key_file].iter().any(|file| file.as_os_str().is_empty());
        let pair = (!told).then(|| Pair::read(section, cert_file, key_file, hosts, provider))?;
        pair.map_err(|error| errors.push(error)).ok()
    };
    let default = read("server.tls", cert_file, key_file, &[]);
    let others = certificates.iter().enumerate().map(|(n, one)| {
        read(&format!("server.tls.certificates[{n}]"), &one.cert_file, &one.key_file, &one.hosts)
    });
    // Every one is read, whatever is wrong with those before.
    let others: Vec<Option<Pair>> = others.collect();
    default.zip(others.into_iter().collect()).ok_or(CertificateErrors(errors))
}

/// A certificate with its key.
struct Pair {
    certified: Arc<CertifiedKey>,
    known: Certificate,
    /// Whom it is for, and the key of the configuration that says so.
    names: Vec<String>,
    named_by: String,
    /// They are not the certificate's own.
    written: bool,
}

impl Pair {
    fn read(
        section: &str,
        cert_file: &Path,
        key_file: &Path,
        hosts: &[String],
        provider: &CryptoProvider,
    ) -> Result<Self, CertificateError> {
        let name = cert_file.display().to_string();
        let fail = |key: &str, what| CertificateError { key: format!("{section}.{key}"), what };
        let cert = |what: &str| fail("certFile", format!("{name}: {what}"));
        let key = |what: &str| fail("keyFile", format!("{}: {what}", key_file.display()));
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(cert_file)
            .and_then(Iterator::collect)
            .map_err(|error| cert(&error.to_string()))?;
        if chain.is_empty() {
            return Err(cert("holds no PEM certificate"));
        }
        let parsed: Vec<_> = chain.iter().map(|der| x509_cert::Certificate::from_der(der)).collect();
        let validity = || parsed.iter().flatten().map(|one| one.tbs_certificate.validity);
        let begins = validity().map(|validity| validity.not_before.to_system_time()).max();
        let ends = validity().map(|validity| validity.not_after.to_system_time()).min();
        let own = parsed.first().and_then(|leaf| leaf.as_ref().ok()).map(dns_names).unwrap_or_default();
        let private = PrivateKeyDer::from_pem_file(key_file).map_err(|error| match error {
            pem::Error::NoItemsFound => key("holds no PEM private key (an encrypted one must be decrypted)"),
            error => key(&error.to_string()),
        })?;
        let certified = CertifiedKey::from_der(chain, private, provider).map_err(|error| {
            let what = match error {
                rustls::Error::InconsistentKeys(_) => "the key is not the certificate's".to_owned(),
                error => error.to_string(),
            };
            fail("keyFile", format!("{} cannot be used with certFile {name}: {what}", key_file.display()))
        })?;
        let written = !hosts.is_empty();
        Ok(Self {
            certified: Arc::new(certified),
            names: if written { hosts.to_vec() } else { own },
            named_by: format!("{section}.{}", if written { "hosts" } else { "certFile" }),
            written,
            known: Certificate { key: format!("{section}.certFile"), name, begins, ends },
        })
    }

    /// Gives it its names; what is wrong with those that it cannot have.
    fn name(&self, by_name: &mut ByName) -> Vec<CertificateError> {
        let add = |name: &String| {
            let first = by_name.add(name, &self.certified, &self.named_by, self.written).err()?;
            let what = format!(
                "is for {}, and so is {first}: write in `hosts` which of the two serves it, or use keys of different kinds \
                 (RSA and ECDSA)",
                quoted(name)
            );
            Some(CertificateError { key: self.named_by.clone(), what })
        };
        self.names.iter().filter_map(add).collect()
    }
}

/// The DNS names that a certificate is for.
fn dns_names(certificate: &x509_cert::Certificate) -> Vec<String> {
    let names = certificate.tbs_certificate.get::<SubjectAltName>().ok().flatten();
    let names = names.map(|(_, SubjectAltName(names))| names).unwrap_or_default();
    let dns = |name| match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        _ => None,
    };
    names.into_iter().filter_map(dns).collect()
}
