//! One entry of `routes`: a path alone, or an object. The pattern's own grammar is the router's to judge.

use std::time::Duration;

use super::headers;
use super::later;
use super::section::{Section, quoted, shown_for};
use super::syntax;
use crate::config::problem::Severity;
use crate::config::settings::Route;
use crate::config::tree::{Kind, Node};

/// Reads one entry; `None` when there is no path to route by. `times` are the backend's `timeout` and `firstByteTimeoutMs`.
pub(super) fn read(
    backend: &Section<'_>,
    n: usize,
    node: &Node,
    times: (Duration, Option<Duration>),
) -> Option<Route> {
    let name = format!("routes[{n}]");
    if let Kind::Text(text) = &node.kind {
        let path = path(backend, &name, text, node)?;
        return Some(Route { path, ..Route::default() });
    }
    let section = Section::open(backend.context, node, backend.name(&name));
    if matches!(node.kind, Kind::Table(_)) {
        section.require("path", "write for example `path: /api/**`");
    }
    later::refuse_in_route(&section);
    let path = section.text("path").and_then(|(text, node)| path(&section, "path", text, node));
    let route = Route {
        path: path.clone().unwrap_or_default(),
        methods: methods(&section),
        hosts: hosts(&section),
        headers: headers::read(&section, false),
        priority: section.integer("priority", -1_000_000..=1_000_000),
        strip_prefix: prefix(&section, "stripPrefix"),
        add_prefix: prefix(&section, "addPrefix"),
        timeout: section.duration("timeout"),
        first_byte_timeout: section.duration("firstByteTimeoutMs"),
        body_limit_bytes: section.bytes("bodyLimitBytes"),
        deny: section.flag("deny").unwrap_or(false),
    };
    strippable(&section, &route);
    undercut(&section, &route, times);
    section.finish();
    path.map(|_| route)
}

/// Of a time limit of the route and one of the backend the shorter one holds, which whoever wrote the other may not expect.
fn undercut(section: &Section<'_>, route: &Route, (timeout, first_byte): (Duration, Option<Duration>)) {
    let what = match (route.timeout, route.first_byte_timeout) {
        (own, Some(first_byte)) if first_byte > own.unwrap_or(timeout) => {
            let node = section.node("firstByteTimeoutMs");
            node.map(|node| {
                (node, "is longer than `timeout`, which ends the request first: shorten it".to_owned())
            })
        }
        (Some(own), None) if first_byte.is_some_and(|first_byte| first_byte < own) => {
            let ms = first_byte.unwrap_or_default().as_millis();
            let why = format!(
                "is longer than the backend's `firstByteTimeoutMs` of {ms}, which ends a try without an answer \
                 first: write `firstByteTimeoutMs` for this route too"
            );
            section.node("timeout").map(|node| (node, why))
        }
        _ => return,
    };
    if let Some((node, why)) = what {
        let key = if route.first_byte_timeout.is_some() { "firstByteTimeoutMs" } else { "timeout" };
        section.warning(node, format!("`{}` {why}", section.name(key)));
    }
}

fn path(section: &Section<'_>, key: &str, text: &str, node: &Node) -> Option<String> {
    let name = section.name(key);
    let found = shown_for(key, node);
    let trouble = if !text.starts_with('/') {
        "it must start with `/`"
    } else if text.contains(['?', '#']) {
        "it has no query or fragment: match on the path alone"
    } else if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        "it must not hold spaces or control characters: percent-encode them"
    } else {
        return section.all_seen(Severity::Error, &name, text, node).then(|| text.to_owned());
    };
    section.error(node, format!("`{name}` is {found}: {trouble}"));
    None
}

/// `methods`: upper-case, each once.
pub(super) fn methods(section: &Section<'_>) -> Vec<String> {
    let mut methods = Vec::new();
    for (text, node, name) in section.texts("methods").unwrap_or_default() {
        let upper = text.to_ascii_uppercase();
        if !syntax::is_token(text) {
            section.error(
                node,
                format!("`{name}` is {}: write a method such as GET or POST", shown_for("methods", node)),
            );
        } else if upper != text {
            section
                .error(node, format!("`{name}` is {}: methods are upper-case, write {upper}", quoted(text)));
        } else if !methods.contains(&upper) {
            methods.push(upper);
        }
    }
    methods
}

/// `hosts` of a route, and of what is matched like one.
pub(super) fn hosts(section: &Section<'_>) -> Vec<String> {
    let mut hosts = Vec::new();
    for (text, node, name) in section.texts("hosts").unwrap_or_default() {
        if !section.all_seen(Severity::Error, &name, text, node) {
            continue;
        }
        match syntax::host_pattern(text) {
            Ok(host) if hosts.contains(&host) => {}
            Ok(host) => hosts.push(host),
            Err(why) => section.error(node, format!("`{name}` is {}: {why}", shown_for("hosts", node))),
        }
    }
    hosts
}

fn prefix(section: &Section<'_>, key: &'static str) -> Option<String> {
    let (text, node) = section.text(key)?;
    match syntax::prefix(text) {
        Ok(()) => Some(text.to_owned()),
        Err(why) => {
            section.error(node, format!("`{}` is {}: {why}", section.name(key), shown_for(key, node)));
            None
        }
    }
}

/// Warns of a prefix that no path of the route can start with.
fn strippable(section: &Section<'_>, route: &Route) {
    let (Some(prefix), Some(node)) = (&route.strip_prefix, section.node("stripPrefix")) else { return };
    let wild = |segment: &str| segment.starts_with(':') || segment.contains('*');
    let mut pattern = route.path.split('/').skip(1);
    for wanted in prefix.split('/').skip(1) {
        match pattern.next() {
            Some(segment) if wild(segment) => return,
            Some(segment) if segment == wanted => {}
            _ if route.path.is_empty() => return,
            _ => {
                let what = format!(
                    "`{}` is never at the front of {}: nothing would be stripped; write the path's \
                     own beginning",
                    section.name("stripPrefix"),
                    quoted(&route.path)
                );
                return section.warning(node, what);
            }
        }
    }
}
