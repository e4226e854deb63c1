//! JSON with positions.
//!
//! serde_json judges the text; valid JSON is YAML (1.2.2, 1.3), whose parser then knows where things are.

use aegis_schema::problem::Problem;
use aegis_schema::tree::{Node, Pos};

use super::yaml;

/// Parses a JSON text; `None` after a syntax error.
pub(super) fn parse(text: &str, file: &str, problems: &mut Vec<Problem>) -> Option<Node> {
    if let Err(error) = serde_json::from_str::<serde_json::Value>(text) {
        let at = Pos { line: error.line().max(1), column: error.column().max(1) };
        // serde_json repeats the position at the end of its message.
        let info = error.to_string();
        let info = info.split(" at line ").next().unwrap_or_default();
        problems
            .push(at.place(file).error(format!("not valid JSON: {info}; check the punctuation around here")));
        return None;
    }
    yaml::parse(&joined(text), file, problems)
}

/// The text with characters that are written as two halves (`\ud83d\ude00`, RFC 8259, section 7) as themselves: YAML knows no
/// halves.
fn joined(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('\\') {
        let end = if rest[at + 1..].starts_with('u') { at + 12 } else { at + 2 };
        let pair = rest.get(at..end).filter(|pair| pair.len() == 12 && pair.as_bytes()[6] == b'\\');
        let whole = pair.and_then(|pair| serde_json::from_str::<String>(&format!("\"{pair}\"")).ok());
        match whole.filter(|whole| whole.chars().count() == 1) {
            Some(whole) => {
                out.push_str(&rest[..at]);
                out.push_str(&whole);
                rest = &rest[end..];
            }
            None => {
                let (done, more) = rest.split_at(rest.len().min(at + 2));
                out.push_str(done);
                rest = more;
            }
        }
    }
    out + rest
}
