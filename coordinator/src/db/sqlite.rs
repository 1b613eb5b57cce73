//! SQLite, called directly: a transaction runs from BEGIN to COMMIT on the thread that asked for it, instead of going to a
//! database thread and back for each statement. The thread is taken out of the async workers for that time.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, Value as Stored, ValueRef};
use rusqlite::{Connection, OpenFlags, ToSql};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::DbError;
use super::tx::Value;

/// How long a transaction waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long SQLite waits for another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Statements that stay prepared: more than there are.
const STATEMENTS: usize = 128;

/// What a connection may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Write,
    Read,
}

/// Connections of one kind to one file. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    access: Access,
    patience: Duration,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Connections {
    /// At most `limit` connections to a database that exists.
    pub(super) fn new(path: &Path, access: Access, limit: usize) -> Self {
        Self::waiting(path, access, limit, ACQUIRE_TIMEOUT)
    }

    fn waiting(path: &Path, access: Access, limit: usize, patience: Duration) -> Self {
        Self(Arc::new(Shared {
            path: path.to_owned(),
            access,
            patience,
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(limit)),
        }))
    }

    /// Waits for a connection that nobody uses.
    pub(super) async fn acquire(&self, operation: &'static str) -> Result<Held, DbError> {
        let permit = Arc::clone(&self.0.permits).acquire_owned();
        let permit = match tokio::time::timeout(self.0.patience, permit).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => {
                return Err(DbError::NoConnection {
                    operation,
                    why: "the database is closed",
                });
            }
            Err(_) => {
                let why = "every connection is in use, for too long";
                return Err(DbError::NoConnection { operation, why });
            }
        };
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => connect(&self.0.path, self.0.access)
                .map_err(|source| DbError::Sqlite { operation, source })?,
        };
        Ok(Held {
            connection: Some(connection),
            home: self.clone(),
            _permit: permit,
        })
    }

    /// Closes what is idle and hands out nothing more.
    pub(super) fn close(&self) {
        self.0.permits.close();
        self.idle().clear();
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        // Only pushes and pops.
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn connect(path: &Path, access: Access) -> rusqlite::Result<Connection> {
    // One thread at a time uses it.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;",
    )?;
    if access == Access::Read {
        db.execute_batch("PRAGMA query_only = ON;")?;
    }
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(db)
}

/// A connection while somebody uses it. What it did not commit is undone when it is given back.
pub(super) struct Held {
    connection: Option<Connection>,
    home: Connections,
    _permit: OwnedSemaphorePermit,
}

impl Held {
    pub(super) fn begin(&self) -> rusqlite::Result<()> {
        let sql = match self.home.0.access {
            Access::Write => "BEGIN IMMEDIATE",
            Access::Read => "BEGIN DEFERRED",
        };
        self.run(sql)
    }

    pub(super) fn commit(&self) -> rusqlite::Result<()> {
        self.run("COMMIT")
    }

    fn run(&self, sql: &str) -> rusqlite::Result<()> {
        self.db()?.prepare_cached(sql)?.raw_execute().map(|_| ())
    }

    fn db(&self) -> rusqlite::Result<&Connection> {
        // Some until it is dropped.
        self.connection
            .as_ref()
            .ok_or(rusqlite::Error::InvalidQuery)
    }

    /// Runs a statement; the number of rows it changed.
    pub(super) fn execute(&self, sql: &str, params: &[Value<'_>]) -> rusqlite::Result<u64> {
        let mut statement = self.db()?.prepare_cached(sql)?;
        bind(&mut statement, params)?;
        statement.raw_execute().map(|rows| rows as u64)
    }

    /// Runs a query; all its rows.
    pub(super) fn query(
        &self,
        sql: &str,
        params: &[Value<'_>],
    ) -> rusqlite::Result<Vec<SqliteRow>> {
        let mut statement = self.db()?.prepare_cached(sql)?;
        bind(&mut statement, params)?;
        let names = statement.column_names();
        let columns: Arc<[String]> = names.into_iter().map(str::to_owned).collect();
        let mut found = Vec::new();
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            let values = (0..columns.len()).map(|column| row.get(column));
            found.push(SqliteRow {
                columns: Arc::clone(&columns),
                values: values.collect::<Result<_, _>>()?,
            });
        }
        Ok(found)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        let clean = connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok();
        // One that cannot undo is not used again; closing it undoes.
        if clean && !self.home.0.permits.is_closed() {
            self.home.idle().push(connection);
        }
    }
}

/// `$1` is a name to SQLite, numbered by where it appears first; PostgreSQL counts. So it is bound by its name.
fn bind(statement: &mut rusqlite::Statement<'_>, params: &[Value<'_>]) -> rusqlite::Result<()> {
    for (number, value) in (1usize..).zip(params) {
        let name = format!("${number}");
        let index = statement
            .parameter_index(&name)?
            .ok_or_else(|| rusqlite::Error::InvalidParameterName(name))?;
        statement.raw_bind_parameter(index, value)?;
    }
    match statement.parameter_count() == params.len() {
        true => Ok(()),
        false => Err(rusqlite::Error::InvalidParameterCount(
            params.len(),
            statement.parameter_count(),
        )),
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Value::Int(v) | Value::OptInt(Some(v)) => ValueRef::Integer(v),
            Value::Text(v) | Value::OptText(Some(v)) => ValueRef::Text(v.as_bytes()),
            Value::OptInt(None) | Value::OptText(None) => ValueRef::Null,
        }))
    }
}

