//! Rules that need more than one section.

use super::section::Section;
use super::syntax;
use crate::config::problem::Severity;
use crate::config::settings::Settings;
use crate::config::tree::{Kind, Layer, Node, Origin, Pos};

/// Judges the settings as a whole; `root` says where to point.
pub(super) fn across(root: &Section<'_>, settings: &Settings) {
    admin_is_guarded(root, settings);
    listeners_do_not_collide(root, settings);
    if settings.backends.is_empty()
        && root.node("backends").is_none_or(|node| matches!(&node.kind, Kind::List(l) if l.is_empty()))
    {
        let what = "no backends: there is nothing to serve; add an entry with `name`, `url` and \
                    `routes` to `backends`";
        match root.written("backends").filter(|node| node.origin.layer != Layer::Default) {
            Some(node) => root.warning(node, what.to_owned()),
            // Whatever else is set has nothing to do with it.
            None => root.context.note(Severity::Warning, &Origin::DEFAULT, Pos::START, what.to_owned()),
        }
    }
}

fn admin_is_guarded(root: &Section<'_>, settings: &Settings) {
    let admin = &settings.admin;
    if syntax::is_loopback(&admin.host) || !admin.token.is_empty() {
        return;
    }
    // A token that was written but is wrong was reported; it is not missing.
    if key(root, "admin", "token")
        .is_some_and(|node| node.broken() || !matches!(&node.kind, Kind::Text(text) if text.is_empty()))
    {
        return;
    }
    let what = "`admin.host` can be reached from other machines, and the gateway refuses to start so \
                without `admin.token`: \
                set a token, for example `token: ${AEGIS_ADMIN_TOKEN}`, or use 127.0.0.1";
    match key(root, "admin", "host") {
        Some(node) => root.error(node, what.to_owned()),
        None => root.error_here(what.to_owned()),
    }
}

fn listeners_do_not_collide(root: &Section<'_>, settings: &Settings) {
    let (server, admin) = (&settings.server, &settings.admin);
    if server.port == 0 || server.port != admin.port || !syntax::overlap(&server.host, &admin.host) {
        return;
    }
    let what =
        format!("`server` and `admin` both listen on port {}: give one of them another port", server.port);
    let written = |node: &&Node| node.origin.layer != Layer::Default;
    let node = key(root, "admin", "port").filter(written).or_else(|| key(root, "server", "port"));
    match node {
        Some(node) => root.error(node, what),
        None => root.error_here(what),
    }
}

fn key<'a>(root: &Section<'a>, section: &str, key: &str) -> Option<&'a Node> {
    match &root.written(section)?.kind {
        Kind::Table(entries) => entries.iter().find(|(name, _)| name == key).map(|(_, node)| node),
        _ => None,
    }
}
