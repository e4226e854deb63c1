//! Header hygiene in both directions (RFC 9110 §7.6, RFC 9112 §3.2).

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use smallvec::SmallVec;

use super::fields::Fields;
use super::rate_limit::is_quota;
use super::request_context::{Trace, said_of_client};
use super::request_parts::{RequestParts, is_host};
use crate::auth::{Identity, IdentityFields};

const VIA_SELF: &[u8] = b"1.1 aegis";

/// The longest name that anything here looks for, in bytes.
const LONGEST: usize = 24;

/// What a request carries on behalf of its connection and client.
pub struct Forwarding<'a> {
    /// The socket peer.
    pub peer: &'a str,
    /// The client behind it, and how many entries of `X-Forwarded-For` lead there.
    pub client: Option<IpAddr>,
    pub hops: usize,
    /// The peer is a trusted proxy: what it says about hops before it is kept.
    pub trusted: bool,
    pub secure: bool,
    pub request_id: &'a [u8],
    pub trace: &'a Trace,
    /// `Via` tells of the gateway.
    pub via: bool,
    /// What of the path's front the upstream does not see.
    pub stripped: Option<&'a str>,
    /// The fields that tell who it is.
    pub identity_fields: &'a IdentityFields,
    /// Who it is.
    pub identity: Option<&'a Identity>,
    /// What `Client-Cert` and `Client-Cert-Chain` say of this connection's certificate, empty = nothing, and that nobody else
    /// may say it (RFC 9440 §4), a trusted proxy neither: there would be two words for one.
    pub certificate: Option<[&'a [u8]; 2]>,
    pub credentials: Credentials<'a>,
}

/// Credentials in a request that are the gateway's to judge, and do not go further.
#[derive(Clone, Copy, Default)]
pub struct Credentials<'a> {
    pub authorization: bool,
    /// The name of the field that keys come in.
    pub key: Option<&'a str>,
}

impl Credentials<'_> {
    fn holds(&self, name: &str) -> bool {
        (self.authorization && is_lookalike(name, "authorization"))
            || self.key.is_some_and(|key| is_lookalike(name, key))
    }
}

/// Writes the field lines of a request as its upstream gets them: the client's without what must not go further, then the
/// gateway's own. `Host` and the body's framing are set by others.
pub fn to_upstream(head: &RequestParts, facts: &Forwarding<'_>, lines: &mut Vec<u8>) {
    let fields = &head.fields;
    let nominated = nominated(fields);
    let keeps_upgrade = head.upgrade.is_some();
    let hops = head.forwards_left();
    let mut kept = Kept::default();
    for (name, value) in fields.iter() {
        if facts.identity_fields.is_one(name) || facts.credentials.holds(name) {
            continue;
        }
        let passes = match Known::of(name, facts) {
            Known::Passes => !nominated.iter().any(|one| one.eq_ignore_ascii_case(name.as_bytes())),
            Known::Stays => false,
            Known::Upgrade => keeps_upgrade,
            Known::Cookie => {
                // HTTP/2 may split what HTTP/1 must have in one field (RFC 9113 §8.2.3).
                kept.cookie.push(value);
                false
            }
            Known::Via => {
                kept.via.push(value);
                false
            }
            Known::MaxForwards => hops.is_none(),
            Known::Rfc7239 => {
                kept.rfc7239 = true;
                false
            }
            Known::Forwarded(which) => {
                kept.forwarded[which].push(value);
                false
            }
        };
        if passes {
            add_bytes(lines, name, value);
        }
    }
    if let Some(hops) = hops {
        add_bytes(lines, "Max-Forwards", itoa::Buffer::new().format(hops).as_bytes());
    }
    if keeps_upgrade {
        add_bytes(lines, "Connection", b"upgrade");
    }
    if !kept.cookie.is_empty() {
        add(lines, "Cookie", b"; ", &kept.cookie, None);
    }
    write_client(lines, head, facts, &kept);
    add(lines, "Via", b", ", &kept.via, facts.via.then_some(VIA_SELF));
    if let Some(identity) = facts.identity {
        facts.identity_fields.tell(identity, |name, value| add_bytes(lines, name, value));
    }
    for (name, value) in
        ["Client-Cert", "Client-Cert-Chain"].iter().zip(facts.certificate.unwrap_or_default())
    {
        if !value.is_empty() {
            add_bytes(lines, name, value);
        }
    }
    add_bytes(lines, "X-Request-ID", facts.request_id);
    add_bytes(lines, "traceparent", facts.trace.as_bytes());
}

