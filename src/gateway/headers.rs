//! Header hygiene in both directions (RFC 9110 §7.6, RFC 9112 §3.2).

use actix_http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::answer::{REASON, REQUEST_ID};
use super::identity::{FORWARDED_FOR, TRACEPARENT};
use super::upstream::framing::{HIDDEN_CODING, HIDDEN_LENGTH};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const VIA_SELF: HeaderValue = HeaderValue::from_static("1.1 aegis");
const NO_BODY_LENGTH: HeaderName = HeaderName::from_static(HIDDEN_LENGTH);
const NO_BODY_CODING: HeaderName = HeaderName::from_static(HIDDEN_CODING);

/// Fields that no client may set, in any spelling; a verified identity sets them.
const IDENTITY: [HeaderName; 4] = [
    HeaderName::from_static("x-user-id"),
    HeaderName::from_static("x-user-roles"),
    HeaderName::from_static("x-user-email"),
    HeaderName::from_static("x-user-tier"),
];

/// Meaningful to one connection only, whether or not `Connection` names them.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What a request carries on behalf of its connection and client.
pub struct Forwarding<'a> {
    /// The socket peer.
    pub peer: &'a HeaderValue,
    /// The peer is a trusted proxy: what it says about hops before it is kept.
    pub trusted: bool,
    pub secure: bool,
    /// The host that the client asked for.
    pub host: Option<&'a HeaderValue>,
    pub request_id: &'a HeaderValue,
    pub traceparent: &'a HeaderValue,
    /// The client's trace goes on, and its `tracestate` with it.
    pub traced: bool,
    /// Keep `Upgrade`: the upstream is asked.
    pub upgrade: bool,
}

/// Turns a client's header fields into the upstream's. `Host` and the body's framing are set by the caller.
pub fn to_upstream(headers: &mut HeaderMap, facts: &Forwarding<'_>) {
    remove_nominated(headers);
    let upgrade = facts.upgrade.then(|| headers.get(header::UPGRADE).cloned()).flatten();
    remove_hop_by_hop(headers);
    if let Some(upgrade) = upgrade {
        headers.insert(header::UPGRADE, upgrade);
    }
    for name in [header::PROXY_AUTHORIZATION, HTTP2_SETTINGS, header::EXPECT] {
        headers.remove(name);
    }
    for name in IDENTITY {
        headers.remove(name);
    }
    remove_lookalikes(headers);
    let chain = facts.trusted.then(|| joined(headers, &FORWARDED_FOR)).flatten();
    headers
        .insert(FORWARDED_FOR, chain.map_or_else(|| facts.peer.clone(), |chain| append(&chain, facts.peer)));
    if !facts.trusted || !headers.contains_key(REAL_IP) {
        headers.insert(REAL_IP, facts.peer.clone());
    }
    if !facts.trusted || !headers.contains_key(FORWARDED_PROTO) {
        headers
            .insert(FORWARDED_PROTO, HeaderValue::from_static(if facts.secure { "https" } else { "http" }));
    }
    if !facts.trusted || !headers.contains_key(FORWARDED_HOST) {
        match facts.host {
            Some(host) => headers.insert(FORWARDED_HOST, host.clone()),
            None => headers.remove(FORWARDED_HOST),
        };
    }
    if !facts.trusted {
        // RFC 7239: nothing vouches for it.
        headers.remove(header::FORWARDED);
    }
    headers.insert(REQUEST_ID, facts.request_id.clone());
    headers.insert(TRACEPARENT, facts.traceparent.clone());
    if !facts.traced {
        headers.remove(TRACESTATE);
    }
    add_via(headers);
}

/// Turns an upstream's header fields into the client's. The framing is set by the caller.
pub fn to_client(headers: &mut HeaderMap, request_id: &HeaderValue, keep_upgrade: bool) {
    remove_nominated(headers);
    let upgrade = keep_upgrade.then(|| headers.get(header::UPGRADE).cloned()).flatten();
    remove_hop_by_hop(headers);
    if let Some(upgrade) = upgrade {
        headers.insert(header::UPGRADE, upgrade);
    }
    for name in [header::PROXY_AUTHENTICATE, NO_BODY_LENGTH, NO_BODY_CODING, REASON] {
        headers.remove(name);
    }
    headers.insert(REQUEST_ID, request_id.clone());
    add_via(headers);
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// RFC 9110 §7.6.1: fields that `Connection` names go no further, except those that the message cannot be without.
fn remove_nominated(headers: &mut HeaderMap) {
    let mut nominated = Vec::new();
    for value in headers.get_all(header::CONNECTION) {
        for option in value.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii) {
            let known = [&b"close"[..], b"keep-alive", b"upgrade", b"te"];
            if option.is_empty() || known.iter().any(|known| option.eq_ignore_ascii_case(known)) {
                continue;
            }
            if let Ok(name) = HeaderName::from_bytes(option) {
                if ![header::HOST, header::CONTENT_LENGTH, header::CONNECTION].contains(&name) {
                    nominated.push(name);
                }
            }
        }
    }
    for name in nominated {
        headers.remove(name);
    }
}