/// A row, taken out of the database.
pub(super) struct SqliteRow {
    columns: Arc<[String]>,
    values: Vec<Stored>,
}

impl SqliteRow {
    fn value(&self, column: &str) -> Result<&Stored, DbError> {
        let mut all = self.columns.iter().zip(&self.values);
        let found = all.find(|(name, _)| *name == column);
        let (_, value) = found.ok_or_else(|| DbError::corrupt(format!("no column {column}")))?;
        Ok(value)
    }

    pub(super) fn opt_int(&self, column: &str) -> Result<Option<i64>, DbError> {
        match self.value(column)? {
            Stored::Integer(value) => Ok(Some(*value)),
            Stored::Null => Ok(None),
            other => Err(unexpected(column, "an integer", other)),
        }
    }

    pub(super) fn opt_text(&self, column: &str) -> Result<Option<String>, DbError> {
        match self.value(column)? {
            Stored::Text(value) => Ok(Some(value.clone())),
            Stored::Null => Ok(None),
            other => Err(unexpected(column, "a text", other)),
        }
    }
}

fn unexpected(column: &str, expected: &str, found: &Stored) -> DbError {
    let found = found.data_type();
    DbError::corrupt(format!("column {column} holds {found}, not {expected}"))
}

/// Runs something that waits for the disk without keeping other tasks waiting.
pub(super) fn in_place<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        // Tests with one thread, where everything waits for everything.
        _ => work(),
    }
}

/// The result of a future that only awaits what this module does, which is always done at once.
pub(super) fn done<T>(
    operation: &'static str,
    future: impl Future<Output = Result<T, DbError>>,
) -> Result<T, DbError> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        // Waiting for something else would hold the database meanwhile.
        Poll::Pending => Err(DbError::Waits { operation }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.sqlite");
        let db = Connection::open(&path).unwrap();
        db.execute_batch("CREATE TABLE t (a BIGINT, b TEXT)")
            .unwrap();
        (folder, path)
    }

    fn count(held: &Held) -> usize {
        held.query("SELECT a FROM t", &[]).unwrap().len()
    }

    #[tokio::test]
    async fn what_was_not_committed_is_undone_and_the_connection_serves_again() {
        let (_folder, path) = file();
        let writers = Connections::new(&path, Access::Write, 1);
        for _ in 0..2 {
            let held = writers.acquire("test").await.unwrap();
            held.begin().unwrap();
            held.execute(
                "INSERT INTO t VALUES ($1, $2)",
                &[Value::Int(1), Value::Text("x")],
            )
            .unwrap();
            assert_eq!(count(&held), 1);
        }
        let held = writers.acquire("test").await.unwrap();
        assert_eq!(count(&held), 0);
    }

    #[tokio::test]
    async fn parameters_are_bound_by_their_number_and_all_of_them() {
        let (_folder, path) = file();
        let held = Connections::new(&path, Access::Write, 1)
            .acquire("test")
            .await
            .unwrap();
        let both = [Value::Text("two"), Value::Int(1)];
        held.execute("INSERT INTO t (a, b) VALUES ($2, $1)", &both)
            .unwrap();
        let row = &held
            .query("SELECT a, b FROM t WHERE b = $1", &both[..1])
            .unwrap()[0];
        assert_eq!(row.opt_int("a").unwrap(), Some(1));
        assert_eq!(row.opt_text("b").unwrap(), Some("two".to_owned()));
        assert!(
            row.opt_int("b").is_err() && row.opt_text("a").is_err() && row.opt_int("c").is_err()
        );
        assert!(held.query("SELECT a FROM t WHERE b = $1", &both).is_err());
        assert!(
            held.query("SELECT a FROM t WHERE b = $1 AND a = $2", &both[..1])
                .is_err()
        );
        let null = [Value::OptInt(None), Value::OptText(None)];
        held.execute("UPDATE t SET a = $1, b = $2", &null).unwrap();
        let row = &held.query("SELECT a, b FROM t", &[]).unwrap()[0];
        assert_eq!(
            (row.opt_int("a").unwrap(), row.opt_text("b").unwrap()),
            (None, None)
        );
    }

    #[tokio::test]
    async fn readers_cannot_write() {
        let (_folder, path) = file();
        let held = Connections::new(&path, Access::Read, 1)
            .acquire("test")
            .await
            .unwrap();
        held.begin().unwrap();
        assert!(held.execute("DELETE FROM t", &[]).is_err());
    }

    #[tokio::test]
    async fn writers_wait_for_each_other_but_not_for_ever() {
        let (_folder, path) = file();
        let writers = Connections::waiting(&path, Access::Write, 1, Duration::from_millis(20));
        let first = writers.acquire("first").await.unwrap();
        let late = writers.acquire("second").await;
        assert!(matches!(
            late,
            Err(DbError::NoConnection {
                operation: "second",
                ..
            })
        ));
        drop(first);
        assert!(writers.acquire("third").await.is_ok());
        writers.close();
        assert!(matches!(
            writers.acquire("fourth").await,
            Err(DbError::NoConnection { .. })
        ));
    }

    #[test]
    fn a_transaction_that_waits_for_something_else_is_an_error_and_no_hang() {
        let waits = done("waits", async {
            tokio::task::yield_now().await;
            Ok(())
        });
        assert!(matches!(waits, Err(DbError::Waits { operation: "waits" })));
    }
}
