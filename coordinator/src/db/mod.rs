//! The only place with SQL. One [`Datastore`] over SQLite (the default) and PostgreSQL (for more than one coordinator).
//!
//! Everything happens in named transactions that may be run again when the database reports a conflict, so their
//! closures have no effect besides the transaction. SQLite: WAL, `synchronous=FULL`, one writer. PostgreSQL: REPEATABLE
//! READ, which with the unique indexes and the revision check of every update is enough.

mod create;
mod deployment;
mod error;
mod leases;
mod model;
mod requests;
mod stops;
#[cfg(test)]
mod tests;
mod tx;

pub use deployment::{AuditRecord, StoredBundle};
pub use error::DbError;
pub use leases::Lease;
pub(crate) use model::Change;
pub use model::{
    Created, Decided, Event, Filter, IdempotencyKey, NewAttempt, NewRequest, NoCursor, Page,
    PageCursor, RequestFacts, StoredAnswer, StoredAttempt, StoredRequest,
};
pub use stops::StoredAck;
pub use tx::Tx;

use std::future::Future;
use std::pin::Pin;
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, SqlSafeStr as _};

/// How often a transaction is run again when the database reports a conflict.
const MAX_TRIES: u32 = 10;
const POOL_SIZE: u32 = 8;

const SQLITE_MIGRATIONS: [(i64, &str, &str); 2] = [
    (
        1,
        "requests",
        include_str!("../../../migrations/sqlite/0001_requests.sql"),
    ),
    (
        2,
        "deployment",
        include_str!("../../../migrations/sqlite/0002_deployment.sql"),
    ),
];
const POSTGRES_MIGRATIONS: [(i64, &str, &str); 2] = [
    (
        1,
        "requests",
        include_str!("../../../migrations/postgres/0001_requests.sql"),
    ),
    (
        2,
        "deployment",
        include_str!("../../../migrations/postgres/0002_deployment.sql"),
    ),
];

/// What happens in a transaction.
pub(crate) type TxFuture<'t, T> = Pin<Box<dyn Future<Output = Result<T, DbError>> + Send + 't>>;

/// The coordinator's database.
#[derive(Debug, Clone)]
pub struct Datastore {
    pools: Pools,
}

#[derive(Debug, Clone)]
enum Pools {
    Sqlite {
        writer: SqlitePool,
        readers: SqlitePool,
    },
    Postgres(PgPool),
}

impl Datastore {
    /// Opens the database of `url` (`sqlite:FILE` or `postgres://...`) and brings its schema up to date.
    pub async fn open(url: &str) -> Result<Self, DbError> {
        let pools = if url.starts_with("sqlite:") {
            open_sqlite(url).await?
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            open_postgres(url).await?
        } else {
            return Err(DbError::Url);
        };
        Ok(Self { pools })
    }

    /// Runs `work` in a transaction and commits it; runs it again when the database reports a conflict with another one.
    ///
    /// What `work` needs comes in `input`, so that its future borrows nothing else.
    pub(crate) async fn run_tx<C, T, F>(
        &self,
        name: &'static str,
        input: &C,
        work: F,
    ) -> Result<T, DbError>
    where
        C: Sync,
        F: for<'t> Fn(&'t mut Tx, &'t C) -> TxFuture<'t, T> + Send + Sync,
    {
        let mut tries = 1_u32;
        loop {
            match self.try_tx(name, input, &work).await {
                Err(error) if error.is_retryable() && tries < MAX_TRIES => {
                    tracing::debug!(transaction = name, tries, "transaction is run again");
                    tokio::time::sleep(pause(tries)).await;
                    tries = tries.saturating_add(1);
                }
                other => return other,
            }
        }
    }

