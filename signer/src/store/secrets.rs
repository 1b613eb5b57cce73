//! Shares and other secrets: sealed before they are handed to the writer, opened only for the caller.

use countersign_policy::statement::LedgerEvent;
use countersign_policy::{ChainCode, Hash, KeyId, MemberId, Protocol, PublicKey, Timestamp};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::ledger::LedgerPosition;
use super::rows::Write;
use super::seal::Place;
use super::state::HeldSecret;
use super::writer::{Op, Query};
use super::{OpError, Store, StoreError};

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
        self.load_newest(key, None).await
    }

    /// Loads and opens the share of the key that a bundle pins, however many ceremonies for the same name ran besides:
    /// the newest share of exactly this group key.
    ///
    /// # Errors
    /// [`StoreError`]; of these, [`StoreError::Seal`] when the sealed share was changed or moved.
    pub async fn load_pinned_share(
        &self,
        key: &KeyId,
        group_key: PublicKey,
    ) -> Result<Option<(ShareRecord, Zeroizing<Vec<u8>>)>, StoreError> {
        self.load_newest(key, Some(group_key)).await
    }

    async fn load_newest(
        &self,
        key: &KeyId,
        group_key: Option<PublicKey>,
    ) -> Result<Option<(ShareRecord, Zeroizing<Vec<u8>>)>, StoreError> {
        let name = key.clone();
        let newest = self.observe(move |state| {
            let fits = |r: &&ShareRecord| {
                r.key == name && group_key.is_none_or(|pinned| r.group_key == pinned)
            };
            let records = state.shares.values().map(|(record, _)| record);
            records.filter(fits).max_by_key(|r| r.generation).cloned()
        });
        let Some(record) = newest.await? else {
            return Ok(None);
        };
        let generation = record.generation;
        let found = self
            .query(|reply| Query::Share(key.clone(), generation, reply))
            .await?
            .ok_or(StoreError::Internal("a share record without its share"))?;
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

    pub(super) async fn query<T>(
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
