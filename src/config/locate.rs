//! Where a key stands in the configuration's file, for whoever wants to know which line decided something.
//!
//! A path is written as `backends[users].circuitBreaker.failureThreshold`: what stands in brackets is the `name`, `id`,
//! `path` or `url` of an item of a list, or a text item itself.

use super::problem::Place;
use super::tree::{Kind, Node};
use super::{Source, file, parse};

/// Members that name an item of a list.
const NAMES: [&str; 4] = ["name", "id", "path", "url"];

/// Where something is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    pub place: Place,
    /// The whole path is written there; otherwise only the section around it, and the key has its default.
    pub written: bool,
}

/// Finds a path in the file of `source`. `None` when there is no file, it cannot be read, or nothing of the path is in it.
pub fn locate(source: &Source, path: &str) -> Option<Located> {
    let named = file::choose(source.file.as_deref())?;
    let label = named.display().to_string();
    let text = file::read(&named, &label).ok()?;
    let root = parse::parse(&named, &text, &label, &mut Vec::new())?;
    let (mut node, mut written) = (&root, true);
    for step in steps(path) {
        match find(node, &step) {
            Some(next) => node = next,
            None => {
                written = false;
                break;
            }
        }
    }
    let found = !std::ptr::eq(node, &root);
    found.then(|| Located { place: node.origin.key.place(&label), written })
}

enum Step {
    Key(String),
    Item(String),
}

fn steps(path: &str) -> Vec<Step> {
    let (mut steps, mut rest) = (Vec::new(), path);
    while !rest.is_empty() {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        if end > 0 {
            steps.push(Step::Key(rest[..end].to_owned()));
        }
        rest = &rest[end..];
        if let Some(inside) = rest.strip_prefix('[') {
            // Names may hold dots and brackets of their own; a path's bracket closes before a dot or at the end.
            let close = inside.find("].").unwrap_or(inside.len().saturating_sub(1));
            steps.push(Step::Item(inside[..close].to_owned()));
            rest = &inside[(close + 1).min(inside.len())..];
        }
        rest = rest.strip_prefix('.').unwrap_or(rest);
    }
    steps
}

fn find<'n>(node: &'n Node, step: &Step) -> Option<&'n Node> {
    match (&node.kind, step) {
        (Kind::Table(entries), Step::Key(key)) => {
            entries.iter().find(|(name, _)| name == key).map(|(_, node)| node)
        }
        (Kind::List(items), Step::Item(name)) => items.iter().find(|item| is_named(item, name)),
        _ => None,
    }
}

fn is_named(item: &Node, name: &str) -> bool {
    match &item.kind {
        Kind::Text(text) => text == name,
        Kind::Table(entries) => entries
            .iter()
            .any(|(key, node)| NAMES.contains(&key.as_str()) && node.kind == Kind::Text(name.to_owned())),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_items_and_defaults_are_told_apart() {
        let folder = std::env::temp_dir().join(format!("aegis-locate-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a.yaml");
        let text = "server: {port: 1}\nbackends:\n  - name: users\n    routes: [/a, {path: \"/b.[x]\", deny: true}]\n    circuitBreaker:\n      failureThreshold: 3\n";
        std::fs::write(&path, text).unwrap();
        let source = Source::file(&path);
        let at = |path: &str| {
            let located = locate(&source, path)?;
            Some((located.place.line, located.place.column, located.written))
        };
        assert_eq!(at("backends[users].circuitBreaker.failureThreshold"), Some((6, 7, true)));
        assert_eq!(at("backends[users].circuitBreaker.failureRate"), Some((5, 5, false)));
        assert_eq!(at("backends[users].routes[/a]"), Some((4, 14, true)));
        assert_eq!(
            at("backends[users].routes[/b.[x]].deny").map(|(line, _, written)| (line, written)),
            Some((4, true))
        );
        assert_eq!(at("rateLimit.rules[x]"), None);
        assert_eq!(at("server.port").map(|(line, ..)| line), Some(1));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
