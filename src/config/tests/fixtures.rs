//! The configurations of these tests for `scripts/check-schema`: `AEGIS_FIXTURES` names a folder to write them into.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use aegis_schema::Json;
use aegis_schema::tree::{Kind, Node};
use serde_json::json;

use super::*;

/// Writes what the schema must accept, or must refuse.
pub(super) fn keep(file: &str, text: &str, accept: bool) {
    let Some(folder) = std::env::var_os("AEGIS_FIXTURES").map(PathBuf::from) else { return };
    // Before anything is put in: an editor sees `${…}`.
    let Some(root) = crate::config::parse::parse(file.as_ref(), text, file, &mut Vec::new()) else { return };
    let mut hasher = DefaultHasher::new();
    (file, text, accept).hash(&mut hasher);
    let fixture = json!({"text": text, "value": plain(&root), "accept": accept});
    std::fs::write(folder.join(format!("{:016x}.json", hasher.finish())), fixture.to_string()).unwrap();
}

fn plain(node: &Node) -> Json {
    match &node.kind {
        Kind::Null => Json::Null,
        Kind::Bool(flag) => (*flag).into(),
        Kind::Int(number) => serde_json::from_str(&number.to_string()).unwrap(),
        Kind::Float(number) => (*number).into(),
        Kind::Text(text) => text.clone().into(),
        Kind::List(items) => items.iter().map(plain).collect(),
        Kind::Table(entries) => entries.iter().map(|(key, node)| (key.clone(), plain(node))).collect(),
    }
}
