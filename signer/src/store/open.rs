//! Opening the file: one process, one node, one genesis, whole and in order.

use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use countersign_policy::{Hash, IdentityKey, MemberId};
use rand_core::{OsRng, RngCore as _};
use rusqlite::types::FromSql;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, TransactionBehavior, params};

use super::kek::{DataKey, KeyEncryptionKey};
use super::rekey::SealedHeader;
use super::rows;
use super::seal::Sealer;
use super::{KekError, StoreError};

/// Which file, and whose it must be.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The file. Its folder must exist and be writable: SQLite keeps a write-ahead log beside it.
    pub path: PathBuf,
    /// This node.
    pub node: MemberId,
    /// The pinned genesis hash.
    pub genesis: Hash,
    /// What to do when there is no file, or one already.
    pub mode: OpenMode,
}

/// Whether a file is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// There must be one. For every start but the first: a node whose file is gone must not begin again from nothing.
    Existing,
    /// There must be none.
    CreateNew,
    /// Whichever.
    CreateIfMissing,
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No file.
    #[error("there is no store at {0}; a new node creates one at its first start only")]
    Missing(PathBuf),
    /// A file where none may be.
    #[error("there is a store at {0} already")]
    Exists(PathBuf),
    /// Others can read or write it.
    #[error(
        "the store {path} has mode {mode:o}; it must be accessible by its owner only (chmod 600)"
    )]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The system refuses.
    #[error("cannot open the store {path}: {reason}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// Another process, or another handle of this one, has it.
    #[error("the store {0} is in use by another process")]
    InUse(PathBuf),
    /// Not one of our files, or written by a newer version.
    #[error("{path} is no signer store that this version can use: {reason}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is different.
        reason: String,
    },
    /// The store of another node or deployment.
    #[error("the store belongs to {found}, this is {expected}")]
    Owner {
        /// In the file.
        found: String,
        /// Configured.
        expected: String,
    },
    /// Another key wraps the data key.
    #[error("the store is sealed by {found}, this is {expected}")]
    OtherKek {
        /// In the file.
        found: String,
        /// Given.
        expected: String,
    },
    /// The data key cannot be unwrapped.
    #[error("cannot unlock the store")]
    Kek(#[from] KekError),
    /// Damaged, rolled back, or the database fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// `CSGN`: tells our files from others.
const APPLICATION_ID: i64 = 0x4353_474e;
/// The migrations, in order. A landed one never changes.
const MIGRATIONS: [&str; 4] = [
    include_str!("../../../migrations/signer/0001_store.sql"),
    include_str!("../../../migrations/signer/0002_records.sql"),
    include_str!("../../../migrations/signer/0003_statements.sql"),
    include_str!("../../../migrations/signer/0004_observations.sql"),
];

/// An unlocked file.
pub(super) struct Opened {
    pub db: Connection,
    pub sealer: Sealer,
}

pub(super) fn open(
    options: &StoreOptions,
    kek: &dyn KeyEncryptionKey,
) -> Result<Opened, OpenError> {
    let created = prepare_file(&options.path, options.mode)?;
    let mut db = connect(&options.path)?;
    let sealer = unlock(options, kek, &mut db, created)?;
    Ok(Opened { db, sealer })
}

fn unlock(
    options: &StoreOptions,
    kek: &dyn KeyEncryptionKey,
    db: &mut Connection,
    created: bool,
) -> Result<Sealer, OpenError> {
    let path = &options.path;
    let failed = |error| StoreError::failed("open", error);
    let empty = is_empty(db).map_err(|e| classify(path, e))?;
    if !empty {
        check_form(path, db)?;
    } else if !created && options.mode == OpenMode::Existing {
        // A crash between creating the file and its first commit leaves an empty one, which holds nothing.
        return Err(OpenError::Missing(path.clone()));
    }
    migrate(db).map_err(failed)?;
    if is_fresh(db).map_err(failed)? {
        write_header(options, kek, db)?;
    }
    let rolled_back: Option<(i64, i64)> = db
        .query_row("SELECT ours, seen FROM rolled_back", [], |row| {
            row.try_into()
        })
        .optional()
        .map_err(failed)?;
    if let Some((ours, seen)) = rolled_back {
        let (ours, seen) = (ours.unsigned_abs(), seen.unsigned_abs());
        return Err(StoreError::RolledBack { ours, seen }.into());
    }
    read_header(options, kek, db)
}

/// Makes the file or examines it; says whether it was made.
fn prepare_file(path: &Path, mode: OpenMode) -> Result<bool, OpenError> {
    let io = |error: std::io::Error| OpenError::Io {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    match std::fs::symlink_metadata(path) {
        Ok(_) if mode == OpenMode::CreateNew => Err(OpenError::Exists(path.to_owned())),
        Ok(metadata) if !metadata.is_file() => Err(OpenError::Foreign {
            path: path.to_owned(),
            reason: "not a regular file".to_owned(),
        }),
        Ok(metadata) if metadata.mode() & 0o077 != 0 => Err(OpenError::Permissions {
            path: path.to_owned(),
            mode: metadata.mode() & 0o777,
        }),
        Ok(_) => Ok(false),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io(error)),
        Err(_) if mode == OpenMode::Existing => Err(OpenError::Missing(path.to_owned())),
        Err(_) => {
            // SQLite gives the write-ahead log the mode of the file.
            std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .and_then(|file| file.sync_all())
                .map_err(io)?;
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
            std::fs::File::open(folder.unwrap_or(Path::new(".")))
                .and_then(|folder| folder.sync_all())
                .map_err(io)?;
            Ok(true)
        }
    }
}

/// One process alone, a write-ahead log, and nothing told before it is on the disk (`synchronous=FULL`).
const SETTINGS: &str = "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
    PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA secure_delete = ON; PRAGMA cell_size_check = ON;";
/// Statements that stay prepared: more than there are.
const STATEMENTS: usize = 64;

fn connect(path: &Path) -> Result<Connection, OpenError> {
    let connected = || {
        // The file is there already; and one thread at a time uses it.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags)?;
        db.busy_timeout(Duration::from_millis(200))?;
        db.execute_batch(SETTINGS)?;
        db.set_prepared_statement_cache_capacity(STATEMENTS);
        let safe = (
            one::<String>(&db, "PRAGMA journal_mode")?,
            one(&db, "PRAGMA synchronous")?,
        );
        Ok((db, safe))
    };
    let (db, safe) = connected().map_err(|error| classify(path, error))?;
    match safe {
        (mode, FULL) if mode == "wal" => Ok(db),
        (mode, level) => Err(OpenError::Io {
            path: path.to_owned(),
            reason: format!(
                "SQLite keeps no durable write-ahead log there: journal mode {mode}, synchronous {level}"
            ),
        }),
    }
}

/// `PRAGMA synchronous`.
const FULL: i64 = 2;

/// The one value of a query.
fn one<T: FromSql>(db: &Connection, sql: &str) -> rusqlite::Result<T> {
    db.query_row(sql, [], |row| row.get(0))
}

/// SQLITE_BUSY and SQLITE_LOCKED mean another user of the file, SQLITE_NOTADB a file of another kind.
fn classify(path: &Path, error: rusqlite::Error) -> OpenError {
    use rusqlite::ErrorCode;
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            OpenError::InUse(path.to_owned())
        }
        Some(ErrorCode::NotADatabase) => OpenError::Foreign {
            path: path.to_owned(),
            reason: "not a SQLite database".to_owned(),
        },
        _ => StoreError::failed("open", error).into(),
    }
}

