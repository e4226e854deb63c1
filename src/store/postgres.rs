//! PostgreSQL: its connections, and the few statements that it wants in its own words.

use std::pin::pin;
use std::time::Duration;

use diesel::connection::CacheSize;
use diesel::dsl::sql;
use diesel::sql_types::{BigInt, Bool, Text};
use diesel::upsert::excluded;
use diesel::{ConnectionError, ConnectionResult, ExpressionMethods as _, QueryResult};
use diesel_async::methods::{ExecuteDsl, LoadQuery};
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::{
    AnsiTransactionManager as Transactions, AsyncConnection as _, AsyncMigrationHarness, AsyncPgConnection,
    RunQueryDsl, SimpleAsyncConnection as _, TransactionManager as _,
};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Either, select};

use super::StoreError;
use super::migrations::{self, Applied, Order};
use super::rows::{MergedRow, RollupRow, SeriesKey, StoredChange, StoredSample};
use super::schema::{config_changes, merged_rollups, request_samples, rollups, series};
use super::tls;

#[path = "statements/mod.rs"]
#[allow(clippy::duplicate_mod, reason = "compiled once per database, on purpose")]
pub(super) mod statements;

pub(super) type Conn = AsyncPgConnection;

/// Connections at most: one writes, one merges, the others answer questions.
const CONNECTIONS: usize = 4;
/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// How long the server may leave what was sent unacknowledged.
const SILENCE: Duration = Duration::from_secs(10);
/// Rows of one statement: PostgreSQL takes 65 535 parameters.
const ROWS: usize = 1000;
/// Names of the advisory locks, in the database: "aegis" and a digit.
const MIGRATING: i64 = 0x6165_6769_7301;
const MERGING: i64 = 0x6165_6769_7302;

pub(super) fn pool(url: &str) -> Pool<Conn> {
    let mut config = ManagerConfig::default();
    config.custom_setup = Box::new(|url| connect(url).boxed());
    // The default prepares a statement outside of a transaction.
    config.recycling_method =
        RecyclingMethod::CustomFunction(Box::new(|conn| batch(conn, "SELECT 1").boxed()));
    let manager = AsyncDieselConnectionManager::new_with_config(url, config);
    let built = Pool::builder(manager).max_size(CONNECTIONS).build();
    // Fails only for timeouts without a runtime, and none are set.
    built.unwrap_or_else(|error| unreachable!("{error}"))
}

async fn connect(url: &str) -> ConnectionResult<Conn> {
    let bad = |error: tokio_postgres::Error| ConnectionError::BadConnection(described(&error));
    let (mut config, security) = tls::read(url).map_err(ConnectionError::BadConnection)?;
    let secure = security.connector().map_err(ConnectionError::BadConnection)?;
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(SILENCE);
    }
    if config.get_application_name().is_none() {
        config.application_name("aegis");
    }
    let (client, mut connection) = config.connect(secure).await.map_err(bad)?;
    // What diesel sets at first it prepares: within a transaction, for the sake of poolers (see `begin`), and to no effect
    // that anybody else would feel.
    let begun = match select(pin!(client.batch_execute("BEGIN; DEALLOCATE ALL")), &mut connection).await {
        Either::Left((begun, _)) => begun.map_err(|error| described(&error)),
        Either::Right((Err(error), _)) => Err(described(&error)),
        Either::Right((Ok(()), _)) => Err("the connection was closed".to_owned()),
    };
    begun.map_err(ConnectionError::BadConnection)?;
    let mut conn = Conn::try_from_client_and_connection(client, connection).await?;
    conn.batch_execute("ROLLBACK").await.map_err(ConnectionError::CouldntSetupConfiguration)?;
    conn.set_prepared_statement_cache_size(CacheSize::Disabled);
    Ok(conn)
}

