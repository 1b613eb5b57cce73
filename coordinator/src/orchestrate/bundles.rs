//! Successor bundles: verified here, acknowledged by nodes, and followed when enough nodes follow them.
//!
//! The nodes decide among themselves when a successor counts ([`Succession`]); the coordinator carries what they say from
//! one to the other, and follows what n - t + 1 + f of them follow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use countersign_policy::bundle::{
    ActivationEvidence, ActiveBundle, BundleChain, ChainError, KeyState, Pending, PolicyBundle,
    Role, Succession,
};
use countersign_policy::statement::CeremonyTranscript;
use countersign_policy::{Envelope, EnvelopeError, Hash, MemberId, Timestamp};
use countersign_signer::wire::{ActivateBundle, BundleAck, SubmitBundle};
use tokio::task::JoinSet;

use super::proposals;
use crate::core::{Core, now};
use crate::db::{DbError, NoticeKind, StoredBundle};
use crate::nodes::NodeError;

/// What became of a submitted bundle.
#[derive(Debug)]
pub(crate) struct BundleOutcome {
    pub(crate) digest: Hash,
    pub(crate) version: u64,
    pub(crate) active: bool,
    /// What it waits for.
    pub(crate) waits_for: Option<Pending>,
    /// When its delay is over, once it runs.
    pub(crate) activates_at: Option<Timestamp>,
    pub(crate) nodes: BTreeMap<MemberId, NodeAnswer>,
}

/// What one node said to it.
#[derive(Debug)]
pub(crate) enum NodeAnswer {
    /// It follows the bundle.
    Follows,
    /// It keeps the bundle, and will follow it when enough nodes do.
    Keeps,
    /// It does not.
    Error(NodeError),
}

