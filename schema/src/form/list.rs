//! What is made of others: lists, maps, words, sections.

use std::rc::Rc;

use serde_json::json;

use super::{At, Form, Shape, Words};
use crate::section::{kind, nothing, quoted};
use crate::tree::Kind;
use crate::{Describe, Json, Section, suggest, tables};

/// One of a few words.
pub fn one_of<T: Words>() -> Form<T> {
    let words = || T::WORDS.iter().map(|(word, _)| *word);
    let shown = words().map(|word| format!("`{word}`")).collect::<Vec<_>>();
    let (listed, all) = (shown.join(", "), shown.join(" or "));
    Form::new(
        listed,
        || json!({"enum": T::WORDS.iter().chain(T::ALIASES).map(|(word, _)| *word).collect::<Vec<_>>()}),
        move |at| {
            let text = at.text()?;
            if let Some((_, value)) = T::WORDS.iter().chain(T::ALIASES).find(|(word, _)| *word == text) {
                return Some(*value);
            }
            let hint = suggest::hint(text, words(), "use one of these");
            at.refuse(format_args!("must be {all}, found {}: {hint}", at.found()))
        },
        |value, _| T::WORDS.iter().find(|(_, known)| known == value).map(|(word, _)| (*word).into()),
    )
}

/// A list of `item`.
pub fn list<T: 'static>(item: Form<T>) -> Form<Vec<T>> {
    let Form { read, show, shape, .. } = item;
    let item = shape.clone();
    let schema = move || json!({"type": "array", "items": tables::item(&item)});
    let words = match shape.inner {
        Some(_) => "list".to_owned(),
        None => format!("list of {}", shape.words),
    };
    let form = Form::new(
        words,
        schema,
        move |at: &At<'_, '_>| {
            let items = match &at.node.kind {
                Kind::List(items) => items,
                _ if nothing(at.node) => return None,
                _ => return at.refuse(format_args!("must be a list, found {}: write `[…]`", kind(at.node))),
            };
            let (errors, mut numbers, mut values) = (at.section.context.errors(), Vec::new(), Vec::new());
            for (n, node) in items.iter().enumerate().filter(|(_, node)| !node.broken()) {
                let name = format!("{}[{n}]", at.name);
                if let Some(value) = read(&At { section: at.section, name, node, secret: at.secret }) {
                    values.push(value);
                    numbers.push(n);
                }
            }
            at.section.context.listed(at.name.clone(), numbers, errors);
            Some(values)
        },
        move |items, secrets| Some(items.iter().filter_map(|item| show(item, secrets)).collect()),
    );
    let Shape { inner, secret, .. } = shape;
    Form { shape: Shape { inner, secret, many: true, ..form.shape }, ..form }
}

/// A list, or its one item alone; `item` makes the form of an item.
pub fn one_or_many<T: 'static>(item: impl Fn() -> Form<T>) -> Form<Vec<T>> {
    let (one, many) = (item(), list(item()));
    let (text, items) = (one.shape.schema.clone(), many.shape.schema.clone());
    let schema = move || {
        let (mut schema, text) = (items(), text());
        schema["type"] = json!([text["type"], "array"]);
        text.get("pattern").into_iter().for_each(|pattern| schema["pattern"] = pattern.clone());
        schema
    };
    let words = format!("{}, or a list of it", one.shape.words);
    let (alone, all) = (one.read, many.read);
    let read = move |at: &At<'_, '_>| match &at.node.kind {
        Kind::List(_) => all(at),
        _ => alone(at).map(|item| vec![item]),
    };
    let shape = Shape { words, schema: Rc::new(schema), ..many.shape };
    Form { read: Box::new(read), shape, ..many }
}

impl<T: PartialEq + 'static> Form<Vec<T>> {
    /// Of several that are the same, the first.
    pub fn unique(self) -> Self {
        let read = self.read;
        let once = move |at: &At<'_, '_>| {
            let mut once: Vec<T> = Vec::new();
            let kept = |value: T| {
                let new = !once.contains(&value);
                if new {
                    once.push(value);
                }
                new
            };
            let kept: Vec<bool> = read(at)?.into_iter().map(kept).collect();
            at.section.context.unlist(&at.name, &kept);
            Some(once)
        };
        Self { read: Box::new(once), ..self }
    }
}

