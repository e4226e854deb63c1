//! Writing a batch, whole or not at all.

use diesel::prelude::*;
use diesel::upsert::excluded;

use super::super::{Conn, add_changes, add_samples, execute, replace_rollups};
use crate::store::StoreError;
use crate::store::batch::{Rows, Signature};
use crate::store::schema::writers;

pub(in crate::store) async fn write(conn: &mut Conn, by: Signature, rows: Rows) -> Result<(), StoreError> {
    sign(conn, by).await?;
    replace_rollups(conn, rows.rollups).await?;
    add_samples(conn, rows.samples).await?;
    add_changes(conn, rows.changes).await?;
    Ok(())
}

/// Takes the writer's row and keeps it until the end of the transaction. So of two transactions of a writer, one of which
/// was given up but still runs somewhere, the later one waits for the earlier, and an earlier one that comes late fails.
async fn sign(conn: &mut Conn, by: Signature) -> Result<(), StoreError> {
    let row = (
        writers::instance.eq(by.instance),
        writers::boot.eq(by.boot),
        writers::attempt.eq(by.attempt),
        writers::settled.eq(by.committed),
        writers::seen.eq(by.now),
    );
    let signed = diesel::insert_into(writers::table)
        .values(row)
        .on_conflict((writers::instance, writers::boot))
        .do_update()
        .set((
            writers::attempt.eq(excluded(writers::attempt)),
            writers::settled.eq(excluded(writers::settled)),
            writers::seen.eq(excluded(writers::seen)),
        ));
    let signed = diesel::query_dsl::methods::FilterDsl::filter(
        signed,
        writers::attempt.lt(excluded(writers::attempt)),
    );
    match execute(conn, signed).await? {
        0 => Err(StoreError::Overtaken),
        _ => Ok(()),
    }
}

/// A sign of life of a writer that has nothing to write, and what of it is committed by now. Nothing when it never wrote, or
/// has written since `by` was made out.
pub(in crate::store) async fn touch(conn: &mut Conn, by: Signature) -> Result<(), StoreError> {
    let own = writers::table.filter(writers::instance.eq(by.instance)).filter(writers::boot.eq(by.boot));
    let touched = diesel::update(own.filter(writers::attempt.eq(by.attempt)))
        .set((writers::settled.eq(by.committed), writers::seen.eq(by.now)));
    execute(conn, touched).await?;
    Ok(())
}
