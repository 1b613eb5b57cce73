//! Where a successor stands, and whether it counts.

use std::collections::{BTreeMap, BTreeSet};

use super::quorum::{AckQuorum, all_nodes};
use super::{Activatable, ActivationEvidence, Succession};
use crate::hash::Hash;
use crate::id::MemberId;
use crate::statement::AckStage;
use crate::time::Timestamp;

/// Why a successor does not count, yet or ever.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Pending {
    /// Nobody has shown it.
    #[error("no successor {0} is known")]
    Unknown(Hash),
    /// This node stands behind another one that supersedes it.
    #[error("this node gave it up for {by}, which supersedes it")]
    GivenUp {
        /// The other one.
        by: Hash,
    },
    /// Stopped by a policy approver before enough nodes confirmed it.
    #[error("{by} vetoed it: {reason}")]
    Vetoed {
        /// Who.
        by: MemberId,
        /// Why.
        reason: String,
    },
    /// Too few nodes keep it or have confirmed it.
    #[error("{have} of the {needed} nodes that are needed {}", match .stage {
        AckStage::Kept => "keep it",
        AckStage::Confirmed => "have confirmed it",
    })]
    Quorum {
        /// Whether nodes must keep it still, or confirm it.
        stage: AckStage,
        /// How many have.
        have: usize,
        /// How many are needed.
        needed: usize,
        /// The nodes that could and have not.
        missing: BTreeSet<MemberId>,
    },
    /// Enough nodes keep it, and the delay is not over.
    #[error("it waits for vetoes until {until}")]
    Delay {
        /// When nodes confirm it.
        until: Timestamp,
    },
    /// It expired before enough nodes confirmed it.
    #[error("it expired at {0} before enough nodes confirmed it")]
    Expired(Timestamp),
    /// One that it supersedes may count already where somebody was not reached.
    #[error(
        "{superseded} may be active at a node that has not confirmed its replacement: reach more nodes, or look for its acknowledgements"
    )]
    Blocked {
        /// The other one.
        superseded: Hash,
        /// The nodes that have not confirmed.
        missing: BTreeSet<MemberId>,
    },
}

/// Where one successor stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuccessionStanding {
    /// Its digest.
    pub bundle: Hash,
    /// What it takes the place of.
    pub supersedes: Vec<Hash>,
    /// Nothing is allowed under it from this time on.
    pub expires_at: Timestamp,
    /// The nodes that keep it.
    pub kept: BTreeSet<MemberId>,
    /// Those of them that have confirmed it.
    pub confirmed: BTreeSet<MemberId>,
    /// How many are needed; all of these must be met.
    pub needed: Vec<AckQuorum>,
    /// When nodes confirm it: from the time at which enough of them kept it, after the delay.
    pub activates_at: Option<Timestamp>,
    /// Who vetoed it, and why.
    pub vetoed_by: BTreeMap<MemberId, String>,
    /// What it waits for; none: it counts.
    pub waits_for: Option<Pending>,
}

impl Succession {
    /// Where a successor stands; none when nobody has shown it.
    pub fn standing(&self, digest: &Hash, now: Timestamp) -> Option<SuccessionStanding> {
        let next = self.proposals.get(digest)?;
        let owned = |stage| self.behind(digest, stage).into_iter().cloned().collect();
        let vetoes = self.vetoes.get(digest).into_iter().flatten();
        Some(SuccessionStanding {
            bundle: *digest,
            supersedes: next.content().supersedes.clone(),
            expires_at: next.expires_at(),
            kept: owned(AckStage::Kept),
            confirmed: owned(AckStage::Confirmed),
            needed: AckQuorum::of(self.active.content()),
            activates_at: self.ripe_at(digest),
            vetoed_by: vetoes
                .map(|(by, veto)| (by.clone(), veto.body().reason.clone()))
                .collect(),
            waits_for: self.activatable(digest, now).err(),
        })
    }

    /// Whether a successor counts.
    ///
    /// # Errors
    /// [`Pending`]: what it waits for.
    pub fn activatable(&self, digest: &Hash, now: Timestamp) -> Result<Activatable, Pending> {
        let next = self
            .proposals
            .get(digest)
            .ok_or(Pending::Unknown(*digest))?;
        let confirmed = self.behind(digest, AckStage::Confirmed);
        let quorums = AckQuorum::of(self.active.content());
        if some_may_lie(&quorums)
            && let Some(by) = self.given_up_for(digest, AckStage::Confirmed)
        {
            return Err(Pending::GivenUp { by });
        }
        if let Some(unmet) = quorums.iter().find(|q| !q.is_met(&confirmed)) {
            return Err(self.before_certificate(digest, unmet, &confirmed, now));
        }
        for superseded in &next.content().supersedes {
            self.require_out_of_reach(digest, superseded, &quorums, &confirmed)?;
        }
        let acks = self.acks.get(digest).into_iter().flatten();
        let acks = acks.filter_map(|(_, a)| a.confirmed.as_ref());
        Ok(Activatable {
            next: next.clone(),
            evidence: ActivationEvidence {
                bundle: next.envelope().clone(),
                acks: acks.map(|a| a.envelope().clone()).collect(),
            },
        })
    }

