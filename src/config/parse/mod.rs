//! The file's text into a tree with positions: YAML, JSON or TOML by the extension.
//!
//! Parsers report a syntax error and stop, report duplicate keys and go on, and bound nesting and size, so
//! that no file can exhaust stack or memory.

mod json;
mod toml;
mod yaml;

use std::path::Path;

use aegis_schema::problem::Problem;
use aegis_schema::tree::{Kind, Node, Pos};

/// Largest file read: far beyond any real configuration, far below what hurts.
pub(crate) const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// Parses `text` in the format of `path`'s extension (YAML where it is neither `json` nor `toml`). `None`
/// after a syntax error; an empty text is an empty table.
pub(crate) fn parse(path: &Path, text: &str, file: &str, problems: &mut Vec<Problem>) -> Option<Node> {
    // Editors on Windows still write a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Some(Node::at(Kind::Table(Vec::new()), Pos::START));
    }
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("").to_ascii_lowercase();
    let root = match extension.as_str() {
        "json" => json::parse(text, file, problems),
        "toml" => toml::parse(text, file, problems),
        _ => yaml::parse(text, file, problems),
    }?;
    match root.kind {
        Kind::Table(_) => Some(root),
        Kind::Null => Some(Node { kind: Kind::Table(Vec::new()), ..root }),
        _ => {
            let what = "the configuration must be a section with keys such as `server:` and `backends:`";
            problems.push(root.origin.value.place(file).error(what));
            None
        }
    }
}

/// A value from the environment or the command line: a list, a section or a quoted text as YAML writes them,
/// and everything else as the bare text it is (the readers know what it is to be).
pub(crate) fn value(text: &str) -> Kind {
    let trimmed = text.trim();
    if trimmed.starts_with(['[', '{', '"', '\'']) {
        let mut problems = Vec::new();
        if let Some(node) = yaml::parse(trimmed, "", &mut problems)
            && problems.is_empty()
        {
            return node.kind;
        }
    }
    Kind::Text(text.to_owned())
}

fn duplicate(key: &str, first: usize) -> String {
    format!("the key `{key}` is written twice (first on line {first}): keep one")
}
