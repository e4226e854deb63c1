//! `server`: the gateway listener.

use std::time::Duration;

use super::section::{Section, shown_for};
use super::{Places, backend::head_bounds, route, syntax};
use crate::config::problem::Severity;
use crate::config::settings::{EscapedSlash, Probes, Server, ServerTls, Via};
use crate::config::tree::Layer;

/// Reads the section, and where its probes are.
pub(super) fn read(section: Section<'_>, places: &mut Places) -> Server {
    let defaults = Server::default();
    let shutdown_timeout = section.duration_or_zero("shutdownTimeoutMs").unwrap_or(defaults.shutdown_timeout);
    let server = Server {
        host: bind_host(&section).unwrap_or(defaults.host),
        port: section.integer("port", 0..=65_535).unwrap_or(defaults.port),
        workers: section.integer("workers", 0..=1024).unwrap_or(defaults.workers),
        body_limit_bytes: section.bytes("bodyLimitBytes").unwrap_or(defaults.body_limit_bytes),
        trusted_proxies: networks(
            &section,
            "trustedProxies",
            "trusts everybody: any client can claim any address; list the proxies' networks",
        ),
        header_timeout: section.duration("headerTimeoutMs").unwrap_or(defaults.header_timeout),
        keep_alive: section.duration("keepAliveMs").unwrap_or(defaults.keep_alive),
        shutdown_timeout,
        drain_period: drain_period(&section, shutdown_timeout),
        max_connections: section
            .integer("maxConnections", 1..=10_000_000)
            .unwrap_or(defaults.max_connections),
        head: head_bounds(&section, defaults.head),
        tls: section.child("tls").and_then(tls),
        escaped_slash: section.child("paths").map_or(defaults.escaped_slash, paths),
        via: section
            .choice("via", &[("both", Via::Both), ("response", Via::Response), ("off", Via::Off)])
            .unwrap_or_default(),
        probes: section.child("probes").map_or(defaults.probes, |section| probes(section, places)),
    };
    section.finish();
    server
}

/// The part of a stop in which connections are accepted; what is not written leaves most of it to the requests.
fn drain_period(section: &Section<'_>, shutdown_timeout: Duration) -> Duration {
    let default = Server::default().drain_period.min(shutdown_timeout / 4);
    let Some(node) = section.node("drainPeriodMs").filter(|node| node.origin.layer != Layer::Default) else {
        return default;
    };
    let Some(period) = section.duration_or_zero("drainPeriodMs") else { return default };
    if period >= shutdown_timeout && !shutdown_timeout.is_zero() {
        let what = format!(
            "`{}` leaves nothing of `shutdownTimeoutMs` ({} ms) to the requests that are in flight when the listener \
             closes: make it shorter, or `shutdownTimeoutMs` longer",
            section.name("drainPeriodMs"),
            shutdown_timeout.as_millis()
        );
        section.warning(node, what);
    }
    period
}

/// `host` of a listener.
pub(super) fn bind_host(section: &Section<'_>) -> Option<String> {
    let (text, node) = section.text("host")?;
    let host = syntax::host(text);
    if host.is_none() {
        let found = shown_for("host", node);
        let what = format!(
            "`{}` must be an address or a host name without scheme and port, found {found}: \
             write for example 0.0.0.0, \
             \"::\" or localhost",
            section.name("host")
        );
        section.error(node, what);
    }
    host
}

/// A list of networks and addresses; `everybody` is what to say of one that holds every address.
pub(super) fn networks(section: &Section<'_>, key: &'static str, everybody: &str) -> Vec<ipnet::IpNet> {
    let mut networks = Vec::new();
    for (text, node, name) in section.texts(key).unwrap_or_default() {
        match syntax::network(text) {
            Some(network) => {
                if network.prefix_len() == 0 {
                    section.warning(node, format!("`{name}` {everybody}"));
                }
                networks.push(network);
            }
            None => {
                let what = format!(
                    "`{name}` must be a network such as 10.0.0.0/8 or an address, found {}",
                    shown_for(key, node)
                );
                section.error(node, what);
            }
        }
    }
    networks
}

fn tls(section: Section<'_>) -> Option<ServerTls> {
    section.require("certFile", "TLS needs both `certFile` and `keyFile`; add it, or remove `tls`");
    section.require("keyFile", "TLS needs both `certFile` and `keyFile`; add it, or remove `tls`");
    let files = (section.file("certFile"), section.file("keyFile"));
    section.finish();
    let (Some(cert_file), Some(key_file)) = files else { return None };
    Some(ServerTls { cert_file, key_file })
}

fn paths(section: Section<'_>) -> EscapedSlash {
    let choices = [("reject", EscapedSlash::Reject), ("keep", EscapedSlash::Keep)];
    let choice = section.choice("escapedSlash", &choices).unwrap_or_default();
    section.finish();
    choice
}

/// Paths of the gateway's own; what a path may be is the router's to judge.
fn probes(section: Section<'_>, places: &mut Places) -> Probes {
    let mut paths = |key| {
        let written = section.texts(key).unwrap_or_default().into_iter();
        let noted = written.map(|(text, node, name)| {
            section.all_seen(Severity::Error, &name, text, node);
            places.probes.push((name, section.place(node)));
            text.to_owned()
        });
        noted.collect()
    };
    let probes = Probes { health: paths("health"), ready: paths("ready"), hosts: route::hosts(&section) };
    section.finish();
    probes
}
