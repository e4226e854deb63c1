//! What rate limits decided.

use aegis_actors::metrics_aggregator::LimitTally;
use diesel::prelude::*;

use super::super::{Conn, batch, begin_read, load};
use super::query::since;
use crate::store::answers::{LimitBucket, LimitQuestion, limit_buckets};
use crate::store::plan::{LEVELS, stretches};
use crate::store::rows::{LimitRow, MergedLimitRow};
use crate::store::schema::{limit_rollups, merged_limits};

/// By buckets of `seconds`; those in which nothing was decided are left out.
pub(in crate::store) async fn by_time(
    conn: &mut Conn,
    question: LimitQuestion,
    seconds: i64,
) -> QueryResult<Vec<LimitBucket>> {
    let LimitQuestion { range, rule, instance, now } = question;
    begin_read(conn).await?;
    let mut told: Vec<(i64, LimitTally)> = Vec::new();
    for stretch in stretches(range.from, range.to, Some(seconds), &since(conn).await?, now) {
        use merged_limits as m;
        let mut rows = m::table
            .filter(m::seconds.eq(LEVELS[stretch.level]))
            .filter(m::start.ge(stretch.from))
            .filter(m::start.lt(stretch.to))
            .into_boxed();
        if let Some(rule) = rule.clone() {
            rows = rows.filter(m::rule.eq(rule));
        }
        if let Some(instance) = instance.clone() {
            rows = rows.filter(m::instance.eq(instance));
        }
        let rows: Vec<MergedLimitRow> = load(conn, rows).await?;
        told.extend(rows.iter().map(|row| (row.start, row.tally())));
    }
    use limit_rollups as r;
    let mut rows = r::table.filter(r::start.ge(range.from)).filter(r::start.lt(range.to)).into_boxed();
    if let Some(rule) = rule {
        rows = rows.filter(r::rule.eq(rule));
    }
    if let Some(instance) = instance {
        rows = rows.filter(r::instance.eq(instance));
    }
    let rows: Vec<LimitRow> = load(conn, rows).await?;
    told.extend(rows.iter().map(|row| (row.start, row.tally())));
    batch(conn, "COMMIT").await?;
    Ok(limit_buckets(told.into_iter(), seconds))
}
