//! The other ways in which servers are known to read a canonical path.
//!
//! Owns the list of readings: path parameters stripped (Tomcat, Jetty, Spring), `%2F` taken for a slash, `%5C`
//! taken for a slash (IIS), in every order of the steps. A canonical path without `;` and `%` has no other
//! reading, which one `memchr2` tells. Driven by the router; a limiter or an RBAC rule that must hold whatever the
//! upstream strips asks for the same list.

use std::borrow::Cow;

use super::escapes::stands_unescaped;

/// One other reading of a canonical path, itself without empty segments and without a trailing slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The path as such a server sees it.
    pub path: String,
    /// That path ended in a slash.
    pub trailing_slash: bool,
    /// An escaped separator was taken for a slash; false when only parameters were stripped.
    pub separators_decoded: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Strip {
    Nothing,
    /// From a raw `;` on: servers that cut parameters before they decode.
    Plain,
    /// From a `;` or `%3B` on: servers that decode first.
    Both,
}

/// Every reading of the canonical `path` that differs from it, each once; empty for almost every path.
///
/// At most 35, and those only for a path that mixes `;`, `%3B`, `%2F` and `%5C`.
pub fn readings(path: &str) -> Vec<Reading> {
    if memchr::memchr2(b';', b'%', path.as_bytes()).is_none() {
        return Vec::new();
    }
    let (slash, backslash) = (path.contains("%2F"), path.contains("%5C"));
    let strips: &[Strip] = match (path.contains(';'), path.contains("%3B")) {
        (false, false) => &[Strip::Nothing],
        (true, false) => &[Strip::Nothing, Strip::Plain],
        (false, true) => &[Strip::Nothing, Strip::Both],
        (true, true) => &[Strip::Nothing, Strip::Plain, Strip::Both],
    };
    let mut found: Vec<Reading> = Vec::new();
    for (decode_slash, decode_backslash) in [(false, false), (true, false), (false, true), (true, true)] {
        if (decode_slash && !slash) || (decode_backslash && !backslash) {
            continue;
        }
        let decoding = decode_slash || decode_backslash;
        for before in strips {
            // Without decoding in between, stripping a second time does nothing new.
            for after in if decoding { strips } else { &[Strip::Nothing] } {
                let mut text = stripped(path, *before);
                if decode_slash {
                    text = Cow::Owned(text.replace("%2F", "/"));
                }
                if decode_backslash {
                    text = Cow::Owned(text.replace("%5C", "/"));
                }
                let (text, trailing_slash) = collapsed(&stripped(&text, *after));
                if text != path && !found.iter().any(|r| r.path == text && r.trailing_slash == trailing_slash)
                {
                    found.push(Reading { path: text, trailing_slash, separators_decoded: decoding });
                }
            }
        }
    }
    found
}

fn stripped(path: &str, strip: Strip) -> Cow<'_, str> {
    if strip == Strip::Nothing {
        return Cow::Borrowed(path);
    }
    let mut out = String::with_capacity(path.len());
    for (number, segment) in path.split('/').enumerate() {
        if number > 0 {
            out.push('/');
        }
        let escaped = if strip == Strip::Both { segment.find("%3B") } else { None };
        let end = segment.find(';').unwrap_or(segment.len()).min(escaped.unwrap_or(segment.len()));
        out.push_str(&segment[..end]);
    }
    Cow::Owned(out)
}

fn collapsed(path: &str) -> (String, bool) {
    let mut out = String::with_capacity(path.len());
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        out.push('/');
        out.push_str(segment);
    }
    if out.is_empty() {
        out.push('/');
    }
    (out, path.ends_with('/'))
}

/// The form in which paths and patterns are compared: escapes of characters that may stand unescaped in a segment
/// are decoded, `%3B` excepted.
///
/// RFC 3986 section 2.2 calls `%40` and `@` different, so the canonical path, which an upstream may be sent, keeps
/// the difference. Servers decode both to the same name, so a route for `/@admin` has to hold for `/%40admin`.
pub fn routing_form(path: &str) -> Cow<'_, str> {
    let Some(first) = memchr::memchr(b'%', path.as_bytes()) else { return Cow::Borrowed(path) };
    let mut out = String::with_capacity(path.len());
    out.push_str(&path[..first]);
    let mut rest = &path[first..];
    while let Some(at) = memchr::memchr(b'%', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        let value = rest.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match value {
            Some(byte) if stands_unescaped(byte) && byte != b';' => {
                out.push(byte as char);
                rest = &rest[at + 3..];
            }
            _ => {
                out.push('%');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}
