//! A request as it arrived, and the checks that every request passes before anything is decided about it.

use actix_http::header::{self, HeaderMap, HeaderValue};
use actix_http::{ConnectionType, Method, Payload, Uri, Version};

use super::answer::Cause;
use super::request_body::RequestFraming;

/// What a head may hold, as [`Cause::HeadTooLarge`] tells.
const HEAD_FIELDS: usize = 96;
const HEAD_BYTES: usize = 128 * 1024;

/// The parts of a request.
pub struct Arrival {
    pub method: Method,
    pub uri: Uri,
    pub version: Version,
    pub headers: HeaderMap,
    pub payload: Payload,
    /// `Connection: upgrade` with an `Upgrade` field.
    pub upgrade: Option<Upgrade>,
    /// How the body is framed, as actix has parsed it.
    pub framing: RequestFraming,
    /// actix passes everything behind this head on as its body, whatever `Connection` says.
    pub is_raw: bool,
    /// The host that the request is for: the target's if it names one (RFC 9112 §3.2.2), else `Host`.
    pub host: Option<HeaderValue>,
}

/// An upgrade that a client offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// actix hands over everything behind the head as it comes.
    WebSocket,
    /// actix keeps parsing requests; the stream below it has to step in.
    Other,
}

impl Arrival {
    /// Takes the request apart.
    pub fn new(
        method: Method,
        uri: Uri,
        version: Version,
        headers: HeaderMap,
        payload: Payload,
        connection: ConnectionType,
    ) -> Self {
        // Looked up once; the stages ask several times.
        let framing = framing(&headers);
        let is_raw = is_raw(version, &headers, framing);
        let host = host(&uri, &headers);
        let mut arrival =
            Self { method, uri, version, headers, payload, upgrade: None, framing, is_raw, host };
        if connection == ConnectionType::Upgrade && version == Version::HTTP_11 {
            arrival.upgrade = arrival.offered_upgrade();
        }
        arrival
    }

    fn offered_upgrade(&self) -> Option<Upgrade> {
        let mut values = self.headers.get_all(header::UPGRADE);
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        let value = value.as_bytes();
        if value.eq_ignore_ascii_case(b"websocket") {
            return Some(Upgrade::WebSocket);
        }
        // h2c would open a second way in, past every check (RFC 9113 §3.1 has retired it); lists may hide it.
        let h2c = |token: &[u8]| {
            let token = token.trim_ascii().to_ascii_lowercase();
            token == b"h2c" || token.starts_with(b"http")
        };
        if value.is_empty() || value.split(|b| *b == b',').any(h2c) || self.framing != RequestFraming::None {
            return None;
        }
        Some(Upgrade::Other)
    }

    /// Whether an answer's bytes may be written to the connection as they come, behind a head with their number.
    pub fn takes_direct(&self) -> bool {
        self.version == Version::HTTP_11 && self.upgrade.is_none() && !self.is_raw
    }

    /// The path as received.
    pub fn raw_path(&self) -> &str {
        self.uri.path()
    }

    /// The host that the client named, without its port; empty where it named none.
    pub fn host_name(&self) -> &str {
        self.host.as_ref().and_then(|host| host.to_str().ok()).map_or("", host_name)
    }

