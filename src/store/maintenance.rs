//! Merging and retention, a little at a time: between two transactions whoever wants to write gets in.

use std::sync::{Arc, Weak};
use std::time::Duration;

use aegis_actors::metrics_aggregator::Writer;

use super::access::on;
use super::batch::Signature;
use super::plan::{DAY, floor};
use super::{Inner, StoreError};

/// For one pass. After a long outage there may be much to merge; the next pass goes on where this one ended.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(600);

/// What a pass has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Rows of writers that were merged.
    pub merged: usize,
    /// Rows of any kind that were too old.
    pub dropped: usize,
}

/// One pass. Where another instance is at it, it does nothing.
pub(super) async fn maintain(inner: Arc<Inner>) -> Result<Maintained, StoreError> {
    let mut done = Maintained::default();
    let now = inner.now();
    let writers = inner.doubts().writers();
    for writer in writers {
        let by = inner.standing(&writer);
        on!(inner.access, writer, write::touch(by))?;
    }
    loop {
        match on!(inner.access, writer, fold::fold(now))? {
            None => return Ok(done),
            Some(0) => break,
            Some(merged) => done.merged += merged,
        }
    }
    let retention = i64::try_from(inner.options.retention.as_secs()).unwrap_or(i64::MAX);
    let Some(borders) = on!(inner.access, writer, trim::shorten(now, retention))? else { return Ok(done) };
    for series in on!(inner.access, reader, trim::portions())? {
        let borders = borders.clone();
        done.dropped += on!(inner.access, writer, trim::drop_merged(series, borders))?;
    }
    let before = floor(now.saturating_sub(retention), i64::from(DAY));
    done.dropped += on!(inner.access, writer, trim::drop_rest(before))?;
    on!(inner.access, writer, trim::forget(now))?;
    on!(inner.access, writer, trim::compact())?;
    Ok(done)
}

/// Passes in the background, as long as there is a store. What fails is said once, until it works again.
pub(super) async fn regularly(store: Weak<Inner>, every: Duration) {
    let mut failing = false;
    loop {
        // Instances that were started together do not stay together.
        let jitter = every.mul_f64(fastrand::f64() * 0.2);
        tokio::time::sleep(every + jitter).await;
        let Some(inner) = store.upgrade() else { return };
        // Who has not used the store yet has nothing to merge, and must not be the first to touch the database.
        if !inner.is_prepared() {
            continue;
        }
        // As a task of its own, so that a panic ends this pass only.
        let pass = tokio::spawn(tokio::time::timeout(TIME_LIMIT, maintain(inner.clone())));
        let outcome = match pass.await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(StoreError::TimedOut { what: "maintenance", limit: TIME_LIMIT }),
            Err(_) => Err(StoreError::Stopped),
        };
        match outcome {
            Ok(_) => failing = false,
            Err(error) => {
                let error = inner.judged(error).await;
                if !std::mem::replace(&mut failing, true) {
                    log::warn!("old metrics were not merged: {error}");
                }
            }
        }
    }
}

impl Inner {
    /// What a writer has settled by now.
    fn standing(&self, writer: &Writer) -> Signature {
        let now = self.now();
        let (attempt, settled) = self.doubts().standing(writer, now);
        let (instance, boot) = (writer.instance.to_string(), writer.boot.to_string());
        Signature { instance, boot, attempt, settled, now }
    }

    fn is_prepared(&self) -> bool {
        self.prepared.try_lock().is_ok_and(|prepared| *prepared)
    }
}
