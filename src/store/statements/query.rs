//! What was counted, from merged rows and those that are not merged yet, as of one moment.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use aegis_actors::metrics_aggregator::Tally;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::super::{Conn, load};
use crate::store::answers::{Bucket, Detail, Endpoint, Filter, Question, Range, Sums};
use crate::store::plan::{LEVELS, Since, Stretch, floor, stretches};
use crate::store::rows::{Counts, RollupRow, SeriesKey, scope};
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
        for (id, start, counts) in merged(conn, &stretch, &ids).await? {
            sums.count(floor(start, seconds), classes.get(&id).copied().unwrap_or(0), &counts.tally());
        }
        if detail == Detail::Latency {
            for (_, start, latency) in latencies(conn, &stretch, &ids).await? {
                sums.time(floor(start, seconds), latency);
            }
        }
    }
    for row in unmerged(conn, range, &filter).await? {
        sums.count(floor(row.start, seconds), row.class, &row.counts());
        if detail == Detail::Latency {
            sums.time(floor(row.start, seconds), row.latency);
        }
    }
    let bucket = |(start, tally, classes)| Bucket { start, tally, classes };
    Ok(sums.finish().map(bucket).collect())
}

/// By route, backend and method.
pub(in crate::store) async fn by_endpoint(conn: &mut Conn, question: Question) -> QueryResult<Vec<Endpoint>> {
    let Question { range, filter, detail, now } = question;
    let plan = stretches(range.from, range.to, None, &since(conn).await?, now);
    let keys: HashMap<i64, SeriesKey> = matching(conn, &filter, scope::SERIES).await?.into_iter().collect();
    let ids: Vec<i64> = keys.keys().copied().collect();
    let endpoints = endpoints(&keys);
    let mut sums = Sums::default();
    for stretch in plan {
        for (id, counts) in sums_by_series(conn, &stretch, &ids).await? {
            if let Some((endpoint, class)) = endpoints.get(&id) {
                sums.count(endpoint.clone(), *class, &counts.tally());
            }
        }
        if detail == Detail::Latency {
            for (id, _, latency) in latencies(conn, &stretch, &ids).await? {
                if let Some((endpoint, _)) = endpoints.get(&id) {
                    sums.time(endpoint.clone(), latency);
                }
            }
        }
    }
    for row in unmerged(conn, range, &filter).await? {
        let endpoint: Arc<Names> = Arc::new((row.route.clone(), row.backend.clone(), row.method.clone()));
        sums.count(endpoint.clone(), row.class, &row.counts());
        if detail == Detail::Latency {
            sums.time(endpoint, row.latency);
        }
    }
    let endpoint = |(names, tally, classes): (Arc<Names>, Tally, [u64; 5])| {
        let (route, backend, method) = Arc::unwrap_or_clone(names);
        Endpoint { route, backend, method, tally, classes }
    };
    Ok(sums.finish().map(endpoint).collect())
}

/// Route, backend and method.
type Names = (String, String, String);

/// The endpoint and the class of each series; one endpoint's names are kept once.
fn endpoints(keys: &HashMap<i64, SeriesKey>) -> HashMap<i64, (Arc<Names>, i16)> {
    let mut known: BTreeSet<Arc<Names>> = BTreeSet::new();
    let endpoint = |(id, key): (&i64, &SeriesKey)| {
        let names = (key.route.clone(), key.backend.clone(), key.method.clone());
        let names = known.get(&names).cloned().unwrap_or_else(|| {
            let names = Arc::new(names);
            known.insert(names.clone());
            names
        });
        (*id, (names, key.class))
    };
    keys.iter().map(endpoint).collect()
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

/// Counters of the merged rows of a stretch: series, start and what was counted.
async fn merged(conn: &mut Conn, stretch: &Stretch, ids: &[i64]) -> QueryResult<Vec<(i64, i64, Counts)>> {
    use merged_rollups as m;
    let counts = (
        m::requests,
        m::failed,
        m::limited,
        m::own,
        m::bytes_in,
        m::bytes_out,
        m::total_us,
        m::longest_us,
        m::limit_allowed,
        m::limit_limited,
        m::limit_shadow,
        m::limit_bypassed,
    );
    let mut out = Vec::new();
    for ids in ids.chunks(IDS) {
        let rows = m::table
            .select((m::series, m::start, counts))
            .filter(m::seconds.eq(LEVELS[stretch.level]))
            .filter(m::series.eq_any(ids.to_vec()))
            .filter(m::start.ge(stretch.from))
            .filter(m::start.lt(stretch.to));
        out.extend(load::<(i64, i64, Counts), _>(conn, rows).await?);
    }
    Ok(out)
}

/// Counters of a stretch, one sum per series.
async fn sums_by_series(conn: &mut Conn, stretch: &Stretch, ids: &[i64]) -> QueryResult<Vec<(i64, Counts)>> {
    use merged_rollups as m;
    // PostgreSQL's sums of 64 bits have more.
    let sum = |text: &'static str| sql::<BigInt>(text);
    let mut out = Vec::new();
    for ids in ids.chunks(IDS) {
        let counts = (
            sum("CAST(sum(requests) AS BIGINT)"),
            sum("CAST(sum(failed) AS BIGINT)"),
            sum("CAST(sum(limited) AS BIGINT)"),
            sum("CAST(sum(own) AS BIGINT)"),
            sum("CAST(sum(bytes_in) AS BIGINT)"),
            sum("CAST(sum(bytes_out) AS BIGINT)"),
            sum("CAST(sum(total_us) AS BIGINT)"),
            sum("max(longest_us)"),
            sum("CAST(sum(limit_allowed) AS BIGINT)"),
            sum("CAST(sum(limit_limited) AS BIGINT)"),
            sum("CAST(sum(limit_shadow) AS BIGINT)"),
            sum("CAST(sum(limit_bypassed) AS BIGINT)"),
        );
        let rows = m::table
            .group_by(m::series)
            .select((m::series, counts))
            .filter(m::seconds.eq(LEVELS[stretch.level]))
            .filter(m::series.eq_any(ids.to_vec()))
            .filter(m::start.ge(stretch.from))
            .filter(m::start.lt(stretch.to));
        out.extend(load::<(i64, Counts), _>(conn, rows).await?);
    }
    Ok(out)
}

/// Histograms of the merged rows of a stretch: series, start and the encoded form.
async fn latencies(conn: &mut Conn, stretch: &Stretch, ids: &[i64]) -> QueryResult<Vec<(i64, i64, Vec<u8>)>> {
    use merged_rollups as m;
    let mut out = Vec::new();
    for ids in ids.chunks(IDS) {
        let rows = m::table
            .select((m::series, m::start, m::latency))
            .filter(m::seconds.eq(LEVELS[stretch.level]))
            .filter(m::series.eq_any(ids.to_vec()))
            .filter(m::start.ge(stretch.from))
            .filter(m::start.lt(stretch.to));
        out.extend(load::<(i64, i64, Vec<u8>), _>(conn, rows).await?);
    }
    Ok(out)
}

/// Rows of a range as they were written, and not merged yet.
async fn unmerged(conn: &mut Conn, range: Range, filter: &Filter) -> QueryResult<Vec<RollupRow>> {
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
    load(conn, rows).await
}
