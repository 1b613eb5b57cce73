//! What policy says about a request as it stands: with the approvals that were given and the freezes in force. The one place
//! where the coordinator asks `decide`, so that simulating, creating and going on come to the same answer.

use std::collections::BTreeMap;

use countersign_policy::approvals::ApprovalTally;
use countersign_policy::bundle::ActiveBundle;
use countersign_policy::statement::{SignRequest, Verified};
use countersign_policy::{
    Decision, Envelope, Explanation, Facts, Hash, MemberId, Outcome, Standing, decide, explain,
};

use crate::core::{Core, now};
use crate::db::{DbError, StoredApproval};
use crate::lifecycle::Waiting;

/// The most approvals that one authorization names.
const MAX_NAMED: usize = 64;

/// A decision and what it rests on.
#[derive(Debug, Clone)]
pub(crate) struct Opinion {
    pub(crate) decision: Decision,
    /// The approvals that count, in ascending order of their digests: an authorization names them.
    pub(crate) approvals: Vec<Envelope>,
    /// Approvals that do not count (any more), with the reason.
    pub(crate) void: BTreeMap<MemberId, String>,
}

impl Opinion {
    /// Whether an approval counts.
    pub(crate) fn counts(&self, approval: &Hash) -> bool {
        self.approvals.iter().any(|a| a.digest() == *approval)
    }

    /// What the request waits for.
    pub(crate) fn waiting(&self, bundle: &ActiveBundle) -> Waiting {
        Waiting {
            bundle: Some(bundle.digest()),
            missing: self.decision.missing.clone(),
            void: self.void.clone(),
        }
    }
}

/// Decides a request nobody has looked at yet.
pub(crate) fn at_first(
    core: &Core,
    bundle: &ActiveBundle,
    verified: &Verified<SignRequest>,
    facts: &Facts,
) -> Opinion {
    with(core, bundle, verified, facts, &[])
}

/// Decides a stored request. Approvals are read only when they matter.
pub(crate) async fn as_it_stands(
    core: &Core,
    bundle: &ActiveBundle,
    verified: &Verified<SignRequest>,
    facts: &Facts,
) -> Result<Opinion, DbError> {
    let opinion = at_first(core, bundle, verified, facts);
    if opinion.decision.outcome != Outcome::NeedsApprovals {
        return Ok(opinion);
    }
    let stored = core.store.approvals(verified.digest()).await?;
    Ok(with(core, bundle, verified, facts, &stored))
}

/// Decides with these approvals, and tells how it came to that. For whoever may see rules and limits.
pub(crate) fn explained(
    core: &Core,
    bundle: &ActiveBundle,
    verified: &Verified<SignRequest>,
    facts: &Facts,
    stored: &[StoredApproval],
) -> Explanation {
    let freezes = core.freezes.current();
    let at = now();
    let envelopes: Vec<Envelope> = stored.iter().map(|a| a.envelope.clone()).collect();
    let (tally, _) = ApprovalTally::count(bundle, verified, facts, &envelopes, &freezes, at);
    let standing = Standing::new(tally, freezes, Vec::new());
    explain(bundle, verified, facts, &standing, at)
}

/// Decides with these approvals.
pub(crate) fn with(
    core: &Core,
    bundle: &ActiveBundle,
    verified: &Verified<SignRequest>,
    facts: &Facts,
    stored: &[StoredApproval],
) -> Opinion {
    let freezes = core.freezes.current();
    let at = now();
    let envelopes: Vec<Envelope> = stored.iter().map(|a| a.envelope.clone()).collect();
    let (tally, refused) = ApprovalTally::count(bundle, verified, facts, &envelopes, &freezes, at);
    let mut void = BTreeMap::new();
    for refusal in refused {
        if let Some(approval) = stored.get(refusal.index) {
            void.insert(approval.member.clone(), crate::api::explain(&refusal.why));
        }
    }
    // Who approved again after an approval died is not told about the dead one.
    void.retain(|member, _| !tally.members().any(|counted| counted == member));
    let mut counted: Vec<Envelope> = stored
        .iter()
        .filter(|a| tally.approvals().any(|(_, c)| c.approval == a.digest))
        .map(|a| a.envelope.clone())
        .collect();
    counted.sort_by_key(Envelope::digest);
    // As many as an authorization names; a rule needs fewer people than that.
    counted.truncate(MAX_NAMED);
    // Limits are for the nodes, who keep the ledgers: see `Standing`.
    let standing = Standing::new(tally, freezes, Vec::new());
    Opinion {
        decision: decide(bundle, verified, facts, &standing, at),
        approvals: counted,
        void,
    }
}
