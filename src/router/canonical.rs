//! The one canonical path that router, auth, RBAC and limiter judge by.
//!
//! Owns the rules of RFC 3986 section 6.2.2 as far as they are safe, and refuses what servers are known to read
//! in more than one way: hidden dot segments, escaped separators, overlong UTF-8, control characters. Never looks
//! at the query. Driven by the gateway, once per request, before anything else judges the request.

use std::borrow::Cow;

use crate::config::settings::EscapedSlash;

use super::escapes::{push_segment, stands_unescaped};

/// A path in its canonical form: equal paths are equal strings.
///
/// Shape of `path`: starts with `/`; no empty and no dot segment; no trailing slash except the root's own;
/// characters that RFC 3986 section 3.3 allows in a segment stand as they came, every other one as `%` and two
/// upper-case hex digits; escapes of unreserved characters are decoded, other escapes stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canonical<'a> {
    /// The canonical path. Borrowed when it is the raw path, or the raw path less its last slash.
    pub path: Cow<'a, str>,
    /// The structure differs from the raw path's (slashes collapsed, dot segments resolved, a fragment cut off, an
    /// empty path made `/`), so the upstream must be sent `path`. False when only unreserved escapes were decoded
    /// or a trailing slash was removed: then the upstream gets the raw bytes.
    pub rewritten: bool,
    /// The raw path ended in a slash, or in a dot segment that stands for one; always true for the root.
    pub trailing_slash: bool,
}

/// Why a path is refused with 400 `bad_path`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// Neither empty nor starting with `/`.
    #[error("the path does not start with a slash")]
    NotAbsolute,
    /// `%00` or a raw NUL.
    #[error("the path contains a NUL")]
    Nul,
    /// A control character (general category Cc), raw or escaped.
    #[error("the path contains the control character U+{:04X}", *.0 as u32)]
    Control(char),
    /// A raw backslash, which some servers read as a slash.
    #[error("the path contains a backslash")]
    Backslash,
    /// `%2F` or `%5C` while `server.paths.escapedSlash` is `reject`.
    #[error("the path contains an escaped slash or backslash")]
    EscapedSlash,
    /// A `%` without two hex digits after it.
    #[error("the path contains a percent sign without two hex digits")]
    MalformedEscape,
    /// Escapes of bytes above 7F that are not UTF-8; overlong forms are among them (RFC 3629 section 3).
    #[error("the path contains escapes that are not valid UTF-8")]
    InvalidUtf8,
    /// A dot segment that appears only once escapes are decoded: `%2e%2e`, or `..%2Fx` where `%2F` is kept.
    #[error("the path contains an escaped dot segment")]
    EscapedDotSegment,
    /// A dot segment with parameters: `..;`, which Tomcat and others read as `..`.
    #[error("the path contains a dot segment with parameters")]
    DotSegmentParameters,
    /// A segment that is nothing but parameters and is not the last: `/;x/admin` is `//admin` to some servers.
    #[error("the path contains an empty segment with parameters")]
    EmptySegmentParameters,
    /// More `..` than segments before them.
    #[error("the path climbs above the root")]
    AboveRoot,
}

/// Makes a raw request path canonical, or says why it must be refused.
///
/// `raw_path` is the path of the request target as received; a `?` or `#` and all that follows is ignored, an
/// empty path (absolute form without one) is the root. `slash` says what `%2F` and `%5C` mean: refused, or kept as
/// part of their segment.
///
/// Does one scan and no allocation when nothing has to change. Idempotent: a canonical path is its own canonical
/// form. A path parameter (`;x`) or a kept `%2F` leaves a path with more than one reading; [`super::Router::find`]
/// judges those, and [`super::readings()`] lists them for whoever else must.
pub fn canonicalise(raw_path: &str, slash: EscapedSlash) -> Result<Canonical<'_>, BadPath> {
    match already_canonical(raw_path) {
        Some(canonical) => Ok(canonical),
        None => rebuild(raw_path, slash),
    }
}

const PLAIN: u8 = 0;
const SLASH: u8 = 1;
const SPECIAL: u8 = 2;

/// `PLAIN` for the bytes that RFC 3986 allows to stand for themselves in a segment.
const CLASS: [u8; 256] = {
    let mut table = [SPECIAL; 256];
    let mut byte = 0;
    while byte < 256 {
        if stands_unescaped(byte as u8) {
            table[byte] = PLAIN;
        }
        byte += 1;
    }
    table[b'/' as usize] = SLASH;
    table
};

