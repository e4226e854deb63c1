//! Rolling up: committed rows leave the table that their writers write, and are added to the merged rows of every resolution,
//! in one transaction. So every request is in exactly one of the two, whoever looks and whenever.

use std::collections::{BTreeSet, HashMap};

use aegis_actors::metrics_aggregator::Tally;
use diesel::dsl::sql;
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::super::{Conn, add_series, load, may_merge, replace_merged};
use super::query::since;
use crate::store::merging;
use crate::store::plan::{LEVELS, Since};
use crate::store::rows::{MergedRow, RollupRow, SeriesKey};
use crate::store::schema::{merged_rollups, rollups, series, writers};
use crate::store::writers::WriterRow;

/// Rows that one transaction merges, more or less: those with the same start stay together.
const ROWS: i64 = 2_000;

/// Everybody who writes, or did.
pub(in crate::store) async fn writers(conn: &mut Conn) -> QueryResult<Vec<WriterRow>> {
    load(conn, writers::table).await
}

/// Rolls some rows up; how many. `None`: another instance is at it. `ended`: whose rows are all committed.
pub(in crate::store) async fn roll_up(conn: &mut Conn, ended: Vec<WriterRow>) -> QueryResult<Option<usize>> {
    if !may_merge(conn).await? {
        return Ok(None);
    }
    let since = since(conn).await?;
    // What is older than every level has nowhere to go, and stays where it is.
    let oldest = since.iter().copied().min().unwrap_or(i64::MIN);
    let mut rows = Vec::new();
    for writer in writers(conn).await? {
        if rows.len() >= ROWS as usize {
            break;
        }
        // One that has ended, and is heard of all the same, has not.
        let committed = if ended.contains(&writer) { i64::MAX } else { writer.committed };
        rows.extend(take(conn, &writer, oldest, committed).await?);
    }
    let taken = rows.len();
    if taken == 0 {
        return Ok(Some(0));
    }
    add(conn, rows, &since).await?;
    Ok(Some(taken))
}

/// Takes the oldest committed rows of a writer out of their table. What is deleted is exactly what is returned, whatever
/// else is written meanwhile.
async fn take(
    conn: &mut Conn,
    writer: &WriterRow,
    oldest: i64,
    committed: i64,
) -> QueryResult<Vec<RollupRow>> {
    use rollups as r;
    let own = || r::instance.eq(writer.instance.clone()).and(r::boot.eq(writer.boot.clone()));
    let rows = || r::table.filter(own()).filter(r::start.ge(oldest)).filter(end().le(committed));
    let last: Vec<i64> =
        load(conn, rows().select(r::start).order(r::start).limit(1).offset(ROWS - 1)).await?;
    let last = last.first().copied().unwrap_or(i64::MAX);
    load(conn, diesel::delete(rows().filter(r::start.le(last))).returning(r::all_columns)).await
}

/// End of a row's stretch of time.
pub(super) fn end() -> SqlLiteral<BigInt> {
    sql("start + seconds")
}

/// Adds rows to the merged ones.
async fn add(conn: &mut Conn, rows: Vec<RollupRow>, since: &Since) -> QueryResult<()> {
    let sums = merging::spread(&rows, since);
    let ids = named(conn, sums.keys().map(|(_, key, _)| key)).await?;
    let mut sums: HashMap<(usize, i64, i64), Tally> = sums
        .into_iter()
        .filter_map(|((level, key, start), tally)| Some(((level, *ids.get(&key)?, start), tally)))
        .collect();
    for (level, seconds) in LEVELS.into_iter().enumerate() {
        let wanted = || sums.keys().filter(move |(at, ..)| *at == level);
        let ids: BTreeSet<i64> = wanted().map(|(_, id, _)| *id).collect();
        let starts = wanted().map(|(.., start)| *start);
        let (Some(first), Some(last)) = (starts.clone().min(), starts.max()) else { continue };
        use merged_rollups as m;
        let there = m::table
            .filter(m::seconds.eq(seconds))
            .filter(m::series.eq_any(ids.into_iter().collect::<Vec<_>>()))
            .filter(m::start.ge(first))
            .filter(m::start.le(last));
        let there: Vec<MergedRow> = load(conn, there).await?;
        for row in there {
            if let Some(sum) = sums.get_mut(&(level, row.series, row.start)) {
                sum.merge(&row.tally());
            }
        }
    }
    let rows =
        sums.iter().map(|((level, id, start), tally)| MergedRow::new(LEVELS[*level], *id, *start, tally));
    let mut rows: Vec<MergedRow> = rows.collect();
    rows.sort_unstable_by_key(|row| (row.seconds, row.series, row.start));
    replace_merged(conn, rows).await
}

/// The ids of series, those that are new among them.
async fn named<'k>(
    conn: &mut Conn,
    keys: impl Iterator<Item = &'k SeriesKey>,
) -> QueryResult<HashMap<SeriesKey, i64>> {
    let keys: BTreeSet<&SeriesKey> = keys.collect();
    let instances: BTreeSet<String> = keys.iter().map(|key| key.instance.clone()).collect();
    let instances: Vec<String> = instances.into_iter().collect();
    let mut known = of_instances(conn, instances.clone()).await?;
    let new: Vec<SeriesKey> = keys.into_iter().filter(|key| !known.contains_key(*key)).cloned().collect();
    if !new.is_empty() {
        add_series(conn, new).await?;
        known = of_instances(conn, instances).await?;
    }
    Ok(known)
}

async fn of_instances(conn: &mut Conn, instances: Vec<String>) -> QueryResult<HashMap<SeriesKey, i64>> {
    use series as s;
    let key = (s::instance, s::scope, s::route, s::backend, s::method, s::class);
    let known = s::table.select((key, s::id)).filter(s::instance.eq_any(instances));
    Ok(load::<(SeriesKey, i64), _>(conn, known).await?.into_iter().collect())
}
