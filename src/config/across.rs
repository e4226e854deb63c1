//! Rules that need more than one section.

use aegis_actors::alerts::{self, Metric};
use aegis_actors::rate_limiter::settings::OnError;
use aegis_schema::problem::Severity;
use aegis_schema::section::quoted;
use aegis_schema::tree::{Kind, Layer, Node, Origin, Pos};
use aegis_schema::{Section, suggest, syntax};

use super::settings::{Backend, Settings, client_auth};
use super::{auth_policies, rate_limit_paths};

/// Judges the settings as a whole; `root` says where to point.
pub(super) fn across(settings: &mut Settings, root: &Section<'_>) {
    root.distinct("backends", "name", settings.backends.iter().map(|backend| &*backend.name));
    admin_is_guarded(root, settings);
    listeners_do_not_collide(root, settings);
    something_is_served(root, settings);
    auth_policies::check(settings, root);
    client_auth::check(settings, root);
    if let (Some(alerts), Some(section)) = (&settings.alerts, root.child("alerts")) {
        conditions(alerts, &section, &settings.backends, settings.metrics.enabled);
    }
    if let (Some(limits), Some(section)) = (&mut settings.rate_limit, root.child("rateLimit")) {
        rate_limit_paths::canonicalize(limits, &section, settings.server.paths.escaped_slash);
        if root.node("redis").is_none() {
            let rules = limits.rules.iter().map(|rule| rule.on_error).zip(section.sections("rules"));
            let unshared = |section: &Section<'_>, on_error: OnError| {
                if section.says("onError", on_error.as_str()) {
                    section.warning_of(
                        "onError",
                        "has no effect without `redis`, for each process limits by itself: add `redis: {url: …}`, or \
                         remove the key",
                    );
                }
            };
            rules.for_each(|(on_error, section)| {
                on_error.iter().for_each(|on_error| unshared(&section, *on_error))
            });
            unshared(&section, limits.on_error);
        }
    }
}

fn something_is_served(root: &Section<'_>, settings: &Settings) {
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
    // A token that was written but is wrong was reported; it is not missing.
    let written = |node: &Node| node.broken() || node.kind != Kind::Text(String::new());
    if syntax::is_loopback(&admin.host)
        || !admin.token.is_empty()
        || key(root, "admin", "token").is_some_and(written)
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
    root.written(section)?.member(key)
}

/// What the conditions of alerts name, and whether it can ever be met.
fn conditions(alerts: &alerts::Settings, section: &Section<'_>, backends: &[Backend], counted: bool) {
    for (rule, section) in alerts.rules.iter().zip(section.sections("rules")) {
        let (condition, Some(section)) = (&rule.condition, section.child("condition")) else { continue };
        if section.says("metric", condition.metric.as_str()) && !condition.metric.is_gauge() && !counted {
            section.warning_here(
                "is never met: with `metrics.enabled: false` nothing is counted; enable metrics, or remove the rule",
            );
        }
        let of = |backend: &&Backend| condition.backend.as_ref().is_none_or(|name| backend.name == *name);
        let mut named = backends.iter().filter(of).peekable();
        if let (Some(name), None) = (&condition.backend, named.peek()) {
            let names = backends.iter().map(|backend| backend.name.as_str());
            let hint = suggest::hint(name, names, "use the `name` of one of `backends`");
            section.error_of("backend", format_args!("names no backend, found {}: {hint}", quoted(name)));
        } else if section.says("metric", Metric::UnhealthyTargets.as_str())
            && !named.any(|backend| backend.health_check.is_some())
        {
            section
                .warning_of("metric", "is always 0: no target is checked; add `healthCheck` to the backend");
        }
    }
}
