//! Of `auth`: keys that cannot be used, and patterns that cannot be compiled.

use crate::auth::jwt::{Issuers, Unfit};
use crate::auth::rbac;
use crate::config::settings::auth::issuers;
use crate::config::{Places, Problem, Settings};
use crate::router::{Pattern, PatternSet};

/// Routes that want something of whoever asks, and where `anonymousPaths` lets everybody in unasked. Where a pattern opens
/// only a part of what a route matches, that is what it is for.
fn opened(settings: &Settings) -> Vec<(String, String)> {
    let auth = &settings.auth;
    let Some(anonymous) = PatternSet::new(&auth.anonymous_paths).ok().filter(|_| auth.enabled) else {
        return Vec::new();
    };
    let backends = settings.backends.iter().enumerate();
    let routes = backends.flat_map(|(n, backend)| {
        backend
            .routes
            .iter()
            .enumerate()
            .map(move |(m, route)| (n, m, route, route.policy.over(&backend.policy)))
    });
    let wanting = routes.filter(|(.., policy)| policy.auth.is_none() && policy.wants());
    // A pattern that matches another one's text matches all that the other does, but for a few beyond one `*`.
    let opened = wanting.filter(|(_, _, route, _)| anonymous.any(&route.path, false));
    let what = "wants roles, scopes, claims or tiers, and `auth.anonymousPaths` lets everybody in there: write `auth: required` \
                for it, or remove one of the two";
    opened.map(|(n, m, ..)| (format!("backends[{n}].routes[{m}]"), what.to_owned())).collect()
}

/// Keys of issuers that cannot be used, and patterns of `auth` that cannot be compiled.
pub(super) fn problems(settings: &Settings, places: &Places) -> Vec<Problem> {
    let auth = &settings.auth;
    let unfit = match Issuers::build(&issuers::entries(&auth.issuers, &auth.jwt), None) {
        Ok((_, unfit)) | Err(unfit) => unfit,
    };
    let keys = unfit.into_iter().map(|Unfit { key, is_error, what }| {
        let (place, what) = (places.file(&key), format!("`{key}` {what}"));
        if is_error { place.error(what) } else { place.warning(what) }
    });
    let resources = rbac::problems(&auth.rbac).into_iter();
    let resources = resources.map(|problem| (problem.path, problem.text));
    let permissions = auth.api_key.keys.iter().enumerate().flat_map(|(n, key)| {
        let bad = key.permissions.iter().filter_map(|(path, _)| Some((path, Pattern::parse(path).err()?)));
        bad.map(move |(path, error)| {
            (format!("auth.apiKey.keys[{n}].permissions"), format!("holds the pattern {path}: {error}"))
        })
    });
    let paths = auth.anonymous_paths.iter().enumerate().filter_map(|(n, path)| {
        Some((format!("auth.anonymousPaths[{n}]"), Pattern::parse(path).err()?.to_string()))
    });
    let patterns = resources.chain(permissions).chain(paths).chain(opened(settings));
    keys.chain(patterns.map(|(key, what)| places.file(&key).error(format!("`{key}` {what}")))).collect()
}
