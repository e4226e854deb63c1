//! YAML 1.2 from saphyr's events.
//!
//! Events rather than saphyr's own tree, because that tree silently keeps the last of two equal keys and
//! expands aliases without bound.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::duplicate;
use aegis_schema::problem::Problem;
use aegis_schema::tree::{Kind, MAX_DEPTH, Node, Pos};
use aegis_schema::{ensure, scalar};

/// Nodes that aliases may add in total, against exponential growth ("billion laughs").
const MAX_EXPANDED: usize = 100_000;

/// Parses one document; `None` after a problem that leaves no usable tree.
pub(super) fn parse(text: &str, file: &str, problems: &mut Vec<Problem>) -> Option<Node> {
    let mut builder =
        Builder { file, problems, stack: Vec::new(), anchors: HashMap::new(), expanded: 0, root: None };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let outcome = match event {
            Ok((event, span)) => builder.event(event, pos(&span.start)),
            Err(error) => Err((pos(error.marker()), syntax(error.info(), text, error.marker().line()))),
        };
        if let Err((at, message)) = outcome {
            builder.problems.push(at.place(file).error(message));
            return None;
        }
    }
    Some(builder.root.unwrap_or_else(|| Node::at(Kind::Null, Pos::START)))
}

/// A problem that ends the parse.
type Fatal = (Pos, String);

/// A list or a table that is still open.
struct Frame {
    node: Node,
    anchor: usize,
    /// Keys of the table, with their lines.
    seen: HashMap<String, usize>,
    /// The one whose value comes next.
    key: Option<(String, Pos)>,
}

