//! The metrics store: rollups, samples of requests, changes of the configuration and alerts, in SQLite or PostgreSQL.
//!
//! The only place that knows diesel. Whoever writes or asks may sit on any thread: the store has a runtime of its own for
//! its connections, so that no actor's end takes them along and no statement holds up a thread that serves requests.
//! Nothing here waits longer than its time limit. Why rows look as they do: docs/adr/0011-rollups.md.
//!
//! | file | holds |
//! |---|---|
//! | `url`, `tls` | which database a URL means, and how it is spoken to |
//! | `migrations` | the files of `migrations/`, built in |
//! | `file`, `damage` | the file of a SQLite store, and what is done when it is none any more |
//! | `postgres`, `sqlite` | connections, and what the two want said differently |
//! | `statements` | everything else that is said to a database |
//! | `schema`, `rows`, `alert_rows`, `batch` | tables, their rows, a batch as rows |
//! | `alerts` | the ledger of the alerts actor |
//! | `in_doubt`, `writers`, `merging` | what may be merged, and into what |
//! | `pace` | how far the wall clock is believed |
//! | `plan`, `answers` | which rows a question needs, and what it gets |
//! | `maintenance` | rolling up and purging |

mod access;
mod alert_rows;
mod alerts;
mod answers;
mod batch;
mod damage;
mod error;
mod file;
mod in_doubt;
mod maintenance;
mod merging;
mod migrations;
mod pace;
mod plan;
mod postgres;
mod rows;
mod schema;
mod sqlite;
#[cfg(test)]
mod tests;
mod tls;
mod url;
mod writers;

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aegis_actors::Reading;
use aegis_actors::alerts::{Alert, Push};
use aegis_actors::metrics_aggregator::{Batch, FINEST, Sink, SinkError, Writer};
use arc_swap::ArcSwap;
use tokio::runtime::Runtime;

use access::{Access, on};
use answers::Question;
pub use answers::{Bucket, Detail, Endpoint, Filter, KeptSamples, Range, Wanted};
use batch::{Rows, Signature};
use damage::Damage;
pub use error::StoreError;
use file::{Files, Moved};
use in_doubt::InDoubt;
pub use maintenance::Maintained;
pub use migrations::{Applied, Order};
use pace::Pace;
pub use plan::finest;
pub use rows::{StoredChange, StoredSample};
pub use url::Database;
use writers::Writers;

/// How a store behaves.
#[derive(Clone)]
pub struct Options {
    /// Apply missing migrations of PostgreSQL before the first use (`metrics.autoMigrate`). SQLite's always are.
    pub auto_migrate: bool,
    /// How long a write or a question may take, waiting for a connection included. Default 5 s.
    pub time_limit: Duration,
    /// How old anything may get (`metrics.retentionDays`). Default 30 days.
    pub retention: Duration,
    /// How often old rows are rolled up and purged, in the background; `None` = only when [`Store::maintain`] is called.
    /// Default a minute.
    pub maintain_every: Option<Duration>,
    /// Both clocks of the machine.
    pub clock: Arc<dyn Fn() -> Reading + Send + Sync>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            auto_migrate: true,
            time_limit: Duration::from_secs(5),
            retention: Duration::from_secs(30 * 86_400),
            maintain_every: Some(Duration::from_secs(60)),
            clock: Arc::new(Reading::now),
        }
    }
}

/// An answer to come; nothing happens before it is waited for. Any executor may wait.
pub type Asked<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// See the module. Clones are the same store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    runtime: Arc<Background>,
}

struct Inner {
    database: Database,
    access: ArcSwap<Access>,
    options: Options,
    in_doubt: Mutex<InDoubt>,
    pace: Mutex<Pace>,
    writers: Mutex<Writers>,
    damage: Mutex<Damage>,
    /// The schema is known to be there, in these files where it is SQLite.
    prepared: tokio::sync::Mutex<Option<Option<Files>>>,
}

