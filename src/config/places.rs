//! Where something was written: for what is judged later (by the router), and for whoever wants to know what decided.
//!
//! A path is written as `backends[users].circuitBreaker.failureThreshold`: what stands in brackets is the `name`, `id`,
//! `path` or `url` of an item of a list, or a text item itself.

use aegis_schema::Lists;
use aegis_schema::problem::Place;
use aegis_schema::tree::{Kind, Layer, Node, Origin};

/// What a configuration without a file goes by.
pub(super) const BUILT_IN: &str = "built-in defaults";

/// Where a configuration was written.
#[derive(Clone)]
pub struct Places {
    pub(super) root: Node,
    /// What places in the file say for it.
    pub(super) label: String,
    pub(super) lists: Lists,
}

/// Where something was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Located {
    /// In the file, here.
    Written(Place),
    /// By the variable of this name.
    Variable(String),
    /// By `--set` with this key.
    Argument(String),
    /// Nowhere: it has its default. The innermost section around it that the file has is here.
    Default(Option<Place>),
}

/// Nowhere.
impl Default for Places {
    fn default() -> Self {
        let root = Node { kind: Kind::Null, origin: Origin::DEFAULT };
        Self { root, label: BUILT_IN.to_owned(), lists: Lists::default() }
    }
}

/// Without what is written there, which may be secret.
impl std::fmt::Debug for Places {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Places")
    }
}

impl Places {
    /// Where route number `route` of backend number `backend` is, both as in
    /// [`Settings::backends`](super::Settings::backends).
    pub fn route(&self, backend: usize, route: usize) -> Place {
        let name =
            self.item("backends", backend).and_then(|name| self.item(&format!("{name}.routes"), route));
        let node = name.and_then(|name| self.root.find(&name));
        // Of a route with several keys, its path.
        self.place(node.map(|node| node.member("path").unwrap_or(node)))
    }

    /// Name and place of a probe's path, counted over `server.probes.health` and `ready`.
    pub fn probe(&self, number: usize) -> (String, Place) {
        let of = |list: &str| (0..).map_while(|n| self.item(list, n)).collect::<Vec<_>>();
        let names = [of("server.probes.health"), of("server.probes.ready")].concat();
        let name = names.get(number).cloned().unwrap_or_else(|| "server.probes".to_owned());
        (name.clone(), self.file(&name))
    }

    /// Where the value of this key is, such as `server.tls.certFile`.
    pub fn file(&self, key: &str) -> Place {
        self.place(self.root.find(key))
    }

    /// Finds a path, such as `backends[users].timeout`.
    pub fn locate(&self, path: &str) -> Located {
        let (trail, whole) = self.root.trail(path);
        let written = |node: &&&Node| node.origin.layer == Layer::File;
        let around = || trail.iter().rev().find(written).map(|node| node.origin.key.place(&self.label));
        match trail.last().filter(|_| whole).map(|node| &node.origin) {
            Some(Origin { layer: Layer::File, key, .. }) => Located::Written(key.place(&self.label)),
            Some(Origin { layer: Layer::Environment(name), .. }) => Located::Variable(name.to_string()),
            Some(Origin { layer: Layer::Set(key), .. }) => Located::Argument(key.to_string()),
            Some(Origin { layer: Layer::Default, .. }) | None => Located::Default(around()),
        }
    }

    fn item(&self, list: &str, n: usize) -> Option<String> {
        self.lists.written(list, n).map(|written| format!("{list}[{written}]"))
    }

    fn place(&self, node: Option<&Node>) -> Place {
        let start = || Place::start(BUILT_IN);
        node.map_or_else(start, |node| node.origin.place(&self.label, node.origin.value))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Env, Source, inspect_with};
    use super::*;

    #[test]
    fn keys_items_layers_and_defaults_are_told_apart() {
        let folder = std::env::temp_dir().join(format!("aegis-locate-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a.yaml");
        let text = "server: {port: 1}\nbackends:\n  - name: users\n    routes: [/a, {path: \"/b.[x]\", deny: true}]\n    circuitBreaker:\n      failureThreshold: 3\n";
        std::fs::write(&path, text).unwrap();
        let env =
            Env::from_iter([("AEGIS__SERVER__HOST", "127.0.0.1"), ("AEGIS__BACKENDS__0__RETRIES", "1")]);
        let source = Source { set: vec!["backends.0.timeout=3s".to_owned()], env, ..Source::file(&path) };
        let places = inspect_with(&source, |_, _| Vec::new()).places;
        let at = |path: &str| match places.locate(path) {
            Located::Written(place) => format!("{}:{}", place.line, place.column),
            Located::Variable(name) | Located::Argument(name) => name,
            Located::Default(Some(place)) => format!("below {}:{}", place.line, place.column),
            Located::Default(None) => "default".to_owned(),
        };
        for (path, told) in [
            ("server.port", "1:10"),
            ("server.host", "AEGIS__SERVER__HOST"),
            ("server.keepAliveMs", "below 1:1"),
            ("backends[users].retries", "AEGIS__BACKENDS__0__RETRIES"),
            ("backends[users].timeout", "backends.0.timeout"),
            ("backends[users].circuitBreaker.failureThreshold", "6:7"),
            ("backends[users].circuitBreaker.failureRate", "below 5:5"),
            ("backends[users].routes[/a]", "4:14"),
            ("backends[users].routes[/b.[x]].deny", "4:35"),
            ("rateLimit.rules[x]", "default"),
            ("metrics.slowRequestMs", "default"),
        ] {
            assert_eq!(at(path), told, "{path}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
