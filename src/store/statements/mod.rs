//! What is asked of the database and told to it, in statements that both databases understand.
//!
//! These files are compiled twice, once below `store::postgres` and once below `store::sqlite`, each time for that
//! database's connection: diesel then checks every statement against the real backend. Each function is called within a
//! transaction, which ends with it.

pub(in crate::store) mod alerts;
pub(in crate::store) mod purge;
pub(in crate::store) mod query;
pub(in crate::store) mod records;
pub(in crate::store) mod roll_up;
pub(in crate::store) mod write;
