//! What the history API answers.

use serde_json::Value;

use super::{Gateway, SOON, eventually};

/// The data of an answer that is all that there is. One from memory comes while the store is being opened, on a busy machine
/// for a moment.
pub fn data(gateway: &Gateway, what: &str) -> Value {
    let mut answer = Value::Null;
    let is_all = eventually(4 * SOON, || {
        answer = gateway.admin_json(&format!("/api/metrics/{what}"));
        answer.get("note").is_none()
    });
    assert!(is_all, "not all that there is: {answer}");
    assert!(answer["range"].is_string() && answer["bucketSeconds"].is_u64(), "{answer}");
    answer["data"].take()
}

/// A member of all rows, added up.
pub fn sum(rows: &Value, member: &str) -> f64 {
    let rows = rows.as_array().unwrap_or_else(|| panic!("{rows}"));
    rows.iter().map(|row| row[member].as_f64().unwrap_or_else(|| panic!("{member} in {row}"))).sum()
}
