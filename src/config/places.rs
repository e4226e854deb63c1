//! Where things that are judged later (by the router) were written.

use aegis_schema::Lists;
use aegis_schema::problem::Place;
use aegis_schema::tree::{Kind, Node, Origin};

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

    fn item(&self, list: &str, n: usize) -> Option<String> {
        self.lists.written(list, n).map(|written| format!("{list}[{written}]"))
    }

    fn place(&self, node: Option<&Node>) -> Place {
        let start = || Place::start(BUILT_IN);
        node.map_or_else(start, |node| node.origin.place(&self.label, node.origin.value))
    }
}
