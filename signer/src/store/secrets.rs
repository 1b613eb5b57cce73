//! Shares and other secrets, ceremonies, bans, the bundle chain, and records.

use std::collections::btree_map::Entry;

use countersign_policy::bundle::ActiveBundle;
use countersign_policy::statement::LedgerEvent;
use countersign_policy::{
    ChainCode, Envelope, Hash, KeyId, MemberId, Protocol, PublicKey, Timestamp,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::ledger::{LedgerPosition, clipped};
use super::rows::{self, Write};
use super::seal::Place;
use super::state::HeldSecret;
use super::writer::{Op, Query};
use super::{OpError, Record, Store, StoreError};
use crate::wire::CeremonyStep;

/// What is known about a stored share without opening it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareRecord {
    /// The key.
    pub key: KeyId,
    /// Counts refreshes of the key's shares, from 0.
    pub generation: u32,
    /// The protocol; it never changes.
    pub protocol: Protocol,
    /// Digest of the ceremony order.
    pub ceremony: Hash,
    /// How many nodes sign together.
    pub threshold: u16,
    /// This node's index among `nodes`, from 0.
    pub index: u16,
    /// The nodes that hold shares, in ascending order.
    pub nodes: Vec<MemberId>,
    /// The group public key.
    pub group_key: PublicKey,
    /// The BIP-32 chain code of the root, for secp256k1 keys.
    pub chain_code: Option<ChainCode>,
}

/// The kinds of secrets that are not shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretKind {
    /// Safe primes for one future CGGMP group; taken once.
    CggmpPrimes,
    /// Auxiliary data of a CGGMP group, shared by the group's keys.
    CggmpAux,
}

impl SecretKind {
    const fn name(self) -> &'static str {
        match self {
            SecretKind::CggmpPrimes => "cggmp-primes",
            SecretKind::CggmpAux => "cggmp-aux",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        [SecretKind::CggmpPrimes, SecretKind::CggmpAux]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// Where a ceremony stands on this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CeremonyProgress {
    /// Digest of the order.
    pub ceremony: Hash,
    /// The key.
    pub key: KeyId,
    /// The order as received.
    pub order: Envelope,
    /// The present step.
    pub step: CeremonyStep,
    /// This node's transcript statement, once it signed one.
    pub transcript: Option<Envelope>,
}

/// A peer with which a DKLs23 key signs no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyBan {
    /// The key.
    pub key: KeyId,
    /// The peer that cheated.
    pub peer: MemberId,
    /// When it was caught.
    pub at: Timestamp,
    /// What it did.
    pub evidence: String,
}

/// Why something is not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PutRefusal {
    /// Something else is there under the name; nothing is ever overwritten.
    #[error("{0} is stored already, with other content")]
    Exists(String),
    /// The bundle does not follow the newest stored one.
    #[error("bundle version {found} cannot be stored after version {newest}")]
    Version {
        /// Of the bundle given.
        found: u64,
        /// The newest stored one.
        newest: u64,
    },
    /// A successor was acknowledged before, and it was another one.
    #[error("another bundle was acknowledged as version {version}: {stored}")]
    Fork {
        /// The version.
        version: u64,
        /// Digest of the one acknowledged.
        stored: Hash,
    },
}

/// An operation or refusal to be recorded.
#[derive(Debug, Clone)]
pub struct NewRecord {
    /// When.
    pub at: Timestamp,
    /// What was attempted; at most 64 bytes.
    pub operation: String,
    /// The subject; at most 256 bytes.
    pub subject: String,
    /// A stable code; at most 64 bytes.
    pub outcome: String,
    /// For people; at most 2,000 bytes.
    pub detail: String,
}

/// The greatest number of records in one answer.
const MAX_RECORDS: usize = 10_000;

