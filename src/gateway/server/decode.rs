//! An HTTP/1 request head: where it ends, and what it says. Bytes in, a [`RequestParts`] or a refusal out.
//!
//! Stricter than httparse, which takes a bare line feed for a line end: what two parsers would read differently is refused
//! (RFC 9112 §2.2, §3.2, §6).

use std::borrow::Cow;
use std::mem::MaybeUninit;

use actix_http::{Method, Version};

use crate::config::settings::HeadBounds;
use crate::gateway::answer::Cause;
use crate::gateway::bounds::{TARGET_BYTES, room};
use crate::gateway::fields::Fields;
use crate::gateway::message::{Ambiguous, Said};
use crate::gateway::request_body::RequestFraming;
use crate::gateway::request_parts::{RequestParts, RequestTarget, offered_upgrade};

/// Line ends in front of a request, which begin none (RFC 9112 §2.2): how many bytes of them there are.
pub fn blank(bytes: &[u8]) -> usize {
    bytes.chunks_exact(2).take_while(|pair| *pair == b"\r\n").count() * 2
}

/// Finds the end of a head in bytes that arrive one after the other.
#[derive(Debug, Default)]
pub struct HeadEnd {
    /// So many bytes have been looked at, and the last line begins there.
    seen: usize,
    line: usize,
}

impl HeadEnd {
    /// How many of `bytes`, which begin with the head, belong to it; `None` where its end has not come.
    ///
    /// # Errors
    /// A line does not end in CRLF, or it has become too large.
    pub fn find(&mut self, bytes: &[u8], bounds: HeadBounds) -> Result<Option<usize>, Cause> {
        while let Some(at) = memchr::memchr2(b'\r', b'\n', &bytes[self.seen..]) {
            let end = self.seen + at;
            self.seen = end;
            match bytes.get(end..end + 2) {
                Some(b"\r\n") => {}
                None if bytes[end] == b'\r' => break,
                _ => return Err(Cause::BadRequest("A line of the request head does not end in CRLF.")),
            }
            let is_blank = end == self.line;
            self.seen = end + 2;
            self.line = self.seen;
            if is_blank {
                return if self.seen > bounds.bytes {
                    Err(too_large(bytes, bounds))
                } else {
                    Ok(Some(self.seen))
                };
            }
        }
        if bytes.last() != Some(&b'\r') {
            self.seen = bytes.len();
        }
        let first = self.line == 0;
        if bytes.len() > bounds.bytes || (first && bytes.len() > TARGET_BYTES + 64) {
            return Err(too_large(bytes, bounds));
        }
        Ok(None)
    }
}

/// What of a head is too large.
fn too_large(bytes: &[u8], bounds: HeadBounds) -> Cause {
    let line = memchr::memchr(b'\r', bytes).unwrap_or(bytes.len());
    if line > TARGET_BYTES { Cause::TargetTooLong } else { Cause::HeadTooLarge(bounds) }
}

/// Reads a whole head.
///
/// # Errors
/// Why it is refused.
pub fn decode(bytes: &[u8], bounds: HeadBounds) -> Result<RequestParts, Cause> {
    let bytes = &*escaped(bytes)?;
    let (mut few, mut many) = ([const { MaybeUninit::uninit() }; 256], Vec::new());
    let found = room(bounds.fields, &mut few, &mut many);
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, found) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(Cause::BadRequest("The request head is incomplete.")),
        Err(error) => return Err(refusal(error, bounds)),
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(Cause::BadRequest("The request line is incomplete."));
    };
    let method =
        Method::from_bytes(method.as_bytes()).map_err(|_| Cause::BadRequest("The method is not valid."))?;
    // RFC 9110 §9.3.6: no path, and nothing that could be passed on.
    let target = if method == Method::CONNECT { "/" } else { target };
    let target = RequestTarget::parse(target).map_err(Cause::BadRequest)?;
    let version = if minor == 1 { Version::HTTP_11 } else { Version::HTTP_10 };
    let said = Said::of(request.headers.iter().map(|field| (field.name, field.value))).map_err(ambiguous)?;
    let modern = minor == 1;
    let refuse = |why| Err(Cause::BadRequest(why));
    match said.hosts {
        0 if modern => return refuse("The request has no Host."),
        2.. => return refuse("The request has more than one Host."),
        _ => {}
    }
    if said.chunked && (!modern || said.length.is_some()) {
        return refuse("A Transfer-Encoding must stand alone, and in HTTP/1.1 only.");
    }
    let framing = match said.length {
        _ if said.chunked => RequestFraming::Chunked,
        Some(length) => RequestFraming::Length(length),
        // RFC 1945 §7.2.2.
        None if !modern && method == Method::POST => {
            return refuse("A POST of HTTP/1.0 must say how long it is.");
        }
        None => RequestFraming::None,
    };
    let fields = Fields::parsed(bytes, request.headers);
    let upgrade = if said.upgrade && modern { offered_upgrade(&fields) } else { None };
    let (persists, expects) = (said.persists(modern), said.expects && modern);
    Ok(RequestParts { method, target, version, fields, framing, persists, upgrade, expects })
}

