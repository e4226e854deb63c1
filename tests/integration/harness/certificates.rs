//! Client certificates and revocation lists of an authority, and clients that show the former.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::tls::Authority;

static SERIAL: AtomicUsize = AtomicUsize::new(1000);
const DAY: Duration = Duration::from_secs(86_400);

/// A client's certificate with its chain and its key.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
    serial: SerialNumber,
}

impl Authority {
    /// A client's certificate, good for anything that a client's is good for unless `change` says otherwise.
    pub fn identity(&self, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        self.identity_below(0, change)
    }

    /// The same under so many authorities in between.
    pub fn identity_below(&self, between: usize, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut issuers: Vec<CertifiedIssuer<'static, KeyPair>> = Vec::new();
        for n in 0..between {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            params.distinguished_name.push(DnType::CommonName, format!("Authority in between, number {n}"));
            let issuer = issuers.last().unwrap_or(&self.issuer);
            issuers.push(CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), issuer).unwrap());
        }
        let serial = SerialNumber::from(SERIAL.fetch_add(1, Ordering::Relaxed) as u64);
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "Client of one test");
        params.serial_number = Some(serial.clone());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, issuers.last().unwrap_or(&self.issuer)).unwrap();
        let others = issuers.iter().rev().map(|issuer| issuer.der().clone());
        let chain = std::iter::once(leaf.der().clone()).chain(others).collect();
        Identity { chain, key, serial }
    }

    /// Writes a list of these revoked ones, which is replaced by another one within a day.
    pub fn write_revoked(&self, file: &Path, revoked: &[&Identity]) {
        self.write_revoked_until(file, revoked, SystemTime::now() + DAY);
    }

    /// The same, to be replaced at that time.
    pub fn write_revoked_until(&self, file: &Path, revoked: &[&Identity], end: SystemTime) {
        let revoked_cert = |one: &&Identity| RevokedCertParams {
            serial_number: one.serial.clone(),
            revocation_time: (end - DAY).into(),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: (end - DAY).into(),
            next_update: end.into(),
            crl_number: SerialNumber::from(SERIAL.fetch_add(1, Ordering::Relaxed) as u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(revoked_cert).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        // A reader finds one or the other.
        let new = file.with_extension("new");
        std::fs::write(&new, params.signed_by(&self.issuer).unwrap().pem().unwrap()).unwrap();
        std::fs::rename(new, file).unwrap();
    }
}

impl Identity {
    /// Its certificates in DER, its own first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The configuration of a client that shows it where it is asked, and is otherwise as `config`.
    pub fn shown_by(&self, config: &ClientConfig) -> Arc<ClientConfig> {
        self.keyed().shown_by(config)
    }

    /// The same that tells how often it was asked.
    pub fn keyed(&self) -> Keyed {
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        let provider = rustls::crypto::ring::default_provider();
        let key = CertifiedKey::new(self.chain.clone(), provider.key_provider.load_private_key(key).unwrap());
        Keyed { key: Arc::new(key), asked: Arc::default() }
    }
}

/// A client's certificate that counts how often somebody has asked for it.
#[derive(Clone, Debug)]
pub struct Keyed {
    key: Arc<CertifiedKey>,
    asked: Arc<AtomicUsize>,
}

impl Keyed {
    /// The configuration of a client that shows it, with sessions of its own.
    pub fn shown_by(&self, config: &ClientConfig) -> Arc<ClientConfig> {
        let mut config = config.clone();
        config.client_auth_cert_resolver = Arc::new(self.clone());
        config.resumption = rustls::client::Resumption::default();
        Arc::new(config)
    }

    /// How often it was asked for.
    pub fn times_asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl ResolvesClientCert for Keyed {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Some(self.key.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
