//! A request that never became one: what can be read of it, for its record and its line in the log. All of it is the
//! client's choice: lengths are cut, and what is no visible ASCII is written as `\\xHH`.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use aegis_actors::metrics_aggregator::{NONE, Record, Sample, method_index};
use serde_json::json;

use super::access_log;
use super::answer::Cause;
use super::counting::SampleReason;
use super::peer::Peer;
use super::request_trace::{METHOD, PATH};
use super::snapshot::Snapshot;
use super::worker::Worker;

/// What stands for what cannot be read.
const UNKNOWN: &str = "-";

/// See the module.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unread {
    pub method: Option<String>,
    /// Without the query, which may hold secrets.
    pub path: Option<String>,
    /// Bytes of its head that have come.
    pub bytes: usize,
}

impl Unread {
    /// Of the first bytes of an HTTP/1 head, whole or not.
    pub fn of_head(bytes: &[u8]) -> Self {
        let bytes = &bytes[..memchr::memmem::find(bytes, b"\r\n\r\n").map_or(bytes.len(), |at| at + 4)];
        let end = memchr::memchr2(b'\r', b'\n', bytes);
        let line = &bytes[..end.unwrap_or(bytes.len())];
        let Some(space) = memchr::memchr(b' ', line) else {
            return Self { bytes: bytes.len(), ..Self::default() };
        };
        let rest = &line[space + 1..];
        let version = memchr::memrchr(b' ', rest).filter(|at| rest[at + 1..].starts_with(b"HTTP/"));
        Self::new(&line[..space], &rest[..version.unwrap_or(rest.len())], bytes.len())
    }

    /// Of its parts; `target` with or without a host.
    pub fn new(method: &[u8], target: &[u8], bytes: usize) -> Self {
        let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        if method.is_empty() || !method.iter().all(is_token) {
            return Self { bytes, ..Self::default() };
        }
        // A host may stand behind a password.
        let host =
            memchr::memmem::find(target, b"://").filter(|_| !target.starts_with(b"/")).map(|at| at + 3);
        let path = &target[host.unwrap_or(0)..];
        let path = match host {
            Some(_) => &path[memchr::memchr(b'/', path).unwrap_or(path.len())..],
            None => path,
        };
        let path = &path[..memchr::memchr2(b'?', b'#', path).unwrap_or(path.len())];
        let shown = |bytes, most| Some(visible(bytes, most)).filter(|text| !text.is_empty());
        Self { method: shown(method, METHOD), path: shown(path, PATH), bytes }
    }
}

/// As many as there is room for.
fn visible(bytes: &[u8], most: usize) -> String {
    let mut out = String::new();
    for byte in bytes {
        let room = most - out.len();
        match byte {
            0x21..=0x7e if room >= 1 => out.push(char::from(*byte)),
            0x21..=0x7e => break,
            _ if room < 4 => break,
            _ => {
                let _ = write!(out, "\\x{byte:02X}");
            }
        }
    }
    out
}

/// Counts such a request, keeps its record, and logs it. It has taken up the gateway since `begun`.
pub fn end(peer: &Peer, cause: Cause, request_id: &str, unread: &Unread, begun: Instant) {
    let Some(worker) = Worker::current() else { return };
    worker.in_flight_begin();
    worker.in_flight_end();
    let snapshot = worker.snapshot();
    let now_ms = worker.shared.metrics.now_ms();
    let record = Record {
        ended_ms: now_ms as u64,
        method: method_index(unread.method.as_deref().unwrap_or_default()),
        status: cause.status().as_u16(),
        reason: Some(cause.code()),
        // What it took was the client's time.
        ..Record::default()
    };
    worker.count(&snapshot, record, true);
    if snapshot.metrics {
        let sample = || sample(&snapshot, peer, cause, request_id, unread, (now_ms, begun.elapsed()));
        worker.record_sample(&snapshot.labels, SampleReason::Remarkable, sample);
    }
    if snapshot.logging.access_log {
        let format = snapshot.logging.format;
        worker.log(|out| access_log::write_unread(out, format, peer.ip(), cause, request_id, unread));
    }
}

fn sample(
    snapshot: &Snapshot,
    peer: &Peer,
    cause: Cause,
    request_id: &str,
    unread: &Unread,
    (now_ms, took): (i64, Duration),
) -> Sample {
    let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| UNKNOWN.to_owned());
    let decided_by = match cause {
        Cause::HeaderTimeout => Some("server.headerTimeoutMs"),
        Cause::HeadTooLarge(bounds) if unread.bytes > bounds.bytes => Some("server.maxHeadBytes"),
        Cause::HeadTooLarge(_) => Some("server.maxHeadFields"),
        _ => None,
    };
    let mut details = json!({
        "generation": snapshot.generation,
        "configHash": snapshot.config_hash,
        "host": null,
        "tries": [],
        "limits": [],
        "bytesIn": 0,
        "bytesOut": 0,
        "traceId": null,
        "upstreamMs": null,
        "why": cause.detail(),
    });
    if let Some(path) = decided_by {
        details["decidedBy"] = json!(path);
    }
    Sample {
        at_ms: now_ms - took.as_millis() as i64,
        request_id: request_id.to_owned(),
        instance: "".into(),
        method: or_unknown(&unread.method),
        path: or_unknown(&unread.path),
        route: NONE.into(),
        backend: NONE.into(),
        status: cause.status().as_u16(),
        reason: Some(cause.code()),
        duration_us: took.as_micros() as u64,
        client: peer.ip().to_string(),
        details: details.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_read_of_a_head_is_read_whole_or_not() {
        for (head, method, path) in [
            ("GET /a?token=x HTTP/1.1\r\nHost", Some("GET"), Some("/a")),
            ("GET /a b HTTP/1.1\r\n", Some("GET"), Some("/a\\x20b")),
            ("GET /a", Some("GET"), Some("/a")),
            ("GET /a#b HTTP/2.0\n", Some("GET"), Some("/a")),
            ("GET http://me:secret@host/a?b HTTP/1.1\r\n", Some("GET"), Some("/a")),
            ("GET http://me:secret@host?b", Some("GET"), None),
            ("GET /to/http://host/x HTTP/1.1", Some("GET"), Some("/to/http://host/x")),
            ("GET \u{1}\u{7f}\u{e9}\0", Some("GET"), Some("\\x01\\x7F\\xC3\\xA9\\x00")),
            ("GET  HTTP/1.1\r\n", Some("GET"), None),
            ("\u{16}\u{3} / HTTP/1.1", None, None),
            ("GE", None, None),
            ("", None, None),
        ] {
            let read = Unread::of_head(head.as_bytes());
            assert_eq!((read.method.as_deref(), read.path.as_deref()), (method, path), "{head:?}");
            assert_eq!(read.bytes, head.len());
        }
    }

    #[test]
    fn what_a_client_chose_is_cut() {
        for byte in ["a", "\u{1}"] {
            let read = Unread::of_head(format!("{} /{}", "M".repeat(999), byte.repeat(70_000)).as_bytes());
            let lengths = (read.method.unwrap().len(), read.path.unwrap().len());
            assert!(lengths.0 == METHOD && (PATH - 4..=PATH).contains(&lengths.1), "{lengths:?}");
        }
    }
}
