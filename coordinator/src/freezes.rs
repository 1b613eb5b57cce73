//! The freezes that this coordinator knows: in memory, rebuilt from the database.
//!
//! They decide what it authorizes. What is signed is decided by the nodes, who hold freezes of their own: whether the
//! nodes of a session agree is seen from their receipts, never by comparing with what stands here.

use std::sync::{PoisonError, RwLock};

use countersign_policy::FreezeSet;
use countersign_policy::bundle::{ActiveBundle, BundleChain};

use crate::core::Core;
use crate::db::{DbError, Notice, NoticeKind};
use crate::orchestrate;

/// What is known, and from how many notices.
#[derive(Debug, Default)]
pub(crate) struct Freezes(RwLock<(FreezeSet, i64)>);

impl Freezes {
    /// The freezes in force. Cheap.
    pub(crate) fn current(&self) -> FreezeSet {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .clone()
    }

    fn seen(&self) -> i64 {
        self.0.read().unwrap_or_else(PoisonError::into_inner).1
    }

    /// Whether anything is different from before.
    fn replace(&self, set: FreezeSet, seen: i64) -> bool {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let changed = known.0.head() != set.head();
        *known = (set, seen);
        changed
    }
}

/// Reads the freezes again if there are notices that this process has not seen: another coordinator took them. What waits
/// for people is then decided again.
pub(crate) async fn follow(core: &Core) -> Result<(), DbError> {
    // Counted before they are read: what comes between is seen the next time.
    let count = core.store.count_freezes().await?;
    if count == core.freezes.seen() {
        return Ok(());
    }
    let freezes = core.store.notices(NoticeKind::Freeze).await?;
    let unfreezes = core.store.notices(NoticeKind::Unfreeze).await?;
    let set = {
        let chain = core.chain.lock().await;
        rebuild(&chain, &freezes, &unfreezes)
    };
    if core.freezes.replace(set, count) {
        let head = core.freezes.current().head();
        tracing::warn!(%head, "the freezes in force changed");
        core.store.wake_pending().await?;
    }
    Ok(())
}

/// Takes freezes that nodes hold and this coordinator has never heard of: given to them directly, or made by themselves. A
/// node proves nothing with what it says; each statement does.
pub(crate) async fn learn(core: &Core) -> Result<(), DbError> {
    let bundle = core.bundle.current();
    let known = core.freezes.current();
    let nodes = orchestrate::nodes_of(&bundle);
    for node in &nodes {
        let (Some(status), _) = core.health.status(node) else {
            continue;
        };
        if status.freeze_head == known.head() {
            continue;
        }
        let Ok(theirs) = core.nodes.freezes(node).await else {
            continue;
        };
        for envelope in theirs.in_force {
            let digest = envelope.digest();
            if known.contains(&digest) || known.has_ended(&digest) {
                continue;
            }
            let Ok(freeze) = bundle.open_freeze(&envelope) else {
                continue;
            };
            let (about, issuer) = (freeze.body().target.to_string(), freeze.issuer());
            let kind = NoticeKind::Freeze;
            let fresh = core
                .store
                .add_notice(kind, &about, issuer, &envelope, &nodes)
                .await?;
            if fresh {
                let (subject, member) = (digest.to_hex(), issuer.as_str());
                core.audit(
                    "freeze",
                    subject,
                    member,
                    "learnt",
                    format!("{about}, from {node}"),
                )
                .await;
            }
        }
    }
    follow(core).await
}

/// Each was verified under the bundle that was active when it came. An officer who left since does not take the freeze
/// along.
fn rebuild(chain: &BundleChain, freezes: &[Notice], unfreezes: &[Notice]) -> FreezeSet {
    let mut set = FreezeSet::default();
    for notice in freezes {
        match under_any(chain, |bundle| bundle.open_freeze(&notice.envelope).ok()) {
            Some(freeze) => set.insert(&freeze),
            None => unreadable(notice),
        }
    }
    for notice in unfreezes {
        match under_any(chain, |bundle| bundle.open_unfreeze(&notice.envelope).ok()) {
            Some(unfreeze) => set.end(&unfreeze),
            None => unreadable(notice),
        }
    }
    set
}

/// Opens a statement under the newest bundle of the chain that accepts it.
pub(crate) fn under_any<T>(
    chain: &BundleChain,
    open: impl Fn(&ActiveBundle) -> Option<T>,
) -> Option<T> {
    chain.links().iter().rev().find_map(open)
}

fn unreadable(notice: &Notice) {
    tracing::error!(digest = %notice.digest, kind = notice.kind.as_str(),
        "a stored statement is not acceptable under any bundle: somebody wrote into the database");
}
