//! Grammars of names: hosts, header names, origins, prefixes. Each says what is wrong in words that tell how to fix it.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::ensure;

/// A token of RFC 9110, 5.6.2: header names, methods, cookie names.
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// A host name (RFC 1123 letters, plus `_`, which container networks use) or an IPv4 address.
pub fn is_host_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// A host to bind or to connect to, IPv6 without brackets; `None` when it is none. All-numeric names must be
/// addresses: `10.0.0.256` is a slip, not a name.
pub fn host(text: &str) -> Option<String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(bare) = bare {
        return bare.parse::<Ipv6Addr>().ok().map(|_| bare.to_ascii_lowercase());
    }
    if text.parse::<IpAddr>().is_ok() {
        return Some(text.to_ascii_lowercase());
    }
    let last = text.rsplit('.').next().unwrap_or("");
    (is_host_name(text) && !last.bytes().all(|b| b.is_ascii_digit())).then(|| text.to_ascii_lowercase())
}

/// `example.com`, `*.example.com`; what is wrong otherwise.
pub fn host_pattern(text: &str) -> Result<String, &'static str> {
    ensure!(text != "*", "`*` matches every host: leave `hosts` out");
    let name = text.strip_prefix("*.").unwrap_or(text);
    ensure!(!name.contains('*'), "only a leading `*.` is a wildcard: write for example `*.example.com`");
    ensure!(!text.contains('/'), "write the host alone, without scheme and path");
    match host(name) {
        Some(_) if text.starts_with("*.") && name.parse::<IpAddr>().is_ok() => {
            Err("an address has no subdomains: remove `*.`")
        }
        Some(host) if text.starts_with("*.") => Ok(format!("*.{host}")),
        Some(host) => Ok(host),
        None if name.contains(':') => Err("write the host without a port"),
        None => Err("this is not a host name or address"),
    }
}

/// `scheme://host[:port]`, lower-case; what is wrong otherwise.
pub fn origin(text: &str) -> Result<String, &'static str> {
    const FORM: &str = "write `scheme://host` or `scheme://host:port`";
    ensure!(!matches!(text, "*" | "null"), "every page would be let in: list the origins one by one");
    let (scheme, rest) = text.split_once("://").ok_or(FORM)?;
    ensure!(matches!(scheme, "http" | "https"), "the scheme of an origin is `http` or `https`");
    let url = url::Url::parse(text).map_err(|_| FORM)?;
    if rest.contains(['/', '?', '#', '@']) || url.host_str().is_none_or(|h| host(h).is_none()) {
        return Err("an origin has no path, query or user: write `scheme://host` or `scheme://host:port`");
    }
    Ok(url.origin().ascii_serialization())
}

/// Host, IPv6 without brackets, and port of an `http` or `https` URL; `form` is what to write where it is none.
pub fn host_and_port(url: &str, form: &'static str) -> Result<(String, u16), &'static str> {
    const PORT: &str = "the port must be a number from 1 to 65535";
    let url = url::Url::parse(url).map_err(|error| match error {
        url::ParseError::InvalidPort => PORT,
        _ => form,
    })?;
    // The url crate normalises: IDNA names to ASCII, 0x7f.1 to 127.0.0.1.
    let host = url.host_str().and_then(host).ok_or("this is no host name or address")?;
    let port = url.port_or_known_default().filter(|port| *port != 0).ok_or(PORT)?;
    Ok((host, port))
}

/// `10.0.0.0/8`, or one address. IPv4 written as IPv6 is IPv4, as addresses are wherever they are compared.
pub fn network(text: &str) -> Option<IpNet> {
    let text = text.trim();
    let net = match text.parse::<IpNet>() {
        Ok(net) => net.trunc(),
        Err(_) => text.parse::<IpAddr>().ok()?.into(),
    };
    let mapped = match net {
        IpNet::V6(v6) => v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    match mapped {
        Some((address, prefix)) => Ipv4Net::new(address, prefix).ok().map(IpNet::from),
        None => Some(net),
    }
}

/// A path to strip or to add: `/api`, `/a/b`; what is wrong otherwise.
pub fn prefix(text: &str) -> Result<String, &'static str> {
    let mut segments = text.split('/').skip(1);
    let special = text.contains(['*', '?', '#', '\\']) || text.contains("/:");
    let visible = text.bytes().all(|b| b.is_ascii_graphic());
    ensure!(text.starts_with('/'), "it must start with `/`");
    ensure!(!text.ends_with('/'), "it must not end with `/`: remove the last character, or the key");
    let plain = !segments.any(|segment| matches!(segment, "" | "." | ".."));
    ensure!(plain, "it must not hold empty or dot segments: write the plain path");
    ensure!(!special, "it is plain text, no pattern and no query: write for example `/api`");
    ensure!(visible, "only visible ASCII characters can stand in a path: percent-encode the others");
    Ok(text.to_owned())
}

/// Whether a listener on `host` can be reached from this machine only.
pub fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Whether two listeners on the same port would be in each other's way.
pub fn overlap(a: &str, b: &str) -> bool {
    let any = |host: &str| host.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified());
    a == b || any(a) || any(b) || (is_loopback(a) && is_loopback(b) && (a == "localhost" || b == "localhost"))
}

/// Whether a text can be a metric's label, a header's value and part of a Redis key as it stands.
pub fn is_label(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}
