//! `${NAME}` and `${NAME:-default}` in the text values of the file.
//!
//! As in a shell, the default also stands in for an empty variable, and may itself hold `${…}`. `$${` is a
//! literal `${`. Keys are not touched, and neither is anything from the environment or the command line.

use super::env::Env;
use super::problem::Problem;
use super::tree::{Given, Kind, Node};

/// Deepest `${A:-${B:-…}}`.
const MAX_NESTING: usize = 8;

/// Fills in every text of `node`; a text that cannot be filled in is reported and marked broken.
pub(crate) fn fill(node: &mut Node, env: &Env, file: &str, problems: &mut Vec<Problem>) {
    match &mut node.kind {
        Kind::List(items) => items.iter_mut().for_each(|item| fill(item, env, file, problems)),
        Kind::Table(entries) => entries.iter_mut().for_each(|(_, value)| fill(value, env, file, problems)),
        Kind::Text(text) if text.contains("${") => {
            let mut expansion = Expansion { env, rest: text, errors: Vec::new(), filled: false };
            let result = expansion.run(0);
            let (errors, filled) = (expansion.errors, expansion.filled);
            if !errors.is_empty() {
                let place = node.origin.value.place(file);
                problems.extend(errors.into_iter().map(|message| place.error(message)));
                node.kind = Kind::Null;
                node.origin.given = Given::Broken;
                return;
            }
            if filled {
                node.origin.given = Given::Filled { whole: is_whole(text) };
            }
            *text = result;
        }
        _ => {}
    }
}

/// Whether the text is one `${…}` and nothing else.
fn is_whole(text: &str) -> bool {
    let mut depth = 0_usize;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '$' if chars.peek().is_some_and(|(_, next)| *next == '{') => {
                chars.next();
                depth += 1;
            }
            '}' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    return text.starts_with("${") && at + 1 == text.len();
                }
            }
            _ => {}
        }
    }
    false
}

struct Expansion<'a> {
    env: &'a Env,
    rest: &'a str,
    errors: Vec<String>,
    /// Whether anything but `$${` was replaced.
    filled: bool,
}

impl<'a> Expansion<'a> {
    /// Expands up to the end, or inside `${…}` up to its `}`.
    fn run(&mut self, nesting: usize) -> String {
        let mut out = String::new();
        while let Some(c) = self.rest.chars().next() {
            if let Some(rest) = self.rest.strip_prefix("$${") {
                out.push_str("${");
                self.rest = rest;
            } else if let Some(rest) = self.rest.strip_prefix("${") {
                self.rest = rest;
                out.push_str(&self.variable(nesting));
            } else if c == '}' && nesting > 0 {
                return out;
            } else {
                out.push(c);
                self.rest = self.rest.get(c.len_utf8()..).unwrap_or_default();
            }
        }
        out
    }

    /// After `${`: name, default, `}`.
    fn variable(&mut self, nesting: usize) -> String {
        self.filled = true;
        let end =
            self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if nesting >= MAX_NESTING {
            self.errors.push(format!("`${{…}}` is nested deeper than {MAX_NESTING} levels: simplify it"));
            self.rest = "";
            return String::new();
        }
        let value = self.env.get(name);
        if let Some(rest) = rest.strip_prefix(":-") {
            self.rest = rest;
            // The default is read even when it is not needed, to find its end; its own missing variables then
            // do not matter.
            let before = self.errors.len();
            let default = self.run(nesting + 1);
            let value = value.filter(|value| !value.is_empty());
            if value.is_some() {
                self.errors.truncate(before);
            }
            self.close();
            return value.map_or(default, str::to_owned);
        }
        self.rest = rest;
        if self.rest.is_empty() {
            self.close();
        } else if !self.rest.starts_with('}')
            || name.is_empty()
            || name.starts_with(|c: char| c.is_ascii_digit())
        {
            let what = "`${` must be followed by a variable's name (letters, digits, `_`) and `}` or \
                        `:-default}`; \
                        write `$${` for a literal `${`";
            self.errors.push(what.to_owned());
            self.rest = self.rest.split_once('}').map_or("", |(_, rest)| rest);
        } else {
            self.close();
            match value {
                Some(value) => return value.to_owned(),
                None => self.errors.push(format!(
                    "the variable `{name}` is not set: export {name}, or give a default with \
                     `${{{name}:-default}}`"
                )),
            }
        }
        String::new()
    }

    fn close(&mut self) {
        match self.rest.strip_prefix('}') {
            Some(rest) => self.rest = rest,
            None => {
                self.errors
                    .push("`${` is never closed: add `}`, or write `$${` for a literal `${`".to_owned());
                self.rest = "";
            }
        }
    }
}
