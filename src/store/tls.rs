//! TLS towards PostgreSQL, asked for as libpq is: by `sslmode` and `sslrootcert` in the URL.
//!
//! The client library knows three of the modes and no certificates; so both parameters are read and taken out here.

use std::path::PathBuf;

use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::trust::{self, Trust};

/// What the URL asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Never TLS.
    Disable,
    /// TLS with whoever answers, where the server has it.
    Prefer,
    /// TLS with whoever answers; with `sslrootcert` the same as `verify-ca`.
    Require,
    /// TLS with a server that these authorities know, whatever its name.
    VerifyCa,
    /// The same, and the certificate is for the host in the URL.
    VerifyFull,
}

/// Who may be spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Security {
    mode: Mode,
    roots: Option<PathBuf>,
}

/// The server that a URL means, and how it is to be spoken to.
///
/// # Errors
/// What is wrong, and how to fix it; no part of the URL that may hold a password.
pub(super) fn read(url: &str) -> Result<(Config, Security), String> {
    let (rest, query) = url.split_once('?').unwrap_or((url, ""));
    let (mut mode, mut roots, mut others) = (None, None, Vec::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match decoded(name).as_str() {
            "sslmode" => mode = Some(Mode::read(value)?),
            "sslrootcert" => roots = Some(decoded(value)),
            // Ignored, they would leave a connection less sure than it was meant to be.
            "sslcert" | "sslkey" | "sslcrl" | "sslpassword" | "requiressl" => {
                return Err(format!("`{name}` is not supported: TLS goes by `sslmode` and `sslrootcert`"));
            }
            _ => others.push(pair),
        }
    }
    let security = Security {
        mode: mode.unwrap_or(Mode::Prefer),
        roots: roots.filter(|name| name != "system").map(PathBuf::from),
    };
    match (security.mode, &security.roots) {
        (Mode::Disable | Mode::Prefer, Some(_)) => {
            return Err(
                "`sslrootcert` has no effect without `sslmode=verify-full` (or `verify-ca`, `require`)"
                    .into(),
            );
        }
        (Mode::VerifyCa, None) => {
            return Err("`sslmode=verify-ca` needs `sslrootcert=FILE`: anybody gets a certificate from the authorities of the web".into());
        }
        _ => {}
    }
    let plain = if others.is_empty() { rest.to_owned() } else { format!("{rest}?{}", others.join("&")) };
    // Not its message: that quotes what it does not understand.
    let mut config: Config = plain.parse().map_err(|_| "PostgreSQL's client does not understand it: check the port and the parameters, and percent-encode special characters of user and password".to_owned())?;
    config.ssl_mode(match security.mode {
        Mode::Disable => SslMode::Disable,
        Mode::Prefer => SslMode::Prefer,
        Mode::Require | Mode::VerifyCa | Mode::VerifyFull => SslMode::Require,
    });
    Ok((config, security))
}

impl Mode {
    fn read(text: &str) -> Result<Self, String> {
        Ok(match text {
            "disable" => Self::Disable,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return Err("`sslmode` is one of disable, prefer, require, verify-ca and verify-full".into()),
        })
    }
}

impl Security {
    /// What makes connections secure. Reads the authorities, so that a file that was replaced counts for the next connection.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn connector(&self) -> Result<MakeRustlsConnect, String> {
        let roots = || {
            let file = self.roots.as_deref();
            trust::roots(file)
                .map_err(|why| format!("sslrootcert {}: {why}", file.unwrap_or("".as_ref()).display()))
        };
        let trust = match self.mode {
            Mode::VerifyFull => Trust::Named(roots()?),
            Mode::VerifyCa => Trust::Issued(roots()?),
            Mode::Require if self.roots.is_some() => Trust::Issued(roots()?),
            Mode::Disable | Mode::Prefer | Mode::Require => Trust::Anybody,
        };
        trust.client().map(MakeRustlsConnect::new).map_err(|error| error.to_string())
    }
}

/// Without percent escapes. A plus is a plus.
fn decoded(value: &str) -> String {
    let escaped = format!("={}", value.replace('+', "%2B"));
    url::form_urlencoded::parse(escaped.as_bytes()).map(|(_, value)| value.into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parameters: &str) -> Result<(SslMode, Security), String> {
        read(&format!("postgres://u:hunter2@h/d?{parameters}"))
            .map(|(config, security)| (config.get_ssl_mode(), security))
    }

    #[test]
    fn the_modes_are_those_of_libpq() {
        for (parameters, told, mode, roots) in [
            ("", SslMode::Prefer, Mode::Prefer, None),
            ("sslmode=disable", SslMode::Disable, Mode::Disable, None),
            ("connect_timeout=3&sslmode=prefer", SslMode::Prefer, Mode::Prefer, None),
            ("ssl%6Dode=require", SslMode::Require, Mode::Require, None),
            ("sslmode=require", SslMode::Require, Mode::Require, None),
            ("sslmode=require&sslrootcert=/a%20b+c.pem", SslMode::Require, Mode::Require, Some("/a b+c.pem")),
            ("sslrootcert=ca.pem&sslmode=verify-ca", SslMode::Require, Mode::VerifyCa, Some("ca.pem")),
            ("sslmode=verify-full", SslMode::Require, Mode::VerifyFull, None),
            ("sslmode=verify-full&sslrootcert=system", SslMode::Require, Mode::VerifyFull, None),
        ] {
            let roots = roots.map(PathBuf::from);
            assert_eq!(of(parameters), Ok((told, Security { mode, roots })), "{parameters}");
        }
        let (config, _) =
            read("postgres://h/d?connect_timeout=3&sslmode=require&application_name=x").unwrap();
        assert_eq!(config.get_connect_timeout(), Some(&std::time::Duration::from_secs(3)));
        assert_eq!(config.get_application_name(), Some("x"));
    }

    #[test]
    fn what_would_be_less_sure_than_it_looks_is_refused() {
        for (parameters, why) in [
            ("sslmode=verify", "one of disable"),
            ("sslmode=allow", "one of disable"),
            ("sslmode=verify-ca", "needs `sslrootcert"),
            ("sslrootcert=ca.pem", "no effect"),
            ("sslmode=disable&sslrootcert=ca.pem", "no effect"),
            ("sslmode=require&sslcert=me.pem", "`sslcert` is not supported"),
            ("sslmode=require&what=1", "does not understand"),
        ] {
            let error = of(parameters).unwrap_err();
            assert!(error.contains(why) && !error.contains("hunter2"), "{parameters}: {error}");
        }
    }
}
