//! What an upstream says of places, in the client's terms: `Location` and `Content-Location` that name the target, and
//! where cookies hold.

use std::net::IpAddr;

use url::Url;

use super::fields::Fields;
use super::request::Request;
use super::request_context::said_of_client;
use super::request_parts::{host_name, is_host};
use super::snapshot::Backend;
use crate::config::settings::RewriteCookies;

/// Rewrites them, as the backend's `rewriteRedirects` and `rewriteCookies` say.
pub fn rewrite(fields: &mut Fields, request: &Request, backend: &Backend) {
    let settings = &backend.settings;
    let (Some(route), Some(target)) = (request.record.route, request.record.target) else { return };
    let (target, route) = (&backend.targets[target].shared.url, &request.snapshot.routes[route]);
    let places = Places { target, strip: route.strip_prefix.as_deref(), add: route.add_prefix.as_deref() };
    if settings.rewrite_redirects {
        for name in ["location", "content-location"] {
            fields.change(name, |value| {
                places.location(&latin1(value), &client_base(request)).map(|text| bytes(&text))
            });
        }
    }
    if settings.rewrite_cookies.path || settings.rewrite_cookies.domain {
        let host = client_host(request).map(host_name);
        fields.change("set-cookie", |value| {
            places.cookie(&latin1(value), settings.rewrite_cookies, host).map(|it| bytes(&it))
        });
    }
}

/// Field values are bytes, whatever they spell: each as one character, and back.
fn latin1(value: &[u8]) -> String {
    value.iter().map(|byte| char::from(*byte)).collect()
}

fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| c as u8).collect()
}

/// The host that the client has asked for, as a trusted proxy or the client itself says.
fn client_host(request: &Request) -> Option<&str> {
    let forwarded = forwarded(request, "x-forwarded-host");
    let plain = |host: &&str| host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b));
    forwarded.filter(|host| is_host(host.as_bytes())).or_else(|| request.head.host()).filter(plain)
}

/// What trusted proxies say of the client.
fn forwarded<'a>(request: &'a Request, name: &'a str) -> Option<&'a str> {
    let said = said_of_client(request.head.fields.get_all(name), request.hops).filter(|_| request.trusted)?;
    std::str::from_utf8(said).ok()
}

/// What stands in front of a path for the client; nothing where it has not named a host.
fn client_base(request: &Request) -> String {
    let scheme = match forwarded(request, "x-forwarded-proto") {
        Some(scheme) if scheme.eq_ignore_ascii_case("https") => "https",
        Some(scheme) if scheme.eq_ignore_ascii_case("http") => "http",
        _ if request.peer.secure => "https",
        _ => "http",
    };
    client_host(request).map_or_else(String::new, |host| format!("{scheme}://{host}"))
}

/// Where the target and the client see the same thing.
struct Places<'a> {
    /// `scheme://authority`, the port only where it is not the scheme's own.
    target: &'a str,
    strip: Option<&'a str>,
    add: Option<&'a str>,
}

impl Places<'_> {
    /// A reference that names the target, for a client that sees it under `base`; `None` for any other.
    fn location(&self, value: &str, base: &str) -> Option<String> {
        let (scheme, authority) = self.target.split_once("://")?;
        let rest = match value.strip_prefix("//") {
            Some(rest) => rest,
            None => value.split_once("://").filter(|(own, _)| own.eq_ignore_ascii_case(scheme))?.1,
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (named, reference) = rest.split_at(end);
        let usual = if scheme == "https" { ":443" } else { ":80" };
        if !named.strip_suffix(usual).unwrap_or(named).eq_ignore_ascii_case(authority) {
            return None;
        }
        let end = reference.find(['?', '#']).unwrap_or(reference.len());
        let (path, more) = reference.split_at(end);
        // What a client would resolve must not lead it out of the prefix.
        let resolved = Url::parse("http://x").ok()?.join(path).ok().filter(|_| dotted(path));
        let path = resolved.as_ref().map_or(path, Url::path);
        Some([base, &self.path(if path.is_empty() { "/" } else { path }), more].concat())
    }

    /// A path of the target, as the client has to ask for it.
    fn path(&self, path: &str) -> String {
        let bare = match self.add.map(|prefix| without_prefix(path, prefix)) {
            // The client cannot ask for what lies beside the prefix.
            Some(None) => return path.to_owned(),
            Some(Some(rest)) => rest,
            None => path,
        };
        match self.strip.map(|prefix| prefix.trim_end_matches('/')) {
            // Some read X-Forwarded-Prefix themselves.
            Some(prefix) if without_prefix(bare, prefix).is_none() => format!("{prefix}{bare}"),
            _ => bare.to_owned(),
        }
    }

    /// A cookie that holds where the client sees what the target means.
    fn cookie(&self, value: &str, which: RewriteCookies, host: Option<&str>) -> Option<String> {
        let (_, authority) = self.target.split_once("://")?;
        let target = host_name(authority).to_ascii_lowercase();
        let mut parts = value.split(';');
        let mut out = parts.next()?.to_owned();
        // Such a one is for all paths and one host, or no client takes it (RFC 6265bis §4.1.3.2).
        if out.trim_start().to_ascii_lowercase().starts_with("__host-") {
            return None;
        }
        for part in parts {
            let (name, said) = part.split_once('=').map_or((part.trim(), ""), |(n, v)| (n.trim(), v.trim()));
            if which.path && name.eq_ignore_ascii_case("path") && said.starts_with('/') {
                out += "; Path=";
                let path = self.path(said);
                out += if path.len() > 1 { path.trim_end_matches('/') } else { &path };
            } else if which.domain && name.eq_ignore_ascii_case("domain") && holds(&target, said) {
                // Without one it holds for the host that was asked alone.
                if let Some(host) = host {
                    out += "; Domain=";
                    out += host;
                }
            } else {
                out.push(';');
                out += part;
            }
        }
        Some(out)
    }
}

