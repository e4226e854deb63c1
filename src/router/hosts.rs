//! Host patterns and the request's host in comparable form.
//!
//! Owns what `api.example.com` and `*.example.org` mean. Ports are not looked at: a route holds for every port.
//! Driven by [`super::Router`].

use std::fmt;
use std::net::Ipv6Addr;

use super::pattern_error::PatternError;

/// An entry of a route's `hosts`, lower-case, without a trailing dot and without the brackets of an IPv6 literal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This host alone.
    Exact(String),
    /// `*.suffix`: any subdomain of the suffix, however deep, but not the suffix itself.
    Under(String),
}

impl HostPattern {
    /// Parses `host` or `*.suffix` in any case.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let lower = text.to_ascii_lowercase();
        let bare = without_brackets(&lower);
        if bare.parse::<Ipv6Addr>().is_ok() {
            return Ok(Self::Exact(bare.to_owned()));
        }
        let (wild, name) = match lower.strip_prefix("*.") {
            Some(suffix) => (true, suffix),
            None => (false, lower.as_str()),
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.contains('*') {
            return Err(PatternError::HostWildcard(text.to_owned()));
        }
        if name.contains([':', '/']) {
            return Err(PatternError::HostPort(text.to_owned()));
        }
        if name.split('.').any(str::is_empty) {
            return Err(PatternError::EmptyHost(text.to_owned()));
        }
        if let Some(found) =
            name.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.'))
        {
            return Err(PatternError::HostCharacter { host: text.to_owned(), found });
        }
        let name = name.to_owned();
        Ok(if wild { Self::Under(name) } else { Self::Exact(name) })
    }

    /// Whether every host that `other` matches is matched here too.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Exact(host)) => self.holds(host),
            (Self::Exact(_), Self::Under(_)) => false,
            (Self::Under(suffix), Self::Under(inner)) => suffix == inner || is_under(inner, suffix),
        }
    }

    /// Whether it means that host, which is in comparable form.
    pub(super) fn holds(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => name == host,
            Self::Under(suffix) => is_under(host, suffix),
        }
    }

    /// How narrow: exact hosts above all wildcards, longer suffixes above shorter ones.
    pub(super) fn narrowness(&self) -> usize {
        match self {
            Self::Exact(_) => usize::MAX,
            Self::Under(suffix) => suffix.len(),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Under(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

/// Hosts of which a request may have any; none at all: every host.
#[derive(Clone, Debug, Default)]
pub struct HostSet(Vec<HostPattern>);

impl HostSet {
    /// The hosts of these patterns. One that cannot be read is no request's.
    pub fn new(patterns: &[String]) -> Self {
        let read =
            |text: &String| HostPattern::parse(text).unwrap_or_else(|_| HostPattern::Exact(text.clone()));
        Self(patterns.iter().map(read).collect())
    }

    /// Whether it holds every host.
    pub fn is_any(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it holds the host of a request, as the client sent it, without its port.
    pub fn has(&self, host: &str) -> bool {
        if self.is_any() {
            return true;
        }
        let host = RequestHost::new(host);
        self.0.iter().any(|pattern| pattern.holds(host.name()))
    }
}

fn is_under(host: &str, suffix: &str) -> bool {
    host.strip_suffix(suffix).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

/// The request's host, lower-cased on the stack.
pub(super) struct RequestHost {
    bytes: [u8; Self::LONGEST],
    length: usize,
}

impl RequestHost {
    /// No DNS name is longer (RFC 1035 section 2.3.4), so a longer one matches no pattern.
    const LONGEST: usize = 255;

    pub(super) fn new(host: &str) -> Self {
        let host = without_brackets(host);
        // `example.com.` names the same host; a route bound to it must not be evaded by the dot.
        let host = host.strip_suffix('.').unwrap_or(host);
        let mut found = Self { bytes: [0; Self::LONGEST], length: 0 };
        if let Some(room) = found.bytes.get_mut(..host.len()) {
            room.copy_from_slice(host.as_bytes());
            room.make_ascii_lowercase();
            found.length = host.len();
        }
        found
    }

    /// Lower-case; empty when the request has none or one that no pattern can match.
    pub(super) fn name(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or("")
    }

    /// What `*.suffix` may be written for this host: `b.c` and `c` for `a.b.c`.
    pub(super) fn suffixes(&self) -> impl Iterator<Item = &str> {
        let name = self.name();
        memchr::memchr_iter(b'.', name.as_bytes()).filter(|at| *at > 0).map(|at| &name[at + 1..])
    }
}
