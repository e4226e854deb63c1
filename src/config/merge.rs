//! Puts the layers on top of each other with the `config` crate: tables merge, everything else is replaced.
//!
//! Each value travels with an index into a list of origins in the place the crate has for an origin. The
//! crate drops that of a merged table, so tables are remembered by path beside it.

use std::collections::HashMap;

use ::config::{Config, ConfigError, Map, Source, Value, ValueKind};

use super::layers::{Assignment, Part};
use super::problem::Problem;
use super::tree::{Given, Kind, Layer, Node, Origin};

/// Everything lives below one key, because the crate reads the keys of a source as path expressions.
const ROOT: &str = "root";

/// Merges defaults, file and assignments; later ones win.
pub(crate) fn merge(
    defaults: Node,
    file: Option<Node>,
    assignments: Vec<Assignment>,
    problems: &mut Vec<Problem>,
) -> Result<Node, ConfigError> {
    let mut origins = Origins::default();
    let mut builder = Config::builder();
    for layer in [Some(defaults), file].into_iter().flatten() {
        origins.remember(&layer, &mut vec![]);
        builder = builder.add_source(One { key: ROOT.to_owned(), value: origins.lower(layer) });
    }
    for Assignment { path, value } in assignments {
        let mut keys: Vec<String> = Vec::new();
        if path.iter().all(|part| match part {
            Part::Key(key) => {
                keys.push(key.clone());
                true
            }
            Part::Index(_) => false,
        }) {
            origins.remember(&value, &mut keys);
        }
        builder = builder.add_source(One { key: expression(&path), value: origins.lower(value) });
    }
    let mut root = builder.build()?.cache;
    let merged = match &mut root.kind {
        ValueKind::Table(map) => map.remove(ROOT),
        _ => None,
    };
    let merged = merged.unwrap_or_else(|| Value::new(None, ValueKind::Table(Map::new())));
    Ok(origins.raise(merged, &mut vec![], problems))
}

/// `root.backends[0].timeout`.
fn expression(path: &[Part]) -> String {
    let mut out = ROOT.to_owned();
    for part in path {
        match part {
            Part::Key(key) => {
                out.push('.');
                out.push_str(key);
            }
            Part::Index(index) => out.push_str(&format!("[{index}]")),
        }
    }
    out
}

/// A source of one value at one path.
#[derive(Clone, Debug)]
struct One {
    key: String,
    value: Value,
}

impl Source for One {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(Map::from_iter([(self.key.clone(), self.value.clone())]))
    }
}

#[derive(Default)]
struct Origins {
    list: Vec<Origin>,
    tables: HashMap<Vec<String>, Origin>,
}

impl Origins {
    /// Notes where each table outside a list is from. (A list is replaced whole, so those inside keep their
    /// own.)
    fn remember(&mut self, node: &Node, path: &mut Vec<String>) {
        let Kind::Table(entries) = &node.kind else { return };
        if node.origin.layer != Layer::Default {
            self.tables.insert(path.clone(), node.origin.clone());
        }
        for (key, value) in entries {
            path.push(key.clone());
            self.remember(value, path);
            path.pop();
        }
    }

    /// Into the crate's value.
    fn lower(&mut self, node: Node) -> Value {
        let index = self.list.len().to_string();
        self.list.push(node.origin);
        let kind = match node.kind {
            Kind::Null => ValueKind::Nil,
            Kind::Bool(b) => ValueKind::Boolean(b),
            Kind::Int(n) => ValueKind::I128(n),
            Kind::Float(x) => ValueKind::Float(x),
            Kind::Text(text) => ValueKind::String(text),
            Kind::List(items) => ValueKind::Array(items.into_iter().map(|item| self.lower(item)).collect()),
            Kind::Table(entries) => {
                ValueKind::Table(entries.into_iter().map(|(key, value)| (key, self.lower(value))).collect())
            }
        };
        Value::new(Some(&index), kind)
    }

    /// Out of the crate's value.
    fn raise(&self, value: Value, path: &mut Vec<String>, problems: &mut Vec<Problem>) -> Node {
        let known = value.origin().and_then(|index| index.parse::<usize>().ok());
        let known = known.and_then(|index| self.list.get(index)).cloned();
        let kind = match value.kind {
            ValueKind::Nil => Kind::Null,
            ValueKind::Boolean(b) => Kind::Bool(b),
            ValueKind::I64(n) => Kind::Int(n.into()),
            ValueKind::I128(n) => Kind::Int(n),
            ValueKind::U64(n) => Kind::Int(n.into()),
            // Out of every range there is, as it should be.
            ValueKind::U128(n) => Kind::Int(n.try_into().unwrap_or(i128::MAX)),
            ValueKind::Float(x) => Kind::Float(x),
            ValueKind::String(text) => Kind::Text(text),
            ValueKind::Array(items) => Kind::List(self.raise_list(items, path, problems)),
            ValueKind::Table(map) => Kind::Table(self.raise_table(map, path, problems)),
        };
        let known = known.filter(|origin| origin.layer != Layer::Default).or_else(|| {
            // A table or list that a longer path made exists because of what is in it.
            let inherited = || match &kind {
                Kind::List(items) => {
                    items.iter().map(|item| &item.origin).find(|o| o.layer != Layer::Default)
                }
                Kind::Table(entries) => {
                    entries.iter().map(|(_, v)| &v.origin).find(|o| o.layer != Layer::Default)
                }
                _ => None,
            };
            self.tables.get(path).or_else(inherited).cloned()
        });
        Node { kind, origin: known.unwrap_or(Origin::DEFAULT) }
    }

    fn raise_table(
        &self,
        map: Map<String, Value>,
        path: &mut Vec<String>,
        problems: &mut Vec<Problem>,
    ) -> Vec<(String, Node)> {
        let mut entries: Vec<(String, Node)> = Vec::with_capacity(map.len());
        for (key, value) in map {
            path.push(key);
            let node = self.raise(value, path, problems);
            entries.extend(path.pop().map(|key| (key, node)));
        }
        // The crate's map has no order; that of the file is the one people see.
        entries.sort_by(|(a, x), (b, y)| {
            let at = |node: &Node| (node.origin.key.line, node.origin.key.column);
            at(x).cmp(&at(y)).then_with(|| a.cmp(b))
        });
        entries
    }

    fn raise_list(
        &self,
        items: Vec<Value>,
        path: &mut Vec<String>,
        problems: &mut Vec<Problem>,
    ) -> Vec<Node> {
        // The crate fills a list up with nothings to reach an index.
        let gap =
            items.iter().position(|item| item.origin().is_none() && matches!(item.kind, ValueKind::Nil));
        let name = path.join(".");
        path.push("[]".to_owned());
        let mut nodes: Vec<Node> = items.into_iter().map(|item| self.raise(item, path, problems)).collect();
        path.pop();
        if let Some(gap) = gap {
            let culprit = nodes.iter().skip(gap).map(|node| &node.origin).find(|o| o.layer != Layer::Default);
            let origin = culprit.cloned().unwrap_or(Origin::DEFAULT);
            let what = format!("`{name}` has {gap} entries, so the next index is {gap}: no gap may be left");
            problems.push(super::read::problem_at(&origin, "", what));
            // Nothing behind the gap is worth a further problem.
            nodes.iter_mut().skip(gap).for_each(|node| node.origin.given = Given::Broken);
        }
        nodes
    }
}