    async fn try_tx<C, T, F>(&self, name: &'static str, input: &C, work: &F) -> Result<T, DbError>
    where
        C: Sync,
        F: for<'t> Fn(&'t mut Tx, &'t C) -> TxFuture<'t, T> + Send + Sync,
    {
        let begun = match &self.pools {
            Pools::Sqlite { writer, .. } => writer
                .begin_with("BEGIN IMMEDIATE")
                .await
                .map(|tx| Tx::sqlite(tx, name)),
            Pools::Postgres(pool) => pool
                .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ")
                .await
                .map(|tx| Tx::postgres(tx, name)),
        };
        let mut tx = begun.map_err(|source| DbError::Database {
            operation: name,
            source,
        })?;
        let result = work(&mut tx, input).await?;
        tx.commit().await?;
        Ok(result)
    }

    /// Runs `work` on a snapshot, without writing.
    pub(crate) async fn run_read<C, T, F>(
        &self,
        name: &'static str,
        input: &C,
        work: F,
    ) -> Result<T, DbError>
    where
        C: Sync,
        F: for<'t> Fn(&'t mut Tx, &'t C) -> TxFuture<'t, T> + Send + Sync,
    {
        let begun = match &self.pools {
            Pools::Sqlite { readers, .. } => readers
                .begin_with("BEGIN DEFERRED")
                .await
                .map(|tx| Tx::sqlite(tx, name)),
            Pools::Postgres(pool) => pool
                .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                .await
                .map(|tx| Tx::postgres(tx, name)),
        };
        let mut tx = begun.map_err(|source| DbError::Database {
            operation: name,
            source,
        })?;
        let result = work(&mut tx, input).await?;
        tx.commit().await?;
        Ok(result)
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), DbError> {
        self.run_read("ping", &(), |tx, &()| {
            Box::pin(async move { tx.now().await.map(|_| ()) })
        })
        .await
    }

    /// Ends all connections.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
            Pools::Postgres(pool) => pool.close().await,
        }
    }
}

/// Grows from about 2 ms to about 500 ms, with the time's own digits as jitter.
fn pause(tries: u32) -> Duration {
    let base = 1_u64 << tries.min(8);
    let jitter = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |now| u64::from(now.subsec_nanos()) / 1000)
        .checked_rem(base)
        .unwrap_or(0);
    Duration::from_millis(base.saturating_add(jitter))
}

async fn open_sqlite(url: &str) -> Result<Pools, DbError> {
    let fail = |source| DbError::Database {
        operation: "open",
        source,
    };
    let options = SqliteConnectOptions::from_str(url)
        .map_err(fail)?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(10))
        .disable_statement_logging();
    let writer = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(30))
        .connect_with(options.clone())
        .await
        .map_err(fail)?;
    migrator(&SQLITE_MIGRATIONS)
        .run(&writer)
        .await
        .map_err(DbError::Migrate)?;
    let readers = SqlitePoolOptions::new()
        .max_connections(POOL_SIZE)
        .acquire_timeout(Duration::from_secs(30))
        .connect_with(options)
        .await
        .map_err(fail)?;
    Ok(Pools::Sqlite { writer, readers })
}

async fn open_postgres(url: &str) -> Result<Pools, DbError> {
    let fail = |source| DbError::Database {
        operation: "open",
        source,
    };
    let options = PgConnectOptions::from_str(url)
        .map_err(fail)?
        .application_name("countersign-coordinator")
        .disable_statement_logging();
    let pool = PgPoolOptions::new()
        .max_connections(POOL_SIZE)
        .acquire_timeout(Duration::from_secs(10))
        .connect_with(options)
        .await
        .map_err(fail)?;
    migrator(&POSTGRES_MIGRATIONS)
        .run(&pool)
        .await
        .map_err(DbError::Migrate)?;
    Ok(Pools::Postgres(pool))
}

fn migrator(files: &[(i64, &'static str, &'static str)]) -> Migrator {
    let migrations = files.iter().map(|(version, name, sql)| {
        Migration::new(
            *version,
            (*name).into(),
            MigrationType::Simple,
            sql.into_sql_str(),
            false,
        )
    });
    Migrator::with_migrations(migrations.collect())
}
