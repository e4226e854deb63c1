//! Path patterns: literal segments, `:name`, `*`, `v*` and `**`.
//!
//! Owns the syntax, its errors and the specificity of a pattern. Refuses what could never match a canonical path,
//! with the spelling that would. Driven by [`super::Router::build`].

use std::collections::HashSet;

use crate::config::settings::EscapedSlash;

use super::canonical::BadPath;
use super::escapes::{push_escape, push_segment};
use super::glob::Glob;
use super::pattern_error::PatternError;
use super::readings::routing_form;

/// One segment of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Exactly this text, with everything decoded that may stand unescaped.
    Literal(String),
    /// `:name`: any one segment.
    Parameter(String),
    /// `*`: any one segment.
    Any,
    /// `v*`: one segment of this shape.
    Glob(Glob),
    /// `**`. In the middle of a pattern one or more segments; at its end one or more, or none when the path has
    /// at least the slash in front of it (`/api/` for `/api/**`).
    Deep,
}

/// A parsed pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    segments: Vec<Segment>,
    specificity: i64,
    literal_characters: usize,
}

impl Pattern {
    /// Most segments a pattern may have.
    pub const MAX_SEGMENTS: usize = 128;

    /// Parses a pattern. Escapes are normalised as in paths (`/%61` is `/a`), and so are characters beyond ASCII
    /// (`/é` is `/%C3%A9`).
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let Some(body) = text.strip_prefix('/') else {
            return Err(PatternError::NotAbsolute(text.to_owned()));
        };
        let mut segments = Vec::new();
        if !body.is_empty() {
            let mut names = HashSet::new();
            for segment in body.split('/') {
                if segment.is_empty() {
                    return Err(match text.strip_suffix('/') {
                        Some(rest) if !rest.contains("//") && !rest.ends_with('/') => {
                            PatternError::TrailingSlash(rest.to_owned())
                        }
                        _ => PatternError::EmptySegment(text.to_owned()),
                    });
                }
                let segment = parse_segment(segment)?;
                if let Segment::Parameter(name) = &segment
                    && !names.insert(name.clone())
                {
                    return Err(PatternError::DuplicateParameter(name.clone()));
                }
                segments.push(segment);
            }
        }
        if segments.len() > Self::MAX_SEGMENTS {
            return Err(PatternError::TooManySegments(segments.len()));
        }
        let specificity = segments.iter().map(segment_specificity).sum();
        let literal_characters = segments.iter().map(literal_characters).sum();
        Ok(Self { text: text.to_owned(), segments, specificity, literal_characters })
    }

    /// The canonical path that it stands for, if that is only one.
    pub fn only_path(&self) -> Option<String> {
        let literal = |segment: &Segment| match segment {
            Segment::Literal(text) => Some(format!("/{text}")),
            _ => None,
        };
        let path = self.segments.iter().map(literal).collect::<Option<String>>()?;
        Some(if path.is_empty() { "/".to_owned() } else { path })
    }

    /// As written in the configuration; the `route` label of metrics and logs.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The segments in order; empty for the root.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// 100 per segment, then per segment −50 for `**`, −10 for one with `*`, −5 for `:name`, +10 for a literal.
    pub fn specificity(&self) -> i64 {
        self.specificity
    }

    /// Characters of literal text in all segments, slashes not counted: what decides between equal specificities.
    pub fn literal_characters(&self) -> usize {
        self.literal_characters
    }
}

fn segment_specificity(segment: &Segment) -> i64 {
    100 + match segment {
        Segment::Literal(_) => 10,
        Segment::Parameter(_) => -5,
        Segment::Any | Segment::Glob(_) => -10,
        Segment::Deep => -50,
    }
}

fn literal_characters(segment: &Segment) -> usize {
    match segment {
        Segment::Literal(text) => text.len(),
        Segment::Glob(glob) => glob.literal_characters(),
        Segment::Parameter(_) | Segment::Any | Segment::Deep => 0,
    }
}

fn parse_segment(segment: &str) -> Result<Segment, PatternError> {
    match segment {
        "**" => return Ok(Segment::Deep),
        "*" => return Ok(Segment::Any),
        _ if segment.contains("**") => return Err(PatternError::DeepInsideSegment(segment.to_owned())),
        _ => {}
    }
    if let Some(name) = segment.strip_prefix(':') {
        return parse_parameter(name);
    }
    refuse_impossible_characters(segment)?;
    if !segment.contains('*') {
        let text = normalised(segment, segment)?;
        return match text.as_str() {
            "." | ".." => Err(PatternError::DotSegment(segment.to_owned())),
            _ => Ok(Segment::Literal(text)),
        };
    }
    let parts = segment.split('*').map(|part| normalised(part, segment)).collect::<Result<Vec<_>, _>>()?;
    Ok(Segment::Glob(Glob::new(parts)))
}

fn parse_parameter(name: &str) -> Result<Segment, PatternError> {
    if name.is_empty() {
        return Err(PatternError::UnnamedParameter);
    }
    match name.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-')) {
        Some(found) => Err(PatternError::ParameterName { name: name.to_owned(), found }),
        None => Ok(Segment::Parameter(name.to_owned())),
    }
}

/// Canonical text of a literal part, in the form in which paths are compared.
fn normalised(part: &str, segment: &str) -> Result<String, PatternError> {
    let mut out = String::with_capacity(part.len());
    push_segment(part, EscapedSlash::Keep, &mut out)
        .map_err(|cause| PatternError::Escape { segment: segment.to_owned(), cause })?;
    for escape in ["%2F", "%5C"] {
        if out.contains(escape) {
            return Err(PatternError::EscapedSeparator(escape));
        }
    }
    if out.contains("%3B") {
        return Err(PatternError::PathParameter("%3B"));
    }
    Ok(routing_form(&out).into_owned())
}

/// ASCII characters that a canonical path has only as escapes. Beyond ASCII both spellings are accepted, since
/// nobody writes `%C3%A9` by hand.
fn refuse_impossible_characters(segment: &str) -> Result<(), PatternError> {
    for found in segment.chars().filter(char::is_ascii) {
        let instead = match found {
            ';' => return Err(PatternError::PathParameter(";")),
            '\\' => "`/`, since a path with a backslash is refused".to_owned(),
            '?' | '#' => {
                format!("the path alone, since query and fragment take no part, or `{}`", escaped(found))
            }
            '{' | '}' | '<' | '>' => format!("`:name` for a parameter, or `{}`", escaped(found)),
            ' ' | '"' | '^' | '`' | '|' | '[' | ']' => format!("`{}`", escaped(found)),
            _ if found.is_control() => {
                let cause = BadPath::Control(found);
                return Err(PatternError::Escape { segment: segment.escape_debug().to_string(), cause });
            }
            _ => continue,
        };
        return Err(PatternError::Character { found, instead });
    }
    Ok(())
}

fn escaped(found: char) -> String {
    let mut out = String::with_capacity(3);
    push_escape(found as u8, &mut out);
    out
}
