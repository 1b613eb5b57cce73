//! From what the store kept to what the node stands behind and what stands still, at start.

use countersign_policy::bundle::{BundleChain, Succession};
use countersign_policy::statement::Kind;
use countersign_policy::{FreezeSet, MemberId};

use crate::clock::now;
use crate::plain::explained;
use crate::store::KeptStatement;
use crate::wire::{Problem, ProblemCode};

/// What is known about successors of the active bundle: they come first, then what nodes and approvers say about them.
pub(super) fn succession(chain: &BundleChain, me: &MemberId, kept: &[KeptStatement]) -> Succession {
    let active = chain.active();
    let mut succession = Succession::new(active, Some(me.clone()));
    let about = |kind: Kind| {
        let under = active.digest();
        kept.iter()
            .filter(move |s| s.kind == kind && s.bundle == under)
    };
    let mut taken = Ok(());
    for proposal in about(Kind::PolicyBundle) {
        taken = taken.and(
            succession
                .propose(chain, &proposal.envelope, now())
                .map(|_| ()),
        );
    }
    for ack in about(Kind::BundleAck) {
        taken = taken.and(succession.take_ack(&ack.envelope, now()));
    }
    for veto in about(Kind::Veto) {
        taken = taken.and(succession.take_veto(&veto.envelope, now()));
    }
    if let Err(error) = taken {
        // They were verified before they were kept; only a clock that went back can say otherwise.
        tracing::warn!(%error, "a kept statement about a successor bundle is not acceptable now");
    }
    succession
}

/// The freezes in force, each opened under the bundle under which it was taken.
pub(super) fn freezes(chain: &BundleChain, kept: &[KeptStatement]) -> Result<FreezeSet, Problem> {
    let mut freezes = FreezeSet::default();
    for statement in kept {
        let damaged = |why: String| {
            ProblemCode::Internal.problem(format!("kept statement {}: {why}", statement.digest))
        };
        if !matches!(statement.kind, Kind::Freeze | Kind::Unfreeze) {
            continue;
        }
        let link = chain
            .links()
            .iter()
            .find(|l| l.digest() == statement.bundle)
            .ok_or_else(|| damaged("it was taken under a bundle that is not there".to_owned()))?;
        match statement.kind {
            Kind::Freeze => {
                let freeze = link.open_freeze(&statement.envelope);
                freezes.insert(&freeze.map_err(|e| damaged(explained(&e)))?);
            }
            _ => {
                let unfreeze = link.open_unfreeze(&statement.envelope);
                freezes.end(&unfreeze.map_err(|e| damaged(explained(&e)))?);
            }
        }
    }
    Ok(freezes)
}
