//! Bundles of authorities that cannot be used, of backends and of token issuers.

use std::path::PathBuf;

use crate::config::settings::auth::issuers;
use crate::config::{Places, Problem, Settings};
use crate::trust;

/// One for each file that holds no certificates.
pub(super) fn problems(settings: &Settings, places: &Places) -> Vec<Problem> {
    let backends = settings.backends.iter().map(|backend| backend.tls.ca_file.clone()).enumerate();
    let backends = backends.map(|(number, file)| (format!("backends[{number}].tls.caFile"), file));
    let issuers = issuers::entries(&settings.auth.issuers, &settings.auth.jwt).into_iter();
    let issuers = issuers.map(|(at, issuer)| (format!("{at}.caFile"), issuer.terms.ca_file));
    let problem = |(key, file): (String, Option<PathBuf>)| {
        let file = file?;
        let why = trust::roots(Some(&file)).err()?;
        let what = format!("`{key}` {}: {why}; it must hold certificates in PEM", file.display());
        Some(places.file(&key).error(what))
    };
    backends.chain(issuers).filter_map(problem).collect()
}
