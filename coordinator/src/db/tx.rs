//! One transaction on either database. All texts use `$1` placeholders, which both databases understand, and only the
//! types BIGINT and TEXT.

use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Postgres, Row as _, Sqlite, Transaction};

use super::DbError;

/// A parameter of a statement.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Int(i64),
    Text(&'a str),
    OptInt(Option<i64>),
    OptText(Option<&'a str>),
}

/// One row of an answer.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

enum Inner {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

/// A running transaction. It is rolled back unless [`super::Datastore::run_tx`] commits it.
pub struct Tx {
    inner: Inner,
    name: &'static str,
}

macro_rules! bound {
    ($sql:expr, $params:expr) => {{
        let mut query = sqlx::query($sql);
        for value in $params {
            query = match *value {
                Value::Int(v) => query.bind(v),
                Value::Text(v) => query.bind(v.to_owned()),
                Value::OptInt(v) => query.bind(v),
                Value::OptText(v) => query.bind(v.map(str::to_owned)),
            };
        }
        query
    }};
}

impl Tx {
    pub(super) fn sqlite(transaction: Transaction<'static, Sqlite>, name: &'static str) -> Self {
        Self {
            inner: Inner::Sqlite(transaction),
            name,
        }
    }

    pub(super) fn postgres(
        transaction: Transaction<'static, Postgres>,
        name: &'static str,
    ) -> Self {
        Self {
            inner: Inner::Postgres(transaction),
            name,
        }
    }

    pub(super) async fn commit(self) -> Result<(), DbError> {
        let name = self.name;
        match self.inner {
            Inner::Sqlite(tx) => tx.commit().await,
            Inner::Postgres(tx) => tx.commit().await,
        }
        .map_err(|source| DbError::Database {
            operation: name,
            source,
        })
    }

    /// Runs a statement; the number of rows it changed.
    pub(super) async fn execute(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
    ) -> Result<u64, DbError> {
        let done = match &mut self.inner {
            Inner::Sqlite(tx) => bound!(sql, params)
                .execute(&mut **tx)
                .await
                .map(|done| done.rows_affected()),
            Inner::Postgres(tx) => bound!(sql, params)
                .execute(&mut **tx)
                .await
                .map(|done| done.rows_affected()),
        };
        done.map_err(|source| self.error(source))
    }

    /// Runs a query; all its rows.
    pub(super) async fn query(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
    ) -> Result<Vec<Row>, DbError> {
        let rows = match &mut self.inner {
            Inner::Sqlite(tx) => bound!(sql, params)
                .fetch_all(&mut **tx)
                .await
                .map(|rows| rows.into_iter().map(Row::Sqlite).collect()),
            Inner::Postgres(tx) => bound!(sql, params)
                .fetch_all(&mut **tx)
                .await
                .map(|rows| rows.into_iter().map(Row::Postgres).collect()),
        };
        rows.map_err(|source| self.error(source))
    }

    /// Runs a query that gives one row or none.
    pub(super) async fn query_one(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
    ) -> Result<Option<Row>, DbError> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    /// The database's clock, in milliseconds since 1970. Leases are by this clock, so that coordinators need not agree.
    pub(super) async fn now(&mut self) -> Result<i64, DbError> {
        let sql = match self.inner {
            Inner::Sqlite(_) => "SELECT CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER) AS now",
            Inner::Postgres(_) => {
                "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) AS now"
            }
        };
        match self.query_one(sql, &[]).await? {
            Some(row) => row.int("now"),
            None => Err(DbError::corrupt("no clock")),
        }
    }

    /// What to add to a SELECT whose rows are about to be claimed. SQLite has one writer at a time and needs nothing.
    pub(super) fn pick(&self, sqlite: &'static str, postgres: &'static str) -> &'static str {
        match self.inner {
            Inner::Sqlite(_) => sqlite,
            Inner::Postgres(_) => postgres,
        }
    }

    fn error(&self, source: sqlx::Error) -> DbError {
        DbError::Database {
            operation: self.name,
            source,
        }
    }
}

impl Row {
    pub(super) fn int(&self, column: &'static str) -> Result<i64, DbError> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
        .map_err(DbError::corrupt)
    }

    pub(super) fn text(&self, column: &'static str) -> Result<String, DbError> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
        .map_err(DbError::corrupt)
    }

    pub(super) fn opt_int(&self, column: &'static str) -> Result<Option<i64>, DbError> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
        .map_err(DbError::corrupt)
    }

    pub(super) fn opt_text(&self, column: &'static str) -> Result<Option<String>, DbError> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
        .map_err(DbError::corrupt)
    }

    /// A column whose text is the text form of `T`.
    pub(super) fn parse<T>(&self, column: &'static str) -> Result<T, DbError>
    where
        T: TryFrom<String>,
        T::Error: std::fmt::Display,
    {
        T::try_from(self.text(column)?).map_err(DbError::corrupt)
    }

    /// A column that holds JSON.
    pub(super) fn json<T: serde::de::DeserializeOwned>(
        &self,
        column: &'static str,
    ) -> Result<T, DbError> {
        serde_json::from_str(&self.text(column)?).map_err(DbError::corrupt)
    }
}

/// Writes a value as JSON for a column.
pub(super) fn to_json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String, DbError> {
    serde_json::to_string(value).map_err(DbError::corrupt)
}
