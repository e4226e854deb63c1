//! What a certificate says, read from it once. It is verified, but what stands in it somebody else may have chosen: names are
//! bounded in number and length, and one that is not plain text is no name at all.

use aegis_schema::scalar::invisible;
use x509_cert::Certificate;
use x509_cert::attr::AttributeValue;
use x509_cert::der::asn1::{Ia5StringRef, ObjectIdentifier, PrintableStringRef, Utf8StringRef};
use x509_cert::der::{self, Decode as _, Tag, Tagged as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;

use crate::auth::mtls::{CertificateNames, comparable};
use crate::config::settings::auth::mtls::NameKind;

/// Names of one kind that are looked at; certificates with more have been made to be a burden.
const MOST_NAMES: usize = 64;
/// Bytes of one; a SPIFFE ID may have as many.
const LONGEST_NAME: usize = 2048;
/// `id-at-commonName` (RFC 5280 appendix A.1).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct CertificateFacts {
    /// What its owner may be known by.
    pub names: CertificateNames,
    /// In hexadecimal digits.
    pub serial: String,
    /// The authority that has issued it (RFC 4514).
    pub issuer: String,
    /// Its `notAfter`, in milliseconds since the Unix epoch; it is good up to the end of that second.
    pub ends_ms: u64,
    /// SHA-256 of all of it: `x5t#S256` (RFC 8705 §3.1).
    pub sha256: [u8; 32],
}

impl CertificateFacts {
    /// Reads a certificate.
    ///
    /// # Errors
    /// It is none; the TLS library has read it, and may be more lenient.
    pub fn read(bytes: &[u8]) -> Result<Self, der::Error> {
        let certificate = Certificate::from_der(bytes)?.tbs_certificate;
        let ends = certificate.validity.not_after.to_unix_duration().as_millis() as u64;
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest.as_ref());
        Ok(Self {
            names: names(&certificate)?,
            serial: certificate.serial_number.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect(),
            issuer: certificate.issuer.to_string(),
            ends_ms: ends + 1000,
            sha256,
        })
    }
}

fn names(certificate: &x509_cert::TbsCertificate) -> Result<CertificateNames, der::Error> {
    let mut names = CertificateNames { cn: common_name(&certificate.subject), ..CertificateNames::default() };
    let alternative =
        certificate.get::<SubjectAltName>()?.map(|(_, SubjectAltName(all))| all).unwrap_or_default();
    for name in &alternative {
        let (kind, text) = match name {
            GeneralName::UniformResourceIdentifier(uri) => (NameKind::Uri, uri.as_str()),
            GeneralName::DnsName(name) => (NameKind::Dns, name.as_str()),
            GeneralName::Rfc822Name(address) => (NameKind::Email, address.as_str()),
            _ => continue,
        };
        let list = match kind {
            NameKind::Uri => &mut names.uris,
            NameKind::Dns => &mut names.dns,
            NameKind::Email | NameKind::Cn => &mut names.emails,
        };
        // A wildcard is nobody's name.
        let is_name = is_plain(text) && !(kind == NameKind::Dns && text.contains('*'));
        if is_name && list.len() < MOST_NAMES {
            list.push(comparable(kind, text));
        }
    }
    Ok(names)
}

