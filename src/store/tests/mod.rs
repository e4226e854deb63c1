//! The store against real databases: SQLite in temporary folders, PostgreSQL of the tests' own.

mod alerts;
mod clocks;
mod file;
mod merging;
mod migrating;
mod outage;
mod pooler;
mod records;
mod sample;
mod tls;
mod writing;
mod year;

#[allow(dead_code, reason = "the integration tests use more of it")]
#[path = "../../../tests/integration/harness/tls.rs"]
mod authority;
#[path = "../../../tests/integration/harness/folder.rs"]
mod folder;
#[path = "../../../tests/integration/harness/free_port.rs"]
mod free_port;
#[path = "../../../tests/integration/harness/postgres.rs"]
mod postgres;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use folder::Folder;
use postgres::Postgres;

use super::plan::LEVELS;
use super::*;

/// An empty database, gone when the test is.
pub(super) struct Database {
    pub url: String,
    /// Every statement of it is known to sqlite3 and psql as this.
    kind: Kind,
}

enum Kind {
    Sqlite(Folder),
    Postgres(Arc<Postgres>),
}

impl Database {
    pub fn sqlite() -> Self {
        let folder = Folder::new();
        // The folder of the file is not there yet.
        Self {
            url: format!("sqlite://{}/data/aegis.db", folder.path().display()),
            kind: Kind::Sqlite(folder),
        }
    }

    pub fn postgres() -> Self {
        let server = Postgres::shared();
        Self { url: server.database(), kind: Kind::Postgres(server) }
    }

    /// A store whose clock stands at `clock`, and which does nothing by itself.
    pub fn store(&self, clock: &Clock) -> Store {
        Store::open(&self.url, self.options(clock)).unwrap()
    }

    pub fn options(&self, clock: &Clock) -> Options {
        let clock = clock.clone();
        Options {
            maintain_every: None,
            time_limit: Duration::from_secs(60),
            clock: Arc::new(move || clock.get()),
            ..Options::default()
        }
    }

    /// Rows that a query returns, its columns separated by `|`.
    pub fn ask(&self, sql: &str) -> Vec<String> {
        let told = match &self.kind {
            Kind::Sqlite(folder) => {
                use diesel::prelude::*;
                #[derive(QueryableByName)]
                struct Line {
                    #[diesel(sql_type = diesel::sql_types::Text)]
                    line: String,
                }
                let file = folder.path().join("data/aegis.db");
                let mut conn = SqliteConnection::establish(&file.to_string_lossy()).unwrap();
                let lines: Vec<Line> = diesel::sql_query(sql).load(&mut conn).unwrap();
                return lines.into_iter().map(|line| line.line).collect();
            }
            Kind::Postgres(server) => server.psql(self.url.rsplit('/').next().unwrap(), sql).unwrap(),
        };
        told.lines().map(str::to_owned).collect()
    }

    /// Does something to it, behind the store's back.
    pub fn execute(&self, sql: &str) {
        match &self.kind {
            Kind::Sqlite(folder) => {
                use diesel::connection::SimpleConnection as _;
                use diesel::prelude::*;
                let file = folder.path().join("data/aegis.db");
                let mut conn = SqliteConnection::establish(&file.to_string_lossy()).unwrap();
                conn.batch_execute(sql).unwrap();
            }
            Kind::Postgres(server) => {
                server.psql(self.url.rsplit('/').next().unwrap(), sql).unwrap();
            }
        }
    }

    /// How many rows a table has.
    pub fn count(&self, table: &str) -> usize {
        self.ask(&format!("SELECT CAST(count(*) AS TEXT) AS line FROM {table}"))[0].parse().unwrap()
    }

    /// The file of a SQLite database.
    pub fn file(&self) -> std::path::PathBuf {
        self.url.strip_prefix("sqlite://").unwrap().into()
    }

    pub fn is_sqlite(&self) -> bool {
        matches!(self.kind, Kind::Sqlite(_))
    }
}

/// A clock that tests set, in Unix seconds.
#[derive(Clone)]
pub(super) struct Clock(Arc<Mutex<Reading>>);

impl Clock {
    pub fn at(seconds: i64) -> Self {
        // Far enough from the clock's beginning for tests that go back.
        let at = Instant::now() + Duration::from_secs(400 * 86_400);
        Self(Arc::new(Mutex::new(Reading { wall: seconds * 1_000, at })))
    }

    /// Time has passed until then.
    pub fn set(&self, seconds: i64) {
        let mut reading = self.0.lock().unwrap();
        let passed = seconds * 1_000 - reading.wall;
        reading.at += Duration::from_millis(u64::try_from(passed).unwrap_or(0));
        reading.wall = seconds * 1_000;
    }

    /// Somebody has set it, and no time has passed.
    pub fn step(&self, seconds: i64) {
        self.0.lock().unwrap().wall += seconds * 1_000;
    }

    pub fn pass(&self, seconds: i64) {
        self.set(self.now() + seconds);
    }

    pub fn now(&self) -> i64 {
        self.0.lock().unwrap().wall / 1_000
    }

    fn get(&self) -> Reading {
        *self.0.lock().unwrap()
    }
}

/// Waits for an answer, on an executor that knows nothing of the store's.
#[track_caller]
pub(super) fn wait<T>(asked: Asked<T>) -> T {
    attempt(asked).unwrap()
}

pub(super) fn attempt<T>(asked: Asked<T>) -> Result<T, StoreError> {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(asked)
}

/// Runs functions that take a database as tests over both.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[test]
            fn $name() {
                super::$name($crate::store::tests::Database::sqlite());
            })*
        }
        mod on_postgres {
            $(#[test]
            fn $name() {
                super::$name($crate::store::tests::Database::postgres());
            })*
        }
    };
}
use on_both;
