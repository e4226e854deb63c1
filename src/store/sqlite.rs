//! SQLite: its connections, and the few statements that it wants in its own words.
//!
//! Statements run on blocking threads, a whole list of rows at a time.

use std::path::Path;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;
use diesel::query_dsl::methods::{ExecuteDsl, LoadQuery};
use diesel::sql_types::Text;
use diesel::sqlite::SqliteConnection;
use diesel::{ConnectionError, ConnectionResult, QueryResult, QueryableByName, RunQueryDsl};
use diesel_async::AsyncConnection as _;
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig};
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::migrations::{self, Applied, Order};
use super::rows::{MergedRow, RollupRow, SeriesKey, StoredChange, StoredSample};
use super::schema::{config_changes, merged_rollups, request_samples, rollups, series};
use super::{StoreError, file};

#[path = "statements/mod.rs"]
#[allow(clippy::duplicate_mod, reason = "compiled once per database, on purpose")]
pub(super) mod statements;

pub(super) type Conn = SyncConnectionWrapper<SqliteConnection>;

/// Readers at a time; they do not wait for the writer, nor it for them.
const READERS: usize = 3;

/// For every connection. With a write-ahead log and `NORMAL` nothing is lost when the process is killed; when the power
/// fails, what was written in the last moments may be.
const SETUP: &str = "PRAGMA busy_timeout = 4000; PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 67108864; \
                     PRAGMA cache_size = -16000; PRAGMA temp_store = MEMORY";
/// For the file, before its first table is made: they need the write lock, so that no reader may ask for them. In pages of
/// 4 KiB, rows with a histogram of a busy hour, 1 to 2 KB, would each take a further page.
const CREATE: &str = "PRAGMA page_size = 8192; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL";

/// What the write-ahead log holds beyond what it needs is given back: on a full disk others wait for it.
pub(super) const SHORTEN: &str = "PRAGMA wal_checkpoint(TRUNCATE)";

/// How long a new file is waited for that another process is making; as `busy_timeout`.
const PATIENCE: Duration = Duration::from_secs(4);

/// Pages given back to the file system at a time, 8 KiB each.
const COMPACT: &str = "PRAGMA incremental_vacuum(1000)";

/// The pool that writes, with one connection, and the one that reads.
pub(super) fn pools(path: &Path) -> (Pool<Conn>, Pool<Conn>) {
    let pool = |size| {
        let mut config = ManagerConfig::default();
        config.custom_setup = Box::new(|path| connect(path).boxed());
        let manager = AsyncDieselConnectionManager::new_with_config(path.to_string_lossy(), config);
        let built = Pool::builder(manager).max_size(size).build();
        // Fails only for timeouts without a runtime, and none are set.
        built.unwrap_or_else(|error| unreachable!("{error}"))
    };
    (pool(1), pool(READERS))
}

async fn connect(path: &str) -> ConnectionResult<Conn> {
    let bad = |error: std::io::Error| ConnectionError::BadConnection(error.to_string());
    file::create(Path::new(path)).map_err(bad)?;
    let mut conn = Conn::establish(path).await?;
    let setup = conn.spawn_blocking(|conn| conn.batch_execute(SETUP)).await;
    setup.map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(conn)
}

pub(super) fn load<U, Q>(conn: &mut Conn, query: Q) -> BoxFuture<'_, QueryResult<Vec<U>>>
where
    Q: LoadQuery<'static, SqliteConnection, U> + Send + 'static,
    U: Send + 'static,
{
    conn.spawn_blocking(move |conn| RunQueryDsl::load(query, conn))
}

pub(super) fn execute<Q>(conn: &mut Conn, query: Q) -> BoxFuture<'_, QueryResult<usize>>
where
    Q: ExecuteDsl<SqliteConnection> + Send + 'static,
{
    conn.spawn_blocking(move |conn| ExecuteDsl::execute(query, conn))
}

pub(super) async fn batch(conn: &mut Conn, sql: &'static str) -> QueryResult<()> {
    conn.spawn_blocking(move |conn| conn.batch_execute(sql)).await
}

/// How transactions begin.
pub(super) mod begin {
    use super::{Conn, QueryResult, batch};

    pub async fn reader(conn: &mut Conn) -> QueryResult<()> {
        batch(conn, "BEGIN").await
    }

