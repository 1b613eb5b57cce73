//! Ledgers between peers: each pushes its own, and each tells the other how much of it the other has lost.
//!
//! A node whose store was replaced by an older copy signed entries that it no longer knows. A peer that holds one of them
//! shows it, and the store stops for good ([`StoreError::RolledBack`]).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use countersign_policy::MemberId;

use super::engine::EngineParts;
use super::starts;
use crate::clock::now;
use crate::gate::store_fault;
use crate::net::{CallError, NodeClient};
use crate::store::{OpError, Store, StoreError};
use crate::wire::{EntriesKnown, Problem, ProblemCode, PushEntries, path};

/// For one push.
const PUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// Entries in one push.
const PUSH_ENTRIES: usize = 500;

/// Peers that are being asked to prove a claim: one question at a time, however often they claim.
#[derive(Debug, Default)]
pub struct Questions(Mutex<BTreeSet<MemberId>>);

impl Questions {
    /// True for one caller until [`Questions::was_asked`].
    fn ask(&self, peer: &MemberId) -> bool {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.insert(peer.clone())
    }

    fn was_asked(&self, peer: &MemberId) {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.remove(peer);
    }
}

#[derive(Debug, thiserror::Error)]
enum PushError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Pushes what a peer lacks of this node's ledger, so that confirms stay short and no peer falls behind. A peer that
/// does not know this process yet is told of its start first.
///
/// # Errors
/// Why not, for the log.
pub async fn push(parts: &EngineParts, peer: &MemberId) -> Result<(), String> {
    let client = parts.peers.client(peer).ok_or("no address")?;
    if parts.registration.is_due(peer) {
        starts::register(&parts.store, client, &parts.bundle, &parts.registration)
            .await
            .map_err(|e| e.to_string())?;
    }
    loop {
        let position = |e: StoreError| e.to_string();
        let before = parts
            .store
            .peer_position(peer)
            .map_err(position)?
            .acknowledged;
        let head = parts.store.head().map_err(position)?.sequence;
        if before >= head {
            return Ok(());
        }
        let pushed = push_once(parts, client).await;
        if let Err(PushError::Call(CallError::Problem(problem))) = &pushed
            && problem.code() == Some(ProblemCode::Unregistered)
        {
            // It knows a later start: this process runs on, and somebody else started with the same identity.
            parts.registration.forget(peer);
        }
        let known = pushed.map_err(|e| e.to_string())?;
        // What was appended meanwhile waits for the next push, and most of it goes with confirms.
        if known <= before || known >= head {
            return Ok(());
        }
    }
}

/// One push. Returns how far the peer knows this node's ledger now.
async fn push_once(parts: &EngineParts, client: &NodeClient) -> Result<u64, PushError> {
    let (store, peer) = (&parts.store, client.member());
    // The head first: what is appended meanwhile belongs to the next push.
    let head = store.head()?.sequence;
    let call = PushEntries {
        entries: store.entries_for(peer, PUSH_ENTRIES).await?,
        known: store.peer_position(peer)?.known.sequence,
        head,
        incarnation: parts.registration.incarnation(),
    };
    let answer: EntriesKnown = client.post_json(path::ENTRIES, &call, PUSH_TIMEOUT).await?;
    if let Some(lost) = answer.beyond {
        show_own(store, peer, &lost).await?;
    }
    store.acknowledged(peer, answer.known).await?;
    Ok(answer.known)
}

async fn show_own(
    store: &Store,
    peer: &MemberId,
    lost: &countersign_policy::Envelope,
) -> Result<(), StoreError> {
    match store.check_own(lost).await {
        Ok(()) => Ok(()),
        Err(OpError::Failed(fault)) => Err(fault),
        Err(OpError::Refused(refusal)) => {
            tracing::warn!(%peer, %refusal, "the peer claims to hold more of this node's ledger than exists");
            Ok(())
        }
    }
}

/// Takes a peer's push.
///
/// # Errors
/// Entries that are not acceptable; or the peer knows more of this node's ledger than there is.
pub async fn take(
    parts: &Arc<EngineParts>,
    peer: &MemberId,
    call: PushEntries,
) -> Result<EntriesKnown, Problem> {
    let store = &parts.store;
    let fault = |e: StoreError| store_fault(&e);
    if let Some(later) = store.peer_incarnation(peer).map_err(fault)?
        && call.incarnation < later
    {
        return Err(ProblemCode::Unregistered.problem(format!(
            "this is start {} of {peer}, start {later} is known here: an old copy of its store, or a twin",
            call.incarnation
        )));
    }
    if call.known > store.head().map_err(fault)?.sequence {
        return Err(ask_for_proof(parts, peer, call.known));
    }
    let known = store.peer_position(peer).map_err(fault)?.known.sequence;
    if known > call.head {
        let beyond = store.peer_entry(peer, known).await.map_err(fault)?;
        return Ok(EntriesKnown { known, beyond });
    }
    let bundle = parts.bundle.current();
    let given = !call.entries.is_empty();
    let taken = store.ingest_with(
        peer,
        call.entries,
        Some(call.known),
        bundle.directory(),
        now(),
    );
    match taken.await {
        // Answered when they are durable: the peer would send them again otherwise.
        Ok(_) if given => store.settled().await.map_err(fault)?,
        Ok(_) => {}
        Err(OpError::Failed(failure)) => return Err(store_fault(&failure)),
        Err(OpError::Refused(refusal)) => {
            let mut problem = ProblemCode::Protocol.problem(refusal.to_string());
            problem.culprits.push(peer.clone());
            return Err(problem);
        }
    }
    let known = store.peer_position(peer).map_err(fault)?.known.sequence;
    Ok(EntriesKnown {
        known,
        beyond: None,
    })
}

/// A claim proves nothing; the entry itself does. Asks for it, and refuses the call meanwhile.
pub(super) fn ask_for_proof(parts: &Arc<EngineParts>, peer: &MemberId, claimed: u64) -> Problem {
    parts.registration.forget(peer);
    let (asking, member) = (Arc::clone(parts), peer.clone());
    if parts.questions.ask(peer) {
        tokio::spawn(async move {
            if let Err(error) = push(&asking, &member).await {
                tracing::error!(peer = %member, error, "a peer claims to hold more of this node's ledger than this store");
            }
            asking.questions.was_asked(&member);
        });
    }
    ProblemCode::Internal.problem(format!(
        "{peer} claims to hold this node's ledger up to entry {claimed}, beyond its end: this store may be an old copy"
    ))
}
