//! What can go wrong, in words for the log.

use std::time::Duration;

use super::url::Database;

/// Why the store did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("the store's URL cannot be used: {0}")]
    Url(String),
    #[error("no thread for the store: {0}")]
    Threads(String),
    #[error("the store is stopping")]
    Stopped,
    /// The server may still carry it out.
    #[error("no answer within {} ms", limit.as_millis())]
    TimedOut { limit: Duration },
    #[error("it cannot be reached: {0}")]
    Away(String),
    /// `metrics.autoMigrate` is off.
    #[error("its tables are not those of this version ({} missing): run `aegis migrate`", .0.join(", "))]
    Behind(Vec<String>),
    #[error("the migration failed: {0}")]
    Migration(String),
    /// A later write of the same writer was there first.
    #[error("the write came too late: a later one of the same writer is stored already")]
    Overtaken,
    #[error("buckets of {0} s: they must be a multiple of 10 s")]
    Bucket(u32),
    #[error("it refused: {0}")]
    Refused(String),
    /// Of SQLite.
    #[error(
        "the file is damaged, or no SQLite database ({0}): move it away, and a new one is made, or name another with \
         metrics.store"
    )]
    Damaged(String),
    /// Any of these, with what was being done, and where.
    #[error("{doing} {database}: {why}")]
    During { doing: &'static str, database: String, why: Box<StoreError> },
}

impl StoreError {
    /// What went wrong, wherever it did.
    pub fn why(&self) -> &Self {
        match self {
            Self::During { why, .. } => why.why(),
            why => why,
        }
    }

    /// With what was being done, and where, unless it says so already.
    pub(super) fn during(self, doing: &'static str, database: &Database) -> Self {
        match self {
            Self::Url(_) | Self::Threads(_) | Self::Stopped | Self::Bucket(_) | Self::During { .. } => self,
            why => Self::During { doing, database: database.to_string(), why: Box::new(why) },
        }
    }

    /// Without a password that a driver may have quoted.
    pub(super) fn without(mut self, password: Option<&str>) -> Self {
        if let Self::During { doing, database, why } = self {
            return Self::During { doing, database, why: Box::new(why.without(password)) };
        }
        if let Self::Away(text) | Self::Migration(text) | Self::Refused(text) = &mut self
            && let Some(password) = password.filter(|password| !password.is_empty())
        {
            *text = text.replace(password, "[redacted]");
        }
        self
    }

    /// Of a SQLite database that is none (`SQLITE_NOTADB`) or broken (`SQLITE_CORRUPT`).
    pub(super) fn tells_of_damage(&self) -> bool {
        match self.why() {
            Self::Damaged(_) => true,
            Self::Away(text) | Self::Migration(text) | Self::Refused(text) => {
                text.contains("file is not a database") || text.contains("malformed")
            }
            _ => false,
        }
    }

    /// The same, with how to fix it.
    pub(super) fn of_damage(self) -> Self {
        match self {
            Self::During { doing, database, why } => {
                Self::During { doing, database, why: Box::new(why.of_damage()) }
            }
            Self::Away(text) | Self::Migration(text) | Self::Refused(text) => Self::Damaged(text),
            other => other,
        }
    }

    pub(super) fn tells_of_a_full_disk(&self) -> bool {
        matches!(self.why(), Self::Refused(text) if text.contains("disk is full"))
    }

    pub(super) fn tells_of_missing_tables(&self) -> bool {
        matches!(self.why(), Self::Refused(text) if text.contains("no such table") || text.contains("does not exist"))
    }
}

impl From<diesel::result::Error> for StoreError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<diesel::ConnectionError> for StoreError {
    fn from(error: diesel::ConnectionError) -> Self {
        Self::Away(error.to_string())
    }
}

impl From<diesel_async::pooled_connection::deadpool::PoolError> for StoreError {
    fn from(error: diesel_async::pooled_connection::deadpool::PoolError) -> Self {
        use diesel_async::pooled_connection::{PoolError as Inner, deadpool::PoolError};
        match error {
            PoolError::Backend(Inner::ConnectionError(error)) => error.into(),
            PoolError::Backend(Inner::QueryError(error)) => Self::Away(error.to_string()),
            error => Self::Away(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_taken_out_wherever_it_stands() {
        let error = StoreError::Away("no user u:hunter2 (hunter2)".into()).without(Some("hunter2"));
        assert_eq!(error.to_string(), "it cannot be reached: no user u:[redacted] ([redacted])");
        assert_eq!(StoreError::Stopped.clone().without(Some("")), StoreError::Stopped);
    }
}
