//! Why an exchange came to nothing, in an operator's words. Clients are not told.

use std::io;

use awc::error::{ConnectError, SendRequestError};
use rustls::{CertificateError, Error as TlsError, InvalidMessage};

use super::exchange::Exchange;

/// What went wrong, as the error and the facts of the exchange say it.
pub fn why(error: &SendRequestError, exchange: &Exchange) -> String {
    if let Some(violation) = exchange.violation.get() {
        return violation.to_string();
    }
    match error {
        SendRequestError::Connect(ConnectError::Io(error)) | SendRequestError::Send(error) => of_io(error),
        SendRequestError::Connect(ConnectError::Timeout) | SendRequestError::Timeout => TIMED_OUT.to_owned(),
        other => other.to_string(),
    }
}

const TIMED_OUT: &str = "timed out";

fn of_io(error: &io::Error) -> String {
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) {
        return of_tls(tls);
    }
    match (error.raw_os_error(), error.kind()) {
        // EMFILE and ENFILE.
        (Some(24), _) => "too many open files: raise the process's limit of descriptors".to_owned(),
        (Some(23), _) => "too many open files in the system".to_owned(),
        // EADDRNOTAVAIL.
        (Some(99), _) => "no local port is left for another connection".to_owned(),
        (_, io::ErrorKind::ConnectionRefused) => "connection refused".to_owned(),
        (_, io::ErrorKind::HostUnreachable) => "host unreachable".to_owned(),
        (_, io::ErrorKind::NetworkUnreachable) => "network unreachable".to_owned(),
        (_, io::ErrorKind::TimedOut) => TIMED_OUT.to_owned(),
        (_, io::ErrorKind::ConnectionReset) => "connection reset".to_owned(),
        (_, io::ErrorKind::UnexpectedEof) => "closed by the target".to_owned(),
        _ => error.to_string(),
    }
}

fn of_tls(error: &TlsError) -> String {
    let what = match error {
        TlsError::InvalidMessage(InvalidMessage::InvalidContentType) => "the target does not speak TLS",
        TlsError::InvalidCertificate(error) => match error {
            CertificateError::UnknownIssuer => "the certificate's issuer is unknown (tls.caFile)",
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the certificate has expired"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the certificate is not valid yet"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the certificate is for another name (tls.serverName)"
            }
            other => return format!("TLS: {other}"),
        },
        other => return format!("TLS: {other}"),
    };
    format!("TLS: {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_fail_has_its_own_words() {
        let says =
            |error: io::Error| why(&SendRequestError::Connect(ConnectError::Io(error)), &Exchange::default());
        let tls = |error: TlsError| says(io::Error::new(io::ErrorKind::InvalidData, error));
        assert_eq!(says(io::ErrorKind::ConnectionRefused.into()), "connection refused");
        assert_eq!(says(io::Error::from_raw_os_error(113)), "host unreachable");
        assert!(says(io::Error::from_raw_os_error(24)).starts_with("too many open files"));
        for (error, part) in [
            (CertificateError::UnknownIssuer, "issuer"),
            (CertificateError::Expired, "expired"),
            (CertificateError::NotValidForName, "another name"),
        ] {
            assert!(tls(TlsError::InvalidCertificate(error)).contains(part), "{part}");
        }
        assert!(tls(TlsError::InvalidMessage(InvalidMessage::InvalidContentType)).contains("not speak TLS"));
    }
}
