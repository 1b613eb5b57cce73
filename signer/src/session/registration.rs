//! Which peers know that this process started.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use countersign_policy::MemberId;
use countersign_policy::bundle::{ActiveBundle, KeyRecord, KeyState, Role};

use super::starts::RegisterError;
use crate::net::CallError;
use crate::store::{OwnStart, Store};

/// How often the clocks are compared.
const COMPARE_CLOCKS: Duration = Duration::from_secs(60);

/// Nodes that remember each other's starts: so many of them that every earlier session had one of those in it.
#[derive(Debug)]
pub(super) struct Circle<'a> {
    pub(super) nodes: &'a [MemberId],
    pub(super) needed: usize,
}

impl<'a> Circle<'a> {
    /// Those that sessions with a key are made with: its nodes; of an HSM key, the ledger group of its wallet, a quorum Q of
    /// whose N nodes is in every session: N - Q + 1 + f.
    pub(super) fn of(bundle: &'a ActiveBundle, key: &'a KeyRecord) -> Self {
        let mut wallets = bundle.content().wallets.iter();
        let wallet = wallets.find(|w| w.key == key.id && key.protocol.is_hsm());
        match wallet.and_then(|w| bundle.ledger_group_of(w)) {
            Some(group) => Self {
                nodes: &group.nodes,
                needed: group
                    .nodes
                    .len()
                    .saturating_add(1)
                    .saturating_add(usize::from(group.max_faulty))
                    .saturating_sub(usize::from(group.quorum)),
            },
            None => Self {
                nodes: &key.nodes,
                needed: key.stop_quorum(),
            },
        }
    }
}

/// This process's start, and the peers that remember it.
#[derive(Debug)]
pub struct Registration {
    pub(super) own: OwnStart,
    /// Peers that acknowledged this start, and of whose ledgers this node holds what they held then.
    peers: Mutex<BTreeMap<MemberId, Instant>>,
    /// Why others did not, in their own words.
    reasons: Mutex<BTreeMap<MemberId, (String, bool)>>,
    recorded: AtomicBool,
}

impl Registration {
    /// Nobody knows of this start yet.
    pub fn new(own: OwnStart) -> Self {
        Self {
            own,
            peers: Mutex::default(),
            reasons: Mutex::default(),
            recorded: AtomicBool::new(false),
        }
    }

    /// The number of this start.
    pub fn incarnation(&self) -> u64 {
        self.own.start.incarnation
    }

    /// Whether a peer acknowledged it.
    pub fn knows(&self, peer: &MemberId) -> bool {
        self.peers().contains_key(peer)
    }

    /// Whether a peer is to be asked: it has not acknowledged this start, or so long ago that the clocks are to be compared
    /// once more.
    pub(super) fn is_due(&self, peer: &MemberId) -> bool {
        let peers = self.peers();
        peers
            .get(peer)
            .is_none_or(|at| at.elapsed() > COMPARE_CLOCKS)
    }

    /// A peer said something that makes it worth asking again.
    pub(super) fn forget(&self, peer: &MemberId) {
        self.peers().remove(peer);
    }

    /// This node's clock is in doubt: it counts again when the peers agree with it.
    pub(super) fn forget_all(&self) {
        self.peers().clear();
    }

    /// How many of a key's other nodes must have acknowledged this start. One that was caught signing two histories is no
    /// help, and must not be able to keep the others from starting again.
    pub(super) fn needed(store: &Store, circle: &Circle<'_>) -> usize {
        let banned = |node: &&MemberId| store.peer_banned(node).unwrap_or(false);
        let others = circle.nodes.iter().filter(|n| *n != store.node());
        let honest = others.filter(|n| !banned(n)).count();
        circle.needed.min(honest)
    }

    pub(super) fn enough_for(&self, store: &Store, circle: &Circle<'_>) -> bool {
        let peers = self.peers();
        let nodes = circle.nodes.iter();
        let known = nodes.filter(|n| peers.contains_key(*n)).count();
        known >= Self::needed(store, circle)
    }

    /// Whether enough peers remember it for every key of which this node holds a share; where there are none, more than
    /// half of all nodes, this one included.
    pub fn is_complete(&self, bundle: &ActiveBundle, store: &Store) -> bool {
        let me = store.node();
        let mut ours = bundle
            .content()
            .keys
            .iter()
            .filter(|k| k.state == KeyState::Active && k.nodes.contains(me))
            .peekable();
        if ours.peek().is_some() {
            return ours.all(|key| self.enough_for(store, &Circle::of(bundle, key)));
        }
        let members = &bundle.content().members;
        let nodes = members
            .iter()
            .filter(|m| m.roles.contains(&Role::Node))
            .count();
        let known = self.peers().len().saturating_add(1);
        known.saturating_mul(2) > nodes
    }

    fn peers(&self) -> std::sync::MutexGuard<'_, BTreeMap<MemberId, Instant>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, peer: &MemberId, outcome: &Result<(), RegisterError>) {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(()) => {
                reasons.remove(peer);
                self.peers().insert(peer.clone(), Instant::now());
            }
            Err(error) => {
                // Who cannot be reached has not taken anything back.
                if !matches!(error, RegisterError::Call(e) if !matches!(e, CallError::Problem(_))) {
                    self.peers().remove(peer);
                }
                let clock = matches!(error, RegisterError::Clock { .. });
                reasons.insert(peer.clone(), (error.to_string(), clock));
            }
        }
    }

    /// Why a peer has not acknowledged this start, and whether it is the time on which the two do not agree.
    pub(super) fn reason(&self, peer: &MemberId) -> (String, bool) {
        let reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        let known = reasons.get(peer).cloned();
        known.unwrap_or_else(|| ("not asked yet".to_owned(), false))
    }

    /// True for one caller: who then records it in the ledger.
    pub(super) fn record(&self) -> bool {
        !self.recorded.swap(true, Ordering::SeqCst)
    }
}
