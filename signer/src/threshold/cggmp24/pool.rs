//! Where a presignature waits and is burnt: in process memory only (I10), taken by move, bound to one digest for ever.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use countersign_policy::{DerivationPath, PublicKey};
use thiserror::Error;

use super::presign::{Presignature, PresignatureId};
use crate::threshold::{Digest, Signers};

/// What a presignature is good for: one key, one path, one signer set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolKey {
    /// The group's public key at `m`.
    pub public_key: PublicKey,
    /// The path of the signing key.
    pub path: DerivationPath,
    /// Who signs.
    pub signers: Signers,
}

/// When to fill a pool and how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// Filling starts below this.
    pub low: usize,
    /// Filling stops here.
    pub high: usize,
}

/// A presignature taken out of the pool and bound to one digest. Only [`PresignaturePool::reserve`] makes one.
pub struct BurntPresignature {
    presignature: Presignature,
    digest: Digest,
}

impl BurntPresignature {
    /// Its name.
    pub fn id(&self) -> PresignatureId {
        self.presignature.id()
    }

    /// The only digest that it may sign.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    pub(super) fn into_presignature(self) -> Presignature {
        self.presignature
    }
}

impl fmt::Debug for BurntPresignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BurntPresignature")
            .field("presignature", &self.presignature)
            .field("digest", &hex::encode(self.digest))
            .finish()
    }
}

/// Why a presignature cannot be reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReserveError {
    /// It was reserved before, even if for the same digest: it never comes back.
    #[error("presignature {0} was used before")]
    AlreadyUsed(PresignatureId),
    /// This process does not hold it: made before a restart, drained, or never.
    #[error("presignature {0} is not here")]
    Unknown(PresignatureId),
}

/// Why a presignature cannot be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InsertError {
    /// This name was here before; the newcomer was wiped.
    #[error("presignature {0} was here before")]
    Repeated(PresignatureId),
    /// The pool is at its limit; the newcomer was wiped.
    #[error("the pool is full")]
    Full,
}

/// Counts for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolStatus {
    /// Presignatures ready, over all keys.
    pub ready: usize,
    /// Keys, paths and signer sets with at least one.
    pub keys: usize,
    /// Added since the start.
    pub added: u64,
    /// Reserved since the start.
    pub reserved: u64,
    /// Wiped unused since the start.
    pub drained: u64,
}

/// All presignatures of a node. Shared between threads; every operation is short.
pub struct PresignaturePool {
    watermarks: Watermarks,
    capacity: usize,
    state: Mutex<PoolState>,
}

#[derive(Default)]
struct PoolState {
    ready: BTreeMap<PresignatureId, Presignature>,
    /// Oldest first.
    by_key: BTreeMap<PoolKey, Shelf>,
    used: Remembered,
    status: PoolStatus,
}

#[derive(Default)]
struct Shelf {
    ids: VecDeque<PresignatureId>,
    filling: bool,
}

impl PresignaturePool {
    /// An empty pool that holds at most `capacity` presignatures in all.
    pub fn new(watermarks: Watermarks, capacity: usize) -> Self {
        Self {
            watermarks,
            capacity,
            state: Mutex::default(),
        }
    }

    /// Adds a fresh presignature.
    ///
    /// # Errors
    /// [`InsertError`]; the presignature is wiped.
    pub fn insert(&self, presignature: Presignature) -> Result<(), InsertError> {
        let mut state = self.lock();
        let id = presignature.id();
        if state.used.contains(&id) || state.ready.contains_key(&id) {
            return Err(InsertError::Repeated(id));
        }
        if state.ready.len() >= self.capacity {
            return Err(InsertError::Full);
        }
        let key = presignature.key().clone();
        state.by_key.entry(key).or_default().ids.push_back(id);
        state.ready.insert(id, presignature);
        state.status.added = state.status.added.saturating_add(1);
        Ok(())
    }

