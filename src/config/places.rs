//! Where things that are judged later (by the router) were written.

use aegis_schema::Lists;
use aegis_schema::problem::Place;
use aegis_schema::tree::{Kind, Node};

/// Where a configuration was written.
#[derive(Clone, Default)]
pub struct Places(pub(super) Option<Written>);

#[derive(Clone)]
pub(super) struct Written {
    pub(super) root: Node,
    pub(super) file: String,
    pub(super) lists: Lists,
}

/// Without what is written there, which may be secret.
impl std::fmt::Debug for Places {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Places")
    }
}

impl Places {
    /// `file` is the label for places in the file.
    pub(super) fn new(root: Node, file: String, lists: Lists) -> Self {
        Self(Some(Written { root, file, lists }))
    }

    /// Where route number `route` of backend number `backend` is, both as in
    /// [`Settings::backends`](super::Settings::backends).
    pub fn route(&self, backend: usize, route: usize) -> Place {
        let name =
            self.item("backends", backend).and_then(|name| self.item(&format!("{name}.routes"), route));
        let node = name.and_then(|name| self.node(&name));
        // Of a route with several keys, its path.
        let node = node.map(|node| match &node.kind {
            Kind::Table(_) => node.find("path").unwrap_or(node),
            _ => node,
        });
        self.place(node)
    }

    /// Name and place of a probe's path, counted over `server.probes.health` and `ready`.
    pub fn probe(&self, number: usize) -> (String, Place) {
        let of = |list: &str| (0..).map_while(|n| self.item(list, n)).collect::<Vec<_>>();
        let names = [of("server.probes.health"), of("server.probes.ready")].concat();
        let name = names.get(number).cloned().unwrap_or_else(|| "server.probes".to_owned());
        let place = self.file(&name);
        (name, place)
    }

    /// Where the value of this key is, such as `server.tls.certFile`.
    pub fn file(&self, key: &str) -> Place {
        self.place(self.node(key))
    }

    fn item(&self, list: &str, n: usize) -> Option<String> {
        let written = self.0.as_ref()?.lists.written(list, n)?;
        Some(format!("{list}[{written}]"))
    }

    fn node(&self, name: &str) -> Option<&Node> {
        self.0.as_ref()?.root.find(name)
    }

    fn place(&self, node: Option<&Node>) -> Place {
        match (&self.0, node) {
            (Some(written), Some(node)) => node.origin.place(&written.file, node.origin.value),
            _ => Place::start("built-in defaults"),
        }
    }
}
