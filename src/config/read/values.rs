//! Typed reading of single keys. Each returns `None` when the key is not written or its value is wrong; the
//! latter is noted.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::section::{Section, loose, nothing, shown_for};
use crate::config::file::regular;
use crate::config::scalar::{self, NoDuration};
use crate::config::suggest;
use crate::config::tree::{Kind, Node};

/// Whoever gives a whole request so few milliseconds has probably thought of seconds.
const SECONDS_PERHAPS: u64 = 300;

impl<'a> Section<'a> {
    /// A text.
    pub fn text(&self, key: &'static str) -> Option<(&'a str, &'a Node)> {
        let node = self.node(key)?;
        self.text_of(key, node).map(|text| (text, node))
    }

    /// The text of a node read otherwise; `key` names it in messages.
    pub fn text_of(&self, key: &str, node: &'a Node) -> Option<&'a str> {
        match &node.kind {
            Kind::Text(text) if text.ends_with(['\n', '\r']) => {
                let what = format!(
                    "`{}` ends in a line break: whatever wrote the value has added it (a file, `echo`, a YAML block `|`); \
                     leave it out, for example with `printf %s` or `|-`",
                    self.name(key)
                );
                self.error(node, what);
                None
            }
            Kind::Text(text) => Some(text),
            Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) => {
                let found = shown_for(key, node);
                self.error(
                    node,
                    format!("`{}` must be text, found {found}: put it in quotes", self.name(key)),
                );
                None
            }
            _ => self.mismatch(
                key,
                node,
                "text (in quotes where it begins with `[`, `{`, `*`, `&`, `!`, `%` or `@`)",
            ),
        }
    }

    /// `true` or `false`.
    pub fn flag(&self, key: &'static str) -> Option<bool> {
        let node = self.node(key)?;
        match self.scalar(node) {
            Kind::Bool(b) => Some(b),
            Kind::Null => None,
            _ => self.mismatch(key, node, "`true` or `false`"),
        }
    }

    /// A whole number within `range`.
    pub fn integer<T: TryFrom<i128>>(&self, key: &'static str, range: RangeInclusive<i128>) -> Option<T> {
        let node = self.node(key)?;
        let (low, high) = (range.start(), range.end());
        match self.scalar(node) {
            Kind::Int(n) if range.contains(&n) => T::try_from(n).ok(),
            Kind::Null => None,
            Kind::Int(_) => self.mismatch(key, node, &format!("between {low} and {high}")),
            _ => self.mismatch(key, node, &format!("a whole number between {low} and {high}")),
        }
    }

    /// A number of bytes.
    pub fn bytes(&self, key: &'static str) -> Option<u64> {
        let node = self.node(key)?;
        let bytes = match self.scalar(node) {
            Kind::Null => return None,
            Kind::Int(n) => u64::try_from(n).ok(),
            Kind::Text(text) => scalar::size(&text),
            _ => None,
        };
        // Beyond what a length can be in JSON, TOML and YAML alike.
        bytes.filter(|bytes| i64::try_from(*bytes).is_ok()).or_else(|| {
            self.mismatch(
                key,
                node,
                "a number of bytes, or a size such as `10MB` (10000000) or `10MiB` (10485760)",
            )
        })
    }

    /// Likewise, within `range`.
    pub fn size(&self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let bytes = self.bytes(key)?;
        if !range.contains(&bytes) {
            let (low, high) = (range.start(), range.end());
            let what = format!("`{}` must be between {low} and {high} bytes, found {bytes}", self.name(key));
            self.node(key).iter().for_each(|node| self.error(node, what.clone()));
        }
        Some(bytes)
    }

    /// A number within `range`.
    pub fn number(&self, key: &'static str, range: RangeInclusive<f64>) -> Option<f64> {
        let node = self.node(key)?;
        let number = match self.scalar(node) {
            // Beyond 2^53 a float is no longer exact, and far out of every range.
            Kind::Int(n) => n as f64,
            Kind::Float(x) => x,
            Kind::Null => return None,
            _ => f64::NAN,
        };
        if range.contains(&number) {
            return Some(number);
        }
        self.mismatch(key, node, &format!("a number between {} and {}", range.start(), range.end()))
    }

    /// A duration longer than nothing.
    pub fn duration(&self, key: &'static str) -> Option<Duration> {
        let duration = self.duration_or_zero(key)?;
        if duration.is_zero() {
            if let Some(node) = self.node(key) {
                self.error(
                    node,
                    format!("`{}` must be longer than 0: write for example `5s`", self.name(key)),
                );
            }
            return None;
        }
        Some(duration)
    }

