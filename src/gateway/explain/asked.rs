//! The request that an explanation is about: made of words, and read as if a client had sent it.

use std::net::{IpAddr, SocketAddr};

use crate::config::settings::HeadBounds;
use crate::gateway::answer::Cause;
use crate::gateway::peer::Peer;
use crate::gateway::request_parts::RequestParts;
use crate::gateway::server::head;

/// `Host` of a request whose URL has none.
const HOST: &str = "localhost";

/// A request that nobody sends, on a connection without a client certificate.
pub struct Asked {
    /// As written.
    pub method: String,
    pub target: String,
    pub peer: Peer,
    /// Its head, or why a client that sent it would be refused.
    pub head: Result<RequestParts, Cause>,
}

impl Asked {
    /// A request from `ip`, over TLS where the URL says `https`. `url` may as well be a path alone.
    ///
    /// # Errors
    /// What cannot be put into a request.
    pub fn new(
        method: &str,
        url: &str,
        headers: &[(String, String)],
        ip: IpAddr,
        bounds: HeadBounds,
    ) -> Result<Self, String> {
        if method.is_empty() || !method.bytes().all(is_token) {
            return Err(format!("{method:?} is no method"));
        }
        let (secure, host, target) = parts(url)?;
        let mut text = format!("{method} {target} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            text += &format!("Host: {host}\r\n");
        }
        for (name, value) in headers {
            if name.is_empty() || !name.bytes().all(is_token) {
                return Err(format!("{name:?} is no name of a header"));
            }
            if value.contains(['\r', '\n', '\0']) {
                return Err(format!("the value of {name} has a line break or NUL in it"));
            }
            text += &format!("{name}: {value}\r\n");
        }
        text += "\r\n";
        let head = head(text.as_bytes(), bounds);
        // Over TLS for that very host: whoever is to be asked for a certificate was, and has shown none.
        let mut peer = Peer::new(SocketAddr::new(ip, 0), secure);
        peer.asked = secure;
        Ok(Self { method: method.to_owned(), target: target.to_owned(), peer, head })
    }
}

/// Whether it is `https`, the host, and the rest of a URL.
fn parts(url: &str) -> Result<(bool, &str, &str), String> {
    let bad = |why: &str| Err(format!("{url:?} is no URL: {why}"));
    if url.bytes().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control()) {
        return bad("it has blanks or control characters in it; escape them");
    }
    let url = url.split('#').next().unwrap_or("");
    if url.starts_with('/') || url == "*" {
        return Ok((false, HOST, url));
    }
    let (secure, rest) = match url.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
        _ => return bad("write http://HOST/PATH, https://HOST/PATH or /PATH"),
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, target) = rest.split_at(end);
    match (host, target) {
        ("", _) => bad("it has no host"),
        (host, _) if host.contains('@') => bad("credentials do not belong there; send a header"),
        (host, "") => Ok((secure, host, "/")),
        (_, target) if target.starts_with('?') => bad("write a / before the question mark"),
        (host, target) => Ok((secure, host, target)),
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: HeadBounds = HeadBounds { bytes: 4096, fields: 16 };

    fn asked(method: &str, url: &str, headers: &[(&str, &str)]) -> Result<Asked, String> {
        let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Asked::new(method, url, &headers, [127, 0, 0, 1].into(), BOUNDS)
    }

    #[test]
    fn a_url_is_read_as_a_client_would_send_it() {
        for (url, host, target, secure) in [
            ("/a?b#c", "localhost", "/a?b", false),
            ("http://a.test:80/x//y?z", "a.test:80", "/x//y?z", false),
            ("HTTPS://a.test", "a.test", "/", true),
            ("http://[::1]:8080/a", "[::1]:8080", "/a", false),
        ] {
            let asked = asked("GET", url, &[]).unwrap();
            let head = asked.head.unwrap();
            assert_eq!((head.host(), head.target.path_and_query()), (Some(host), target), "{url}");
            assert_eq!(asked.peer.secure, secure, "{url}");
        }
        let named = asked("GET", "http://a.test/", &[("host", "b.test")]).unwrap().head.unwrap();
        assert_eq!(named.host(), Some("b.test"));
    }

    #[test]
    fn what_would_be_another_request_is_none() {
        for (method, url) in [
            ("GET /x", "/"),
            ("", "/"),
            ("GET", "a.test/x"),
            ("GET", "ftp://a/"),
            ("GET", "http:///x"),
            ("GET", "http://u:p@a.test/"),
            ("GET", "http://a.test?x"),
            ("GET", "/a b"),
            ("GET", "/a\r\nX: 1"),
            ("GET", ""),
        ] {
            assert!(asked(method, url, &[]).is_err(), "{method:?} {url:?}");
        }
        for header in [("X\r\nY", "1"), ("X", "1\r\nY: 2"), ("", "1"), ("a b", "1"), ("X", "\0")] {
            assert!(asked("GET", "/", &[header]).is_err(), "{header:?}");
        }
    }

    #[test]
    fn what_a_client_would_be_refused_for_is_a_cause() {
        let cause = |headers: &[(&str, &str)]| asked("GET", "/", headers).unwrap().head.err();
        assert_eq!(cause(&[]), None);
        assert!(matches!(cause(&[("Host", "a"), ("Host", "b")]), Some(Cause::BadRequest(_))));
        assert!(matches!(cause(&[("Content-Length", "x")]), Some(Cause::BadRequest(_))));
        assert_eq!(cause(&[("X", &"a".repeat(5000))]), Some(Cause::HeadTooLarge(BOUNDS)));
    }
}
