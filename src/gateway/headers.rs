//! Header hygiene in both directions (RFC 9110 §7.6, RFC 9112 §3.2).

use actix_http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::identity::{FORWARDED_FOR, Trace};
use super::rate_limit::is_quota;
use super::upstream::framing::{HIDDEN_CODING, HIDDEN_LENGTH};

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const VIA_SELF: HeaderValue = HeaderValue::from_static("1.1 aegis");

/// What a request carries on behalf of its connection and client.
pub struct Forwarding<'a> {
    /// The socket peer.
    pub peer: &'a HeaderValue,
    /// The peer is a trusted proxy: what it says about hops before it is kept.
    pub trusted: bool,
    pub secure: bool,
    pub http2: bool,
    /// The host that the client asked for.
    pub host: Option<&'a HeaderValue>,
    pub request_id: &'a [u8],
    pub trace: &'a Trace,
    /// Keep `Upgrade`: the upstream is asked.
    pub upgrade: bool,
}

/// Takes out of a client's header fields what must not reach the upstream, and returns the lines that the gateway adds,
/// ready for the wire: they never need to be looked up again. `Host` and the body's framing are set by others.
pub fn to_upstream(headers: &mut HeaderMap, facts: &Forwarding<'_>) -> Vec<u8> {
    remove_nominated(headers);
    let mut lines = Vec::with_capacity(448);
    let kept = |name: &HeaderName| if facts.trusted { joined(headers, name) } else { None };
    add(&mut lines, "x-forwarded-for", &[kept(&FORWARDED_FOR).as_ref(), Some(facts.peer)]);
    add(&mut lines, "x-real-ip", &[kept(&REAL_IP).as_ref().or(Some(facts.peer))]);
    let proto = HeaderValue::from_static(if facts.secure { "https" } else { "http" });
    add(&mut lines, "x-forwarded-proto", &[kept(&FORWARDED_PROTO).as_ref().or(Some(&proto))]);
    add(&mut lines, "x-forwarded-host", &[kept(&FORWARDED_HOST).as_ref().or(facts.host)]);
    add(&mut lines, "via", &[joined(headers, &header::VIA).as_ref(), Some(&VIA_SELF)]);
    add_bytes(&mut lines, "x-request-id", facts.request_id);
    add_bytes(&mut lines, "traceparent", facts.trace.as_bytes());
    if facts.http2 && headers.get_all(header::COOKIE).nth(1).is_some() {
        // HTTP/2 may split what HTTP/1 must have in one field (RFC 9113 §8.2.3).
        let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).map(HeaderValue::as_bytes).collect();
        add_bytes(&mut lines, "cookie", &crumbs.join(&b"; "[..]));
        headers.remove(header::COOKIE);
    }
    headers.retain(|name, value| {
        if *name == header::DATE {
            add_bytes(&mut lines, "date", value.as_bytes());
            return false;
        }
        !is_dropped(name.as_str(), facts)
    });
    lines
}

/// Whether a request field stays behind: hop-by-hop, set by the gateway, or a look-alike of such.
fn is_dropped(name: &str, facts: &Forwarding<'_>) -> bool {
    // Dispatch on the length first: most fields of a request are settled by it.
    match name.len() {
        2 => name == "te",
        3 => name == "via",
        6 => name == "expect",
        7 => name == "trailer" || (name == "upgrade" && !facts.upgrade),
        9 => match name {
            "x-real-ip" | "x-user-id" => true,
            // RFC 7239: nothing vouches for it.
            "forwarded" => !facts.trusted,
            _ => is_lookalike(name),
        },
        10 => {
            name == "connection" || name == "keep-alive" || (name == "tracestate" && !facts.trace.continued)
        }
        11 => name == "traceparent" || name == "x-user-tier" || is_lookalike(name),
        12 => matches!(name, "x-request-id" | "x-user-roles" | "x-user-email") || is_lookalike(name),
        14 => name == "content-length" || name == "http2-settings" || is_lookalike(name),
        15 => name == "x-forwarded-for" || is_lookalike(name),
        16 => name == "proxy-connection" || name == "x-forwarded-host" || is_lookalike(name),
        17 => name == "transfer-encoding" || name == "x-forwarded-proto" || is_lookalike(name),
        19 => name == "proxy-authorization" || is_lookalike(name),
        _ => false,
    }
}

