//! What follows from a description alone: JSON Schema and the tables of the reference.

use serde_json::json;

use crate::describe::{About, Reload};
use crate::form::Shape;
use crate::{Description, Json};

/// JSON Schema of a section.
pub fn object(description: &Description) -> Json {
    let property = |key: &About| {
        let mut schema = value(&key.shape);
        schema["description"] = key.doc.clone().into();
        if let (Some(default), None) = (&key.default, key.shape.inner) {
            schema["default"] = default.clone();
        }
        (key.name.to_owned(), schema)
    };
    let properties: Json = description.keys.iter().map(property).collect::<serde_json::Map<_, _>>().into();
    json!({
        "type": "object",
        "description": description.doc.trim(),
        "properties": properties,
        "additionalProperties": false,
    })
}

/// JSON Schema of a value as a file may hold it: nothing stands for the default, and `${…}` for any scalar.
pub fn value(shape: &Shape) -> Json {
    json!({"anyOf": [(shape.schema)(), {"type": "string", "pattern": r"\$\{"}, {"type": "null"}]})
}

/// The reference's table of the section at `path`: key, type, default, meaning, and what a reload does where that differs from
/// key to key. Sections that have a table of their own are one row.
pub fn reference(path: &str, description: &Description, own: &[&str]) -> String {
    let mut rows = vec![
        ["key", "type", "default", "meaning", "reload"].map(str::to_owned),
        [const { "---" }; 5].map(str::to_owned),
    ];
    collect(path, "", None, description, own, &mut rows);
    let columns = if rows[2..].iter().any(|row| row[4] != "live") { 5 } else { 4 };
    rows.iter().map(|row| format!("| {} |\n", row[..columns].join(" | "))).collect()
}

fn collect(
    path: &str,
    prefix: &str,
    around: Option<Reload>,
    description: &Description,
    own: &[&str],
    rows: &mut Vec<[String; 5]>,
) {
    for key in &description.keys {
        let name = format!("{prefix}{}", key.name);
        let whole = [path, &name].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".");
        match key.shape.inner {
            Some(inner) if !key.shape.many && !own.contains(&whole.as_str()) => {
                let around = (key.reload != Reload::Live("")).then_some(key.reload).or(around);
                collect(path, &format!("{name}."), around, &inner(), own, rows);
            }
            _ => rows.push(row(name, key, around)),
        }
    }
}

fn row(name: String, key: &About, around: Option<Reload>) -> [String; 5] {
    let default = match (&key.default, key.shape.unset, key.shape.required) {
        (_, Some(words), _) => words.to_owned(),
        (_, _, Some(_)) => "required".to_owned(),
        (Some(Json::String(text)), ..) if text.is_empty() => "empty".to_owned(),
        (Some(Json::String(text)), ..) => format!("`{text}`"),
        (Some(Json::Bool(flag)), ..) => format!("`{flag}`"),
        (Some(Json::Array(items)), ..) => format!("`{}`", flow(items)),
        (Some(value), ..) => value.to_string(),
        (None, ..) => "none".to_owned(),
    };
    let own = match key.reload {
        Reload::Live(what) => format!("live{what}"),
        Reload::Restart => "restart".to_owned(),
        Reload::Presence => "on/off: restart".to_owned(),
    };
    let reload = match around {
        Some(Reload::Presence) => format!("on/off: restart; {own}"),
        Some(Reload::Restart) => "restart".to_owned(),
        _ => own,
    };
    [format!("`{name}`"), key.shape.words.clone(), default, key.doc.clone(), reload]
}

/// A list as one writes it in YAML.
fn flow(items: &[Json]) -> String {
    let plain = |item: &Json| item.as_str().map_or_else(|| item.to_string(), str::to_owned);
    format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(", "))
}
