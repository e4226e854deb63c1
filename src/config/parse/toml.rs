//! TOML with positions. The `toml` crate refuses duplicate keys and bounds the nesting itself.

use std::cell::Cell;

use aegis_schema::problem::Problem;
use aegis_schema::tree::{Kind, Node, Pos};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Parses a TOML text; `None` after syntax errors, all of which are reported.
pub(super) fn parse(text: &str, file: &str, problems: &mut Vec<Problem>) -> Option<Node> {
    let lines = Lines::new(text);
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().map_or(Pos::START, |span| lines.pos(span.start));
        let info = error.message().lines().collect::<Vec<_>>().join(" ");
        problems.push(at.place(file).error(format!("not valid TOML: {info}; check the syntax around here")));
    }
    errors.is_empty().then(|| Node::at(table(root.get_ref(), &lines), Pos::START))
}

fn table(table: &DeTable<'_>, lines: &Lines<'_>) -> Kind {
    let mut entries: Vec<(String, Node)> = table
        .iter()
        .map(|(key, value)| {
            let mut node = node(value, lines);
            node.origin.key = lines.pos(key.span().start);
            (key.get_ref().to_string(), node)
        })
        .collect();
    entries.sort_by_key(|(_, node)| (node.origin.key.line, node.origin.key.column));
    Kind::Table(entries)
}

fn node(value: &Spanned<DeValue<'_>>, lines: &Lines<'_>) -> Node {
    let kind = match value.get_ref() {
        DeValue::String(text) => Kind::Text(text.to_string()),
        DeValue::Integer(n) => match i128::from_str_radix(n.as_str(), n.radix()) {
            Ok(n) => Kind::Int(n),
            Err(_) => Kind::Text(n.as_str().to_owned()),
        },
        DeValue::Float(x) => {
            x.as_str().parse().map_or_else(|_| Kind::Text(x.as_str().to_owned()), Kind::Float)
        }
        DeValue::Boolean(b) => Kind::Bool(*b),
        DeValue::Datetime(date) => Kind::Text(date.to_string()),
        DeValue::Array(items) => Kind::List(items.iter().map(|item| node(item, lines)).collect()),
        DeValue::Table(entries) => table(entries, lines),
    };
    Node::at(kind, lines.pos(value.span().start))
}

/// The line starts of a text.
struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
    /// The last answer: (line index, offset, column). A minified file is one long line, and counting its
    /// columns from the start each time would be quadratic.
    last: Cell<(usize, usize, usize)>,
}

impl<'t> Lines<'t> {
    /// Finds the lines of `text`.
    fn new(text: &'t str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts, last: Cell::new((0, 0, 1)) }
    }

    /// Where the byte at `offset` is.
    fn pos(&self, offset: usize) -> Pos {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= offset).saturating_sub(1);
        let start = self.starts.get(line).copied().unwrap_or(0);
        let (last_line, last_offset, last_column) = self.last.get();
        let (from, base) =
            if last_line == line && last_offset <= offset { (last_offset, last_column) } else { (start, 1) };
        let column = base + self.text.get(from..offset).map_or(0, |part| part.chars().count());
        self.last.set((line, offset, column));
        Pos { line: line + 1, column }
    }
}