/// The fast path: one scan, no copy. None when there is anything to decode, resolve or refuse.
fn already_canonical(raw: &str) -> Option<Canonical<'_>> {
    let bytes = raw.as_bytes();
    if bytes.first() != Some(&b'/') {
        return None;
    }
    for (at, byte) in bytes.iter().enumerate() {
        match CLASS[*byte as usize] {
            PLAIN => {}
            SLASH if starts_ordinary_segment(&bytes[at + 1..]) => {}
            _ => return None,
        }
    }
    let (path, trailing_slash) = match raw.strip_suffix('/') {
        Some("") => (raw, true),
        Some(path) => (path, true),
        None => (raw, false),
    };
    Some(Canonical { path: Cow::Borrowed(path), rewritten: false, trailing_slash })
}

/// Whether what follows a slash is the end or a segment that is neither empty, nor a dot segment, nor starts with
/// parameters. `.well-known` is ordinary.
fn starts_ordinary_segment(rest: &[u8]) -> bool {
    let after_dots = match rest {
        [b'/' | b';', ..] => return false,
        [b'.', b'.', after @ ..] | [b'.', after @ ..] => after,
        _ => return true,
    };
    !matches!(after_dots, [] | [b'/' | b';', ..])
}

fn rebuild(raw: &str, slash: EscapedSlash) -> Result<Canonical<'_>, BadPath> {
    let end = memchr::memchr2(b'?', b'#', raw.as_bytes()).unwrap_or(raw.len());
    let path = &raw[..end];
    if path.is_empty() {
        return Ok(Canonical { path: Cow::Borrowed("/"), rewritten: true, trailing_slash: true });
    }
    let Some(body) = path.strip_prefix('/') else { return Err(BadPath::NotAbsolute) };

    let mut out = String::with_capacity(path.len() + 16);
    // A fragment has no place in a request target: whoever forwards must not forward it.
    let mut rewritten = raw[end..].starts_with('#');
    let mut trailing_slash = false;
    let mut segments = body.split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "" if last => trailing_slash = true,
            "" => rewritten = true,
            "." => (rewritten, trailing_slash) = (true, last),
            ".." => {
                out.truncate(out.rfind('/').ok_or(BadPath::AboveRoot)?);
                (rewritten, trailing_slash) = (true, last);
            }
            _ => {
                out.push('/');
                let start = out.len();
                push_segment(segment, slash, &mut out)?;
                refuse_hidden_structure(&out[start..], last)?;
            }
        }
    }
    if out.is_empty() {
        out.push('/');
        trailing_slash = true;
    }
    let path = if path.starts_with(&out) { Cow::Borrowed(&path[..out.len()]) } else { Cow::Owned(out) };
    Ok(Canonical { path, rewritten, trailing_slash })
}

/// `segment` is canonical and was not a plain dot segment: a dot segment found here was hidden by escapes, by
/// parameters or behind a kept separator.
fn refuse_hidden_structure(segment: &str, last: bool) -> Result<(), BadPath> {
    let mut rest = segment;
    loop {
        let escape = find_separator_escape(rest);
        let piece = &rest[..escape.unwrap_or(rest.len())];
        let name = before_parameters(piece);
        if matches!(name, "." | "..") {
            let bare = name.len() == piece.len();
            return Err(if bare { BadPath::EscapedDotSegment } else { BadPath::DotSegmentParameters });
        }
        match escape {
            Some(at) => rest = &rest[at + 3..],
            None => break,
        }
    }
    // The last one is `/app/;jsessionid=1`, which Java servers do write; the router judges its two readings.
    if !last && before_parameters(segment).is_empty() {
        return Err(BadPath::EmptySegmentParameters);
    }
    Ok(())
}

/// Where the first `%2F` or `%5C` of canonical text starts.
fn find_separator_escape(text: &str) -> Option<usize> {
    memchr::memchr_iter(b'%', text.as_bytes()).find(|at| matches!(&text[at + 1..at + 3], "2F" | "5C"))
}

/// The segment without its parameters (RFC 3986 section 3.3), whether their semicolon is escaped or not.
fn before_parameters(segment: &str) -> &str {
    let plain = segment.find(';').unwrap_or(segment.len());
    let escaped = segment.find("%3B").unwrap_or(segment.len());
    &segment[..plain.min(escaped)]
}
