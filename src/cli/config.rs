//! `aegis config`: the configuration with the origin of every value.

use super::{complain, say};
use crate::config::{Source, inspect_with, origins};
use crate::supervisor::validate;

/// Prints what somebody wrote, or `all` that is in force; the exit code is 1 when the configuration is refused, whose
/// problems go to stderr, beside what could be read of it.
pub fn run(source: &Source, all: bool) -> i32 {
    let inspection = inspect_with(source, validate);
    say(origins::origins(&inspection, all).trim_end());
    match inspection.verdict() {
        Ok(_) => 0,
        Err(problems) => {
            complain(problems);
            1
        }
    }
}