/// The store's threads. They are not waited for when the last clone of the store goes: that may be on any thread.
struct Background(Option<Runtime>);

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Store {
    /// A store at `url`. Nothing is connected to yet: a database that is away is found when it is used, and used when it is
    /// back.
    ///
    /// # Errors
    /// The URL cannot be used, or the system has no thread to give.
    pub fn open(url: &str, options: Options) -> Result<Self, StoreError> {
        Self::at(Database::parse(url).map_err(StoreError::Url)?, options)
    }

    /// [`Store::open`] at a database whose URL has been read already.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn at(database: Database, options: Options) -> Result<Self, StoreError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(8)
            .thread_name("aegis-store")
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| StoreError::Threads(error.to_string()))?;
        let access = {
            // Connections belong to this runtime.
            let _inside = runtime.enter();
            ArcSwap::from_pointee(Access::new(&database))
        };
        let pace = Mutex::new(Pace::new((options.clock)()));
        let (in_doubt, writers, prepared) =
            (Mutex::default(), Mutex::default(), tokio::sync::Mutex::new(None));
        let damage = Mutex::default();
        let inner = Arc::new(Inner { database, access, options, in_doubt, pace, writers, damage, prepared });
        if let Some(every) = inner.options.maintain_every {
            runtime.spawn(maintenance::regularly(Arc::downgrade(&inner), every));
        }
        Ok(Self { inner, runtime: Arc::new(Background(Some(runtime))) })
    }

    /// Where the store is; its text has no password.
    pub fn database(&self) -> &Database {
        &self.inner.database
    }

    /// Connects and makes sure that the schema is there, as every use does at first.
    pub fn prepare(&self) -> Asked<()> {
        self.run("opening", self.inner.options.time_limit, |_| async { Ok(()) })
    }

    /// Applies, undoes or lists migrations, without a time limit. Blocks; for the command line.
    ///
    /// # Errors
    /// The database is away, or a migration failed: nothing has been done then.
    pub fn migrate(&self, order: Order) -> Result<Applied, StoreError> {
        let Some(runtime) = &self.runtime.0 else { return Err(StoreError::Stopped) };
        runtime.block_on(self.inner.clone().migrate(order))
    }

    /// Writes a batch whole or not at all; writing it again changes nothing.
    ///
    /// The writer keeps to this: after a failure it repeats the rows of that batch, with the same keys and counts that are
    /// the same or higher, until a write succeeds, and does not count their requests in rows of other keys; and it does not
    /// write a row again that was acknowledged more than a minute after the row's end.
    pub fn write_batch(&self, writer: Writer, batch: Batch) -> Asked<()> {
        let in_doubt = self.inner.in_doubt().of(&batch);
        self.run("writing to", self.inner.options.time_limit, move |inner| async move {
            let by = inner.attempt(&writer, &in_doubt);
            let rows = Rows::new(&writer, batch);
            let written = on!(inner, writer, write::write(by, rows));
            if written.as_ref().is_err_and(StoreError::tells_of_a_full_disk) {
                inner.make_room().await;
            }
            written?;
            inner.in_doubt().acknowledged(&writer, &in_doubt);
            Ok(())
        })
    }

    /// What was counted, by buckets of `seconds`, a multiple of ten; those in which nothing was counted are left out. A
    /// range counts the rows that start in it: exact where its borders are multiples of the resolution kept at that age.
    pub fn series(&self, range: Range, seconds: u32, filter: Filter, detail: Detail) -> Asked<Vec<Bucket>> {
        self.run("reading", self.inner.options.time_limit, move |inner| async move {
            let seconds = bucket(seconds)?;
            let question = Question { range, filter, detail, now: inner.now() };
            on!(inner, reader, query::by_time(question, seconds))
        })
    }

    /// What was counted, by route, backend and method.
    pub fn top(&self, range: Range, filter: Filter, detail: Detail) -> Asked<Vec<Endpoint>> {
        self.run("reading", self.inner.options.time_limit, move |inner| async move {
            let question = Question { range, filter, detail, now: inner.now() };
            on!(inner, reader, query::by_endpoint(question))
        })
    }

    /// Those samples that are wanted, the newest first.
    pub fn samples(&self, limit: u32, wanted: Wanted) -> Asked<Vec<StoredSample>> {
        self.run("reading", self.inner.options.time_limit, move |inner| async move {
            on!(inner, reader, records::samples(i64::from(limit), wanted))
        })
    }

    /// How many samples there are.
    pub fn kept_samples(&self) -> Asked<KeptSamples> {
        self.run("reading", self.inner.options.time_limit, move |inner| async move {
            on!(inner, reader, records::kept_samples())
        })
    }

    /// The newest sample with this request id.
    pub fn sample(&self, request_id: String) -> Asked<Option<StoredSample>> {
        self.run("reading", self.inner.options.time_limit, move |inner| async move {
            on!(inner, reader, records::sample(request_id))
        })
    }

    /// The newest changes of the configuration first.
    pub fn changes(&self, limit: u32) -> Asked<Vec<StoredChange>> {
        self.run("reading", self.inner.options.time_limit, move |inner| async move {
            on!(inner, reader, records::changes(i64::from(limit)))
        })
    }

    /// How far webhooks have been told of these alerts.
    pub fn pushes(&self, alerts: Vec<String>) -> Asked<Vec<Push>> {
        self.run("reading", self.inner.options.time_limit, |inner| async move {
            on!(inner, reader, alerts::pushes(alerts))
        })
    }

    /// The alerts that are firing, the newest first.
    pub fn firing(&self) -> Asked<Vec<Alert>> {
        self.run("reading", self.inner.options.time_limit, |inner| async move {
            on!(inner, reader, alerts::firing())
        })
    }

    /// All alerts, the newest first; those fired before `before_ms`, where that is given.
    pub fn alert_history(&self, limit: u32, before_ms: Option<i64>) -> Asked<Vec<Alert>> {
        self.run("reading", self.inner.options.time_limit, move |inner| async move {
            on!(inner, reader, alerts::history(i64::from(limit), before_ms))
        })
    }

    /// Rolls up what is committed and purges what is too old, now. The background does so by itself.
    pub fn maintain(&self) -> Asked<Maintained> {
        self.run(maintenance::DOING, maintenance::TIME_LIMIT, maintenance::maintain)
    }

    /// Does something on the store's own threads, within a time limit, once the schema is there.
    fn run<T, W>(
        &self,
        doing: &'static str,
        limit: Duration,
        work: impl FnOnce(Arc<Inner>) -> W + Send + 'static,
    ) -> Asked<T>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let (inner, background) = (self.inner.clone(), self.runtime.clone());
        Box::pin(async move {
            let Some(runtime) = &background.0 else { return Err(StoreError::Stopped) };
            let task = runtime.spawn(async move {
                let mut job = tokio::spawn({
                    let inner = inner.clone();
                    async move {
                        let opened = inner.prepared().await;
                        opened.map_err(|error| error.during("opening", &inner.database))?;
                        work(inner).await
                    }
                });
                let outcome = match tokio::time::timeout(limit, &mut job).await {
                    Ok(ended) => ended.unwrap_or(Err(StoreError::Stopped)),
                    Err(_) => {
                        // Ends at its next wait. Its connection is closed, not used again.
                        job.abort();
                        Err(StoreError::TimedOut { limit })
                    }
                };
                match outcome {
                    Ok(value) => Ok(value),
                    Err(error) => {
                        let error = inner.judged(error, doing).await;
                        if error.tells_of_damage() {
                            tokio::spawn(async move { inner.look_for_damage(true).await });
                        }
                        Err(error)
                    }
                }
            });
            task.await.unwrap_or(Err(StoreError::Stopped))
        })
    }
}

