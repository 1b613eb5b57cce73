//! Steps 5 and 6 of DESIGN section 4: tell the participants which receipts this node saw and where its ledger stands, hear
//! the same from everybody who reserved, and take in what they know.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use countersign_policy::statement::{Cleared, Confirm, Statement, Verified};
use countersign_policy::{Envelope, Hash, MemberId, Timestamp};
use rand_core::OsRng;

use super::engine::EngineParts;
use super::table::Session;
use crate::clock::now;
use crate::gate::{AgreedReceipts, check_confirm, store_fault};
use crate::net::{Channel, ChannelError, ChannelEvent, ChannelTerms, FrameKind, Lane, PeerLink};
use crate::store::OpError;
use crate::threshold::{Outgoing, PartyIndex, Recipient};
use crate::wire::{Problem, ProblemCode};

/// What a node sends its peers once it holds all receipts.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfirmMessage {
    /// The confirm statement.
    pub confirm: Envelope,
    /// The sender's ledger entries that the recipient lacks, oldest first.
    pub entries: Vec<Envelope>,
    /// The last entry of the recipient's ledger that the sender holds durably.
    pub known: u64,
}

/// The largest confirm message, in bytes: 1,000 ledger entries fit.
const MAX_CONFIRM: usize = 4 << 20;
/// Ledger entries in one confirm. Peers that lack more are brought up to date in the background first.
const MAX_ENTRIES: usize = 1000;
/// How long a confirm between peers counts, in seconds.
const CONFIRM_LIFE: u64 = 600;

/// Everybody else confirmed; the link carries the protocol from here on.
pub struct Confirmed {
    /// One verified confirm of each other participant and of each witness.
    pub confirms: Vec<Verified<Confirm>>,
    /// The protocol's view of the channel.
    pub link: PeerLink,
}

/// Sends this node's confirm and its first protocol messages, and waits for the confirms of all others.
///
/// # Errors
/// Whoever did not confirm in time is named as missing, whoever sent something wrong as culprit. Receipts that differ
/// end without blame: then a coordinator split the signers.
pub async fn confirm(
    parts: &EngineParts,
    session: &Session,
    agreed: &AgreedReceipts,
    first: Vec<Outgoing>,
    timeout: Duration,
) -> Result<Confirmed, Problem> {
    let terms = session.spend().terms();
    let key = session.spend().admitted().key();
    let signers = others(parts, terms.participants.iter());
    let missing = others(parts, terms.reservers());
    let deadline = deadline_in(timeout);
    let channel = open(parts, session, agreed, missing.clone(), deadline)?;
    // Witnesses release nothing, so nobody's confirm matters to them.
    enqueue_own(parts, session, agreed, &channel, &signers).await?;
    for message in first {
        enqueue_protocol(&channel, &key.nodes, &signers, message).await?;
    }
    channel
        .flush()
        .map_err(|e| ProblemCode::Busy.problem(e.to_string()))?;
    let confirms = hear(parts, session, agreed, &channel, missing).await?;
    // A witness may hold a share as well: it is no party of this session all the same.
    let parties = key
        .nodes
        .iter()
        .cloned()
        .enumerate()
        .filter(|(_, node)| signers.contains(node))
        .filter_map(|(i, n)| Some((PartyIndex(u16::try_from(i).ok()?), n)));
    let link = PeerLink::new(channel, parties, deadline);
    Ok(Confirmed { confirms, link })
}

/// Waits until everybody in `missing` confirmed, and takes in what they know.
async fn hear(
    parts: &EngineParts,
    session: &Session,
    agreed: &AgreedReceipts,
    channel: &Channel,
    mut missing: BTreeSet<MemberId>,
) -> Result<Vec<Verified<Confirm>>, Problem> {
    let mut confirms = Vec::with_capacity(missing.len());
    while !missing.is_empty() {
        match channel.recv(Lane::Session).await {
            Ok(ChannelEvent::Frame(frame)) if frame.kind == FrameKind::Confirm => {
                if missing.remove(&frame.from) {
                    confirms.push(
                        take_confirm(parts, session, agreed, &frame.from, &frame.body).await?,
                    );
                }
            }
            Ok(ChannelEvent::Frame(frame)) => {
                return Err(blame(
                    &frame.from,
                    format!("{} sent an unexpected message", frame.from),
                ));
            }
            Ok(ChannelEvent::ExecutionMismatch { peer, .. }) => {
                return Err(ProblemCode::Receipts.problem(format!(
                    "{peer} runs another execution of this session: no share leaves"
                )));
            }
            Ok(ChannelEvent::Equivocation(frame)) => {
                return Err(blame(
                    &frame.from,
                    format!("{} sent two different confirms", frame.from),
                ));
            }
            Err(ChannelError::Closed) => {
                return Err(ProblemCode::Aborted.problem("the session was closed"));
            }
            Err(_) => {
                let mut problem = ProblemCode::Timeout
                    .problem("not every participant and witness confirmed in time");
                problem.missing = missing.into_iter().collect();
                return Err(problem);
            }
        }
    }
    Ok(confirms)
}

