//! Whose requests the admin listener takes: by `Host`, against DNS rebinding, and by `Origin`, against other sites'
//! pages.
//!
//! Names are compared strictly. An IP address cannot be rebound, so one that may be this machine's own is taken; that
//! is how probes and scrapers ask.

use std::net::IpAddr;

/// What the admin listener calls itself.
pub struct Own<'a> {
    /// What it is bound to; unspecified = every address of the machine.
    pub address: IpAddr,
    /// `admin.host`.
    pub host: &'a str,
    /// `admin.allowedOrigins`.
    pub allowed: &'a [String],
}

impl Own<'_> {
    /// Whether a `Host` header names this listener: as bound, by a loopback name, by its own address, or by an allowed
    /// origin's host.
    pub fn knows(&self, host: &str) -> bool {
        let (name, _) = split(host);
        // A trailing dot marks a fully qualified name.
        let name = name.strip_suffix('.').unwrap_or(name);
        if let Ok(ip) = name.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
            let own = self.address.to_canonical();
            if ip.is_loopback() || own.is_unspecified() || ip == own {
                return true;
            }
        }
        let allowed = |origin: &String| {
            origin.split_once("://").is_some_and(|(_, rest)| split(rest).0.eq_ignore_ascii_case(name))
        };
        name.eq_ignore_ascii_case("localhost")
            || name.eq_ignore_ascii_case(self.host)
            || self.allowed.iter().any(allowed)
    }

    /// Whether a page of this origin may ask: the one that the request's own `Host` belongs to, port included, or an
    /// allowed one.
    pub fn trusts(&self, origin: &str, host: &str) -> bool {
        let Some(origin) = parts(origin) else { return false };
        let (name, port) = split(host);
        // The scheme may be another in front of a proxy that does TLS; the port is then its default as well.
        let same = origin.name.eq_ignore_ascii_case(name) && port.or(origin.default) == origin.port;
        same || self.allowed.iter().filter_map(|allowed| parts(allowed)).any(|allowed| allowed.is(&origin))
    }
}

/// `scheme://host[:port]`, taken apart.
struct Origin<'a> {
    scheme: &'a str,
    name: &'a str,
    /// As written, else the scheme's.
    port: Option<u16>,
    default: Option<u16>,
}

impl Origin<'_> {
    fn is(&self, other: &Origin<'_>) -> bool {
        self.scheme.eq_ignore_ascii_case(other.scheme)
            && self.name.eq_ignore_ascii_case(other.name)
            && self.port == other.port
    }
}

fn parts(origin: &str) -> Option<Origin<'_>> {
    let (scheme, rest) = origin.split_once("://")?;
    let default = match scheme.to_ascii_lowercase().as_str() {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    let (name, port) = split(rest.strip_suffix('/').unwrap_or(rest));
    let well_formed = !name.is_empty() && !name.contains(['/', '@', ' ']);
    well_formed.then_some(Origin { scheme, name, port: port.or(default), default })
}

/// `host[:port]` without the brackets of an IPv6 address. An invalid port gives an empty name, which matches nothing.
fn split(host: &str) -> (&str, Option<u16>) {
    if let Some((name, rest)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return match rest.strip_prefix(':') {
            None if rest.is_empty() => (name, None),
            Some(port) => port.parse().map_or(("", None), |port| (name, Some(port))),
            None => ("", None),
        };
    }
    match host.rsplit_once(':') {
        None => (host, None),
        Some((name, port)) => port.parse().map_or(("", None), |port| (name, Some(port))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own<'a>(address: &str, host: &'a str, allowed: &'a [String]) -> Own<'a> {
        Own { address: address.parse().expect("an address"), host, allowed }
    }

    #[test]
    fn a_listener_on_every_address_answers_to_addresses_but_not_to_foreign_names() {
        let everywhere = own("0.0.0.0", "0.0.0.0", &[]);
        for host in [
            "10.1.2.3:8081",
            "10.1.2.3",
            "[fd00::1]:8081",
            "127.0.0.1:1",
            "localhost:8081",
            "LocalHost.:8081",
        ] {
            assert!(everywhere.knows(host), "{host}");
        }
        for host in [
            "",
            ".",
            "localhost..",
            "evil.test:8081",
            "10.1.2.3.evil.test",
            "10.1.2.3:x",
            "[10.1.2.3",
            "[::1]x",
        ] {
            assert!(!everywhere.knows(host), "{host}");
        }
    }

    #[test]
    fn a_listener_on_one_address_answers_to_that_one_and_to_loopback() {
        let one = own("10.1.2.3", "gateway.internal", &[]);
        for host in ["10.1.2.3:8081", "GATEWAY.internal:8081", "127.0.0.1", "[::ffff:10.1.2.3]:8081"] {
            assert!(one.knows(host), "{host}");
        }
        for host in ["10.1.2.4:8081", "internal", "8.8.8.8"] {
            assert!(!one.knows(host), "{host}");
        }
    }

    #[test]
    fn an_origin_is_the_listeners_own_only_with_the_same_host_and_port() {
        let own = own("127.0.0.1", "127.0.0.1", &[]);
        for (origin, host) in [
            ("http://127.0.0.1:8081", "127.0.0.1:8081"),
            ("http://LOCALHOST:8081", "localhost:8081"),
            ("http://[::1]:8081", "[::1]:8081"),
            ("http://localhost", "localhost"),
            ("http://localhost", "localhost:80"),
            ("https://localhost", "localhost"),
        ] {
            assert!(own.trusts(origin, host), "{origin} at {host}");
        }
        for (origin, host) in [
            ("http://127.0.0.1:3000", "127.0.0.1:8081"),
            ("http://localhost:8081", "127.0.0.1:8081"),
            ("http://127.0.0.1", "127.0.0.1:8081"),
            ("http://localhost:8081", "localhost"),
            ("http://evil.test:8081", "127.0.0.1:8081"),
            ("http://x@127.0.0.1:8081", "127.0.0.1:8081"),
            ("null", "127.0.0.1:8081"),
            ("", ""),
            ("http://", ""),
            ("127.0.0.1:8081", "127.0.0.1:8081"),
        ] {
            assert!(!own.trusts(origin, host), "{origin} at {host}");
        }
    }

    #[test]
    fn an_allowed_origin_counts_with_its_scheme_and_port_and_its_host_is_one_of_ours() {
        let allowed = ["https://ops.example.com".to_owned(), "http://ops.example.com:9000".to_owned()];
        let own = own("127.0.0.1", "127.0.0.1", &allowed);
        assert!(own.knows("ops.example.com") && own.knows("ops.example.com:8081"));
        assert!(!own.knows("example.com") && !own.knows("ops.example.com.evil.test"));
        for origin in
            ["https://ops.example.com", "https://OPS.example.com:443", "http://ops.example.com:9000"]
        {
            assert!(own.trusts(origin, "127.0.0.1:8081"), "{origin}");
        }
        for origin in
            ["http://ops.example.com", "https://ops.example.com:9000", "https://ops.example.com.evil.test"]
        {
            assert!(!own.trusts(origin, "127.0.0.1:8081"), "{origin}");
        }
    }
}
