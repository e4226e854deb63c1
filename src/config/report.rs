//! What `aegis check` prints.

use serde_json::{Value, json};

use super::{Inspection, Places, Problem, Problems, Settings, Source, inspect_with};

/// The verdict over a configuration.
#[derive(Clone, Debug)]
pub struct Report {
    /// Every problem, errors first, then by place.
    pub problems: Problems,
    /// The last line: `config/aegis.yaml: ok: 3 backends, 12 routes`.
    pub summary: String,
}

/// Judges a configuration; `judge` adds the router's problems.
pub fn report(source: &Source, judge: impl FnOnce(&Settings, &Places) -> Vec<Problem>) -> Report {
    let Inspection { settings, problems, file, .. } = inspect_with(source, judge);
    let label = source.label(file.as_deref());
    let errors = problems.errors();
    let mut summary = match settings {
        Some(settings) if errors == 0 => {
            let routes = settings.backends.iter().map(|backend| backend.routes.len()).sum();
            let (backends, routes) = (count(settings.backends.len(), "backend"), count(routes, "route"));
            format!("{label}: ok: {backends}, {routes}")
        }
        _ => format!("{label}: {}", count(errors, "error")),
    };
    let warnings = problems.0.len() - errors;
    if warnings > 0 {
        summary.push_str(&format!(", {}", count(warnings, "warning")));
    }
    Report { problems, summary }
}

impl Report {
    /// Whether the configuration can be used.
    pub fn ok(&self) -> bool {
        self.problems.errors() == 0
    }

    /// One line per problem, and the summary.
    pub fn text(&self) -> String {
        self.problems.0.iter().map(|problem| format!("{problem}\n")).chain([self.summary.clone()]).collect()
    }

    /// `{"ok": …, "problems": […]}`.
    pub fn json(&self) -> Value {
        json!({"ok": self.ok(), "problems": self.problems})
    }
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