/// What a witness of an offline session does once it holds all receipts: the machine that signs cannot ask anybody, so each
/// witness hears all others, reads their ledgers, looks once more as if it were to release a share itself, and says so in a
/// confirm that is carried to the machine.
///
/// # Errors
/// As [`confirm`]; or what stands in the way.
pub async fn clear(
    parts: &EngineParts,
    session: &Session,
    agreed: &AgreedReceipts,
    timeout: Duration,
) -> Result<Envelope, Problem> {
    let spend = session.spend();
    let witnesses = others(parts, spend.terms().reservers());
    let deadline = deadline_in(timeout);
    let channel = open(parts, session, agreed, witnesses.clone(), deadline)?;
    enqueue_own(parts, session, agreed, &channel, &witnesses).await?;
    channel
        .flush()
        .map_err(|e| ProblemCode::Busy.problem(e.to_string()))?;
    let confirms = hear(parts, session, agreed, &channel, witnesses).await?;
    let active = parts.bundle.current().digest();
    let cleared = spend
        .clear(&parts.store, agreed, &confirms, active, now())
        .await?;
    let expires_at = spend.admitted().authorization().statement().expires_at;
    own_confirm(parts, session, agreed, expires_at, Some(cleared)).map(|(confirm, _)| confirm)
}

/// What a witness does once it holds all receipts: it tells the participants where its ledger stands. They read every
/// spend from it that any quorum reserved; it signs nothing and waits for nobody.
///
/// # Errors
/// When the confirm cannot be made or handed over.
pub async fn bear_witness(
    parts: &EngineParts,
    session: &Session,
    agreed: &AgreedReceipts,
    timeout: Duration,
) -> Result<(), Problem> {
    let signers = others(parts, session.spend().terms().participants.iter());
    let deadline = deadline_in(timeout);
    let channel = open(parts, session, agreed, signers.clone(), deadline)?;
    enqueue_own(parts, session, agreed, &channel, &signers).await?;
    channel
        .flush()
        .map_err(|e| ProblemCode::Busy.problem(e.to_string()))
}

fn others<'a>(
    parts: &EngineParts,
    members: impl Iterator<Item = &'a MemberId>,
) -> BTreeSet<MemberId> {
    members.filter(|m| **m != parts.me).cloned().collect()
}

fn deadline_in(timeout: Duration) -> Instant {
    Instant::now()
        .checked_add(timeout)
        .unwrap_or_else(Instant::now)
}

fn open(
    parts: &EngineParts,
    session: &Session,
    agreed: &AgreedReceipts,
    peers: BTreeSet<MemberId>,
    deadline: Instant,
) -> Result<Channel, Problem> {
    let terms = session.spend().terms();
    let key = session.spend().admitted().key();
    let execution = agreed.execution(key.protocol, &key.id, key.transcript, terms.attempt);
    parts
        .peers
        .open_channel(ChannelTerms {
            channel: terms.session,
            execution: Hash::from_bytes(*execution.as_bytes()),
            peers,
            deadline,
        })
        .map_err(|e| ProblemCode::Busy.problem(e.to_string()))
}

fn blame(peer: &MemberId, detail: String) -> Problem {
    let mut problem = ProblemCode::Protocol.problem(detail);
    problem.culprits.push(peer.clone());
    problem
}

/// This node's confirm, and the sequence number of the ledger's head in it.
fn own_confirm(
    parts: &EngineParts,
    session: &Session,
    agreed: &AgreedReceipts,
    expires_at: Timestamp,
    cleared: Option<Cleared>,
) -> Result<(Envelope, u64), Problem> {
    let bundle = session.spend().admitted().bundle();
    // The head *now*, after every receipt is there: any two quorums share a node whose entries this includes.
    let head = parts.store.head().map_err(|e| store_fault(&e))?;
    let body = Confirm {
        session: session.spend().terms().session,
        receipts: agreed.hash(),
        ledger_sequence: head.sequence,
        ledger_head: head.head,
        cleared,
    };
    let at = now();
    let statement = Statement::new(
        bundle.directory().genesis(),
        parts.me.clone(),
        at,
        expires_at.max(at.plus_seconds(1)),
        body,
        &mut OsRng,
    );
    let confirm = statement
        .sign(&parts.identity)
        .map_err(|e| ProblemCode::Internal.problem(e.to_string()))?;
    Ok((confirm, head.sequence))
}

