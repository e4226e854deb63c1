//! One table of the tree, being read.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Display;

use crate::form::{At, Shape};
use crate::problem::{Place, Problem, Severity};
use crate::secrets::is_secret;
use crate::tree::{Given, Kind, Layer, Node, Origin, Pos};
use crate::{scalar, suggest};

/// What every reader shares: where to note problems, and which items of the lists could be read.
pub struct Context<'c> {
    file: &'c str,
    problems: RefCell<Vec<Problem>>,
    lists: RefCell<Lists>,
}

/// Of each list that was read, by its name: which of the written items its settings are, for not all could be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lists(HashMap<String, List>);

#[derive(Clone, Debug, PartialEq)]
struct List {
    /// Numbers of the items as written.
    items: Vec<usize>,
    /// No error was noted in it.
    clean: bool,
}

impl Lists {
    /// The number, as written, of what is number `n` of the settings.
    pub fn written(&self, list: &str, n: usize) -> Option<usize> {
        self.0.get(list)?.items.get(n).copied()
    }
}

impl<'c> Context<'c> {
    /// `file` is the label for problems of the file.
    pub fn new(file: &'c str) -> Self {
        Self { file, problems: RefCell::default(), lists: RefCell::default() }
    }

    /// What was found.
    pub fn close(self) -> (Vec<Problem>, Lists) {
        (self.problems.into_inner(), self.lists.into_inner())
    }

    /// Notes a problem.
    pub fn note(&self, severity: Severity, origin: &Origin, at: Pos, message: String) {
        self.problems.borrow_mut().push(origin.place(self.file, at).problem(severity, origin.told(message)));
    }

    /// How many errors were noted so far.
    pub fn errors(&self) -> usize {
        self.problems.borrow().iter().filter(|problem| problem.severity == Severity::Error).count()
    }

    /// Notes which items of a list were read, and whether there was an error since there were `errors`.
    pub(crate) fn listed(&self, name: String, items: Vec<usize>, errors: usize) {
        let clean = self.errors() == errors;
        self.lists.borrow_mut().0.insert(name, List { items, clean });
    }

    /// Leaves only those items of a list that are `kept`.
    pub(crate) fn unlist(&self, name: &str, kept: &[bool]) {
        if let Some(list) = self.lists.borrow_mut().0.get_mut(name) {
            let mut kept = kept.iter();
            list.items.retain(|_| kept.next().is_none_or(|kept| *kept));
        }
    }
}

/// A table being read.
pub struct Section<'a> {
    pub context: &'a Context<'a>,
    /// `server.tls`, `backends[0]`; empty at the top.
    pub path: String,
    node: &'a Node,
    /// How many errors there were before it.
    errors: usize,
}

impl<'a> Section<'a> {
    /// Opens `node`, which must be a table; anything else is reported and read as an empty one.
    pub fn open(context: &'a Context<'a>, node: &'a Node, path: String) -> Self {
        let section = Self::within(context, node, path);
        if section.mistaken() {
            let found = kind(node);
            section.error(node, format!("`{}` must be a section with keys, found {found}", section.path));
        }
        section
    }

    /// Likewise without a word, for what was opened before.
    fn within(context: &'a Context<'a>, node: &'a Node, path: String) -> Self {
        Self { context, path, node, errors: context.errors() }
    }

    /// Something else stands in its place, which was reported; no key is missing then.
    fn mistaken(&self) -> bool {
        !matches!(self.node.kind, Kind::Table(_)) && !nothing(self.node)
    }