/// An error with its causes: the client's own text is only their class.
fn described(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

// These two return boxes, so that the types of statements do not add up in the futures of those who wait.

pub(super) fn load<U, Q>(conn: &mut Conn, query: Q) -> BoxFuture<'_, QueryResult<Vec<U>>>
where
    Q: LoadQuery<'static, Conn, U> + Send + 'static,
    U: Send + 'static,
{
    async move { RunQueryDsl::load(query, conn).await }.boxed()
}

pub(super) fn execute<Q>(conn: &mut Conn, query: Q) -> BoxFuture<'_, QueryResult<usize>>
where
    Q: ExecuteDsl<Conn> + Send + 'static,
{
    async move { RunQueryDsl::execute(query, conn).await }.boxed()
}

pub(super) async fn batch(conn: &mut Conn, sql: &'static str) -> QueryResult<()> {
    conn.batch_execute(sql).await
}

/// How transactions begin. Nothing is left behind in the session and nothing expected there, so that a pooler which gives a
/// server's connection to another client after each transaction (PgBouncer's `pool_mode = transaction`) may be in between:
/// what other clients have prepared goes, since their statements and this one's have the same names.
pub(super) mod begin {
    use super::{Conn, QueryResult, batch};

    /// A statement that hangs, or a transaction whose client has gone, must not hold locks for long.
    macro_rules! begin {
        ($begin:literal) => {
            concat!(
                $begin,
                "; DEALLOCATE ALL; SET LOCAL statement_timeout = '30s'; SET LOCAL lock_timeout = '5s'; ",
                "SET LOCAL idle_in_transaction_session_timeout = '10s'; SET LOCAL client_min_messages = 'warning'"
            )
        };
    }

    pub async fn reader(conn: &mut Conn) -> QueryResult<()> {
        batch(conn, begin!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")).await
    }

    pub async fn writer(conn: &mut Conn) -> QueryResult<()> {
        batch(conn, begin!("BEGIN")).await
    }
}

/// Whether this transaction may merge: one instance at a time does.
pub(super) async fn may_merge(conn: &mut Conn) -> QueryResult<bool> {
    let lock = diesel::select(sql::<Bool>("pg_try_advisory_xact_lock(").bind::<BigInt, _>(MERGING).sql(")"));
    let got: Vec<bool> = load(conn, lock).await?;
    Ok(got == [true])
}

/// Gives back space of deleted rows: autovacuum does.
pub(super) async fn compact(_: &mut Conn) -> QueryResult<()> {
    Ok(())
}

/// Migrations that are not applied yet, without changing anything.
pub(super) async fn missing(url: &str) -> Result<Vec<String>, StoreError> {
    let mut conn = connect(url).await?;
    begin::reader(&mut conn).await?;
    let there = sql::<Bool>("to_regclass('__diesel_schema_migrations') IS NOT NULL");
    let there: Vec<bool> = load(&mut conn, diesel::select(there)).await?;
    let applied: Vec<String> = match there == [true] {
        true => load(&mut conn, sql::<Text>("SELECT version FROM __diesel_schema_migrations")).await?,
        false => Vec::new(),
    };
    migrations::missing::<diesel::pg::Pg>(migrations::POSTGRES, &applied).map_err(StoreError::Migration)
}

/// Applies, undoes or lists migrations; one process at a time, the others wait for it.
pub(super) async fn migrate(url: &str, order: Order) -> Result<Applied, String> {
    let text = |error: diesel::result::Error| error.to_string();
    let mut conn = connect(url).await.map_err(|error| error.to_string())?;
    Transactions::begin_transaction(&mut conn).await.map_err(text)?;
    // Building an index of a large table takes as long as it takes.
    let lock = format!(
        "DEALLOCATE ALL; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; \
         SELECT pg_advisory_xact_lock({MIGRATING})"
    );
    if order != Order::Status {
        conn.batch_execute(&lock).await.map_err(text)?;
    }
    let mut harness = AsyncMigrationHarness::new(conn);
    let applied = migrations::carry_out(&mut harness, migrations::POSTGRES, order);
    let applied = applied.map_err(|error| error.to_string())?;
    Transactions::commit_transaction(&mut harness.into_inner()).await.map_err(text)?;
    Ok(applied)
}

/// Rows in portions that one statement takes.
fn portions<T>(mut rows: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    std::iter::from_fn(move || {
        let rest = rows.split_off(rows.len().min(ROWS));
        Some(std::mem::replace(&mut rows, rest)).filter(|portion| !portion.is_empty())
    })
}

/// Inserts rows of tallies; where the key is there already, the new row takes the old one's place.
macro_rules! replace {
    ($name:ident, $row:ty, $table:ident, ($($key:ident),*)) => {
        replace!(
            $name, $row, $table, ($($key),*),
            (requests, failed, limited, own, bytes_in, bytes_out, total_us, longest_us, latency,
             limit_allowed, limit_limited, limit_shadow, limit_bypassed)
        );
    };
    ($name:ident, $row:ty, $table:ident, ($($key:ident),*), ($($column:ident),*)) => {
        pub(super) async fn $name(conn: &mut Conn, rows: Vec<$row>) -> QueryResult<()> {
            for rows in portions(rows) {
                let insert = diesel::insert_into($table::table)
                    .values(rows)
                    .on_conflict(($($table::$key),*))
                    .do_update()
                    .set(($($table::$column.eq(excluded($table::$column))),*));
                execute(conn, insert).await?;
            }
            Ok(())
        }
    };
}

/// Inserts rows whose key is not there yet.
macro_rules! add {
    ($name:ident, $row:ty, $table:ident) => {
        pub(super) async fn $name(conn: &mut Conn, rows: Vec<$row>) -> QueryResult<()> {
            for rows in portions(rows) {
                let insert = diesel::insert_into($table::table).values(rows).on_conflict_do_nothing();
                execute(conn, insert).await?;
            }
            Ok(())
        }
    };
}

replace!(
    replace_rollups,
    RollupRow,
    rollups,
    (instance, boot, start, seconds, route, backend, method, class)
);
replace!(replace_merged, MergedRow, merged_rollups, (seconds, series, start));
add!(add_samples, StoredSample, request_samples);
add!(add_changes, StoredChange, config_changes);
add!(add_series, SeriesKey, series);
