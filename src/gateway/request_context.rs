//! Who asks, under which id, as part of which trace.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use ipnet::IpNet;

use super::answer::REQUEST_ID;
use super::fields::Fields;
use super::peer::Peer;

/// Whether `address` is one of the configured proxies.
pub fn is_trusted(trusted: &[IpNet], address: IpAddr) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

/// A client whose failures are counted: a proxy that has named nobody may stand for anybody.
pub fn named(trusted: &[IpNet], client: IpAddr) -> Option<IpAddr> {
    (!is_trusted(trusted, client)).then_some(client)
}

/// The client behind trusted proxies: the first hop, from the right, that is not one of them, and how many entries of
/// `X-Forwarded-For`, from the right, lead to it. An entry that is no address ends the walk: what is left of it could be
/// anybody's invention.
pub fn client(fields: &Fields, peer: &Peer, trusted: &[IpNet]) -> (IpAddr, usize) {
    let (mut client, mut hops) = (peer.ip(), 0);
    if !is_trusted(trusted, client) {
        return (client, hops);
    }
    // Hop by hop: what a client has put in front may be no text at all, and must not hide what a proxy wrote behind it.
    let values = fields.get_all("x-forwarded-for").rev();
    let entries = values.flat_map(|value| value.rsplit(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    // Empty elements count for nothing (RFC 9110 §5.6.1).
    for hop in entries.filter(|entry| !entry.is_empty()) {
        let Some(address) = std::str::from_utf8(hop).ok().and_then(parse_hop) else { break };
        (client, hops) = (address, hops + 1);
        if !is_trusted(trusted, client) {
            break;
        }
    }
    (client, hops)
}

/// What the proxy next to the client has said of it in a list, of which `hops` entries are known; what stands in front of that
/// is the client's own word.
pub fn said_of_client<'a>(
    values: impl DoubleEndedIterator<Item = &'a [u8]>,
    hops: usize,
) -> Option<&'a [u8]> {
    let entries = values.rev().flat_map(|value| value.rsplit(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    entries.filter(|entry| !entry.is_empty()).take(hops.max(1)).last()
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

/// A request's id: the gateway's own, or one that a trusted proxy gave.
#[derive(Clone, Debug)]
pub enum RequestId {
    Own([u8; 36]),
    Given(Box<str>),
}

impl RequestId {
    /// A trusted proxy's if it is well formed, else a new one.
    pub fn of(fields: &Fields, trusted: bool, now_ms: u64) -> Self {
        let given = if trusted { fields.text(REQUEST_ID) } else { None };
        match given.filter(|id| is_request_id(id.as_bytes())) {
            Some(given) => Self::Given(given.into()),
            None => Self::Own(new_request_id(now_ms)),
        }
    }

    /// The id as it goes over the wire.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => &bytes[..],
            Self::Given(value) => value.as_bytes(),
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        // Both kinds are ASCII by construction.
        std::str::from_utf8(self.as_bytes()).unwrap_or("")
    }
}

/// A new request id: UUIDv7 (RFC 9562 §5.7). Sortable by time; its random part comes from a fast generator, since an
/// id names a request and guards nothing.
fn new_request_id(now_ms: u64) -> [u8; 36] {
    let mut random = [0; 10];
    fastrand::fill(&mut random);
    let id = uuid::Builder::from_unix_timestamp_millis(now_ms, &random).into_uuid();
    let mut text = [0; 36];
    id.hyphenated().encode_lower(&mut text);
    text
}

/// [`new_request_id`] as text.
pub fn request_id() -> String {
    String::from_utf8_lossy(&new_request_id(unix_millis())).into_owned()
}

/// Milliseconds since the Unix epoch.
pub fn unix_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// 1–128 of `A-Za-z0-9._-`.
pub fn is_request_id(id: &[u8]) -> bool {
    (1..=128).contains(&id.len()) && id.iter().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b))
}

/// A `traceparent` of this hop (W3C Trace Context §3.2).
#[derive(Clone, Copy, Debug)]
pub struct Trace {
    text: [u8; 55],
    /// The client's trace goes on; its `tracestate` means nothing without it.
    pub continued: bool,
}

