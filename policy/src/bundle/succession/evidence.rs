//! Proof that a successor counts, for this process and for others, and the chain that takes it.

use serde::{Deserialize, Serialize};

use super::super::chain::{ActiveBundle, BundleChain, ChainError};
use super::{Pending, Succession, SuccessionError};
use crate::envelope::Envelope;
use crate::hash::Hash;
use crate::time::Timestamp;

/// A successor and the acknowledgements that made it count: what somebody who was away needs to follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActivationEvidence {
    /// The successor.
    pub bundle: Envelope,
    /// Confirmations of it.
    pub acks: Vec<Envelope>,
}

/// Proof that enough nodes stand behind a successor. Only [`Succession`] makes it; [`BundleChain::activate`] takes it.
#[derive(Debug, Clone)]
pub struct Activatable {
    pub(super) next: ActiveBundle,
    pub(super) evidence: ActivationEvidence,
}

impl Activatable {
    /// The successor.
    pub fn successor(&self) -> &ActiveBundle {
        &self.next
    }

    /// What others need to follow it too.
    pub fn evidence(&self) -> &ActivationEvidence {
        &self.evidence
    }
}

/// Why evidence does not lead to a successor.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// A part of it is refused.
    #[error("the evidence is refused")]
    Refused(#[from] SuccessionError),
    /// It is not enough.
    #[error("the evidence is not enough")]
    NotEnough(#[from] Pending),
    /// The chain refuses the successor.
    #[error("the chain refuses the successor")]
    Chain(#[from] ChainError),
}

impl BundleChain {
    /// Follows a successor that enough nodes stand behind. On an error nothing changes.
    ///
    /// # Errors
    /// [`ChainError::Fork`] when the successor follows another bundle than the newest one: the proof is of the past.
    pub fn activate(&mut self, proof: Activatable) -> Result<&ActiveBundle, ChainError> {
        let next = proof.next;
        let active = self.active();
        let content = next.content();
        if content.predecessor != Some(active.digest()) {
            return Err(ChainError::Fork {
                version: content.version,
                found: content.predecessor.unwrap_or(Hash::ZERO),
                active: active.digest(),
            });
        }
        self.push(next);
        Ok(self.active())
    }

    /// Follows a successor on the evidence that others kept: for a reader that acknowledges nothing itself. A node gives
    /// the evidence to its [`Succession`] instead, which knows what the node has given up.
    ///
    /// # Errors
    /// [`EvidenceError`]: the first check that failed. Nothing changes then.
    pub fn append_with_evidence(
        &mut self,
        evidence: &ActivationEvidence,
        now: Timestamp,
    ) -> Result<&ActiveBundle, EvidenceError> {
        let mut succession = Succession::new(self.active(), None);
        let proof = succession.take_evidence(self, evidence, now)?;
        Ok(self.activate(proof)?)
    }
}
