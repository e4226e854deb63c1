//! Between the types of HTTP/2's library and the gateway's own: the one place that knows both.
//!
//! An HTTP/2 request is judged as one of HTTP/1.1 is: what could be read in two ways is refused (RFC 9113 §8.1.1, §8.2,
//! §8.3.1). What the library itself refuses (connection-specific fields, pseudo-fields out of place) does not come here.

use actix_http::{Method, Version};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;

use super::decode::{ambiguous, escape};
use crate::config::settings::HeadBounds;
use crate::gateway::answer::Cause;
use crate::gateway::bounds::TARGET_BYTES;
use crate::gateway::fields::Fields;
use crate::gateway::message::Said;
use crate::gateway::request_body::RequestFraming;
use crate::gateway::request_parts::{RequestParts, RequestTarget};
use crate::gateway::response::{Length, Response};
use crate::gateway::unread::Unread;

/// Bytes of a head, what its lines would take in HTTP/1.1.
pub fn size(parts: &Parts) -> usize {
    let fields: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let target = parts.uri.path_and_query().map_or(0, |path| path.as_str().len());
    let authority = parts.uri.authority().map_or(0, |authority| authority.as_str().len());
    parts.method.as_str().len() + target + authority + fields
}

/// What the log tells of a request whose head is refused.
pub fn unread(parts: &Parts) -> Unread {
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    Unread::new(parts.method.as_str().as_bytes(), path.as_bytes(), size(parts))
}

/// A request's head; `ended`: no body follows.
///
/// # Errors
/// Why it is refused.
pub fn head(parts: &Parts, ended: bool, bounds: HeadBounds) -> Result<RequestParts, Cause> {
    let refuse = |why| Err(Cause::BadRequest(why));
    // Clients send each cookie as a field of its own (RFC 9113 §8.2.3).
    let crumbs = parts.headers.get_all("cookie").iter().count().saturating_sub(1);
    if parts.headers.len() - crumbs > bounds.fields || size(parts) > bounds.bytes {
        return Err(Cause::HeadTooLarge(bounds));
    }
    let mut fields = Fields::with_capacity(size(parts), parts.headers.len());
    for (name, value) in &parts.headers {
        // RFC 9113 §8.2.1: the library takes blanks around a value.
        if value.as_bytes().trim_ascii().len() != value.len() {
            return refuse("The value of a header field begins or ends with a blank.");
        }
        fields.push(name.as_str(), value.as_bytes());
    }
    let method = Method::from_bytes(parts.method.as_str().as_bytes())
        .map_err(|_| Cause::BadRequest("The method is not valid."))?;
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    let said = Said::of(fields.iter()).map_err(ambiguous)?;
    if said.hosts > 1 {
        return refuse("The request has more than one host.");
    }
    let host = fields.get_all("host").next();
    match (authority, host) {
        (None, None | Some(b"")) => return refuse("The request has neither :authority nor host."),
        (Some(authority), Some(host)) if !host.eq_ignore_ascii_case(authority.as_bytes()) => {
            return refuse("The request's :authority and host differ.");
        }
        _ => {}
    }
    if authority.is_some() && parts.uri.scheme_str().is_none_or(str::is_empty) && method != Method::CONNECT {
        return refuse("The request has no :scheme.");
    }
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut escaped = Vec::with_capacity(path.len());
    escape(path.as_bytes(), &mut escaped);
    if escaped.len() > TARGET_BYTES {
        return Err(Cause::TargetTooLong);
    }
    let path = String::from_utf8(escaped).map_err(|_| Cause::BadRequest("The path is not valid."))?;
    let path = if method == Method::CONNECT { "/" } else { path.as_str() };
    let target = RequestTarget::of(authority, path).map_err(Cause::BadRequest)?;
    let sends = [Method::POST, Method::PUT, Method::PATCH].contains(&method);
    let framing = match said.length {
        Some(1..) if ended => return refuse("The request body is not as long as its content-length."),
        Some(length) => RequestFraming::Length(length),
        None if !ended => RequestFraming::Chunked,
        // RFC 9110 §8.6: an upstream may wait for what says nothing of its length.
        None if sends => RequestFraming::Length(0),
        None => RequestFraming::None,
    };
    let (version, expects) = (Version::HTTP_2, !ended && said.expects);
    Ok(RequestParts { method, target, version, fields, framing, persists: true, upgrade: None, expects })
}