/// `X_User_Id` becomes `X-User-Id` in CGI and WSGI backends: fields that only look different from one that the
/// gateway sets or removes go too.
fn remove_lookalikes(headers: &mut HeaderMap) {
    if !headers.keys().any(|name| name.as_str().contains('_')) {
        return;
    }
    let managed = [FORWARDED_FOR, FORWARDED_PROTO, FORWARDED_HOST, REAL_IP, REQUEST_ID, TRACEPARENT];
    let framing = [header::HOST, header::CONTENT_LENGTH, header::FORWARDED, header::UPGRADE];
    let is_lookalike = |name: &HeaderName| {
        let dashed = name.as_str().replace('_', "-");
        name.as_str().contains('_')
            && managed
                .iter()
                .chain(&framing)
                .chain(&IDENTITY)
                .chain(&HOP_BY_HOP)
                .any(|known| known.as_str() == dashed)
    };
    let found: Vec<HeaderName> = headers.keys().filter(|name| is_lookalike(name)).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

fn add_via(headers: &mut HeaderMap) {
    let value = match joined(headers, &header::VIA) {
        Some(chain) => append(&chain, &VIA_SELF),
        None => VIA_SELF,
    };
    headers.insert(header::VIA, value);
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

    fn forwarding(trusted: bool) -> Forwarding<'static> {
        static PEER: HeaderValue = HeaderValue::from_static("9.9.9.9");
        static ID: HeaderValue = HeaderValue::from_static("id-1");
        static HOST: HeaderValue = HeaderValue::from_static("a.test");
        Forwarding {
            peer: &PEER,
            trusted,
            secure: false,
            host: Some(&HOST),
            request_id: &ID,
            traceparent: &ID,
            traced: false,
            upgrade: false,
        }
    }

    #[test]
    fn nothing_a_client_says_about_itself_survives() {
        let mut headers = map(&[
            ("x-forwarded-for", "6.6.6.6"),
            ("x-real-ip", "6.6.6.6"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.test"),
            ("forwarded", "for=6.6.6.6"),
            ("x-user-id", "evil"),
            ("x_user_id", "evil"),
            ("x_forwarded_for", "6.6.6.6"),
            ("x_app_field", "kept"),
        ]);
        to_upstream(&mut headers, &forwarding(false));
        for value in headers.iter().map(|(_, value)| value.to_str().unwrap()) {
            assert!(!value.contains("6.6.6.6") && !value.contains("evil") && value != "https", "{value}");
        }
        assert_eq!(headers.get("x_app_field").unwrap(), "kept");
        assert_eq!(headers.get("x-forwarded-host").unwrap(), "a.test");
    }

    #[test]
    fn a_trusted_proxys_chain_is_extended() {
        let mut headers = map(&[
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2"),
            ("x-forwarded-proto", "https"),
        ]);
        to_upstream(&mut headers, &forwarding(true));
        assert_eq!(headers.get(FORWARDED_FOR).unwrap(), "1.1.1.1, 2.2.2.2, 9.9.9.9");
        assert_eq!(headers.get(FORWARDED_PROTO).unwrap(), "https");
    }

    #[test]
    fn hop_by_hop_fields_go_and_nominations_cannot_remove_what_the_gateway_adds() {
        let mut headers = map(&[
            ("connection", "close, X-Hop, x-forwarded-for, content-length"),
            ("x-hop", "1"),
            ("keep-alive", "5"),
            ("te", "gzip"),
            ("content-length", "5"),
            ("x-end", "1"),
        ]);
        to_upstream(&mut headers, &forwarding(false));
        for gone in ["connection", "x-hop", "keep-alive", "te"] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
        for kept in ["content-length", "x-end", "x-forwarded-for", "via"] {
            assert!(headers.contains_key(kept), "{kept}");
        }
    }

    #[test]
    fn repeated_fields_stay_repeated() {
        let mut headers = map(&[("set-cookie", "a=1"), ("set-cookie", "b=2"), ("via", "1.0 other")]);
        to_client(&mut headers, &HeaderValue::from_static("id"), false);
        assert_eq!(headers.get_all("set-cookie").count(), 2);
        assert_eq!(headers.get("via").unwrap(), "1.0 other, 1.1 aegis");
    }
}
