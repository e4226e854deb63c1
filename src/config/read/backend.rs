//! `backends`.

use std::collections::HashMap;
use std::time::Duration;

use super::section::{Section, shown_for};
use super::{Places, resilience, route, syntax, target};
use crate::config::problem::Place;
use crate::config::settings::{
    Backend, HashOn, HeadBounds, LoadBalance, RewriteCookies, Route, WhenAllUnhealthy,
};
use crate::config::tree::{Kind, Node};

/// Reads every backend, and where its routes are.
pub(super) fn all(root: &Section<'_>) -> (Vec<Backend>, Places) {
    let mut backends = Vec::new();
    let mut places = Places::default();
    let mut names: HashMap<String, usize> = HashMap::new();
    for (n, node) in root.list("backends").unwrap_or_default().iter().enumerate() {
        if node.broken() {
            continue;
        }
        let section = Section::open(root.context, node, format!("backends[{n}]"));
        let (backend, routes) = read(&section);
        if let Some(first) = names.get(&backend.name)
            && let Some(node) = section.node("name")
        {
            let what = format!(
                "`{}` is the name of `backends[{first}]` already, {:?}: names must differ",
                section.name("name"),
                backend.name,
            );
            section.error(node, what);
        } else if !backend.name.is_empty() {
            names.insert(backend.name.clone(), n);
        }
        section.finish();
        backends.push(backend);
        places.routes.push(routes);
    }
    (backends, places)
}

fn read(section: &Section<'_>) -> (Backend, Vec<Place>) {
    let defaults = Backend::default();
    let targets = target::all(section);
    let timeout = section.duration("timeout").unwrap_or(defaults.timeout);
    let first_byte_timeout = section.duration("firstByteTimeoutMs");
    let (routes, places) = routes(section, timeout, first_byte_timeout);
    let backend = Backend {
        name: name(section).unwrap_or_default(),
        load_balance: load_balance(section),
        routes,
        timeout,
        connect_timeout: section.duration("connectTimeoutMs").unwrap_or(defaults.connect_timeout),
        first_byte_timeout,
        idle_timeout: section.duration("idleTimeoutMs").unwrap_or(defaults.idle_timeout),
        retries: section.integer("retries", 0..=100).unwrap_or(defaults.retries),
        max_in_flight: section.integer("maxInFlight", 1..=1_000_000).unwrap_or(defaults.max_in_flight),
        max_tunnels: section.integer("maxTunnels", 1..=1_000_000).unwrap_or(defaults.max_tunnels),
        head: head_bounds(section, defaults.head),
        pool_idle: section.duration("poolIdleMs").unwrap_or(defaults.pool_idle),
        health_check: resilience::health_check(section),
        circuit_breaker: resilience::circuit_breaker(section),
        when_all_unhealthy: section
            .choice(
                "whenAllUnhealthy",
                &[("failFast", WhenAllUnhealthy::FailFast), ("routeAll", WhenAllUnhealthy::RouteAll)],
            )
            .unwrap_or_default(),
        preserve_host: section.flag("preserveHost").unwrap_or(defaults.preserve_host),
        rewrite_redirects: section.flag("rewriteRedirects").unwrap_or(defaults.rewrite_redirects),
        rewrite_cookies: section.child("rewriteCookies").map_or(defaults.rewrite_cookies, rewrite_cookies),
        pass_alt_svc: section.flag("passAltSvc").unwrap_or(defaults.pass_alt_svc),
        tls: target::tls(section, &targets),
        targets,
    };
    if first_byte_timeout.is_some_and(|first_byte| first_byte > timeout)
        && let Some(node) = section.node("firstByteTimeoutMs")
    {
        let what = format!(
            "`{}` is longer than `timeout`, which ends the request first: shorten it, or lengthen `timeout`",
            section.name("firstByteTimeoutMs")
        );
        section.warning(node, what);
    }
    (backend, places)
}

fn rewrite_cookies(section: Section<'_>) -> RewriteCookies {
    let flag = |key| section.flag(key).unwrap_or(false);
    let read = RewriteCookies { path: flag("path"), domain: flag("domain") };
    section.finish();
    read
}

