//! Tests of the router as a whole; each file states one part of section 5 of the contract.

mod bare;
mod bypass;
mod canonical;
mod conflicts;
mod find;
mod near;
mod pattern;
mod pattern_set;
mod reference;
mod speed;

use crate::config::settings::EscapedSlash;

use super::*;

type Spec = RouteSpec<&'static str>;

/// A route whose payload is its pattern.
fn route(pattern: &'static str) -> Spec {
    RouteSpec { pattern: pattern.into(), payload: pattern, ..RouteSpec::default() }
}

fn owned(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| text.to_string()).collect()
}

fn router(specs: Vec<Spec>) -> Router<&'static str> {
    Router::build(specs).unwrap()
}

fn patterns(patterns: &[&'static str]) -> Router<&'static str> {
    router(patterns.iter().map(|pattern| route(pattern)).collect())
}

/// What happens to a request, in one word: the payload, `405 ALLOW`, `400` or `404`.
fn outcome(router: &Router<&'static str>, method: &str, url: &str, headers: &[(&str, &str)]) -> String {
    outcome_with(router, method, url, headers, EscapedSlash::Reject)
}

fn outcome_with(
    router: &Router<&'static str>,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    slash: EscapedSlash,
) -> String {
    let (host, path) = match url.strip_prefix("http://") {
        Some(rest) => rest.split_at(rest.find('/').unwrap()),
        None => ("a.test", url),
    };
    let Ok(canonical) = canonicalise(path, slash) else { return "400".into() };
    let headers: Vec<(String, String)> =
        headers.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    let found = router.find(&RequestFacts {
        method,
        host,
        path: &canonical.path,
        trailing_slash: canonical.trailing_slash,
        headers: &headers,
    });
    match found {
        Found::Route(route) => route.payload().to_string(),
        Found::MethodNotAllowed { allow } => format!("405 {allow}"),
        Found::Ambiguous { .. } => "400".into(),
        Found::NoRoute => "404".into(),
    }
}

fn get(router: &Router<&'static str>, url: &str) -> String {
    outcome(router, "GET", url, &[])
}

fn get_keeping_slashes(router: &Router<&'static str>, url: &str) -> String {
    outcome_with(router, "GET", url, &[], EscapedSlash::Keep)
}
