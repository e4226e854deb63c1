//! Where a key was set, for whoever wants to know what in the configuration decided something.
//!
//! A path is written as `backends[users].circuitBreaker.failureThreshold`: what stands in brackets is the `name`, `id`,
//! `path` or `url` of an item of a list, or a text item itself.

use super::Places;
use aegis_schema::problem::Place;
use aegis_schema::tree::{Layer, Node, Origin};

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

impl Places {
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
