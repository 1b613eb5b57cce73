//! Gives every node the statements that it has to know: freezes and unfreezes, observations, vetoes. Once at once, and then
//! again and again until each node has said that it holds them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use countersign_policy::{Hash, MemberId};
use countersign_signer::wire::{GiveStatement, StatementTaken};
use tokio::task::JoinSet;

use super::bundles::nodes_of;
use crate::core::Core;
use crate::db::{DbError, Notice, NoticeKind};
use crate::nodes::{Given, NodeError};

/// Notices that one node is given in one round.
const BATCH: i64 = 64;

/// Which nodes hold a statement, and what the others said.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    pub(crate) held_by: BTreeSet<MemberId>,
    pub(crate) errors: BTreeMap<MemberId, String>,
}

/// Which nodes refused what lately: they are asked again less and less often, up to once in [`LONGEST`].
#[derive(Debug, Default)]
pub(crate) struct Pauses(Mutex<HashMap<(Hash, MemberId), (u32, Instant)>>);

/// The longest time between two tries.
const LONGEST: Duration = Duration::from_secs(300);
/// Refusals that are remembered; beyond it all are forgotten, and tried again.
const MAX_PAUSES: usize = 10_000;

impl Pauses {
    fn is_on(&self, digest: Hash, node: &MemberId) -> bool {
        self.lock()
            .get(&(digest, node.clone()))
            .is_some_and(|(_, until)| Instant::now() < *until)
    }

    fn refused(&self, digest: Hash, node: &MemberId) {
        let mut pauses = self.lock();
        if pauses.len() >= MAX_PAUSES {
            pauses.clear();
        }
        let now = Instant::now();
        let pause = pauses.entry((digest, node.clone())).or_insert((0, now));
        pause.0 = pause.0.saturating_add(1);
        let wait = Duration::from_secs(1_u64 << pause.0.min(9)).min(LONGEST);
        pause.1 = now.checked_add(wait).unwrap_or(now);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(Hash, MemberId), (u32, Instant)>> {
        // At worst something is tried once more.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives a notice to every node now, and remembers who took it.
pub(crate) async fn spread(core: &Core, notice: &Notice) -> Result<Delivery, DbError> {
    let mut calls = JoinSet::new();
    for node in nodes_of(&core.bundle.current()) {
        let answer = give(core, &node, notice);
        calls.spawn(async move { (node, answer.await) });
    }
    let mut delivery = Delivery::default();
    while let Some(answer) = calls.join_next().await {
        let Ok((node, answer)) = answer else { continue };
        match answer {
            Ok(()) => {
                delivery.held_by.insert(node);
            }
            Err(error) => {
                delivery.errors.insert(node, error.to_string());
            }
        }
    }
    core.store
        .delivered(notice.digest, &delivery.held_by)
        .await?;
    Ok(delivery)
}

/// Gives every node that answers what it has not acknowledged yet.
pub(super) async fn deliver(core: &Core) -> Result<(), DbError> {
    for node in nodes_of(&core.bundle.current()) {
        if core.health.is_down(&node) {
            continue;
        }
        for notice in core.store.undelivered(&node, BATCH).await? {
            if core.pauses.is_on(notice.digest, &node) {
                continue;
            }
            match give(core, &node, &notice).await {
                Ok(()) => {
                    let held_by = BTreeSet::from([node.clone()]);
                    core.store.delivered(notice.digest, &held_by).await?;
                }
                Err(error) => {
                    core.pauses.refused(notice.digest, &node);
                    tracing::warn!(%node, digest = %notice.digest, kind = notice.kind.as_str(), %error,
                        "a node does not take a statement");
                    // A node that does not answer is left alone; one that refuses this may take the next.
                    if !matches!(error, NodeError::Problem(_)) {
                        break;
                    }
                }
            }
        }
    }
    Ok(())
}

fn give(
    core: &Core,
    node: &MemberId,
    notice: &Notice,
) -> impl Future<Output = Result<(), NodeError>> + Send + 'static {
    let call = GiveStatement {
        statement: notice.envelope.clone(),
    };
    let answer = match notice.kind {
        NoticeKind::Freeze => core.nodes.give(node, Given::Freeze, call),
        NoticeKind::Unfreeze => core.nodes.give(node, Given::Unfreeze, call),
        NoticeKind::Veto => core.nodes.give(node, Given::Veto, call),
        NoticeKind::Observation => core.nodes.give(node, Given::Observation, call),
    };
    let (digest, node) = (notice.digest, node.clone());
    async move {
        let taken = answer.await?;
        check(digest, &node, &taken)
    }
}

fn check(digest: Hash, node: &MemberId, taken: &StatementTaken) -> Result<(), NodeError> {
    if taken.digest != digest || taken.node != *node {
        let what = "it acknowledges another statement than it was given";
        return Err(NodeError::Protocol(what.to_owned()));
    }
    Ok(())
}
