//! Rows written by decisions, and rows read on request: with `open.rs`, the only SQL of the signer.

use countersign_policy::{Envelope, Hash, KeyId, MemberId, Timestamp};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::ledger::index::Author;
use super::{Record, StoreError};

/// One row to write. Decisions produce them, the writer executes them in order inside one transaction.
#[derive(Debug)]
pub(super) enum Write {
    Author {
        author: Author,
        member: MemberId,
    },
    Acknowledged {
        author: Author,
        sequence: u64,
    },
    Entry {
        author: Author,
        sequence: u64,
        envelope: Vec<u8>,
    },
    Equivocation {
        author: Author,
        sequence: u64,
        presented: Vec<u8>,
    },
    RolledBack {
        ours: u64,
        seen: u64,
        evidence: Vec<u8>,
    },
    Share {
        key: KeyId,
        generation: u32,
        record: String,
        tag: [u8; 32],
        sealed: Vec<u8>,
    },
    Secret {
        kind: &'static str,
        name: String,
        tag: [u8; 32],
        sealed: Vec<u8>,
    },
    SecretGone {
        kind: &'static str,
        name: String,
    },
    Ceremony {
        ceremony: Hash,
        progress: String,
    },
    KeyBan {
        key: KeyId,
        peer: MemberId,
        at: Timestamp,
        evidence: String,
    },
    Bundle {
        version: u64,
        digest: Hash,
        envelope: Vec<u8>,
    },
    Record {
        sequence: u64,
        at: Timestamp,
        operation: String,
        subject: String,
        outcome: String,
        detail: String,
        kept: bool,
    },
    /// The oldest refusals go, as many as said.
    ForgetRefusals {
        oldest: u64,
    },
}

pub(super) fn encode(envelope: &Envelope) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(envelope).map_err(|_| StoreError::Internal("an envelope without JSON form"))
}

pub(super) fn decode(bytes: &[u8]) -> Result<Envelope, StoreError> {
    serde_json::from_slice(bytes)
        .map_err(|e| StoreError::Corrupt(format!("a stored envelope is unreadable: {e}")))
}

/// Ledger rows in one statement.
const LEDGER_ROWS: usize = 64;

/// Executes the first of the rows, together with the ledger rows that follow it if it is one: each statement is a way to
/// SQLite's thread and back. Returns how many.
pub(super) async fn execute_first(
    rows: &[Write],
    db: &mut SqliteConnection,
) -> Result<usize, sqlx::Error> {
    let mut entries = Vec::new();
    for row in rows.iter().take(LEDGER_ROWS) {
        let Write::Entry {
            author,
            sequence,
            envelope,
        } = row
        else {
            break;
        };
        entries.push((ledger_id(*author, *sequence)?, envelope.as_slice()));
    }
    if entries.len() < 2 {
        if let Some(row) = rows.first() {
            row.execute(db).await?;
        }
        return Ok(1);
    }
    let count = entries.len();
    let mut query = sqlx::QueryBuilder::new("INSERT INTO ledger (id, envelope) ");
    query.push_values(entries, |mut row, (id, envelope)| {
        row.push_bind(id).push_bind(envelope);
    });
    let done = query.build().execute(db).await?;
    if done.rows_affected() == count as u64 {
        Ok(count)
    } else {
        Err(sqlx::Error::RowNotFound)
    }
}

/// SQLite integers are signed; sequence numbers never come near the bound.
fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A ledger row's key: the author above 40 bits of sequence number.
const SEQUENCE_BITS: u32 = 40;

fn ledger_id(author: Author, sequence: u64) -> Result<i64, sqlx::Error> {
    if sequence == 0 || sequence >> SEQUENCE_BITS != 0 {
        return Err(sqlx::Error::Protocol(
            "a sequence number beyond 40 bits".to_owned(),
        ));
    }
    Ok(i64::from(author.0) << SEQUENCE_BITS | int(sequence))
}