/// Why a bundle was not even offered to the nodes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BundleError {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("{0}")]
    Transcripts(String),
    #[error("there is no proposal {0}")]
    Unknown(Hash),
    #[error("the statement is {found}, not the proposal {expected}")]
    OtherStatement { expected: Hash, found: Hash },
    #[error("{0} vetoed it")]
    Vetoed(MemberId),
    #[error("the signatures cannot be put together")]
    Envelope(#[source] EnvelopeError),
    #[error("the database failed")]
    Db(#[from] DbError),
}

/// Verifies a bundle, stores it and gives it to the nodes. Repeating the active one is harmless.
pub(crate) async fn submit_bundle(
    core: &Core,
    call: &SubmitBundle,
) -> Result<BundleOutcome, BundleError> {
    let digest = call.bundle.digest();
    let chain = core.chain.lock().await;
    let known = chain.links().iter().find(|link| link.digest() == digest);
    if let Some(link) = known.cloned() {
        drop(chain);
        let (nodes, _) = offer(core, &link, call).await;
        return Ok(BundleOutcome {
            digest,
            version: link.content().version,
            active: true,
            waits_for: None,
            activates_at: None,
            nodes,
        });
    }
    let next = chain.verify_successor(&call.bundle, now())?;
    let active = chain.active().clone();
    drop(chain);
    check_transcripts(&active, next.content(), &call.transcripts)
        .map_err(BundleError::Transcripts)?;
    proposals::remember(core, call, &next).await?;
    core.store
        .store_bundle(&StoredBundle {
            digest,
            version: next.content().version,
            envelope: call.bundle.clone(),
            transcripts: call.transcripts.clone(),
            activated: false,
        })
        .await?;
    drive(core, &next, call).await
}

/// Leads the nodes towards a verified successor as far as they go now: they acknowledge it, and when enough of them do and
/// its delay is over, each is given what the others said and follows it.
async fn drive(
    core: &Core,
    next: &ActiveBundle,
    call: &SubmitBundle,
) -> Result<BundleOutcome, BundleError> {
    let digest = next.digest();
    let (mut nodes, acks) = offer(core, next, call).await;
    core.store.store_bundle_acks(digest, &acks).await?;
    let succession = succession(core).await?;
    let mut waits_for = None;
    let activates_at = succession
        .standing(&digest, now())
        .and_then(|standing| standing.activates_at);
    match succession.activatable(&digest, now()) {
        Ok(proof) => make_follow(core, next, call, proof.evidence(), &mut nodes).await,
        Err(pending) => waits_for = Some(pending),
    }
    let active = settle(core, next, &nodes).await?;
    Ok(BundleOutcome {
        digest,
        version: next.content().version,
        active,
        waits_for: waits_for.filter(|_| !active),
        activates_at: activates_at.filter(|_| !active),
        nodes,
    })
}

/// What is known about the successors of the active bundle, from the database.
pub(crate) async fn succession(core: &Core) -> Result<Succession, DbError> {
    let chain = core.chain.lock().await;
    let active = chain.active().clone();
    let version = active.content().version;
    let mut succession = Succession::new(&active, None);
    let at = now();
    for stored in core.store.bundles_above(version).await? {
        // What does not follow the active bundle lost against another one.
        if succession.propose(&chain, &stored.envelope, at).is_err() {
            continue;
        }
        for ack in core.store.bundle_acks(stored.digest).await? {
            if let Err(error) = succession.take_ack(&ack, at) {
                tracing::debug!(%error, "an acknowledgement does not count");
            }
        }
    }
    for veto in core.store.notices(NoticeKind::Veto).await? {
        if let Err(error) = succession.take_veto(&veto.envelope, at) {
            tracing::debug!(%error, "a veto does not count");
        }
    }
    Ok(succession)
}

/// Every new key's transcript must be signed by all its nodes, and be the one that the bundle pins.
pub(super) fn check_transcripts(
    active: &ActiveBundle,
    next: &PolicyBundle,
    transcripts: &[Envelope],
) -> Result<(), String> {
    let mut opened = Vec::new();
    for envelope in transcripts {
        let transcript = active.directory().open::<CeremonyTranscript>(envelope);
        opened.push(transcript.map_err(|e| format!("a transcript is not acceptable: {e}"))?);
    }
    for key in next.keys.iter().filter(|k| active.key(&k.id).is_none()) {
        let mut signed = BTreeSet::new();
        for transcript in opened.iter().filter(|t| t.body().order.key == key.id) {
            let hash = transcript
                .body()
                .content_hash()
                .map_err(|e| e.to_string())?;
            if hash == key.transcript {
                signed.insert(transcript.issuer().clone());
            }
        }
        if let Some(missing) = key.nodes.iter().find(|node| !signed.contains(node)) {
            return Err(format!(
                "key {}: there is no transcript of {missing} with the hash that the bundle pins",
                key.id
            ));
        }
    }
    Ok(())
}

/// Gives a bundle to every node member, with all those before it that the node lacks. Returns what each said, and their
/// acknowledgements.
async fn offer(
    core: &Core,
    bundle: &ActiveBundle,
    call: &SubmitBundle,
) -> (BTreeMap<MemberId, NodeAnswer>, Vec<(MemberId, Envelope)>) {
    let mut calls = JoinSet::new();
    for node in nodes_of(bundle) {
        let answer = core.nodes.submit_bundle(&node, call.clone());
        calls.spawn(async move { (node, answer.await) });
    }
    let mut answers = BTreeMap::new();
    let mut acks = Vec::new();
    while let Some(answer) = calls.join_next().await {
        let Ok((node, answer)) = answer else { continue };
        let said = match answer {
            Ok(said) => Ok(said),
            Err(error) => match catch_up(core, &node, bundle, call).await {
                Some(said) => Ok(said),
                None => Err(error),
            },
        };
        let answer = match said {
            Ok(said) => {
                acks.extend(said.ack.clone().map(|ack| (node.clone(), ack)));
                judge(bundle, &node, &said)
            }
            Err(error) => NodeAnswer::Error(error),
        };
        answers.insert(node, answer);
    }
    (answers, acks)
}

/// Gives every node that does not follow yet the proof that enough of them stand behind the bundle.
async fn make_follow(
    core: &Core,
    next: &ActiveBundle,
    call: &SubmitBundle,
    evidence: &ActivationEvidence,
    nodes: &mut BTreeMap<MemberId, NodeAnswer>,
) {
    let mut calls = JoinSet::new();
    for (node, _) in nodes
        .iter()
        .filter(|(_, said)| !matches!(said, NodeAnswer::Follows))
    {
        let call = ActivateBundle {
            bundle: call.bundle.clone(),
            transcripts: call.transcripts.clone(),
            acks: evidence.acks.clone(),
        };
        let (node, answer) = (node.clone(), core.nodes.activate_bundle(node, call));
        calls.spawn(async move { (node, answer.await) });
    }
    while let Some(answer) = calls.join_next().await {
        let Ok((node, answer)) = answer else { continue };
        let answer = match answer {
            Ok(said) => judge(next, &node, &said),
            Err(error) => NodeAnswer::Error(error),
        };
        nodes.insert(node, answer);
    }
}

/// The nodes of a bundle.
pub(crate) fn nodes_of(bundle: &ActiveBundle) -> Vec<MemberId> {
    let members = bundle.content().members.iter();
    members
        .filter(|m| m.roles.contains(&Role::Node))
        .map(|m| m.id.clone())
        .collect()
}

fn judge(bundle: &ActiveBundle, node: &MemberId, said: &BundleAck) -> NodeAnswer {
    if said.bundle != bundle.digest() || said.node != *node {
        return NodeAnswer::Error(NodeError::Protocol(format!(
            "it stands behind bundle {} of version {}",
            said.bundle, said.version
        )));
    }
    if said.active {
        NodeAnswer::Follows
    } else {
        NodeAnswer::Keeps
    }
}

/// Gives a node that is behind the bundles it lacks, up to the one before `bundle`, and then that one. A node that is ahead
/// follows it if it stands in its chain.
async fn catch_up(
    core: &Core,
    node: &MemberId,
    bundle: &ActiveBundle,
    last: &SubmitBundle,
) -> Option<BundleAck> {
    let status = core.nodes.status(node).await.ok()?;
    let target = bundle.content().version;
    if status.bundle_version >= target {
        let theirs = core.nodes.bundles(node).await.ok()?;
        let follows = theirs.chain.iter().any(|b| b.digest() == bundle.digest());
        return follows.then_some(BundleAck {
            node: status.node,
            bundle: bundle.digest(),
            version: target,
            active: true,
            ack: None,
        });
    }
    let stored = core.store.bundles_above(status.bundle_version).await.ok()?;
    let mut said = None;
    for stored in stored
        .into_iter()
        .filter(|b| b.activated && b.version <= target)
    {
        let call = ActivateBundle {
            acks: core.store.bundle_acks(stored.digest).await.ok()?,
            bundle: stored.envelope,
            transcripts: stored.transcripts,
        };
        said = Some(core.nodes.activate_bundle(node, call).await.ok()?);
    }
    match said.filter(|said| said.bundle == bundle.digest()) {
        Some(said) => Some(said),
        None => core.nodes.submit_bundle(node, last.clone()).await.ok(),
    }
}

/// Activates a bundle when enough nodes follow it. False when they do not yet.
async fn settle(
    core: &Core,
    next: &ActiveBundle,
    nodes: &BTreeMap<MemberId, NodeAnswer>,
) -> Result<bool, BundleError> {
    let following: BTreeSet<MemberId> = nodes
        .iter()
        .filter(|(_, answer)| matches!(answer, NodeAnswer::Follows))
        .map(|(node, _)| node.clone())
        .collect();
    if !enough(next, &following) {
        return Ok(false);
    }
    activate(core, next.envelope()).await?;
    Ok(true)
}

/// Of every active key `n - t + 1 + f` nodes follow, so that no t nodes sign under the old bundle, and more than half of
/// all nodes do.
fn enough(bundle: &ActiveBundle, following: &BTreeSet<MemberId>) -> bool {
    let content = bundle.content();
    let keys = content
        .keys
        .iter()
        .filter(|key| key.state == KeyState::Active)
        .all(|key| {
            let count = key
                .nodes
                .iter()
                .filter(|node| following.contains(node))
                .count();
            count >= key.stop_quorum()
        });
    let nodes = content
        .members
        .iter()
        .filter(|m| m.roles.contains(&Role::Node))
        .count();
    keys && following.len().saturating_mul(2) > nodes
}

async fn activate(core: &Core, envelope: &Envelope) -> Result<(), BundleError> {
    let mut chain = core.chain.lock().await;
    if chain
        .links()
        .iter()
        .any(|link| link.digest() == envelope.digest())
    {
        return Ok(());
    }
    chain.verify_successor(envelope, now())?;
    core.store.activate_bundle(envelope.digest()).await?;
    let active = chain.append(envelope, now())?;
    tracing::info!(bundle = %active.digest(), version = active.content().version, "a new policy bundle is active");
    core.bundle.replace(active.clone());
    drop(chain);
    // Approvals name the bundle they were given under: what waits for people is decided again.
    core.store.wake_pending().await?;
    Ok(())
}

/// Reads the chain of a coordinator that starts: the genesis, and what was activated before.
pub(crate) async fn restore(
    chain: &mut BundleChain,
    store: &crate::db::Datastore,
) -> Result<(), BundleError> {
    for stored in store
        .bundles_above(1)
        .await?
        .into_iter()
        .filter(|b| b.activated)
    {
        chain.append(&stored.envelope, now())?;
    }
    Ok(())
}

/// Follows what other coordinators activated, offers again what still waits for nodes, and learns from nodes that are
/// ahead (bundles may have been given to them directly, or this database be a new one).
pub(crate) async fn follow(core: &Arc<Core>) -> Result<(), BundleError> {
    loop {
        let before = core.bundle.current().content().version;
        follow_next(core).await?;
        // Each bundle is verified under the one before, so they come one by one.
        if core.bundle.current().content().version == before {
            return Ok(());
        }
    }
}

async fn follow_next(core: &Arc<Core>) -> Result<(), BundleError> {
    let version = core.bundle.current().content().version;
    for stored in core.store.bundles_above(version).await? {
        if stored.activated {
            activate(core, &stored.envelope).await?;
        }
    }
    let bundle = core.bundle.current();
    for node in &nodes_of(&bundle) {
        let (Some(status), _) = core.health.status(node) else {
            continue;
        };
        if status.bundle_version > bundle.content().version {
            learn_from(core, node).await?;
        } else if status.bundle_version < bundle.content().version {
            remind(core, node, &bundle).await;
        }
    }
    for stored in core
        .store
        .bundles_above(core.bundle.current().content().version)
        .await?
    {
        let call = SubmitBundle {
            bundle: stored.envelope,
            transcripts: stored.transcripts,
        };
        // What cannot follow the active bundle any more lost against another one.
        let next = core
            .chain
            .lock()
            .await
            .verify_successor(&call.bundle, now());
        if let Ok(next) = next {
            drive(core, &next, &call).await?;
        }
    }
    Ok(())
}

/// A node is ahead: keeps the bundles it follows as candidates; they become active when enough nodes follow them.
async fn learn_from(core: &Core, node: &MemberId) -> Result<(), BundleError> {
    let Ok(theirs) = core.nodes.bundles(node).await else {
        return Ok(());
    };
    let active = core.bundle.current();
    let above = theirs
        .chain
        .iter()
        .skip_while(|b| b.digest() != active.digest())
        .skip(1);
    if let Some(envelope) = above.into_iter().next()
        && let Ok(next) = core.chain.lock().await.verify_successor(envelope, now())
    {
        core.store
            .store_bundle(&StoredBundle {
                digest: next.digest(),
                version: next.content().version,
                envelope: envelope.clone(),
                transcripts: Vec::new(),
                activated: false,
            })
            .await?;
    }
    Ok(())
}

/// A node is behind: gives it what it lacks.
async fn remind(core: &Core, node: &MemberId, bundle: &ActiveBundle) {
    let Ok(stored) = core.store.bundles_above(1).await else {
        return;
    };
    let Some(newest) = stored.into_iter().find(|b| b.digest == bundle.digest()) else {
        return;
    };
    let call = SubmitBundle {
        bundle: newest.envelope,
        transcripts: newest.transcripts,
    };
    if catch_up(core, node, bundle, &call).await.is_none() {
        tracing::warn!(%node, version = bundle.content().version, "a node is behind and does not take the bundle");
    }
}