/// `X_User_Id` becomes `X-User-Id` in CGI and WSGI backends: fields that only look different from one that the
/// gateway sets or removes go too.
fn is_lookalike(name: &str) -> bool {
    name.contains('_')
        && matches!(
            name.replace('_', "-").as_str(),
            "x-real-ip"
                | "x-user-id"
                | "x-user-tier"
                | "x-user-roles"
                | "x-user-email"
                | "x-request-id"
                | "x-forwarded-for"
                | "x-forwarded-host"
                | "x-forwarded-proto"
                | "content-length"
                | "transfer-encoding"
                | "proxy-connection"
                | "proxy-authorization"
                | "http2-settings"
        )
}

/// One line: the values that are there, as a list.
fn add(lines: &mut Vec<u8>, name: &str, values: &[Option<&HeaderValue>]) {
    let mut values = values.iter().flatten();
    let Some(first) = values.next() else { return };
    lines.extend_from_slice(name.as_bytes());
    lines.extend_from_slice(b": ");
    lines.extend_from_slice(first.as_bytes());
    for value in values {
        lines.extend_from_slice(b", ");
        lines.extend_from_slice(value.as_bytes());
    }
    lines.extend_from_slice(b"\r\n");
}

/// One line.
pub fn add_bytes(lines: &mut Vec<u8>, name: &str, value: &[u8]) {
    lines.extend_from_slice(name.as_bytes());
    lines.extend_from_slice(b": ");
    lines.extend_from_slice(value);
    lines.extend_from_slice(b"\r\n");
}

/// Turns an upstream's header fields into the client's, except for those that the gateway adds; answers `Via`. The framing
/// is set by the caller.
///
/// An upstream's word on a limit goes where the gateway has one of its own to tell: `limited`. Not both: `RateLimit` may
/// be of an older draft than ours, and the two no list together.
pub fn to_client(headers: &mut HeaderMap, keep_upgrade: bool, limited: bool) -> HeaderValue {
    let (mut via, mut nominates) = (None, false);
    headers.retain(|name, value| {
        let name = name.as_str();
        match name.len() {
            2 => name != "te",
            3 if name == "via" => {
                via = Some(via.take().map_or_else(|| value.clone(), |chain| append(&chain, value)));
                false
            }
            7 => name != "trailer" && (name != "upgrade" || keep_upgrade),
            10 if name == "connection" => {
                nominates |= nominations(value).next().is_some();
                // Kept until what it names is gone.
                true
            }
            10 => name != "keep-alive",
            12 => name != "aegis-reason" && name != "x-request-id",
            14 => name != "content-length" && name != HIDDEN_LENGTH,
            9 | 16 | 17 | 21 if limited && is_quota(name) => false,
            16 => name != "proxy-connection",
            17 => name != "transfer-encoding" && name != HIDDEN_CODING,
            18 => name != "proxy-authenticate",
            _ => true,
        }
    });
    if nominates {
        remove_nominated(headers);
    }
    headers.remove(header::CONNECTION);
    via.map_or(VIA_SELF, |chain| append(&chain, &VIA_SELF))
}

/// RFC 9110 §7.6.1: fields that `Connection` names go no further, except those that the message cannot be without.
fn remove_nominated(headers: &mut HeaderMap) {
    let nominated: Vec<HeaderName> = headers.get_all(header::CONNECTION).flat_map(nominations).collect();
    for name in nominated {
        headers.remove(name);
    }
}

/// The fields that one `Connection` value names.
fn nominations(value: &HeaderValue) -> impl Iterator<Item = HeaderName> + '_ {
    let options = value.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii);
    let known = [&b"close"[..], b"keep-alive", b"upgrade", b"te"];
    let names = options.filter(move |option| {
        !option.is_empty() && !known.iter().any(|known| option.eq_ignore_ascii_case(known))
    });
    let needed = [header::HOST, header::CONTENT_LENGTH, header::CONNECTION];
    names.filter_map(|option| HeaderName::from_bytes(option).ok()).filter(move |name| !needed.contains(name))
}

/// All values of a list field as one.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let mut values = headers.get_all(name);
    let first = values.next()?.clone();
    Some(values.fold(first, |all, value| append(&all, value)))
}

