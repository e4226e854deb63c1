//! The environment as the configuration sees it: a map, so that tests can bring their own.

use std::collections::BTreeMap;
use std::fmt;

/// Environment variables. `Default` is the process's own; variables that are not UTF-8 are left out.
#[derive(Clone)]
pub struct Env(BTreeMap<String, String>);

impl Env {
    /// No variable at all.
    pub fn empty() -> Self {
        Self(BTreeMap::new())
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Variables whose name starts with `prefix`, in order of the names, so that a section (`AEGIS__SERVER`)
    /// comes before its keys (`AEGIS__SERVER__PORT`).
    pub fn starting_with<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().filter(move |(name, _)| name.starts_with(prefix)).map(|(n, v)| (n.as_str(), v.as_str()))
    }
}

impl Default for Env {
    fn default() -> Self {
        std::env::vars_os()
            .filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?)))
            .collect()
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(n, v)| (n.into(), v.into())).collect())
    }
}

/// Names only: a value may be a secret.
impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
