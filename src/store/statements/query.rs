//! What was counted, from merged rows and those that are not merged yet, as of one moment.

use std::collections::HashMap;

use aegis_actors::metrics_aggregator::Tally;
use diesel::prelude::*;

use super::super::{Conn, batch, begin_read, load};
use crate::store::answers::{Bucket, Detail, Endpoint, Filter, Question, Range, Sums};
use crate::store::plan::{LEVELS, Since, Stretch, floor, stretches};
use crate::store::rows::{CountsRow, SeriesKey, histogram, scope};
use crate::store::schema::{levels, merged_rollups, rollups, series};

/// Ids in one statement: SQLite takes 32 766 parameters.
const IDS: usize = 10_000;

/// By buckets of `seconds`; those in which nothing was counted are left out.
pub(in crate::store) async fn by_time(
    conn: &mut Conn,
    question: Question,
    seconds: i64,
) -> QueryResult<Vec<Bucket>> {
    let Question { range, filter, detail, now } = question;
    begin_read(conn).await?;
    let plan = stretches(range.from, range.to, Some(seconds), &since(conn).await?, now);
    let scope = match (&filter.route, &filter.backend) {
        (Some(_), _) => scope::SERIES,
        (None, Some(_)) => scope::BACKEND,
        (None, None) => scope::EVERYTHING,
    };
    let keys = matching(conn, &filter, scope).await?;
    let classes: HashMap<i64, i16> = keys.iter().map(|(id, key)| (*id, key.class)).collect();
    let ids: Vec<i64> = keys.iter().map(|(id, _)| *id).collect();
    let mut sums = Sums::default();
    for stretch in plan {
        for (id, start, tally) in merged(conn, &stretch, &ids, detail).await? {
            sums.add(floor(start, seconds), classes.get(&id).copied().unwrap_or(0), &tally);
        }
    }
    for (key, start, tally) in unmerged(conn, range, &filter, detail).await? {
        sums.add(floor(start, seconds), key.class, &tally);
    }
    batch(conn, "COMMIT").await?;
    Ok(sums.buckets())
}

/// By route, backend and method.
pub(in crate::store) async fn by_endpoint(conn: &mut Conn, question: Question) -> QueryResult<Vec<Endpoint>> {
    let Question { range, filter, detail, now } = question;
    begin_read(conn).await?;
    let plan = stretches(range.from, range.to, None, &since(conn).await?, now);
    let keys: HashMap<i64, SeriesKey> = matching(conn, &filter, scope::SERIES).await?.into_iter().collect();
    let ids: Vec<i64> = keys.keys().copied().collect();
    let mut sums = Sums::default();
    // By series first: an endpoint's names are compared once per series, not once per row.
    let mut by_id: HashMap<i64, Tally> = HashMap::new();
    for stretch in plan {
        for (id, _, tally) in merged(conn, &stretch, &ids, detail).await? {
            by_id.entry(id).or_default().merge(&tally);
        }
    }
    for (id, tally) in &by_id {
        if let Some(key) = keys.get(id) {
            sums.add(endpoint(key), key.class, tally);
        }
    }
    for (key, _, tally) in unmerged(conn, range, &filter, detail).await? {
        sums.add(endpoint(&key), key.class, &tally);
    }
    batch(conn, "COMMIT").await?;
    let endpoint =
        |((route, backend, method), (tally, classes))| Endpoint { route, backend, method, tally, classes };
    Ok(sums.0.into_iter().map(endpoint).collect())
}

fn endpoint(key: &SeriesKey) -> (String, String, String) {
    (key.route.clone(), key.backend.clone(), key.method.clone())
}

/// From when on each level is complete. A level that was never shortened is complete.
pub(in crate::store) async fn since(conn: &mut Conn) -> QueryResult<Since> {
    let known: Vec<(i32, i64)> = load(conn, levels::table.select((levels::seconds, levels::since))).await?;
    let known: HashMap<i32, i64> = known.into_iter().collect();
    Ok(LEVELS.map(|seconds| known.get(&seconds).copied().unwrap_or(0)))
}

/// The series of a scope that a filter lets pass.
async fn matching(conn: &mut Conn, filter: &Filter, scope: i16) -> QueryResult<Vec<(i64, SeriesKey)>> {
    let mut wanted = series::table
        .select((
            series::id,
            (series::instance, series::scope, series::route, series::backend, series::method, series::class),
        ))
        .filter(series::scope.eq(scope))
        .into_boxed();
    if let Some(route) = filter.route.clone() {
        wanted = wanted.filter(series::route.eq(route));
    }
    if let Some(backend) = filter.backend.clone() {
        wanted = wanted.filter(series::backend.eq(backend));
    }
    if let Some(instance) = filter.instance.clone() {
        wanted = wanted.filter(series::instance.eq(instance));
    }
    load(conn, wanted).await
}

/// The merged rows of a stretch: series, start and what was counted.
async fn merged(
    conn: &mut Conn,
    stretch: &Stretch,
    ids: &[i64],
    detail: Detail,
) -> QueryResult<Vec<(i64, i64, Tally)>> {
    use merged_rollups as m;
    let counts =
        (m::requests, m::failed, m::limited, m::own, m::bytes_in, m::bytes_out, m::total_us, m::longest_us);
    let mut out = Vec::new();
    for ids in ids.chunks(IDS) {
        let rows = m::table
            .filter(m::seconds.eq(LEVELS[stretch.level]))
            .filter(m::series.eq_any(ids.to_vec()))
            .filter(m::start.ge(stretch.from))
            .filter(m::start.lt(stretch.to));
        match detail {
            Detail::Counts => {
                let rows: Vec<(i64, i64, CountsRow)> =
                    load(conn, rows.select((m::series, m::start, counts))).await?;
                out.extend(rows.into_iter().map(|(id, start, counts)| (id, start, counts.tally())));
            }
            Detail::Latency => {
                let rows: Vec<(i64, i64, CountsRow, Vec<u8>)> =
                    load(conn, rows.select((m::series, m::start, counts, m::latency))).await?;
                out.extend(rows.into_iter().map(|(id, start, counts, latency)| {
                    (id, start, Tally { latency: histogram(&latency), ..counts.tally() })
                }));
            }
        }
    }
    Ok(out)
}

/// Rows of a range as they were written, and not merged yet.
async fn unmerged(
    conn: &mut Conn,
    range: Range,
    filter: &Filter,
    detail: Detail,
) -> QueryResult<Vec<(SeriesKey, i64, Tally)>> {
    use rollups as r;
    let mut rows = r::table.filter(r::start.ge(range.from)).filter(r::start.lt(range.to)).into_boxed();
    if let Some(route) = filter.route.clone() {
        rows = rows.filter(r::route.eq(route));
    }
    if let Some(backend) = filter.backend.clone() {
        rows = rows.filter(r::backend.eq(backend));
    }
    if let Some(instance) = filter.instance.clone() {
        rows = rows.filter(r::instance.eq(instance));
    }
    let rows: Vec<crate::store::rows::RollupRow> = load(conn, rows).await?;
    let told = rows.into_iter().map(|row| {
        let mut tally = row.tally();
        if detail == Detail::Counts {
            tally.latency = Default::default();
        }
        (row.key(), row.start, tally)
    });
    Ok(told.collect())
}