fn append(list: &HeaderValue, value: &HeaderValue) -> HeaderValue {
    let bytes = [list.as_bytes(), b", ", value.as_bytes()].concat();
    // Two valid values and a comma are a valid value.
    HeaderValue::from_maybe_shared(bytes::Bytes::from(bytes)).unwrap_or_else(|_| value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        map
    }

    /// What the upstream would receive of `fields`, beside `Host` and framing.
    fn sent(fields: &[(&'static str, &'static str)], trusted: bool) -> Vec<(String, String)> {
        let mut headers = map(fields);
        let (peer, host) = (HeaderValue::from_static("9.9.9.9"), HeaderValue::from_static("a.test"));
        let trace = Trace::of(&headers, (1, 2));
        let facts = Forwarding {
            peer: &peer,
            trusted,
            secure: false,
            http2: false,
            host: Some(&host),
            request_id: b"id-1",
            trace: &trace,
            upgrade: false,
        };
        let lines = String::from_utf8(to_upstream(&mut headers, &facts)).unwrap();
        let added = lines.lines().map(|line| line.split_once(": ").unwrap());
        let kept = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
        kept.chain(added).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn get<'a>(sent: &'a [(String, String)], name: &str) -> Vec<&'a str> {
        sent.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    #[test]
    fn nothing_a_client_says_about_itself_survives() {
        let sent = sent(
            &[
                ("x-forwarded-for", "6.6.6.6"),
                ("x-real-ip", "6.6.6.6"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "evil.test"),
                ("forwarded", "for=6.6.6.6"),
                ("x-user-id", "evil"),
                ("x_user_id", "evil"),
                ("x-user_roles", "evil"),
                ("x_forwarded_for", "6.6.6.6"),
                ("x_app_field", "kept"),
            ],
            false,
        );
        for (_, value) in &sent {
            assert!(!value.contains("6.6.6.6") && !value.contains("evil") && value != "https", "{value}");
        }
        assert_eq!(get(&sent, "x_app_field"), ["kept"]);
        assert_eq!(get(&sent, "x-forwarded-host"), ["a.test"]);
        assert_eq!(get(&sent, "x-forwarded-for"), ["9.9.9.9"]);
    }

    #[test]
    fn a_trusted_proxys_chain_is_extended() {
        let fields =
            [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2"), ("x-forwarded-proto", "https")];
        let sent = sent(&fields, true);
        assert_eq!(get(&sent, "x-forwarded-for"), ["1.1.1.1, 2.2.2.2, 9.9.9.9"]);
        assert_eq!(get(&sent, "x-forwarded-proto"), ["https"]);
    }

    #[test]
    fn hop_by_hop_fields_go_and_nominations_cannot_remove_what_the_gateway_adds() {
        let sent = sent(
            &[
                ("connection", "close, X-Hop, x-forwarded-for"),
                ("x-hop", "1"),
                ("keep-alive", "5"),
                ("te", "gzip"),
                ("via", "1.0 other"),
                ("x-end", "1"),
            ],
            false,
        );
        for gone in ["connection", "x-hop", "keep-alive", "te"] {
            assert!(get(&sent, gone).is_empty(), "{gone}");
        }
        assert_eq!(get(&sent, "x-end"), ["1"]);
        assert_eq!(get(&sent, "x-forwarded-for"), ["9.9.9.9"]);
        assert_eq!(get(&sent, "via"), ["1.0 other, 1.1 aegis"]);
    }

    #[test]
    fn repeated_fields_stay_repeated() {
        let mut headers = map(&[("set-cookie", "a=1"), ("set-cookie", "b=2"), ("via", "1.0 other")]);
        let via = to_client(&mut headers, false, false);
        assert_eq!(headers.get_all("set-cookie").count(), 2);
        assert_eq!((via.as_bytes(), headers.get("via")), (&b"1.0 other, 1.1 aegis"[..], None));
    }

    #[test]
    fn what_the_gateway_says_itself_no_upstream_says() {
        let theirs = [
            ("x-request-id", "theirs"),
            ("ratelimit", "1"),
            ("ratelimit-policy", "1"),
            ("x-ratelimit-limit", "1"),
            ("x-ratelimit-remaining", "1"),
            ("x-ratelimit-reset", "1"),
            ("x-ratelimit-resource", "core"),
        ];
        for (limited, left) in [(false, 6), (true, 1)] {
            let mut headers = map(&theirs);
            to_client(&mut headers, false, limited);
            assert!(!headers.contains_key("x-request-id"));
            assert_eq!(headers.iter().filter(|(name, _)| name.as_str().contains("ratelimit")).count(), left);
        }
    }
}