/// Author and sequence number of a ledger row's key.
pub(super) fn author_and_sequence(id: i64) -> Result<(Author, u64), StoreError> {
    let author = u16::try_from(id >> SEQUENCE_BITS)
        .map_err(|_| StoreError::Corrupt(format!("a ledger row with key {id}")))?;
    let sequence = id.unsigned_abs() & ((1u64 << SEQUENCE_BITS).saturating_sub(1));
    Ok((Author(author), sequence))
}

impl Write {
    pub fn entry(author: Author, sequence: u64, envelope: &Envelope) -> Result<Self, StoreError> {
        let envelope = encode(envelope)?;
        Ok(Self::Entry {
            author,
            sequence,
            envelope,
        })
    }

    pub fn equivocation(
        author: Author,
        sequence: u64,
        presented: &Envelope,
    ) -> Result<Self, StoreError> {
        let presented = encode(presented)?;
        Ok(Self::Equivocation {
            author,
            sequence,
            presented,
        })
    }

    pub fn rolled_back(ours: u64, seen: u64, evidence: &Envelope) -> Result<Self, StoreError> {
        let evidence = encode(evidence)?;
        Ok(Self::RolledBack {
            ours,
            seen,
            evidence,
        })
    }

    /// Executes the statement; each must change exactly one row, but for those that forget.
    pub async fn execute(&self, db: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let query = match self {
            Self::Author { author, member } => {
                sqlx::query("INSERT INTO authors (id, member) VALUES ($1, $2)")
                    .bind(author.0)
                    .bind(member.as_str())
            }
            Self::Acknowledged { author, sequence } => {
                sqlx::query("UPDATE authors SET acknowledged = $2 WHERE id = $1")
                    .bind(author.0)
                    .bind(int(*sequence))
            }
            Self::Entry { author, sequence, envelope } => {
                sqlx::query("INSERT INTO ledger (id, envelope) VALUES ($1, $2)")
                .bind(ledger_id(*author, *sequence)?)
                    .bind(envelope.as_slice())
            }
            Self::Equivocation { author, sequence, presented } => sqlx::query(
                "INSERT INTO equivocations (author, sequence, presented) VALUES ($1, $2, $3)",
            )
            .bind(author.0)
            .bind(int(*sequence))
            .bind(presented.as_slice()),
            Self::RolledBack { ours, seen, evidence } => sqlx::query(
                "INSERT OR REPLACE INTO rolled_back (one, ours, seen, evidence) VALUES (1, $1, $2, $3)",
            )
            .bind(int(*ours))
            .bind(int(*seen))
            .bind(evidence.as_slice()),
            _ => return self.execute_material(db).await,
        };
        exactly_one(query.execute(db).await?.rows_affected())
    }

