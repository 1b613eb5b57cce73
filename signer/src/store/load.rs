//! Rebuilding the writer's state from the file, row by row.

use std::collections::BTreeMap;

use countersign_policy::{Envelope, Hash, KeyId, MemberId, Timestamp};
use sqlx::{Row as _, SqliteConnection};

use super::history::KeyBan;
use super::ledger::index::{Author, Index};
use super::open::Identity;
use super::records::RecordCounts;
use super::secrets::{SecretKind, ShareRecord};
use super::state::{HeldSecret, Peer, State};
use super::{StoreError, rows};

/// How many rows are read at a time; between them nothing else waits for the database at start.
const PAGE: i64 = 1024;

pub(super) async fn load(
    db: &mut SqliteConnection,
    node: MemberId,
    genesis: Hash,
    identity: Identity,
) -> Result<State, StoreError> {
    let mut state = State {
        authors: vec![node.clone()],
        node,
        genesis,
        identity,
        own: Vec::new(),
        index: Index::default(),
        peers: BTreeMap::new(),
        shares: BTreeMap::new(),
        secrets: BTreeMap::new(),
        ceremonies: BTreeMap::new(),
        key_bans: BTreeMap::new(),
        bundles: Vec::new(),
        records: RecordCounts::new(0, 0),
        fresh: Vec::new(),
        rolled_back: None,
    };
    let failed = |error| StoreError::failed("load", error);
    state.load_authors(db).await?;
    state.load_ledger(db).await?;
    state.load_material(db).await?;
    let (newest, refusals): (Option<i64>, i64) =
        sqlx::query_as("SELECT max(sequence), count(*) FILTER (WHERE kept = 0) FROM records")
            .fetch_one(&mut *db)
            .await
            .map_err(failed)?;
    state.records = RecordCounts::new(newest.map_or(0, i64::unsigned_abs), refusals.unsigned_abs());
    Ok(state)
}

impl State {
    async fn load_authors(&mut self, db: &mut SqliteConnection) -> Result<(), StoreError> {
        let failed = |error| StoreError::failed("load", error);
        let rows: Vec<(u16, String, i64, bool)> = sqlx::query_as(
            "SELECT id, member, acknowledged, EXISTS (SELECT 1 FROM equivocations WHERE author = id) \
             FROM authors ORDER BY id",
        )
        .fetch_all(db)
        .await
        .map_err(failed)?;
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
    async fn load_ledger(&mut self, db: &mut SqliteConnection) -> Result<(), StoreError> {
        let mut last = 0i64;
        let mut newest = None;
        loop {
            let page: Vec<(i64, Vec<u8>)> = sqlx::query_as(
                "SELECT id, envelope FROM ledger WHERE id > $1 ORDER BY id LIMIT $2",
            )
            .bind(last)
            .bind(PAGE)
            .fetch_all(&mut *db)
            .await
            .map_err(|error| StoreError::failed("load", error))?;
            match page.last() {
                Some((id, _)) => last = *id,
                None => break,
            }
            for (id, bytes) in page {
                let envelope = rows::decode(&bytes)?;
                let (author, sequence) = rows::author_and_sequence(id)?;
                self.load_entry(author, sequence, &envelope)?;
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
            return Ok(());
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
        self.index
            .apply(author, sequence, statement.issued_at, &entry.event);
        Ok(())
    }

    async fn load_material(&mut self, db: &mut SqliteConnection) -> Result<(), StoreError> {
        let failed = |error| StoreError::failed("load", error);
        let shares: Vec<(String, Vec<u8>)> = sqlx::query_as("SELECT record, tag FROM shares")
            .fetch_all(&mut *db)
            .await
            .map_err(failed)?;
        for (record, tag) in shares {
            let record: ShareRecord =
                serde_json::from_str(&record).map_err(|e| corrupt("share", &e))?;
            let tag = tag_of(tag)?;
            self.shares
                .insert((record.key.clone(), record.generation), (record, tag));
        }
        for row in sqlx::query("SELECT kind, name, tag, sealed FROM secrets")
            .fetch_all(&mut *db)
            .await
            .map_err(failed)?
        {
            let kind: &str = row.try_get(0).map_err(failed)?;
            let kind = SecretKind::from_name(kind)
                .ok_or_else(|| StoreError::Corrupt(format!("a secret of kind {kind:?}")))?;
            let held = HeldSecret {
                tag: tag_of(row.try_get(2).map_err(failed)?)?,
                sealed: row.try_get(3).map_err(failed)?,
            };
            self.secrets
                .insert((kind, row.try_get(1).map_err(failed)?), held);
        }
        self.load_ceremonies_and_bans(db).await?;
        let bundles: Vec<(i64, Vec<u8>)> =
            sqlx::query_as("SELECT version, digest FROM bundles ORDER BY version")
                .fetch_all(&mut *db)
                .await
                .map_err(failed)?;
        for (expected, (version, digest)) in (1i64..).zip(bundles) {
            if version != expected {
                return Err(StoreError::Corrupt(format!("bundle {expected} is missing")));
            }
            self.bundles.push(Hash::from_bytes(tag_of(digest)?));
        }
        Ok(())
    }

    async fn load_ceremonies_and_bans(
        &mut self,
        db: &mut SqliteConnection,
    ) -> Result<(), StoreError> {
        let failed = |error| StoreError::failed("load", error);
        let ceremonies: Vec<String> = sqlx::query_scalar("SELECT progress FROM ceremonies")
            .fetch_all(&mut *db)
            .await
            .map_err(failed)?;
        for progress in ceremonies {
            let progress: super::CeremonyProgress =
                serde_json::from_str(&progress).map_err(|e| corrupt("ceremony", &e))?;
            self.ceremonies.insert(progress.ceremony, progress);
        }
        let bans: Vec<(String, String, i64, String)> =
            sqlx::query_as("SELECT key, peer, at, evidence FROM key_bans")
                .fetch_all(&mut *db)
                .await
                .map_err(failed)?;
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

fn tag_of(bytes: Vec<u8>) -> Result<[u8; 32], StoreError> {
    bytes
        .try_into()
        .map_err(|_| StoreError::Corrupt("a digest without 32 bytes".to_owned()))
}

fn corrupt(what: &str, error: &dyn std::error::Error) -> StoreError {
    StoreError::Corrupt(format!("a stored {what} is unreadable: {error}"))
}
