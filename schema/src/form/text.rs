//! Texts, and what is written as one.

use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::{Form, map, string};
use crate::problem::Severity;
use crate::secrets::{REDACTED, host_alone, is_secret_field};
use crate::section::quoted;
use crate::{Secret, ensure, scalar, syntax};

/// Any text.
pub fn text() -> Form<String> {
    parsed("text", |text| Ok(text.to_owned()), String::clone)
}

/// What `parse` makes of a text, else what it says of it; `{found}` in that is what was written.
pub fn parsed<T: 'static>(
    words: &'static str,
    parse: impl Fn(&str) -> Result<T, String> + 'static,
    show: fn(&T) -> String,
) -> Form<T> {
    Form::new(
        words,
        string,
        move |at| match parse(at.text()?) {
            Ok(value) => Some(value),
            Err(why) => at.refuse(why.replace("{found}", &at.found())),
        },
        move |value, _| Some(show(value).into()),
    )
}

/// What `parse` makes of a text, else that it is none and why.
pub fn grammar<T: 'static>(
    words: &'static str,
    parse: impl Fn(&str) -> Result<T, &'static str> + 'static,
    show: fn(&T) -> String,
) -> Form<T> {
    parsed(words, move |text| parse(text).map_err(|why| format!("is {{found}}: {why}")), show)
}

/// Likewise, with one thing to say of all others.
pub fn known<T: 'static>(
    words: &'static str,
    what: &'static str,
    parse: impl Fn(&str) -> Option<T> + 'static,
    show: fn(&T) -> String,
) -> Form<T> {
    parsed(words, move |text| parse(text).ok_or_else(|| what.to_owned()), show)
}

/// A text that `fits`.
pub fn matching(
    words: &'static str,
    what: &'static str,
    fits: impl Fn(&str) -> bool + 'static,
) -> Form<String> {
    known(words, what, move |text| fits(text).then(|| text.to_owned()), String::clone)
}

/// A text that is shown nowhere.
pub fn secret() -> Form<Secret> {
    text().map(Secret::from, |secret| secret.to_string()).redacted(|secret| secret.redacted().into())
}

/// Address or name to bind.
pub fn host() -> Form<String> {
    const WHAT: &str = "must be an address or a host name without scheme and port, found {found}: write for example \
                        0.0.0.0, \"::\" or localhost";
    known("address or name", WHAT, syntax::host, String::clone)
}

/// A network or one address; `everybody` is what to say of one that holds every address.
pub fn network(everybody: &'static str) -> Form<IpNet> {
    const WHAT: &str = "must be a network such as 10.0.0.0/8 or an address, found {found}";
    known("networks or addresses", WHAT, syntax::network, ToString::to_string).check(move |network, at| {
        if network.prefix_len() == 0 {
            at.warn(everybody);
        }
    })
}

/// What can be a metric's label, a header's value and part of a Redis key; `hint` ends the message.
pub fn label(hint: &'static str) -> Form<String> {
    text().words("1–64 of `A-Za-z0-9._-`").pattern("^[A-Za-z0-9._-]{1,64}$").check(move |text, at| {
        if !syntax::is_label(text) {
            // Perhaps the URL of a webhook, whose path is a secret.
            let found = if text.contains("://") { quoted(&host_alone(text)) } else { at.found() };
            at.error(format_args!(
                "must be 1 to 64 of the characters A-Z a-z 0-9 . _ -, found {found}: {hint}"
            ));
        }
    })
}

/// A field's value as it can be sent.
pub fn header_value() -> Form<String> {
    const WHAT: &str = "cannot be sent in a header: remove control characters and outer spaces";
    matching("text", WHAT, |text| !text.contains(char::is_control) && text.trim() == text)
        .seen(Severity::Warning)
}

/// A file that is there and can be read.
pub fn file() -> Form<PathBuf> {
    Form::new(
        "file",
        string,
        |at| {
            let path = PathBuf::from(at.text()?);
            let Err(trouble) = regular(&path) else { return Some(path) };
            let what = format!("cannot read {}: {trouble}; check the path and its permissions", at.found());
            at.section.error(at.node, format!("`{}`: {what}", at.name));
            None
        },
        |path, _| Some(path.to_string_lossy().into()),
    )
}

/// A method of requests, in upper case as it is compared.
pub fn method() -> Form<String> {
    let parse = |text: &str| match text.to_ascii_uppercase() {
        _ if !syntax::is_token(text) => Err("is {found}: write a method such as GET or POST".to_owned()),
        upper if upper != text => Err(format!("is {{found}}: methods are upper-case, write {upper}")),
        upper => Ok(upper),
    };
    parsed("methods, upper-case", parse, String::clone).pattern("^[!#-'*+.0-9A-Z^_`|~-]+$")
}

/// `example.com` or `*.example.com`.
pub fn host_pattern() -> Form<String> {
    let parse = |text: &str| match scalar::invisible(text) {
        Some(found) => Err(format!("holds {found}: write it anew, by hand")),
        None => syntax::host_pattern(text).map_err(|why| format!("is {{found}}: {why}")),
    };
    parsed("names, addresses or `*.suffix`", parse, String::clone)
}

/// Fields of a message: names in lower case, each once, and `value`.
pub fn fields<T: 'static>(words: &'static str, value: Form<T>) -> Form<Vec<(String, T)>> {
    let name = |name: &str| {
        ensure!(syntax::is_token(name), "is not a header name: use letters, digits and `-`");
        Ok(name.to_ascii_lowercase())
    };
    let Form { show, shape, read, .. } = map(words, name, value);
    Form::of(shape, read, move |fields, secrets| {
        let mut shown = show(fields, secrets)?;
        for (name, value) in shown.as_object_mut().into_iter().flatten() {
            if !secrets && is_secret_field(name) && value != "" {
                *value = REDACTED.into();
            }
        }
        Some(shown)
    })
}

/// Opens a file that is one. Looked at before it is opened: opening a named pipe would wait for a writer.
///
/// # Errors
/// It is something else, or cannot be opened.
pub fn regular(path: &Path) -> std::io::Result<std::fs::File> {
    match std::fs::metadata(path)?.is_file() {
        true => std::fs::File::open(path),
        false => Err(std::io::Error::other("it is not a file")),
    }
}
