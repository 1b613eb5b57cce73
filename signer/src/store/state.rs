//! What the writer knows: everything decisions need, in memory, rebuilt at start; and what others may read of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use countersign_policy::webauthn::CounterBook;
use countersign_policy::{Envelope, FreezeSet, Hash, IdentityKey, KeyId, MemberId, Timestamp};

use super::StoreError;
use super::history::{CeremonyProgress, KeyBan};
use super::ledger::index::{Author, Index};
use super::ledger::{LedgerPosition, PeerPosition};
use super::records::RecordCounts;
use super::secrets::{SecretKind, ShareRecord};
use super::starts::Starts;
use super::statements::Statements;

/// How many own entries are kept in memory for peers that are nearly up to date.
const RECENT: usize = 1024;

/// The writer's state. It may be one commit ahead of the file; nobody but the writer sees it.
pub(super) struct State {
    pub node: MemberId,
    pub genesis: Hash,
    pub identity: Arc<IdentityKey>,
    /// Digests of the own entries, by sequence number.
    pub own: Vec<Hash>,
    pub index: Index,
    /// Members by author number; this node first.
    pub authors: Vec<MemberId>,
    pub peers: BTreeMap<MemberId, Peer>,
    pub shares: BTreeMap<(KeyId, u32), (ShareRecord, [u8; 32])>,
    pub secrets: BTreeMap<(SecretKind, String), HeldSecret>,
    pub ceremonies: BTreeMap<Hash, CeremonyProgress>,
    pub key_bans: BTreeMap<(KeyId, MemberId), KeyBan>,
    /// Digests of the bundles, by version.
    pub bundles: Vec<Hash>,
    pub records: RecordCounts,
    pub starts: Starts,
    pub time_floor: Timestamp,
    pub statements: Statements,
    pub counters: CounterBook,
    /// What stands still. Empty after loading, until the bundles are there under which freezes open.
    pub freezes: FreezeSet,
    /// Own entries made since the last commit.
    pub fresh: Vec<Envelope>,
    /// Our head and what somebody has of us beyond it.
    pub rolled_back: Option<(u64, u64)>,
}

/// A sealed secret and the keyed hash of what it holds.
pub(super) struct HeldSecret {
    pub tag: [u8; 32],
    pub sealed: Vec<u8>,
}

/// A peer's ledger.
pub(super) struct Peer {
    pub author: Author,
    /// Digests of its entries, by sequence number.
    pub digests: Vec<Hash>,
    pub acknowledged: u64,
    pub banned: bool,
}

impl Peer {
    pub fn new(author: Author) -> Self {
        Self {
            author,
            digests: Vec::new(),
            acknowledged: 0,
            banned: false,
        }
    }

    pub fn position(&self) -> LedgerPosition {
        self.digests
            .last()
            .map_or(LedgerPosition::EMPTY, |head| LedgerPosition {
                sequence: self.digests.len() as u64,
                head: *head,
            })
    }
}

/// What is durable, for readers that do not want to wait for the writer.
pub(super) struct Published {
    pub head: LedgerPosition,
    recent: VecDeque<Envelope>,
    pub peers: BTreeMap<MemberId, PeerPosition>,
    pub key_bans: BTreeSet<(KeyId, MemberId)>,
    /// The newest acknowledged start of each peer.
    pub incarnations: BTreeMap<MemberId, u64>,
    pub time_floor: Timestamp,
    /// How many statements there are.
    pub statements: u64,
    pub freezes: FreezeSet,
    pub failure: Option<StoreError>,
    pub work: Work,
}

/// What the writer wrote since the store was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Transactions, each of which waited for the disk.
    pub commits: u64,
    /// Rows in them.
    pub rows: u64,
}

impl Work {
    pub(super) fn add(&mut self, rows: usize) {
        self.commits = self.commits.saturating_add(1);
        self.rows = self.rows.saturating_add(rows as u64);
    }
}

impl Published {
    pub fn new(state: &mut State) -> Self {
        let mut published = Self {
            head: LedgerPosition::EMPTY,
            recent: VecDeque::new(),
            peers: BTreeMap::new(),
            key_bans: BTreeSet::new(),
            incarnations: BTreeMap::new(),
            time_floor: state.time_floor,
            statements: state.statements.len(),
            freezes: state.freezes.clone(),
            failure: None,
            work: Work::default(),
        };
        published.update(state);
        published
    }

    /// Takes over what a commit made durable.
    pub fn update(&mut self, state: &mut State) {
        self.head = state.head();
        self.recent.extend(state.fresh.drain(..));
        let surplus = self.recent.len().saturating_sub(RECENT);
        self.recent.drain(..surplus);
        for (member, peer) in &state.peers {
            let position = PeerPosition {
                known: peer.position(),
                acknowledged: peer.acknowledged,
                banned: peer.banned,
            };
            self.peers.insert(member.clone(), position);
        }
        for (member, start) in &state.starts.peers {
            self.incarnations.insert(member.clone(), start.incarnation);
        }
        self.time_floor = state.time_floor;
        self.statements = state.statements.len();
        self.freezes = state.freezes.clone();
        if self.key_bans.len() != state.key_bans.len() {
            self.key_bans = state.key_bans.keys().cloned().collect();
        }
    }

    /// Own entries after a sequence number, if memory holds all of them.
    pub fn entries_after(&self, sequence: u64, limit: usize) -> Option<Vec<Envelope>> {
        let missing = self.head.sequence.saturating_sub(sequence);
        let skip = (self.recent.len() as u64).checked_sub(missing)?;
        let entries = self.recent.iter().skip(usize::try_from(skip).ok()?);
        Some(entries.take(limit).cloned().collect())
    }
}
