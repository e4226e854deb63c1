//! Watching the files that a configuration consists of.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use actix::{Addr, AsyncContext as _, Context};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use super::Supervisor;
use super::messages::FilesTouched;
use crate::config::Loaded;

/// The configuration file, certificates, keys and CA bundles.
pub(super) fn files(loaded: &Loaded) -> BTreeSet<PathBuf> {
    let server =
        loaded.settings.server.tls.iter().flat_map(|tls| [tls.cert_file.clone(), tls.key_file.clone()]);
    let bundles = loaded.settings.backends.iter().filter_map(|backend| backend.tls.ca_file.clone());
    loaded.file.iter().cloned().chain(server).chain(bundles).collect()
}

/// What was in the files when a configuration was made of them: a hash for each, `None` for one that is missing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FileState(BTreeMap<PathBuf, Option<u64>>);

impl FileState {
    /// What is in them now.
    pub fn of(files: &BTreeSet<PathBuf>) -> Self {
        Self(files.iter().map(|file| (file.clone(), print(file))).collect())
    }

    /// The files are now these: what is known of one stays, the others are read.
    pub fn extend(&mut self, files: &BTreeSet<PathBuf>) {
        let mut known = std::mem::take(&mut self.0);
        let mut state = |file: &PathBuf| known.remove(file).unwrap_or_else(|| print(file));
        self.0 = files.iter().map(|file| (file.clone(), state(file))).collect();
    }
}

fn print(file: &Path) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    std::fs::read(file).ok()?.hash(&mut hasher);
    Some(hasher.finish())
}

/// The watcher there is, and the folders that it was made for.
#[derive(Default)]
pub(super) struct Watch {
    folders: BTreeSet<PathBuf>,
    watcher: Option<RecommendedWatcher>,
}

impl Supervisor {
    /// Watches what the running configuration wants watched: after a start, and after every reload.
    pub(super) fn watch_files(&mut self, ctx: &Context<Self>) {
        let wanted = match self.loaded.settings.hot_reload {
            true => files(&self.loaded).iter().map(|file| folder(file)).collect(),
            false => BTreeSet::new(),
        };
        if wanted == self.watch.folders {
            return;
        }
        let watcher = watcher(&wanted, ctx.address());
        // One that could not be made is tried again at the next reload.
        let folders = if watcher.is_some() { wanted } else { BTreeSet::new() };
        self.watch = Watch { folders, watcher };
        if self.watch.watcher.is_some() {
            // For what was written before the watch began.
            ctx.address().do_send(FilesTouched);
        }
    }
}

/// Editors and orchestrators replace files rather than write them, so a file itself is the wrong thing to watch.
fn folder(file: &Path) -> PathBuf {
    file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

/// Tells the supervisor whenever something happens in one of the folders, as long as the value that is returned lives.
fn watcher(folders: &BTreeSet<PathBuf>, supervisor: Addr<Supervisor>) -> Option<RecommendedWatcher> {
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
        if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
            log::warn!("{} is not watched: {error}", folder.display());
        }
    }
    Some(watcher)
}
