//! Samples of requests, and changes of the configuration.

use diesel::prelude::*;

use super::super::{Conn, load};
use crate::store::rows::{StoredChange, StoredSample};
use crate::store::schema::{config_changes, request_samples};

/// The newest samples first; those before `before_ms`, where that is given.
pub(in crate::store) async fn samples(
    conn: &mut Conn,
    limit: i64,
    before_ms: Option<i64>,
) -> QueryResult<Vec<StoredSample>> {
    let before = before_ms.unwrap_or(i64::MAX);
    let newest = request_samples::table
        .filter(request_samples::at_ms.lt(before))
        .order((request_samples::at_ms.desc(), request_samples::request_id.desc()))
        .limit(limit);
    load(conn, newest).await
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
