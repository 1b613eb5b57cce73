//! What the peers of this node's presignature pools said: whether they are still the same processes, and what they hold.
//!
//! A presignature is worth something only while every node of its signer set holds its half. A peer that restarted holds
//! none (I10); a half whose other half was burnt or never stored is an orphan. Both go, or pools fill up with them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use countersign_policy::{Hash, MemberId};

use crate::threshold::PresignatureId;

/// How often peers are asked.
const ASK_INTERVAL: Duration = Duration::from_secs(1);
/// How long a half may be without its other half: nodes finish one presignature at slightly different moments.
const ORPHAN_AFTER: Duration = Duration::from_secs(5);

/// What was heard.
#[derive(Debug, Default)]
pub(super) struct PoolPeers {
    inner: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    asked: Option<Instant>,
    /// The process of each peer that was heard last.
    processes: BTreeMap<MemberId, Hash>,
    /// Own halves that a peer was found to lack, and since when.
    lacking: BTreeMap<(MemberId, PresignatureId), Instant>,
}

impl PoolPeers {
    /// Whether it is time to ask again; the caller then does.
    pub(super) fn is_time_to_ask(&self) -> bool {
        let mut heard = self.lock();
        if heard.asked.is_some_and(|at| at.elapsed() < ASK_INTERVAL) {
            return false;
        }
        heard.asked = Some(Instant::now());
        true
    }

    /// Whether a peer is another process than the one heard before.
    pub(super) fn restarted(&self, peer: &MemberId, process: Hash) -> bool {
        let before = self.lock().processes.insert(peer.clone(), process);
        before.is_some_and(|before| before != process)
    }

    /// Compares the halves held here with what a peer says it holds; returns those that it has lacked for too long.
    pub(super) fn orphans(
        &self,
        peer: &MemberId,
        here: &BTreeSet<PresignatureId>,
        there: &BTreeSet<PresignatureId>,
        now: Instant,
    ) -> Vec<PresignatureId> {
        let mut heard = self.lock();
        heard
            .lacking
            .retain(|(who, id), _| who != peer || (here.contains(id) && !there.contains(id)));
        let mut orphans = Vec::new();
        for id in here.difference(there) {
            let since = *heard.lacking.entry((peer.clone(), *id)).or_insert(now);
            if now.saturating_duration_since(since) >= ORPHAN_AFTER {
                orphans.push(*id);
            }
        }
        orphans
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(names: &[u8]) -> BTreeSet<PresignatureId> {
        names.iter().map(|n| PresignatureId([*n; 32])).collect()
    }

    #[test]
    fn a_half_is_an_orphan_only_after_its_other_half_was_missing_for_long() {
        let peers = PoolPeers::default();
        let peer = MemberId::new("node-2").unwrap();
        let start = Instant::now();
        let later = start + ORPHAN_AFTER;
        assert!(
            peers
                .orphans(&peer, &ids(&[1, 2]), &ids(&[1]), start)
                .is_empty()
        );
        // Found in between: the time starts again.
        assert!(
            peers
                .orphans(&peer, &ids(&[1, 2]), &ids(&[1, 2]), start)
                .is_empty()
        );
        assert!(
            peers
                .orphans(&peer, &ids(&[1, 2]), &ids(&[1]), later)
                .is_empty()
        );
        let orphans = peers.orphans(&peer, &ids(&[1, 2]), &ids(&[1]), later + ORPHAN_AFTER);
        assert_eq!(orphans, [PresignatureId([2; 32])]);
        // Another peer's word is its own.
        let other = MemberId::new("node-3").unwrap();
        assert!(
            peers
                .orphans(&other, &ids(&[1, 2]), &ids(&[]), later)
                .is_empty()
        );
    }

    #[test]
    fn a_first_word_is_no_restart() {
        let peers = PoolPeers::default();
        let peer = MemberId::new("node-2").unwrap();
        assert!(!peers.restarted(&peer, Hash::sha256(b"one")));
        assert!(!peers.restarted(&peer, Hash::sha256(b"one")));
        assert!(peers.restarted(&peer, Hash::sha256(b"two")));
    }
}
