//! What follows from a description alone: JSON Schema and the tables of the reference.

use serde_json::json;

use crate::describe::{About, Reload};
use crate::form::Shape;
use crate::{Description, Json};

/// What a file may hold in place of any value, unless it is a text in any case.
const FILLED: &str = r"\$\{";

/// JSON Schema of a whole configuration.
pub fn document(title: &str, description: &Description) -> Json {
    let mut schema = object(description);
    schema["type"] = json!(["object", "null"]);
    schema["properties"]["$schema"] = json!({"type": "string", "description": "of this schema, for editors"});
    let head = json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title});
    [head, schema].into_iter().filter_map(|part| part.as_object().cloned()).flatten().collect()
}

/// JSON Schema of a section. It requires no key: another layer may hold it, as the environment does with secrets.
pub fn object(description: &Description) -> Json {
    let property = |key: &About| {
        let mut schema = value(&key.shape, key.shape.braces.is_none());
        schema["title"] = key.name.into();
        schema["description"] = key.doc.clone().into();
        match (&key.default, key.shape.unset, key.shape.inner) {
            (Some(default), None, None) => schema["default"] = default.clone(),
            (_, Some(words), None) if !words.is_empty() => {
                schema["description"] = format!("{}; default: {words}", key.doc).into();
            }
            _ => {}
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

/// JSON Schema of an item of a list. What is required is so here, for no other layer begins an item that this one goes on
/// with; but for secrets, which layers put in by index.
pub fn item(shape: &Shape) -> Json {
    let mut schema = value(shape, false);
    if let Some(inner) = shape.inner {
        let keys = inner().keys.into_iter().filter(|key| key.shape.required.is_some() && !key.shape.secret);
        schema["required"] = keys.map(|key| key.name).collect();
    }
    schema
}

/// JSON Schema of a value as a file may hold it: `${…}` stands for anything, and `null` for the default where it may. All in
/// one `type`: of alternatives an editor could only say that none fits.
pub fn value(shape: &Shape, null: bool) -> Json {
    let mut schema = (shape.schema)();
    let mut kinds: Vec<Json> = null.then(|| "null".into()).into_iter().collect();
    match &schema["type"] {
        Json::Array(several) => kinds.extend_from_slice(several),
        Json::Null => {
            kinds.push("string".into());
            return json!({"anyOf": [schema, {"type": kinds, "pattern": FILLED}]});
        }
        kind => kinds.push(kind.clone()),
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        schema["pattern"] = format!("{pattern}|{FILLED}").into();
    } else if !kinds.contains(&"string".into()) {
        kinds.push("string".into());
        schema["pattern"] = FILLED.into();
    }
    schema["type"] = kinds.into();
    schema
}

/// The reference's table of the section at `path`: key, type, default, meaning, and what a reload does where that differs from
/// key to key. Sections that have a table of their `own` are one row, others the rows of their keys.
pub fn reference(path: &str, description: &Description, own: &[&str]) -> String {
    let mut rows = vec![["key", "type", "default", "meaning", "reload"].map(str::to_owned)];
    collect(path, "", &[], description, own, &mut rows);
    let columns = if rows[1..].iter().all(|row| row[4] == "live") { 4 } else { 5 };
    let line = |row: &[String; 5]| format!("| {} |\n", row[..columns].join(" | "));
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    lines.insert(1, format!("|{}\n", "---|".repeat(columns)));
    lines.concat()
}

/// `around` are the sections without a table that lead here.
fn collect(
    path: &str,
    prefix: &str,
    around: &[&About],
    description: &Description,
    own: &[&str],
    rows: &mut Vec<[String; 5]>,
) {
    for key in &description.keys {
        let name = format!("{prefix}{}", key.name);
        let whole = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match key.shape.inner {
            Some(inner) if !key.shape.many && !own.contains(&whole.as_str()) => {
                collect(path, &format!("{name}."), &[around, &[key]].concat(), &inner(), own, rows);
            }
            _ => rows.push([
                format!("`{name}`"),
                key.shape.words.clone(),
                default(key, around),
                key.doc.clone(),
                reload(key, around),
            ]),
        }
    }
}

fn default(key: &About, around: &[&About]) -> String {
    // What must be written in a section that need not be there is not required of anybody.
    let optional = |key: &&About| key.default.is_none() && key.shape.required.is_none();
    match (key.shape.unset, key.shape.required, &key.default) {
        (Some(words), ..) => words.to_owned(),
        (_, Some(_), _) if !around.iter().any(optional) => "required".to_owned(),
        (.., Some(Json::String(text))) if text.is_empty() => "empty".to_owned(),
        (.., Some(Json::Object(keys))) if !keys.is_empty() => "see below".to_owned(),
        (.., None | Some(Json::Object(_))) => "none".to_owned(),
        (.., Some(Json::Number(number))) => number.to_string(),
        (.., Some(value)) => format!("`{}`", plain(value)),
    }
}

fn reload(key: &About, around: &[&About]) -> String {
    let within = |reload| around.iter().any(|section| section.reload == reload);
    match key.reload {
        _ if within(Reload::Restart) => "restart".to_owned(),
        Reload::Live(what) if within(Reload::Presence) => format!("on/off: restart; live{what}"),
        Reload::Live(what) => format!("live{what}"),
        Reload::Restart => "restart".to_owned(),
        Reload::Presence => "on/off: restart".to_owned(),
    }
}

/// As one writes it in YAML.
fn plain(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(", ")),
        value => value.to_string(),
    }
}
