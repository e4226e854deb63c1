//! The two layers that are not files: `AEGIS__…` variables and `--set KEY=VALUE`.

use std::sync::Arc;

use super::env::Env;
use super::parse;
use aegis_schema::problem::{Place, Problem};
use aegis_schema::tree::{Kind, Layer, Node, Origin};

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
        let parts: Vec<String> = name.get(PREFIX.len()..).unwrap_or("").split("__").map(camel).collect();
        match path(&parts) {
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
        let parts: Vec<String> = key.split('.').map(str::to_owned).collect();
        match path(&parts) {
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

fn path(parts: &[String]) -> Result<Vec<Part>, String> {
    let mut path = Vec::with_capacity(parts.len());
    for (n, part) in parts.iter().enumerate() {
        path.push(if part.is_empty() {
            return Err("a part of the key is empty".to_owned());
        } else if part.chars().all(|c| c.is_ascii_digit()) && n > 0 {
            match part.parse() {
                Ok(index) if index <= MAX_INDEX => Part::Index(index),
                _ => return Err(format!("the list index {part} is larger than {MAX_INDEX}")),
            }
        } else if part.chars().all(is_word) {
            Part::Key(part.clone())
        } else {
            return Err("a key holds letters, digits, `_` and `-`".to_owned());
        });
    }
    Ok(path)
}

fn assign(path: Vec<Part>, text: &str, layer: Layer) -> Assignment {
    let origin = Origin::loose(layer);
    Assignment { path, value: adopt(Node { kind: parse::value(text), origin: origin.clone() }, &origin) }
}

/// Gives everything below `node` the same origin: inside a variable there are no lines to point at.
fn adopt(mut node: Node, origin: &Origin) -> Node {
    node.origin = origin.clone();
    node.kind = match node.kind {
        Kind::List(items) => Kind::List(items.into_iter().map(|item| adopt(item, origin)).collect()),
        Kind::Table(entries) => {
            Kind::Table(entries.into_iter().map(|(key, value)| (key, adopt(value, origin))).collect())
        }
        kind => kind,
    };
    node
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
