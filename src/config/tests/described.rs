//! Every key of the description, wherever it has to be: schema, reference, sample, effective configuration, reader.

use std::collections::HashSet;
use std::path::Path;

use aegis_schema::secrets::is_secret;
use aegis_schema::{About, Describe, Description, Json, tables};

use super::*;
use crate::config::settings::Settings;
use crate::config::{Problem, Severity, render_redacted};

const REFERENCE: &str = include_str!("../../../docs/configuration.md");
const SAMPLE: &str = include_str!("../../../config/aegis.yaml");

/// A key, and where it is.
pub(super) struct Described {
    /// `backends[].routes[].path`, `rateLimit.tierLimits.*.burst`: as the marks of the reference say it.
    path: String,
    /// `backends[0].routes[0].path`, `rateLimit.tierLimits.pro.burst`: as problems say it.
    pub place: String,
    about: About,
}

/// Every key there is, sections before what is in them.
pub(super) fn every_key() -> Vec<Described> {
    fn collect(path: &str, place: &str, description: Description, keys: &mut Vec<Described>) {
        for about in description.keys {
            let (path, place) = (format!("{path}{}", about.name), format!("{place}{}", about.name));
            let inside = match (about.shape.many, &(about.shape.schema)()["type"]) {
                (false, _) => (format!("{path}."), format!("{place}.")),
                (true, kind) if kind == "array" => (format!("{path}[]."), format!("{place}[0].")),
                (true, _) => (format!("{path}.*."), format!("{place}.pro.")),
            };
            let inner = about.shape.inner;
            keys.push(Described { path, place, about });
            if let Some(inner) = inner {
                collect(&inside.0, &inside.1, inner(), keys);
            }
        }
    }
    let mut keys = Vec::new();
    collect("", "", Settings::describe(), &mut keys);
    keys
}

/// The configuration that says nothing but `value`, at `place`.
pub(super) fn around(place: &str, value: &str) -> String {
    place.rsplit('.').fold(value.to_owned(), |inner, step| match step.strip_suffix("[0]") {
        Some(list) => format!("{{{list}: [{inner}]}}"),
        None => format!("{{{step}: {inner}}}"),
    })
}

/// Without the keys that `fits`, for a message.
fn missing(mut fits: impl FnMut(&Described) -> bool) -> Vec<String> {
    every_key().into_iter().filter(|key| !fits(key)).map(|key| key.path).collect()
}

const NONE: [String; 0] = [];

#[test]
fn no_section_has_a_key_twice_and_what_sounds_secret_is_one() {
    let mut seen = HashSet::new();
    assert_eq!(missing(|key| seen.insert(key.path.clone())), NONE);
    // `apiKeys` are ids, and a section is no value.
    let is_one = |about: &About| about.shape.secret || about.shape.inner.is_some() || about.name == "apiKeys";
    assert_eq!(missing(|key| !is_secret(key.about.name) || is_one(&key.about)), NONE);
}

#[test]
fn every_key_is_in_the_schema() {
    fn properties(schema: &Json) -> Option<&Json> {
        let inside = ["items", "additionalProperties"].into_iter().filter_map(|key| schema.get(key));
        let any = schema["anyOf"].as_array().into_iter().flatten();
        schema.get("properties").or_else(|| inside.chain(any).find_map(properties))
    }
    let schema = tables::object(&Settings::describe());
    let known = |key: &Described| {
        let mut steps =
            key.path.split('.').filter(|step| *step != "*").map(|step| step.trim_end_matches("[]"));
        let found = steps.try_fold(&schema, |schema, step| properties(schema)?.get(step));
        let told =
            |found: &Json| found["description"].as_str().is_some_and(|text| text.starts_with(&key.about.doc));
        found.is_some_and(|found| found["title"] == key.about.name && told(found))
    };
    assert_eq!(missing(known), NONE);
}

/// What stands before the first mark of the reference; then the path in each mark, the table after it, and what follows that.
fn marked() -> (&'static str, Vec<(&'static str, &'static str, &'static str)>) {
    let mut pieces = REFERENCE.split("<!-- keys:");
    let before = pieces.next().unwrap_or_default();
    let tables = pieces.map(|piece| {
        let (path, rest) = piece.split_once("-->").expect("a mark is a comment");
        let (table, rest) = rest.split_once("<!-- end -->").expect("a table ends in a mark");
        (path.trim(), table, rest)
    });
    (before, tables.collect())
}

/// `AEGIS_WRITE_REFERENCE=1 cargo test --lib made_of_the_description` makes them anew.
#[test]
fn the_tables_of_the_reference_are_made_of_the_description() {
    let (keys, (before, tables)) = (every_key(), marked());
    let own: Vec<&str> = tables.iter().map(|(path, ..)| *path).collect();
    let mut made = before.to_owned();
    for (path, _, rest) in &tables {
        let name = path.trim_end_matches(".*").trim_end_matches("[]");
        let section = keys.iter().find(|key| key.path == name).and_then(|key| key.about.shape.inner);
        let table = tables::reference(path, &section.unwrap_or(Settings::describe)(), &own);
        let mark = format!("<!-- keys: {path}").trim_end().to_owned();
        made += &format!("{mark} -->\n\n{table}\n<!-- end -->{rest}");
    }
    if std::env::var_os("AEGIS_WRITE_REFERENCE").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md"), &made).unwrap();
    } else if let Some((line, is)) = made.lines().zip(REFERENCE.lines()).find(|(made, is)| made != is) {
        panic!("docs/configuration.md has\n{is}\nand should have\n{line}\nAEGIS_WRITE_REFERENCE=1 writes it");
    }
}

