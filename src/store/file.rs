//! The file of a SQLite store: made when it is not there, noticed when it is another than was opened, and set aside when it
//! is damaged. A process that holds a deleted file open goes on writing to it without an error, and all of it is gone at the
//! next start.

use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// Which file a path leads to.
type Id = (u64, u64);

/// The files of an open database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Files {
    database: Option<Id>,
    log: [Option<Id>; 2],
}

/// What has happened to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    Deleted,
    Replaced,
}

impl Files {
    /// Those that are there now.
    pub fn of(path: &Path) -> Self {
        Self { database: id(path), log: logs(path).map(|log| id(&log)) }
    }

    /// Whether `path` leads elsewhere than it did when these were looked at.
    pub fn is_elsewhere(&self, path: &Path) -> bool {
        id(path) != self.database
    }

    /// The same, and where to. What is left of the old database's write-ahead
    /// log is removed then: SQLite would take it for the new database's.
    pub fn moved(&self, path: &Path) -> Option<Moved> {
        if !self.is_elsewhere(path) {
            return None;
        }
        let now = Self::of(path);
        for ((log, before), now) in logs(path).iter().zip(self.log).zip(now.log) {
            if now.is_some() && now == before {
                let _ = std::fs::remove_file(log);
            }
        }
        Some(if now.database.is_none() { Moved::Deleted } else { Moved::Replaced })
    }
}

fn id(path: &Path) -> Option<Id> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

fn logs(path: &Path) -> [PathBuf; 2] {
    ["-wal", "-shm"].map(|suffix| with(path, suffix))
}

fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Gives a damaged database another name, its write-ahead log with it: what can be saved of it is in both. Returns that name.
/// A link stays, and leads to the new file.
pub(super) fn set_aside(path: &Path, now_ms: i64) -> io::Result<PathBuf> {
    let path = std::fs::canonicalize(path)?;
    let at = UNIX_EPOCH + Duration::from_millis(u64::try_from(now_ms).unwrap_or(0));
    let stamp = humantime::format_rfc3339_seconds(at).to_string().replace(['-', ':'], "");
    let name = |n: u32| {
        let again = if n == 0 { String::new() } else { format!("-{n}") };
        with(&path, &format!(".damaged-{stamp}{again}"))
    };
    // No file that is there is overwritten.
    let free = (0..).map(name).find(|name| name.symlink_metadata().is_err()).unwrap_or_else(|| name(0));
    // The database first: a connection that closes it from now on leaves the log alone, since SQLite sees that it has moved.
    std::fs::rename(&path, &free)?;
    for (log, aside) in logs(&path).iter().zip(logs(&free)) {
        let _ = std::fs::rename(log, aside);
    }
    create(&path)?;
    Ok(free)
}

/// Creates the folder, and the file for its owner alone: it tells who asked for what. A file that is there is not opened:
/// closing it again would take from this process every lock that SQLite holds on it (`fcntl`'s belong to the process), and
/// the next program that looks into the database and closes it would take itself for the last, and delete the write-ahead
/// log that this one goes on writing to.
pub(super) fn create(path: &Path) -> io::Result<()> {
    let told =
        |what: String| move |error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)
            .map_err(told(format!("cannot make the folder {}", folder.display())))?;
    }
    if path.try_exists().unwrap_or(false) {
        return Ok(());
    }
    match std::fs::OpenOptions::new().create_new(true).append(true).mode(0o600).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(told("cannot make the file".to_owned())(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("aegis-file-{}-{}", std::process::id(), fastrand::u64(..)));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_file_that_was_deleted_or_replaced_is_another_and_its_log_goes() {
        let folder = folder();
        let path = folder.join("m.db");
        let log = folder.join("m.db-wal");
        create(&path).unwrap();
        std::fs::write(&log, "old").unwrap();
        let files = Files::of(&path);
        std::fs::write(&path, "longer").unwrap();
        assert_eq!(files.moved(&path), None);
        std::fs::write(folder.join("new"), "").unwrap();
        std::fs::rename(folder.join("new"), &path).unwrap();
        assert_eq!((files.moved(&path), log.exists()), (Some(Moved::Replaced), false));
        // Another's log stays.
        std::fs::write(&log, "new").unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!((files.moved(&path), log.exists()), (Some(Moved::Deleted), true));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_damaged_file_is_set_aside_with_its_log_and_over_nobodys_file() {
        let folder = folder();
        let (path, real) = (folder.join("m.db"), folder.join("real.db"));
        std::os::unix::fs::symlink(&real, &path).unwrap();
        let mut named = Vec::new();
        for turn in ["first", "second"] {
            std::fs::write(&real, turn).unwrap();
            std::fs::write(folder.join("real.db-wal"), format!("log of the {turn}")).unwrap();
            named.push(set_aside(&path, 1_700_000_000_000).unwrap());
            assert_eq!(std::fs::read(&path).unwrap(), b"", "a new one, where the link leads");
        }
        let aside = |end: &str| folder.join(format!("real.db.damaged-20231114T221320Z{end}"));
        assert_eq!(named, [aside(""), aside("-1")]);
        let held = ["", "-wal", "-1", "-1-wal"].map(|end| std::fs::read_to_string(aside(end)).unwrap());
        assert_eq!(held, ["first", "log of the first", "second", "log of the second"]);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
