//! Ledgers between peers: each pushes its own, and each tells the other how much of it the other has lost.
//!
//! A node whose store was replaced by an older copy signed entries that it no longer knows. A peer that holds one of them
//! shows it, and the store stops for good ([`StoreError::RolledBack`]). So a process promises nothing together with a peer
//! that it has not introduced itself to.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use countersign_policy::MemberId;

use super::engine::EngineParts;
use crate::gate::store_fault;
use crate::net::{CallError, NodeClient};
use crate::store::{OpError, Store, StoreError};
use crate::wire::{EntriesKnown, Problem, ProblemCode, PushEntries, path};

/// For one push.
const PUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// For one introduction: peers that run answer at once, the others are asked again later.
const INTRODUCTION_TIMEOUT: Duration = Duration::from_secs(2);
/// Entries in one push.
const PUSH_ENTRIES: usize = 500;

/// The peers that told this process, since it started, how much of this node's ledger they hold.
#[derive(Debug, Default)]
pub struct Introduced {
    peers: Mutex<BTreeSet<MemberId>>,
    /// Peers that are being asked to prove a claim: one question at a time, however often they claim.
    asked: Mutex<BTreeSet<MemberId>>,
}

impl Introduced {
    fn contains(&self, peer: &MemberId) -> bool {
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.contains(peer)
    }

    fn insert(&self, peer: &MemberId) {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.insert(peer.clone());
    }

    fn remove(&self, peer: &MemberId) {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.remove(peer);
    }

    /// True for one caller until [`Introduced::was_asked`].
    fn ask(&self, peer: &MemberId) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.insert(peer.clone())
    }

    fn was_asked(&self, peer: &MemberId) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
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

/// Tells every peer that answers where this node's ledger ends, and hears whether any has more of it.
///
/// # Errors
/// [`StoreError::RolledBack`] when one has: the file is an old copy. Peers that do not answer are no error.
pub async fn introduce_to_all(
    store: &Store,
    clients: &[NodeClient],
) -> Result<Introduced, StoreError> {
    let mut asking = tokio::task::JoinSet::new();
    for client in clients {
        let (store, client) = (store.clone(), client.clone());
        asking.spawn(async move {
            let told = push_once(&store, &client, 0, INTRODUCTION_TIMEOUT).await;
            (client.member().clone(), told)
        });
    }
    let introduced = Introduced::default();
    while let Some(told) = asking.join_next().await {
        match told {
            Ok((peer, Ok(_))) => introduced.insert(&peer),
            Ok((_, Err(PushError::Store(fault)))) => return Err(fault),
            Ok((peer, Err(PushError::Call(error)))) => {
                tracing::debug!(%peer, %error, "the peer does not say what it knows of this node's ledger");
            }
            Err(_) => {}
        }
    }
    store.health()?;
    Ok(introduced)
}

/// Makes sure that these peers had their chance to show what this store may have lost, before it promises anything
/// together with them.
///
/// # Errors
/// Who did not answer; or a store fault, if one of them had something to show.
pub async fn require_introduced<'a>(
    parts: &EngineParts,
    peers: impl Iterator<Item = &'a MemberId>,
) -> Result<(), Problem> {
    for peer in peers {
        if *peer == parts.me || parts.introduced.contains(peer) {
            continue;
        }
        let absent = |why: String| {
            let mut problem = ProblemCode::Timeout.problem(format!(
                "{peer} has not said since this node's start what it holds of its ledger: {why}"
            ));
            problem.missing.push(peer.clone());
            problem
        };
        let client = parts
            .peers
            .client(peer)
            .ok_or_else(|| absent("no address".to_owned()))?;
        match introduce_now(&parts.store, client).await {
            Ok(_) => parts.introduced.insert(peer),
            Err(PushError::Store(fault)) => return Err(store_fault(&fault)),
            Err(PushError::Call(error)) => return Err(absent(error.to_string())),
        }
    }
    Ok(())
}

/// An introduction that somebody waits for: a peer that came back a moment ago is asked at once, not when the wait after
/// the last failed connection is over, and once more if the connection was one to its former process.
async fn introduce_now(store: &Store, client: &NodeClient) -> Result<u64, PushError> {
    client.wake();
    match push_once(store, client, 0, INTRODUCTION_TIMEOUT).await {
        Err(PushError::Call(CallError::Unreachable { .. })) => {
            client.wake();
            push_once(store, client, 0, INTRODUCTION_TIMEOUT).await
        }
        told => told,
    }
}

/// Pushes what a peer lacks of this node's ledger, so that confirms stay short and no peer falls behind. A peer that
/// this process has not talked to yet is told even when it lacks nothing.
///
/// # Errors
/// Why not, for the log.
pub async fn push(parts: &EngineParts, peer: &MemberId) -> Result<(), String> {
    let client = parts.peers.client(peer).ok_or("no address")?;
    loop {
        let position = |e: StoreError| e.to_string();
        let before = parts
            .store
            .peer_position(peer)
            .map_err(position)?
            .acknowledged;
        let head = parts.store.head().map_err(position)?.sequence;
        let introduced = parts.introduced.contains(peer);
        if introduced && before >= head {
            return Ok(());
        }
        let entries = if introduced { PUSH_ENTRIES } else { 0 };
        let known = push_once(&parts.store, client, entries, PUSH_TIMEOUT)
            .await
            .map_err(|e| e.to_string())?;
        parts.introduced.insert(peer);
        // What was appended meanwhile waits for the next push, and most of it goes with confirms.
        if introduced && (known <= before || known >= head) {
            return Ok(());
        }
    }
}

/// One push of at most `entries` entries. Returns how far the peer knows this node's ledger now.
async fn push_once(
    store: &Store,
    client: &NodeClient,
    entries: usize,
    timeout: Duration,
) -> Result<u64, PushError> {
    let peer = client.member();
    // The head first: what is appended meanwhile belongs to the next push.
    let head = store.head()?.sequence;
    let entries = match entries {
        0 => Vec::new(),
        most => store.entries_for(peer, most).await?,
    };
    let call = PushEntries {
        entries,
        known: store.peer_position(peer)?.known.sequence,
        head,
        incarnation: 0,
    };
    let answer: EntriesKnown = client.post_json(path::ENTRIES, &call, timeout).await?;
    if let Some(lost) = answer.beyond {
        match store.check_own(&lost).await {
            Ok(()) => {}
            Err(OpError::Failed(fault)) => return Err(fault.into()),
            Err(OpError::Refused(refusal)) => {
                tracing::warn!(%peer, %refusal, "the peer claims to hold more of this node's ledger than exists");
            }
        }
    }
    store.acknowledged(peer, answer.known).await?;
    Ok(answer.known)
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
    let taken = store.ingest_with(peer, call.entries, Some(call.known), bundle.directory());
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

/// A claim proves nothing; the entry itself does. Asks for it, and refuses the push meanwhile.
fn ask_for_proof(parts: &Arc<EngineParts>, peer: &MemberId, claimed: u64) -> Problem {
    parts.introduced.remove(peer);
    let (asking, member) = (Arc::clone(parts), peer.clone());
    if parts.introduced.ask(peer) {
        tokio::spawn(async move {
            if let Err(error) = push(&asking, &member).await {
                tracing::error!(peer = %member, error, "a peer claims to hold more of this node's ledger than this store");
            }
            asking.introduced.was_asked(&member);
        });
    }
    ProblemCode::Internal.problem(format!(
        "{peer} claims to hold this node's ledger up to entry {claimed}, beyond its end: this store may be an old copy"
    ))
}
