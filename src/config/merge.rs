//! Puts the layers on top of each other: tables merge, everything else is replaced.

use aegis_schema::Describe;
use aegis_schema::problem::{Problem, Severity};
use aegis_schema::tree::{Given, Kind, Layer, Node, Origin};
use serde_json::Value;

use super::Settings;
use super::layers::{Assignment, Part};

/// Merges defaults, file and assignments; later ones win.
pub(crate) fn merge(file: Option<Node>, assignments: Vec<Assignment>, problems: &mut Vec<Problem>) -> Node {
    let mut root = default(Settings::default().show(true));
    if let Some(file) = file {
        overlay(&mut root, file);
    }
    for Assignment { path, value } in assignments {
        assign(&mut root, &path, value);
    }
    gaps(&mut root, "", problems);
    root
}

fn default(value: Value) -> Node {
    let kind = match value {
        Value::Null => Kind::Null,
        Value::Bool(b) => Kind::Bool(b),
        Value::Number(n) => {
            n.as_i128().map_or_else(|| Kind::Float(n.as_f64().unwrap_or_default()), Kind::Int)
        }
        Value::String(text) => Kind::Text(text),
        Value::Array(items) => Kind::List(items.into_iter().map(default).collect()),
        Value::Object(map) => {
            Kind::Table(map.into_iter().map(|(key, value)| (key, default(value))).collect())
        }
    };
    Node { kind, origin: Origin::DEFAULT }
}

fn overlay(node: &mut Node, over: Node) {
    match (&mut node.kind, over.kind) {
        (Kind::Table(entries), Kind::Table(new)) => {
            node.origin = over.origin;
            for (key, value) in new {
                match entries.iter_mut().find(|(name, _)| *name == key) {
                    Some((_, old)) => overlay(old, value),
                    None => entries.push((key, value)),
                }
            }
        }
        (_, kind) => *node = Node { kind, origin: over.origin },
    }
}

/// Puts `value` where `path` leads. What is not there on the way, or by default only, is there because of it.
fn assign(node: &mut Node, path: &[Part], value: Node) {
    let Some((part, rest)) = path.split_first() else { return overlay(node, value) };
    if node.origin.layer == Layer::Default {
        node.origin = value.origin.clone();
    }
    let missing = || Node { kind: Kind::Null, origin: Origin { given: Given::Broken, ..Origin::DEFAULT } };
    match (part, &mut node.kind) {
        (Part::Key(key), Kind::Table(entries)) => {
            let at = entries.iter().position(|(name, _)| name == key).unwrap_or_else(|| {
                entries.push((key.clone(), missing()));
                entries.len() - 1
            });
            assign(&mut entries[at].1, rest, value);
        }
        (Part::Index(index), Kind::List(items)) => {
            if items.len() <= *index {
                items.resize_with(index + 1, missing);
            }
            assign(&mut items[*index], rest, value);
        }
        (part, kind) => {
            *kind = match part {
                Part::Key(_) => Kind::Table(Vec::new()),
                Part::Index(_) => Kind::List(Vec::new()),
            };
            assign(node, path, value);
        }
    }
}

/// Refuses lists in which an index was left out.
fn gaps(node: &mut Node, name: &str, problems: &mut Vec<Problem>) {
    match &mut node.kind {
        Kind::Table(entries) => {
            for (key, node) in entries {
                gaps(node, &if name.is_empty() { key.clone() } else { format!("{name}.{key}") }, problems);
            }
        }
        Kind::List(items) => {
            let left_out = |item: &Node| item.broken() && item.origin.layer == Layer::Default;
            if let Some(gap) = items.iter().position(left_out) {
                let set = items[gap..].iter().find(|item| item.origin.layer != Layer::Default);
                let origin = set.map_or(Origin::DEFAULT, |item| item.origin.clone());
                let what =
                    format!("`{name}` has {gap} entries, so the next index is {gap}: no gap may be left");
                problems.push(origin.place("", origin.value).problem(Severity::Error, origin.told(what)));
                // Nothing behind the gap is worth a further problem.
                items[gap..].iter_mut().for_each(|node| node.origin.given = Given::Broken);
            }
            for (n, item) in items.iter_mut().enumerate() {
                gaps(item, &format!("{name}[{n}]"), problems);
            }
        }
        _ => {}
    }
}
