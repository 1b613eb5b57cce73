//! Decoded key shares in memory, bounded by size. The sealed store has all of them; this only saves decoding.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use countersign_policy::KeyId;

use crate::threshold::LoadedShare;

/// Least recently used shares leave first. A share is wiped when its last user drops it.
#[derive(Debug)]
pub struct ShareCache {
    limit: usize,
    state: Mutex<CacheState>,
}

#[derive(Debug, Default)]
struct CacheState {
    clock: u64,
    bytes: usize,
    entries: HashMap<KeyId, Entry>,
}

#[derive(Debug)]
struct Entry {
    share: Arc<LoadedShare>,
    bytes: usize,
    used: u64,
}

impl ShareCache {
    /// An empty cache for at most `limit` bytes of encoded shares.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            state: Mutex::default(),
        }
    }

    /// A share, if it is here.
    pub fn get(&self, key: &KeyId) -> Option<Arc<LoadedShare>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.clock = state.clock.saturating_add(1);
        let now = state.clock;
        let entry = state.entries.get_mut(key)?;
        entry.used = now;
        Some(Arc::clone(&entry.share))
    }

    /// Puts a share in and drops the least recently used ones that no longer fit.
    pub fn put(&self, key: &KeyId, share: Arc<LoadedShare>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.clock = state.clock.saturating_add(1);
        let (used, bytes) = (state.clock, share.encoded_len());
        if let Some(old) = state
            .entries
            .insert(key.clone(), Entry { share, bytes, used })
        {
            state.bytes = state.bytes.saturating_sub(old.bytes);
        }
        state.bytes = state.bytes.saturating_add(bytes);
        while state.bytes > self.limit && state.entries.len() > 1 {
            let oldest = state
                .entries
                .iter()
                .min_by_key(|(_, e)| e.used)
                .map(|(key, _)| key.clone());
            let Some(gone) = oldest.and_then(|key| state.entries.remove(&key)) else {
                return;
            };
            state.bytes = state.bytes.saturating_sub(gone.bytes);
        }
    }
}
