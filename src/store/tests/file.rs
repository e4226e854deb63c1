//! The file of a SQLite store in the hands of others.

use std::os::unix::fs::MetadataExt as _;

use super::sample::*;
use super::*;

fn write(store: &Store, start: i64, requests: u64) {
    wait(
        store.write_batch(writer("a", "1"), rollups(vec![rollup(start, some_series(0), tally(requests, 1))])),
    );
}

fn requests(store: &Store) -> u64 {
    let told = wait(store.series(Range { from: T, to: T + 3_600 }, 3_600, Filter::default(), Detail::Counts));
    told.iter().map(|bucket| bucket.tally.requests).sum()
}

#[test]
fn whoever_looks_into_the_file_and_closes_it_leaves_its_log_to_the_store() {
    let database = Database::sqlite();
    let store = database.store(&Clock::at(T + 60));
    write(&store, T, 5);
    // All readers are opened.
    let asked: Vec<_> = (0..8).map(|_| store.samples(1, Wanted::default())).collect();
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(futures_util::future::join_all(asked));
    let inode = format!(":{} ", std::fs::metadata(database.file()).unwrap().ino());
    let ours = format!(" {} ", std::process::id());
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    let held = |line: &&str| line.contains("POSIX") && line.contains(&ours) && line.contains(&inode);
    assert!(locks.lines().any(|line| held(&line)), "no lock on inode {inode} by {ours}:\n{locks}");
}

#[test]
fn a_file_that_is_deleted_is_noticed_and_made_anew() {
    let database = Database::sqlite();
    let store = database.store(&Clock::at(T + 60));
    let names = |suffixes: &[&str]| -> Vec<String> {
        suffixes.iter().map(|suffix| format!("{}{suffix}", database.file().display())).collect()
    };
    for (n, deleted) in [names(&["", "-wal", "-shm"]), names(&[""])].iter().enumerate() {
        write(&store, T + n as i64 * 10, 5);
        assert_eq!(requests(&store), 5);
        deleted.iter().for_each(|file| std::fs::remove_file(file).unwrap());
        assert_eq!(requests(&store), 0, "a question finds it out too");
        assert_eq!(database.count("rollups"), 0);
    }
    write(&store, T + 30, 7);
    assert_eq!((requests(&store), database.count("rollups")), (7, 1));
    // With its folder.
    std::fs::remove_dir_all(database.file().parent().unwrap()).unwrap();
    write(&store, T + 40, 8);
    assert_eq!((requests(&store), database.count("rollups")), (8, 1));
}

#[test]
fn a_file_that_is_replaced_is_gone_on_with() {
    let (database, backup) = (Database::sqlite(), Database::sqlite());
    let clock = Clock::at(T + 60);
    {
        let store = backup.store(&clock);
        write(&store, T, 3);
    }
    backup.execute("PRAGMA wal_checkpoint(TRUNCATE)");
    let store = database.store(&clock);
    write(&store, T + 10, 5);
    std::fs::copy(backup.file(), database.file().with_extension("new")).unwrap();
    std::fs::rename(database.file().with_extension("new"), database.file()).unwrap();
    write(&store, T + 20, 9);
    assert_eq!((requests(&store), database.count("rollups")), (12, 2));
    assert_eq!(database.ask("SELECT integrity_check AS line FROM pragma_integrity_check"), ["ok"]);
}

/// Overwrites the file where it is, as `>` does.
fn overwrite(database: &Database, with: &[u8]) {
    let file = std::fs::metadata(database.file()).unwrap().ino();
    std::fs::write(database.file(), with).unwrap();
    assert_eq!(std::fs::metadata(database.file()).unwrap().ino(), file);
}