#[test]
fn every_key_is_in_one_table_of_the_reference() {
    let rows = marked().1.into_iter().flat_map(|(path, table, _)| {
        let names = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        names.map(move |name| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") })
    });
    let rows: Vec<String> = rows.collect();
    let once = |key: &Described| match rows.iter().filter(|row| **row == key.path).count() {
        // Its keys have a row each, in the table of the section around it.
        0 => {
            key.about.shape.inner.is_some()
                && rows.iter().any(|row| row.starts_with(&format!("{}.", key.path)))
        }
        count => count == 1,
    };
    assert_eq!(missing(once), NONE);
}

/// The sample, without the `#` in front of keys: `all`, or those of whole sections alone. What stands before the first blank
/// line is no key.
fn uncommented(all: bool) -> String {
    fn bare(line: &str) -> String {
        let text = line.trim_start();
        let indent = &line[..line.len() - text.len()];
        text.strip_prefix("# ").map_or_else(|| line.to_owned(), |text| bare(&format!("{indent}{text}")))
    }
    let (_, keys) = SAMPLE.split_once("\n\n").unwrap();
    let section = |line: &str| line.strip_prefix("# ").unwrap_or(line).to_owned();
    keys.lines().map(|line| if all { bare(line) } else { section(line) } + "\n").collect()
}

#[test]
fn every_section_of_the_sample_loads_without_a_word() {
    let loaded = good(&uncommented(false));
    assert_eq!(loaded.warnings, []);
    let settings = &loaded.settings;
    assert!(settings.redis.is_some() && settings.rate_limit.is_some() && settings.alerts.is_some());
}

#[test]
fn every_key_is_in_the_sample_with_its_default() {
    let text = uncommented(true);
    let lines: Vec<&str> = text.lines().collect();
    let root = crate::config::parse::parse(Path::new("a.yaml"), &text, "a.yaml", &mut Vec::new()).unwrap();
    // A key that is only told of stands in the comment of the section around it.
    let line = |place: &str| {
        let around = std::iter::successors(Some(place), |place| Some(place.rsplit_once('.')?.0));
        let node = around.into_iter().find_map(|place| root.find(place))?;
        lines.get(node.origin.key.line - 1).copied()
    };
    assert_eq!(
        missing(|key| line(&key.place).is_some_and(|line| line.contains(&format!("{}:", key.about.name)))),
        NONE
    );
    let effective = effective_sample();
    let as_by_default = |key: &Described| match &key.about.default {
        Some(default) if key.about.shape.inner.is_none() => {
            effective.pointer(&pointer(&key.place)) == Some(default)
                || line(&key.place).is_some_and(|line| line.contains("default"))
        }
        _ => true,
    };
    assert_eq!(missing(as_by_default), NONE);
}

/// What comes of the whole sample, whose certificates are not there and whose `url` and `targets` exclude each other.
fn effective_sample() -> Json {
    let source = set(&["rateLimit.tierLimits.pro.requests=1"]);
    let inspection = inspect("a.yaml", &uncommented(true), &source);
    println!("{}", inspection.problems);
    render_redacted(&inspection.settings.unwrap())
}

fn pointer(place: &str) -> String {
    format!("/{}", place.replace("[0]", "/0").replace('.', "/"))
}

#[test]
fn every_key_with_a_default_is_in_the_effective_configuration() {
    let effective = effective_sample();
    let shown = |key: &Described| {
        let expected = key.about.default.is_some() || key.about.shape.required.is_some();
        !expected || effective.pointer(&pointer(&key.place)).is_some()
    };
    assert_eq!(missing(shown), NONE);
}

#[test]
fn every_key_is_known_to_the_reader_which_says_where_its_value_is_wrong() {
    let refused = |key: &Described| {
        // Neither a scalar nor a section, nor a list of either.
        let text = around(&key.place, "\n[[1]]");
        fixtures::keep("a.yaml", &text, false);
        let problems = inspect("a.yaml", &text, &alone()).problems;
        let unknown = |problem: &Problem| problem.message.contains("unknown key");
        let named = |problem: &Problem| {
            let at = (problem.severity, problem.place.line) == (Severity::Error, 2);
            at && problem.message.starts_with(&format!("`{}", key.place))
        };
        problems.0.iter().any(named) && !problems.0.iter().any(unknown)
    };
    assert_eq!(missing(refused), NONE);
}

#[test]
fn every_section_refuses_keys_that_it_does_not_have() {
    let refuses = |key: &Described| {
        let place = key.place.strip_suffix(key.about.name).unwrap().to_owned() + "nonsense";
        let text = around(&place, "1");
        fixtures::keep("a.yaml", &text, false);
        lines(&text)
            .iter()
            .any(|line| line.contains("unknown key `nonsense`") || line.contains(&format!("`{place}`")))
    };
    assert_eq!(missing(refuses), NONE);
}

/// What editors check files with; `AEGIS_WRITE_REFERENCE=1` writes it too.
#[test]
fn the_schema_beside_the_samples_is_made_of_the_description() {
    let made = format!("{:#}\n", crate::config::schema());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/aegis.schema.json");
    if std::env::var_os("AEGIS_WRITE_REFERENCE").is_some() {
        std::fs::write(path, &made).unwrap();
    }
    assert!(std::fs::read_to_string(path).is_ok_and(|is| is == made), "AEGIS_WRITE_REFERENCE=1 writes it");
}
