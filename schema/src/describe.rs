//! Keys and sections: what a declaration says of each, and what can be done by that alone.

use serde_json::Map;

use crate::form::{Form, Shape, Show};
use crate::problem::Problem;
use crate::tree::Node;
use crate::{Context, Json, Lists, Section};

/// What a reload does with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// Applies it; the text says when, as in `, for new connections`.
    Live(&'static str),
    /// Leaves it as it was at the start.
    Restart,
    /// Applies what is in the section, but does not turn it on or off.
    Presence,
}

/// The words for [`Reload`] in a declaration.
pub mod reload {
    #![expect(non_upper_case_globals, reason = "words of the declarations")]

    use super::Reload;

    /// Applied by a reload.
    pub const live: Reload = Reload::Live("");
    /// Applied by a restart only.
    pub const restart: Reload = Reload::Restart;
    /// A section that only a restart turns on or off.
    pub const presence: Reload = Reload::Presence;

    /// Applied by a reload, with what there is to say about it.
    pub fn live_for(what: &'static str) -> Reload {
        Reload::Live(what)
    }
}

/// What is known of a key without a value.
pub struct About {
    pub name: &'static str,
    /// What it means, one line.
    pub doc: String,
    pub shape: Shape,
    /// As shown; `None` = nothing, or it must be written.
    pub default: Option<Json>,
    pub reload: Reload,
}

/// A section without its values.
pub struct Description {
    pub doc: &'static str,
    pub keys: Vec<About>,
}

/// One key of the section `S`.
pub struct Key<S> {
    pub about: About,
    read: ReadInto<S>,
    show: Show<S>,
    keep: Keep<S>,
}

type ReadInto<S> = Box<dyn Fn(&Section<'_>, &mut S)>;
type Keep<S> = Box<dyn Fn(&mut S, &S)>;

/// Makes a key of what a declaration says, or several of a [`flat`](crate::form::flat) section: `get` and `get_mut` reach the
/// field.
pub fn key<S: 'static, T: Clone + 'static>(
    name: &'static str,
    doc: &'static str,
    form: Form<T>,
    reload: Reload,
    get: fn(&S) -> &T,
    get_mut: fn(&mut S) -> &mut T,
) -> Vec<Key<S>> {
    let Form { read, show, keep, flat, shape } = form;
    if let Some(keys) = flat {
        let lift = |Key { about, read, show, keep }: Key<T>| Key {
            about,
            read: Box::new(move |section, settings| read(section, get_mut(settings))),
            show: Box::new(move |settings, secrets| show(get(settings), secrets)),
            keep: Box::new(move |new, started| keep(get_mut(new), get(started))),
        };
        return keys().into_iter().map(lift).collect();
    }
    let about = About { name, doc: doc.to_owned(), shape: shape.clone(), default: None, reload };
    vec![Key {
        about,
        read: Box::new(move |section, settings| {
            if let Some(value) = section.value(name, &shape, &read) {
                *get_mut(settings) = value;
            }
        }),
        show: Box::new(move |settings, secrets| show(get(settings), secrets)),
        keep: Box::new(move |new, started| match (reload, keep) {
            (Reload::Restart, _) => get_mut(new).clone_from(get(started)),
            (_, Some(keep)) => keep(get_mut(new), get(started)),
            _ => {}
        }),
    }]
}

/// A section of the configuration. [`section!`](crate::section!) implements it.
pub trait Describe: Clone + Default + PartialEq + 'static {
    const DOC: &'static str;
    /// Keys that a later release brings, and what each arrives with: refused, for whoever writes one relies on it.
    const LATER: &'static [(&'static str, &'static str)];

    /// Every key, in the order in which they are shown.
    fn keys() -> Vec<Key<Self>>;

    /// Judges what spans keys, and fills in what follows from others.
    fn check(&mut self, section: &Section<'_>);

    /// What is known without a value.
    fn describe() -> Description {
        let defaults = Self::default();
        let about = |Key { about, show, .. }: Key<Self>| {
            let default = about.shape.required.is_none().then(|| show(&defaults, false)).flatten();
            About { default, doc: about.doc.split_whitespace().collect::<Vec<_>>().join(" "), ..about }
        };
        Description { doc: Self::DOC, keys: Self::keys().into_iter().map(about).collect() }
    }

    /// Reads the section, noting every problem; what is wrong or not written is as by default.
    fn read(section: &Section<'_>) -> Self {
        let (keys, mut settings) = (Self::keys(), Self::default());
        section.refuse(Self::LATER);
        keys.iter().for_each(|key| (key.read)(section, &mut settings));
        settings.check(section);
        section.finish(keys.iter().map(|key| key.about.name).collect(), Self::LATER);
        settings
    }

    /// In the spelling of the file, defaults written out. `secrets`: with what must not be shown, for comparing.
    fn show(&self, secrets: bool) -> Json {
        let shown =
            |key: Key<Self>| (key.show)(self, secrets).map(|value| (key.about.name.to_owned(), value));
        Json::Object(Self::keys().into_iter().filter_map(shown).collect::<Map<_, _>>())
    }

    /// Takes from what was `started` what only a restart applies.
    fn keep(&mut self, started: &Self) {
        Self::keys().iter().for_each(|key| (key.keep)(self, started));
    }
}

/// Reads a whole tree; then `across` judges what spans sections. `file` is the label for problems of the file.
pub fn read<T: Describe>(
    root: &Node,
    file: &str,
    problems: &mut Vec<Problem>,
    across: impl FnOnce(&mut T, &Section<'_>),
) -> (T, Lists) {
    let context = Context::new(file);
    let section = Section::open(&context, root, String::new());
    let mut settings = T::read(&section);
    across(&mut settings, &section);
    let (found, lists) = context.close();
    problems.extend(found);
    (settings, lists)
}
