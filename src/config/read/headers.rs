//! `headers`: a table of header fields, for routes that match by them and for requests that carry them.

use super::section::{Section, quoted};
use super::syntax;
use crate::config::problem::Severity;
use crate::config::tree::Kind;

/// Reads the table: names in lower case, each once. Of `secret` values nothing is shown.
pub(super) fn read(section: &Section<'_>, secret: bool) -> Vec<(String, String)> {
    let Some(table) = section.child("headers") else { return Vec::new() };
    let mut headers: Vec<(String, String)> = Vec::new();
    for (key, node) in table.free() {
        let name = key.to_ascii_lowercase();
        if !syntax::is_token(key) {
            let what = format!(
                "{} in `{}` is not a header name: use letters, digits and `-`",
                quoted(key),
                table.path
            );
            table.error_at_key(node, what);
            continue;
        }
        if headers.iter().any(|(known, _)| *known == name) {
            let what = format!(
                "the header `{name}` is in `{}` twice, for case does not matter: keep one",
                table.path
            );
            table.error_at_key(node, what);
            continue;
        }
        let value = match &node.kind {
            Kind::Text(text) => text.as_str(),
            _ if secret => {
                table.error(node, format!("`{}` must be text: put it in quotes", table.name(key)));
                continue;
            }
            _ => match table.text_of(key, node) {
                Some(text) => text,
                None => continue,
            },
        };
        if value.chars().any(char::is_control) || value.trim() != value {
            let what = format!(
                "`{}` cannot be sent in a header: remove control characters and outer spaces",
                table.name(key)
            );
            table.error(node, what);
            continue;
        }
        table.all_seen(Severity::Warning, &table.name(key), value, node);
        headers.push((name, value.to_owned()));
    }
    headers
}
