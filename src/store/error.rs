//! What can go wrong, in words for the log.

use std::time::Duration;

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
    #[error("the store did not {what} within {} ms", limit.as_millis())]
    TimedOut { what: &'static str, limit: Duration },
    #[error("the store cannot be reached: {0}")]
    Away(String),
    /// `metrics.autoMigrate` is off.
    #[error("the store's tables are not those of this version ({} missing): run `aegis migrate`", .0.join(", "))]
    Behind(Vec<String>),
    #[error("the store's migration failed: {0}")]
    Migration(String),
    /// A later write of the same writer was there first.
    #[error("the write came too late: a later one of the same writer is stored already")]
    Overtaken,
    #[error("buckets of {0} s: they must be a multiple of 10 s")]
    Bucket(u32),
    #[error("the store refused: {0}")]
    Refused(String),
}

impl StoreError {
    /// Without a password that a driver may have quoted.
    pub(super) fn without(mut self, password: Option<&str>) -> Self {
        if let Self::Away(text) | Self::Migration(text) | Self::Refused(text) = &mut self
            && let Some(password) = password.filter(|password| !password.is_empty())
        {
            *text = text.replace(password, "[redacted]");
        }
        self
    }

    pub(super) fn tells_of_missing_tables(&self) -> bool {
        matches!(self, Self::Refused(text) if text.contains("no such table") || text.contains("does not exist"))
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
        Self::Away(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_taken_out_wherever_it_stands() {
        let error = StoreError::Away("no user u:hunter2 (hunter2)".into()).without(Some("hunter2"));
        assert_eq!(error.to_string(), "the store cannot be reached: no user u:[redacted] ([redacted])");
        assert_eq!(StoreError::Stopped.clone().without(Some("")), StoreError::Stopped);
    }
}
