//! Alerts: fired once over all instances, held, resolved, acknowledged, and told.

use diesel::dsl::{exists, not};
use diesel::prelude::*;
use diesel::upsert::excluded;

use aegis_actors::alerts::{AHEAD_MS, Alert, Entered, Entry, Lease, Push, Resolution};

use super::super::{Conn, execute, load};
use crate::store::alert_rows::{AlertRow, HolderRow, PushRow, stage, told};
use crate::store::schema::{alert_holders, alert_pushes, alerts};

/// Enters an alert that fires, unless another one of its rule is open or fired a short time ago.
pub(in crate::store) async fn enter(conn: &mut Conn, entry: Entry) -> QueryResult<Entered> {
    let Entry { alert, pushes, cooled_since_ms, lease } = entry;
    if let Some(since) = cooled_since_ms {
        let newest = alerts::table
            .filter(alerts::rule_id.eq(alert.rule.clone()))
            .filter(alerts::fired_at_ms.le(lease.now_ms.saturating_add(AHEAD_MS)))
            .order(alerts::fired_at_ms.desc())
            .limit(1);
        let last: Option<AlertRow> = load(conn, newest).await?.pop();
        // One that is open, and this one where it was entered before, are found below.
        if let Some(last) = last
            .filter(|last| last.resolved_at_ms.is_some() && last.id != alert.id && last.fired_at_ms > since)
        {
            return Ok(Entered::Cooling(last.into()));
        }
    }
    let row = AlertRow::from(alert.clone());
    if execute(conn, diesel::insert_into(alerts::table).values(row).on_conflict_do_nothing()).await? == 0 {
        if let Some(theirs) = of_another(conn, &alert).await? {
            return Ok(Entered::Theirs(theirs));
        }
        // It was entered before, by a write whose answer was lost; what has happened to it since is news.
        let this = alerts::table.filter(alerts::id.eq(alert.id.clone()));
        if let Some(at_ms) = alert.resolved_at_ms {
            let ended = this.clone().filter(alerts::resolved_at_ms.is_null());
            let values = (alerts::resolved_at_ms.eq(at_ms), alerts::reason.eq(alert.reason.clone()));
            execute(conn, diesel::update(ended).set(values)).await?;
        }
        if let Some(at_ms) = alert.acknowledged_at_ms {
            let unknown = this.filter(alerts::acknowledged_at_ms.is_null());
            execute(conn, diesel::update(unknown).set(alerts::acknowledged_at_ms.eq(at_ms))).await?;
        }
    }
    for push in pushes {
        let row = PushRow::new(push, &lease);
        execute(conn, diesel::insert_into(alert_pushes::table).values(row).on_conflict_do_nothing()).await?;
    }
    keep(
        conn,
        HolderRow { alert_id: alert.id.clone(), instance: alert.instance.clone(), at_ms: lease.now_ms },
    )
    .await?;
    let kept: Option<AlertRow> = one(conn, alert.id.clone()).await?;
    Ok(Entered::Ours(kept.map_or(alert, Alert::from)))
}

/// The open alert of a rule, when it is another one.
async fn of_another(conn: &mut Conn, alert: &Alert) -> QueryResult<Option<Alert>> {
    if alert.resolved_at_ms.is_some() {
        return Ok(None);
    }
    let open = alerts::table
        .filter(alerts::rule_id.eq(alert.rule.clone()))
        .filter(alerts::id.ne(alert.id.clone()))
        .filter(alerts::resolved_at_ms.is_null());
    let open: Option<AlertRow> = load(conn, open).await?.pop();
    Ok(open.map(Alert::from))
}

async fn one(conn: &mut Conn, id: String) -> QueryResult<Option<AlertRow>> {
    Ok(load(conn, alerts::table.filter(alerts::id.eq(id))).await?.pop())
}

async fn keep(conn: &mut Conn, holder: HolderRow) -> QueryResult<()> {
    let held = diesel::insert_into(alert_holders::table)
        .values(holder)
        .on_conflict((alert_holders::alert_id, alert_holders::instance))
        .do_update()
        .set(alert_holders::at_ms.eq(excluded(alert_holders::at_ms)));
    execute(conn, held).await.map(drop)
}

/// Notes that an instance sees the condition of an alert.
pub(in crate::store) async fn hold(
    conn: &mut Conn,
    alert_id: String,
    instance: String,
    at_ms: i64,
) -> QueryResult<()> {
    keep(conn, HolderRow { alert_id, instance, at_ms }).await
}

