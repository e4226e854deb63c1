//! Which files somebody is in the middle of writing, by what the system tells of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind};

/// A writer that has neither written nor closed for this long has forgotten to.
const FORGOTTEN: Duration = Duration::from_secs(10);
/// However often it is written to, a file is not waited for any longer.
const LONGEST: Duration = Duration::from_secs(60);
/// Only inotify reports that a file was closed.
const CLOSES_ARE_TOLD: bool = cfg!(target_os = "linux");

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Writing(BTreeMap<PathBuf, Since>);

/// When a file was written to first and last.
#[derive(Clone, Copy, Debug)]
struct Since {
    first: Instant,
    last: Instant,
}

impl Writing {
    /// Takes note of what has happened to files.
    pub fn note(&mut self, event: &Event, now: Instant) {
        match event.kind {
            EventKind::Modify(ModifyKind::Data(_)) if CLOSES_ARE_TOLD => {
                for path in &event.paths {
                    let since = Since { first: now, last: now };
                    self.0.entry(path.clone()).or_insert(since).last = now;
                }
            }
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Create(_)
            | EventKind::Modify(ModifyKind::Name(_))
            | EventKind::Remove(_) => {
                for path in &event.paths {
                    self.0.remove(path);
                }
            }
            _ => {}
        }
    }

    /// Whether one of `files` is being written.
    pub fn has_any(&mut self, files: &BTreeSet<PathBuf>, now: Instant) -> bool {
        self.0.retain(|_, since| now < since.last + FORGOTTEN && now < since.first + LONGEST);
        files
            .iter()
            .any(|file| std::path::absolute(file).is_ok_and(|file| self.0.contains_key::<Path>(&file)))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use notify::event::{CreateKind, DataChange, RenameMode};

    use super::*;

    const WRITE: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    const CLOSE: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));

    fn files() -> BTreeSet<PathBuf> {
        ["/etc/aegis/aegis.yaml".into()].into()
    }

    fn noted(writing: &mut Writing, kind: EventKind, file: &str, at: Instant) {
        writing.note(&Event::new(kind).add_path(file.into()), at);
    }

    #[test]
    fn a_file_is_being_written_from_its_first_write_to_its_close() {
        let (mut writing, start) = (Writing::default(), Instant::now());
        noted(&mut writing, WRITE, "/etc/aegis/log", start);
        assert!(!writing.has_any(&files(), start), "another file of the folder is nobody's business");
        noted(&mut writing, WRITE, "/etc/aegis/./aegis.yaml", start);
        assert!(writing.has_any(&files(), start));
        noted(&mut writing, CLOSE, "/etc/aegis/aegis.yaml", start);
        assert!(!writing.has_any(&files(), start));
    }

    #[test]
    fn whatever_replaces_a_file_ends_the_writing_of_the_one_before() {
        for kind in [EventKind::Create(CreateKind::File), EventKind::Modify(ModifyKind::Name(RenameMode::To))]
        {
            let (mut writing, start) = (Writing::default(), Instant::now());
            noted(&mut writing, WRITE, "/etc/aegis/aegis.yaml", start);
            noted(&mut writing, kind, "/etc/aegis/aegis.yaml", start);
            assert!(!writing.has_any(&files(), start), "{kind:?}");
        }
    }

    #[test]
    fn a_writer_that_forgets_to_close_is_waited_for_ten_seconds_and_one_that_never_ends_a_minute() {
        let (mut writing, start) = (Writing::default(), Instant::now());
        let second = |n: u64| start + Duration::from_secs(n);
        noted(&mut writing, WRITE, "/etc/aegis/aegis.yaml", start);
        assert!(writing.has_any(&files(), second(9)) && !writing.has_any(&files(), second(10)));
        for n in (0..60).step_by(5) {
            noted(&mut writing, WRITE, "/etc/aegis/aegis.yaml", second(n));
            assert!(writing.has_any(&files(), second(n + 4)), "{n}");
        }
        assert!(!writing.has_any(&files(), second(60)));
    }
}
