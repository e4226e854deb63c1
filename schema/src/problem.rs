//! Problems of a configuration: what is wrong, where, and how to fix it.
//!
//! One problem is one line, `FILE:LINE:COL: error: what, and how to fix it`, so that editors and CI can jump
//! to it. Nothing here ever holds the value of a secret.

use std::fmt;

use serde::Serialize;

/// Whether a problem keeps the configuration from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration works, but probably not as meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// A place to point at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The file as it was named, or `environment`, `--set`, `built-in defaults`.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl Place {
    /// The start of `file`.
    pub fn start(file: impl Into<String>) -> Self {
        Self { file: file.into(), line: 1, column: 1 }
    }

    /// A problem at this place.
    pub fn problem(&self, severity: Severity, message: impl Into<String>) -> Problem {
        let mut message = message.into();
        // A key may hold anything; a problem is one line, and nothing in it steers a terminal.
        if message.contains(char::is_control) {
            let escape =
                |c: char| if c.is_control() { c.escape_default().collect() } else { String::from(c) };
            message = message.chars().map(escape).collect();
        }
        Problem { severity, place: self.clone(), message }
    }

    /// An error at this place.
    pub fn error(&self, message: impl Into<String>) -> Problem {
        self.problem(Severity::Error, message)
    }

    /// A warning at this place.
    pub fn warning(&self, message: impl Into<String>) -> Problem {
        self.problem(Severity::Warning, message)
    }
}

/// One problem of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Error or warning.
    pub severity: Severity,
    #[serde(flatten)]
    pub place: Place,
    /// What is wrong and how to fix it; one line, no secret.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { severity, place: Place { file, line, column }, message } = self;
        write!(f, "{file}:{line}:{column}: {severity}: {message}")
    }
}

/// Every problem of a refused configuration, errors first, then by place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Sorts: errors before warnings, then the file's by line and column, then the other layers'; drops exact
    /// repetitions.
    pub fn sorted(mut problems: Vec<Problem>) -> Self {
        let layer = |file: &str| ["environment", "--set"].iter().position(|layer| *layer == file);
        // Stable: problems at one place stay in the order in which they were found.
        problems.sort_by_key(|Problem { severity, place, .. }| {
            (*severity, layer(&place.file), place.line, place.column)
        });
        // An alias shows its anchor's mistake once per use; the reader needs it once.
        problems.dedup();
        Self(problems)
    }

    /// How many are errors.
    pub fn errors(&self) -> usize {
        self.0.iter().filter(|p| p.severity == Severity::Error).count()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))
    }
}

impl std::error::Error for Problems {}