    /// A duration, zero included. Whole numbers are milliseconds.
    pub fn duration_or_zero(&self, key: &'static str) -> Option<Duration> {
        const EXPECTED: &str =
            "a duration such as `500ms`, `30s`, `5m`, `1h` or `2d`, or a whole number of milliseconds";
        let node = self.node(key)?;
        let outcome = match self.scalar(node) {
            Kind::Null => return None,
            Kind::Int(n) => match u64::try_from(n) {
                Ok(n) => {
                    if (1..=SECONDS_PERHAPS).contains(&n) && !key.ends_with("Ms") {
                        let what = format!(
                            "`{}` is {n} milliseconds: write `{n}s` if seconds are meant, else `{n}ms`",
                            self.name(key)
                        );
                        self.warning(node, what);
                    }
                    scalar::milliseconds(n)
                }
                Err(_) if n > 0 => Err(NoDuration::TooLong),
                Err(_) => Err(NoDuration::Malformed),
            },
            Kind::Text(text) => scalar::duration(&text),
            _ => Err(NoDuration::Malformed),
        };
        match outcome {
            Ok(duration) => Some(duration),
            Err(NoDuration::TooLong) => self.mismatch(key, node, "at most a year (`365d`)"),
            Err(NoDuration::Unitless) => {
                let what = format!(
                    "`{}` has no unit: add `ms`, `s`, `m`, `h` or `d`, or remove the quotes",
                    self.name(key)
                );
                self.error(node, what);
                None
            }
            Err(NoDuration::Malformed) => self.mismatch(key, node, EXPECTED),
        }
    }

    /// A whole number of seconds within `range`, or a duration with a unit that is one.
    pub fn seconds(&self, key: &'static str, range: RangeInclusive<u64>) -> Option<Duration> {
        let node = self.node(key)?;
        let duration = match self.scalar(node) {
            Kind::Null => return None,
            Kind::Int(n) => u64::try_from(n).ok().map(Duration::from_secs),
            Kind::Text(text) => scalar::duration(&text).ok(),
            _ => None,
        };
        if let Some(duration) = duration
            && duration.subsec_nanos() == 0
            && range.contains(&duration.as_secs())
        {
            return Some(duration);
        }
        let (low, high) = (range.start(), range.end());
        let expected = format!(
            "a whole number of seconds between {low} and {high}, or a duration such as `30s` or `5m`"
        );
        self.mismatch(key, node, &expected)
    }

    /// One of a few words.
    pub fn choice<T: Clone>(&self, key: &'static str, choices: &[(&'static str, T)]) -> Option<T> {
        self.choice_or_alias(key, choices, &[])
    }

    /// One of a few words; the `aliases` are understood too, but not offered.
    pub fn choice_or_alias<T: Clone>(
        &self,
        key: &'static str,
        choices: &[(&'static str, T)],
        aliases: &[(&'static str, T)],
    ) -> Option<T> {
        let (text, node) = self.text(key)?;
        if let Some((_, value)) = choices.iter().chain(aliases).find(|(word, _)| *word == text) {
            return Some(value.clone());
        }
        let words = || choices.iter().map(|(word, _)| *word);
        let all = words().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ");
        let found = shown_for(key, node);
        let mend = match suggest::closest(text, words()) {
            Some(word) => format!("did you mean `{word}`?"),
            None => "use one of these".to_owned(),
        };
        self.error(node, format!("`{}` must be {all}, found {found}: {mend}", self.name(key)));
        None
    }

    /// The entries of a list.
    pub fn list(&self, key: &'static str) -> Option<&'a [Node]> {
        let node = self.node(key)?;
        match &node.kind {
            Kind::List(items) => Some(items),
            _ if nothing(node) => None,
            _ => {
                let found = shown_for(key, node);
                let what = format!("`{}` must be a list, found {found}: write `[…]`", self.name(key));
                self.error(node, what);
                None
            }
        }
    }

    /// The entries of a list of texts, with their names in messages (`hosts[0]`).
    pub fn texts(&self, key: &'static str) -> Option<Vec<(&'a str, &'a Node, String)>> {
        let items = self.list(key)?;
        let read = |(n, node): (usize, &'a Node)| {
            let name = format!("{key}[{n}]");
            self.text_of(&name, node).map(|text| (text, node, self.name(name)))
        };
        Some(items.iter().enumerate().filter_map(read).collect())
    }

    /// A file that is there and can be read.
    pub fn file(&self, key: &'static str) -> Option<PathBuf> {
        let (text, node) = self.text(key)?;
        let path = PathBuf::from(text);
        let trouble = match regular(&path) {
            Ok(_) => {
                self.context.files.borrow_mut().insert(self.name(key), self.place(node));
                return Some(path);
            }
            Err(error) => error,
        };
        let found = shown_for(key, node);
        let what = format!(
            "`{}`: cannot read {found}: {trouble}; check the path and its permissions",
            self.name(key)
        );
        self.error(node, what);
        None
    }

    /// What the node means where a number or a boolean is expected: a text from a text layer is read as a
    /// scalar.
    pub fn scalar(&self, node: &Node) -> Kind {
        match &node.kind {
            Kind::Text(_) if nothing(node) => Kind::Null,
            Kind::Text(text) if loose(node) => scalar::resolve(text.trim()),
            kind => kind.clone(),
        }
    }

    fn mismatch<T>(&self, key: &str, node: &Node, expected: &str) -> Option<T> {
        let mend = match &node.kind {
            Kind::Text(text) if !loose(node) && !matches!(scalar::resolve(text), Kind::Text(_)) => {
                ": remove the quotes"
            }
            Kind::Text(text) if expected.starts_with("`true`") => match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" => ": write `true`",
                "no" | "off" | "n" => ": write `false`",
                _ => "",
            },
            _ => "",
        };
        let found = shown_for(key, node);
        self.error(node, format!("`{}` must be {expected}, found {found}{mend}", self.name(key)));
        None
    }
}