/// Names and values, in the order of the file; `name` is how a name is read, or what is wrong with it.
pub fn map<T: 'static>(
    words: &'static str,
    name: fn(&str) -> Result<String, &'static str>,
    value: Form<T>,
) -> Form<Vec<(String, T)>> {
    let Form { read, show, shape, .. } = value;
    let (Shape { secret, inner, .. }, each) = (shape.clone(), shape.clone());
    let schema = move || json!({"type": "object", "additionalProperties": tables::value(&each, each.braces.is_none())});
    let form = Form::new(
        words,
        schema,
        move |at: &At<'_, '_>| {
            if nothing(at.node) {
                return None;
            }
            let table = Section::open(at.section.context, at.node, at.name.clone());
            let mut all: Vec<(String, T)> = Vec::new();
            for (key, node) in table.free() {
                let path = &table.path;
                match name(key) {
                    Err(what) => {
                        let key = if shape.secret { "a name".to_owned() } else { quoted(key) };
                        table.error_at_key(node, format!("{key} in `{path}` {what}"));
                    }
                    Ok(name) if all.iter().any(|(known, _)| *known == name) => {
                        let (name, why) = (quoted(&name), "for case does not matter: keep one");
                        table.error_at_key(node, format!("the header {name} is in `{path}` twice, {why}"));
                    }
                    Ok(name) => all.extend(table.value(key, &shape, &read).map(|value| (name, value))),
                }
            }
            Some(all)
        },
        move |all, secrets| {
            let shown = |(name, value): &(String, T)| show(value, secrets).map(|value| (name.clone(), value));
            Some(Json::Object(all.iter().filter_map(shown).collect()))
        },
    );
    Form { shape: Shape { inner, secret, many: true, ..form.shape }, ..form }
}

/// A section of its own.
pub fn section<T: Describe>() -> Form<T> {
    let read = |at: &At<'_, '_>| {
        // An item of a list is there, even where it is empty.
        let item = at.name.ends_with(']');
        if nothing(at.node) && !item {
            return None;
        }
        Some(T::read(&Section::open(at.section.context, at.node, at.name.clone())))
    };
    let form = Form::new(
        "section",
        || tables::object(&T::describe()),
        read,
        |value: &T, secrets| Some(value.show(secrets)),
    );
    Form { shape: Shape { inner: Some(T::describe), ..form.shape }, keep: Some(T::keep), ..form }
}

/// A section whose keys stand in the one around it; its own `check` is not asked.
pub fn flat<T: Describe>() -> Form<T> {
    Form { flat: Some(T::keys), ..section() }
}

impl<T: Describe> Form<Option<T>> {
    /// What is in the section is applied by a reload, that it is there is not.
    pub fn kept(self) -> Self {
        let keep = |new: &mut Option<T>, started: &Option<T>| match (new, started) {
            (Some(new), Some(started)) => new.keep(started),
            (new, started) => new.clone_from(started),
        };
        Self { keep: Some(keep), ..self }
    }
}

/// A section, or what stands for it, which is `text`; `words` say what.
pub fn short<T: Describe, U: 'static>(words: &'static str, text: Form<U>, into: fn(U) -> T) -> Form<T> {
    let whole = section::<T>();
    let (one, other, read) = (text.shape.schema.clone(), whole.shape.schema.clone(), whole.read);
    let schema = move || {
        let (mut schema, text) = (other(), one());
        schema["type"] = json!(["string", "object"]);
        text.get("pattern").into_iter().for_each(|pattern| schema["pattern"] = pattern.clone());
        schema
    };
    let read = move |at: &At<'_, '_>| match &at.node.kind {
        Kind::Text(_) => (text.read)(at).map(into),
        _ => read(at),
    };
    Form {
        read: Box::new(read),
        shape: Shape { words: words.to_owned(), schema: Rc::new(schema), ..whole.shape },
        ..whole
    }
}
