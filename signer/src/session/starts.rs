//! A process makes its start known to its peers before it promises anything, and they make theirs known to it.
//!
//! A node whose store was replaced by an older copy forgot what it promised; a twin promises things that the other one does
//! not know. Each start has a number and a name of its own. A peer acknowledges only starts that follow the newest one it
//! knows, shows the last entry of the node's ledger that it holds, and hands over its own entries that the node lacks. Of
//! the nodes of a key, so many must have done so (n - t + 1 + f) that every earlier session with that key had one of them
//! in it. Their clocks must agree with this node's, too.

use std::sync::Arc;
use std::time::Duration;

use countersign_policy::bundle::{ActiveBundle, KeyRecord};
use countersign_policy::statement::{IncarnationAck, Statement, Verified};
use countersign_policy::{Envelope, IdentityKey, MemberId, Timestamp};
use rand_core::OsRng;

use super::engine::EngineParts;
use super::registration::{Circle, Registration};
use crate::clock::now;
use crate::gate::store_fault;
use crate::net::{BundleHandle, CallError, NodeClient};
use crate::store::{OpError, OwnStart, Store, StoreError};
use crate::wire::{Problem, ProblemCode, RegisterStart, StartRegistered, path};

/// For one call: peers that run answer at once, the others are asked again later.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Entries handed over in one answer.
const ENTRIES: usize = 500;
/// Answers in a row that bring a node up to date; who lacks more than they hold goes on later.
const ROUNDS: usize = 20;
/// How long an acknowledgement could be shown to somebody else, in seconds.
const ACK_LIFE: u64 = 600;

/// Why a peer did not acknowledge this start.
#[derive(Debug, thiserror::Error)]
pub(super) enum RegisterError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Answer(String),
    /// The two clocks do not agree. Whose is wrong is not known.
    #[error(
        "its clock shows {theirs}, this node's {ours}: more than {skew} s apart; one of the two is wrong"
    )]
    Clock {
        theirs: Timestamp,
        ours: Timestamp,
        skew: u64,
    },
}

/// Tells every peer that answers of this start, before anything is written: what an old copy of the store would write now
/// contradicts what it signed before.
///
/// # Errors
/// [`StoreError::RolledBack`] when a peer shows an entry that this store lost. Peers that do not answer are no error.
pub async fn register_with_all(
    store: &Store,
    clients: &[NodeClient],
    bundle: &BundleHandle,
    registration: &Arc<Registration>,
) -> Result<(), StoreError> {
    let mut asking = tokio::task::JoinSet::new();
    for client in clients {
        let (store, client, bundle) = (store.clone(), client.clone(), bundle.clone());
        let registration = Arc::clone(registration);
        asking.spawn(async move {
            let told = register(&store, &client, &bundle, &registration).await;
            (client.member().clone(), told)
        });
    }
    while let Some(told) = asking.join_next().await {
        match told {
            Ok((_, Err(RegisterError::Store(fault)))) => return Err(fault),
            Ok((peer, Err(error))) => {
                tracing::info!(%peer, %error, "the peer has not acknowledged this start");
            }
            _ => {}
        }
    }
    store.health()
}

/// Makes sure that enough of a key's nodes, and all participants among them, remember this start before the node promises
/// anything with that key. A peer that came back a moment ago is asked at once.
///
/// # Errors
/// Who is missing and why; or a store fault, if one of them showed that this store is an old copy.
pub async fn require_registered(
    parts: &EngineParts,
    bundle: &ActiveBundle,
    key: &KeyRecord,
    participants: &[MemberId],
) -> Result<(), Problem> {
    let registration = &parts.registration;
    let circle = Circle::of(bundle, key);
    let others = |nodes: &[MemberId]| -> Vec<MemberId> {
        let unknown = nodes
            .iter()
            .filter(|n| **n != parts.me && !registration.knows(n));
        unknown.cloned().collect()
    };
    ask(parts, others(participants)).await?;
    if !registration.enough_for(&parts.store, &circle) {
        ask(parts, others(circle.nodes)).await?;
    }
    let missing = match registration.enough_for(&parts.store, &circle) {
        true => others(participants),
        false => others(circle.nodes),
    };
    if missing.is_empty() {
        return Ok(());
    }
    let mut code = ProblemCode::Unregistered;
    let mut reasons = Vec::with_capacity(missing.len());
    for peer in &missing {
        let (reason, clock) = registration.reason(peer);
        if clock {
            code = ProblemCode::Clock;
        }
        reasons.push(format!("{peer}: {reason}"));
    }
    let mut problem = code.problem(format!(
        "start {} of this node must be known to {} other nodes of key {}, the participants among them; missing are {}",
        registration.incarnation(),
        Registration::needed(&parts.store, &circle),
        key.id,
        reasons.join("; ")
    ));
    problem.missing = missing;
    Err(problem)
}

