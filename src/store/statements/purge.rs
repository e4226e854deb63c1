//! Purging what is too old: fine rows whose time is told by coarser ones, and everything after `metrics.retentionDays`.

use diesel::dsl::{exists, not};
use diesel::prelude::*;
use diesel::upsert::excluded;

use super::super::{Conn, execute, load, may_merge};
use super::query::since;
use super::roll_up::end;
use crate::store::plan::{DAY, LEVEL_RETENTION, LEVELS, Shortened, Since, Times, floor};
use crate::store::schema::{
    alert_holders, alert_pushes, alerts, config_changes, levels, merged_rollups, request_samples, rollups,
    series, writers,
};
use crate::store::writers::WriterRow;

/// Series whose old rows one transaction deletes.
const SERIES: usize = 200;
/// Samples kept at most, however many errors there are.
const SAMPLES: i64 = 100_000;

/// Moves the borders from which on each level is complete, before a row is deleted: whoever asks from now on does not rely
/// on rows that are about to go. `confirms`: whether it may be believed that so many seconds have passed.
pub(in crate::store) async fn shorten(
    conn: &mut Conn,
    times: Times,
    confirms: impl Fn(i64) -> bool,
) -> QueryResult<Shortened> {
    let Times { earliest, retention, .. } = times;
    if !may_merge(conn).await? {
        return Ok(Shortened::Elsewhere);
    }
    let before = bring_back(conn, times).await?;
    let passed = earliest - last_time(conn, &before).await?.unwrap_or(earliest);
    if !confirms(passed) {
        return Ok(Shortened::Unconfirmed);
    }
    let mut borders = Vec::new();
    for (level, seconds) in LEVELS.into_iter().enumerate() {
        let kept = LEVEL_RETENTION[level].unwrap_or(retention).min(retention);
        // On the border of a coarser row, that nothing is in neither.
        let coarser = LEVELS.get(level + 1).copied().unwrap_or(seconds);
        let border = match LEVEL_RETENTION[level] {
            Some(_) => floor(earliest - kept, i64::from(coarser)),
            None => floor(earliest - kept, i64::from(DAY)),
        };
        borders.push((seconds, border.max(before[level])));
    }
    for (seconds, border) in borders.clone() {
        set_since(conn, seconds, border).await?;
    }
    Ok(Shortened::To(borders))
}

async fn set_since(conn: &mut Conn, seconds: i32, since: i64) -> QueryResult<()> {
    let moved = diesel::insert_into(levels::table)
        .values((levels::seconds.eq(seconds), levels::since.eq(since)))
        .on_conflict(levels::seconds)
        .do_update()
        .set(levels::since.eq(excluded(levels::since)));
    execute(conn, moved).await.map(drop)
}

/// A border that lies ahead of every clock was moved by one that was wrong, and what was before it may be gone. Fine rows
/// are complete from now on; of the coarse ones, whatever is left is shown.
async fn bring_back(conn: &mut Conn, Times { now, latest, retention, .. }: Times) -> QueryResult<Since> {
    let mut borders = since(conn).await?;
    for (level, seconds) in LEVELS.into_iter().enumerate() {
        if borders[level] > latest {
            borders[level] = match LEVEL_RETENTION[level] {
                Some(_) => floor(now, i64::from(seconds)),
                None => floor(now - retention, i64::from(DAY)),
            };
            set_since(conn, seconds, borders[level]).await?;
        }
    }
    Ok(borders)
}

/// When the borders were moved last, more or less; where they never were, of when the oldest row is.
async fn last_time(conn: &mut Conn, borders: &Since) -> QueryResult<Option<i64>> {
    if borders[0] != 0 {
        return Ok(Some(borders[0] + LEVEL_RETENTION[0].unwrap_or(0)));
    }
    use merged_rollups as m;
    let oldest = m::table.select(diesel::dsl::min(m::start)).filter(m::seconds.eq(DAY));
    Ok(load::<Option<i64>, _>(conn, oldest).await?.pop().flatten().map(|day| day + i64::from(DAY)))
}

