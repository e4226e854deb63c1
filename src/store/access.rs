//! The connections of a store, and how one is taken for a while.

use std::ops::DerefMut;

use diesel_async::pooled_connection::deadpool::Pool;

use super::url::Database;
use super::{postgres, sqlite};

/// The pools of one database.
pub(super) enum Access {
    Postgres(Pool<postgres::Conn>),
    Sqlite { writer: Pool<sqlite::Conn>, reader: Pool<sqlite::Conn> },
}

impl Access {
    /// Connects to nothing yet.
    pub fn new(database: &Database) -> Self {
        match database {
            Database::Postgres(url) => Self::Postgres(postgres::pool(url)),
            Database::Sqlite(path) => {
                let (writer, reader) = sqlite::pools(path);
                Self::Sqlite { writer, reader }
            }
        }
    }
}

/// A connection out of a pool. It goes back only when what it was used for has succeeded: any other may hold a transaction,
/// or an answer that nobody has read, and is closed.
pub(super) struct Lease<T> {
    connection: Option<T>,
    close: fn(T),
}

impl<T> Lease<T> {
    pub fn new(connection: T, close: fn(T)) -> Self {
        Self { connection: Some(connection), close }
    }

    pub fn give_back(mut self) {
        drop(self.connection.take());
    }
}

impl<T: DerefMut> Lease<T> {
    pub fn connection(&mut self) -> &mut T::Target {
        match &mut self.connection {
            Some(connection) => connection.deref_mut(),
            None => unreachable!("a lease ends by being consumed"),
        }
    }
}

impl<T> Drop for Lease<T> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            (self.close)(connection);
        }
    }
}

/// Calls one of `statements` with a connection of whichever database it is, in a transaction that reads (`reader`) or
/// writes (`writer`): `on!(inner, pool, module::function(…))`.
macro_rules! on {
    ($inner:expr, $pool:ident, $module:ident::$function:ident($($argument:expr),*)) => {
        match &*$inner.access.load_full() {
            $crate::store::access::Access::Postgres(pool) => {
                $crate::store::access::on!(@ postgres, $pool, pool, $module, $function, $($argument),*)
            }
            $crate::store::access::Access::Sqlite { $pool: pool, .. } => {
                $crate::store::access::on!(@ sqlite, $pool, pool, $module, $function, $($argument),*)
            }
        }
    };
    (@ $database:ident, $pool_kind:ident, $pool:expr, $module:ident, $function:ident, $($argument:expr),*) => {
        async {
            let connection = $pool.get().await.map_err($crate::store::StoreError::from)?;
            let close = |connection| {
                drop(diesel_async::pooled_connection::deadpool::Object::<$crate::store::$database::Conn>::take(connection));
            };
            let mut lease = $crate::store::access::Lease::new(connection, close);
            let connection = lease.connection();
            $crate::store::$database::begin::$pool_kind(connection).await?;
            let done = $crate::store::$database::statements::$module::$function(connection, $($argument),*).await;
            let done = done.map_err($crate::store::StoreError::from)?;
            $crate::store::$database::batch(connection, "COMMIT").await?;
            lease.give_back();
            Ok::<_, $crate::store::StoreError>(done)
        }
        .await
    };
}
pub(super) use on;
