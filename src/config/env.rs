//! The environment as the configuration sees it: a map, so that tests can bring their own.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

/// Environment variables, `Err` where one is not UTF-8. `Default` is the process's own; names that are not UTF-8 are nobody's.
#[derive(Clone)]
pub struct Env(BTreeMap<String, Result<String, NotText>>);

/// A variable whose value is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not text in UTF-8: set it anew")]
pub struct NotText;

impl Env {
    /// No variable at all.
    pub fn empty() -> Self {
        Self(BTreeMap::new())
    }

    /// One whose value is no text.
    #[cfg(test)]
    pub fn with_not_text(name: &str) -> Self {
        Self(BTreeMap::from([(name.to_owned(), Err(NotText))]))
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<Result<&str, NotText>> {
        self.0.get(name).map(Self::text)
    }

    fn text(value: &Result<String, NotText>) -> Result<&str, NotText> {
        value.as_deref().map_err(|not_text| *not_text)
    }

    /// Variables whose name starts with `prefix`, in order of the names, so that a section (`AEGIS__SERVER`)
    /// comes before its keys (`AEGIS__SERVER__PORT`).
    pub fn starting_with<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, Result<&'a str, NotText>)> {
        let named = self.0.iter().filter(move |(name, _)| name.starts_with(prefix));
        named.map(|(name, value)| (name.as_str(), Self::text(value)))
    }
}

impl Default for Env {
    fn default() -> Self {
        let text = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().map_err(|_| NotText)))
        };
        Self(std::env::vars_os().filter_map(text).collect())
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), Ok(value.into()))).collect())
    }
}

/// Names only: a value may be a secret.
impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
