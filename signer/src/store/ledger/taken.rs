//! The newest entries that this process took from peers, recognised without verifying them again.
//!
//! A peer sends an entry until it hears that it arrived: in confirms, and once more in a push. What is byte for byte an entry
//! that was verified and taken says nothing new, and costs a hash instead of a signature.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use countersign_policy::{Envelope, Hash, MemberId};

/// Entries remembered, of all peers together.
const CAPACITY: usize = 16_384;

/// A bounded set of entries.
#[derive(Default)]
pub(in crate::store) struct Taken(Mutex<Newest>);

#[derive(Default)]
struct Newest {
    set: HashSet<Hash>,
    order: VecDeque<Hash>,
}

impl Taken {
    /// The name of an entry as `peer` gave it, its signature included.
    pub fn name(peer: &MemberId, entry: &Envelope) -> Hash {
        let digest = entry.digest();
        let mut parts: Vec<&[u8]> = vec![peer.as_str().as_bytes(), digest.as_bytes()];
        for signature in entry.signatures() {
            parts.extend([signature.keyid.as_bytes(), signature.sig.as_slice()]);
        }
        Hash::derive("countersign/taken-entry/v1", &parts)
    }

    pub fn contains(&self, name: &Hash) -> bool {
        self.lock().set.contains(name)
    }

    /// Remembers entries that the ledger took.
    pub fn remember(&self, names: impl IntoIterator<Item = Hash>) {
        let mut newest = self.lock();
        for name in names {
            if newest.set.insert(name) {
                newest.order.push_back(name);
            }
            if newest.order.len() > CAPACITY
                && let Some(oldest) = newest.order.pop_front()
            {
                newest.set.remove(&oldest);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Newest> {
        // A forgotten or surplus name only costs a verification.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