/// Visible ASCII. CVE-2009-2408 is what comes of names with a NUL in them.
fn is_plain(text: &str) -> bool {
    (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The one common name; with several nobody knows which is meant.
fn common_name(subject: &Name) -> Option<String> {
    let mut all = subject.0.iter().flat_map(|part| part.0.iter()).filter(|part| part.oid == COMMON_NAME);
    let (only, None) = (all.next()?, all.next()) else { return None };
    let text = text(&only.value)?;
    let fits = (1..=LONGEST_NAME).contains(&text.len()) && text.trim() == text && invisible(text).is_none();
    fits.then(|| text.to_owned())
}

/// A directory string of a kind that is in use (RFC 5280 §4.1.2.4).
fn text(value: &AttributeValue) -> Option<&str> {
    match value.tag() {
        Tag::Utf8String => value.decode_as::<Utf8StringRef<'_>>().ok().map(|text| text.as_str()),
        Tag::PrintableString => value.decode_as::<PrintableStringRef<'_>>().ok().map(|text| text.as_str()),
        Tag::Ia5String => value.decode_as::<Ia5StringRef<'_>>().ok().map(|text| text.as_str()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use rcgen::string::Ia5String;
    use rcgen::{
        CertificateParams, CustomExtension, DistinguishedName, DnType, KeyPair, SanType, SerialNumber,
    };

    use super::*;

    fn made(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        change(&mut params);
        params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate").der().to_vec()
    }

    fn read(change: impl FnOnce(&mut CertificateParams)) -> CertificateFacts {
        CertificateFacts::read(&made(change)).expect("it can be read")
    }

    fn ia5(text: &str) -> Ia5String {
        text.try_into().expect("ASCII")
    }

    #[test]
    fn what_a_certificate_says_is_read() {
        let facts = read(|params| {
            params.serial_number = Some(SerialNumber::from(vec![0x0a, 0xff]));
            params.not_after = (UNIX_EPOCH + Duration::from_secs(2_000_000_000)).into();
            params.distinguished_name.push(DnType::CommonName, "Ann Example");
            params.subject_alt_names = vec![
                SanType::URI(ia5("spiffe://prod/ns/a/sa/b")),
                SanType::DnsName(ia5("API.example.com")),
                SanType::Rfc822Name(ia5("Ann@EXAMPLE.com")),
                SanType::IpAddress([192, 0, 2, 1].into()),
            ];
        });
        let CertificateNames { uris, dns, emails, cn } = &facts.names;
        assert_eq!(
            (uris.as_slice(), dns.as_slice()),
            (&["spiffe://prod/ns/a/sa/b".to_owned()][..], &["api.example.com".to_owned()][..])
        );
        assert_eq!(
            (emails.as_slice(), cn.as_deref()),
            (&["Ann@example.com".to_owned()][..], Some("Ann Example"))
        );
        assert_eq!((facts.serial.as_str(), facts.issuer.as_str()), ("0aff", "CN=Ann Example"));
        assert_eq!(facts.ends_ms, 2_000_000_001_000);
    }

    #[test]
    fn the_digest_is_that_of_all_bytes() {
        let der = made(|_| {});
        let facts = CertificateFacts::read(&der).expect("it can be read");
        assert_eq!(facts.sha256, ring::digest::digest(&ring::digest::SHA256, &der).as_ref());
    }

    #[test]
    fn what_is_not_plain_text_is_no_name() {
        let facts = read(|params| {
            let names =
                ["admin\0.evil.test", "a b.test", "a\r\nx: y.test", "\u{7f}", "*.test", "", "good.test"];
            params.subject_alt_names = names.map(|name| SanType::DnsName(ia5(name))).to_vec();
            params.subject_alt_names.push(SanType::URI(ia5(&format!("urn:{}", "x".repeat(LONGEST_NAME)))));
            params.subject_alt_names.push(SanType::Rfc822Name(ia5("a\tb@c.test")));
            params.distinguished_name.push(DnType::CommonName, "Ann\u{202e}");
        });
        let good = CertificateNames { dns: vec!["good.test".to_owned()], ..CertificateNames::default() };
        assert_eq!(facts.names, good);
    }

    #[test]
    fn of_ten_thousand_names_some_are_looked_at() {
        let facts = read(|params| {
            params.subject_alt_names =
                (0..10_000).map(|n| SanType::DnsName(ia5(&format!("n{n}.test")))).collect();
            params.subject_alt_names.push(SanType::URI(ia5("urn:last")));
        });
        assert_eq!((facts.names.dns.len(), facts.names.dns[0].as_str()), (MOST_NAMES, "n0.test"));
        assert_eq!(facts.names.uris, ["urn:last"], "one kind does not take the room of another");
    }

    #[test]
    fn of_two_common_names_none_is_taken() {
        let twice = |second: &str| {
            read(|params| {
                params.distinguished_name.push(DnType::CommonName, "admin");
                // Another attribute of the same type, which the builder would replace.
                params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 3]), second);
            })
        };
        assert_eq!(twice("guest").names.cn, None);
        let one = read(|params| params.distinguished_name.push(DnType::CommonName, "admin"));
        assert_eq!(one.names.cn.as_deref(), Some("admin"));
    }

    #[test]
    fn names_that_cannot_be_read_are_an_error_and_never_a_panic() {
        // `subjectAltName` with bytes beyond ASCII, cut short, and empty.
        for content in
            [&[0x30, 0x04, 0x82, 0x02, 0xc3, 0xa9][..], &[0x30, 0x10, 0x82, 0x02, 0x61], &[], &[0x30, 0x80]]
        {
            let extension = CustomExtension::from_oid_content(&[2, 5, 29, 17], content.to_vec());
            let der = made(|params| params.custom_extensions = vec![extension]);
            assert!(CertificateFacts::read(&der).is_err(), "{content:?}");
        }
        let whole = made(|params| params.distinguished_name.push(DnType::CommonName, "x"));
        for end in 0..whole.len() {
            assert!(CertificateFacts::read(&whole[..end]).is_err(), "{end} bytes");
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0xff;
            let _ = CertificateFacts::read(&changed);
        }
    }
}
