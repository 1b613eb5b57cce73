//! Starts: this node's own, which its peers remember, and those of its peers.
//!
//! Every start has a number and a random name, written before any peer hears of it. A peer keeps the newest start it
//! acknowledged and takes only a later one from somebody who can name that newest one: a copy of the store does not know the
//! starts that came after it was made, however often it tries.

use std::collections::BTreeMap;

use countersign_policy::statement::LedgerEvent;
use countersign_policy::{Hash, MemberId, Timestamp};
use rand_core::{OsRng, RngCore as _};

use super::ledger::LedgerPosition;
use super::rows::Write;
use super::{OpError, Store, StoreError};
use crate::wire::{MAX_STARTS, StartName};

/// What the writer knows of starts.
#[derive(Default)]
pub(super) struct Starts {
    /// Own starts, oldest first.
    pub own: Vec<StartName>,
    /// The newest acknowledged one of each peer.
    pub peers: BTreeMap<MemberId, StartName>,
}

/// A start of this node that is written down, and the newest ones before it.
#[derive(Debug, Clone)]
pub struct OwnStart {
    /// This one.
    pub start: StartName,
    /// The newest before it, oldest first.
    pub earlier: Vec<StartName>,
}

/// Why a peer's start is not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartRefusal {
    /// The number is not higher.
    #[error(
        "{peer} calls this its start {found}, and has registered start {known} here before: it runs an old copy of its store, or a twin runs"
    )]
    NotLater {
        /// Who started.
        peer: MemberId,
        /// The number given.
        found: u64,
        /// The number known.
        known: u64,
    },
    /// The number is higher, but the sender does not know the start that was registered before.
    #[error(
        "{peer} does not know its start {known}, which it registered here: it runs an old copy of its store, or a twin runs"
    )]
    Unknown {
        /// Who started.
        peer: MemberId,
        /// The start it should know.
        known: u64,
    },
}

impl Store {
    /// Writes down that this process started. Durable when this returns.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn begin_start(&self) -> Result<OwnStart, StoreError> {
        let mut nonce = [0u8; 32];
        OsRng.fill_bytes(&mut nonce);
        self.durably(move |state, writes| {
            let incarnation = state.starts.own.last().map_or(0, |last| last.incarnation);
            let start = StartName {
                incarnation: incarnation.saturating_add(1),
                nonce: Hash::from_bytes(nonce),
            };
            let skip = state.starts.own.len().saturating_sub(MAX_STARTS);
            let earlier = state.starts.own.iter().skip(skip).cloned().collect();
            writes.push(Write::Start {
                incarnation: start.incarnation,
                nonce: start.nonce,
            });
            state.starts.own.push(start.clone());
            Ok(OwnStart { start, earlier })
        })
        .await
    }

    /// Remembers a peer's start, if it is a later one by somebody who knows the one before. Durable when this returns;
    /// repeating it is harmless.
    ///
    /// # Errors
    /// [`StartRefusal`] or a [`StoreError`].
    pub async fn register_start(
        &self,
        peer: &MemberId,
        start: StartName,
        earlier: Vec<StartName>,
    ) -> Result<(), OpError<StartRefusal>> {
        let peer = peer.clone();
        self.durably(move |state, writes| {
            if let Some(known) = state.starts.peers.get(&peer) {
                if *known == start {
                    return Ok(Ok(()));
                }
                if let Err(refusal) = follows(&peer, known, &start, &earlier) {
                    return Ok(Err(refusal));
                }
            }
            writes.push(Write::PeerStart {
                member: peer.clone(),
                incarnation: start.incarnation,
                nonce: start.nonce,
            });
            state.starts.peers.insert(peer, start);
            Ok(Ok(()))
        })
        .await?
        .map_err(OpError::Refused)
    }

    /// The newest start of a peer that is durably acknowledged here.
    ///
    /// # Errors
    /// [`StoreError`] once the store refuses to work.
    pub fn peer_incarnation(&self, peer: &MemberId) -> Result<Option<u64>, StoreError> {
        self.published(|p| p.incarnations.get(peer).copied())
    }

    /// Records in the ledger that enough peers remember this start.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn record_started(
        &self,
        incarnation: u64,
        now: Timestamp,
    ) -> Result<LedgerPosition, StoreError> {
        self.durably(move |state, writes| {
            state.append(LedgerEvent::Started { incarnation }, now, writes)
        })
        .await
    }
}

fn follows(
    peer: &MemberId,
    known: &StartName,
    start: &StartName,
    earlier: &[StartName],
) -> Result<(), StartRefusal> {
    if start.incarnation <= known.incarnation {
        return Err(StartRefusal::NotLater {
            peer: peer.clone(),
            found: start.incarnation,
            known: known.incarnation,
        });
    }
    // So many starts ago that the sender no longer lists it: it cannot be asked for.
    let listed = earlier
        .first()
        .is_none_or(|first| first.incarnation <= known.incarnation);
    if listed && !earlier.contains(known) {
        return Err(StartRefusal::Unknown {
            peer: peer.clone(),
            known: known.incarnation,
        });
    }
    Ok(())
}