impl Store {
    /// Seals and stores a share and records `KeyStored` in the ledger, in one commit. Repeating it with the same content is
    /// harmless; nothing is ever overwritten.
    ///
    /// # Errors
    /// [`PutRefusal::Exists`] or a [`StoreError`].
    pub async fn put_share(
        &self,
        record: &ShareRecord,
        secret: Zeroizing<Vec<u8>>,
        now: Timestamp,
    ) -> Result<LedgerPosition, OpError<PutRefusal>> {
        let row = share_row(&record.key, record.generation);
        let place = share_place(&row, &record.key, record.generation);
        let sealed = self
            .sealer()
            .seal(place, &secret)
            .map_err(StoreError::from)?;
        let tag = self.sealer().tag(place, &secret);
        drop(secret);
        let text = serde_json::to_string(record)
            .map_err(|_| StoreError::Internal("a share record without JSON form"))?;
        let record = record.clone();
        let put = self.durably(move |state, writes| {
            let name = (record.key.clone(), record.generation);
            if let Some((stored, stored_tag)) = state.shares.get(&name) {
                let same = *stored == record && same_tag(stored_tag, &tag);
                return Ok(if same {
                    Ok(state.head())
                } else {
                    Err(PutRefusal::Exists(row))
                });
            }
            writes.push(Write::Share {
                key: record.key.clone(),
                generation: record.generation,
                record: text,
                tag,
                sealed,
            });
            let event = LedgerEvent::KeyStored {
                key: record.key.clone(),
                ceremony: record.ceremony,
            };
            state.shares.insert(name, (record, tag));
            state.append(event, now, writes).map(Ok)
        });
        put.await?.map_err(OpError::Refused)
    }

    /// Opens the newest generation of a key's share.
    ///
    /// # Errors
    /// A [`StoreError`]; [`StoreError::Seal`] when the ciphertext was changed or moved.
    pub async fn load_share(
        &self,
        key: &KeyId,
    ) -> Result<Option<(ShareRecord, Zeroizing<Vec<u8>>)>, StoreError> {
        let Some(found) = self.query(|reply| Query::Share(key.clone(), reply)).await? else {
            return Ok(None);
        };
        let name = (key.clone(), found.generation);
        let record = self
            .observe(move |state| state.shares.get(&name).map(|(record, _)| record.clone()))
            .await?
            .ok_or(StoreError::Internal("a share without record"))?;
        let row = share_row(key, found.generation);
        let place = share_place(&row, key, found.generation);
        let secret = self.sealer().open(place, &found.sealed)?;
        Ok(Some((record, secret)))
    }