/// Ends an alert that nobody else holds; the alert when it has ended, whoever ended it.
pub(in crate::store) async fn resolve(conn: &mut Conn, wish: Resolution) -> QueryResult<Option<Alert>> {
    let Resolution { alert, at_ms, reason, instance, stale_ms } = wish;
    // The instance that resolves it does not hold it any more.
    let own = alert_holders::table
        .filter(alert_holders::alert_id.eq(alert.clone()))
        .filter(alert_holders::instance.eq(instance));
    execute(conn, diesel::delete(own)).await?;
    let held = alert_holders::table
        .filter(alert_holders::alert_id.eq(alerts::id))
        .filter(alert_holders::at_ms.ge(stale_ms))
        .filter(alert_holders::at_ms.le(at_ms.saturating_add(AHEAD_MS)));
    let open = alerts::table
        .filter(alerts::id.eq(alert.clone()))
        .filter(alerts::resolved_at_ms.is_null())
        .filter(not(exists(held)));
    let values = (alerts::resolved_at_ms.eq(at_ms), alerts::reason.eq(reason));
    execute(conn, diesel::update(open).set(values)).await?;
    let row = one(conn, alert).await?.filter(|row| row.resolved_at_ms.is_some());
    if let Some(row) = &row {
        let holders = alert_holders::table.filter(alert_holders::alert_id.eq(row.id.clone()));
        execute(conn, diesel::delete(holders)).await?;
    }
    Ok(row.map(Alert::from))
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
    Ok(one(conn, id).await?.map(Alert::from))
}

/// Leases pushes that are to be made and are nobody else's: the oldest first, `most` of them.
pub(in crate::store) async fn claim(
    conn: &mut Conn,
    webhooks: Vec<String>,
    lease: Lease,
    most: i64,
) -> QueryResult<Vec<(Alert, Push)>> {
    let due = alert_pushes::told
        .eq(told::NOTHING)
        .or(alert_pushes::told.eq(told::FIRED).and(alerts::resolved_at_ms.is_not_null()));
    let ahead = lease.now_ms.saturating_add(AHEAD_MS);
    let free = || {
        let over = alert_pushes::lease_until_ms.lt(lease.now_ms).or(alert_pushes::lease_until_ms.gt(ahead));
        alert_pushes::lease_by.eq(lease.by.clone()).or(over)
    };
    let wanted = alert_pushes::table
        .inner_join(alerts::table.on(alerts::id.eq(alert_pushes::alert_id)))
        .filter(alert_pushes::webhook.eq_any(webhooks))
        .filter(due)
        .filter(free())
        .order((alerts::fired_at_ms, alerts::id, alert_pushes::webhook))
        .limit(most)
        .select((alerts::all_columns, alert_pushes::all_columns));
    let rows: Vec<(AlertRow, PushRow)> = load(conn, wanted).await?;
    let mut leased = Vec::with_capacity(rows.len());
    for (alert, push) in rows {
        // Again with the condition: another instance may have been here since they were read.
        let this = alert_pushes::table
            .filter(alert_pushes::alert_id.eq(push.alert_id.clone()))
            .filter(alert_pushes::webhook.eq(push.webhook.clone()))
            .filter(alert_pushes::told.eq(push.told))
            .filter(free());
        let values =
            (alert_pushes::lease_by.eq(lease.by.clone()), alert_pushes::lease_until_ms.eq(lease.until_ms));
        if execute(conn, diesel::update(this).set(values)).await? > 0 {
            leased.push((Alert::from(alert), push.push()));
        }
    }
    Ok(leased)
}

/// Notes how far a push has come; never less far than it has been noted before.
pub(in crate::store) async fn pushed(conn: &mut Conn, push: Push) -> QueryResult<()> {
    let stage = stage(push.told);
    let this = alert_pushes::table
        .filter(alert_pushes::alert_id.eq(push.alert))
        .filter(alert_pushes::webhook.eq(push.webhook))
        .filter(alert_pushes::told.le(stage));
    let values = (
        alert_pushes::told.eq(stage),
        alert_pushes::attempts.eq(i32::try_from(push.attempts).unwrap_or(i32::MAX)),
        alert_pushes::error.eq(push.error),
        alert_pushes::at_ms.eq(push.at_ms),
    );
    execute(conn, diesel::update(this).set(values)).await.map(drop)
}

/// How far webhooks have been told of some alerts.
pub(in crate::store) async fn pushes(conn: &mut Conn, alerts: Vec<String>) -> QueryResult<Vec<Push>> {
    let of = alert_pushes::table
        .filter(alert_pushes::alert_id.eq_any(alerts))
        .order((alert_pushes::alert_id, alert_pushes::webhook));
    let rows: Vec<PushRow> = load(conn, of).await?;
    Ok(rows.into_iter().map(PushRow::push).collect())
}

/// Those that are firing, the newest first.
pub(in crate::store) async fn firing(conn: &mut Conn) -> QueryResult<Vec<Alert>> {
    let open = alerts::table.filter(alerts::resolved_at_ms.is_null()).order(alerts::fired_at_ms.desc());
    let rows: Vec<AlertRow> = load(conn, open).await?;
    Ok(rows.into_iter().map(Alert::from).collect())
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
    let rows: Vec<AlertRow> = load(conn, newest).await?;
    Ok(rows.into_iter().map(Alert::from).collect())
}
