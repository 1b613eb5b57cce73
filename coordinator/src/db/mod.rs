//! The only place with SQL. One [`Datastore`] over SQLite (the default) and PostgreSQL (for more than one coordinator).
//!
//! Everything happens in named transactions that may be run again when the database reports a conflict, so their
//! closures have no effect besides the transaction, and await nothing else. SQLite: WAL, `synchronous=FULL`, one writer. PostgreSQL: REPEATABLE
//! READ, which with the unique indexes and the revision check of every update is enough.

mod approvals;
mod create;
mod deployment;
mod error;
mod leases;
mod model;
mod notices;
mod proposals;
mod requests;
mod sqlite;
mod stops;
#[cfg(test)]
mod tests;
mod tx;

pub(crate) use approvals::NewApproval;
pub use approvals::StoredApproval;
pub use deployment::{AuditRecord, StoredBundle};
pub use error::DbError;
pub use leases::Lease;
pub(crate) use model::Change;
pub use model::{
    Created, Decided, Event, Filter, IdempotencyKey, NewAttempt, NewRequest, NoCursor, Page,
    PageCursor, RequestFacts, StoredAnswer, StoredAttempt, StoredRequest,
};
pub use notices::{Notice, NoticeKind};
pub use proposals::StoredProposal;
pub use stops::StoredAck;
pub use tx::Tx;

use std::future::Future;
use std::pin::Pin;
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqlSafeStr as _};

use sqlite::{Access, Connections};

/// How often a transaction is run again when the database reports a conflict.
const MAX_TRIES: u32 = 10;
const POOL_SIZE: u8 = 8;

const SQLITE_MIGRATIONS: [(i64, &str, &str); 3] = [
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
    (
        3,
        "decisions",
        include_str!("../../../migrations/sqlite/0003_decisions.sql"),
    ),
];
const POSTGRES_MIGRATIONS: [(i64, &str, &str); 3] = [
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
    (
        3,
        "decisions",
        include_str!("../../../migrations/postgres/0003_decisions.sql"),
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
        writer: Connections,
        readers: Connections,
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
            match self.transact(name, input, &work, Access::Write).await {
                Err(error) if error.is_retryable() && tries < MAX_TRIES => {
                    tracing::debug!(transaction = name, tries, "transaction is run again");
                    tokio::time::sleep(pause(tries)).await;
                    tries = tries.saturating_add(1);
                }
                other => return other,
            }
        }
    }

    /// One transaction, from its beginning to its commit.
    async fn transact<C, T, F>(
        &self,
        name: &'static str,
        input: &C,
        work: &F,
        access: Access,
    ) -> Result<T, DbError>
    where
        C: Sync,
        F: for<'t> Fn(&'t mut Tx, &'t C) -> TxFuture<'t, T> + Send + Sync,
    {
        let pool = match &self.pools {
            Pools::Sqlite { writer, readers } => {
                let connections = match access {
                    Access::Write => writer,
                    Access::Read => readers,
                };
                let held = connections.acquire(name).await?;
                return sqlite::in_place(|| {
                    let begun = held.begin();
                    begun.map_err(|source| DbError::Sqlite {
                        operation: name,
                        source,
                    })?;
                    let mut tx = Tx::sqlite(held, name);
                    let result = sqlite::done(name, work(&mut tx, input))?;
                    sqlite::done(name, tx.commit())?;
                    Ok(result)
                });
            }
            Pools::Postgres(pool) => pool,
        };
        let begin = match access {
            Access::Write => "BEGIN ISOLATION LEVEL REPEATABLE READ",
            Access::Read => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        };
        let begun = pool.begin_with(begin).await;
        let begun = begun.map_err(|source| DbError::Database {
            operation: name,
            source,
        })?;
        let mut tx = Tx::postgres(begun, name);
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
        self.transact(name, input, &work, Access::Read).await
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
                readers.close();
                writer.close();
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
    // The migrator is the same for both databases; everything else goes without it.
    let path = options.get_filename().to_owned();
    let mut db = options.connect().await.map_err(fail)?;
    migrator(&SQLITE_MIGRATIONS)
        .run(&mut db)
        .await
        .map_err(DbError::Migrate)?;
    db.close().await.map_err(fail)?;
    let writer = Connections::new(&path, Access::Write, 1);
    let readers = Connections::new(&path, Access::Read, usize::from(POOL_SIZE));
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
        .max_connections(u32::from(POOL_SIZE))
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
