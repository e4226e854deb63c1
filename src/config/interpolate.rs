//! `${NAME}`, `${file:PATH}` and either with `:-default` in the text values of the file.
//!
//! As in a shell, the default also stands in for what is empty; it may itself hold `${…}`, and so may the path. `$${` is
//! a literal `${`. Keys are not touched, and neither is anything from the environment or the command line.

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::env::Env;
use aegis_schema::form::regular;
use aegis_schema::problem::Problem;
use aegis_schema::tree::{Given, Kind, Node};

/// Deepest `${A:-${B:-…}}`.
const MAX_NESTING: usize = 8;

/// Largest file whose content is a value: a secret, or a short list of something. More is the wrong file.
const MAX_FILE: u64 = 64 << 10;

/// Fills in every text of `node`; a text that cannot be filled in is reported and marked broken. Every file that is named
/// comes into `files`, whether it is there or not.
pub(crate) fn fill(
    node: &mut Node,
    env: &Env,
    file: &str,
    problems: &mut Vec<Problem>,
    files: &mut BTreeSet<PathBuf>,
) {
    match &mut node.kind {
        Kind::List(items) => items.iter_mut().for_each(|item| fill(item, env, file, problems, files)),
        Kind::Table(entries) => {
            entries.iter_mut().for_each(|(_, value)| fill(value, env, file, problems, files));
        }
        Kind::Text(text) if text.contains("${") => {
            let mut expansion = Expansion { env, files, rest: text, errors: Vec::new(), filled: None };
            let result = expansion.run(0, &[]);
            let Expansion { errors, filled, .. } = expansion;
            if errors.is_empty() {
                node.origin.given = filled.unwrap_or(node.origin.given);
                *text = result;
                return;
            }
            let place = node.origin.value.place(file);
            problems.extend(errors.into_iter().map(|message| place.error(message)));
            node.kind = Kind::Null;
            node.origin.given = Given::Broken;
        }
        _ => {}
    }
}

struct Expansion<'a> {
    env: &'a Env,
    files: &'a mut BTreeSet<PathBuf>,
    rest: &'a str,
    errors: Vec<String>,
    /// As what, where anything but `$${` was replaced.
    filled: Option<Given>,
}

impl Expansion<'_> {
    /// Expands up to the end, or inside `${…}` up to what `ends` its part.
    fn run(&mut self, nesting: usize, ends: &[&str]) -> String {
        let mut out = String::new();
        while let Some(c) = self.rest.chars().next() {
            if let Some(rest) = self.rest.strip_prefix("$${") {
                out.push_str("${");
                self.rest = rest;
            } else if let Some(rest) = self.rest.strip_prefix("${") {
                self.rest = rest;
                let first = nesting == 0 && out.is_empty() && self.filled.is_none();
                let value = self.variable(nesting);
                let whole = first && self.rest.is_empty();
                self.filled = Some(Given::Filled { whole });
                out.push_str(&value);
            } else if ends.iter().any(|end| self.rest.starts_with(end)) {
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
        if nesting >= MAX_NESTING {
            self.errors.push(format!("`${{…}}` is nested deeper than {MAX_NESTING} levels: simplify it"));
            self.rest = "";
            return String::new();
        }
        if let Some(path) = self.rest.strip_prefix("file:").filter(|rest| !rest.starts_with('-')) {
            self.rest = path;
            return self.file(nesting);
        }
        let end =
            self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        let value = self.env.get(name).map(|value| {
            value.unwrap_or_else(|why| {
                self.errors.push(format!("the variable `{name}` {why}"));
                ""
            })
        });
        if let Some(rest) = rest.strip_prefix(":-") {
            self.rest = rest;
            return self.or_default(value.map(str::to_owned), nesting);
        }
        self.rest = rest;
        if self.rest.is_empty() {
            self.close();
        } else if !self.rest.starts_with('}')
            || name.is_empty()
            || name.starts_with(|c: char| c.is_ascii_digit())
        {
            let what = "`${` must be followed by a variable's name (letters, digits, `_`) or by `file:` and a path, \
                        then `}` or `:-default}`; write `$${` for a literal `${`";
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

    /// After `:-`: the value, or what follows where there is none, and `}`.
    fn or_default(&mut self, value: Option<String>, nesting: usize) -> String {
        // The default is read even when it is not needed, to find its end; its own missing variables then do not matter.
        let before = self.errors.len();
        let default = self.run(nesting + 1, &["}"]);
        let value = value.filter(|value| !value.is_empty());
        if value.is_some() {
            self.errors.truncate(before);
        }
        self.close();
        value.unwrap_or(default)
    }

    /// After `${file:`: path, default, `}`.
    fn file(&mut self, nesting: usize) -> String {
        let (from, before) = (self.rest, self.errors.len());
        let path = self.run(nesting + 1, &["}", ":-"]);
        // As it is written: what a variable has put into it may be meant for another place.
        let written = from.get(..from.len() - self.rest.len()).unwrap_or_default();
        let found = match self.errors.len() > before {
            true => Ok(Some(String::new())),
            false if path.is_empty() => Err("a path is missing: write `${file:PATH}`".to_owned()),
            false => {
                self.files.insert(PathBuf::from(&path));
                content(Path::new(&path)).map_err(|why| format!("`${{file:{written}}}`: {why}"))
            }
        };
        if let Some(rest) = self.rest.strip_prefix(":-") {
            self.rest = rest;
            let value = found.map_err(|why| self.errors.push(why)).unwrap_or_default();
            return self.or_default(value, nesting);
        }
        self.close();
        let missing = || {
            format!(
                "`${{file:{written}}}`: there is no such file: check the path, or give a default with \
                 `${{file:{written}:-default}}`"
            )
        };
        let content = found.and_then(|content| content.ok_or_else(missing));
        content.map_err(|why| self.errors.push(why)).unwrap_or_default()
    }

    fn close(&mut self) {
        let what = "`${` is never closed: add `}`, or write `$${` for a literal `${`";
        self.rest = self.rest.strip_prefix('}').unwrap_or_else(|| {
            self.errors.push(what.to_owned());
            ""
        });
    }
}

/// The text of a file without its last line break; `None` where there is none, or what keeps it from being a value.
fn content(path: &Path) -> Result<Option<String>, String> {
    let unreadable =
        |error: io::Error| format!("cannot read the file: {error}; check its kind and permissions");
    let file = match regular(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        file => file.map_err(unreadable)?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("the file is larger than {} KiB: is it the right one?", MAX_FILE >> 10));
    }
    // UTF-16 without a mark is UTF-8 with NULs.
    let text = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
    let text = text.ok_or("the file is not text in UTF-8: save it so")?;
    let line = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    Ok(Some(line.unwrap_or(&text).to_owned()))
}