/// What the head of a message may hold, a request's or a response's.
pub(super) fn head_bounds(section: &Section<'_>, defaults: HeadBounds) -> HeadBounds {
    HeadBounds {
        bytes: section.size("maxHeadBytes", 1024..=16 << 20).map_or(defaults.bytes, |bytes| bytes as usize),
        fields: section.integer("maxHeadFields", 8..=10_000).unwrap_or(defaults.fields),
    }
}

fn name(section: &Section<'_>) -> Option<String> {
    section.require("name", "give the backend a unique name; it is the label in metrics");
    let (text, node) = section.text("name")?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.is_empty() || text.len() > 64 || !text.chars().all(allowed) {
        let found = shown_for("name", node);
        let what = format!(
            "`{}` must be 1 to 64 of the characters A-Z a-z 0-9 . _ -, found {found}: rename it",
            section.name("name")
        );
        section.error(node, what);
    }
    Some(text.to_owned())
}

fn routes(
    section: &Section<'_>,
    timeout: Duration,
    first_byte_timeout: Option<Duration>,
) -> (Vec<Route>, Vec<Place>) {
    let mut routes = Vec::new();
    let mut places = Vec::new();
    section.require("routes", "write at least one path, for example `routes: [/api/**]`");
    let Some(items) = section.list("routes") else { return (routes, places) };
    if let (true, Some(node)) = (items.is_empty(), section.node("routes")) {
        let what =
            format!("`{}` is empty: write at least one path, for example /api/**", section.name("routes"));
        section.error(node, what);
    }
    for (n, node) in items.iter().enumerate().filter(|(_, node)| !node.broken()) {
        if let Some(route) = route::read(section, n, node, (timeout, first_byte_timeout)) {
            routes.push(route);
            places.push(section.place(path_node(node)));
        }
    }
    (routes, places)
}

/// What to point at when a route's pattern is wrong.
fn path_node(node: &Node) -> &Node {
    match &node.kind {
        Kind::Table(entries) => entries.iter().find(|(key, _)| key == "path").map_or(node, |(_, path)| path),
        _ => node,
    }
}

fn load_balance(section: &Section<'_>) -> LoadBalance {
    #[derive(Clone, PartialEq)]
    enum By {
        LeastRequest,
        RoundRobin,
        Hash,
    }
    let choices = [("leastRequest", By::LeastRequest), ("roundRobin", By::RoundRobin), ("hash", By::Hash)];
    let by = section.choice("loadBalance", &choices);
    let hash_on = section.text("hashOn");
    if let Some((_, node)) = hash_on
        && by != Some(By::Hash)
        // A misspelt loadBalance was reported; it may well have been meant to be hash.
        && (by.is_some() || section.node("loadBalance").is_none())
    {
        let what = format!(
            "`{}` works with `loadBalance: hash` only: add that, or remove `hashOn`",
            section.name("hashOn")
        );
        section.error_at_key(node, what);
    }
    match by {
        None | Some(By::LeastRequest) => LoadBalance::LeastRequest,
        Some(By::RoundRobin) => LoadBalance::RoundRobin,
        Some(By::Hash) => LoadBalance::Hash(
            hash_on.and_then(|(text, node)| parse_hash_on(section, text, node)).unwrap_or(HashOn::Ip),
        ),
    }
}

fn parse_hash_on(section: &Section<'_>, text: &str, node: &Node) -> Option<HashOn> {
    match text.split_once(':') {
        None if text == "ip" => return Some(HashOn::Ip),
        Some(("header", name)) if syntax::is_token(name) => {
            return Some(HashOn::Header(name.to_ascii_lowercase()));
        }
        Some(("cookie", name)) if syntax::is_token(name) => return Some(HashOn::Cookie(name.to_owned())),
        _ => {}
    }
    let found = shown_for("hashOn", node);
    let what =
        format!("`{}` must be `ip`, `header:NAME` or `cookie:NAME`, found {found}", section.name("hashOn"));
    section.error(node, what);
    None
}
