//! A configuration as written: a tree of values that know where they came from.
//!
//! Every parser produces it, the merge keeps it, and the readers turn it into settings.

use std::sync::Arc;

use crate::problem::Place;

/// Deepest nesting accepted, so that no input can exhaust the stack. Real configurations need seven levels.
pub const MAX_DEPTH: usize = 64;

/// A line and a column, both from 1; the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pos {
    pub line: usize,
    pub column: usize,
}

impl Pos {
    /// The first character.
    pub const START: Self = Self { line: 1, column: 1 };

    /// This position in `file`.
    pub fn place(self, file: &str) -> Place {
        Place { file: file.to_owned(), line: self.line, column: self.column }
    }
}

/// Which layer a value came from. Later layers win.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    Default,
    File,
    /// The variable's name.
    Environment(Arc<str>),
    /// The key as written on the command line.
    Set(Arc<str>),
}

/// How a scalar was given, which decides how strictly its type is judged and whether it may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// Literally, in a file.
    Written,
    /// Through `${…}`, at least in part: never shown, for it may hold a secret. When it is the `whole` text,
    /// it is read as a scalar where a number or a boolean is expected.
    Filled { whole: bool },
    /// From the environment or the command line, which know only text.
    Loose,
    /// Unusable, and already reported.
    Broken,
}

/// Where a value is from.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    pub layer: Layer,
    /// Of the key; of the value itself in a list.
    pub key: Pos,
    pub value: Pos,
    pub given: Given,
}

impl Origin {
    /// A built-in default.
    pub const DEFAULT: Self =
        Self { layer: Layer::Default, key: Pos::START, value: Pos::START, given: Given::Written };
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file.
    Table(Vec<(String, Node)>),
}

/// A value and where it is from.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub kind: Kind,
    pub origin: Origin,
}

impl Node {
    /// A node of the file.
    pub fn at(kind: Kind, at: Pos) -> Self {
        let origin = Origin { layer: Layer::File, key: at, value: at, given: Given::Written };
        Self { kind, origin }
    }

    /// What is written under `key`, where this is a table that has it.
    pub fn member(&self, key: &str) -> Option<&Self> {
        let Kind::Table(entries) = &self.kind else { return None };
        entries.iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    /// What is below it at `server.tls.certFile`, `backends[0].routes[1].path`, `backends[users].timeout`.
    pub fn find(&self, path: &str) -> Option<&Self> {
        let (trail, whole) = self.trail(path);
        trail.last().copied().filter(|_| whole)
    }

    /// The nodes on the way there, from the first step on, and whether it leads anywhere.
    pub fn trail(&self, path: &str) -> (Vec<&Self>, bool) {
        let (mut node, mut trail, mut rest) = (self, Vec::new(), path);
        while !rest.is_empty() {
            let (next, more) = match rest.strip_prefix('[') {
                // Names may hold dots and brackets of their own; a path's bracket closes before a dot or at the end.
                Some(inside) => {
                    let (item, more) =
                        inside.split_at(inside.find("].").unwrap_or(inside.len().saturating_sub(1)));
                    (node.item(item), more.strip_prefix(']').unwrap_or(more))
                }
                None => {
                    let (key, more) = rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len()));
                    (node.member(key), more)
                }
            };
            let Some(next) = next else { return (trail, false) };
            trail.push(next);
            (node, rest) = (next, more.strip_prefix('.').unwrap_or(more));
        }
        (trail, true)
    }

    /// The item of a list, by its number or by what it is named with.
    fn item(&self, name: &str) -> Option<&Self> {
        const NAMES: [&str; 4] = ["name", "id", "path", "url"];
        let Kind::List(items) = &self.kind else { return None };
        let text = Kind::Text(name.to_owned());
        let named = |item: &&Self| {
            item.kind == text || NAMES.iter().any(|key| item.member(key).is_some_and(|of| of.kind == text))
        };
        items.iter().find(named).or_else(|| items.get(name.parse::<usize>().ok()?))
    }

    /// Whether it was already reported as unusable.
    pub fn broken(&self) -> bool {
        self.origin.given == Given::Broken
    }

    /// Nothing was written, or the text layers say "nothing".
    pub fn absent(&self) -> bool {
        self.kind == Kind::Null && !self.broken()
    }

    /// Number of nodes and depth, this one included.
    pub fn measure(&self) -> (usize, usize) {
        let add = |(count, depth): (usize, usize), node: &Self| {
            let (c, d) = node.measure();
            (count + c, depth.max(d + 1))
        };
        match &self.kind {
            Kind::List(items) => items.iter().fold((1, 1), add),
            Kind::Table(entries) => entries.iter().map(|(_, node)| node).fold((1, 1), add),
            _ => (1, 1),
        }
    }
}
