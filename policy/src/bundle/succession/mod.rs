//! How one bundle follows another, as a pure state machine: nodes stand behind a successor, approvers may veto it, and when
//! enough nodes have confirmed it, it is followed.
//!
//! A node first says that it *keeps* a successor. When enough nodes keep it, the activation delay of the active bundle
//! runs; a veto that a node hears of before it is over keeps that node from going on. After the delay a node *confirms*.
//! Enough confirmations are a certificate: whoever holds them follows the successor, whatever else it hears, and so a
//! veto or a clock never makes two nodes decide differently. With a delay of 0 a node confirms at once.
//!
//! Enough, for each key of the active bundle that has not ended: n - t + 1 + f of its nodes, so that no t nodes are left
//! that could sign under anything else; and at least more than (n + f) / 2, so that two successors cannot both have
//! enough. Where there are no keys: a majority of all nodes.
//!
//! A node stands behind one successor at a time. It changes over only to one that names all it stood behind in
//! `supersedes`, and then says which of them it had confirmed. A successor that supersedes others counts only when none of
//! them can have a certificate any more. Where nodes may lie (f > 0) that can remain unknown for ever; there it is enough
//! that every node confirmed the new one, and a node that did so never follows what it gave up. So two honest nodes never
//! follow different successors as long as at most f nodes of one key lie.
//!
//! State is rebuilt from the stored statements: propose the stored successors, then take the stored acknowledgements, the
//! node's own among them, and vetoes.

mod evidence;
mod quorum;
mod standing;

use std::collections::{BTreeMap, BTreeSet};

pub use evidence::{Activatable, ActivationEvidence, EvidenceError};
pub use quorum::AckQuorum;
pub use standing::{Pending, SuccessionStanding};

use super::chain::{ActiveBundle, BundleChain, ChainError};
use super::model::Role;
use crate::envelope::Envelope;
use crate::hash::Hash;
use crate::id::MemberId;
use crate::statement::{AckStage, Body, BundleAck, StatementError, Verified, Veto};
use crate::time::Timestamp;

/// Successors of one bundle that are remembered, and that one node or approver can speak about.
const MAX_SUCCESSORS: usize = 64;

/// Why something about a successor is refused.
#[derive(Debug, thiserror::Error)]
pub enum SuccessionError {
    /// The successor does not continue the chain.
    #[error("not an acceptable successor")]
    Chain(#[from] ChainError),
    /// No acceptable statement.
    #[error("not an acceptable statement about a successor")]
    Statement(#[from] StatementError),
    /// The chain has gone on.
    #[error("this is about what follows {expected}, the active bundle is {active}")]
    NotActive {
        /// The bundle whose succession this is.
        expected: Hash,
        /// The newest bundle of the chain.
        active: Hash,
    },
    /// Only nodes of the active bundle acknowledge.
    #[error("only a node of the active bundle acknowledges a successor")]
    NotANode,
    /// Too old to be acknowledged.
    #[error("the successor expired at {expires_at}; it is {now}")]
    Expired {
        /// Its expiry.
        expires_at: Timestamp,
        /// The present.
        now: Timestamp,
    },
    /// Stopped by policy approvers.
    #[error("{by} vetoed the successor: {reason}")]
    Vetoed {
        /// One of them.
        by: MemberId,
        /// Why.
        reason: String,
    },
    /// The node stands behind another successor.
    #[error(
        "this node stands behind {earlier}, which the successor does not name in supersedes: issue one that names every bundle that was acknowledged"
    )]
    Promised {
        /// The other successor.
        earlier: Hash,
    },
    /// An acknowledgement says something else about the successor than the successor does.
    #[error("{node} acknowledges {bundle} as version {version} after {predecessor}")]
    Mismatch {
        /// Who.
        node: MemberId,
        /// The successor.
        bundle: Hash,
        /// The version that the acknowledgement names.
        version: u64,
        /// The predecessor that it names.
        predecessor: Hash,
    },
    /// More successors than anybody needs.
    #[error("more than {MAX_SUCCESSORS} successors of one bundle")]
    TooMany,
}

