//! Alerts: fired once over all instances, resolved, acknowledged.

use diesel::prelude::*;

use super::super::{Conn, execute, load};
use crate::store::rows::Alert;
use crate::store::schema::alerts;

/// Stores an alert that fires. False when one of the same rule is firing already, whoever fired it.
pub(in crate::store) async fn fire(conn: &mut Conn, alert: Alert) -> QueryResult<bool> {
    Ok(execute(conn, diesel::insert_into(alerts::table).values(alert).on_conflict_do_nothing()).await? > 0)
}

/// Ends the firing alert of a rule; the alert, when it was this call that ended it.
pub(in crate::store) async fn resolve(
    conn: &mut Conn,
    rule_id: String,
    at_ms: i64,
) -> QueryResult<Option<Alert>> {
    let open = alerts::table.filter(alerts::rule_id.eq(rule_id)).filter(alerts::resolved_at_ms.is_null());
    let resolved = diesel::update(open).set(alerts::resolved_at_ms.eq(at_ms)).returning(alerts::all_columns);
    Ok(load(conn, resolved).await?.pop())
}

/// Notes that somebody knows of an alert; the first time counts. `None` when there is no such alert.
pub(in crate::store) async fn acknowledge(
    conn: &mut Conn,
    id: String,
    at_ms: i64,
) -> QueryResult<Option<Alert>> {
    let unknown =
        alerts::table.filter(alerts::id.eq(id.clone())).filter(alerts::acknowledged_at_ms.is_null());
    execute(conn, diesel::update(unknown).set(alerts::acknowledged_at_ms.eq(at_ms))).await?;
    Ok(load(conn, alerts::table.filter(alerts::id.eq(id))).await?.pop())
}

/// Those that are firing, the newest first.
pub(in crate::store) async fn firing(conn: &mut Conn) -> QueryResult<Vec<Alert>> {
    let open = alerts::table.filter(alerts::resolved_at_ms.is_null()).order(alerts::fired_at_ms.desc());
    load(conn, open).await
}

/// All there were, the newest first; those fired before `before_ms`, where that is given.
pub(in crate::store) async fn history(
    conn: &mut Conn,
    limit: i64,
    before_ms: Option<i64>,
) -> QueryResult<Vec<Alert>> {
    let before = before_ms.unwrap_or(i64::MAX);
    let newest = alerts::table
        .filter(alerts::fired_at_ms.lt(before))
        .order((alerts::fired_at_ms.desc(), alerts::id.desc()))
        .limit(limit);
    load(conn, newest).await
}

/// The newest alert of a rule, firing or not: what a cooldown is counted from.
pub(in crate::store) async fn last(conn: &mut Conn, rule_id: String) -> QueryResult<Option<Alert>> {
    let newest = alerts::table.filter(alerts::rule_id.eq(rule_id)).order(alerts::fired_at_ms.desc()).limit(1);
    Ok(load(conn, newest).await?.pop())
}
