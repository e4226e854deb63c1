//! `url`, `targets` and `tls` of a backend.

use std::collections::HashSet;

use url::Url;

use super::section::{Section, shown_for};
use super::syntax;
use crate::config::settings::{Target, UpstreamTls};
use crate::config::tree::{Kind, Node};

const ONE_OF: &str = "write either `url: http://HOST:PORT` or `targets: [{url: …, weight: …}]`";

/// The targets from `url` or `targets`, exactly one of which must be there.
pub(super) fn all(backend: &Section<'_>) -> Vec<Target> {
    let (url, targets) = (backend.node("url"), backend.node("targets"));
    let mut found = Vec::new();
    match (url, targets) {
        (None, None) => {
            backend.error_here(format!("`{}` has neither `url` nor `targets`: {ONE_OF}", backend.path));
        }
        (Some(_), Some(node)) => {
            let what = format!("`{}` has both `url` and `targets`: keep one of them", backend.path);
            backend.error_at_key(node, what);
        }
        (Some(_), None) => {}
        (None, Some(node)) => {
            if matches!(&node.kind, Kind::List(items) if items.is_empty()) {
                backend.error(node, format!("`{}` is empty: {ONE_OF}", backend.name("targets")));
            }
        }
    }
    if let Some((text, node)) = backend.text("url") {
        found.extend(target(backend, "url", text, node));
    }
    let mut seen = HashSet::new();
    for (n, node) in backend.list("targets").unwrap_or_default().iter().enumerate() {
        let Some(target) = listed(backend, n, node) else { continue };
        if !seen.insert(target.url()) {
            let what = format!(
                "`{}` is listed twice: give it a larger `weight` instead",
                backend.name(format!("targets[{n}]"))
            );
            backend.warning(node, what);
        }
        found.push(target);
    }
    found
}

/// One entry of `targets`: an object, or the URL alone.
fn listed(backend: &Section<'_>, n: usize, node: &Node) -> Option<Target> {
    if node.broken() {
        return None;
    }
    let name = format!("targets[{n}]");
    if let Kind::Text(text) = &node.kind {
        return target(backend, &name, text, node);
    }
    let section = Section::open(backend.context, node, backend.name(&name));
    section.require("url", "write the target as `{url: http://HOST:PORT, weight: 1}`");
    let found = section.text("url").and_then(|(text, node)| target(&section, "url", text, node));
    let weight = section.integer("weight", 1..=1000).unwrap_or(1);
    section.finish();
    found.map(|target| Target { weight, ..target })
}

fn target(section: &Section<'_>, key: &str, text: &str, node: &Node) -> Option<Target> {
    match parse(text) {
        Ok(target) => Some(target),
        Err(why) => {
            let found = shown_for(key, node);
            section.error(node, format!("`{}` is {found}: {why}", section.name(key)));
            None
        }
    }
}

/// A target's URL as it is shown, whatever way of writing it is `text`.
///
/// # Errors
/// Why it is none.
pub fn target_url(text: &str) -> Result<String, &'static str> {
    parse(text).map(|target| target.url())
}

fn parse(text: &str) -> Result<Target, &'static str> {
    const FORM: &str = "write it as http://HOST:PORT or https://HOST:PORT";
    let (scheme, rest) = text.split_once("://").ok_or(FORM)?;
    let https = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        _ => return Err("the scheme must be http or https"),
    };
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or("");
    if authority.contains('@') {
        return Err("a target has no user or password: remove everything up to the `@`");
    }
    if rest.len() > authority.len() && rest.get(authority.len()..) != Some("/") {
        return Err("a target has no path or query: write the host alone, and use `addPrefix` on the routes");
    }
    if authority.is_empty() || authority.starts_with(':') {
        return Err("the host is missing: write it as http://HOST:PORT");
    }
    if authority.rsplit_once(':').is_some_and(|(_, port)| port.is_empty()) {
        return Err("the port is missing after the `:`: write it, or remove the `:`");
    }
    let url = Url::parse(text).map_err(|error| match error {
        url::ParseError::InvalidPort => "the port must be a number from 1 to 65535",
        _ => FORM,
    })?;
    // The url crate normalises: IDNA names to ASCII, 0x7f.1 to 127.0.0.1.
    let host = url.host_str().and_then(syntax::host).ok_or("this is no host name or address")?;
    let port = url
        .port_or_known_default()
        .filter(|port| *port != 0)
        .ok_or("the port must be a number from 1 to 65535")?;
    Ok(Target { https, host, port, weight: 1 })
}

/// `tls`: how `https://` targets are verified.
pub(super) fn tls(backend: &Section<'_>, targets: &[Target]) -> UpstreamTls {
    let Some(section) = backend.child("tls") else { return UpstreamTls::default() };
    if !targets.is_empty() && !targets.iter().any(|target| target.https) {
        section.warning_here(format!(
            "`{}` does nothing: no target is https://; change the targets or remove `tls`",
            section.path
        ));
    }
    let insecure_skip_verify = section.flag("insecureSkipVerify").unwrap_or(false);
    if insecure_skip_verify && let Some(node) = section.node("insecureSkipVerify") {
        let what = format!(
            "`{}` accepts any certificate, so anybody on the way can read and change the \
             traffic; use `caFile` for a private CA",
            section.name("insecureSkipVerify")
        );
        section.warning(node, what);
    }
    let tls = UpstreamTls {
        ca_file: section.file("caFile"),
        insecure_skip_verify,
        server_name: server_name(&section),
    };
    section.finish();
    tls
}

fn server_name(section: &Section<'_>) -> Option<String> {
    let (text, node) = section.text("serverName")?;
    let host = syntax::host(text);
    if host.is_none() {
        let found = shown_for("serverName", node);
        let name = section.name("serverName");
        section.error(
            node,
            format!("`{name}` must be a host name or an address, without scheme and port, found {found}"),
        );
    }
    host
}
