//! Which certificate a client is shown: by the name that it asks for (SNI, RFC 6066 §3), and where several have that
//! name, by the signatures that it can check.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// See the module.
#[derive(Debug)]
pub struct ByName {
    /// For all who ask for no name, or for one that is not here.
    default: Arc<CertifiedKey>,
    /// In lower case; `*.example.com` is `.example.com`.
    names: HashMap<String, Vec<Named>>,
}

/// A certificate of a name.
#[derive(Debug)]
struct Named {
    certificate: Arc<CertifiedKey>,
    /// The key of the configuration that gives it the name.
    by: String,
}

impl ByName {
    pub fn new(default: Arc<CertifiedKey>) -> Self {
        Self { default, names: HashMap::new() }
    }

    /// Shows `certificate` to those who ask for `name`, exact or `*.example.com`, as the key `by` of the configuration wants.
    /// A name that somebody has `written` is not the default certificate's any more.
    ///
    /// # Errors
    /// The key that gives the name to another certificate whose key is of the same kind: no client could tell them apart.
    pub fn add(
        &mut self,
        name: &str,
        certificate: &Arc<CertifiedKey>,
        by: &str,
        written: bool,
    ) -> Result<(), String> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let name = name.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(&name).to_owned();
        let new = Named { certificate: certificate.clone(), by: by.to_owned() };
        let named = self.names.entry(name).or_default();
        let kind = certificate.key.algorithm();
        match named.iter_mut().find(|other| other.certificate.key.algorithm() == kind) {
            None => named.push(new),
            Some(other) if Arc::ptr_eq(&other.certificate, certificate) => {}
            Some(other) if written && Arc::ptr_eq(&other.certificate, &self.default) => *other = new,
            Some(other) => return Err(other.by.clone()),
        }
        Ok(())
    }

    /// The certificates of a name, which is in lower case.
    fn named(&self, name: &str) -> Option<&[Named]> {
        let wildcard = || self.names.get(&name[name.find('.')?..]);
        self.names.get(name).or_else(wildcard).map(Vec::as_slice)
    }
}

