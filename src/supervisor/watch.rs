//! Watching the files that a configuration consists of.

use std::collections::BTreeSet;
use std::hash::Hasher as _;
use std::path::{Path, PathBuf};

use actix::Addr;
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use super::Supervisor;
use super::messages::FilesTouched;
use super::reload::{hash_file, hasher};
use crate::config::Loaded;

/// The configuration file, certificates, keys and CA bundles.
fn files(loaded: &Loaded) -> Vec<PathBuf> {
    let server =
        loaded.settings.server.tls.iter().flat_map(|tls| [tls.cert_file.clone(), tls.key_file.clone()]);
    let bundles = loaded.settings.backends.iter().filter_map(|backend| backend.tls.ca_file.clone());
    loaded.file.iter().cloned().chain(server).chain(bundles).collect()
}

/// Changes when the content of one of the files does; `None` when there are no files.
pub(super) fn fingerprint(loaded: &Loaded) -> Option<u64> {
    let files = files(loaded);
    if files.is_empty() {
        return None;
    }
    let mut hasher = hasher();
    files.iter().for_each(|file| hash_file(file, &mut hasher));
    Some(hasher.finish())
}

/// Tells the supervisor whenever something happens in a folder that holds one of the files: editors and orchestrators
/// replace files rather than write them, so the file itself is the wrong thing to watch. The watch lasts as long as
/// the value that is returned.
pub fn watch_files(loaded: &Loaded, supervisor: Addr<Supervisor>) -> Option<RecommendedWatcher> {
    let parent = |file: &PathBuf| {
        let parent = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        parent.to_owned()
    };
    let folders: BTreeSet<PathBuf> = files(loaded).iter().map(parent).collect();
    if folders.is_empty() {
        return None;
    }
    let touched = move |event: notify::Result<notify::Event>| {
        let reading = |event: &notify::Event| event.kind.is_access();
        if !event.as_ref().is_ok_and(reading) {
            supervisor.do_send(FilesTouched);
        }
    };
    let mut watcher = match notify::recommended_watcher(touched) {
        Ok(watcher) => watcher,
        Err(error) => {
            log::warn!(
                "the configuration file is not watched: {error}; SIGHUP and POST /_aegis/reload still work"
            );
            return None;
        }
    };
    for folder in folders {
        if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive) {
            log::warn!("{} is not watched: {error}", folder.display());
        }
    }
    Some(watcher)
}
