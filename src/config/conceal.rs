//! What problems must not tell, and what stands for a value that was not told.

use aegis_schema::problem::Problem;
use aegis_schema::secrets::REDACTED;
use aegis_schema::tree::{Given, Kind, Node};

/// Shorter values are no secrets, and would be found in any message.
const SHORTEST: usize = 6;

/// Refuses every text that holds `[redacted]`: a configuration that was printed is no configuration, and a token that
/// everybody knows is none.
pub(super) fn placeholders(node: &mut Node, path: &str, label: &str, problems: &mut Vec<Problem>) {
    match &mut node.kind {
        Kind::Text(text) if text.contains(REDACTED) => {
            let what = format!(
                "`{path}` holds `{REDACTED}`, which stands for a value that was not shown: write the value itself, or \
                 `${{NAME}}` or `${{file:PATH}}`"
            );
            let place = node.origin.place(label, node.origin.value);
            problems.push(place.error(node.origin.told(what)));
            node.kind = Kind::Null;
            node.origin.given = Given::Broken;
        }
        Kind::List(items) => {
            for (n, item) in items.iter_mut().enumerate() {
                placeholders(item, &format!("{path}[{n}]"), label, problems);
            }
        }
        Kind::Table(entries) => {
            for (key, node) in entries {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                placeholders(node, &path, label, problems);
            }
        }
        _ => {}
    }
}

/// Takes what came through `${…}` out of what is said of it, in whatever case a hint spells it.
pub(super) fn conceal(root: &Node, problems: &mut [Problem]) {
    let mut values = Vec::new();
    collect(root, &mut values);
    for problem in problems {
        for value in &values {
            let lower = problem.message.to_ascii_lowercase();
            for (at, found) in lower.rmatch_indices(value) {
                problem.message.replace_range(at..at + found.len(), "…");
            }
        }
    }
}

fn collect(node: &Node, values: &mut Vec<String>) {
    match &node.kind {
        Kind::Text(text) if matches!(node.origin.given, Given::Filled { .. }) && text.len() >= SHORTEST => {
            values.push(text.to_ascii_lowercase());
        }
        Kind::List(items) => items.iter().for_each(|item| collect(item, values)),
        Kind::Table(entries) => entries.iter().for_each(|(_, node)| collect(node, values)),
        _ => {}
    }
}