async fn enqueue_own(
    parts: &EngineParts,
    session: &Session,
    agreed: &AgreedReceipts,
    channel: &Channel,
    others: &BTreeSet<MemberId>,
) -> Result<(), Problem> {
    let (confirm, head) = own_confirm(
        parts,
        session,
        agreed,
        now().plus_seconds(CONFIRM_LIFE),
        None,
    )?;
    for peer in others {
        let position = parts
            .store
            .peer_position(peer)
            .map_err(|e| store_fault(&e))?;
        let mut entries = parts
            .store
            .entries_for(peer, MAX_ENTRIES)
            .await
            .map_err(|e| store_fault(&e))?;
        // Entries that became durable after the head was read belong to the next confirm.
        let beyond = head.saturating_sub(position.acknowledged);
        entries.truncate(usize::try_from(beyond).unwrap_or(usize::MAX));
        let message = ConfirmMessage {
            confirm: confirm.clone(),
            entries,
            known: position.known.sequence,
        };
        let bytes = serde_json::to_vec(&message)
            .map_err(|e| ProblemCode::Internal.problem(e.to_string()))?;
        channel
            .enqueue(peer, 0, FrameKind::Confirm, bytes)
            .await
            .map_err(|e| ProblemCode::Busy.problem(e.to_string()))?;
    }
    Ok(())
}

/// Checks a peer's confirm and takes its ledger entries in, up to the head that it states.
async fn take_confirm(
    parts: &EngineParts,
    session: &Session,
    agreed: &AgreedReceipts,
    peer: &MemberId,
    bytes: &[u8],
) -> Result<Verified<Confirm>, Problem> {
    let blame = |detail: String| blame(peer, detail);
    if bytes.len() > MAX_CONFIRM {
        return Err(blame(format!(
            "the confirm of {peer} has {} bytes",
            bytes.len()
        )));
    }
    let message: ConfirmMessage =
        serde_json::from_slice(bytes).map_err(|e| blame(format!("the confirm of {peer}: {e}")))?;
    let bundle = session.spend().admitted().bundle();
    let confirm = check_confirm(
        bundle,
        peer,
        session.spend().terms().session,
        agreed.hash(),
        &message.confirm,
        (parts.resources.sign_timeout_seconds, now()),
    )?;
    let stated = confirm.body();
    let own = parts.store.head().map_err(|e| store_fault(&e))?.sequence;
    if message.known > own {
        // A claim; the entry itself, which proves it, comes with the next push.
        return Err(ProblemCode::Internal.problem(format!(
            "{peer} holds this node's ledger up to entry {}, this store ends at {own}: it may be an old copy",
            message.known
        )));
    }
    let known = match parts
        .store
        .ingest_with(
            peer,
            message.entries,
            Some(message.known),
            bundle.directory(),
            now(),
        )
        .await
    {
        Ok(known) => known,
        Err(OpError::Failed(fault)) => return Err(store_fault(&fault)),
        Err(OpError::Refused(refusal)) => return Err(blame(refusal.to_string())),
    };
    if known.sequence < stated.ledger_sequence {
        // What the peer believed us to have is more than we have: it sends the rest in the background.
        return Err(ProblemCode::Busy.problem(format!(
            "this node holds {peer}'s ledger up to entry {}, the confirm is about entry {}; try again",
            known.sequence, stated.ledger_sequence
        )));
    }
    let head = match known.sequence == stated.ledger_sequence {
        true => Some(known.head),
        // Its background push was faster than its confirm; the head it states must still be one that its ledger had.
        false => parts
            .store
            .peer_head_at(peer, stated.ledger_sequence)
            .await
            .map_err(|e| store_fault(&e))?,
    };
    if head != Some(stated.ledger_head) {
        return Err(blame(format!(
            "{peer} states another ledger head than its entries give"
        )));
    }
    Ok(confirm)
}

async fn enqueue_protocol(
    channel: &Channel,
    nodes: &[MemberId],
    signers: &BTreeSet<MemberId>,
    message: Outgoing,
) -> Result<(), Problem> {
    let busy = |e: ChannelError| ProblemCode::Busy.problem(e.to_string());
    let Outgoing {
        round,
        recipient,
        body,
    } = message;
    match recipient {
        Recipient::All => {
            for peer in signers {
                let sent = channel.enqueue(peer, round, FrameKind::Broadcast, body.clone());
                sent.await.map_err(busy)?;
            }
            Ok(())
        }
        Recipient::One(index) => {
            let peer = nodes.get(index.position()).ok_or_else(|| {
                ProblemCode::Internal.problem("a protocol message for a party that does not exist")
            })?;
            let sent = channel.enqueue(peer, round, FrameKind::PointToPoint, body);
            sent.await.map_err(busy)
        }
    }
}