    /// Takes a presignature out for ever and binds it to one digest.
    ///
    /// # Errors
    /// [`ReserveError`]: a second call for the same name is refused, whatever the digest.
    pub fn reserve(
        &self,
        id: PresignatureId,
        digest: Digest,
    ) -> Result<BurntPresignature, ReserveError> {
        let mut state = self.lock();
        let Some(presignature) = state.ready.remove(&id) else {
            return Err(if state.used.contains(&id) {
                ReserveError::AlreadyUsed(id)
            } else {
                ReserveError::Unknown(id)
            });
        };
        state.used.insert(id);
        state.status.reserved = state.status.reserved.saturating_add(1);
        if let Some(shelf) = state.by_key.get_mut(presignature.key()) {
            shelf.ids.retain(|other| *other != id);
        }
        Ok(BurntPresignature {
            presignature,
            digest,
        })
    }

    /// The ready presignatures of a key, oldest first, at most `limit`: what a coordinator chooses from.
    pub fn ready(&self, key: &PoolKey, limit: usize) -> Vec<PresignatureId> {
        let state = self.lock();
        state.by_key.get(key).map_or_else(Vec::new, |shelf| {
            shelf.ids.iter().take(limit).copied().collect()
        })
    }

    /// How many to make now: nothing until the low watermark is passed, then up to the high one.
    pub fn wanted(&self, key: &PoolKey) -> usize {
        let mut state = self.lock();
        let room = self.capacity.saturating_sub(state.ready.len());
        let shelf = state.by_key.entry(key.clone()).or_default();
        if shelf.ids.len() < self.watermarks.low {
            shelf.filling = true;
        } else if shelf.ids.len() >= self.watermarks.high {
            shelf.filling = false;
        }
        if shelf.filling {
            self.watermarks
                .high
                .saturating_sub(shelf.ids.len())
                .min(room)
        } else {
            0
        }
    }

    /// Wipes every presignature that `doubtful` selects: a peer misbehaved, a key changed state, an epoch ended. Returns how
    /// many went.
    pub fn drain_on_doubt(&self, doubtful: impl Fn(&PoolKey) -> bool) -> usize {
        let mut state = self.lock();
        let keys: Vec<PoolKey> = state
            .by_key
            .keys()
            .filter(|key| doubtful(key))
            .cloned()
            .collect();
        let mut drained = 0_usize;
        for key in keys {
            let ids = state.by_key.remove(&key).map(|shelf| shelf.ids);
            for id in ids.into_iter().flatten() {
                state.ready.remove(&id);
                state.used.insert(id);
                drained = drained.saturating_add(1);
            }
        }
        let count = u64::try_from(drained).unwrap_or(u64::MAX);
        state.status.drained = state.status.drained.saturating_add(count);
        drained
    }

    /// Wipes presignatures by name. Returns how many were here.
    pub fn wipe(&self, ids: &[PresignatureId]) -> usize {
        let mut state = self.lock();
        let mut wiped = 0_usize;
        for id in ids {
            let Some(presignature) = state.ready.remove(id) else {
                continue;
            };
            state.used.insert(*id);
            if let Some(shelf) = state.by_key.get_mut(presignature.key()) {
                shelf.ids.retain(|other| other != id);
            }
            wiped = wiped.saturating_add(1);
        }
        let count = u64::try_from(wiped).unwrap_or(u64::MAX);
        state.status.drained = state.status.drained.saturating_add(count);
        wiped
    }

    /// Counts for metrics.
    pub fn status(&self) -> PoolStatus {
        let state = self.lock();
        PoolStatus {
            ready: state.ready.len(),
            keys: state
                .by_key
                .values()
                .filter(|shelf| !shelf.ids.is_empty())
                .count(),
            ..state.status
        }
    }

    fn lock(&self) -> MutexGuard<'_, PoolState> {
        // Every change under the lock is complete before anything in it can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for PresignaturePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresignaturePool")
            .field("watermarks", &self.watermarks)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// The last names used. Forgetting old ones is safe: a secret left the pool by move, so nothing could answer to its name.
#[derive(Default)]
struct Remembered {
    order: VecDeque<PresignatureId>,
    names: BTreeSet<PresignatureId>,
}

impl Remembered {
    const LIMIT: usize = 100_000;

    fn contains(&self, id: &PresignatureId) -> bool {
        self.names.contains(id)
    }

    fn insert(&mut self, id: PresignatureId) {
        if self.names.insert(id) {
            self.order.push_back(id);
        }
        if self.order.len() > Self::LIMIT
            && let Some(oldest) = self.order.pop_front()
        {
            self.names.remove(&oldest);
        }
    }
}