/// What one node said about one successor.
#[derive(Debug, Clone, Default)]
struct NodeAcks {
    kept: Option<Verified<BundleAck>>,
    confirmed: Option<Verified<BundleAck>>,
}

impl NodeAcks {
    /// When the node kept the successor, by its own clock.
    fn since(&self) -> Option<Timestamp> {
        self.kept
            .as_ref()
            .or(self.confirmed.as_ref())
            .map(|ack| ack.statement().issued_at)
    }
}

/// What is known about the successors of the active bundle. See the module's documentation.
#[derive(Debug, Clone)]
pub struct Succession {
    active: ActiveBundle,
    me: Option<MemberId>,
    proposals: BTreeMap<Hash, ActiveBundle>,
    acks: BTreeMap<Hash, BTreeMap<MemberId, NodeAcks>>,
    vetoes: BTreeMap<Hash, BTreeMap<MemberId, Verified<Veto>>>,
    /// What this node stands behind or stood behind, and how far.
    promises: BTreeMap<Hash, AckStage>,
}

impl Succession {
    /// Nothing is known yet. `me` is the node that acknowledges; none for a reader.
    pub fn new(active: &ActiveBundle, me: Option<MemberId>) -> Self {
        Self {
            active: active.clone(),
            me,
            proposals: BTreeMap::new(),
            acks: BTreeMap::new(),
            vetoes: BTreeMap::new(),
            promises: BTreeMap::new(),
        }
    }

    /// The same knowledge as another node has it that promised nothing yet.
    #[cfg(test)]
    pub(super) fn as_node(&self, me: MemberId) -> Self {
        Self {
            me: Some(me),
            ..self.clone()
        }
    }

    /// The bundle whose successors these are.
    pub fn active(&self) -> &ActiveBundle {
        &self.active
    }

    /// The successors that are known.
    pub fn proposals(&self) -> impl Iterator<Item = &ActiveBundle> {
        self.proposals.values()
    }

    /// The successor that this node stands behind, if there is one.
    pub fn acknowledged(&self) -> Option<Hash> {
        let given_up = |digest: &Hash| self.given_up_for(digest, AckStage::Kept).is_some();
        self.promises.keys().find(|d| !given_up(d)).copied()
    }

    /// All statements that a peer needs to know what this one knows: successors first, then acknowledgements and vetoes.
    pub fn statements(&self) -> Vec<Envelope> {
        let proposals = self.proposals.values().map(|p| p.envelope().clone());
        let acks = self.acks.values().flat_map(|by_node| by_node.values());
        let acks = acks
            .flat_map(|a| a.kept.iter().chain(&a.confirmed))
            .map(|a| a.envelope().clone());
        let vetoes = self.vetoes.values().flat_map(|by| by.values());
        let vetoes = vetoes.map(|v| v.envelope().clone());
        proposals.chain(acks).chain(vetoes).collect()
    }

    /// Verifies a successor and remembers it, without standing behind it. The same one twice is one.
    ///
    /// # Errors
    /// [`SuccessionError`]: the chain has gone on, or the successor does not continue it.
    pub fn propose(
        &mut self,
        chain: &BundleChain,
        successor: &Envelope,
        now: Timestamp,
    ) -> Result<Hash, SuccessionError> {
        let (expected, active) = (self.active.digest(), chain.active().digest());
        if expected != active {
            return Err(SuccessionError::NotActive { expected, active });
        }
        let digest = successor.digest();
        if self.proposals.contains_key(&digest) {
            return Ok(digest);
        }
        let next = chain.verify_successor(successor, now)?;
        if self.proposals.len() >= MAX_SUCCESSORS {
            return Err(SuccessionError::TooMany);
        }
        self.proposals.insert(digest, next);
        Ok(digest)
    }