    /// Everything that is not of a ledger.
    async fn execute_material(&self, db: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let query = match self {
            Self::Share { key, generation, record, tag, sealed } => sqlx::query(
                "INSERT INTO shares (key, generation, record, tag, sealed) VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(key.as_str())
            .bind(generation)
            .bind(record)
            .bind(tag.as_slice())
            .bind(sealed.as_slice()),
            Self::Secret { kind, name, tag, sealed } => {
                sqlx::query("INSERT INTO secrets (kind, name, tag, sealed) VALUES ($1, $2, $3, $4)")
                    .bind(*kind)
                    .bind(name)
                    .bind(tag.as_slice())
                    .bind(sealed.as_slice())
            }
            Self::SecretGone { kind, name } => {
                sqlx::query("DELETE FROM secrets WHERE kind = $1 AND name = $2")
                    .bind(*kind)
                    .bind(name)
            }
            Self::Ceremony { ceremony, progress } => sqlx::query(
                "INSERT OR REPLACE INTO ceremonies (ceremony, progress) VALUES ($1, $2)",
            )
            .bind(ceremony.as_bytes().as_slice())
            .bind(progress),
            Self::KeyBan { key, peer, at, evidence } => {
                sqlx::query("INSERT INTO key_bans (key, peer, at, evidence) VALUES ($1, $2, $3, $4)")
                    .bind(key.as_str())
                    .bind(peer.as_str())
                    .bind(at.as_millis())
                    .bind(evidence)
            }
            Self::Bundle { version, digest, envelope } => {
                sqlx::query("INSERT INTO bundles (version, digest, envelope) VALUES ($1, $2, $3)")
                    .bind(int(*version))
                    .bind(digest.as_bytes().as_slice())
                    .bind(envelope.as_slice())
            }
            Self::Record { sequence, at, operation, subject, outcome, detail, kept } => sqlx::query(
                "INSERT INTO records (sequence, at, operation, subject, outcome, detail, kept) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
            )
            .bind(int(*sequence))
            .bind(at.as_millis())
            .bind(operation)
            .bind(subject)
            .bind(outcome)
            .bind(detail)
            .bind(kept),
            Self::ForgetRefusals { oldest } => {
                return forget_refusals(db, *oldest).await;
            }
            _ => return Err(sqlx::Error::Protocol("a ledger row among material".to_owned())),
        };
        exactly_one(query.execute(db).await?.rows_affected())
    }
}

async fn forget_refusals(db: &mut SqliteConnection, oldest: u64) -> Result<(), sqlx::Error> {
    sqlx::query(
        "DELETE FROM records WHERE sequence IN \
         (SELECT sequence FROM records WHERE kept = 0 ORDER BY sequence LIMIT $1)",
    )
    .bind(int(oldest))
    .execute(db)
    .await
    .map(|_| ())
}

fn exactly_one(rows: u64) -> Result<(), sqlx::Error> {
    match rows {
        1 => Ok(()),
        _ => Err(sqlx::Error::RowNotFound),
    }
}

/// A share as stored.
pub(super) struct SealedShare {
    pub generation: u32,
    pub sealed: Vec<u8>,
}

/// One generation of a key's share.
pub(super) async fn share(
    db: &mut SqliteConnection,
    key: &KeyId,
    generation: u32,
) -> Result<Option<SealedShare>, sqlx::Error> {
    let row: Option<(u32, Vec<u8>)> =
        sqlx::query_as("SELECT generation, sealed FROM shares WHERE key = $1 AND generation = $2")
            .bind(key.as_str())
            .bind(generation)
            .fetch_optional(db)
            .await?;
    Ok(row.map(|(generation, sealed)| SealedShare { generation, sealed }))
}

/// Own ledger entries above a sequence number.
pub(super) async fn own_entries(
    db: &mut SqliteConnection,
    after: u64,
    limit: usize,
) -> Result<Vec<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar("SELECT envelope FROM ledger WHERE id > $1 AND id < $2 ORDER BY id LIMIT $3")
        .bind(int(after))
        .bind(1i64 << SEQUENCE_BITS)
        .bind(int(limit as u64))
        .fetch_all(db)
        .await
}

/// One entry of a peer's ledger.
pub(super) async fn peer_entry(
    db: &mut SqliteConnection,
    peer: &MemberId,
    sequence: u64,
) -> Result<Option<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT envelope FROM ledger JOIN authors ON authors.id = ledger.author \
         WHERE authors.member = $1 AND sequence = $2",
    )
    .bind(peer.as_str())
    .bind(int(sequence))
    .fetch_optional(db)
    .await
}

/// The bundle chain, oldest first.
pub(super) async fn bundles(db: &mut SqliteConnection) -> Result<Vec<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar("SELECT envelope FROM bundles ORDER BY version")
        .fetch_all(db)
        .await
}

/// The newest records, newest first.
pub(super) async fn records(
    db: &mut SqliteConnection,
    limit: usize,
) -> Result<Vec<Record>, sqlx::Error> {
    use sqlx::Row as _;
    sqlx::query(
        "SELECT sequence, at, operation, subject, outcome, detail FROM records \
         ORDER BY sequence DESC LIMIT $1",
    )
    .bind(int(limit as u64))
    .try_map(|row: SqliteRow| {
        Ok(Record {
            sequence: u64::try_from(row.try_get::<i64, _>(0)?).unwrap_or(0),
            at: Timestamp::from_millis(row.try_get(1)?),
            operation: row.try_get(2)?,
            subject: row.try_get(3)?,
            outcome: row.try_get(4)?,
            detail: row.try_get(5)?,
        })
    })
    .fetch_all(db)
    .await
}
