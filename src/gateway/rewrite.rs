//! The request target that the upstream receives.

use std::borrow::Cow;

use super::answer::Cause;
use super::bounds::TARGET_BYTES;
use super::request_parts::RequestTarget;
use super::snapshot::Route;
use crate::router::Canonical;

/// The target to send, where it differs from what the client sent: the canonical path where the client's has another
/// structure, so that both sides judge the same path, and the route's prefixes. The query is never touched.
///
/// # Errors
/// [`Cause::BadRequest`] where the rewritten target is too long to be one.
pub fn target(
    route: &Route,
    canonical: &Canonical<'_>,
    target: &RequestTarget,
) -> Result<Option<String>, Cause> {
    if !canonical.rewritten && route.strip_prefix.is_none() && route.add_prefix.is_none() {
        return Ok(None);
    }
    let base: &str = if canonical.rewritten { &canonical.path } else { target.path() };
    let stripped = match &route.strip_prefix {
        Some(prefix) => strip(base, &canonical.path, canonical.trailing_slash, prefix),
        None => Cow::Borrowed(base),
    };
    let mut rewritten = join(route.add_prefix.as_deref().unwrap_or(""), &stripped);
    if let Some(query) = target.query() {
        rewritten.push('?');
        rewritten.push_str(query);
    }
    if rewritten.len() > TARGET_BYTES {
        return Err(Cause::BadRequest("The request target is too long to be rewritten."));
    }
    Ok(Some(rewritten))
}

/// `path` without `prefix`, at a segment border. Where the prefix is spelled differently in `path` (an escaped letter),
/// the canonical path is stripped instead.
fn strip<'a>(path: &'a str, canonical: &'a str, trailing_slash: bool, prefix: &str) -> Cow<'a, str> {
    let prefix = prefix.trim_end_matches('/');
    let cut = |path: &'a str| match path.strip_prefix(prefix) {
        Some("") => Some("/"),
        Some(rest) if rest.starts_with('/') => Some(rest),
        _ => None,
    };
    if let Some(rest) = cut(path) {
        return Cow::Borrowed(rest);
    }
    match cut(canonical) {
        Some(rest) if trailing_slash && rest != "/" => Cow::Owned(format!("{rest}/")),
        Some(rest) => Cow::Borrowed(rest),
        // The route matches paths beside the prefix; those keep theirs.
        None => Cow::Borrowed(path),
    }
}

/// Two pieces of a path with exactly one slash between them.
fn join(prefix: &str, path: &str) -> String {
    let prefix = prefix.trim_end_matches('/');
    let slash = if path.starts_with('/') { "" } else { "/" };
    format!("{prefix}{slash}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_cut_at_a_segment_border_only() {
        let stripped = |path| strip(path, path, false, "/api");
        assert_eq!(stripped("/api/users/"), "/users/");
        assert_eq!(stripped("/api"), "/");
        assert_eq!(stripped("/apis/x"), "/apis/x");
        assert_eq!(strip("/%61pi/x/", "/api/x", true, "/api/"), "/x/");
    }

    #[test]
    fn prefixes_are_joined_with_one_slash() {
        assert_eq!(join("/v2/", "/users"), "/v2/users");
        assert_eq!(join("/v2", "/"), "/v2/");
        assert_eq!(join("", "/x"), "/x");
    }
}
