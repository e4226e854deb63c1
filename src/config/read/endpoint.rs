//! Paths that a rate limit names: `endpoint` of a rule, and `bypass.paths`.
//!
//! They are compared with canonical paths in the form in which routes are found, so escapes are brought into that (`/é` and
//! `/%c3%a9` are `/%C3%A9`, `/%40a` is `/@a`), and what no canonical path looks like is refused with the spelling that works.

use aegis_actors::rate_limiter::settings::Endpoint;
use regex::RegexBuilder;

use super::section::{Section, shown_for};
use crate::config::endpoint::{REGEX_SIZE_LIMIT, endpoint_regex, path_or_glob};
use crate::config::problem::Severity;
use crate::config::settings::EscapedSlash;
use crate::config::tree::Node;

/// Longest endpoint; longer ones are slips, and compiled they take memory.
const MAX_LENGTH: usize = 2_000;

/// How the text of an endpoint is meant.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Exact,
    Prefix,
    Glob,
    Regex,
}

/// `endpoint` with `endpointMatchType`; `None` where there is none, or none that could be used.
pub(super) fn matched(section: &Section<'_>, slash: EscapedSlash) -> Option<Endpoint> {
    let kinds =
        [("exact", Kind::Exact), ("prefix", Kind::Prefix), ("glob", Kind::Glob), ("regex", Kind::Regex)];
    let kind = section.choice("endpointMatchType", &kinds);
    let written = section.node("endpointMatchType");
    let Some(node) = section.node("endpoint") else {
        if let Some(node) = written {
            let what = format!(
                "`{}` does nothing without `endpoint`: add that, or remove the key",
                section.name("endpointMatchType")
            );
            section.warning(node, what);
        }
        return None;
    };
    let text = section.text_of("endpoint", node)?;
    let kind = match (kind, written) {
        (Some(kind), _) => kind,
        (None, None) => Kind::Exact,
        // Misspelt, and reported: who knows how the endpoint is meant.
        (None, Some(_)) => return None,
    };
    let path = section.name("endpoint");
    let text = judged(section, &path, text, node, kind, slash)?;
    Some(match kind {
        Kind::Exact => Endpoint::Exact(text),
        Kind::Prefix => Endpoint::Prefix(text),
        Kind::Glob => Endpoint::Glob(text),
        Kind::Regex => Endpoint::Regex(text),
    })
}

/// `bypass.paths`: exact paths and globs.
pub(super) fn bypassed(section: &Section<'_>, slash: EscapedSlash) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    for (text, node, name) in section.texts("paths").unwrap_or_default() {
        let kind = if matches!(path_or_glob(text), Endpoint::Glob(_)) { Kind::Glob } else { Kind::Exact };
        let Some(path) = judged(section, &name, text, node, kind, slash) else { continue };
        if path.strip_prefix('/').is_some_and(|rest| rest.len() > 1 && rest.bytes().all(|b| b == b'*')) {
            let what = format!("`{name}` lets every request pass: to limit nothing, write `enabled: false`");
            section.warning(node, what);
        }
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    paths
}

/// The text as canonical paths are spelt; what is wrong with it is noted.
fn judged(
    section: &Section<'_>,
    name: &str,
    text: &str,
    node: &Node,
    kind: Kind,
    slash: EscapedSlash,
) -> Option<String> {
    let refused = |why: String| {
        section.error(node, format!("`{name}` is {}: {why}", shown_for("endpoint", node)));
        None
    };
    let read = match kind {
        _ if text.is_empty() => Err("write a path such as `/api/login`, or remove it".to_owned()),
        _ if text.len() > MAX_LENGTH => Err(format!("it is longer than {MAX_LENGTH} bytes: shorten it")),
        Kind::Regex if text.contains(char::is_control) => {
            Err("it holds a line break or another control character, which no path has: remove it".to_owned())
        }
        Kind::Regex => Ok(text.to_owned()),
        _ => canonical(text, kind, slash),
    };
    let path = match read {
        Ok(path) => path,
        Err(why) => return refused(why),
    };
    if !section.all_seen(Severity::Error, name, text, node) {
        return None;
    }
    match kind {
        Kind::Glob => {
            if let Err(why) = compiles(&endpoint_regex(&Endpoint::Glob(path.clone()))) {
                return refused(why);
            }
        }
        Kind::Regex => {
            if let Err(why) = compiles(&path) {
                return refused(why);
            }
        }
        Kind::Exact | Kind::Prefix if path.contains('*') => {
            let what = format!(
                "`{name}`: the `*` means itself here; write `endpointMatchType: glob` if it stands for anything"
            );
            section.warning(node, what);
        }
        Kind::Exact | Kind::Prefix => {}
    }
    if kind != Kind::Regex
        && let Some(parameter) = path.split('/').find(|segment| segment.len() > 1 && segment.starts_with(':'))
    {
        let what = format!(
            "`{name}`: `{parameter}` means itself here; write `*` in its place and `endpointMatchType: glob` if it \
             stands for any segment"
        );
        section.warning(node, what);
    }
    Some(path)
}

