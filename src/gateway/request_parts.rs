//! A request head as it arrived, and the checks that every request passes before anything is decided about it.
//!
//! Both protocols make the same [`RequestParts`]: `server` has decoded it and has seen that it is well-formed; what is judged here
//! does not depend on the protocol.

use actix_http::{Method, Version};

use super::answer::Cause;
use super::fields::Fields;
use super::request_body::RequestFraming;

/// See the module.
pub struct RequestParts {
    pub method: Method,
    pub target: RequestTarget,
    pub version: Version,
    pub fields: Fields,
    /// How the body is framed.
    pub framing: RequestFraming,
    /// The client wants the connection kept.
    pub persists: bool,
    /// What the client offers to go on with.
    pub upgrade: Option<Upgrade>,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects: bool,
}

/// An upgrade that a client offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    WebSocket,
    Other,
}

/// What is asked for: a path with its query, and the host where the client has named it there (RFC 9112 §3.2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestTarget {
    text: String,
    /// Where the authority ends; 0 without one.
    authority: usize,
    /// Where the path begins and ends.
    path: (usize, usize),
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Path,
    /// A URL without a path, which for OPTIONS means the server itself (RFC 9112 §3.2.4).
    Pathless,
    /// `*`, the server itself.
    Asterisk,
}

impl RequestTarget {
    /// A target that holds nothing but visible ASCII.
    ///
    /// # Errors
    /// What is wrong with it, for the client.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        // A fragment is the client's own (RFC 9110 §7.1).
        let text = text.split('#').next().unwrap_or("");
        if text == "*" {
            return Ok(Self { text: text.to_owned(), authority: 0, path: (0, 1), form: Form::Asterisk });
        }
        if text.starts_with('/') {
            let end = memchr::memchr(b'?', text.as_bytes()).unwrap_or(text.len());
            return Ok(Self { text: text.to_owned(), authority: 0, path: (0, end), form: Form::Path });
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err("The request target must be a path or an http URL.");
        };
        if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return Err("The request target's scheme must be http or https.");
        }
        let authority = rest.find(['/', '?']).unwrap_or(rest.len());
        if !is_host(&rest.as_bytes()[..authority]) {
            return Err("The request target's host is not valid.");
        }
        let form = if rest.len() == authority { Form::Pathless } else { Form::Path };
        let slash = if rest[authority..].starts_with('/') { "" } else { "/" };
        let text = [&rest[..authority], slash, &rest[authority..]].concat();
        let end = text.find('?').unwrap_or(text.len());
        Ok(Self { text, authority, path: (authority, end), form })
    }

    /// As `parts` of an HTTP/2 request (RFC 9113 §8.3.1).
    ///
    /// # Errors
    /// As [`RequestTarget::parse`].
    pub fn of(authority: Option<&str>, path: &str) -> Result<Self, &'static str> {
        let mut target = Self::parse(path)?;
        let Some(authority) = authority else { return Ok(target) };
        if !is_host(authority.as_bytes()) {
            return Err("The :authority is not a valid host.");
        }
        target.text.insert_str(0, authority);
        target.authority = authority.len();
        target.path = (target.path.0 + authority.len(), target.path.1 + authority.len());
        Ok(target)
    }

    /// The host that it names.
    pub fn authority(&self) -> Option<&str> {
        (self.authority > 0).then(|| &self.text[..self.authority])
    }

    /// The path as received.
    pub fn path(&self) -> &str {
        &self.text[self.path.0..self.path.1]
    }

    /// What is behind the question mark.
    pub fn query(&self) -> Option<&str> {
        self.text.get(self.path.1 + 1..)
    }

    /// Path and query.
    pub fn path_and_query(&self) -> &str {
        &self.text[self.path.0..]
    }
}

impl RequestParts {
    /// The host that the request is for: the target's if it names one (RFC 9112 §3.2.2), else `Host`.
    pub fn host(&self) -> Option<&str> {
        self.target.authority().or_else(|| self.fields.text("host").filter(|host| !host.is_empty()))
    }

    /// The host that the client named, without its port; empty where it named none.
    pub fn host_name(&self) -> &str {
        self.host().map_or("", host_name)
    }

    /// Whether the server itself is asked, not for one of its resources.
    pub fn asks_server(&self) -> bool {
        match self.target.form {
            Form::Path => false,
            Form::Pathless => self.method == Method::OPTIONS,
            Form::Asterisk => true,
        }
    }

    /// How often it may still be forwarded behind this (RFC 9110 §7.6.2); `None` where nothing bounds that.
    pub fn forwards_left(&self) -> Option<u64> {
        if self.method != Method::OPTIONS && self.method != Method::TRACE {
            return None;
        }
        self.fields.text("max-forwards")?.parse::<u64>().ok()?.checked_sub(1)
    }

    /// Whether the gateway is to answer, as the last that may.
    pub fn is_at_last_hop(&self) -> bool {
        let bounded = self.method == Method::OPTIONS || self.method == Method::TRACE;
        bounded && self.fields.text("max-forwards").and_then(|left| left.parse().ok()) == Some(0_u64)
    }

