//! Rolling up and purging, a little at a time: between two transactions whoever wants to write gets in.

use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use super::access::on;
use super::plan::{DAY, Shortened, Times, floor};
use super::writers::{Liveness, WriterRow};
use super::{Inner, StoreError};

/// Looks at the file of a SQLite store between two passes.
const LOOKS: u32 = 3;

/// Clocks that differ by more than an hour (in seconds) are logged.
const APART: i64 = 3_600;

/// For one pass. After a long outage there may be much to merge; the next pass goes on where this one ended.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(600);

/// What a pass is called in an error.
pub(super) const DOING: &str = "merging in";

/// What a pass has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Rows of writers that were rolled up.
    pub rolled_up: usize,
    /// Rows of any kind that were purged, being too old.
    pub purged: usize,
}

/// One pass. Where another instance is at it, it does nothing.
pub(super) async fn maintain(inner: Arc<Inner>) -> Result<Maintained, StoreError> {
    let mut done = Maintained::default();
    let writers = inner.in_doubt().writers();
    for writer in writers {
        let by = inner.progress(&writer);
        on!(inner, writer, write::touch(by))?;
    }
    let rows = on!(inner, reader, roll_up::writers())?;
    let (liveness, now) = inner.judge(rows);
    let retention = i64::try_from(inner.options.retention.as_secs()).unwrap_or(i64::MAX / 2);
    let times = Times { now, earliest: liveness.earliest, latest: liveness.latest, retention };
    let confirms = |seconds| inner.pace().confirms(seconds);
    let shortened = on!(inner, writer, purge::shorten(times, confirms))?;
    if matches!(shortened, Shortened::Elsewhere) {
        return Ok(done);
    }
    loop {
        match on!(inner, writer, roll_up::roll_up(liveness.ended.clone()))? {
            None => return Ok(done),
            Some(0) => break,
            Some(rolled_up) => done.rolled_up += rolled_up,
        }
    }
    let Shortened::To(borders) = shortened else { return Ok(done) };
    for series in on!(inner, reader, purge::portions())? {
        let borders = borders.clone();
        done.purged += on!(inner, writer, purge::purge_merged(series, borders))?;
    }
    let before = floor(times.earliest.saturating_sub(retention), i64::from(DAY));
    let Liveness { ended, gone, .. } = liveness;
    done.purged += on!(inner, writer, purge::purge_rest(before, ended))?;
    on!(inner, writer, purge::purge_names(gone))?;
    on!(inner, writer, purge::compact())?;
    Ok(done)
}

/// Passes in the background, as long as there is a store. What fails is said once, until it works again.
pub(super) async fn regularly(store: Weak<Inner>, every: Duration) {
    let mut failing = false;
    loop {
        // Instances that were started together do not stay together.
        let wait = every.mul_f64(1.0 + fastrand::f64() * 0.2);
        for _ in 0..LOOKS {
            tokio::time::sleep(wait / LOOKS).await;
            let Some(inner) = store.upgrade() else { return };
            inner.look_at_file().await;
        }
        let Some(inner) = store.upgrade() else { return };
        // A store that has not been used has nothing to roll up, and maintenance must not be the first to touch the database.
        if !inner.is_prepared() {
            continue;
        }
        // As a task of its own, so that a panic ends this pass only.
        let pass = tokio::spawn(tokio::time::timeout(TIME_LIMIT, maintain(inner.clone())));
        let outcome = match pass.await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(StoreError::TimedOut { limit: TIME_LIMIT }),
            Err(_) => Err(StoreError::Stopped),
        };
        match outcome {
            Ok(_) => failing = false,
            Err(error) => {
                let error = inner.judged(error, DOING).await;
                if !std::mem::replace(&mut failing, true) {
                    log::warn!("old metrics were not merged: {error}");
                }
            }
        }
    }
}

impl Inner {
    /// What the table of writers says, and the time. That clocks disagree is said once.
    pub(super) fn judge(&self, rows: Vec<WriterRow>) -> (Liveness, i64) {
        let pace = self.pace();
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        let liveness = writers.look(rows, &pace);
        let behind = liveness.behind.as_ref().filter(|_| pace.now() - liveness.earliest > APART);
        if writers.is_newly_behind(behind)
            && let Some(instance) = behind
        {
            log::warn!(
                "the clock of instance {instance}, which writes to the same metrics store, is {} s behind this one's; \
                 until they agree nothing is dropped that is not too old by both",
                pace.now() - liveness.earliest
            );
        }
        (liveness, pace.now())
    }

    fn is_prepared(&self) -> bool {
        self.prepared.try_lock().is_ok_and(|prepared| prepared.is_some())
    }
}