    /// This node stands behind a successor from here on: signs what is returned, stores it durably with the successor,
    /// and gives it to [`Succession::take_ack`] before it leaves the process. The same successor again gives the same
    /// answer.
    ///
    /// # Errors
    /// [`SuccessionError`]: this is no node; the successor does not continue the chain, is expired or vetoed, or this node
    /// stands behind another one that it does not supersede.
    pub fn acknowledge(
        &mut self,
        chain: &BundleChain,
        successor: &Envelope,
        now: Timestamp,
    ) -> Result<BundleAck, SuccessionError> {
        let me = self.me.clone().ok_or(SuccessionError::NotANode)?;
        if !self.active.has_role(&me, Role::Node) {
            return Err(SuccessionError::NotANode);
        }
        let digest = self.propose(chain, successor, now)?;
        if let Some((by, reason)) = self.veto_of(&digest) {
            return Err(SuccessionError::Vetoed { by, reason });
        }
        if let Some(next) = self.proposals.get(&digest) {
            let expires_at = next.expires_at();
            if now >= expires_at {
                return Err(SuccessionError::Expired { expires_at, now });
            }
            let supersedes = &next.content().supersedes;
            let mut others = self.promises.keys().filter(|d| **d != digest);
            if let Some(earlier) = others.find(|d| !supersedes.contains(d)) {
                return Err(SuccessionError::Promised { earlier: *earlier });
            }
        }
        let stage = match self.active.content().timing.activation_delay_seconds {
            0 => AckStage::Confirmed,
            _ => AckStage::Kept,
        };
        let stage = *self
            .promises
            .entry(digest)
            .and_modify(|s| *s = (*s).max(stage))
            .or_insert(stage);
        Ok(self.ack_of(digest, stage))
    }

    /// The confirmation that this node owes now, because the delay is over. To be called when time passes and after each
    /// acknowledgement taken; sign, store and take it as with [`Succession::acknowledge`]. Until it was taken it is returned
    /// again.
    pub fn due(&mut self, now: Timestamp) -> Option<BundleAck> {
        let me = self.me.clone()?;
        let digest = self.acknowledged()?;
        let next = self.proposals.get(&digest)?;
        let acks = self.acks.get(&digest)?.get(&me)?;
        let ripe = self.ripe_at(&digest)?;
        if acks.confirmed.is_some() || now >= next.expires_at() || now < ripe {
            return None;
        }
        if self.veto_of(&digest).is_some() {
            return None;
        }
        self.promises.insert(digest, AckStage::Confirmed);
        Some(self.ack_of(digest, AckStage::Confirmed))
    }

    /// Remembers what a node says about a successor, which need not be known yet. The expiry is not looked at: what was
    /// acknowledged stays so.
    ///
    /// # Errors
    /// [`SuccessionError`]: no acceptable acknowledgement, of another predecessor, or of the future.
    pub fn take_ack(&mut self, ack: &Envelope, now: Timestamp) -> Result<(), SuccessionError> {
        let ack = self.active.directory().open::<BundleAck>(ack)?;
        self.require_past(&ack, now)?;
        let body = ack.body();
        let version = self.active.content().version.saturating_add(1);
        if body.version != version || body.predecessor != self.active.digest() {
            return Err(SuccessionError::Mismatch {
                node: ack.issuer().clone(),
                bundle: body.bundle,
                version: body.version,
                predecessor: body.predecessor,
            });
        }
        let (digest, stage, node) = (body.bundle, body.stage, ack.issuer().clone());
        let spoken = self.acks.iter().filter(|(_, by)| by.contains_key(&node));
        let known = self
            .acks
            .get(&digest)
            .is_some_and(|by| by.contains_key(&node));
        if !known && spoken.count() >= MAX_SUCCESSORS {
            return Err(SuccessionError::TooMany);
        }
        if self.me.as_ref() == Some(&node) {
            let replaced = body.replaces.iter().map(|d| (*d, AckStage::Confirmed));
            for (digest, stage) in replaced.chain([(digest, stage)]) {
                let promise = self.promises.entry(digest).or_insert(stage);
                *promise = (*promise).max(stage);
            }
        }
        let slot = self
            .acks
            .entry(digest)
            .or_default()
            .entry(node)
            .or_default();
        match stage {
            AckStage::Kept => slot.kept.get_or_insert(ack),
            AckStage::Confirmed => slot.confirmed.get_or_insert(ack),
        };
        Ok(())
    }

