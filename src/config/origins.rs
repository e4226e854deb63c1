//! What `aegis config` prints: YAML that can be read back, each value with where it is from.

use aegis_schema::section::nothing;
use aegis_schema::tree::{Kind, Layer, Node};
use aegis_schema::{Describe, Description, Json, scalar};

use super::{Inspection, Places, Settings, render_redacted};

/// Lines, and what is said of each.
type Lines = Vec<(String, String)>;

/// What is in force, or of that what somebody wrote, with its origin; nothing where the file could not be parsed.
pub fn origins(inspection: &Inspection, all: bool) -> String {
    let Inspection { settings: Some(settings), places, .. } = inspection else { return String::new() };
    let mut walk = Walk { places, all, lines: Vec::new() };
    walk.keys(&render_redacted(settings), Some(&places.root), "", "");
    aligned(&walk.lines)
}

/// Every key with its default and its form. What is not there by default is commented out.
pub fn defaults() -> String {
    let mut lines = Vec::new();
    outline(&Settings::describe(), "", &mut lines);
    aligned(&lines)
}

struct Walk<'a> {
    places: &'a Places,
    all: bool,
    lines: Lines,
}

impl Walk<'_> {
    /// The keys of a section at `path`. A text in place of one is its first key, and `url` is a list of one target.
    fn keys(&mut self, section: &Json, node: Option<&Node>, path: &str, lead: &str) {
        for (n, (key, value)) in section.as_object().into_iter().flatten().enumerate() {
            let node = node.and_then(|node| match &node.kind {
                Kind::Table(entries) => {
                    let named = entries.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
                    named.map(|(_, node)| node).or_else(|| node.member("url").filter(|_| key == "targets"))
                }
                _ => Some(node).filter(|_| n == 0),
            });
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            self.value(&format!("{lead}{}:", flow(&key.as_str().into())), value, node, &path, lead);
        }
    }

    fn value(&mut self, line: &str, value: &Json, node: Option<&Node>, path: &str, lead: &str) {
        let start = self.lines.len();
        self.lines.push((line.to_owned(), String::new()));
        match value {
            Json::Object(_) => self.keys(value, node, path, &format!("{lead}  ")),
            Json::Array(items) if items.iter().any(Json::is_object) => {
                for (n, item) in items.iter().enumerate() {
                    let n = self.places.lists.written(path, n).unwrap_or(n);
                    let node = node.and_then(|node| match &node.kind {
                        Kind::List(nodes) => nodes.get(n),
                        _ => Some(node),
                    });
                    let first = self.lines.len();
                    self.keys(item, node, &format!("{path}[{n}]"), &format!("{lead}    "));
                    dash(&mut self.lines[first..], lead);
                }
            }
            _ => {}
        }
        // A value, or a section of which nothing else is said.
        if self.lines.len() == start + 1 {
            let origin = self.origin(node);
            self.lines.truncate(start);
            if self.all || !origin.is_empty() {
                let origin = if origin.is_empty() { "default".to_owned() } else { origin.join(", ") };
                self.lines.push((format!("{line} {}", flow(value)), origin));
            }
        }
    }

    /// Where it is from, the items of a list too; empty = it is as by default.
    fn origin(&self, node: Option<&Node>) -> Vec<String> {
        let Some(node) = node.filter(|node| !nothing(node)) else { return Vec::new() };
        let place = node.origin.place(&self.places.label, node.origin.value);
        let mut origins = match &node.origin.layer {
            Layer::Default => Vec::new(),
            Layer::File => vec![format!("{}:{}", place.file, place.line)],
            Layer::Environment(name) => vec![name.to_string()],
            Layer::Set(key) => vec![format!("--set {key}")],
        };
        if let Kind::List(items) = &node.kind {
            let set = |item: &&Node| item.origin.layer != node.origin.layer;
            origins.extend(items.iter().filter(set).flat_map(|item| self.origin(Some(item))));
        }
        origins
    }
}

fn outline(description: &Description, lead: &str, lines: &mut Lines) {
    for key in &description.keys {
        let (shape, list) = (&key.shape, key.shape.inner.is_some() && key.shape.many);
        let off = !lead.contains('#') && (list || key.default.is_none());
        let lead = if off { format!("{lead}# ") } else { lead.to_owned() };
        let Some(inner) = shape.inner else {
            let value = key.default.as_ref().map(flow).unwrap_or_default();
            let words = shape.words.replace("[size](#durations-and-sizes)", "size");
            let said = match (shape.required, shape.unset) {
                (Some(_), _) => format!("required: {words}"),
                (None, Some(unset)) if !unset.is_empty() => format!("{words}; default: {unset}"),
                _ => words,
            };
            lines.push((format!("{lead}{}: {value}", key.name).trim_end().to_owned(), said));
            continue;
        };
        lines.push((format!("{lead}{}:", key.name), String::new()));
        let map = list && matches!(key.default, Some(Json::Object(_)));
        if map {
            lines.push((format!("{lead}  NAME:"), String::new()));
        }
        let first = lines.len();
        outline(&inner(), &format!("{lead}{}", if list { "    " } else { "  " }), lines);
        if list && !map {
            dash(&mut lines[first..], &lead);
        }
    }
}

/// Makes an item of what is four columns behind `lead`.
fn dash(item: &mut [(String, String)], lead: &str) {
    if let Some((line, _)) = item.first_mut() {
        line.replace_range(lead.len() + 2..lead.len() + 4, "- ");
    }
}

/// As YAML on one line; `${` stays what it is.
fn flow(value: &Json) -> String {
    let plain = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "/.:*+-_".contains(c))
            && !text.ends_with(':')
            && matches!(scalar::resolve(text), Kind::Text(_))
    };
    match value {
        Json::Object(_) => "{}".to_owned(),
        Json::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Json::String(text) if plain(text) => text.clone(),
        Json::String(text) => Json::from(text.replace("${", "$${")).to_string(),
        value => value.to_string(),
    }
}

/// What is said stands behind the lines, one below the other but for long ones.
fn aligned(lines: &Lines) -> String {
    let widths = lines.iter().map(|(line, _)| line.chars().count());
    let width = widths.filter(|width| *width <= 60).max().unwrap_or_default();
    let text = |(line, said): &(String, String)| match said.is_empty() {
        true => format!("{line}\n"),
        false => format!("{line:width$}  # {said}\n"),
    };
    lines.iter().map(text).collect()
}
