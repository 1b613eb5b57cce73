//! Rebuilding the writer's state from the file, row by row.

use std::collections::BTreeMap;

use countersign_policy::HexBytes;
use countersign_policy::bundle::PolicyBundle;
use countersign_policy::statement::{Kind, Observation, Statement};
use countersign_policy::webauthn::CounterBook;
use countersign_policy::{Envelope, FreezeSet, Hash, KeyId, MemberId, Timestamp};
use rusqlite::{Connection, Params, Row, params};

use super::history::KeyBan;
use super::ledger::index::{Author, Index};
use super::ledger::rules::holds_outstanding;
use super::open::Identity;
use super::recorded::Recorded;
use super::records::RecordCounts;
use super::secrets::{SecretKind, ShareRecord};
use super::starts::Starts;
use super::state::{HeldSecret, Peer, State};
use super::statements::{KeptStatement, Statements};
use super::{StoreError, rows};
use crate::wire::StartName;

/// How many rows are read at a time; between them nothing else waits for the database at start.
const PAGE: i64 = 1024;

pub(super) fn load(
    db: &Connection,
    node: MemberId,
    genesis: Hash,
    identity: Identity,
) -> Result<State, StoreError> {
    let mut state = State {
        authors: vec![node.clone()],
        index: Index::new(node.clone()),
        node,
        genesis,
        identity,
        own: Vec::new(),
        peers: BTreeMap::new(),
        shares: BTreeMap::new(),
        secrets: BTreeMap::new(),
        ceremonies: BTreeMap::new(),
        key_bans: BTreeMap::new(),
        bundles: Vec::new(),
        records: RecordCounts::new(0, 0),
        starts: Starts::default(),
        time_floor: Timestamp::from_millis(0),
        statements: Statements::default(),
        freezes: FreezeSet::default(),
        counters: CounterBook::default(),
        fresh: Vec::new(),
        rolled_back: None,
    };
    state.load_authors(db)?;
    state.hold_outstanding(db)?;
    let recorded = state.load_ledger(db)?;
    recorded.require_observations(&state.load_observations(db)?)?;
    state.load_material(db)?;
    recorded.require_bundles(&state.bundles)?;
    state.load_standing(db)?;
    recorded.require_statements(|digest| state.statements.holds(digest))?;
    let (newest, refusals): (Option<i64>, i64) = db
        .query_row(
            "SELECT max(sequence), count(*) FILTER (WHERE kept = 0) FROM records",
            [],
            |row| row.try_into(),
        )
        .map_err(|error| StoreError::failed("load", error))?;
    state.records = RecordCounts::new(newest.map_or(0, i64::unsigned_abs), refusals.unsigned_abs());
    Ok(state)
}

impl State {
    fn load_authors(&mut self, db: &Connection) -> Result<(), StoreError> {
        let rows: Vec<(u16, String, i64, bool)> = all(
            db,
            "SELECT id, member, acknowledged, EXISTS (SELECT 1 FROM equivocations WHERE author = id) \
             FROM authors ORDER BY id",
            [],
        )?;
        if rows.is_empty() {
            return Err(StoreError::Corrupt("the authors are missing".to_owned()));
        }
        for (position, (id, name, acknowledged, banned)) in (0u16..).zip(rows) {
            let member = name
                .parse::<MemberId>()
                .map_err(|e| corrupt("author", &e))?;
            if id != position || (id == 0) != (member == self.node) {
                return Err(StoreError::Corrupt(
                    "the authors are not in order".to_owned(),
                ));
            }
            if id > 0 {
                self.authors.push(member.clone());
                let mut peer = Peer::new(Author(id));
                peer.acknowledged = acknowledged.unsigned_abs();
                peer.banned = banned;
                self.peers.insert(member, peer);
            }
        }
        Ok(())
    }

    /// Reads all entries in order and checks that each chain holds. The signature of the own head is verified, which by the
    /// chain vouches for every own entry; peers' signatures were verified before their entries were stored.
    fn load_ledger(&mut self, db: &Connection) -> Result<Recorded, StoreError> {
        let mut recorded = Recorded::default();
        let mut last = 0i64;
        let mut newest = None;
        loop {
            let page: Vec<(i64, Vec<u8>)> = all(
                db,
                "SELECT id, envelope FROM ledger WHERE id > ?1 ORDER BY id LIMIT ?2",
                params![last, PAGE],
            )?;
            match page.last() {
                Some((id, _)) => last = *id,
                None => break,
            }
            for (id, bytes) in page {
                let envelope = rows::decode(&bytes)?;
                let (author, sequence) = rows::author_and_sequence(id)?;
                self.load_entry(author, sequence, &envelope, &mut recorded)?;
                if author == Author::SELF {
                    newest = Some(envelope);
                }
            }
        }
        let authentic = newest.is_none_or(|newest: Envelope| {
            let message = newest.pre_authentication_encoding();
            let key = self.identity.public();
            newest
                .signatures()
                .iter()
                .all(|s| key.verify(&message, &s.sig))
        });
        if authentic {
            return Ok(recorded);
        }
        Err(StoreError::Corrupt(
            "the newest ledger entry is not signed by this node's identity key".to_owned(),
        ))
    }