async fn ask(parts: &EngineParts, peers: Vec<MemberId>) -> Result<(), Problem> {
    let mut asking = tokio::task::JoinSet::new();
    for peer in peers {
        let Some(client) = parts.peers.client(&peer).cloned() else {
            continue;
        };
        let (store, bundle) = (parts.store.clone(), parts.bundle.clone());
        let registration = Arc::clone(&parts.registration);
        asking.spawn(async move {
            client.wake();
            let told = register(&store, &client, &bundle, &registration).await;
            match told {
                // The connection may have been one to the peer's former process.
                Err(RegisterError::Call(CallError::Unreachable { .. })) => {
                    client.wake();
                    register(&store, &client, &bundle, &registration).await
                }
                told => told,
            }
        });
    }
    while let Some(told) = asking.join_next().await {
        if let Ok(Err(RegisterError::Store(fault))) = told {
            return Err(store_fault(&fault));
        }
    }
    Ok(())
}

/// Makes this start known to one peer and catches up with its ledger.
pub(super) async fn register(
    store: &Store,
    client: &NodeClient,
    bundle: &BundleHandle,
    registration: &Registration,
) -> Result<(), RegisterError> {
    let outcome = exchange(store, client, bundle, registration).await;
    registration.note(client.member(), &outcome);
    outcome
}

async fn exchange(
    store: &Store,
    client: &NodeClient,
    bundle: &BundleHandle,
    registration: &Registration,
) -> Result<(), RegisterError> {
    let peer = client.member();
    let mut known = store.peer_position(peer)?.known.sequence;
    for _ in 0..ROUNDS {
        let call = RegisterStart {
            start: registration.own.start.clone(),
            earlier: registration.own.earlier.clone(),
            head: store.head()?.sequence,
            known,
        };
        let sent = now();
        let answer: StartRegistered = client.post_json(path::START, &call, TIMEOUT).await?;
        // First what could show that everything else here is an old story.
        check_last(store, peer, &call, &answer).await?;
        if let Some(refusal) = answer.refusal {
            return Err(RegisterError::Answer(refusal));
        }
        let bundle = bundle.current();
        let ack = open_ack(
            &bundle,
            store.node(),
            peer,
            &registration.own,
            answer.ack.as_ref(),
        )?;
        require_same_time(&ack, sent, bundle.skew_seconds())?;
        store.acknowledged(peer, ack.body().ledger_sequence).await?;
        let taken = store
            .ingest(peer, answer.entries, bundle.directory(), now())
            .await;
        known = match taken {
            Ok(position) => position.sequence,
            Err(OpError::Failed(fault)) => return Err(fault.into()),
            Err(OpError::Refused(refusal)) => {
                return Err(RegisterError::Answer(refusal.to_string()));
            }
        };
        if known >= answer.head {
            return Ok(());
        }
    }
    Err(RegisterError::Answer(format!(
        "this node holds its ledger up to entry {known} only; the rest follows"
    )))
}

fn open_ack(
    bundle: &ActiveBundle,
    me: &MemberId,
    peer: &MemberId,
    own: &OwnStart,
    ack: Option<&Envelope>,
) -> Result<Verified<IncarnationAck>, RegisterError> {
    let wrong = |what: String| RegisterError::Answer(what);
    let ack = ack.ok_or_else(|| wrong("it says neither yes nor no".to_owned()))?;
    let ack: Verified<IncarnationAck> = bundle
        .directory()
        .open(ack)
        .map_err(|e| wrong(e.to_string()))?;
    let body = ack.body();
    let fits = ack.issuer() == peer
        && body.node == *me
        && body.incarnation == own.start.incarnation
        && body.nonce == own.start.nonce;
    match fits {
        true => Ok(ack),
        false => Err(wrong("its acknowledgement is for another start".to_owned())),
    }
}