fn is_empty(db: &Connection) -> rusqlite::Result<bool> {
    let tables: i64 = one(db, "SELECT count(*) FROM sqlite_schema")?;
    Ok(tables == 0)
}

/// Whether nothing was ever stored: also after a crash between the tables and the header.
fn is_fresh(db: &Connection) -> rusqlite::Result<bool> {
    one(
        db,
        "SELECT NOT EXISTS (SELECT 1 FROM header) AND NOT EXISTS (SELECT 1 FROM authors) \
         AND NOT EXISTS (SELECT 1 FROM shares) AND NOT EXISTS (SELECT 1 FROM secrets)",
    )
}

fn check_form(path: &Path, db: &Connection) -> Result<(), OpenError> {
    let failed = |error| classify(path, error);
    let foreign = |reason: String| OpenError::Foreign {
        path: path.to_owned(),
        reason,
    };
    let application: i64 = one(db, "PRAGMA application_id").map_err(failed)?;
    if application != APPLICATION_ID {
        return Err(foreign(format!("application id {application:#x}")));
    }
    let version: i64 = one(db, "PRAGMA user_version").map_err(failed)?;
    if usize::try_from(version).is_ok_and(|version| version > MIGRATIONS.len()) {
        return Err(foreign(format!("schema version {version}")));
    }
    let found: String = one(db, "PRAGMA integrity_check(1)").map_err(failed)?;
    if found == "ok" {
        return Ok(());
    }
    Err(StoreError::Corrupt(found).into())
}

