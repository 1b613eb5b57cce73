//! What can go wrong with the database.

/// A database operation that did not happen.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The database refused, or could not be reached.
    #[error("database operation {operation}")]
    Database {
        /// The transaction's name.
        operation: &'static str,
        /// What the driver says.
        #[source]
        source: sqlx::Error,
    },
    /// SQLite refused.
    #[error("database operation {operation}")]
    Sqlite {
        /// The transaction's name.
        operation: &'static str,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// There was no connection to run it on.
    #[error("database operation {operation}: {why}")]
    NoConnection {
        /// The transaction's name.
        operation: &'static str,
        /// Why not.
        why: &'static str,
    },
    /// A transaction that waits for something besides the database: a fault of this program.
    #[error("database operation {operation} waits for something else")]
    Waits {
        /// The transaction's name.
        operation: &'static str,
    },
    /// The URL names no database that is supported.
    #[error("the database URL must start with sqlite: or postgres:")]
    Url,
    /// The schema could not be brought up to date.
    #[error("the database schema could not be brought up to date")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// What is stored cannot be read back.
    #[error("the database holds something that cannot be read: {0}")]
    Corrupt(String),
    /// Another coordinator works on the request now.
    #[error("another coordinator works on request {0} now")]
    LostLease(String),
    /// A change of state that the lifecycle does not know.
    #[error("{from} cannot become {to}")]
    Transition {
        /// The present state.
        from: &'static str,
        /// The one asked for.
        to: &'static str,
    },
}

impl DbError {
    pub(super) fn corrupt(what: impl std::fmt::Display) -> Self {
        Self::Corrupt(what.to_string())
    }

    /// Whether the same transaction may succeed when it is run again: the databases' own codes for conflicts between
    /// transactions.
    pub(super) fn is_retryable(&self) -> bool {
        let source = match self {
            Self::Sqlite { source, .. } => {
                use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
                return matches!(
                    source.sqlite_error_code(),
                    Some(DatabaseBusy | DatabaseLocked)
                );
            }
            Self::Database { source, .. } => source,
            _ => return false,
        };
        let Some(code) = source
            .as_database_error()
            .and_then(|e| e.code().map(std::borrow::Cow::into_owned))
        else {
            return false;
        };
        // PostgreSQL: serialization_failure, deadlock_detected.
        matches!(code.as_str(), "40001" | "40P01")
    }
}
