//! One transaction on either database. All texts use `$1` placeholders, which both databases understand, and only the
//! types BIGINT and TEXT.

use sqlx::postgres::PgRow;
use sqlx::{Postgres, Row as _, Transaction};

use super::DbError;
use super::sqlite::{Held, SqliteRow};

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
    Sqlite(Held),
    Postgres(Transaction<'static, Postgres>),
}

/// A running transaction. It is rolled back unless [`super::Datastore::run_tx`] commits it.
pub struct Tx {
    inner: Inner,
    name: &'static str,
}

type Query = sqlx::query::Query<'static, Postgres, sqlx::postgres::PgArguments>;

fn bound(sql: &'static str, params: &[Value<'_>]) -> Query {
    params
        .iter()
        .fold(sqlx::query(sql), |query, value| match *value {
            Value::Int(v) => query.bind(v),
            Value::Text(v) => query.bind(v.to_owned()),
            Value::OptInt(v) => query.bind(v),
            Value::OptText(v) => query.bind(v.map(str::to_owned)),
        })
}

impl Tx {
    /// On a connection where a transaction has begun.
    pub(super) fn sqlite(held: Held, name: &'static str) -> Self {
        Self {
            inner: Inner::Sqlite(held),
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
            Inner::Sqlite(held) => held.commit().map_err(|source| DbError::Sqlite {
                operation: name,
                source,
            }),
            Inner::Postgres(tx) => tx.commit().await.map_err(|source| DbError::Database {
                operation: name,
                source,
            }),
        }
    }

    /// Runs a statement; the number of rows it changed.
    pub(super) async fn execute(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
    ) -> Result<u64, DbError> {
        let operation = self.name;
        match &mut self.inner {
            Inner::Sqlite(held) => held
                .execute(sql, params)
                .map_err(|source| DbError::Sqlite { operation, source }),
            Inner::Postgres(tx) => bound(sql, params)
                .execute(&mut **tx)
                .await
                .map(|done| done.rows_affected())
                .map_err(|source| DbError::Database { operation, source }),
        }
    }

    /// Runs a query; all its rows.
    pub(super) async fn query(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
    ) -> Result<Vec<Row>, DbError> {
        let operation = self.name;
        match &mut self.inner {
            Inner::Sqlite(held) => held
                .query(sql, params)
                .map(|rows| rows.into_iter().map(Row::Sqlite).collect())
                .map_err(|source| DbError::Sqlite { operation, source }),
            Inner::Postgres(tx) => bound(sql, params)
                .fetch_all(&mut **tx)
                .await
                .map(|rows| rows.into_iter().map(Row::Postgres).collect())
                .map_err(|source| DbError::Database { operation, source }),
        }
    }

    /// Runs a query that gives one row or none.
    pub(super) async fn query_one(
        &mut self,
        sql: &'static str,
        params: &[Value<'_>],
    ) -> Result<Option<Row>, DbError> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    /// The database's clock, in milliseconds since 1970. Leases are by this clock, so that coordinators need not agree. With
    /// SQLite that is this machine's own, as it would be to SQLite.
    pub(super) async fn now(&mut self) -> Result<i64, DbError> {
        if let Inner::Sqlite(_) = self.inner {
            return Ok(crate::core::now().as_millis());
        }
        let sql = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) AS now";
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
}

impl Row {
    pub(super) fn int(&self, column: &'static str) -> Result<i64, DbError> {
        self.opt_int(column)?.ok_or_else(|| empty(column))
    }

    pub(super) fn text(&self, column: &'static str) -> Result<String, DbError> {
        self.opt_text(column)?.ok_or_else(|| empty(column))
    }

    pub(super) fn opt_int(&self, column: &'static str) -> Result<Option<i64>, DbError> {
        match self {
            Self::Sqlite(row) => row.opt_int(column),
            Self::Postgres(row) => row.try_get(column).map_err(DbError::corrupt),
        }
    }

    pub(super) fn opt_text(&self, column: &'static str) -> Result<Option<String>, DbError> {
        match self {
            Self::Sqlite(row) => row.opt_text(column),
            Self::Postgres(row) => row.try_get(column).map_err(DbError::corrupt),
        }
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

fn empty(column: &str) -> DbError {
    DbError::corrupt(format!("column {column} is empty"))
}

/// Writes a value as JSON for a column.
pub(super) fn to_json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String, DbError> {
    serde_json::to_string(value).map_err(DbError::corrupt)
}
