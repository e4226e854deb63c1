//! The lines of the access log.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::answer::Cause;
use super::record::RequestRecord;
use super::unread::Unread;
use crate::config::settings::LogFormat;
use crate::config::userinfo;
use crate::logging::printable;

/// The rules of limits that refused a request, and those in shadow that would have, as the lines call them.
const LIMITED_BY: [(&str, bool); 2] = [("limitedBy", false), ("wouldLimit", true)];

/// The line of a finished request.
pub fn write(out: &mut String, record: &RequestRecord, status: u16, took: Duration) {
    match record.snapshot.logging.format {
        LogFormat::Json => write_json(out, record, status, took),
        LogFormat::Text => write_text(out, record, status, took),
    }
}

/// The client's `Referer`. The queries of pages hold secrets as often as those of requests; a name and a password in front
/// of the host have no business there (RFC 9110, section 10.1.3).
fn referer(record: &RequestRecord) -> Option<Cow<'_, [u8]>> {
    let whole = record.head.fields.get("referer")?;
    let query = whole.iter().position(|byte| matches!(byte, b'?' | b'#'));
    let shown = query.filter(|_| !record.snapshot.logging.query).map_or(whole, |at| &whole[..at]);
    Some(match userinfo(shown) {
        None => shown.into(),
        Some(userinfo) => [&shown[..userinfo.start], &shown[userinfo.end..]].concat().into(),
    })
}

/// The query, where the lines are to have it.
fn query(record: &RequestRecord) -> Option<&str> {
    record.head.target.query().filter(|_| record.snapshot.logging.query)
}

/// The path that upstreams were asked for.
fn upstream_path(record: &RequestRecord) -> Option<&str> {
    (record.tries > 0).then(|| record.asked_for().split('?').next()).flatten()
}