    /// Remembers that an approver of the active bundle stops a successor, which need not be known yet. The expiry is not
    /// looked at: what was stopped stays so.
    ///
    /// # Errors
    /// [`SuccessionError`]: no acceptable veto, or of the future.
    pub fn take_veto(&mut self, veto: &Envelope, now: Timestamp) -> Result<(), SuccessionError> {
        let veto = self.active.directory().open::<Veto>(veto)?;
        self.require_past(&veto, now)?;
        let (digest, by) = (veto.body().bundle, veto.issuer().clone());
        let spoken = self.vetoes.iter().filter(|(_, b)| b.contains_key(&by));
        let known = self
            .vetoes
            .get(&digest)
            .is_some_and(|b| b.contains_key(&by));
        if !known && spoken.count() >= MAX_SUCCESSORS {
            return Err(SuccessionError::TooMany);
        }
        self.vetoes
            .entry(digest)
            .or_default()
            .entry(by)
            .or_insert(veto);
        Ok(())
    }

    /// Takes what somebody else followed, and says whether this one follows too. A successor that has expired meanwhile is
    /// followed as well: nothing is allowed under it, and it leads to the next.
    ///
    /// # Errors
    /// [`EvidenceError`]: a part that is refused, or evidence that is not enough.
    pub fn take_evidence(
        &mut self,
        chain: &BundleChain,
        evidence: &ActivationEvidence,
        now: Timestamp,
    ) -> Result<Activatable, EvidenceError> {
        let digest = self.propose(chain, &evidence.bundle, now)?;
        for ack in &evidence.acks {
            self.take_ack(ack, now)?;
        }
        Ok(self.activatable(&digest, now)?)
    }

    fn ack_of(&self, bundle: Hash, stage: AckStage) -> BundleAck {
        let replaced = self.promises.iter();
        BundleAck {
            bundle,
            version: self.active.content().version.saturating_add(1),
            predecessor: self.active.digest(),
            stage,
            replaces: replaced
                .filter(|(d, stage)| **d != bundle && **stage == AckStage::Confirmed)
                .map(|(d, _)| *d)
                .collect(),
        }
    }

    fn veto_of(&self, digest: &Hash) -> Option<(MemberId, String)> {
        let (by, veto) = self.vetoes.get(digest)?.first_key_value()?;
        Some((by.clone(), veto.body().reason.clone()))
    }

    /// The successor for which this node gave up another one, if it went at least to `stage` with it.
    fn given_up_for(&self, digest: &Hash, stage: AckStage) -> Option<Hash> {
        let supersedes = |by: &Hash| {
            let by = self.proposals.get(by);
            by.is_some_and(|b| b.content().supersedes.contains(digest))
        };
        let promises = self.promises.iter().filter(|(_, s)| **s >= stage);
        promises.map(|(by, _)| *by).find(supersedes)
    }

    fn require_past<B: Body>(
        &self,
        said: &Verified<B>,
        now: Timestamp,
    ) -> Result<(), StatementError> {
        let issued_at = said.statement().issued_at;
        if issued_at > now.plus_seconds(self.active.skew_seconds()) {
            return Err(StatementError::NotYetValid {
                kind: B::KIND,
                issued_at,
                now,
            });
        }
        Ok(())
    }

    /// The nodes that stand behind a successor at least as far as `stage`.
    fn behind(&self, digest: &Hash, stage: AckStage) -> BTreeSet<&MemberId> {
        let acks = self.acks.get(digest).into_iter().flatten();
        acks.filter(|(_, a)| a.confirmed.is_some() || stage == AckStage::Kept)
            .map(|(node, _)| node)
            .collect()
    }
}