    fn load_entry(
        &mut self,
        author: Author,
        sequence: u64,
        envelope: &Envelope,
        recorded: &mut Recorded,
    ) -> Result<(), StoreError> {
        let broken = || {
            StoreError::Corrupt(format!(
                "the ledger of author {} breaks at entry {sequence}",
                author.0
            ))
        };
        let statement = super::ledger::parse_entry(envelope).ok_or_else(broken)?;
        let issuer = self.authors.get(usize::from(author.0)).ok_or_else(broken)?;
        let digests = if author == Author::SELF {
            &mut self.own
        } else {
            &mut self.peers.get_mut(issuer).ok_or_else(broken)?.digests
        };
        let entry = &statement.body;
        let chained = statement.issuer == *issuer
            && statement.genesis == self.genesis
            && entry.sequence == sequence
            && sequence == (digests.len() as u64).saturating_add(1)
            && entry.previous == digests.last().copied().unwrap_or(Hash::ZERO);
        if !chained {
            return Err(broken());
        }
        digests.push(envelope.digest());
        let (at, event) = (statement.issued_at, &entry.event);
        if author == Author::SELF {
            recorded.note(event);
        }
        self.index.apply((author, issuer), sequence, at, event);
        Ok(())
    }

    /// Without a limit on what is outstanding, old spends need not be kept while the ledger is read. What counts is said
    /// later, by the verified bundle.
    fn hold_outstanding(&mut self, db: &Connection) -> Result<(), StoreError> {
        let bundles: Vec<(Vec<u8>,)> = all(db, "SELECT envelope FROM bundles", [])?;
        let mut hold = false;
        for (bytes,) in bundles {
            let envelope = rows::decode(&bytes)?;
            let bundle: Statement<PolicyBundle> =
                serde_json::from_slice(envelope.payload()).map_err(|e| corrupt("bundle", &e))?;
            hold |= holds_outstanding(&bundle.body);
        }
        self.index.spends.hold_outstanding(hold);
        Ok(())
    }

    fn load_observations(&mut self, db: &Connection) -> Result<Vec<Hash>, StoreError> {
        let mut digests = Vec::new();
        let stored: Vec<(Vec<u8>,)> = all(db, "SELECT envelope FROM observations", [])?;
        for (bytes,) in stored {
            let envelope = rows::decode(&bytes)?;
            let said: Statement<Observation> = serde_json::from_slice(envelope.payload())
                .map_err(|e| corrupt("observation", &e))?;
            digests.push(envelope.digest());
            self.index.spends.observed(said.body);
        }
        Ok(digests)
    }

    fn load_material(&mut self, db: &Connection) -> Result<(), StoreError> {
        let shares: Vec<(String, Vec<u8>)> = all(db, "SELECT record, tag FROM shares", [])?;
        for (record, tag) in shares {
            let record: ShareRecord =
                serde_json::from_str(&record).map_err(|e| corrupt("share", &e))?;
            let tag = tag_of(tag)?;
            self.shares
                .insert((record.key.clone(), record.generation), (record, tag));
        }
        let secrets: Vec<(String, String, Vec<u8>, Vec<u8>)> =
            all(db, "SELECT kind, name, tag, sealed FROM secrets", [])?;
        for (kind, name, tag, sealed) in secrets {
            let kind = SecretKind::from_name(&kind)
                .ok_or_else(|| StoreError::Corrupt(format!("a secret of kind {kind:?}")))?;
            let tag = tag_of(tag)?;
            self.secrets
                .insert((kind, name), HeldSecret { tag, sealed });
        }
        self.load_ceremonies_and_bans(db)?;
        let bundles: Vec<(i64, Vec<u8>)> = all(
            db,
            "SELECT version, digest FROM bundles ORDER BY version",
            [],
        )?;
        for (expected, (version, digest)) in (1i64..).zip(bundles) {
            if version != expected {
                return Err(StoreError::Corrupt(format!("bundle {expected} is missing")));
            }
            self.bundles.push(Hash::from_bytes(tag_of(digest)?));
        }
        Ok(())
    }