/// An answer's head.
pub fn response(response: &Response) -> http::Response<()> {
    let mut out = http::Response::new(());
    // Both have taken it for a status.
    *out.status_mut() = http::StatusCode::from_u16(response.status.as_u16()).unwrap_or_default();
    let map: &mut HeaderMap = out.headers_mut();
    map.reserve(response.fields.len() + 1);
    for (name, value) in response.fields.iter() {
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value))
        else {
            continue;
        };
        // RFC 9113 §8.2.2; what 426 asks for cannot be done here anyway.
        if name != http::header::UPGRADE {
            map.append(name, value);
        }
    }
    if let Length::Stated(length) | Length::Sized(length) = response.length {
        map.insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    out
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const BOUNDS: HeadBounds = HeadBounds { bytes: 128 * 1024, fields: 256 };

    fn parts(method: &str, uri: &str, fields: &[(&str, &str)]) -> Parts {
        let builder = Request::builder().method(method).uri(uri);
        let builder = fields.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
        builder.body(()).unwrap().into_parts().0
    }

    fn framing(method: &str, fields: &[(&str, &str)], ended: bool) -> Option<RequestFraming> {
        head(&parts(method, "http://a.test/x", fields), ended, BOUNDS).ok().map(|head| head.framing)
    }

    #[test]
    fn all_of_a_head_counts_for_its_bound() {
        let long = "a".repeat(60_000);
        let cases = [
            parts(&"A".repeat(140_000), "http://a.test/x", &[]),
            parts("GET", &format!("http://{long}/x"), &[("x-a", &long), ("x-b", &long)]),
            parts("GET", &format!("http://a.test/{long}"), &[("x-a", &long), ("x-b", &long)]),
        ];
        for parts in cases {
            assert!(size(&parts) > BOUNDS.bytes);
            assert_eq!(head(&parts, true, BOUNDS).err(), Some(Cause::HeadTooLarge(BOUNDS)));
        }
    }

    #[test]
    fn a_request_names_one_host_wherever_it_does() {
        for (uri, fields, host) in [
            ("http://a.test/x", &[][..], Some("a.test")),
            ("http://a.test/x", &[("host", "A.test")], Some("a.test")),
            ("/x", &[("host", "b.test")], Some("b.test")),
            ("/x", &[], None),
            ("/x", &[("host", "")], None),
            ("http://a.test/x", &[("host", "b.test")], None),
            ("http://a.test/x", &[("host", "a.test"), ("host", "a.test")], None),
        ] {
            let head = head(&parts("GET", uri, fields), true, BOUNDS).ok();
            assert_eq!(head.as_ref().and_then(RequestParts::host), host, "{uri} {fields:?}");
        }
    }

    #[test]
    fn the_length_of_a_body_is_one_number_and_an_empty_post_says_so() {
        assert_eq!(framing("GET", &[], true), Some(RequestFraming::None));
        assert_eq!(framing("POST", &[], true), Some(RequestFraming::Length(0)));
        assert_eq!(framing("POST", &[], false), Some(RequestFraming::Chunked));
        assert_eq!(framing("POST", &[("content-length", "5")], false), Some(RequestFraming::Length(5)));
        assert_eq!(framing("POST", &[("content-length", "5")], true), None);
        assert_eq!(framing("POST", &[("content-length", ""), ("x", "y")], false), None);
        assert_eq!(framing("POST", &[("content-length", "5"), ("content-length", "5")], false), None);
    }
}