/// The last entry of this node's ledger that the peer holds must be here.
async fn check_last(
    store: &Store,
    peer: &MemberId,
    call: &RegisterStart,
    answer: &StartRegistered,
) -> Result<(), RegisterError> {
    let Some(last) = &answer.last else {
        return Ok(());
    };
    match store.check_own(last).await {
        Ok(()) => store.health().map_err(RegisterError::Store),
        Err(OpError::Failed(fault)) => Err(fault.into()),
        Err(OpError::Refused(refusal)) => Err(RegisterError::Answer(format!(
            "{peer} shows an entry as the last one of this node's ledger (which ends at {}): {refusal}",
            call.head
        ))),
    }
}

fn require_same_time(
    ack: &Verified<IncarnationAck>,
    sent: Timestamp,
    skew: u64,
) -> Result<(), RegisterError> {
    let (theirs, ours) = (ack.statement().issued_at, now());
    if theirs.plus_seconds(skew) < sent || theirs > ours.plus_seconds(skew) {
        return Err(RegisterError::Clock { theirs, ours, skew });
    }
    Ok(())
}

/// Acknowledges a peer's start, durably.
///
/// # Errors
/// A start that does not follow the newest one known: an old copy of its store, or a twin. Or the peer knows more of this
/// node's ledger than there is.
pub async fn answer(
    parts: &Arc<EngineParts>,
    peer: &MemberId,
    call: RegisterStart,
) -> Result<StartRegistered, Problem> {
    let store = &parts.store;
    let fault = |e: StoreError| store_fault(&e);
    let head = store.head().map_err(fault)?.sequence;
    if call.known > head {
        return Err(super::ledgers::ask_for_proof(parts, peer, call.known));
    }
    let start = call.start.clone();
    let registered = match store.register_start(peer, call.start, call.earlier).await {
        Ok(()) => Ok(()),
        Err(OpError::Failed(failure)) => return Err(store_fault(&failure)),
        Err(OpError::Refused(refusal)) => Err(refusal.to_string()),
    };
    let known = store.peer_position(peer).map_err(fault)?.known;
    let last = match known.sequence {
        0 => None,
        sequence => store.peer_entry(peer, sequence).await.map_err(fault)?,
    };
    if let Err(refusal) = registered {
        // With the last entry: who lost it learns that, and not only that it is refused.
        return Ok(StartRegistered {
            ack: None,
            refusal: Some(refusal),
            last,
            head,
            entries: Vec::new(),
        });
    }
    let entries = store
        .entries_after(call.known, ENTRIES)
        .await
        .map_err(fault)?;
    let ack = acknowledge(
        &parts.bundle.current(),
        &parts.me,
        &parts.identity,
        IncarnationAck {
            node: peer.clone(),
            incarnation: start.incarnation,
            nonce: start.nonce,
            ledger_sequence: known.sequence,
            ledger_head: known.head,
        },
    )?;
    Ok(StartRegistered {
        ack: Some(ack),
        refusal: None,
        last,
        head,
        entries,
    })
}

fn acknowledge(
    bundle: &ActiveBundle,
    me: &MemberId,
    identity: &IdentityKey,
    body: IncarnationAck,
) -> Result<Envelope, Problem> {
    let at = now();
    Statement::new(
        bundle.directory().genesis(),
        me.clone(),
        at,
        at.plus_seconds(ACK_LIFE),
        body,
        &mut OsRng,
    )
    .sign(identity)
    .map_err(|e| ProblemCode::Internal.problem(e.to_string()))
}

/// Writes `started` into the ledger, once, when enough peers remember this start.
///
/// # Errors
/// A store fault.
pub async fn record_when_complete(parts: &EngineParts) -> Result<(), StoreError> {
    let registration = &parts.registration;
    let bundle = parts.bundle.current();
    if !registration.is_complete(&bundle, &parts.store) || !registration.record() {
        return Ok(());
    }
    let incarnation = registration.incarnation();
    parts.store.record_started(incarnation, now()).await?;
    tracing::info!(
        incarnation,
        "this start is known to enough peers; the node takes part in signatures"
    );
    Ok(())
}