    fn load_standing(&mut self, db: &Connection) -> Result<(), StoreError> {
        let starts: Vec<(i64, Vec<u8>)> = all(
            db,
            "SELECT incarnation, nonce FROM starts ORDER BY incarnation",
            [],
        )?;
        for (incarnation, nonce) in starts {
            self.starts.own.push(start_name(incarnation, nonce)?);
        }
        let peers: Vec<(String, i64, Vec<u8>)> =
            all(db, "SELECT member, incarnation, nonce FROM peer_starts", [])?;
        for (member, incarnation, nonce) in peers {
            let member = member
                .parse::<MemberId>()
                .map_err(|e| corrupt("start", &e))?;
            let start = start_name(incarnation, nonce)?;
            self.starts.peers.insert(member, start);
        }
        self.load_statements(db)?;
        let counters: Vec<(Vec<u8>, u32, Vec<u8>)> = all(
            db,
            "SELECT credential, counter, statement FROM webauthn_counters",
            [],
        )?;
        for (credential, counter, statement) in counters {
            let statement = Hash::from_bytes(tag_of(statement)?);
            self.counters
                .restore(HexBytes(credential), counter, statement);
        }
        let floor: Vec<(i64,)> = all(db, "SELECT at FROM time_floor", [])?;
        if let [(at,)] = floor.as_slice() {
            self.time_floor = Timestamp::from_millis(*at);
        }
        Ok(())
    }

    fn load_statements(&mut self, db: &Connection) -> Result<(), StoreError> {
        type Stored = (i64, Vec<u8>, String, Vec<u8>, i64, Vec<u8>);
        let statements: Vec<Stored> = all(
            db,
            "SELECT position, digest, kind, bundle, entry, envelope FROM statements ORDER BY position",
            [],
        )?;
        for (expected, (position, digest, kind, bundle, entry, envelope)) in
            (1i64..).zip(statements)
        {
            let envelope = rows::decode(&envelope)?;
            let digest = Hash::from_bytes(tag_of(digest)?);
            let known = Kind::ALL.iter().find(|k| k.as_str() == kind);
            let kind = known.filter(|k| k.payload_type() == envelope.payload_type());
            let (Some(kind), true) = (kind, position == expected && envelope.digest() == digest)
            else {
                return Err(StoreError::Corrupt(format!(
                    "statement {expected} is not whole"
                )));
            };
            self.statements.push(KeptStatement {
                digest,
                kind: *kind,
                bundle: Hash::from_bytes(tag_of(bundle)?),
                entry: entry.unsigned_abs(),
                envelope,
            });
        }
        Ok(())
    }

    fn load_ceremonies_and_bans(&mut self, db: &Connection) -> Result<(), StoreError> {
        let ceremonies: Vec<(String,)> = all(db, "SELECT progress FROM ceremonies", [])?;
        for (progress,) in ceremonies {
            let progress: super::CeremonyProgress =
                serde_json::from_str(&progress).map_err(|e| corrupt("ceremony", &e))?;
            self.ceremonies.insert(progress.ceremony, progress);
        }
        let bans: Vec<(String, String, i64, String)> =
            all(db, "SELECT key, peer, at, evidence FROM key_bans", [])?;
        for (key, peer, at, evidence) in bans {
            let key = key.parse::<KeyId>().map_err(|e| corrupt("ban", &e))?;
            let peer = peer.parse::<MemberId>().map_err(|e| corrupt("ban", &e))?;
            let at = Timestamp::from_millis(at);
            let ban = KeyBan {
                key: key.clone(),
                peer: peer.clone(),
                at,
                evidence,
            };
            self.key_bans.insert((key, peer), ban);
        }
        Ok(())
    }
}

/// All rows of a query, each as a tuple.
fn all<T>(db: &Connection, sql: &str, values: impl Params) -> Result<Vec<T>, StoreError>
where
    T: for<'r> TryFrom<&'r Row<'r>, Error = rusqlite::Error>,
{
    let read = || -> rusqlite::Result<Vec<T>> {
        db.prepare(sql)?
            .query_map(values, |row| T::try_from(row))?
            .collect()
    };
    read().map_err(|error| StoreError::failed("load", error))
}

fn start_name(incarnation: i64, nonce: Vec<u8>) -> Result<StartName, StoreError> {
    Ok(StartName {
        incarnation: incarnation.unsigned_abs(),
        nonce: Hash::from_bytes(tag_of(nonce)?),
    })
}

fn tag_of(bytes: Vec<u8>) -> Result<[u8; 32], StoreError> {
    bytes
        .try_into()
        .map_err(|_| StoreError::Corrupt("a digest without 32 bytes".to_owned()))
}

fn corrupt(what: &str, error: &dyn std::error::Error) -> StoreError {
    StoreError::Corrupt(format!("a stored {what} is unreadable: {error}"))
}
