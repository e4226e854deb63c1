//! Who asks, under which id, as part of which trace.

use std::net::IpAddr;

use actix_http::header::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use ipnet::IpNet;

use super::answer::REQUEST_ID;
use super::downstream::ConnState;
use super::worker;

/// `x-forwarded-for`.
pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `traceparent` (W3C Trace Context).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Whether `address` is one of the configured proxies.
pub fn is_trusted(trusted: &[IpNet], address: IpAddr) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

/// The client behind trusted proxies: the first hop, from the right, that is not one of them. An entry that is no
/// address ends the walk: what is left of it could be anybody's invention.
pub fn client_ip(headers: &HeaderMap, connection: &ConnState, trusted: &[IpNet]) -> IpAddr {
    let mut client = connection.peer_ip();
    if !is_trusted(trusted, client) {
        return client;
    }
    let values: Vec<&HeaderValue> = headers.get_all(FORWARDED_FOR).collect();
    for hop in values.iter().rev().flat_map(|value| value.to_str().unwrap_or("?").rsplit(',')) {
        let Some(address) = parse_hop(hop.trim()) else { return client };
        client = address;
        if !is_trusted(trusted, client) {
            return client;
        }
    }
    client
}

/// An address as proxies write it: bare, in brackets, or with a port.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let parsed: Option<IpAddr> = hop.parse().ok().or_else(|| {
        if let Some(rest) = hop.strip_prefix('[') {
            return rest.split_once(']')?.0.parse().ok();
        }
        hop.parse::<std::net::SocketAddr>().ok().map(|address| address.ip())
    });
    parsed.map(|address| address.to_canonical())
}

/// The request id: a trusted proxy's if it is well formed, else a new one.
pub fn request_id(headers: &HeaderMap, trusted: bool) -> HeaderValue {
    if trusted {
        if let Some(id) = headers.get(REQUEST_ID).filter(|id| is_request_id(id.as_bytes())) {
            return id.clone();
        }
    }
    value(worker::request_id())
}

/// 1–128 of `A-Za-z0-9._-`.
fn is_request_id(id: &[u8]) -> bool {
    (1..=128).contains(&id.len()) && id.iter().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b))
}

/// Continues the client's trace under a new span, or starts one. The flag is whether the client's was continued; its
/// `tracestate` means nothing without it.
pub fn traceparent(headers: &HeaderMap, random: (u128, u64)) -> (HeaderValue, bool) {
    let span = random.1.max(1);
    let theirs = headers.get(TRACEPARENT).and_then(|v| v.to_str().ok()).filter(|v| is_traceparent(v));
    match theirs {
        Some(theirs) => (value(format!("00-{}-{span:016x}-{}", &theirs[3..35], &theirs[53..55])), true),
        None => (value(format!("00-{:032x}-{span:016x}-01", random.0.max(1))), false),
    }
}

/// Version 00 to fe, lower-case hex, neither id all zero (Trace Context §3.2.2).
fn is_traceparent(v: &str) -> bool {
    let bytes = v.as_bytes();
    let hex =
        |range: std::ops::Range<usize>| bytes[range].iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let ids = |range: std::ops::Range<usize>| bytes[range].iter().any(|b| *b != b'0');
    (bytes.len() == 55 || (bytes.len() > 55 && !v.starts_with("00") && bytes[55] == b'-'))
        && [2, 35, 52].iter().all(|at| bytes[*at] == b'-')
        && hex(0..2)
        && hex(3..35)
        && hex(36..52)
        && hex(53..55)
        && !v.starts_with("ff")
        && ids(3..35)
        && ids(36..52)
}

fn value(text: String) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::downstream::Limits;
    use std::time::Duration;

    fn connection(peer: &str) -> ConnState {
        let limits = Limits { head: Duration::from_secs(5), keep_alive: Duration::from_secs(5) };
        ConnState::new(peer.parse().unwrap(), false, false, limits)
    }

    fn forwarded(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(FORWARDED_FOR, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn an_untrusted_peer_is_the_client_whatever_it_says() {
        let headers = forwarded(&["6.6.6.6"]);
        assert_eq!(client_ip(&headers, &connection("9.9.9.9:1"), &[]).to_string(), "9.9.9.9");
    }

    #[test]
    fn behind_trusted_proxies_the_first_other_hop_from_the_right_counts() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let ip =
            |values: &[&str]| client_ip(&forwarded(values), &connection("10.0.0.1:1"), &trusted).to_string();
        assert_eq!(ip(&["6.6.6.6, 7.7.7.7, 10.1.1.1"]), "7.7.7.7");
        assert_eq!(ip(&["6.6.6.6", "7.7.7.7:1234, 10.1.1.1"]), "7.7.7.7");
        assert_eq!(ip(&["6.6.6.6, nonsense, 10.1.1.1"]), "10.1.1.1");
        assert_eq!(ip(&["[2001:db8::1]:80"]), "2001:db8::1");
        assert_eq!(ip(&[]), "10.0.0.1");
    }

    #[test]
    fn a_request_id_is_kept_only_well_formed_and_from_a_trusted_proxy() {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_static("abc-1.2_3"));
        assert_eq!(request_id(&headers, true), "abc-1.2_3");
        assert_ne!(request_id(&headers, false), "abc-1.2_3");
        headers.insert(REQUEST_ID, HeaderValue::from_static("<script>"));
        assert_eq!(request_id(&headers, true).len(), 36);
    }

    #[test]
    fn a_valid_trace_is_continued_under_a_new_span() {
        let mut headers = HeaderMap::new();
        let theirs = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        headers.insert(TRACEPARENT, HeaderValue::from_static(theirs));
        let (ours, continued) = traceparent(&headers, (1, 2));
        assert!(continued);
        assert_eq!(ours, "00-0af7651916cd43dd8448eb211c80319c-0000000000000002-00");
        for bad in [
            "",
            "zz-bad",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
        ] {
            headers.insert(TRACEPARENT, HeaderValue::from_static(bad));
            let (ours, continued) = traceparent(&headers, (1, 2));
            assert!(!continued);
            assert_eq!(ours, "00-00000000000000000000000000000001-0000000000000002-01");
        }
    }
}
