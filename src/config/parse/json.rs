//! JSON with positions.
//!
//! serde_json judges the text first, so that the walk that follows only has to find where things are.

use std::collections::HashMap;

use super::duplicate;
use super::lines::Lines;
use crate::config::problem::{Place, Problem};
use crate::config::scalar;
use crate::config::tree::{Kind, MAX_DEPTH, Node, Pos};

/// Parses a JSON text; `None` after a syntax error.
pub(super) fn parse(text: &str, file: &str, problems: &mut Vec<Problem>) -> Option<Node> {
    if let Err(error) = serde_json::from_str::<serde_json::Value>(text) {
        let place = Place { file: file.to_owned(), line: error.line().max(1), column: error.column().max(1) };
        // serde_json repeats the position at the end of its message.
        let info = error.to_string();
        let info = info.split(" at line ").next().unwrap_or_default();
        problems.push(place.error(format!("not valid JSON: {info}; check the punctuation around here")));
        return None;
    }
    let mut walk = Walk { text, at: 0, lines: Lines::new(text), file, problems };
    match walk.value(0) {
        Ok(node) => Some(node),
        Err(at) => {
            let message = format!("nested deeper than {MAX_DEPTH} levels, or not valid JSON: flatten it");
            problems.push(at.place(file).error(message));
            None
        }
    }
}

struct Walk<'a> {
    text: &'a str,
    at: usize,
    lines: Lines<'a>,
    file: &'a str,
    problems: &'a mut Vec<Problem>,
}

impl Walk<'_> {
    /// Skips white space and the punctuation between values, and says what comes.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let skip = rest.iter().position(|b| !matches!(b, b' ' | b'\t' | b'\n' | b'\r' | b',' | b':'))?;
        self.at += skip;
        rest.get(skip).copied()
    }

    fn value(&mut self, depth: usize) -> Result<Node, Pos> {
        let first = self.peek();
        let at = self.lines.pos(self.at);
        if depth >= MAX_DEPTH {
            return Err(at);
        }
        let kind = match first {
            Some(b'{') => self.table(depth, at)?,
            Some(b'[') => {
                self.at += 1;
                let mut items = Vec::new();
                while !matches!(self.peek(), Some(b']') | None) {
                    items.push(self.value(depth + 1)?);
                }
                self.at += 1;
                Kind::List(items)
            }
            Some(b'"') => Kind::Text(self.string().ok_or(at)?),
            Some(_) => scalar::resolve(self.bare()),
            None => return Err(at),
        };
        Ok(Node::at(kind, at))
    }

    fn table(&mut self, depth: usize, start: Pos) -> Result<Kind, Pos> {
        self.at += 1;
        let mut entries = Vec::new();
        let mut seen: HashMap<String, usize> = HashMap::new();
        while !matches!(self.peek(), Some(b'}') | None) {
            let at = self.lines.pos(self.at);
            let key = self.string().ok_or(start)?;
            if let Some(first) = seen.insert(key.clone(), at.line) {
                self.problems.push(at.place(self.file).error(duplicate(&key, first)));
            }
            let mut node = self.value(depth + 1)?;
            node.origin.key = at;
            entries.push((key, node));
        }
        self.at += 1;
        Ok(Kind::Table(entries))
    }

    /// A quoted string from here.
    fn string(&mut self) -> Option<String> {
        let rest = self.text.get(self.at..)?;
        let mut escaped = false;
        let end = rest.bytes().skip(1).position(|b| {
            let closes = b == b'"' && !escaped;
            escaped = b == b'\\' && !escaped;
            closes
        })? + 2;
        self.at += end;
        serde_json::from_str(rest.get(..end)?).ok()
    }

    /// A number, `true`, `false` or `null` from here.
    fn bare(&mut self) -> &str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let end = rest.find([',', ']', '}', ' ', '\t', '\n', '\r']).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }
}