/// Whether a cookie of that domain is sent to `host` (RFC 6265 §5.1.3).
fn holds(host: &str, domain: &str) -> bool {
    let domain = domain.trim_start_matches('.').to_ascii_lowercase();
    if host.parse::<IpAddr>().is_ok() {
        return host == domain;
    }
    host == domain
        || host.strip_suffix(&domain).is_some_and(|front| !domain.is_empty() && front.ends_with('.'))
}

/// Whether a path has dot segments, escaped ones included.
fn dotted(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    ["/.", "/%2e"].iter().any(|dot| path.contains(dot))
}

/// What is left of a path behind a prefix that ends at a segment's border.
fn without_prefix<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    match path.strip_prefix(prefix.trim_end_matches('/'))? {
        "" => Some("/"),
        rest if rest.starts_with('/') => Some(rest),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "https://shop.test";

    fn location(target: &str, strip: Option<&str>, add: Option<&str>, value: &str) -> Option<String> {
        Places { target, strip, add }.location(value, BASE)
    }

    #[test]
    fn a_redirect_that_names_the_target_leads_the_client_back_to_the_gateway() {
        for (value, expected) in [
            ("http://10.0.0.1:3001/login?a=b#c", Some("https://shop.test/login?a=b#c")),
            ("HTTP://10.0.0.1:3001", Some("https://shop.test/")),
            ("//10.0.0.1:3001/x?u=http://y", Some("https://shop.test/x?u=http://y")),
            ("https://10.0.0.1:3001/x", None),
            ("http://10.0.0.1/x", None),
            ("http://10.0.0.1:3001.evil.test/x", None),
            ("http://u@10.0.0.1:3001/x", None),
            ("http://elsewhere.test/x", None),
            ("/x", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(location("http://10.0.0.1:3001", None, None, value).as_deref(), expected, "{value}");
        }
        assert_eq!(
            location("http://a.test", None, None, "http://A.test:80/x").unwrap(),
            "https://shop.test/x"
        );
        assert_eq!(
            location("https://a.test", None, None, "https://a.test/x").unwrap(),
            "https://shop.test/x"
        );
    }

    #[test]
    fn prefixes_are_put_back_as_the_client_knows_them() {
        for (strip, add, path, expected) in [
            (Some("/api"), None, "/login", "/api/login"),
            (Some("/api/"), None, "/", "/api/"),
            (Some("/api"), None, "/api/login", "/api/login"),
            (Some("/api"), None, "/apis", "/api/apis"),
            (Some("/api"), Some("/v2"), "/v2/login", "/api/login"),
            (Some("/api"), Some("/v2"), "/v2", "/api/"),
            (Some("/api"), Some("/v2"), "/v20", "/v20"),
            (None, Some("/v2"), "/v2/login", "/login"),
            (Some("/api"), None, "/../a", "/api/a"),
            (Some("/api"), None, "/b/%2E%2e/a", "/api/a"),
        ] {
            let value = format!("http://t:1{path}");
            let seen = location("http://t:1", strip, add, &value).unwrap();
            assert_eq!(seen, format!("{BASE}{expected}"), "{strip:?} {add:?} {path}");
        }
    }

    #[test]
    fn cookies_hold_where_the_client_is() {
        let places = Places { target: "http://app.corp.internal:3001", strip: Some("/api"), add: None };
        let both = RewriteCookies { path: true, domain: true };
        for (value, which, expected) in [
            ("a=b; Path=/; HttpOnly", both, "a=b; Path=/api; HttpOnly"),
            ("a=b; path=/x/; Secure", both, "a=b; Path=/api/x; Secure"),
            ("a=b; Domain=app.corp.internal", both, "a=b; Domain=shop.test"),
            ("a=b; domain=.corp.internal; Path=/", both, "a=b; Domain=shop.test; Path=/api"),
            ("a=b; Domain=other.test", both, "a=b; Domain=other.test"),
            ("a=\"x; Path=/", RewriteCookies { path: false, domain: true }, "a=\"x; Path=/"),
        ] {
            let rewritten = places.cookie(value, which, Some("shop.test")).unwrap();
            assert_eq!(rewritten, expected);
        }
        assert_eq!(places.cookie("a=b; Domain=app.corp.internal", both, None).unwrap(), "a=b");
        assert_eq!(places.cookie("__Host-a=b; Path=/; Secure", both, Some("shop.test")), None);
        let by_address = Places { target: "http://10.0.0.1:1", strip: None, add: None };
        assert_eq!(by_address.cookie("a=b; Domain=0.1", both, Some("x")).unwrap(), "a=b; Domain=0.1");
    }
}
