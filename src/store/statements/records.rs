//! Samples of requests, and changes of the configuration.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};

use super::super::{Conn, load};
use crate::store::answers::{KeptSamples, Wanted};
use crate::store::rows::{StoredChange, StoredSample};
use crate::store::schema::{config_changes, request_samples};

/// Those that are wanted, the newest first.
pub(in crate::store) async fn samples(
    conn: &mut Conn,
    limit: i64,
    wanted: Wanted,
) -> QueryResult<Vec<StoredSample>> {
    use request_samples as s;
    let Wanted { from_ms, to_ms, status, route, backend, reason, client } = wanted;
    let mut newest = s::table.order((s::at_ms.desc(), s::request_id.desc())).limit(limit).into_boxed();
    if let Some(from) = from_ms {
        newest = newest.filter(s::at_ms.ge(from));
    }
    if let Some(to) = to_ms {
        newest = newest.filter(s::at_ms.lt(to));
    }
    if let Some((low, high)) = status {
        newest = newest.filter(s::status.between(i32::from(low), i32::from(high)));
    }
    if let Some(route) = route {
        newest = newest.filter(s::route.eq(route));
    }
    if let Some(backend) = backend {
        newest = newest.filter(s::backend.eq(backend));
    }
    match reason {
        Some(Some(reason)) => newest = newest.filter(s::reason.eq(reason)),
        Some(None) => newest = newest.filter(s::reason.is_null()),
        None => {}
    }
    if let Some(client) = client {
        newest = newest.filter(s::client.eq(client));
    }
    load(conn, newest).await
}

/// How many there are.
pub(in crate::store) async fn kept_samples(conn: &mut Conn) -> QueryResult<KeptSamples> {
    // One look at each row. A client that has left is no answer of the gateway's.
    const OWN: &str = "coalesce(reason, 'client_gone') <> 'client_gone'";
    let count = |what: &str| {
        sql::<BigInt>(&format!("CAST(coalesce(sum(CASE WHEN {what} THEN 1 ELSE 0 END), 0) AS BIGINT)"))
    };
    let counts = (
        count(OWN),
        count(&format!("NOT ({OWN}) AND status >= 500")),
        count(&format!("NOT ({OWN}) AND status < 500")),
        sql::<Nullable<BigInt>>("min(at_ms)"),
    );
    let row: Vec<(i64, i64, i64, Option<i64>)> = load(conn, request_samples::table.select(counts)).await?;
    let (own, failed, others, since_ms) = row.first().copied().unwrap_or_default();
    Ok(KeptSamples { own, failed, others, since_ms })
}

/// The newest sample with this id.
pub(in crate::store) async fn sample(conn: &mut Conn, id: String) -> QueryResult<Option<StoredSample>> {
    let with_id = request_samples::table
        .filter(request_samples::request_id.eq(id))
        .order(request_samples::at_ms.desc())
        .limit(1);
    Ok(load(conn, with_id).await?.pop())
}

/// The newest changes first.
pub(in crate::store) async fn changes(conn: &mut Conn, limit: i64) -> QueryResult<Vec<StoredChange>> {
    load(conn, config_changes::table.order(config_changes::at_ms.desc()).limit(limit)).await
}