    /// Refuses what a second reader of the same request could understand differently.
    ///
    /// # Errors
    /// [`Cause::BadRequest`], or [`Cause::MethodNotAllowed`] for CONNECT.
    pub fn check(&self) -> Result<(), Cause> {
        if self.method == Method::CONNECT {
            return Err(Cause::MethodNotAllowed);
        }
        // On HTTP/1 actix has these bounds.
        if self.version == Version::HTTP_2 && is_too_large(&self.uri, &self.headers) {
            return Err(Cause::HeadTooLarge);
        }
        if !self.uri.path().starts_with('/') {
            return Err(Cause::BadRequest("The request target must be a path or an http URL."));
        }
        match self.uri.scheme_str() {
            None if self.uri.authority().is_some() => {
                return Err(Cause::BadRequest("The request target must not be a bare authority."));
            }
            None | Some("http" | "https") => {}
            Some(_) => return Err(Cause::BadRequest("The request target's scheme must be http or https.")),
        }
        if let Some(authority) = self.uri.authority()
            && !is_host(authority.as_str().as_bytes())
        {
            return Err(Cause::BadRequest("The request target's host is not valid."));
        }
        // With an authority in the target, `Host` is not used, but must be valid all the same.
        let host = match self.uri.authority() {
            Some(_) => self.headers.get(header::HOST).filter(|host| !host.is_empty()),
            None => self.host.as_ref(),
        };
        if host.is_some_and(|host| !is_host(host.as_bytes())) {
            return Err(Cause::BadRequest("The Host header is not a valid host."));
        }
        if self.is_raw && (self.framing != RequestFraming::None || self.method != Method::GET) {
            // RFC 6455 §4.1: a websocket handshake is a GET; behind it nothing can be told apart any more.
            return Err(Cause::BadRequest("A websocket handshake must be a GET without a body."));
        }
        Ok(())
    }
}

fn is_too_large(uri: &Uri, headers: &HeaderMap) -> bool {
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    let fields: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    // Clients send each cookie as a field of its own (RFC 9113 §8.2.3).
    let crumbs = headers.get_all(header::COOKIE).count().saturating_sub(1);
    headers.len() - crumbs > HEAD_FIELDS || path + fields > HEAD_BYTES
}

fn framing(headers: &HeaderMap) -> RequestFraming {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return RequestFraming::Chunked;
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.trim().parse().ok());
    length.map_or(RequestFraming::None, RequestFraming::Length)
}

fn is_raw(version: Version, headers: &HeaderMap, framing: RequestFraming) -> bool {
    let websocket = |v: &HeaderValue| v.as_bytes().trim_ascii().eq_ignore_ascii_case(b"websocket");
    version < Version::HTTP_2
        && framing != RequestFraming::Chunked
        && headers.get_all(header::UPGRADE).any(websocket)
}

fn host(uri: &Uri, headers: &HeaderMap) -> Option<HeaderValue> {
    match uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        None => headers.get(header::HOST).filter(|host| !host.is_empty()).cloned(),
    }
}

/// `host` without its port.
fn host_name(host: &str) -> &str {
    match host.rfind(':') {
        Some(at) if !host[at..].contains(']') => &host[..at],
        _ => host,
    }
}

/// RFC 9110 §7.2 with RFC 3986 §3.2.2, narrowed to what is in use: a registered name of letters, digits and
/// `-._~%!$&'()*+;=` or an address, and an optional numeric port; no user information.
fn is_host(host: &[u8]) -> bool {
    let (name, rest) = if host.first() == Some(&b'[') {
        let Some(end) = memchr::memchr(b']', host) else { return false };
        let inside = &host[1..end];
        let literal = std::str::from_utf8(inside).ok().and_then(|s| s.parse::<std::net::Ipv6Addr>().ok());
        if literal.is_none() {
            return false;
        }
        (&b"v6"[..], &host[end + 1..])
    } else {
        host.split_at(memchr::memchr(b':', host).unwrap_or(host.len()))
    };
    let registered = |b: &u8| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=".contains(b);
    let port = match rest {
        [] | [b':'] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    !name.is_empty() && name.iter().all(registered) && port
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_two_readers_could_understand_differently_are_refused() {
        for good in [
            "a.test",
            "a.test:80",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:8080",
            "a-b_c.test",
            "xn--bcher-kva.example",
        ] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "a b", "a/b", "u@a", "a, b", "a?b", "a#b", "a:xx", "a\u{1}b", "<a>", "[::1", "[x]", "a:1:2",
            "a:123456", "a[b]", "a]", ":80",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn the_port_is_not_part_of_the_name() {
        for (host, name) in
            [("a.test", "a.test"), ("a.test:80", "a.test"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]")]
        {
            assert_eq!(host_name(host), name);
        }
    }
}
