//! Kinds of values: how each is read, shown and described. A new kind is one function.

mod list;
mod number;
mod text;
mod time;

use std::rc::Rc;

use serde_json::json;

pub use list::{flat, list, map, one_of, one_or_many, section, short};
pub use number::{flag, int, number, size, size_in};
pub use text::{
    fields, file, grammar, header_value, host, host_pattern, known, label, matching, method, network, parsed,
    regular, secret, text,
};
pub use time::{days, duration, duration_in, duration_or_zero, seconds};

use crate::problem::Severity;
use crate::section::{loose, shown};
use crate::tree::{Kind, Node};
use crate::{Description, Json, Key, Section, scalar};

type Read<T> = Box<dyn Fn(&At<'_, '_>) -> Option<T>>;
pub(crate) type Show<T> = Box<dyn Fn(&T, bool) -> Option<Json>>;

/// How a value of type `T` is written.
pub struct Form<T> {
    /// `None` when it is wrong, which was noted.
    pub(crate) read: Read<T>,
    /// In the spelling of the file; the flag: with secrets. `None` = the key is left out.
    pub(crate) show: Show<T>,
    /// Takes from what was started what only a restart applies.
    pub(crate) keep: Option<fn(&mut T, &T)>,
    /// The keys of a section that stand in the one around it.
    pub(crate) flat: Option<fn() -> Vec<Key<T>>>,
    pub(crate) shape: Shape,
}

/// What can be said of a form without its type.
#[derive(Clone)]
pub struct Shape {
    /// For the reference.
    pub words: String,
    /// JSON Schema of the value itself, made when it is asked for: reading does without.
    pub schema: Rc<dyn Fn() -> Json>,
    /// The key must be written: with what.
    pub required: Option<&'static str>,
    /// What holds where it is not written, in words.
    pub unset: Option<&'static str>,
    /// Empty could mean the defaults or none: what to write.
    pub braces: Option<&'static str>,
    /// Its value is shown nowhere.
    pub secret: bool,
    /// The keys of a section, or of each one in a list.
    pub inner: Option<fn() -> Description>,
    pub many: bool,
}

impl Form<String> {
    /// All of the text can be seen. A path can say otherwise that it means such a character, and no host has one; elsewhere
    /// somebody may mean it, which is a warning.
    pub fn seen(self, severity: Severity) -> Self {
        self.check(move |text, at| {
            at.all_seen(severity, text);
        })
    }
}

impl<T: 'static> Form<T> {
    /// `words` are the reference's.
    pub fn new(
        words: impl Into<String>,
        schema: impl Fn() -> Json + 'static,
        read: impl Fn(&At<'_, '_>) -> Option<T> + 'static,
        show: impl Fn(&T, bool) -> Option<Json> + 'static,
    ) -> Self {
        let (words, schema) = (words.into(), Rc::new(schema));
        let (required, unset, braces, inner) = (None, None, None, None);
        let shape = Shape { words, schema, required, unset, braces, secret: false, inner, many: false };
        Self::of(shape, read, show)
    }

    fn of(
        shape: Shape,
        read: impl Fn(&At<'_, '_>) -> Option<T> + 'static,
        show: impl Fn(&T, bool) -> Option<Json> + 'static,
    ) -> Self {
        Self { read: Box::new(read), show: Box::new(show), keep: None, flat: None, shape }
    }

    /// Reads it in another way; what the schema and the reference say of it stays.
    pub fn reads(self, read: impl Fn(&At<'_, '_>) -> Option<T> + 'static) -> Self {
        Self { read: Box::new(read), ..self }
    }

    /// The key must be written; `hint` says with what.
    pub fn required(mut self, hint: &'static str) -> Self {
        self.shape.required = Some(hint);
        self
    }

    /// What the reference says of the default.
    pub fn unset(mut self, words: &'static str) -> Self {
        self.shape.unset = Some(words);
        self
    }

    /// What the reference says of the form.
    pub fn words(mut self, words: &'static str) -> Self {
        self.shape.words = words.to_owned();
        self
    }

    /// What the JSON Schema says of the form.
    pub fn schema(mut self, schema: impl Fn() -> Json + 'static) -> Self {
        self.shape.schema = Rc::new(schema);
        self
    }

    /// What the JSON Schema says of a text, for editors; `read` has the last word.
    pub fn pattern(self, pattern: &'static str) -> Self {
        self.schema(move || json!({"type": "string", "pattern": pattern}))
    }

    /// An empty value is an error: `what` to write.
    pub fn braces(mut self, what: &'static str) -> Self {
        self.shape.braces = Some(what);
        self
    }

    /// Looks at each value that was read.
    pub fn check(self, check: impl Fn(&T, &At<'_, '_>) + 'static) -> Self {
        let read = self.read;
        Self { read: Box::new(move |at| read(at).inspect(|value| check(value, at))), ..self }
    }

    /// Refuses the values that do not hold, of which `what` is said.
    pub fn only(self, holds: impl Fn(&T) -> bool + 'static, what: String) -> Self {
        let read = self.read;
        let held = move |at: &At<'_, '_>| match read(at)? {
            value if holds(&value) => Some(value),
            _ => at.refuse(&what),
        };
        Self { read: Box::new(held), ..self }
    }

    /// Nothing where what was read is unusable, which was noted.
    pub fn unless(self, unusable: fn(&T) -> bool) -> Self {
        let read = self.read;
        Self { read: Box::new(move |at| read(at).filter(|value| !unusable(value))), ..self }
    }

    /// Another type with the same spelling.
    pub fn map<U: 'static>(self, into: fn(T) -> U, back: fn(&U) -> T) -> Form<U> {
        let Self { read, show, shape, .. } = self;
        Form::of(shape, move |at| read(at).map(into), move |value, secrets| show(&back(value), secrets))
    }

    /// May be left out for good. A section that comes or goes is kept as it was where `keep` says so.
    pub fn option(self) -> Form<Option<T>>
    where
        T: Clone,
    {
        let Self { read, show, shape, .. } = self;
        let shown = move |value: &Option<T>, secrets| value.as_ref().and_then(|value| show(value, secrets));
        Form::of(shape, move |at| read(at).map(Some), shown)
    }

    /// Not shown where it is as by default.
    pub fn sparse(self) -> Self
    where
        T: Default + PartialEq,
    {
        let show = self.show;
        let show = move |value: &T, secrets| (*value != T::default()).then(|| show(value, secrets)).flatten();
        Self { show: Box::new(show), ..self }
    }

    /// Its value is a secret, of which `redacted` may be shown.
    pub fn redacted(mut self, redacted: fn(&T) -> Json) -> Self {
        let show = self.show;
        self.shape.secret = true;
        Self {
            show: Box::new(
                move |value, secrets| if secrets { show(value, true) } else { Some(redacted(value)) },
            ),
            ..self
        }
    }
}