impl Trace {
    /// Continues the client's trace under a new span, or starts one; `random` makes the ids.
    pub fn of(fields: &Fields, random: (u128, u64)) -> Self {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-01";
        let theirs = fields.text("traceparent").filter(|v| is_traceparent(v));
        match theirs {
            Some(theirs) => {
                text[3..35].copy_from_slice(&theirs.as_bytes()[3..35]);
                text[53..55].copy_from_slice(&theirs.as_bytes()[53..55]);
            }
            None => hex(&mut text[3..35], &random.0.max(1).to_be_bytes()),
        }
        hex(&mut text[36..52], &random.1.max(1).to_be_bytes());
        Self { text, continued: theirs.is_some() }
    }

    /// The whole field value.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// The trace id, 32 hex digits.
    pub fn id(&self) -> &str {
        std::str::from_utf8(&self.text[3..35]).unwrap_or("")
    }
}

fn hex(out: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
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

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(name: &str, values: &[&[u8]]) -> Fields {
        let mut fields = Fields::default();
        values.iter().for_each(|value| fields.push(name, value));
        fields
    }

    fn client(values: &[&[u8]], peer: &str, trusted: &[IpNet]) -> String {
        let peer = Peer::new(peer.parse().unwrap(), false);
        super::client(&fields("X-Forwarded-For", values), &peer, trusted).0.to_string()
    }

    #[test]
    fn an_untrusted_peer_is_the_client_whatever_it_says() {
        assert_eq!(client(&[b"6.6.6.6"], "9.9.9.9:1", &[]), "9.9.9.9");
    }

    #[test]
    fn of_a_list_the_entry_of_the_proxy_next_to_the_client_counts() {
        for (values, hops, said) in [
            (&["evil, a, b"][..], 2, Some("a")),
            (&["evil", "a", "b"], 2, Some("a")),
            (&["evil, a"], 1, Some("a")),
            (&["a"], 3, Some("a")),
            (&["a, "], 0, Some("a")),
            (&[], 1, None),
        ] {
            let found = said_of_client(values.iter().map(|value| value.as_bytes()), hops);
            assert_eq!(found, said.map(str::as_bytes), "{values:?} {hops}");
        }
    }

    #[test]
    fn behind_trusted_proxies_the_first_other_hop_from_the_right_counts() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let ip = |values: &[&[u8]]| client(values, "10.0.0.1:1", &trusted);
        assert_eq!(ip(&[b"6.6.6.6, 7.7.7.7, 10.1.1.1"]), "7.7.7.7");
        assert_eq!(ip(&[b"6.6.6.6", b"7.7.7.7:1234, 10.1.1.1"]), "7.7.7.7");
        assert_eq!(ip(&[b"6.6.6.6, nonsense, 10.1.1.1"]), "10.1.1.1");
        assert_eq!(ip(&[b"[2001:db8::1]:80"]), "2001:db8::1");
        assert_eq!(ip(&[]), "10.0.0.1");
    }

    #[test]
    fn a_hop_that_is_no_text_hides_none_behind_it() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let ip = |value: &[u8]| client(&[value], "10.0.0.1:1", &trusted);
        assert_eq!(ip(b"\xe9, 203.0.113.9"), "203.0.113.9");
        assert_eq!(ip(b"6.6.6.6, \xff\xfe, 203.0.113.9, 10.1.1.1"), "203.0.113.9");
        assert_eq!(ip(b"6.6.6.6, \xe9, 10.1.1.1"), "10.1.1.1");
    }

    #[test]
    fn a_request_id_is_kept_only_well_formed_and_from_a_trusted_proxy() {
        let given = fields("X-Request-ID", &[b"abc-1.2_3"]);
        assert_eq!(RequestId::of(&given, true, 1).as_str(), "abc-1.2_3");
        assert_ne!(RequestId::of(&given, false, 1).as_str(), "abc-1.2_3");
        let given = fields("X-Request-ID", &[b"<script>"]);
        assert_eq!(RequestId::of(&given, true, 1).as_str().len(), 36);
    }

    #[test]
    fn a_valid_trace_is_continued_under_a_new_span() {
        let theirs = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        let ours = Trace::of(&fields("Traceparent", &[theirs]), (1, 2));
        assert!(ours.continued);
        assert_eq!(ours.as_bytes(), "00-0af7651916cd43dd8448eb211c80319c-0000000000000002-00".as_bytes());
        for bad in [
            "",
            "zz-bad",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
        ] {
            let ours = Trace::of(&fields("traceparent", &[bad.as_bytes()]), (1, 2));
            assert!(!ours.continued);
            assert_eq!(ours.as_bytes(), "00-00000000000000000000000000000001-0000000000000002-01".as_bytes());
        }
    }
}