    /// The section under `key` once more, for what spans sections.
    pub fn child(&self, key: &str) -> Option<Section<'a>> {
        let node = self.node(key).filter(|node| !nothing(node))?;
        Some(Section::within(self.context, node, self.name(key)))
    }

    /// What is written under `key`; `None` when that is nothing.
    pub fn node(&self, key: &str) -> Option<&'a Node> {
        self.written(key).filter(|node| !node.absent())
    }

    /// The value of `key`.
    pub fn at(&self, key: &str) -> Option<At<'_, 'a>> {
        Some(At { section: self, name: self.name(key), node: self.node(key)?, secret: is_secret(key) })
    }

    /// Whether there is a value under `key`.
    pub fn has(&self, key: &str) -> bool {
        self.node(key).is_some_and(|node| !nothing(node))
    }

    /// Whether this word is under `key`.
    pub fn says(&self, key: &str, word: &str) -> bool {
        matches!(self.node(key), Some(Node { kind: Kind::Text(text), .. }) if text == word)
    }

    /// What is written under `key`, even an empty value.
    pub fn written(&self, key: &str) -> Option<&'a Node> {
        self.node.member(key)
    }

    /// The items of a list that could be read, in the order of its settings.
    pub fn items(&self, key: &str) -> Vec<At<'_, 'a>> {
        let (lists, list, secret) = (self.context.lists.borrow(), self.name(key), is_secret(key));
        let Some(Kind::List(nodes)) = self.node(key).map(|node| &node.kind) else { return Vec::new() };
        let item = |n| Some(At { section: self, name: format!("{list}[{n}]"), node: nodes.get(n)?, secret });
        (0..).map_while(|n| lists.written(&list, n)).filter_map(item).collect()
    }

    /// The items of a list of sections, likewise.
    pub fn sections(&self, key: &str) -> Vec<Section<'a>> {
        let open = |at: At<'_, 'a>| Section::within(self.context, at.node, at.name);
        self.items(key).into_iter().map(open).collect()
    }

    /// Notes where two items of the list `key` have the same `member`.
    pub fn distinct<'v>(&self, key: &str, member: &str, values: impl Iterator<Item = &'v str>) {
        let mut seen: HashMap<&str, String> = HashMap::new();
        for (value, item) in values.zip(self.sections(key)).filter(|(value, _)| !value.is_empty()) {
            match seen.get(value) {
                Some(first) => item.error_of(
                    member,
                    format_args!("is the {member} of `{first}` already, {value:?}: {member}s must differ"),
                ),
                None => drop(seen.insert(value, item.path)),
            }
        }
    }

    /// Whether no error was noted in this list. What is wrong was read as if it were not there.
    pub fn clean(&self, key: &str) -> bool {
        self.context.lists.borrow().0.get(&self.name(key)).is_none_or(|list| list.clean)
    }

    /// Whether no error was noted in this section since it was opened.
    pub fn unharmed(&self) -> bool {
        self.context.errors() == self.errors
    }

    /// Every key and value, for tables whose keys are free.
    pub fn free(&self) -> &'a [(String, Node)] {
        match &self.node.kind {
            Kind::Table(entries) => entries,
            _ => &[],
        }
    }

    /// `server.port`.
    pub fn name(&self, key: impl Display) -> String {
        if self.path.is_empty() { key.to_string() } else { format!("{}.{key}", self.path) }
    }

    /// The value of `key`; `None` when it is not written, or wrong, which was noted.
    pub(crate) fn value<T>(
        &self,
        key: &str,
        shape: &Shape,
        read: &dyn Fn(&At<'_, '_>) -> Option<T>,
    ) -> Option<T> {
        let written = self.written(key);
        let broken = written.is_some_and(Node::broken);
        if let Some(hint) = shape.required
            && written.is_none_or(Node::absent)
            && !self.mistaken()
            && !broken
        {
            self.error_here(format!("`{}` is required: {hint}", self.name(key)));
        }
        if let Some(what) = shape.braces
            && let Some(node) = written.filter(|node| nothing(node) && !broken)
        {
            self.error_at_key(node, format!("`{}` is empty: {what}", self.name(key)));
        }
        let node = self.node(key).filter(|node| !node.broken())?;
        let secret = shape.secret || is_secret(key);
        read(&At { section: self, name: self.name(key), node, secret })
    }

    /// Notes an error at the value of `key`, of which `what` is said.
    pub fn error_of(&self, key: &str, what: impl Display) {
        self.at(key).iter().for_each(|at| at.error(&what));
    }

    /// Notes a warning at the value of `key`, of which `what` is said.
    pub fn warning_of(&self, key: &str, what: impl Display) {
        self.at(key).iter().for_each(|at| at.warn(&what));
    }

    /// Notes an error at the value of `node`.
    pub fn error(&self, node: &Node, message: String) {
        self.note(Severity::Error, node, message);
    }

    /// Notes a warning at the value of `node`.
    pub fn warning(&self, node: &Node, message: String) {
        self.note(Severity::Warning, node, message);
    }

    pub(crate) fn note(&self, severity: Severity, node: &Node, message: String) {
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
        self.error_at_key(self.node, message);
    }

    /// Notes a warning at the section itself, of which `what` is said.
    pub fn warning_here(&self, what: impl Display) {
        let message = format!("`{}` {what}", self.path);
        self.context.note(Severity::Warning, &self.node.origin, self.node.origin.key, message);
    }

    /// Refuses the keys that a later release brings: a gateway that ignored one would run unguarded.
    pub(crate) fn refuse(&self, later: &[(&'static str, &str)]) {
        let what = if self.path.is_empty() { "section" } else { "key" };
        for (key, with) in later {
            let Some(node) = self.written(key) else { continue };
            let told = format!("is not available in this version: remove the {what}");
            let name = self.name(key);
            self.error_at_key(node, format!("`{name}` {told} (it arrives with {with}; see CHANGELOG.md)"));
        }
    }

    /// Reports the keys that are neither `known` nor known for `later`.
    pub(crate) fn finish(&self, mut known: Vec<&'static str>, later: &[(&'static str, &str)]) {
        known.sort_unstable();
        let is_known = |key: &str| known.contains(&key) || later.iter().any(|(name, _)| *name == key);
        for (key, node) in self.free().iter().filter(|(key, _)| !is_known(key)) {
            if self.path.is_empty() && key == "$schema" {
                continue; // how a JSON file names its schema to an editor
            }
            let (name, hint) = match scalar::invisible(key) {
                Some(found) => {
                    (key.escape_debug().to_string(), format!("it holds {found}; write it anew, by hand"))
                }
                None => {
                    let otherwise = format!("remove it, or use one of {}", known.join(", "));
                    (key.clone(), suggest::hint(key, known.iter().copied(), &otherwise))
                }
            };
            self.error_at_key(node, format!("unknown key `{}`: {hint}", self.name(name)));
        }
    }
}

