//! Why an exchange came to nothing, in an operator's words. Clients are not told.

use std::io;

use actix_http::error::ParseError;
use aegis_actors::circuit_breaker::Outcome;
use awc::error::{ConnectError, SendRequestError};
use rustls::{CertificateError, Error as TlsError, InvalidMessage};

use super::exchange::Exchange;
use super::framing::Violation;

/// What went wrong, as the error and the facts of the exchange say it.
pub fn why(error: &SendRequestError, exchange: &Exchange) -> String {
    match exchange.violation.get() {
        Some(Violation::Truncated) if !exchange.answered.get() => {
            return "closed before an answer".to_owned();
        }
        Some(violation) => return violation.to_string(),
        None => {}
    }
    match error {
        SendRequestError::Connect(ConnectError::Io(error))
        | SendRequestError::Send(error)
        | SendRequestError::Response(ParseError::Io(error)) => of_io(error),
        other => other.to_string(),
    }
}

/// What it says about a target that no connection to it came about; nothing, where the gateway itself has run out of something.
pub fn unconnected(error: &SendRequestError) -> Option<Outcome> {
    let SendRequestError::Connect(ConnectError::Io(error)) = error else { return Some(Outcome::Unanswered) };
    if lacking(error).is_some() {
        return None;
    }
    Some(match error.kind() {
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NotFound => Outcome::Refused,
        _ => Outcome::Unanswered,
    })
}

/// What the gateway itself has run out of.
fn lacking(error: &io::Error) -> Option<&'static str> {
    Some(match error.raw_os_error()? {
        // EMFILE, ENFILE, EADDRNOTAVAIL, ENOBUFS, ENOMEM.
        24 => "too many open files: raise the process's limit of descriptors",
        23 => "too many open files in the system",
        99 => "no local port is left for another connection",
        105 => "no buffer space is left in the system",
        12 => "no memory is left",
        _ => return None,
    })
}

fn of_io(error: &io::Error) -> String {
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) {
        return of_tls(tls);
    }
    if let Some(what) = lacking(error) {
        return what.to_owned();
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "host unreachable".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
        io::ErrorKind::TimedOut => "timed out".to_owned(),
        io::ErrorKind::ConnectionReset => "reset before an answer".to_owned(),
        io::ErrorKind::UnexpectedEof => "closed by the target".to_owned(),
        _ => error.to_string(),
    }
}

fn of_tls(error: &TlsError) -> String {
    let what = match error {
        TlsError::InvalidMessage(InvalidMessage::InvalidContentType) => "the target does not speak TLS",
        TlsError::InvalidCertificate(error) => match error {
            CertificateError::UnknownIssuer => {
                "the certificate's issuer is unknown to the caFile, or to the usual roots"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the certificate has expired"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the certificate is not valid yet"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the certificate is for another name"
            }
            CertificateError::Other(other) if other.to_string() == "CaUsedAsEndEntity" => {
                "the certificate is an authority's (CA:TRUE), which no server may show: make one with basicConstraints=CA:FALSE"
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

    #[test]
    fn what_the_gateway_itself_lacks_is_no_failure_of_a_target() {
        let says = |error: io::Error| unconnected(&SendRequestError::Connect(ConnectError::Io(error)));
        for code in [24, 23, 99, 105, 12] {
            assert_eq!(
                says(io::Error::from_raw_os_error(code)),
                None,
                "{}",
                io::Error::from_raw_os_error(code)
            );
        }
        for kind in
            [io::ErrorKind::ConnectionRefused, io::ErrorKind::HostUnreachable, io::ErrorKind::NotFound]
        {
            assert_eq!(says(kind.into()), Some(Outcome::Refused), "{kind}");
        }
        for kind in [io::ErrorKind::TimedOut, io::ErrorKind::ConnectionReset, io::ErrorKind::InvalidData] {
            assert_eq!(says(kind.into()), Some(Outcome::Unanswered), "{kind}");
        }
    }
}
