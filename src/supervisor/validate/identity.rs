//! Of `auth`: keys that cannot be used, and patterns that cannot be compiled.

use crate::auth::jwt::{Issuers, Unfit};
use crate::auth::rbac;
use crate::config::settings::auth::issuers;
use crate::config::{Places, Problem, Settings};
use crate::router::Pattern;

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
    let patterns = resources.chain(permissions).chain(paths);
    keys.chain(patterns.map(|(key, what)| places.file(&key).error(format!("`{key}` {what}")))).collect()
}
