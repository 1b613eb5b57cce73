//! Successor bundles: verified here, given to every node, active when enough of them follow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use countersign_policy::bundle::{ActiveBundle, BundleChain, ChainError, KeyState, Role};
use countersign_policy::statement::CeremonyTranscript;
use countersign_policy::{Envelope, Hash, MemberId};
use countersign_signer::wire::{BundleAck, SubmitBundle};
use tokio::task::JoinSet;

use crate::core::{Core, now};
use crate::db::{DbError, StoredBundle};
use crate::nodes::NodeError;

/// What became of a submitted bundle.
#[derive(Debug)]
pub(crate) struct BundleOutcome {
    pub(crate) digest: Hash,
    pub(crate) version: u64,
    pub(crate) active: bool,
    pub(crate) nodes: BTreeMap<MemberId, NodeAnswer>,
}

/// What one node said to it.
#[derive(Debug)]
pub(crate) enum NodeAnswer {
    /// It follows the bundle.
    Follows,
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
        let nodes = offer(core, &link, call).await;
        return Ok(BundleOutcome {
            digest,
            version: link.content().version,
            active: true,
            nodes,
        });
    }
    let next = chain.verify_successor(&call.bundle, now())?;
    let active = chain.active().clone();
    drop(chain);
    check_transcripts(&active, &next, &call.transcripts).map_err(BundleError::Transcripts)?;
    let version = next.content().version;
    core.store
        .store_bundle(&StoredBundle {
            digest,
            version,
            envelope: call.bundle.clone(),
            transcripts: call.transcripts.clone(),
            activated: false,
        })
        .await?;
    let nodes = offer(core, &next, call).await;
    let active = settle(core, &next, &nodes).await?;
    Ok(BundleOutcome {
        digest,
        version,
        active,
        nodes,
    })
}

/// Every new key's transcript must be signed by all its nodes, and be the one that the bundle pins.
fn check_transcripts(
    active: &ActiveBundle,
    next: &ActiveBundle,
    transcripts: &[Envelope],
) -> Result<(), String> {
    let mut opened = Vec::new();
    for envelope in transcripts {
        let transcript = active.directory().open::<CeremonyTranscript>(envelope);
        opened.push(transcript.map_err(|e| format!("a transcript is not acceptable: {e}"))?);
    }
    for key in next
        .content()
        .keys
        .iter()
        .filter(|k| active.key(&k.id).is_none())
    {
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

/// Gives a bundle to every node member, with all those before it that the node lacks.
async fn offer(
    core: &Core,
    bundle: &ActiveBundle,
    call: &SubmitBundle,
) -> BTreeMap<MemberId, NodeAnswer> {
    let mut calls = JoinSet::new();
    for member in &bundle.content().members {
        if !member.roles.contains(&Role::Node) {
            continue;
        }
        let (node, answer) = (
            member.id.clone(),
            core.nodes.submit_bundle(&member.id, call.clone()),
        );
        calls.spawn(async move { (node, answer.await) });
    }
    let mut answers = BTreeMap::new();
    while let Some(answer) = calls.join_next().await {
        let Ok((node, answer)) = answer else { continue };
        let answer = match answer {
            Ok(ack) => judge(bundle, &node, ack),
            Err(error) => match catch_up(core, &node, bundle, call).await {
                Some(ack) => judge(bundle, &node, ack),
                None => NodeAnswer::Error(error),
            },
        };
        answers.insert(node, answer);
    }
    answers
}

fn judge(bundle: &ActiveBundle, node: &MemberId, ack: BundleAck) -> NodeAnswer {
    if ack.bundle == bundle.digest() && ack.node == *node {
        NodeAnswer::Follows
    } else {
        NodeAnswer::Error(NodeError::Protocol(format!(
            "it follows bundle {} of version {}",
            ack.bundle, ack.version
        )))
    }
}

/// Gives a node that is behind the bundles it lacks, up to `bundle`. One that is ahead follows it if it stands in its chain.
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
        });
    }
    let between = core.store.bundles_above(status.bundle_version).await.ok()?;
    for stored in between
        .into_iter()
        .filter(|b| b.activated && b.version < target)
    {
        let call = SubmitBundle {
            bundle: stored.envelope,
            transcripts: stored.transcripts,
        };
        core.nodes.submit_bundle(node, call).await.ok()?;
    }
    core.nodes.submit_bundle(node, last.clone()).await.ok()
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
    let nodes: Vec<MemberId> = bundle
        .content()
        .members
        .iter()
        .filter(|m| m.roles.contains(&Role::Node))
        .map(|m| m.id.clone())
        .collect();
    for node in &nodes {
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
            let answers = offer(core, &next, &call).await;
            settle(core, &next, &answers).await?;
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