/// The ids of all series, in the portions that [`purge_merged`] takes.
pub(in crate::store) async fn portions(conn: &mut Conn) -> QueryResult<Vec<Vec<i64>>> {
    let ids: Vec<i64> = load(conn, series::table.select(series::id).order(series::id)).await?;
    Ok(ids.chunks(SERIES).map(<[i64]>::to_vec).collect())
}

/// Deletes rows of some series before the borders; how many.
pub(in crate::store) async fn purge_merged(
    conn: &mut Conn,
    ids: Vec<i64>,
    borders: Vec<(i32, i64)>,
) -> QueryResult<usize> {
    use merged_rollups as m;
    let mut purged = 0;
    for (seconds, border) in borders {
        let old = m::table
            .filter(m::seconds.eq(seconds))
            .filter(m::series.eq_any(ids.clone()))
            .filter(m::start.lt(border));
        purged += execute(conn, diesel::delete(old)).await?;
    }
    Ok(purged)
}

/// Deletes everything else that is too old; how many rows. `before`: Unix seconds.
pub(in crate::store) async fn purge_rest(
    conn: &mut Conn,
    before: i64,
    ended: Vec<WriterRow>,
) -> QueryResult<usize> {
    let before_ms = before.saturating_mul(1000);
    let full: Vec<i64> = load(
        conn,
        request_samples::table
            .select(request_samples::at_ms)
            .order(request_samples::at_ms.desc())
            .limit(1)
            .offset(SAMPLES),
    )
    .await?;
    let oldest = full.first().map_or(before_ms, |at_ms| before_ms.max(at_ms + 1));
    let mut purged =
        execute(conn, diesel::delete(request_samples::table.filter(request_samples::at_ms.lt(oldest))))
            .await?;
    purged +=
        execute(conn, diesel::delete(config_changes::table.filter(config_changes::at_ms.lt(before_ms))))
            .await?;
    purged +=
        execute(conn, diesel::delete(alerts::table.filter(alerts::resolved_at_ms.lt(before_ms)))).await?;
    let told = not(exists(alerts::table.filter(alerts::id.eq(alert_pushes::alert_id))));
    purged += execute(conn, diesel::delete(alert_pushes::table.filter(told))).await?;
    let held = not(exists(alerts::table.filter(alerts::id.eq(alert_holders::alert_id))));
    purged += execute(conn, diesel::delete(alert_holders::table.filter(held))).await?;
    // Too late to be merged anywhere, and not written again.
    for writer in super::roll_up::writers(conn).await? {
        let committed = if ended.contains(&writer) { i64::MAX } else { writer.committed };
        let own = rollups::instance.eq(writer.instance).and(rollups::boot.eq(writer.boot));
        let old = rollups::table.filter(own).filter(rollups::start.lt(before)).filter(end().le(committed));
        purged += execute(conn, diesel::delete(old)).await?;
    }
    Ok(purged)
}

/// Forgets names that nothing refers to any more: series without a row, writers that have ended.
pub(in crate::store) async fn purge_names(conn: &mut Conn, gone: Vec<WriterRow>) -> QueryResult<()> {
    if may_merge(conn).await? {
        let used = merged_rollups::table
            .filter(merged_rollups::seconds.eq_any(LEVELS.to_vec()))
            .filter(merged_rollups::series.eq(series::id));
        execute(conn, diesel::delete(series::table.filter(not(exists(used))))).await?;
        for writer in gone {
            let ended = writers::table
                .filter(writers::instance.eq(writer.instance))
                .filter(writers::boot.eq(writer.boot))
                .filter(writers::attempt.eq(writer.attempt))
                .filter(not(exists(
                    rollups::table
                        .filter(rollups::instance.eq(writers::instance))
                        .filter(rollups::boot.eq(writers::boot)),
                )));
            execute(conn, diesel::delete(ended)).await?;
        }
    }
    Ok(())
}

/// Gives back to the file system what was freed.
pub(in crate::store) async fn compact(conn: &mut Conn) -> QueryResult<()> {
    super::super::compact(conn).await
}
