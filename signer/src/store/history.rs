//! What happened on this node: ceremonies, bans, the bundle chain, records.

use std::collections::btree_map::Entry;

use countersign_policy::bundle::ActiveBundle;
use countersign_policy::statement::LedgerEvent;
use countersign_policy::{Envelope, Hash, KeyId, MemberId, Timestamp};
use serde::{Deserialize, Serialize};

use super::ledger::{LedgerPosition, clipped};
use super::rows::{self, Write};
use super::secrets::PutRefusal;
use super::writer::Query;
use super::{OpError, Store, StoreError};
use crate::wire::CeremonyStep;

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

impl Store {
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

    /// An entry of a peer's ledger as it is stored durably: what to show a peer that lost it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn peer_entry(
        &self,
        peer: &MemberId,
        sequence: u64,
    ) -> Result<Option<Envelope>, StoreError> {
        let peer = peer.clone();
        let stored = self
            .query(|reply| Query::PeerEntry {
                peer,
                sequence,
                reply,
            })
            .await?;
        stored.as_deref().map(rows::decode).transpose()
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
}