/// Writes who the client is, whichever way an upstream asks for it: always the one that the gateway has found.
fn write_client<'a>(lines: &mut Vec<u8>, head: &'a RequestParts, facts: &Forwarding<'a>, kept: &Kept<'a>) {
    let text = facts.client.map(|client| client.to_string());
    let client = text.as_deref().unwrap_or(facts.peer);
    let [chain, proto, host, prefix] = &kept.forwarded;
    // What stands in front of the client in the chain is its own word.
    let chain = chain.iter().flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let chain: Values<'_> = chain.filter(|entry| !entry.is_empty()).collect();
    let known = &chain[chain.len().saturating_sub(facts.hops)..];
    add(lines, "X-Forwarded-For", b", ", known, Some(facts.peer.as_bytes()));
    add_bytes(lines, "X-Real-IP", client.as_bytes());
    let said = |values: &Values<'a>| said_of_client(values.iter().copied(), facts.hops);
    let proto = said(proto).unwrap_or(if facts.secure { b"https" } else { b"http" });
    add_bytes(lines, "X-Forwarded-Proto", proto);
    let host = said(host).or_else(|| head.host().map(str::as_bytes));
    if let Some(host) = host {
        add_bytes(lines, "X-Forwarded-Host", host);
    }
    let stripped = facts.stripped.map(|stripped| stripped.trim_end_matches('/').as_bytes());
    let prefix: Values<'_> = said(prefix).into_iter().chain(stripped).collect();
    add(lines, "X-Forwarded-Prefix", b"", &prefix, None);
    if kept.rfc7239 {
        let quoted = if client.contains(':') { format!("\"[{client}]\"") } else { client.to_owned() };
        let mut value = format!("for={quoted}").into_bytes();
        for (name, said) in [(";host=", host.filter(|host| is_host(host))), (";proto=", Some(proto))] {
            let Some(said) = said else { continue };
            // RFC 7239 §4: what is no token is quoted.
            let is_token = said.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(byte));
            let quote: &[u8] = if is_token { b"" } else { b"\"" };
            if is_token || name == ";host=" {
                [name.as_bytes(), quote, said, quote].iter().for_each(|part| value.extend_from_slice(part));
            }
        }
        add_bytes(lines, "Forwarded", &value);
    }
}

type Values<'a> = SmallVec<[&'a [u8]; 2]>;

/// Values that go on as part of a field of the gateway's.
#[derive(Default)]
struct Kept<'a> {
    cookie: Values<'a>,
    via: Values<'a>,
    /// For, protocol, host, prefix.
    forwarded: [Values<'a>; 4],
    /// There was a `Forwarded` (RFC 7239) of a trusted proxy.
    rfc7239: bool,
}

/// What a request field is to a gateway.
enum Known {
    Passes,
    /// Hop-by-hop, set by the gateway, not to be believed, or a look-alike of such.
    Stays,
    Upgrade,
    Cookie,
    Via,
    MaxForwards,
    /// What a trusted proxy says of the hops before it.
    Forwarded(usize),
    Rfc7239,
}

impl Known {
    fn of(name: &str, facts: &Forwarding<'_>) -> Self {
        let mut room = [0; LONGEST];
        let Some(plain) = plain(name, &mut room) else {
            // `X-Forwarded-` and whatever may follow.
            let mut room = [0; LONGEST];
            let begin = plain(name.get(..LONGEST).unwrap_or(""), &mut room).unwrap_or("");
            let family = begin.starts_with("x-forwarded-") || begin.starts_with("client-cert");
            let exact = name.bytes().all(|byte| byte != b'_' && is_plain(byte));
            let own = facts.certificate.is_some() && begin.starts_with("client-cert");
            return if family && !(facts.trusted && exact) || own { Self::Stays } else { Self::Passes };
        };
        // `X_User_Id` becomes `X-User-Id` in CGI and WSGI backends: what only looks different from a field that the gateway
        // sets or removes goes too.
        let exact = name.len() == plain.len() && name.bytes().all(|byte| byte != b'_' && is_plain(byte));
        match plain {
            "via" => Self::Via,
            "upgrade" => Self::Upgrade,
            "cookie" if exact => Self::Cookie,
            "max-forwards" if exact => Self::MaxForwards,
            "te"
            | "host"
            | "expect"
            | "trailer"
            | "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authorization"
            | "transfer-encoding"
            | "content-length"
            | "http2-settings" => Self::Stays,
            "x-request-id" | "traceparent" => Self::Stays,
            "tracestate" if !facts.trace.continued => Self::Stays,
            "x-real-ip" => Self::Stays,
            "x-forwarded-for" if facts.trusted && exact => Self::Forwarded(0),
            "x-forwarded-proto" if facts.trusted && exact => Self::Forwarded(1),
            "x-forwarded-host" if facts.trusted && exact => Self::Forwarded(2),
            "x-forwarded-prefix" if facts.trusted && exact => Self::Forwarded(3),
            "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host" | "x-forwarded-prefix" => {
                Self::Stays
            }
            "forwarded" if facts.trusted && exact => Self::Rfc7239,
            "forwarded" => Self::Stays,
            // Nothing vouches for them.
            "x-original-url" | "x-rewrite-url" if !(facts.trusted && exact) => Self::Stays,
            _ if facts.certificate.is_some() && plain.starts_with("client-cert") => Self::Stays,
            _ if !(facts.trusted && exact)
                && (plain.starts_with("x-forwarded-") || plain.starts_with("client-cert")) =>
            {
                Self::Stays
            }
            _ => Self::Passes,
        }
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

/// Whether a backend may come to read `name` as the field `known`.
fn is_lookalike(name: &str, known: &str) -> bool {
    let same = |(a, b): (u8, u8)| {
        a.eq_ignore_ascii_case(&b) || !(a.is_ascii_alphanumeric() || b.is_ascii_alphanumeric())
    };
    name.len() == known.len() && name.bytes().zip(known.bytes()).all(same)
}

/// `name` as a backend may come to read it: lower case, and `-` for whatever is no letter or digit. `None` for a longer one.
fn plain<'a>(name: &str, room: &'a mut [u8; LONGEST]) -> Option<&'a str> {
    let room = room.get_mut(..name.len())?;
    for (to, from) in room.iter_mut().zip(name.bytes()) {
        *to = if from.is_ascii_alphanumeric() { from.to_ascii_lowercase() } else { b'-' };
    }
    std::str::from_utf8(room).ok()
}