/// What is wrong with a message whose length two readers could read differently.
pub fn ambiguous(what: Ambiguous) -> Cause {
    Cause::BadRequest(match what {
        Ambiguous::Length => "The Content-Length is not one number.",
        Ambiguous::Coding => "The Transfer-Encoding is not chunked alone.",
    })
}

fn refusal(error: httparse::Error, bounds: HeadBounds) -> Cause {
    Cause::BadRequest(match error {
        httparse::Error::TooManyHeaders => return Cause::HeadTooLarge(bounds),
        httparse::Error::Version => "The protocol is not HTTP/1.1 or HTTP/1.0.",
        httparse::Error::HeaderName => "The name of a header field is not valid.",
        httparse::Error::HeaderValue => "The value of a header field is not valid.",
        httparse::Error::Token => "The method or the request target is not valid.",
        httparse::Error::NewLine | httparse::Error::Status => "The request head is not valid HTTP/1.1.",
    })
}

/// The head with those characters of its target escaped that clients send as they are, though RFC 3986 has no place for them.
fn escaped(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Cause> {
    let line = memchr::memchr(b'\r', bytes).unwrap_or(bytes.len());
    let Some(from) = memchr::memchr(b' ', &bytes[..line]).map(|at| at + 1) else {
        return Ok(Cow::Borrowed(bytes));
    };
    let to = memchr::memrchr(b' ', &bytes[..line]).filter(|to| *to >= from).unwrap_or(line);
    let target = &bytes[from..to];
    let raw = target.iter().filter(|byte| is_raw(**byte)).count();
    if target.len() + 2 * raw > TARGET_BYTES {
        return Err(Cause::TargetTooLong);
    }
    if raw == 0 {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut out = Vec::with_capacity(bytes.len() + 2 * raw);
    out.extend_from_slice(&bytes[..from]);
    escape(target, &mut out);
    out.extend_from_slice(&bytes[to..]);
    Ok(Cow::Owned(out))
}

fn is_raw(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>' | b'`' | 0x80..)
}

/// Escapes such characters.
pub fn escape(target: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in target {
        if is_raw(*byte) {
            out.extend_from_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        } else {
            out.push(*byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUNDS: HeadBounds = HeadBounds { bytes: 128 * 1024, fields: 256 };

    fn end(bytes: &[u8], step: usize) -> Result<Option<usize>, Cause> {
        let mut end = HeadEnd::default();
        for have in (step..bytes.len()).step_by(step).chain([bytes.len()]) {
            if let Some(found) = end.find(&bytes[..have], BOUNDS)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    #[test]
    fn the_end_of_a_head_is_found_however_it_arrives() {
        let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let with_body = format!("{head}body\nwith\nlines");
        for step in 1..12 {
            assert_eq!(end(with_body.as_bytes(), step), Ok(Some(head.len())), "{step}");
            for short in 1..head.len() {
                assert_eq!(end(&head.as_bytes()[..short], step), Ok(None), "{short} {step}");
            }
            for bare in [
                "GET / HTTP/1.1\nHost: a\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: a\n\r\n",
                "GET / HTTP/1.1\r\n\n",
                "GET / HTTP/1.1\rHost: a\r\r",
            ] {
                assert!(matches!(end(bare.as_bytes(), step), Err(Cause::BadRequest(_))), "{bare:?} {step}");
            }
        }
        assert_eq!(blank(b"\r\n\r\nGET"), 4);
        assert_eq!((blank(b"\r"), blank(b"\r\n\r"), blank(b"GET\r\n")), (0, 2, 0));
    }

    #[test]
    fn what_is_too_large_is_seen_before_its_end() {
        let long = format!("GET /{}", "a".repeat(66_000));
        assert_eq!(end(long.as_bytes(), 1000), Err(Cause::TargetTooLong));
        let large = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(132_000));
        assert_eq!(end(large.as_bytes(), 1000), Err(Cause::HeadTooLarge(BOUNDS)));
    }

    fn decoded(head: &str) -> Result<RequestParts, Cause> {
        decode(head.as_bytes(), BOUNDS)
    }

    #[test]
    fn the_body_that_a_head_announces_is_known() {
        for (fields, framing) in [
            ("", RequestFraming::None),
            ("content-length:5\r\n", RequestFraming::Length(5)),
            ("CONTENT-LENGTH: \t17 \r\n", RequestFraming::Length(17)),
            ("Transfer-Encoding: Chunked\r\n", RequestFraming::Chunked),
            ("X-Content-Length: 5\r\nContent-Lengths: 5\r\nTrailer: x\r\n", RequestFraming::None),
        ] {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
            assert_eq!(decoded(&head).ok().map(|it| it.framing), Some(framing), "{head:?}");
        }
    }

    #[test]
    fn framing_that_two_readers_could_read_differently_is_refused() {
        for fields in [
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: \r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "Transfer-Encoding : chunked\r\n",
            "Host: b\r\n",
        ] {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
            assert!(matches!(decoded(&head), Err(Cause::BadRequest(_))), "{head:?}");
        }
        for head in ["GET / HTTP/1.1\r\n\r\n", "POST / HTTP/1.0\r\n\r\n", "GET / HTTP/2.0\r\nHost: a\r\n\r\n"]
        {
            assert!(decoded(head).is_err(), "{head:?}");
        }
    }

    #[test]
    fn a_connection_is_kept_as_its_version_and_options_say() {
        for (version, options, persists) in [
            ("1.1", "", true),
            ("1.1", "Connection: close\r\n", false),
            ("1.1", "Connection: x, Close, keep-alive\r\n", false),
            ("1.0", "", false),
            ("1.0", "Connection: Keep-Alive\r\n", true),
        ] {
            let head = format!("GET / HTTP/{version}\r\nHost: a\r\n{options}\r\n");
            assert_eq!(decoded(&head).ok().map(|it| it.persists), Some(persists), "{head:?}");
        }
    }

    #[test]
    fn raw_characters_of_a_target_are_escaped_and_nothing_else_is() {
        let head = "GET /a\"<b>`\u{e9}{|}^[]?q=\"\u{fc} HTTP/1.1\r\nHost: a\r\nX: \"<\u{e9}>\"\r\n\r\n";
        let decoded = decoded(head).ok().unwrap();
        let target = decoded.target.path_and_query().to_owned();
        assert_eq!(target, "/a%22%3Cb%3E%60%C3%A9{|}^[]?q=%22%C3%BC");
        assert_eq!(decoded.fields.text("x"), Some("\"<\u{e9}>\""));
    }

    #[test]
    fn a_target_has_a_bound_however_it_is_written() {
        let of = |target: String| decoded(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).err();
        assert_eq!(of(format!("/{}", "a".repeat(65_535))), None);
        assert_eq!(of(format!("/{}", "a".repeat(65_536))), Some(Cause::TargetTooLong));
        assert_eq!(of(format!("/{}", "\"".repeat(30_000))), Some(Cause::TargetTooLong));
    }

    #[test]
    fn fields_have_a_bound() {
        let of = |n: usize| {
            let fields: String = (1..n).map(|i| format!("x-{i}: v\r\n")).collect();
            decoded(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).err()
        };
        assert_eq!((of(BOUNDS.fields), of(BOUNDS.fields + 1)), (None, Some(Cause::HeadTooLarge(BOUNDS))));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), step in 1usize..50) {
            let _ = end(&bytes, step);
            let _ = decode(&bytes, BOUNDS);
        }

        #[test]
        fn no_mutated_head_panics(at in 0usize..90, byte: u8) {
            let mut head = *b"POST /a?b HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
            let at = at % head.len();
            head[at] = byte;
            let _ = decode(&head, BOUNDS);
        }
    }
}
