//! One table of the tree, read key by key.
//!
//! Reading a key makes it known; [`Section::finish`] reports the keys that nobody asked for.

use std::cell::RefCell;
use std::fmt::Display;

use super::Context;
use crate::config::problem::{Place, Problem, Severity};
use crate::config::secrets::is_secret;
use crate::config::tree::{Given, Kind, Node, Origin};
use crate::config::{scalar, suggest};

/// A table being read.
pub(super) struct Section<'a> {
    pub context: &'a Context<'a>,
    /// `server.tls`, `backends[0]`; empty at the top.
    pub path: String,
    origin: &'a Origin,
    entries: &'a [(String, Node)],
    /// Something else stands in its place, which was reported; no key is missing then.
    mistaken: bool,
    known: RefCell<Vec<&'static str>>,
    /// Keys that were dealt with under a name that is not to be suggested.
    settled: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    /// Opens `node`, which must be a table; anything else is reported and read as an empty one.
    pub fn open(context: &'a Context<'a>, node: &'a Node, path: String) -> Self {
        let section = |entries, mistaken| Self {
            context,
            path,
            origin: &node.origin,
            entries,
            mistaken,
            known: RefCell::default(),
            settled: RefCell::default(),
        };
        match &node.kind {
            Kind::Table(entries) => section(entries, false),
            _ if nothing(node) => section(&[], false),
            _ => {
                let section = section(&[], true);
                let what =
                    format!("`{}` must be a section with keys, found {}", section.path, shown(node, false));
                section.error(node, what);
                section
            }
        }
    }

    /// The section under `key`; `None` when it is not written.
    pub fn child(&self, key: &'static str) -> Option<Section<'a>> {
        self.node(key)
            .filter(|node| !nothing(node))
            .map(|node| Section::open(self.context, node, self.name(key)))
    }

    /// What is written under `key`; `None` when that is nothing. Makes the key known.
    pub fn node(&self, key: &'static str) -> Option<&'a Node> {
        self.known.borrow_mut().push(key);
        self.written(key).filter(|node| !node.absent())
    }

    /// What is written under `key`, even an empty value, without making the key known.
    pub fn written(&self, key: &str) -> Option<&'a Node> {
        self.entries.iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    /// Makes a key known that is not offered as a suggestion.
    pub fn settle(&self, key: &'static str) {
        self.settled.borrow_mut().push(key);
    }

    /// Every key and value, for tables whose keys are free.
    pub fn free(&self) -> &'a [(String, Node)] {
        self.entries
    }

    /// `server.port`.
    pub fn name(&self, key: impl Display) -> String {
        if self.path.is_empty() { key.to_string() } else { format!("{}.{key}", self.path) }
    }

    /// `` `KEY` is required `` at the section, unless the key is there (and then wrong in another way).
    pub fn require(&self, key: &'static str, mend: &str) {
        let missing = self.node(key).is_none() && !self.mistaken;
        if missing && !self.written(key).is_some_and(Node::broken) {
            self.error_here(format!("`{}` is required: {mend}", self.name(key)));
        }
    }

    /// Notes an error at the value of `node`.
    pub fn error(&self, node: &Node, message: String) {
        self.note(Severity::Error, node, message);
    }

    /// Notes a warning at the value of `node`.
    pub fn warning(&self, node: &Node, message: String) {
        self.note(Severity::Warning, node, message);
    }

    fn note(&self, severity: Severity, node: &Node, message: String) {
        // What is broken was reported when it broke.
        if !node.broken() {
            self.context.note(severity, &node.origin, node.origin.value, message);
        }
    }

    /// Notes an error at the key of `node`.
    pub fn error_at_key(&self, node: &Node, message: String) {
        self.context.note(Severity::Error, &node.origin, node.origin.key, message);
    }

    /// Notes an error at the section itself.
    pub fn error_here(&self, message: String) {
        self.context.note(Severity::Error, self.origin, self.origin.key, message);
    }

    /// Notes a warning at the section itself.
    pub fn warning_here(&self, message: String) {
        self.context.note(Severity::Warning, self.origin, self.origin.key, message);
    }

    /// Whether all of a text can be seen; notes at `node` where not. A path can say otherwise that it means such a
    /// character, and no host has one; elsewhere somebody may mean it, which is a warning.
    pub fn all_seen(&self, severity: Severity, name: &str, text: &str, node: &Node) -> bool {
        let Some(found) = scalar::invisible(text) else { return true };
        let escape = if text.starts_with('/') { ", or percent-encode it" } else { "" };
        self.note(severity, node, format!("`{name}` holds {found}: write it anew, by hand{escape}"));
        false
    }

    /// Where the value of `node` is.
    pub fn place(&self, node: &Node) -> Place {
        let Problem { file, line, column, .. } = super::located(
            Severity::Error,
            &node.origin,
            node.origin.value,
            self.context.file,
            String::new(),
        );
        Place { file, line, column }
    }

    /// Reports the keys that are not known.
    pub fn finish(self) {
        let known = self.known.borrow();
        let settled = self.settled.borrow();
        for (key, node) in self.entries {
            if known.contains(&key.as_str()) || settled.contains(&key.as_str()) {
                continue;
            }
            if let Some(found) = scalar::invisible(key) {
                let what = format!(
                    "unknown key `{}`: it holds {found}; write it anew, by hand",
                    self.name(key.escape_debug()),
                );
                self.error_at_key(node, what);
                continue;
            }
            let mend = suggest::hint(key, known.iter().copied(), || {
                let mut names: Vec<&str> = known.clone();
                names.sort_unstable();
                names.dedup();
                format!("remove it, or use one of {}", names.join(", "))
            });
            self.error_at_key(node, format!("unknown key `{}`: {mend}", self.name(key)));
        }
    }
}

/// Nothing usable: empty, broken, or a text layer's way to say nothing.
pub(super) fn nothing(node: &Node) -> bool {
    match &node.kind {
        Kind::Null => true,
        Kind::Text(text) if loose(node) => matches!(text.trim(), "" | "~" | "null"),
        _ => false,
    }
}

/// Whether a text may stand for a number or a boolean.
pub(super) fn loose(node: &Node) -> bool {
    matches!(node.origin.given, Given::Loose | Given::Filled { whole: true })
}

/// A value for a message. Secrets and what came through `${…}` are not shown.
pub(super) fn shown(node: &Node, secret: bool) -> String {
    match &node.kind {
        Kind::Null => "nothing".to_owned(),
        Kind::List(_) => "a list".to_owned(),
        Kind::Table(_) => "a section".to_owned(),
        _ if secret => "a value that is not shown".to_owned(),
        _ if matches!(node.origin.given, Given::Filled { .. }) => "the value put in for `${…}`".to_owned(),
        Kind::Bool(b) => format!("`{b}`"),
        Kind::Int(n) => format!("the number {n}"),
        Kind::Float(x) => format!("the number {x}"),
        Kind::Text(text) => quoted(text),
    }
}

/// A text for a message: one line, of bounded length, without the userinfo of a URL.
pub(super) fn quoted(text: &str) -> String {
    let clean = crate::config::secrets::without_anything_before_an_at(text);
    let text = clean.as_deref().unwrap_or(text);
    let mut short: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    // escape_debug also escapes quotes, which read better as they are.
    short = short.replace("\\\"", "\"").replace("\\'", "'");
    if text.chars().nth(80).is_some() {
        short.push('…');
    }
    format!("`{short}`")
}

/// [`shown`] for the value of `key`.
pub(super) fn shown_for(key: &str, node: &Node) -> String {
    shown(node, is_secret(key))
}
