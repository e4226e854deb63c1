//! Watching the files that a configuration consists of.
//!
//! The system tells at once of what happens in their folders. Of some changes it tells nothing: a file that is bound to
//! this place alone (`docker -v FILE:FILE`), the target of a link somewhere else, a folder that was removed and made
//! again, a network's file system. So the files are looked at besides, every [`LOOK`].

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix::{Addr, AsyncContext as _, Context};
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::Supervisor;
use super::messages::FilesTouched;
use super::writing::Writing;
use crate::config::settings::auth::issuers;
use crate::config::{Loaded, regular};

/// How often the files are polled. A change that only a poll has found must be found twice, as it may be half written.
pub(super) const LOOK: Duration = Duration::from_secs(2);

/// The configuration file, what `${file:PATH}` names in it, certificates, keys, CA bundles and revocation lists.
pub(super) fn files(loaded: &Loaded) -> BTreeSet<PathBuf> {
    let server = loaded.settings.server.tls.iter().flat_map(|tls| {
        let others = tls.certificates.iter().map(|other| [&other.cert_file, &other.key_file]);
        let clients = [&tls.client_ca_file, &tls.crl_file].into_iter().flatten();
        std::iter::once([&tls.cert_file, &tls.key_file]).chain(others).flatten().chain(clients).cloned()
    });
    let bundles = loaded.settings.backends.iter().filter_map(|backend| backend.tls.ca_file.clone());
    let auth = &loaded.settings.auth;
    let issuers = issuers::entries(&auth.issuers, &auth.jwt).into_iter();
    let keys = issuers.flat_map(|(_, issuer)| [issuer.terms.jwks_file, issuer.terms.ca_file]).flatten();
    loaded.file.iter().chain(&loaded.named).cloned().chain(server).chain(bundles).chain(keys).collect()
}

/// What was in the files when a configuration was made of them: a hash for each, `None` for one that is missing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FileState(BTreeMap<PathBuf, Option<u64>>);

impl FileState {
    /// What is in them now.
    pub fn of(files: &BTreeSet<PathBuf>) -> Self {
        Self(files.iter().map(|file| (file.clone(), fingerprint(file))).collect())
    }

    /// The state of `files`: known fingerprints are kept, the others are read.
    pub fn extended(&self, files: &BTreeSet<PathBuf>) -> Self {
        let state = |file: &PathBuf| self.0.get(file).copied().unwrap_or_else(|| fingerprint(file));
        Self(files.iter().map(|file| (file.clone(), state(file))).collect())
    }
}

fn fingerprint(file: &Path) -> Option<u64> {
    let (mut hasher, mut content) = (DefaultHasher::new(), Vec::new());
    regular(file).ok()?.read_to_end(&mut content).ok()?;
    content.hash(&mut hasher);
    Some(hasher.finish())
}

/// Folders, each with its device and inode: a folder that was removed and made again is a different one.
pub(super) type Folders = BTreeMap<PathBuf, Option<(u64, u64)>>;

/// The watcher there is, the folders that it was made for, and what it knows.
#[derive(Default)]
pub(super) struct Watch {
    folders: Folders,
    /// Dropping it ends the watch.
    _watcher: Option<RecommendedWatcher>,
    writing: Arc<Mutex<Writing>>,
}

impl Watch {
    /// Whether somebody is in the middle of writing one of the files.
    pub fn sees_writing(&self, files: &BTreeSet<PathBuf>) -> bool {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner).has_any(files, Instant::now())
    }
}

impl Supervisor {
    /// Watches these folders: after a start, after every reload, and where one was made again. What was written just before
    /// is left to the next poll, as it may be half written.
    pub(super) fn watch_folders(&mut self, wanted: Folders, ctx: &Context<Self>) {
        if wanted == self.watch.folders {
            return;
        }
        let writing = Arc::default();
        let watcher = watcher(&wanted, ctx.address(), Arc::clone(&writing));
        self.watch = Watch { folders: wanted, _watcher: watcher, writing };
    }
}

/// What a configuration wants watched.
pub(super) fn folders(loaded: &Loaded) -> Folders {
    match loaded.settings.hot_reload {
        true => folders_of(&files(loaded)),
        false => Folders::new(),
    }
}

/// Where these files lie.
pub(super) fn folders_of(files: &BTreeSet<PathBuf>) -> Folders {
    files.iter().map(|file| folder(file)).collect()
}

/// Editors and orchestrators replace files rather than write them, so a file itself is the wrong thing to watch.
fn folder(file: &Path) -> (PathBuf, Option<(u64, u64)>) {
    let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let number = std::fs::metadata(folder).ok().map(|meta| (meta.dev(), meta.ino()));
    (folder.to_owned(), number)
}

/// Tells the supervisor whenever something happens in one of the folders, until the returned watcher is dropped.
fn watcher(
    folders: &Folders,
    supervisor: Addr<Supervisor>,
    writing: Arc<Mutex<Writing>>,
) -> Option<RecommendedWatcher> {
    if folders.is_empty() {
        return None;
    }
    let touched = move |event: notify::Result<notify::Event>| {
        if let Ok(event) = &event {
            writing.lock().unwrap_or_else(PoisonError::into_inner).note(event, Instant::now());
        }
        let closed = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let reading = |event: &notify::Event| event.kind.is_access() && event.kind != closed;
        if !event.as_ref().is_ok_and(reading) {
            supervisor.do_send(FilesTouched);
        }
    };
    let mut watcher = match notify::recommended_watcher(touched) {
        Ok(watcher) => watcher,
        Err(error) => {
            log::warn!(
                "the configuration file is not watched, only looked at every {LOOK:?}: {error}; SIGHUP and POST \
                 /_aegis/reload work"
            );
            return None;
        }
    };
    for folder in folders.keys() {
        if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
            log::warn!("{} is not watched, only looked at every {LOOK:?}: {error}", folder.display());
        }
    }
    Some(watcher)
}
