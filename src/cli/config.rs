//! `aegis config`: the configuration with the origin of every value.

use super::{complain, say};
use crate::config::{Source, inspect_with, origins};
use crate::supervisor::validate;

/// Prints what somebody wrote, or `all` that is in force. Of a configuration that is refused nothing is in force: its problems
/// are printed instead, and the exit code is 1.
pub fn run(source: &Source, all: bool) -> i32 {
    let inspection = inspect_with(source, validate);
    if inspection.problems.errors() > 0 {
        complain(inspection.problems);
        return 1;
    }
    let text = origins::origins(&inspection, all);
    say(if text.is_empty() { "{}" } else { text.trim_end() });
    0
}
