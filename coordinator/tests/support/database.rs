//! A fresh database for each test: a SQLite file, or a database on the PostgreSQL server that `COUNTERSIGN_TEST_POSTGRES`
//! names (`scripts/test-postgres.sh` starts one).

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

/// A database that vanishes with the value.
pub struct TestDatabase {
    pub url: String,
    folder: Option<tempfile::TempDir>,
    server: Option<(String, String)>,
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
}

impl TestDatabase {
    /// `None` when there is no PostgreSQL server, which is an error under CI.
    pub async fn new(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Sqlite => {
                let folder = tempfile::tempdir().unwrap();
                let url = format!("sqlite:{}", folder.path().join("c.sqlite").display());
                Some(Self {
                    url,
                    folder: Some(folder),
                    server: None,
                })
            }
            Kind::Postgres => {
                let Ok(server) = std::env::var("COUNTERSIGN_TEST_POSTGRES") else {
                    let text = "COUNTERSIGN_TEST_POSTGRES is not set: run this through scripts/test-postgres.sh";
                    assert!(std::env::var("CI").as_deref() != Ok("true"), "{text}");
                    eprintln!("skipped: {text}");
                    return None;
                };
                let mut bytes = [0_u8; 8];
                rand_core::RngCore::fill_bytes(&mut rand_core::OsRng, &mut bytes);
                let name = format!("countersign_{}", hex::encode(bytes));
                let mut admin = PgConnection::connect(&server).await.unwrap();
                admin
                    .execute(AssertSqlSafe(format!("CREATE DATABASE {name}")))
                    .await
                    .unwrap();
                admin.close().await.unwrap();
                let (base, _) = server.rsplit_once('/').unwrap();
                Some(Self {
                    url: format!("{base}/{name}"),
                    folder: None,
                    server: Some((server, name)),
                })
            }
        }
    }

    /// Ends the database. A test that fails before leaves it to the server's own end.
    pub async fn drop(self) {
        drop(self.folder);
        if let Some((server, name)) = self.server {
            let mut admin = PgConnection::connect(&server).await.unwrap();
            let sql = format!("DROP DATABASE {name} WITH (FORCE)");
            admin.execute(AssertSqlSafe(sql)).await.unwrap();
        }
    }
}

/// Runs a test on both databases: `both!(name, async |database| { ... })` with `database: &TestDatabase`.
macro_rules! both {
    ($(#[$meta:meta])* $name:ident, $body:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                let database = TestDatabase::new(Kind::Sqlite).await.unwrap();
                ($body)(&database).await;
                database.drop().await;
            }

            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                if let Some(database) = TestDatabase::new(Kind::Postgres).await {
                    ($body)(&database).await;
                    database.drop().await;
                }
            }
        }
    };
}
pub(crate) use both;
