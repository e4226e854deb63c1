//! Paths that a rate limit names: `endpoint` of a rule, and `bypass.paths`.
//!
//! They are compared with canonical paths in the form in which routes are found, so escapes are brought into that (`/é` and
//! `/%c3%a9` are `/%C3%A9`, `/%40a` is `/@a`), and what no canonical path looks like is refused with the spelling that works.

use aegis_actors::rate_limiter::settings::{MatchType, Settings};
use aegis_schema::form::At;
use aegis_schema::problem::Severity;
use aegis_schema::{Section, ensure};
use regex::RegexBuilder;

use super::endpoint::{REGEX_SIZE_LIMIT, endpoint_regex, path_or_glob};
use super::settings::EscapedSlash;

/// Longest endpoint; longer ones are slips, and compiled they take memory.
const MAX_LENGTH: usize = 2_000;

/// Brings every path of the section into the spelling of canonical ones; `slash` is what `%2F` in one means.
pub(super) fn canonicalize(settings: &mut Settings, section: &Section<'_>, slash: EscapedSlash) {
    for (rule, section) in settings.rules.iter_mut().zip(section.sections("rules")) {
        let matches = &mut rule.matches;
        let Some(section) = section.child("match") else { continue };
        // A misspelt match type was reported; who knows how the endpoint is meant.
        let (Some(text), Some(kind)) = (matches.endpoint.take(), matches.endpoint_match_type) else {
            continue;
        };
        matches.endpoint = section.at("endpoint").and_then(|at| judged(&at, &text, kind, slash));
    }
    let Some(section) = section.child("bypass") else { return };
    let mut paths: Vec<String> = Vec::new();
    for (text, at) in settings.bypass.paths.iter().zip(section.items("paths")) {
        let Some(path) = judged(&at, text, path_or_glob(text), slash) else { continue };
        if path.strip_prefix('/').is_some_and(|rest| rest.len() > 1 && rest.bytes().all(|b| b == b'*')) {
            at.warn("lets every request pass: to limit nothing, write `enabled: false`");
        }
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    settings.bypass.paths = paths;
}

/// The text as canonical paths are spelt; what is wrong with it is noted.
fn judged(at: &At<'_, '_>, text: &str, kind: MatchType, slash: EscapedSlash) -> Option<String> {
    let refuse = |why: String| at.error(format_args!("is {}: {why}", at.found()));
    let note = |what: String| at.section.warning(at.node, format!("`{}`: {what}", at.name));
    let read = match kind {
        _ if text.is_empty() => Err("write a path such as `/api/login`, or remove it".to_owned()),
        _ if text.len() > MAX_LENGTH => Err(format!("it is longer than {MAX_LENGTH} bytes: shorten it")),
        MatchType::Regex if text.contains(char::is_control) => {
            Err("it holds a line break or another control character, which no path has: remove it".to_owned())
        }
        MatchType::Regex => Ok(text.to_owned()),
        _ => canonical(text, kind, slash),
    };
    let path = read.map_err(refuse).ok()?;
    if !at.all_seen(Severity::Error, text) {
        return None;
    }
    if matches!(kind, MatchType::Glob | MatchType::Regex) {
        compiles(&endpoint_regex(kind, &path)).map_err(refuse).ok()?;
    } else if path.contains('*') {
        note(
            "the `*` means itself here; write `endpointMatchType: glob` if it stands for anything".to_owned(),
        );
    }
    if kind != MatchType::Regex
        && let Some(parameter) = path.split('/').find(|segment| segment.len() > 1 && segment.starts_with(':'))
    {
        note(format!(
            "`{parameter}` means itself here; write `*` in its place and `endpointMatchType: glob` if it stands for any \
             segment"
        ));
    }
    Some(path)
}

/// A path, the front of one or a glob in the spelling of canonical paths; else why no such path can have it.
fn canonical(text: &str, kind: MatchType, slash: EscapedSlash) -> Result<String, String> {
    ensure!(text.starts_with('/'), format!("it must start with `/`: write `/{text}`"));
    let path = spelling(text, kind, slash)?;
    ensure!(!path.contains("//"), "slashes in a row are one in every path: keep one");
    let mut segments = path.split('/');
    if kind == MatchType::Prefix {
        // The last one may be the beginning of a longer one: `/.` of `/.well-known`.
        segments.next_back();
    }
    let plain = !segments.any(|segment| matches!(segment, "." | ".."));
    ensure!(plain, "dot segments are resolved in every path: write the path that it leads to");
    match path.strip_suffix('/') {
        Some(rest) if kind != MatchType::Prefix && !rest.is_empty() => Err(format!(
            "the slash at the end is removed from every path: write `{rest}`, or the glob `{rest}/**` for all below it"
        )),
        _ => Ok(path),
    }
}

/// Escapes in upper case, and none of what may stand for itself in a segment; `*` keeps its, as it could be a wildcard.
fn spelling(text: &str, kind: MatchType, slash: EscapedSlash) -> Result<String, String> {
    const DIGITS: &str = "a `%` needs two hex digits after it: write `%25` for the character itself";
    const SLASH: &str = "a path with `%2F` or `%5C` is refused while `server.paths.escapedSlash` is `reject`: set that to \
                         `keep`, or remove the escape";
    const CONTROL: &str = "no path may hold a control character: remove";
    let mut path = String::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
                let (high, low) = digit().zip(digit()).ok_or(DIGITS)?;
                match (high * 16 + low) as u8 {
                    0..0x20 | 0x7f => return Err(format!("{CONTROL} its escape")),
                    b'/' | b'\\' if slash == EscapedSlash::Reject => return Err(SLASH.to_owned()),
                    value if value.is_ascii_alphanumeric() || b"-._~!$&'()+,=:@".contains(&value) => {
                        path.push(value.into())
                    }
                    value => path.push_str(&format!("%{value:02X}")),
                }
            }
            b'?' if kind == MatchType::Glob => path.push('?'),
            b'?' | b'#' => return Err("it has no query or fragment: write the path alone".to_owned()),
            b';' => return Err("path parameters take no part: remove everything from the `;` on".to_owned()),
            b'\\' => return Err("a path with a backslash is refused: write `/`".to_owned()),
            0..0x20 | 0x7f => return Err(format!("{CONTROL} it")),
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
                "it is not a regular expression ({cause}): fix it, or use another `endpointMatchType`"
            ))
        }
    }
}