impl Origin {
    /// Where `at` is, in `file` where it is of the file.
    pub fn place(&self, file: &str, at: Pos) -> Place {
        match &self.layer {
            Layer::Default => Place::start(file),
            Layer::File => at.place(file),
            Layer::Environment(_) => Place::start("environment"),
            Layer::Set(_) => Place::start("--set"),
        }
    }

    /// `message` with who set the value, where that is no place.
    pub fn told(&self, message: String) -> String {
        match &self.layer {
            Layer::Environment(name) => format!("{message} (set by {name})"),
            Layer::Set(key) => format!("{message} (set by --set {key})"),
            Layer::Default | Layer::File => message,
        }
    }
}

/// Nothing usable: empty, broken, or a text layer's way to say nothing.
pub fn nothing(node: &Node) -> bool {
    match &node.kind {
        Kind::Null => true,
        Kind::Text(text) if loose(node) => matches!(text.trim(), "" | "~" | "null"),
        _ => false,
    }
}

/// Whether a text may stand for a number or a boolean.
pub fn loose(node: &Node) -> bool {
    matches!(node.origin.given, Given::Loose | Given::Filled { whole: true })
}

/// What there is in place of a section or a list. A text is not shown: who writes the URL of a webhook there has written a secret.
pub fn kind(node: &Node) -> String {
    match &node.kind {
        Kind::Text(_) => "text".to_owned(),
        _ => shown(node, false),
    }
}

/// A value for a message. Secrets and what came through `${…}` are not shown.
pub fn shown(node: &Node, secret: bool) -> String {
    match &node.kind {
        Kind::Null => "nothing".to_owned(),
        Kind::List(_) => "a list".to_owned(),
        Kind::Table(_) => "a section".to_owned(),
        _ if secret => "a value that is not shown".to_owned(),
        _ if matches!(node.origin.given, Given::Filled { .. }) => "the value put in for `${…}`".to_owned(),
        Kind::Bool(b) => format!("`{b}`"),
        Kind::Int(n) => format!("the number {n}"),
        Kind::Float(x) => format!("the number {x:?}"),
        Kind::Text(text) => quoted(text),
    }
}

/// A text for a message: one line, of bounded length, without the userinfo of a URL.
pub fn quoted(text: &str) -> String {
    let clean = crate::secrets::without_anything_before_an_at(text);
    let text = clean.as_deref().unwrap_or(text);
    let mut short: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    // escape_debug also escapes quotes, which read better as they are.
    short = short.replace("\\\"", "\"").replace("\\'", "'");
    if text.chars().nth(80).is_some() {
        short.push('…');
    }
    format!("`{short}`")
}