    /// Refuses what a second reader of the same request could understand differently.
    ///
    /// # Errors
    /// [`Cause::BadRequest`], or [`Cause::MethodNotAllowed`] for CONNECT.
    pub fn check(&self) -> Result<(), Cause> {
        if self.method == Method::CONNECT {
            return Err(Cause::MethodNotAllowed);
        }
        if self.asks_server() && self.method != Method::OPTIONS {
            return Err(Cause::BadRequest("The request target must be a path or an http URL."));
        }
        // With an authority in the target, `Host` is not used, but must be valid all the same.
        if self.fields.get("host").is_some_and(|host| !host.is_empty() && !is_host(host)) {
            return Err(Cause::BadRequest("The Host header is not a valid host."));
        }
        if self.upgrade == Some(Upgrade::WebSocket)
            && (self.framing.has_bytes() || self.method != Method::GET)
        {
            // RFC 6455 §4.1.
            return Err(Cause::BadRequest("A websocket handshake must be a GET without a body."));
        }
        Ok(())
    }
}

/// What the `Upgrade` field of an HTTP/1.1 request offers whose `Connection` names it.
pub fn offered_upgrade(fields: &Fields) -> Option<Upgrade> {
    let tokens = fields.get_all("upgrade").flat_map(|value| value.split(|byte| *byte == b','));
    let (mut offered, mut websocket) = (0, false);
    for token in tokens.map(<[u8]>::trim_ascii).filter(|token| !token.is_empty()) {
        // h2c is ignored, as any server may, and what is offered beside it: it would open a second way in, past every check
        // (RFC 9113 §3.1 has retired it).
        let token = token.to_ascii_lowercase();
        if token == b"h2c" || token.starts_with(b"http") {
            return None;
        }
        offered += 1;
        websocket = token == b"websocket";
    }
    match offered {
        0 => None,
        1 if websocket => Some(Upgrade::WebSocket),
        _ => Some(Upgrade::Other),
    }
}

/// `host` without its port.
pub fn host_name(host: &str) -> &str {
    match host.rfind(':') {
        Some(at) if !host[at..].contains(']') => &host[..at],
        _ => host,
    }
}

/// RFC 9110 §7.2 with RFC 3986 §3.2.2, narrowed to what is in use: a registered name of letters, digits and
/// `-._~%!$&'()*+;=` or an address, and an optional port that there can be; no user information.
pub fn is_host(host: &[u8]) -> bool {
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
        [b':', digits @ ..] => {
            let number = || std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u16>().ok());
            digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit) && number().is_some()
        }
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
            "a.test:65535",
            "a.test:",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:8080",
            "a-b_c.test",
            "xn--bcher-kva.example",
        ] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "a b",
            "a/b",
            "u@a",
            "a, b",
            "a?b",
            "a#b",
            "a:xx",
            "a\u{1}b",
            "<a>",
            "[::1",
            "[x]",
            "a:1:2",
            "a:123456",
            "a:65536",
            "a:99999",
            "a:-1",
            "a:+1",
            "[::1]:99999",
            "a:4294967376",
            "a[b]",
            "a]",
            ":80",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn a_target_is_a_path_with_or_without_a_host() {
        let parts = |text| {
            let target = RequestTarget::parse(text).unwrap();
            (
                target.authority().map(str::to_owned),
                target.path().to_owned(),
                target.query().map(str::to_owned),
            )
        };
        let own = |text: &str| Some(text.to_owned());
        assert_eq!(parts("/a/b?c=/?d"), (None, "/a/b".into(), own("c=/?d")));
        assert_eq!(parts("/?"), (None, "/".into(), own("")));
        assert_eq!(parts("/a#b?c"), (None, "/a".into(), None));
        assert_eq!(parts("http://a.test:80/b?c"), (own("a.test:80"), "/b".into(), own("c")));
        assert_eq!(parts("HTTPS://a.test?c"), (own("a.test"), "/".into(), own("c")));
        assert_eq!(parts("http://a.test"), (own("a.test"), "/".into(), None));
        assert_eq!(RequestTarget::parse("http://a.test?c").unwrap().path_and_query(), "/?c");
        assert_eq!(RequestTarget::parse("*").unwrap().form, Form::Asterisk);
        assert_eq!(RequestTarget::parse("http://a.test").unwrap().form, Form::Pathless);
        for bad in ["", "a", "a.test:80", "ftp://a/b", "http://", "http:///a", "http://u@a/b", "**", "?a"] {
            assert!(RequestTarget::parse(bad).is_err(), "{bad}");
        }
        let target = RequestTarget::of(Some("a.test"), "/b?c").unwrap();
        assert_eq!((target.authority(), target.path(), target.query()), (Some("a.test"), "/b", Some("c")));
        assert!(RequestTarget::of(Some("u@a"), "/b").is_err());
    }

    #[test]
    fn an_offer_is_carried_or_ignored_but_never_taken_for_another() {
        for (values, upgrade) in [
            (&["websocket"][..], Some(Upgrade::WebSocket)),
            (&["WebSocket"], Some(Upgrade::WebSocket)),
            (&["tcp"], Some(Upgrade::Other)),
            (&["SPDY/3.1"], Some(Upgrade::Other)),
            (&["foo, websocket"], Some(Upgrade::Other)),
            (&["foo", "bar"], Some(Upgrade::Other)),
            (&[], None),
            (&[""], None),
            (&["h2c"], None),
            (&["HTTP/2.0"], None),
            (&["websocket", "h2c"], None),
            (&["foo, h2c"], None),
        ] {
            let mut fields = Fields::default();
            values.iter().for_each(|value| fields.push("Upgrade", value.as_bytes()));
            assert_eq!(offered_upgrade(&fields), upgrade, "{values:?}");
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
