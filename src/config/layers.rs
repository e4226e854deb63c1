//! The two layers that are not files: `AEGIS__…` variables and `--set KEY=VALUE`.

use std::sync::Arc;

use super::env::Env;
use super::parse;
use aegis_schema::ensure;
use aegis_schema::problem::{Place, Problem};
use aegis_schema::tree::{Given, Kind, Layer, Node, Origin};

/// Prefix of the variables that are configuration.
const PREFIX: &str = "AEGIS__";

/// Largest list index that can be set, so that a slip cannot allocate a list of a million nothings.
const MAX_INDEX: usize = 9_999;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Key(String),
    Index(usize),
}

/// One value for one path.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub path: Vec<Part>,
    pub value: Node,
}

/// Every `AEGIS__SECTION__SOME_KEY=VALUE`, in order of the names.
pub(crate) fn environment(env: &Env, problems: &mut Vec<Problem>) -> Vec<Assignment> {
    let mut assignments = Vec::new();
    for (name, text) in env.starting_with(PREFIX) {
        let text = match text {
            Ok(text) => text,
            Err(why) => {
                problems.push(Place::start("environment").error(format!("{name}: {why}")));
                continue;
            }
        };
        match path(name[PREFIX.len()..].split("__").map(camel)) {
            Ok(path) => assignments.push(assign(path, text, Layer::Environment(Arc::from(name)))),
            Err(why) => problems.push(Place::start("environment").error(format!(
                "{name}: {why}; write for example AEGIS__SERVER__HEADER_TIMEOUT_MS, or unset the variable"
            ))),
        }
    }
    assignments
}

/// Every `--set KEY=VALUE`, in order.
pub(crate) fn command_line(set: &[String], problems: &mut Vec<Problem>) -> Vec<Assignment> {
    let mut assignments = Vec::new();
    for entry in set {
        let Some((key, text)) = entry.split_once('=') else {
            // Only the front of it: behind a slip such as `admin.token:…` stands a secret.
            let key: String = entry.chars().take_while(|c| is_word(*c) || *c == '.').take(80).collect();
            let what = format!("`{key}` has no value: write KEY=VALUE, for example server.port=9000");
            problems.push(Place::start("--set").error(what));
            continue;
        };
        let key = key.trim();
        match path(key.split('.').map(str::to_owned)) {
            Ok(path) => assignments.push(assign(path, text, Layer::Set(Arc::from(key)))),
            Err(why) => problems.push(Place::start("--set").error(format!(
                "`{key}`: {why}; write for example server.port=9000 or backends.0.timeout=5s"
            ))),
        }
    }
    assignments
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

fn path(parts: impl Iterator<Item = String>) -> Result<Vec<Part>, String> {
    let part = |(n, part): (usize, String)| {
        ensure!(!part.is_empty(), "a part of the key is empty");
        if n > 0 && part.chars().all(|c| c.is_ascii_digit()) {
            let index = part.parse().ok().filter(|index| *index <= MAX_INDEX).map(Part::Index);
            return index.ok_or_else(|| format!("the list index {part} is larger than {MAX_INDEX}"));
        }
        ensure!(part.chars().all(is_word), "a key holds letters, digits, `_` and `-`");
        Ok(Part::Key(part))
    };
    parts.enumerate().map(part).collect()
}

fn assign(path: Vec<Part>, text: &str, layer: Layer) -> Assignment {
    let origin = Origin { layer, given: Given::Loose, ..Origin::DEFAULT };
    let mut value = Node { kind: parse::value(text), origin: origin.clone() };
    adopt(&mut value, &origin);
    Assignment { path, value }
}

/// Gives everything below `node` the same origin: inside a variable there are no lines to point at.
fn adopt(node: &mut Node, origin: &Origin) {
    node.origin = origin.clone();
    match &mut node.kind {
        Kind::List(items) => items.iter_mut().for_each(|item| adopt(item, origin)),
        Kind::Table(entries) => entries.iter_mut().for_each(|(_, value)| adopt(value, origin)),
        _ => {}
    }
}

/// `RATE_LIMIT` → `rateLimit`.
fn camel(part: &str) -> String {
    let mut words = part.split('_');
    let mut out = words.next().unwrap_or("").to_ascii_lowercase();
    for word in words {
        let mut chars = word.chars();
        out.extend(chars.next().map(|c| c.to_ascii_uppercase()));
        out.push_str(&chars.as_str().to_ascii_lowercase());
    }
    out
}