/// A value being read.
pub struct At<'s, 'a> {
    pub section: &'s Section<'a>,
    /// `server.port`, `backends[0].routes[1]`.
    pub name: String,
    pub node: &'a Node,
    /// It is shown in no message.
    pub secret: bool,
}

impl<'a> At<'_, 'a> {
    /// The value for a message.
    pub fn found(&self) -> String {
        shown(self.node, self.secret)
    }

    /// Notes an error: `what` is said of the value.
    pub fn error(&self, what: impl std::fmt::Display) {
        self.section.error(self.node, format!("`{}` {what}", self.name));
    }

    /// Likewise, and there is no value.
    pub fn refuse<T>(&self, what: impl std::fmt::Display) -> Option<T> {
        self.error(what);
        None
    }

    /// Notes a warning: `what` is said of the value.
    pub fn warn(&self, what: impl std::fmt::Display) {
        self.section.warning(self.node, format!("`{}` {what}", self.name));
    }

    /// Whether all of a text can be seen, which is noted where not.
    pub fn all_seen(&self, severity: Severity, text: &str) -> bool {
        let Some(found) = scalar::invisible(text) else { return true };
        let escape = if text.starts_with('/') { ", or percent-encode it" } else { "" };
        self.section.note(
            severity,
            self.node,
            format!("`{}` holds {found}: write it anew, by hand{escape}", self.name),
        );
        false
    }

    /// Notes that something else was expected.
    pub fn mismatch<T>(&self, expected: &str) -> Option<T> {
        let hint = match &self.node.kind {
            Kind::Text(text) if text.trim().is_empty() => ": write one, or leave the key out",
            Kind::Text(text) if !loose(self.node) && !matches!(scalar::resolve(text), Kind::Text(_)) => {
                ": remove the quotes"
            }
            Kind::Text(text) if expected.starts_with("`true`") => match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" => ": write `true`",
                "no" | "off" | "n" => ": write `false`",
                _ => "",
            },
            _ => "",
        };
        self.refuse(format_args!("must be {expected}, found {}{hint}", self.found()))
    }

    /// What the value means where a number or a boolean is expected, if anything: a text of a text layer is read as a scalar.
    pub fn scalar(&self) -> Option<Kind> {
        let kind = match &self.node.kind {
            Kind::Text(text) if loose(self.node) => scalar::resolve(text.trim()),
            kind => kind.clone(),
        };
        Some(kind).filter(|kind| *kind != Kind::Null)
    }

    /// The value as a text.
    pub fn text(&self) -> Option<&'a str> {
        match &self.node.kind {
            Kind::Text(text) if text.ends_with(['\n', '\r']) => self.refuse(
                "ends in a line break: whatever wrote the value has added it (a file, `echo`, a YAML block `|`); leave it \
                 out, for example with `printf %s` or `|-`",
            ),
            Kind::Text(text) => Some(text),
            Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) => {
                self.refuse(format_args!("must be text, found {}: put it in quotes", self.found()))
            }
            _ => self.mismatch("text (in quotes where it begins with `[`, `{`, `*`, `&`, `!`, `%` or `@`)"),
        }
    }
}

/// An enum of the configuration; [`choice!`](crate::choice!) implements it.
pub trait Words: Copy + PartialEq + 'static {
    const WORDS: &'static [(&'static str, Self)];
    /// Understood too, but not offered.
    const ALIASES: &'static [(&'static str, Self)];
}

fn string() -> Json {
    json!({"type": "string"})
}
