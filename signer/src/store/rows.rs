//! Rows written by decisions, and rows read on request: with `open.rs`, the only SQL of the signer.

use countersign_policy::{Envelope, Hash, KeyId, MemberId, Timestamp};
use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::ledger::index::Author;
use super::rekey::SealedHeader;
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
    Observation {
        statement: Hash,
        envelope: Vec<u8>,
    },
    /// Another wrapping of the data key in the place of the one before.
    Kek {
        before: Vec<u8>,
        kek: String,
        wrapped: Vec<u8>,
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
    Statement {
        position: u64,
        digest: Hash,
        kind: &'static str,
        bundle: Hash,
        entry: u64,
        envelope: Vec<u8>,
    },
    Start {
        incarnation: u64,
        nonce: Hash,
    },
    PeerStart {
        member: MemberId,
        incarnation: u64,
        nonce: Hash,
    },
    TimeFloor {
        at: Timestamp,
    },
    Counter {
        credential: Vec<u8>,
        counter: u32,
        statement: Hash,
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

/// SQLite integers are signed; sequence numbers never come near the bound.
fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A ledger row's key: the author above 40 bits of sequence number.
const SEQUENCE_BITS: u32 = 40;

fn ledger_id(author: Author, sequence: u64) -> Result<i64, StoreError> {
    if sequence == 0 || sequence >> SEQUENCE_BITS != 0 {
        return Err(StoreError::Internal("a sequence number beyond 40 bits"));
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
    pub fn execute(&self, db: &Connection) -> Result<(), StoreError> {
        match self {
            Self::Author { author, member } => one(
                db,
                "INSERT INTO authors (id, member) VALUES (?1, ?2)",
                params![author.0, member.as_str()],
            ),
            Self::Acknowledged { author, sequence } => one(
                db,
                "UPDATE authors SET acknowledged = ?2 WHERE id = ?1",
                params![author.0, int(*sequence)],
            ),
            Self::Entry {
                author,
                sequence,
                envelope,
            } => one(
                db,
                "INSERT INTO ledger (id, envelope) VALUES (?1, ?2)",
                params![ledger_id(*author, *sequence)?, envelope],
            ),
            Self::Equivocation {
                author,
                sequence,
                presented,
            } => one(
                db,
                "INSERT INTO equivocations (author, sequence, presented) VALUES (?1, ?2, ?3)",
                params![author.0, int(*sequence), presented],
            ),
            Self::RolledBack {
                ours,
                seen,
                evidence,
            } => one(
                db,
                "INSERT OR REPLACE INTO rolled_back (one, ours, seen, evidence) VALUES (1, ?1, ?2, ?3)",
                params![int(*ours), int(*seen), evidence],
            ),
            Self::Observation {
                statement,
                envelope,
            } => one(
                db,
                "INSERT INTO observations (statement, envelope) VALUES (?1, ?2)",
                params![statement.as_bytes(), envelope],
            ),
            _ => self.execute_material(db),
        }
    }

    /// Everything that is not of a ledger.
    fn execute_material(&self, db: &Connection) -> Result<(), StoreError> {
        match self {
            Self::Kek {
                before,
                kek,
                wrapped,
            } => one(
                db,
                "UPDATE header SET kek = ?2, wrapped_dek = ?3 WHERE one = 1 AND wrapped_dek = ?1",
                params![before, kek, wrapped],
            ),
            Self::Share {
                key,
                generation,
                record,
                tag,
                sealed,
            } => one(
                db,
                "INSERT INTO shares (key, generation, record, tag, sealed) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![key.as_str(), generation, record, tag, sealed],
            ),
            Self::Secret {
                kind,
                name,
                tag,
                sealed,
            } => one(
                db,
                "INSERT INTO secrets (kind, name, tag, sealed) VALUES (?1, ?2, ?3, ?4)",
                params![kind, name, tag, sealed],
            ),
            Self::SecretGone { kind, name } => one(
                db,
                "DELETE FROM secrets WHERE kind = ?1 AND name = ?2",
                params![kind, name],
            ),
            Self::Ceremony { ceremony, progress } => one(
                db,
                "INSERT OR REPLACE INTO ceremonies (ceremony, progress) VALUES (?1, ?2)",
                params![ceremony.as_bytes(), progress],
            ),
            Self::KeyBan {
                key,
                peer,
                at,
                evidence,
            } => one(
                db,
                "INSERT INTO key_bans (key, peer, at, evidence) VALUES (?1, ?2, ?3, ?4)",
                params![key.as_str(), peer.as_str(), at.as_millis(), evidence],
            ),
            Self::Bundle {
                version,
                digest,
                envelope,
            } => one(
                db,
                "INSERT INTO bundles (version, digest, envelope) VALUES (?1, ?2, ?3)",
                params![int(*version), digest.as_bytes(), envelope],
            ),
            Self::Record {
                sequence,
                at,
                operation,
                subject,
                outcome,
                detail,
                kept,
            } => one(
                db,
                "INSERT INTO records (sequence, at, operation, subject, outcome, detail, kept) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    int(*sequence),
                    at.as_millis(),
                    operation,
                    subject,
                    outcome,
                    detail,
                    kept
                ],
            ),
            Self::ForgetRefusals { oldest } => execute(
                db,
                "DELETE FROM records WHERE sequence IN \
                 (SELECT sequence FROM records WHERE kept = 0 ORDER BY sequence LIMIT ?1)",
                params![int(*oldest)],
            )
            .map(|_| ()),
            _ => self.execute_standing(db),
        }
    }

    /// What came from others and what this node knows of starts and time.
    fn execute_standing(&self, db: &Connection) -> Result<(), StoreError> {
        match self {
            Self::Statement {
                position,
                digest,
                kind,
                bundle,
                entry,
                envelope,
            } => one(
                db,
                "INSERT INTO statements (position, digest, kind, bundle, entry, envelope) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    int(*position),
                    digest.as_bytes(),
                    kind,
                    bundle.as_bytes(),
                    int(*entry),
                    envelope
                ],
            ),
            Self::Start { incarnation, nonce } => one(
                db,
                "INSERT INTO starts (incarnation, nonce) VALUES (?1, ?2)",
                params![int(*incarnation), nonce.as_bytes()],
            ),
            Self::PeerStart {
                member,
                incarnation,
                nonce,
            } => one(
                db,
                "INSERT INTO peer_starts (member, incarnation, nonce) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (member) DO UPDATE SET incarnation = ?2, nonce = ?3",
                params![member.as_str(), int(*incarnation), nonce.as_bytes()],
            ),
            Self::TimeFloor { at } => one(
                db,
                "INSERT INTO time_floor (one, at) VALUES (1, ?1) ON CONFLICT (one) DO UPDATE SET at = ?1",
                params![at.as_millis()],
            ),
            Self::Counter {
                credential,
                counter,
                statement,
            } => one(
                db,
                "INSERT INTO webauthn_counters (credential, counter, statement) VALUES (?1, ?2, ?3)",
                params![credential, counter, statement.as_bytes()],
            ),
            _ => Err(StoreError::Internal("a row that nobody writes")),
        }
    }
}

fn execute(db: &Connection, sql: &str, values: &[&dyn ToSql]) -> Result<usize, StoreError> {
    db.prepare_cached(sql)
        .and_then(|mut statement| statement.execute(values))
        .map_err(|error| StoreError::failed("commit", error))
}

fn one(db: &Connection, sql: &str, values: &[&dyn ToSql]) -> Result<(), StoreError> {
    match execute(db, sql, values)? {
        1 => Ok(()),
        _ => Err(StoreError::Internal(
            "a statement for one row changed another number of rows",
        )),
    }
}

/// A share as stored.
pub(super) struct SealedShare {
    pub generation: u32,
    pub sealed: Vec<u8>,
}

/// One generation of a key's share.
pub(super) fn share(
    db: &Connection,
    key: &KeyId,
    generation: u32,
) -> rusqlite::Result<Option<SealedShare>> {
    db.prepare_cached("SELECT generation, sealed FROM shares WHERE key = ?1 AND generation = ?2")?
        .query_row(params![key.as_str(), generation], |row| {
            Ok(SealedShare {
                generation: row.get(0)?,
                sealed: row.get(1)?,
            })
        })
        .optional()
}

/// Own ledger entries above a sequence number.
pub(super) fn own_entries(
    db: &Connection,
    after: u64,
    limit: usize,
) -> rusqlite::Result<Vec<Vec<u8>>> {
    db.prepare_cached("SELECT envelope FROM ledger WHERE id > ?1 AND id < ?2 ORDER BY id LIMIT ?3")?
        .query_map(
            params![int(after), 1i64 << SEQUENCE_BITS, int(limit as u64)],
            |row| row.get(0),
        )?
        .collect()
}

/// One entry of a peer's ledger.
pub(super) fn peer_entry(
    db: &Connection,
    peer: &MemberId,
    sequence: u64,
) -> rusqlite::Result<Option<Vec<u8>>> {
    db.prepare_cached(
        "SELECT envelope FROM ledger JOIN authors ON authors.id = ledger.author \
         WHERE authors.member = ?1 AND sequence = ?2",
    )?
    .query_row(params![peer.as_str(), int(sequence)], |row| row.get(0))
    .optional()
}

/// The bundle chain, oldest first.
pub(super) fn bundles(db: &Connection) -> rusqlite::Result<Vec<Vec<u8>>> {
    db.prepare("SELECT envelope FROM bundles ORDER BY version")?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// How many ledger rows are read at a time; between them nothing else waits for the database.
pub(super) const PAGE: i64 = 1024;

/// Ledger rows after `after`, with their numbers.
pub(super) fn page(db: &Connection, after: i64) -> rusqlite::Result<Vec<(i64, Vec<u8>)>> {
    db.prepare_cached("SELECT id, envelope FROM ledger WHERE id > ?1 ORDER BY id LIMIT ?2")?
        .query_map(params![after, PAGE], |row| row.try_into())?
        .collect()
}

pub(super) fn observations(db: &Connection) -> rusqlite::Result<Vec<Vec<u8>>> {
    db.prepare("SELECT envelope FROM observations")?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// The newest records, newest first.
pub(super) fn records(db: &Connection, limit: usize) -> rusqlite::Result<Vec<Record>> {
    db.prepare_cached(
        "SELECT sequence, at, operation, subject, outcome, detail FROM records \
         ORDER BY sequence DESC LIMIT ?1",
    )?
    .query_map(params![int(limit as u64)], |row| {
        Ok(Record {
            sequence: u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0),
            at: Timestamp::from_millis(row.get(1)?),
            operation: row.get(2)?,
            subject: row.get(3)?,
            outcome: row.get(4)?,
            detail: row.get(5)?,
        })
    })?
    .collect()
}

/// Whose store this is, and how its data key is wrapped.
pub(super) fn header(db: &Connection) -> rusqlite::Result<SealedHeader> {
    let sql = "SELECT node, genesis, store_id, kek, wrapped_dek FROM header";
    db.query_row(sql, [], |row| {
        Ok(SealedHeader {
            node: row.get(0)?,
            genesis: row.get(1)?,
            store_id: row.get(2)?,
            kek: row.get(3)?,
            wrapped: row.get(4)?,
        })
    })
}