    /// Takes the write lock at once: a transaction that reads first and then writes could not wait for it.
    pub async fn writer(conn: &mut Conn) -> QueryResult<()> {
        batch(conn, "BEGIN IMMEDIATE").await
    }
}

/// The write lock is enough.
pub(super) async fn may_merge(_: &mut Conn) -> QueryResult<bool> {
    Ok(true)
}

/// Gives back space of deleted rows.
pub(super) async fn compact(conn: &mut Conn) -> QueryResult<()> {
    batch(conn, COMPACT).await
}

/// Whether the file is a database that can be read; `thoroughly`: every page of it. The connection is a new one, since those of
/// the pools may have in memory what is no longer in the file. It is open until `then` has been done: the last one to close
/// a database writes its log into it.
pub(super) async fn examine<T>(
    path: &Path,
    thoroughly: bool,
    then: impl AsyncFnOnce(Result<(), StoreError>) -> T,
) -> T {
    #[derive(QueryableByName)]
    struct Damaged {
        #[diesel(sql_type = Text)]
        verdict: String,
    }
    let mut conn = match connect(&path.to_string_lossy()).await {
        Ok(conn) => conn,
        Err(error) => return then(Err(error.into())).await,
    };
    // What no statement of the store's writes is never in the log: this reads the file itself.
    let table = "SELECT max(version) AS verdict FROM __diesel_schema_migrations HAVING count(*) < 0";
    let pages = "SELECT quick_check AS verdict FROM pragma_quick_check(1) WHERE quick_check <> 'ok'";
    let mut found = Ok(());
    for question in [Some(table), thoroughly.then_some(pages)].into_iter().flatten() {
        found = match load::<Damaged, _>(&mut conn, diesel::sql_query(question)).await {
            Ok(verdicts) => match verdicts.into_iter().next() {
                Some(verdict) => Err(StoreError::Damaged(verdict.verdict)),
                None => continue,
            },
            Err(error) => Err(error.into()),
        };
        break;
    }
    then(found).await
}

/// Applies, undoes or lists migrations; one process at a time, the others wait for it.
pub(super) async fn migrate(path: &Path, order: Order) -> Result<Applied, String> {
    let mut conn = connect(&path.to_string_lossy()).await.map_err(|error| error.to_string())?;
    let carried_out = conn.spawn_blocking(move |conn| {
        let begun = Instant::now();
        // Where two open a new file at once, one of them is refused without having waited: SQLite asks no busy handler when it
        // changes the journal's mode.
        while let Err(error) = conn.batch_execute(CREATE) {
            if !error.to_string().contains("locked") || begun.elapsed() > PATIENCE {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        conn.exclusive_transaction(|conn| {
            migrations::carry_out(conn, migrations::SQLITE, order)
                .map_err(diesel::result::Error::QueryBuilderError)
        })
    });
    carried_out.await.map_err(|error| error.to_string())
}

/// Inserts rows; where the key is there already, the new row takes the old one's place.
macro_rules! replace {
    ($name:ident, $row:ty, $table:ident) => {
        pub(super) async fn $name(conn: &mut Conn, rows: Vec<$row>) -> QueryResult<()> {
            // Row by row: the statement is prepared once, and there is no server to wait for.
            let all = move |conn: &mut SqliteConnection| {
                for row in rows {
                    diesel::replace_into($table::table).values(row).execute(conn)?;
                }
                Ok(())
            };
            conn.spawn_blocking(all).await
        }
    };
}

/// Inserts rows whose key is not there yet.
macro_rules! add {
    ($name:ident, $row:ty, $table:ident) => {
        pub(super) async fn $name(conn: &mut Conn, rows: Vec<$row>) -> QueryResult<()> {
            let all = move |conn: &mut SqliteConnection| {
                for row in rows {
                    diesel::insert_or_ignore_into($table::table).values(row).execute(conn)?;
                }
                Ok(())
            };
            conn.spawn_blocking(all).await
        }
    };
}

replace!(replace_rollups, RollupRow, rollups);
replace!(replace_merged, MergedRow, merged_rollups);
add!(add_samples, StoredSample, request_samples);
add!(add_changes, StoredChange, config_changes);
add!(add_series, SeriesKey, series);