/// One line: the values that are there, as a list.
fn add(lines: &mut Vec<u8>, name: &str, separator: &[u8], values: &[&[u8]], last: Option<&[u8]>) {
    let mut values = values.iter().copied().chain(last);
    let Some(first) = values.next() else { return };
    lines.extend_from_slice(name.as_bytes());
    lines.extend_from_slice(b": ");
    lines.extend_from_slice(first);
    for value in values {
        lines.extend_from_slice(separator);
        lines.extend_from_slice(value);
    }
    lines.extend_from_slice(b"\r\n");
}

/// One line.
pub fn add_bytes(lines: &mut Vec<u8>, name: &str, value: &[u8]) {
    add(lines, name, b"", &[value], None);
}

/// Turns an upstream's header fields into the client's, `Via` included. The framing is set by the caller.
///
/// An upstream's word on a limit goes where the gateway has one of its own to tell: `limited`. Not both: `RateLimit` may
/// be of an older draft than ours, and the two no list together.
pub fn to_client(fields: &mut Fields, passing: Passing) {
    let Passing { upgrade, limited, alt_svc, via: tells } = passing;
    let nominated: SmallVec<[Box<[u8]>; 2]> = nominated(fields).iter().map(|name| Box::from(*name)).collect();
    let mut via = fields.joined("via").unwrap_or_default();
    if tells && !via.is_empty() {
        via.extend_from_slice(b", ");
    }
    if tells {
        via.extend_from_slice(VIA_SELF);
    }
    fields.retain(|name, _| {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let passes = match name.len() {
            2 => !is("te"),
            3 => !is("via"),
            7 => !is("trailer") && (!is("upgrade") || upgrade) && (!is("alt-svc") || alt_svc),
            10 => !is("connection") && !is("keep-alive"),
            12 => !is("aegis-reason") && !is("x-request-id"),
            14 => !is("content-length"),
            9 | 16 | 17 | 21 if limited && is_quota(name) => false,
            16 => !is("proxy-connection"),
            17 => !is("transfer-encoding"),
            18 => !is("proxy-authenticate"),
            _ => true,
        };
        passes && !nominated.iter().any(|one| one.eq_ignore_ascii_case(name.as_bytes()))
    });
    if !via.is_empty() {
        fields.push("Via", &via);
    }
}

/// What of an upstream's fields goes on.
#[derive(Clone, Copy)]
pub struct Passing {
    /// `Upgrade`, of an answer that cannot be without it.
    pub upgrade: bool,
    /// The gateway has a limit of its own to tell.
    pub limited: bool,
    pub alt_svc: bool,
    /// `Via` tells of the gateway.
    pub via: bool,
}

/// Whether a field asks for, or is, what authenticates a connection instead of a request (RFC 4559 §4, [MS-NTHT]).
pub fn binds_connection(fields: &Fields, name: &str) -> bool {
    let schemes = fields.get_all(name).flat_map(|value| value.split(|byte| *byte == b','));
    schemes.map(<[u8]>::trim_ascii_start).any(|challenge| {
        let scheme = challenge.split(u8::is_ascii_whitespace).next().unwrap_or_default();
        scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate")
    })
}

/// RFC 9110 §7.6.1: fields that `Connection` names go no further, except those that the message cannot be without.
fn nominated(fields: &Fields) -> SmallVec<[&[u8]; 2]> {
    const KNOWN: [&[u8]; 7] =
        [b"close", b"keep-alive", b"upgrade", b"te", b"host", b"content-length", b"connection"];
    let options = fields.get_all("connection").flat_map(|value| value.split(|b| *b == b','));
    let options = options
        .map(<[u8]>::trim_ascii)
        .filter(|option| !option.is_empty() && !KNOWN.iter().any(|known| option.eq_ignore_ascii_case(known)));
    options.collect()
}