    /// Why there are not enough confirmations yet.
    fn before_certificate(
        &self,
        digest: &Hash,
        unmet: &AckQuorum,
        confirmed: &BTreeSet<&MemberId>,
        now: Timestamp,
    ) -> Pending {
        if let Some((by, reason)) = self.veto_of(digest) {
            return Pending::Vetoed { by, reason };
        }
        let expires_at = self.proposals.get(digest).map(|n| n.expires_at());
        if let Some(expires_at) = expires_at.filter(|e| now >= *e) {
            return Pending::Expired(expires_at);
        }
        let lacking = |quorum: &AckQuorum, stage, have: &BTreeSet<&MemberId>| Pending::Quorum {
            stage,
            have: quorum.have(have),
            needed: quorum.needed,
            missing: missing(&quorum.nodes, have),
        };
        let kept = self.behind(digest, AckStage::Kept);
        let quorums = AckQuorum::of(self.active.content());
        if let Some(unmet) = quorums.iter().find(|q| !q.is_met(&kept)) {
            return lacking(unmet, AckStage::Kept, &kept);
        }
        match self.ripe_at(digest) {
            Some(until) if now < until => Pending::Delay { until },
            _ => lacking(unmet, AckStage::Confirmed, confirmed),
        }
    }

    /// When nodes confirm a successor: the delay counts from the issue of the acknowledgement that completed the last quorum.
    /// A node that lies about its time can shorten it by no more than the time that n - t + 1 honest nodes did not yet
    /// keep it.
    pub(super) fn ripe_at(&self, digest: &Hash) -> Option<Timestamp> {
        let issued_at = self.proposals.get(digest)?.issued_at();
        let acks = self.acks.get(digest)?;
        let mut complete = issued_at;
        for quorum in AckQuorum::of(self.active.content()) {
            let by_node = acks.iter().filter(|(node, _)| quorum.nodes.contains(node));
            let mut times: Vec<_> = by_node.filter_map(|(_, a)| a.since()).collect();
            times.sort_unstable();
            let last = times.get(quorum.needed.saturating_sub(1))?;
            complete = complete.max(*last);
        }
        let delay = self.active.content().timing.activation_delay_seconds;
        Some(complete.plus_seconds(delay))
    }

    /// A superseded successor can never have enough confirmations: they are at most by those who say that they gave it up,
    /// those who have not confirmed its replacement, and the liars. Or, where nodes may lie, nobody is left to follow it.
    fn require_out_of_reach(
        &self,
        digest: &Hash,
        superseded: &Hash,
        quorums: &[AckQuorum],
        confirmed: &BTreeSet<&MemberId>,
    ) -> Result<(), Pending> {
        let everybody = all_nodes(self.active.content());
        let missing = missing(&everybody, confirmed);
        let replacing: BTreeSet<_> = self
            .acks
            .get(digest)
            .into_iter()
            .flatten()
            .filter_map(|(node, a)| Some((node, a.confirmed.as_ref()?)))
            .filter(|(_, ack)| ack.body().replaces.contains(superseded))
            .map(|(node, _)| node)
            .collect();
        let out_of_reach = quorums.iter().any(|quorum| {
            let outside = quorum.nodes.len().saturating_sub(quorum.have(confirmed));
            let possible = quorum.have(&replacing).saturating_add(outside);
            possible.saturating_add(quorum.max_faulty) < quorum.needed
        });
        if out_of_reach || (missing.is_empty() && some_may_lie(quorums)) {
            return Ok(());
        }
        Err(Pending::Blocked {
            superseded: *superseded,
            missing,
        })
    }
}

fn some_may_lie(quorums: &[AckQuorum]) -> bool {
    quorums.iter().any(|q| q.max_faulty > 0)
}

fn missing(nodes: &BTreeSet<MemberId>, have: &BTreeSet<&MemberId>) -> BTreeSet<MemberId> {
    nodes
        .iter()
        .filter(|n| !have.contains(n))
        .cloned()
        .collect()
}