/// Who has sent it, under the names of the lines.
fn identity(record: &RequestRecord) -> [(&'static str, Option<&str>); 5] {
    let identity = record.identity();
    [
        ("auth", identity.map(|identity| identity.kind.as_str())),
        ("issuer", identity.and_then(|identity| identity.issuer.as_deref())),
        ("userId", identity.map(|identity| &*identity.user)),
        ("keyId", record.key().and_then(|key| key.identity.key_id.as_deref())),
        ("tier", identity.and_then(|identity| identity.tier.as_deref())),
    ]
}

/// The line of a request that never became one.
pub fn write_unread(
    out: &mut String,
    format: LogFormat,
    client: IpAddr,
    cause: Cause,
    request_id: &str,
    unread: &Unread,
) {
    let time = humantime::format_rfc3339_millis(SystemTime::now());
    let (status, code, detail) = (cause.status().as_u16(), cause.code(), cause.detail());
    let (method, path) = (unread.method.as_deref(), unread.path.as_deref());
    match format {
        LogFormat::Json => {
            let _ = write!(out, r#"{{"time":"{time}","type":"access","requestId":"{request_id}""#);
            let _ = write!(out, r#","clientIp":"{client}""#);
            for (name, value) in [("method", method), ("path", path)] {
                if let Some(value) = value {
                    member(out, name, value);
                }
            }
            let _ = writeln!(out, r#","status":{status},"reason":"{code}","detail":"{detail}"}}"#);
        }
        LogFormat::Text => {
            let (method, path) = (method.unwrap_or("-"), path.unwrap_or("-"));
            let _ = writeln!(
                out,
                "{time} {client} {method} {path} {status} reason={code} id={request_id} {detail}"
            );
        }
    }
}

/// The rules that refused the request or, in `shadow`, would have.
fn limited_by(record: &RequestRecord, shadow: bool) -> impl Iterator<Item = &str> {
    let refused = record.request_trace.limits.iter().filter(move |one| one.refused && one.shadow == shadow);
    let limits = record.snapshot.limits.as_ref();
    refused.filter_map(move |one| limits?.find(one.limit)).map(|limited| &*limited.shared.name)
}

fn write_json(out: &mut String, record: &RequestRecord, status: u16, took: Duration) {
    let time = humantime::format_rfc3339_millis(SystemTime::now());
    let _ = write!(out, r#"{{"time":"{time}","type":"access","requestId":"{}""#, record.request_id.as_str());
    let _ = write!(out, r#","clientIp":"{}","method":"#, record.client);
    string(out, record.head.method.as_str());
    let target = &record.head.target;
    if let Some(host) = target.authority().map(str::as_bytes).or_else(|| record.head.fields.get("host")) {
        member(out, "host", host);
    }
    member(out, "path", target.path());
    if let Some(query) = query(record) {
        member(out, "query", query);
    }
    let _ = write!(out, r#","protocol":"{:?}","status":{status}"#, record.head.version);
    if let Some(reason) = record.reason() {
        let _ = write!(out, r#","reason":"{reason}""#);
    }
    if let Some(why) = record.why() {
        member(out, "why", why);
    }
    if let Some(detail) = record.auth_detail {
        member(out, "authDetail", detail);
    }
    for (name, value) in identity(record).into_iter().filter_map(|(name, value)| Some((name, value?))) {
        member(out, name, value);
    }
    if record.shadow_denied {
        out.push_str(r#","wouldDeny":true"#);
    }
    for (field, shadow) in LIMITED_BY {
        let mut rules = limited_by(record, shadow).peekable();
        if rules.peek().is_none() {
            continue;
        }
        let _ = write!(out, r#","{field}":["#);
        for (at, rule) in rules.enumerate() {
            if at > 0 {
                out.push(',');
            }
            string(out, rule);
        }
        out.push(']');
    }
    if let Some(route) = record.route {
        let route = &record.snapshot.routes[route];
        member(out, "route", &route.pattern);
        member(out, "backend", &route.backend.name);
    }
    if let Some(target) = record.target() {
        member(out, "upstream", &target.shared.url);
    }
    if let Some(path) = upstream_path(record) {
        member(out, "upstreamPath", path);
    }
    let _ = write!(out, r#","tries":{},"durationMs":{:.3}"#, record.tries, millis(took));
    if let Some(upstream) = record.upstream {
        let _ = write!(out, r#","upstreamMs":{:.3}"#, millis(upstream));
    }
    let _ = write!(out, r#","bytesIn":{},"bytesOut":{}"#, record.bytes_in, record.bytes_out);
    if let Some(referer) = referer(record) {
        member(out, "referer", referer);
    }
    if let Some(agent) = record.head.fields.get("user-agent") {
        member(out, "userAgent", agent);
    }
    let _ = writeln!(out, r#","traceId":"{}"}}"#, record.trace.id());
}

fn write_text(out: &mut String, record: &RequestRecord, status: u16, took: Duration) {
    let time = humantime::format_rfc3339_millis(SystemTime::now());
    let _ = write!(
        out,
        "{time} {} {} {}{}{} {status} {:.1}ms",
        record.client,
        printable(record.head.method.as_str()),
        printable(record.head.target.path()),
        query(record).map_or("", |_| "?"),
        query(record).unwrap_or_default(),
        millis(took),
    );
    if let Some(route) = record.route {
        let _ = write!(out, " backend={}", record.snapshot.routes[route].backend.name);
    }
    if let Some(target) = record.target() {
        let _ = write!(out, " upstream={}", target.shared.url);
    }
    if let Some(path) = upstream_path(record).filter(|path| *path != record.head.target.path()) {
        let _ = write!(out, " upstreamPath={path}");
    }
    if let Some(reason) = record.reason() {
        let _ = write!(out, " reason={reason}");
    }
    if let Some(why) = record.why() {
        out.push_str(" why=");
        string(out, why);
    }
    if let Some(detail) = record.auth_detail {
        out.push_str(" authDetail=");
        string(out, detail);
    }
    for (name, value) in identity(record).into_iter().filter_map(|(name, value)| Some((name, value?))) {
        let _ = write!(out, " {name}=");
        string(out, value);
    }
    if record.shadow_denied {
        out.push_str(" wouldDeny=true");
    }
    for (field, shadow) in LIMITED_BY {
        for rule in limited_by(record, shadow) {
            let _ = write!(out, " {field}={rule}");
        }
    }
    if record.tries > 1 {
        let _ = write!(out, " tries={}", record.tries);
    }
    if let Some(referer) = referer(record) {
        out.push_str(" referer=");
        string(out, referer);
    }
    let _ = writeln!(out, " id={}", record.request_id.as_str());
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// One more member of an object.
fn member(out: &mut String, name: &str, value: impl AsRef<[u8]>) {
    let _ = write!(out, r#","{name}":"#);
    string(out, value);
}

/// `value` as a JSON string. Control characters are escaped, and what some readers take for a line's end; bytes that are no
/// UTF-8 stand as `\xHH`, as nginx and Apache show them.
fn string(out: &mut String, value: impl AsRef<[u8]>) {
    out.push('"');
    for chunk in value.as_ref().utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                    let _ = write!(out, "\\u{:04x}", c as u32);
                }
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\\\x{byte:02X}");
        }
    }
    out.push('"');
}
