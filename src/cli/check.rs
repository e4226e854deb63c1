//! `aegis check`: every problem of a configuration, one per line.

use super::say;
use crate::config::{Source, report};
use crate::supervisor::validate;

/// Prints the problems and a summary; the exit code is 0 when nothing is an error, else 1.
pub fn run(source: &Source, json: bool) -> i32 {
    let report = report::report(source, validate);
    let text = if json { format!("{:#}", report.json()) } else { report.text() };
    say(text);
    if report.ok() { 0 } else { 1 }
}
