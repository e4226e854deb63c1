//! One entry of `backends` as YAML.

use std::fmt::Write as _;

use super::upstream::Upstream;

/// Builds an entry line by line. Retries, breaker and waits are off or short unless the test sets them.
#[derive(Clone)]
pub struct Backend {
    name: String,
    targets: Vec<String>,
    routes: Vec<String>,
    settings: Vec<String>,
}

impl Backend {
    /// A backend called `name` without targets and routes.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), targets: Vec::new(), routes: Vec::new(), settings: Vec::new() }
    }

    /// The usual one: every path, one upstream.
    pub fn all(upstream: &Upstream) -> Self {
        Self::named("main").to(upstream).route("/**")
    }

    /// Adds an upstream as a target.
    pub fn to(self, upstream: &Upstream) -> Self {
        let url = upstream.url();
        self.target(&format!("url: \"{url}\""))
    }

    /// Adds a target by the members of its YAML flow mapping.
    pub fn target(mut self, members: &str) -> Self {
        self.targets.push(format!("{{{members}}}"));
        self
    }

    /// Adds a route: a pattern, or a YAML flow mapping.
    pub fn route(mut self, route: &str) -> Self {
        self.routes.push(if route.starts_with('{') { route.to_owned() } else { format!("\"{route}\"") });
        self
    }

    /// Sets a key: `key: value` in YAML.
    pub fn with(mut self, line: &str) -> Self {
        let key = line.split(':').next().unwrap_or_default().to_owned();
        self.settings.retain(|old| old.split(':').next() != Some(&key));
        self.settings.push(line.to_owned());
        self
    }

    /// A breaker that never opens: failures are all that the test is about.
    pub fn without_breaker(self) -> Self {
        self.with("circuitBreaker: {enabled: false}")
    }

    /// The entry as YAML, indented for the list under `backends`.
    pub fn yaml(&self) -> String {
        let mut yaml = format!("  - name: {}\n    targets:\n", self.name);
        for target in &self.targets {
            let _ = writeln!(yaml, "      - {target}");
        }
        yaml += "    routes:\n";
        for route in &self.routes {
            let _ = writeln!(yaml, "      - {route}");
        }
        for line in &self.settings {
            let _ = writeln!(yaml, "    {line}");
        }
        yaml
    }
}