impl Sink for Store {
    fn prove(&self) -> Pin<Box<dyn Future<Output = Result<(), SinkError>> + Send>> {
        let prepared = self.prepare();
        Box::pin(async move { prepared.await.map_err(|error| SinkError(error.to_string())) })
    }

    fn write(
        &self,
        writer: Writer,
        batch: Batch,
    ) -> Pin<Box<dyn Future<Output = Result<(), SinkError>> + Send>> {
        let written = self.write_batch(writer, batch);
        Box::pin(async move { written.await.map_err(|error| SinkError(error.to_string())) })
    }
}

fn bucket(seconds: u32) -> Result<i64, StoreError> {
    if seconds == 0 || !seconds.is_multiple_of(FINEST) {
        return Err(StoreError::Bucket(seconds));
    }
    Ok(i64::from(seconds))
}

impl Inner {
    fn in_doubt(&self) -> MutexGuard<'_, InDoubt> {
        self.in_doubt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The clocks, as of now.
    fn pace(&self) -> MutexGuard<'_, Pace> {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.note((self.options.clock)());
        pace
    }

    fn now(&self) -> i64 {
        self.pace().now()
    }

    /// Gives back what of a full disk is not needed at the moment.
    async fn make_room(&self) {
        if let Access::Sqlite { writer, .. } = &*self.access.load_full()
            && let Ok(mut connection) = writer.get().await
        {
            let _ = sqlite::batch(&mut connection, sqlite::SHORTEN).await;
        }
    }

    /// What goes before a write; from now on its rows are in doubt.
    fn attempt(&self, writer: &Writer, in_doubt: &[in_doubt::RowInDoubt]) -> Signature {
        let pace = self.pace();
        let (attempt, committed) = self.in_doubt().attempt(writer, in_doubt, &pace);
        Signature::new(writer, attempt, committed, pace.now())
    }

    /// What a writer has committed by now.
    fn progress(&self, writer: &Writer) -> Signature {
        let pace = self.pace();
        let (attempt, committed) = self.in_doubt().progress(writer, &pace);
        Signature::new(writer, attempt, committed, pace.now())
    }

    /// Makes sure that the schema is there.
    async fn prepared(&self) -> Result<(), StoreError> {
        let mut prepared = self.prepared.lock().await;
        if let (Database::Sqlite(path), Some(files)) = (&self.database, &mut *prepared) {
            match files.and_then(|files| files.moved(path)) {
                None => *files = Some(Files::of(path)),
                Some(how) => {
                    let how = if how == Moved::Deleted { "deleted" } else { "replaced by another one" };
                    log::warn!(
                        "the file of the metrics store, {}, was {how} while it was in use; what has been written \
                         there is lost, and the store goes on in the file that is there now or is made anew",
                        path.display()
                    );
                    // Statements under way on connections of the old pools end with them.
                    self.access.store(Arc::new(Access::new(&self.database)));
                    *prepared = None;
                }
            }
        }
        if prepared.is_some() {
            return Ok(());
        }
        match &self.database {
            Database::Sqlite(path) => {
                sqlite::migrate(path, Order::Run).await.map_err(StoreError::Migration)?;
            }
            Database::Postgres(url) => {
                let missing = postgres::missing(url).await?;
                if !missing.is_empty() && !self.options.auto_migrate {
                    return Err(StoreError::Behind(missing));
                }
                if !missing.is_empty() {
                    postgres::migrate(url, Order::Run).await.map_err(StoreError::Migration)?;
                }
            }
        }
        // The first look, against which the first pass of maintenance tells who lives.
        let writers = on!(self, reader, roll_up::writers())?;
        self.judge(writers);
        *prepared = Some(match &self.database {
            Database::Sqlite(path) => Some(Files::of(path)),
            Database::Postgres(_) => None,
        });
        self.damage().trouble = None;
        Ok(())
    }

    async fn migrate(self: Arc<Self>, order: Order) -> Result<Applied, StoreError> {
        let carried_out = match &self.database {
            // Looking must not make a file.
            Database::Sqlite(path) if order != Order::Run && !path.exists() => {
                migrations::none(migrations::SQLITE)
            }
            Database::Sqlite(path) => sqlite::migrate(path, order).await,
            Database::Postgres(url) => postgres::migrate(url, order).await,
        };
        match carried_out {
            Ok(applied) => Ok(applied),
            Err(why) => Err(self.judged(StoreError::Migration(why), "migrating").await),
        }
    }

    /// Notices a file that has been deleted, replaced or overwritten, when nobody else uses the store.
    async fn look_at_file(&self) {
        let Database::Sqlite(path) = &self.database else { return };
        let known = self.prepared.lock().await.flatten();
        if known.is_some_and(|known| known.is_elsewhere(path))
            && let Err(error) = self.prepared().await
        {
            log::warn!("{}", self.judged(error, "opening").await);
        }
        self.look_for_damage(false).await;
    }

    /// An error as it may be shown; and when it says that the schema has gone, it is looked for again next time.
    async fn judged(&self, error: StoreError, doing: &'static str) -> StoreError {
        if error.tells_of_missing_tables()
            && let Ok(mut prepared) = self.prepared.try_lock()
        {
            *prepared = None;
        }
        let damaged = matches!(self.database, Database::Sqlite(_)) && error.tells_of_damage();
        let error = if damaged { error.of_damage() } else { error };
        let error = error.during(doing, &self.database).without(self.database.password());
        if damaged {
            self.damage().trouble = Some(error.to_string());
        }
        error
    }
}
