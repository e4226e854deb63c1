//! TOML with positions. The `toml` crate refuses duplicate keys and bounds the nesting itself.

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

fn table(table: &DeTable<'_>, lines: &Lines) -> Kind {
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

fn node(value: &Spanned<DeValue<'_>>, lines: &Lines) -> Node {
    let text = |text: &str| Kind::Text(text.to_owned());
    let kind = match value.get_ref() {
        DeValue::String(string) => text(string),
        DeValue::Integer(n) => {
            i128::from_str_radix(n.as_str(), n.radix()).map_or_else(|_| text(n.as_str()), Kind::Int)
        }
        DeValue::Float(x) => x.as_str().parse().map_or_else(|_| text(x.as_str()), Kind::Float),
        DeValue::Boolean(b) => Kind::Bool(*b),
        DeValue::Datetime(date) => Kind::Text(date.to_string()),
        DeValue::Array(items) => Kind::List(items.iter().map(|item| node(item, lines)).collect()),
        DeValue::Table(entries) => table(entries, lines),
    };
    Node::at(kind, lines.pos(value.span().start))
}

/// Where lines start, and which bytes start no character: offsets come in no order, and one line may be all of the text.
struct Lines {
    starts: Vec<usize>,
    inside: Vec<usize>,
}

impl Lines {
    fn new(text: &str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { starts, inside: (0..text.len()).filter(|at| !text.is_char_boundary(*at)).collect() }
    }

    /// Where the byte at `offset` is.
    fn pos(&self, offset: usize) -> Pos {
        let before = |places: &[usize], end: usize| places.partition_point(|at| *at < end);
        let line = before(&self.starts, offset + 1);
        let start = self.starts[line - 1];
        let inside = before(&self.inside, offset) - before(&self.inside, start);
        Pos { line, column: offset - start - inside + 1 }
    }
}