/// A path, the front of one or a glob in the spelling of canonical paths; else why no such path can have it.
fn canonical(text: &str, kind: Kind, slash: EscapedSlash) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err(format!("it must start with `/`: write `/{text}`"));
    }
    let path = spelling(text, kind, slash)?;
    if path.contains("//") {
        return Err("slashes in a row are one in every path: keep one".to_owned());
    }
    let mut segments = path.split('/');
    if kind == Kind::Prefix {
        // The last one may be the beginning of a longer one: `/.` of `/.well-known`.
        segments.next_back();
    }
    if segments.any(|segment| matches!(segment, "." | "..")) {
        return Err("dot segments are resolved in every path: write the path that it leads to".to_owned());
    }
    match path.strip_suffix('/') {
        Some(rest) if kind != Kind::Prefix && !rest.is_empty() => Err(format!(
            "the slash at the end is removed from every path: write `{rest}`, or the glob `{rest}/**` for all below it"
        )),
        _ => Ok(path),
    }
}

/// Escapes in upper case, and none of what may stand for itself in a segment; `*` keeps its, as it could be a wildcard.
fn spelling(text: &str, kind: Kind, slash: EscapedSlash) -> Result<String, String> {
    let mut path = String::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
                let (Some(high), Some(low)) = (digit(), digit()) else {
                    return Err("a `%` needs two hex digits after it: write `%25` for the character itself"
                        .to_owned());
                };
                match (high * 16 + low) as u8 {
                    0..0x20 | 0x7f => {
                        return Err("no path may hold a control character: remove its escape".to_owned());
                    }
                    b'/' | b'\\' if slash == EscapedSlash::Reject => {
                        return Err(
                            "a path with `%2F` or `%5C` is refused while `server.paths.escapedSlash` is \
                                    `reject`: set that to `keep`, or remove the escape"
                                .to_owned(),
                        );
                    }
                    value if value.is_ascii_alphanumeric() || b"-._~!$&'()+,=:@".contains(&value) => {
                        path.push(value.into())
                    }
                    value => path.push_str(&format!("%{value:02X}")),
                }
            }
            b'?' if kind == Kind::Glob => path.push('?'),
            b'?' | b'#' => return Err("it has no query or fragment: write the path alone".to_owned()),
            b';' => return Err("path parameters take no part: remove everything from the `;` on".to_owned()),
            b'\\' => return Err("a path with a backslash is refused: write `/`".to_owned()),
            0..0x20 | 0x7f => return Err("no path may hold a control character: remove it".to_owned()),
            0x80.. => path.push_str(&format!("%{byte:02X}")),
            _ if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@/".contains(&byte) => {
                path.push(byte.into())
            }
            _ => {
                let found = char::from(byte);
                return Err(format!("a path holds `{found}` only as its escape: write `%{byte:02X}`"));
            }
        }
    }
    Ok(path)
}

/// In one line why an expression cannot be used.
fn compiles(regex: &str) -> Result<(), String> {
    match RegexBuilder::new(regex).size_limit(REGEX_SIZE_LIMIT).build() {
        Ok(_) => Ok(()),
        Err(regex::Error::CompiledTooBig(_)) => {
            Err("compiled it takes more than 1 MiB: use fewer and smaller repetitions".to_owned())
        }
        Err(error) => {
            // Drawn over several lines, with the cause in the last one.
            let text = error.to_string();
            let cause = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("").trim();
            let cause = cause.strip_prefix("error: ").unwrap_or(cause);
            Err(format!(
                "it is not a regular expression ({cause}): mend it, or use another `endpointMatchType`"
            ))
        }
    }
}