fn junk() -> Vec<u8> {
    (0..100_000).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// Names of the damaged files beside the database.
fn aside(database: &Database) -> Vec<std::path::PathBuf> {
    let files =
        std::fs::read_dir(database.file().parent().unwrap()).unwrap().map(|file| file.unwrap().path());
    // Not their logs.
    files.filter(|file| file.extension().is_some_and(|end| end.to_string_lossy().ends_with('Z'))).collect()
}

fn look(store: &Store) {
    let inner = store.inner.clone();
    store.runtime.0.as_ref().unwrap().block_on(async move { inner.look_at_file().await });
}

#[test]
fn a_file_that_is_overwritten_is_set_aside_and_made_anew() {
    // With a log that holds the first page, and without.
    for rows in [1, 40] {
        let database = Database::sqlite();
        let store = database.store(&Clock::at(T + 60));
        (0..rows).for_each(|n| write(&store, T + n * 10, 5));
        if rows == 1 {
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)");
        }
        overwrite(&database, &junk());
        assert_eq!((store.trouble(), store.set_aside()), (None, None));
        look(&store);
        let damaged = aside(&database);
        assert_eq!(damaged.len(), 1, "{damaged:?}");
        assert!(std::fs::read(&damaged[0]).unwrap() == junk(), "it is as it was");
        assert_eq!(store.set_aside().as_deref(), damaged[0].to_str());
        assert_eq!((store.trouble(), requests(&store)), (None, 0));
        write(&store, T + 30, 7);
        assert_eq!((requests(&store), database.count("rollups")), (7, 1));
        // Damaged again so soon it stays, and that is told.
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)");
        overwrite(&database, &junk());
        look(&store);
        assert!(store.trouble().is_some_and(|why| why.contains("it stays")), "{:?}", store.trouble());
        assert_eq!(aside(&database), damaged);
        // Moved away by somebody it is made anew.
        std::fs::rename(database.file(), database.file().with_extension("mine")).unwrap();
        write(&store, T + 40, 3);
        assert_eq!((store.trouble(), requests(&store)), (None, 3));
    }
}

#[test]
fn a_file_that_is_emptied_is_made_anew() {
    for rows in [1, 40] {
        let database = Database::sqlite();
        let store = database.store(&Clock::at(T + 60));
        (0..rows).for_each(|n| write(&store, T + n * 10, 5));
        if rows == 1 {
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)");
        }
        overwrite(&database, b"");
        look(&store);
        assert_eq!((store.trouble(), requests(&store)), (None, 0));
        write(&store, T + 30, 7);
        assert_eq!((requests(&store), database.count("rollups")), (7, 1));
    }
}

#[test]
fn a_question_that_meets_damage_says_so_and_has_it_mended() {
    let database = Database::sqlite();
    let store = database.store(&Clock::at(T + 60));
    write(&store, T, 5);
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)");
    overwrite(&database, &junk());
    let error = attempt(store.samples(1, Wanted::default())).unwrap_err().to_string();
    assert!(error.contains("not a database") && error.contains("metrics.store"), "{error}");
    let deadline = Instant::now() + Duration::from_secs(30);
    while attempt(store.samples(1, Wanted::default())).is_err() {
        assert!(Instant::now() < deadline, "{:?}", store.trouble());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!((aside(&database).len(), store.trouble()), (1, None));
}

#[test]
fn a_file_that_never_was_a_database_is_nobodys_to_move() {
    let database = Database::sqlite();
    std::fs::create_dir_all(database.file().parent().unwrap()).unwrap();
    std::fs::write(database.file(), junk()).unwrap();
    let store = database.store(&Clock::at(T));
    let error = attempt(store.prepare()).unwrap_err().to_string();
    assert!(error.contains("move it away"), "{error}");
    assert_eq!(store.trouble(), Some(error));
    look(&store);
    assert!(std::fs::read(database.file()).unwrap() == junk());
    assert_eq!((aside(&database).len(), store.set_aside()), (0, None));
}

#[test]
fn errors_name_the_file_and_what_was_being_done() {
    let folder = Folder::new();
    let place = |path: &str| format!("sqlite://{}/{path}", folder.path().display());
    std::fs::write(
        folder.path().join("text"),
        "no database at all, and longer than a header of one would be".repeat(9),
    )
    .unwrap();
    for (path, doing, why) in
        [("text/m.db", "opening", "cannot make the folder"), ("text", "opening", "not a database")]
    {
        let options = Options { maintain_every: None, ..Options::default() };
        let error = attempt(Store::open(&place(path), options).unwrap().prepare()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{doing} {}: ", place(path))) && error.contains(why), "{error}");
    }
    let database = Database::sqlite();
    let store = database.store(&Clock::at(T));
    wait(store.prepare());
    database.execute("DROP TABLE request_samples");
    let error = attempt(store.samples(1, Wanted::default())).unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("reading {}: ", database.url)) && error.contains("no such table"),
        "{error}"
    );
}