struct Builder<'a> {
    file: &'a str,
    problems: &'a mut Vec<Problem>,
    stack: Vec<Frame>,
    /// Finished anchored nodes; one that is missing is still being read.
    anchors: HashMap<usize, Node>,
    expanded: usize,
    root: Option<Node>,
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, at: Pos) -> Result<(), Fatal> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                if self.expects_key() {
                    if text == "<<" && style == ScalarStyle::Plain {
                        let why = "merge keys (`<<`) are not part of YAML 1.2: repeat the keys, \
                                   or use an alias for a whole value";
                        return Err((at, why.to_owned()));
                    }
                    return self.key(text.into_owned(), at);
                }
                let nothing =
                    text.is_empty() && style == ScalarStyle::Plain && (anchor != 0 || tag.is_some());
                // Behind an anchor or a tag, nothing is where the next thing is.
                let at = match self.stack.last() {
                    Some(Frame { key: Some((_, key)), .. }) if nothing => *key,
                    _ => at,
                };
                if nothing && anchor != 0 {
                    let what =
                        "a value that begins with `&` names what follows, and nothing does: put it in quotes";
                    self.problems.push(at.place(self.file).error(what));
                }
                let kind = self.scalar(&text, style, tag.as_deref(), at);
                self.finish(Node::at(kind, at), anchor)
            }
            Event::SequenceStart(anchor, _) => self.open(Kind::List(Vec::new()), anchor, at),
            Event::MappingStart(anchor, _) => self.open(Kind::Table(Vec::new()), anchor, at),
            Event::SequenceEnd | Event::MappingEnd => match self.stack.pop() {
                Some(Frame { node, anchor, .. }) => self.finish(node, anchor),
                None => Ok(()),
            },
            Event::Alias(id) => self.alias(id, at),
            Event::DocumentStart(_) if self.root.is_some() => {
                Err((at, "a second document starts here: keep one document in the file".to_owned()))
            }
            _ => Ok(()),
        }
    }

    fn expects_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame { node: Node { kind: Kind::Table(_), .. }, key: None, .. }))
    }

    fn open(&mut self, kind: Kind, anchor: usize, at: Pos) -> Result<(), Fatal> {
        let shallow = self.stack.len() < MAX_DEPTH;
        ensure!(!self.expects_key(), (at, "a key must be plain text, not a list or a section".to_owned()));
        ensure!(shallow, (at, format!("nested deeper than {MAX_DEPTH} levels: flatten it")));
        self.stack.push(Frame { node: Node::at(kind, at), anchor, seen: HashMap::new(), key: None });
        Ok(())
    }

    fn key(&mut self, text: String, at: Pos) -> Result<(), Fatal> {
        if let Some(Frame { seen, key, .. }) = self.stack.last_mut() {
            if let Some(first) = seen.get(&text) {
                self.problems.push(at.place(self.file).error(duplicate(&text, *first)));
            } else {
                seen.insert(text.clone(), at.line);
            }
            *key = Some((text, at));
        }
        Ok(())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, at: Pos) -> Kind {
        match tag {
            Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Kind::Text(text.to_owned()),
            Some(tag) if tag.is_yaml_core_schema() => scalar::resolve(text),
            Some(tag) => {
                let what = format!(
                    "the tag `{tag}` means nothing here: put a value that begins with `!` in quotes, or remove it"
                );
                self.problems.push(at.place(self.file).error(what));
                Kind::Text(text.to_owned())
            }
            None if style == ScalarStyle::Plain => scalar::resolve(text),
            None => Kind::Text(text.to_owned()),
        }
    }

    fn alias(&mut self, id: usize, at: Pos) -> Result<(), Fatal> {
        const INSIDE: &str = "this alias stands inside the value it refers to: write the value out";
        const MUCH: &str = "the aliases add up to too much: write fewer, or the values themselves";
        let node = self.anchors.get(&id).cloned().ok_or_else(|| (at, INSIDE.to_owned()))?;
        let (count, depth) = node.measure();
        self.expanded += count;
        ensure!(
            self.expanded <= MAX_EXPANDED && self.stack.len() + depth <= MAX_DEPTH,
            (at, MUCH.to_owned())
        );
        if !self.expects_key() {
            return self.finish(node, 0);
        }
        match node.kind {
            Kind::Text(text) => self.key(text, at),
            _ => Err((at, "a key must be plain text: write it out instead of this alias".to_owned())),
        }
    }

    /// Puts a finished value where it belongs.
    fn finish(&mut self, mut node: Node, anchor: usize) -> Result<(), Fatal> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(Frame { node: around, key, .. }) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match (&mut around.kind, key.take()) {
            (Kind::Table(entries), Some((name, at))) => {
                node.origin.key = at;
                entries.push((name, node));
            }
            (Kind::List(items), _) => items.push(node),
            _ => {}
        }
        Ok(())
    }
}

fn pos(marker: &Marker) -> Pos {
    Pos { line: marker.line().max(1), column: marker.col() + 1 }
}

/// saphyr's words, with the hint for the two slips that explain most of them.
fn syntax(info: &str, text: &str, line: usize) -> String {
    let source = text.lines().nth(line.saturating_sub(1)).unwrap_or("");
    let quotes = |what: &str| format!("not valid YAML: {what}: put the value in quotes");
    if info.contains("unknown anchor") {
        return quotes("a value that begins with `*` refers to another one, and there is none");
    }
    if let Some(c) = ["%", "@", "`"].iter().find(|c| info == format!("unexpected character: `{c}'")) {
        return quotes(&format!("no value begins with `{c}`"));
    }
    if info.contains("mapping values are not allowed") && source.matches(": ").count() > 1 {
        return quotes("there is another `: ` in a value");
    }
    let hint = if source.contains("${") {
        "; put a value with `${…}` inside `{ }` or `[ ]` in quotes"
    } else if source.contains('\t') {
        "; indent with spaces, not tabs"
    } else if info.contains("parsing a flow") {
        "; put a value with `,`, `[`, `]`, `{` or `}` in quotes"
    } else if info.contains("flow construct") {
        "; indent every line inside `[ ]` or `{ }` further than the key before it"
    } else {
        "; check the indentation and the punctuation around here"
    };
    format!("not valid YAML: {info}{hint}")
}