fn migrate(db: &mut Connection) -> rusqlite::Result<()> {
    let version: i64 = one(db, "PRAGMA user_version")?;
    let done = usize::try_from(version).unwrap_or(0);
    for (number, sql) in (1i64..).zip(MIGRATIONS).skip(done) {
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", number)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.commit()?;
    }
    Ok(())
}

fn write_header(
    options: &StoreOptions,
    kek: &dyn KeyEncryptionKey,
    db: &mut Connection,
) -> Result<(), OpenError> {
    let mut store_id = [0u8; 16];
    OsRng.fill_bytes(&mut store_id);
    let mut dek = DataKey::default();
    OsRng.fill_bytes(dek.as_mut_slice());
    let kek_id = kek.id();
    let place = Place::of(options, &store_id, &kek_id);
    let wrapped = kek.wrap(&dek, &dek_place(&place))?;
    let failed = |error| OpenError::from(StoreError::failed("open", error));
    let mut write = || {
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute(
            "INSERT INTO header (one, node, genesis, store_id, kek, wrapped_dek) VALUES (1, ?1, ?2, ?3, ?4, ?5)",
            params![
                options.node.as_str(),
                options.genesis.as_bytes(),
                store_id,
                kek.id(),
                wrapped
            ],
        )?;
        transaction.execute(
            "INSERT INTO authors (id, member) VALUES (0, ?1)",
            params![options.node.as_str()],
        )?;
        transaction.commit()
    };
    write().map_err(failed)
}

fn read_header(
    options: &StoreOptions,
    kek: &dyn KeyEncryptionKey,
    db: &Connection,
) -> Result<Sealer, OpenError> {
    let header = rows::header(db)
        .optional()
        .map_err(|error| StoreError::failed("open", error))?;
    let SealedHeader {
        node,
        genesis,
        store_id,
        kek: kek_id,
        wrapped,
    } = header.ok_or_else(|| StoreError::Corrupt("the header is missing".to_owned()))?;
    let owner = |found: String, expected: String| OpenError::Owner { found, expected };
    if node != options.node.as_str() {
        return Err(owner(
            format!("node {node}"),
            format!("node {}", options.node),
        ));
    }
    if genesis != options.genesis.as_bytes() {
        let found = hex::encode(genesis);
        return Err(owner(
            format!("genesis {found}"),
            format!("genesis {}", options.genesis),
        ));
    }
    if kek_id != kek.id() {
        return Err(OpenError::OtherKek {
            found: kek_id,
            expected: kek.id(),
        });
    }
    let place = Place::of(options, &store_id, &kek_id);
    let dek = kek.unwrap(&wrapped, &dek_place(&place))?;
    Ok(Sealer::new(&dek, options.node.clone()))
}

/// What a wrapped data key is bound to.
pub(super) struct Place<'a> {
    pub store_id: &'a [u8],
    pub node: &'a str,
    pub genesis: &'a [u8],
    pub kek: &'a str,
}

impl<'a> Place<'a> {
    fn of(options: &'a StoreOptions, store_id: &'a [u8], kek: &'a str) -> Self {
        Self {
            store_id,
            node: options.node.as_str(),
            genesis: options.genesis.as_bytes(),
            kek,
        }
    }
}

/// Binds the wrapped data key to this file, node and deployment, and to the key that wraps it.
pub(super) fn dek_place(place: &Place<'_>) -> Vec<u8> {
    let parts: [&[u8]; 4] = [
        place.store_id,
        place.node.as_bytes(),
        place.genesis,
        place.kek.as_bytes(),
    ];
    Hash::derive("countersign/store/dek/v1", &parts)
        .as_bytes()
        .to_vec()
}

/// Who signs the ledger.
pub(super) type Identity = Arc<IdentityKey>;
