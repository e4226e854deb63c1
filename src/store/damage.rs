//! A SQLite file that is overwritten while it is in use, or damaged otherwise: it is set aside under another name, and the
//! store goes on in a new one. Only one that this process has had open as a database: what was no database when it was
//! opened may be anybody's file, named by mistake, and is left where it is.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::access::Access;
use super::{Database, Inner, Store, StoreError, file, sqlite};

/// The shortest time between two examinations of every page.
const EXAMINED: Duration = Duration::from_secs(10);

/// A file that is damaged again so soon stays: the disk is at fault, and would be filled with damaged files.
const AGAIN: Duration = Duration::from_secs(600);

/// What is known of it.
#[derive(Debug, Default)]
pub(super) struct Damage {
    /// Why the file cannot be used, until it can.
    pub trouble: Option<String>,
    /// When every page was examined last.
    examined: Option<Instant>,
    /// The file that was set aside last, and when.
    aside: Option<(String, Instant)>,
    /// The log has said already that the damaged file stays.
    warned: bool,
}

impl Store {
    /// Why the file of a SQLite store cannot be used, where that is because it is damaged. A write says nothing of it as
    /// long as it goes to the log alone.
    pub fn trouble(&self) -> Option<String> {
        self.inner.damage().trouble.clone()
    }

    /// The damaged file that was set aside last, since the start.
    pub fn set_aside(&self) -> Option<String> {
        self.inner.damage().aside.as_ref().map(|(name, _)| name.clone())
    }
}

impl Inner {
    pub(super) fn damage(&self) -> MutexGuard<'_, Damage> {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks whether the file is still a database; `suspected`: a statement has said that it is not.
    pub(super) async fn look_for_damage(&self, suspected: bool) {
        let Database::Sqlite(path) = &self.database else { return };
        let in_use = |files: Option<_>| files.is_some_and(|files: file::Files| !files.is_elsewhere(path));
        if !in_use(self.prepared.lock().await.flatten()) {
            return;
        }
        let suspected = suspected || self.damage().trouble.is_some();
        if suspected {
            let examined = &mut self.damage().examined;
            if examined.is_some_and(|at| at.elapsed() < EXAMINED) {
                return;
            }
            *examined = Some(Instant::now());
        }
        let anew = sqlite::examine(path, suspected, async |found| {
            let why = match found {
                Ok(()) => {
                    if suspected {
                        // Of a file that was written beside them they may know half.
                        self.access.store(Arc::new(Access::new(&self.database)));
                        self.damage().trouble = None;
                    }
                    return false;
                }
                // An emptied file is an empty database.
                Err(error) if error.tells_of_damage() || error.tells_of_missing_tables() => error.of_damage(),
                // It is locked, or there are no descriptors.
                Err(_) => return false,
            };
            let mut prepared = self.prepared.lock().await;
            if !in_use(prepared.flatten()) {
                return false;
            }
            let moved = self.move_aside(path, why);
            if moved {
                // Statements under way on connections of the old pools end with them.
                self.access.store(Arc::new(Access::new(&self.database)));
                *prepared = None;
            }
            moved
        });
        if anew.await
            && let Err(error) = self.prepared().await
        {
            log::warn!("{}", self.judged(error, "opening").await);
        }
    }

    /// Whether it could be done. Either is said once.
    fn move_aside(&self, path: &std::path::Path, why: StoreError) -> bool {
        let shown = path.display();
        let mut damage = self.damage();
        let soon = damage.aside.as_ref().filter(|(_, at)| at.elapsed() < AGAIN);
        let moved = match soon {
            Some((name, _)) => Err(format!("it stays, since {name} was set aside only just now")),
            None => file::set_aside(path, (self.options.clock)().wall)
                .map_err(|error| format!("it could not be set aside: {error}")),
        };
        match moved {
            Ok(name) => {
                log::warn!(
                    "the file of the metrics store, {shown}, cannot be read any more; it was set aside as {name}, and a \
                     new one is made. What can be saved of it: sqlite3 {name} .recover ({why})",
                    name = name.display()
                );
                damage.aside = Some((name.display().to_string(), Instant::now()));
                damage.warned = false;
                true
            }
            Err(instead) => {
                if !std::mem::replace(&mut damage.warned, true) {
                    log::error!(
                        "the file of the metrics store, {shown}, cannot be read any more; {instead} ({why})"
                    );
                }
                damage.trouble = Some(format!("{shown}: {why}; {instead}"));
                false
            }
        }
    }
}