    /// All stored shares, by key and generation.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn shares(&self) -> Result<Vec<ShareRecord>, StoreError> {
        self.observe(|state| {
            let records = state.shares.values().map(|(record, _)| record.clone());
            records.collect()
        })
        .await
    }

    /// Seals and stores a secret under a name. Repeating it with the same content is harmless.
    ///
    /// # Errors
    /// [`PutRefusal::Exists`] or a [`StoreError`].
    pub async fn put_secret(
        &self,
        kind: SecretKind,
        name: &str,
        secret: Zeroizing<Vec<u8>>,
    ) -> Result<(), OpError<PutRefusal>> {
        let place = secret_place(kind, name);
        let sealed = self
            .sealer()
            .seal(place, &secret)
            .map_err(StoreError::from)?;
        let tag = self.sealer().tag(place, &secret);
        drop(secret);
        let name = name.to_owned();
        let put = self.durably(move |state, writes| {
            let row = (kind, name.clone());
            if let Some(held) = state.secrets.get(&row) {
                let same = same_tag(&held.tag, &tag);
                return Ok(if same {
                    Ok(())
                } else {
                    Err(PutRefusal::Exists(name))
                });
            }
            let held = HeldSecret {
                tag,
                sealed: sealed.clone(),
            };
            state.secrets.insert(row, held);
            writes.push(Write::Secret {
                kind: kind.name(),
                name,
                tag,
                sealed,
            });
            Ok(Ok(()))
        });
        put.await?.map_err(OpError::Refused)
    }

    /// Takes a set of primes out of the store: it is gone from the file when this returns, so no two keys ever share one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn take_primes(&self) -> Result<Option<(String, Zeroizing<Vec<u8>>)>, StoreError> {
        let kind = SecretKind::CggmpPrimes;
        let taken = self.durably(move |state, writes| {
            let first = state.secrets.keys().find(|(k, _)| *k == kind).cloned();
            let Some((row, held)) = first.and_then(|row| state.secrets.remove_entry(&row)) else {
                return Ok(None);
            };
            writes.push(Write::SecretGone {
                kind: kind.name(),
                name: row.1.clone(),
            });
            Ok(Some((row.1, held.sealed)))
        });
        let Some((name, sealed)) = taken.await? else {
            return Ok(None);
        };
        let secret = self.sealer().open(secret_place(kind, &name), &sealed)?;
        Ok(Some((name, secret)))
    }

    /// The names of stored secrets of a kind.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn secret_names(&self, kind: SecretKind) -> Result<Vec<String>, StoreError> {
        self.observe(move |state| {
            let names = state.secrets.keys().filter(|(k, _)| *k == kind);
            names.map(|(_, name)| name.clone()).collect()
        })
        .await
    }

    /// Opens the auxiliary data of a CGGMP group.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn load_aux(&self, group: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let kind = SecretKind::CggmpAux;
        let row = (kind, group.to_owned());
        let sealed = self
            .observe(move |state| state.secrets.get(&row).map(|held| held.sealed.clone()))
            .await?;
        let opened = sealed.map(|sealed| self.sealer().open(secret_place(kind, group), &sealed));
        Ok(opened.transpose()?)
    }

    /// Stores where a ceremony stands, replacing what was said before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_ceremony(&self, progress: CeremonyProgress) -> Result<(), StoreError> {
        let text = serde_json::to_string(&progress)
            .map_err(|_| StoreError::Internal("a ceremony without JSON form"))?;
        self.durably(move |state, writes| {
            writes.push(Write::Ceremony {
                ceremony: progress.ceremony,
                progress: text,
            });
            state.ceremonies.insert(progress.ceremony, progress);
            Ok(())
        })
        .await
    }

    /// All ceremonies this node heard of.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ceremonies(&self) -> Result<Vec<CeremonyProgress>, StoreError> {
        self.observe(|state| state.ceremonies.values().cloned().collect())
            .await
    }

    /// Bans a peer from signing with a key, for ever. The first evidence stays.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ban(
        &self,
        key: &KeyId,
        peer: &MemberId,
        evidence: impl Into<String>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let evidence = clipped(evidence.into(), 4000);
        let (key, peer) = (key.clone(), peer.clone());
        self.durably(move |state, writes| {
            let row = (key.clone(), peer.clone());
            if let Entry::Vacant(free) = state.key_bans.entry(row) {
                free.insert(KeyBan {
                    key: key.clone(),
                    peer: peer.clone(),
                    at,
                    evidence: evidence.clone(),
                });
                writes.push(Write::KeyBan {
                    key,
                    peer,
                    at,
                    evidence,
                });
            }
            Ok(())
        })
        .await
    }

    /// All bans.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn bans(&self) -> Result<Vec<KeyBan>, StoreError> {
        self.observe(|state| state.key_bans.values().cloned().collect())
            .await
    }

    /// Whether a key must not be used with a peer.
    ///
    /// # Errors
    /// [`StoreError`] once the store refuses to work.
    pub fn is_banned(&self, key: &KeyId, peer: &MemberId) -> Result<bool, StoreError> {
        self.published(|p| p.key_bans.contains(&(key.clone(), peer.clone())))
    }

    /// Acknowledges a verified bundle as the one successor of the newest stored one, and records `BundleAccepted` in the
    /// ledger, in one commit. Repeating it is harmless. The genesis is stored this way first.
    ///
    /// # Errors
    /// [`PutRefusal::Version`], [`PutRefusal::Fork`] or a [`StoreError`].
    pub async fn append_bundle(
        &self,
        bundle: &ActiveBundle,
        now: Timestamp,
    ) -> Result<LedgerPosition, OpError<PutRefusal>> {
        let envelope = rows::encode(bundle.envelope())?;
        let (version, digest) = (bundle.content().version, bundle.digest());
        let put = self.durably(move |state, writes| {
            let newest = state.bundles.len() as u64;
            let stored = usize::try_from(version)
                .ok()
                .and_then(|v| state.bundles.get(v.checked_sub(1)?));
            match stored {
                Some(stored) if *stored == digest => return Ok(Ok(state.head())),
                Some(stored) => {
                    return Ok(Err(PutRefusal::Fork {
                        version,
                        stored: *stored,
                    }));
                }
                None if version != newest.saturating_add(1) => {
                    return Ok(Err(PutRefusal::Version {
                        found: version,
                        newest,
                    }));
                }
                None => {}
            }
            state.bundles.push(digest);
            writes.push(Write::Bundle {
                version,
                digest,
                envelope,
            });
            let event = LedgerEvent::BundleAccepted {
                bundle: digest,
                version,
            };
            state.append(event, now, writes).map(Ok)
        });
        put.await?.map_err(OpError::Refused)
    }

    /// The stored bundles, oldest first, to be verified again from the pinned genesis.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn bundles(&self) -> Result<Vec<Envelope>, StoreError> {
        let stored = self.query(Query::Bundles).await?;
        stored.iter().map(|bytes| rows::decode(bytes)).collect()
    }

    /// Records an operation or refusal; durable when this returns.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn record(&self, record: NewRecord) -> Result<u64, StoreError> {
        self.durably(|state, writes| Ok(state.record(record, writes)))
            .await
    }

    /// Records without waiting for the disk. Every later durable operation makes it durable too: recorded before a reservation
    /// or a release is asked for, it is on disk when that is answered (I7).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn note(&self, record: NewRecord) -> Result<u64, StoreError> {
        self.lazily(|state, writes| Ok(state.record(record, writes)))
            .await
    }

    /// The newest durable records, newest first, at most `limit` (and at most 10,000).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn records(&self, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.query(|reply| Query::Records(limit.min(MAX_RECORDS), reply))
            .await
    }

    pub(super) async fn read_entries(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Envelope>, StoreError> {
        let stored = self
            .query(|reply| Query::Entries {
                after,
                limit,
                reply,
            })
            .await?;
        stored.iter().map(|bytes| rows::decode(bytes)).collect()
    }

    async fn query<T>(
        &self,
        query: impl FnOnce(tokio::sync::oneshot::Sender<Result<T, StoreError>>) -> Query,
    ) -> Result<T, StoreError> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.send(Op::Read(query(reply))).await?;
        self.answered(answer).await?
    }

    #[cfg(test)]
    pub(super) async fn script(&self, sql: &str) -> Result<(), StoreError> {
        self.query(|reply| Query::Script(sql.to_owned(), reply))
            .await
    }
}

impl super::state::State {
    fn record(&mut self, record: NewRecord, writes: &mut Vec<Write>) -> u64 {
        self.records = self.records.saturating_add(1);
        writes.push(Write::Record {
            sequence: self.records,
            at: record.at,
            operation: clipped(record.operation, 64),
            subject: clipped(record.subject, 256),
            outcome: clipped(record.outcome, 64),
            detail: clipped(record.detail, 2000),
        });
        self.records
    }
}

fn share_row(key: &KeyId, generation: u32) -> String {
    format!("{key}/{generation}")
}

fn share_place<'a>(row: &'a str, key: &'a KeyId, generation: u32) -> Place<'a> {
    Place {
        table: "shares",
        column: "sealed",
        row,
        key: key.as_str(),
        generation,
    }
}

/// Secrets that belong to no key: the kind stands where a share has its key.
fn secret_place(kind: SecretKind, name: &str) -> Place<'_> {
    Place {
        table: "secrets",
        column: "sealed",
        row: name,
        key: kind.name(),
        generation: 0,
    }
}

fn same_tag(a: &[u8; 32], b: &[u8; 32]) -> bool {
    use subtle::ConstantTimeEq as _;
    a.ct_eq(b).into()
}