impl ResolvesServerCert for ByName {
    /// rustls gives the name in lower case and without a dot at its end, and none where it is an address.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certificate = match hello.server_name().and_then(|name| self.named(name)) {
            None => &self.default,
            Some([only]) => &only.certificate,
            Some(several) => {
                let signs = |scheme| {
                    let signs = |one: &&Named| one.certificate.key.choose_scheme(&[scheme]).is_some();
                    several.iter().find(signs)
                };
                // The schemes are in the client's order (RFC 8446 §4.2.3). Where none fits, rustls says so with any of them.
                let mut schemes = hello.signature_schemes().iter().copied();
                &schemes.find_map(signs).or(several.first())?.certificate
            }
        };
        Some(certificate.clone())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};
    use rustls::crypto::{CryptoProvider, ring};
    use rustls::server::Acceptor;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, SignatureScheme};
    use rustls_pki_types::{PrivateKeyDer, ServerName};

    use super::*;

    fn certificate(kind: &'static SignatureAlgorithm) -> Arc<CertifiedKey> {
        let key = KeyPair::generate_for(kind).expect("a key");
        let params = CertificateParams::new(vec!["any.test".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate").der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        Arc::new(CertifiedKey::from_der(vec![certificate], key, &ring::default_provider()).expect("a pair"))
    }

    fn ecdsa() -> Arc<CertifiedKey> {
        certificate(&rcgen::PKCS_ECDSA_P256_SHA256)
    }

    /// What is shown to a client that connects to `name` and whose first message has `sent` in its place, of the same length;
    /// it can check these signatures, in this order.
    fn shown(
        certificates: &ByName,
        name: &'static str,
        sent: &str,
        schemes: &[SignatureScheme],
    ) -> Arc<CertifiedKey> {
        let mut provider = ring::default_provider();
        let known = provider.signature_verification_algorithms.mapping;
        let wanted = schemes.iter().filter_map(|scheme| known.iter().find(|(known, _)| known == scheme));
        provider.signature_verification_algorithms.mapping = wanted.copied().collect::<Vec<_>>().leak();
        let mut bytes = first_message(provider, name);
        let at = bytes.windows(name.len()).position(|window| window == name.as_bytes());
        if let Some(at) = at {
            bytes[at..at + name.len()].copy_from_slice(sent.as_bytes());
        }
        let mut acceptor = Acceptor::default();
        acceptor.read_tls(&mut bytes.as_slice()).expect("it is read");
        let accepted = acceptor.accept().ok().flatten().expect("it is a whole message");
        certificates.resolve(accepted.client_hello()).expect("something is shown always")
    }

    fn first_message(provider: CryptoProvider, name: &'static str) -> Vec<u8> {
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .expect("it has suites")
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let name = ServerName::try_from(name).expect("a name");
        let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).expect("it is written");
        bytes
    }

    const ECDSA: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];

    #[test]
    fn a_client_is_shown_the_certificate_of_the_name_that_it_asks_for() {
        let all: Vec<_> = (0..4).map(|_| ecdsa()).collect();
        let mut certificates = ByName::new(all[0].clone());
        for (name, n) in [
            ("default.example.com", 0),
            ("*.example.com", 1),
            ("API.example.com", 2),
            ("*.api.example.com", 2),
            ("example.com.", 3),
            ("*odd.test", 3),
        ] {
            certificates.add(name, &all[n], "a", false).expect("each name once");
        }
        for (name, sent, n) in [
            ("api.example.com", "api.example.com", 2),
            ("www.example.com", "www.example.com", 1),
            ("default.example.com", "default.example.com", 0),
            ("example.com", "example.com", 3),
            ("a.api.example.com", "a.api.example.com", 2),
            ("a.www.example.com", "a.www.example.com", 0),
            ("unknown.test", "unknown.test", 0),
            ("odd.test", "odd.test", 0),
            ("com", "com", 0),
            ("api.example.com", "aPi.eXample.COM", 2),
            ("www.example.com", "WWW.EXAMPLE.COM", 1),
            ("api.example.comx", "api.example.com.", 2),
            ("www.example.comx", "www.example.com.", 1),
            // No name is sent to an address; some clients send it as if it were one.
            ("192.0.2.1", "192.0.2.1", 0),
            ("192.0.2.x", "192.0.2.1", 0),
        ] {
            let shown = shown(&certificates, name, sent, ECDSA);
            let at = all.iter().position(|one| Arc::ptr_eq(one, &shown));
            assert_eq!(at, Some(n), "{sent}");
        }
    }

    #[test]
    fn of_keys_of_two_kinds_the_clients_signature_schemes_decide() {
        let (first, second, other) = (ecdsa(), certificate(&rcgen::PKCS_ED25519), ecdsa());
        let mut certificates = ByName::new(other);
        certificates.add("a.test", &first, "first", false).expect("the first");
        certificates.add("a.test", &second, "second", false).expect("of another kind");
        let (p256, ed25519) = (SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519);
        for (schemes, expected) in [
            (&[p256][..], &first),
            (&[ed25519], &second),
            (&[p256, ed25519], &first),
            (&[ed25519, p256], &second),
            (&[SignatureScheme::RSA_PSS_SHA256], &first),
        ] {
            let shown = shown(&certificates, "a.test", "a.test", schemes);
            assert!(Arc::ptr_eq(&shown, expected), "{schemes:?}");
        }
    }

    #[test]
    fn two_certificates_with_keys_of_one_kind_cannot_have_one_name() {
        let (default, one, two) = (ecdsa(), ecdsa(), ecdsa());
        let mut certificates = ByName::new(default.clone());
        assert_eq!(certificates.add("a.test", &default, "default", false), Ok(()));
        assert_eq!(
            certificates.add("A.test.", &default, "default", false),
            Ok(()),
            "twice in one certificate"
        );
        assert_eq!(certificates.add("a.test", &one, "one", false), Err("default".to_owned()));
        assert_eq!(certificates.add("a.test", &one, "one", true), Ok(()), "who writes it means it");
        assert_eq!(certificates.add("A.TEST", &two, "two", true), Err("one".to_owned()));
        assert!(Arc::ptr_eq(&shown(&certificates, "a.test", "a.test", ECDSA), &one));
    }
}
