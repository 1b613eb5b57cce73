//! Statements that need more than their issuer's signature and role, opened under a bundle.
//!
//! None of these looks at the time. A freeze holds until it is ended by name, however old its statement is, and an unfreeze
//! names what it ends, so nodes that meet one late come to the same set as those that met it at once.

use super::chain::ActiveBundle;
use super::model::Role;
use crate::envelope::Envelope;
use crate::id::MemberId;
use crate::statement::{
    Approval, Body, Freeze, FreezeTarget, Kind, Observation, StatementError, Unfreeze, Verified,
    Veto,
};

/// Why a statement does not count under a bundle.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The envelope is no acceptable statement.
    #[error("not an acceptable statement")]
    Statement(#[from] StatementError),
    /// A signature by somebody who has no say in it.
    #[error("{member} signed the {kind} and is no {role}", kind = .kind.as_str(), role = .role.as_str())]
    Signer {
        /// Who signed.
        member: MemberId,
        /// What.
        kind: Kind,
        /// The role that has a say in it.
        role: Role,
    },
    /// Not enough people signed.
    #[error("{found} members signed the {kind}, {needed} are needed", kind = .kind.as_str())]
    Quorum {
        /// What they signed.
        kind: Kind,
        /// Distinct members with the role.
        found: usize,
        /// Demanded by the bundle.
        needed: u16,
    },
    /// The bundle names no quorum that could say this.
    #[error("the bundle has no quorum for a {kind}: nobody can issue one", kind = .0.as_str())]
    NoQuorum(Kind),
    /// A node froze something else than a payment service.
    #[error("{node} is a node and froze more than a payment service: {target}")]
    NodeFreeze {
        /// The node.
        node: MemberId,
        /// What it froze.
        target: FreezeTarget,
    },
}

impl ActiveBundle {
    /// Opens a freeze: by one security officer, or by a node when it freezes a payment service and nothing else.
    ///
    /// # Errors
    /// [`OpenError`]: the first check that failed.
    pub fn open_freeze(&self, envelope: &Envelope) -> Result<Verified<Freeze>, OpenError> {
        let freeze = self.directory().open::<Freeze>(envelope)?;
        if self.has_role(freeze.issuer(), Role::SecurityOfficer) {
            return Ok(freeze);
        }
        match &freeze.body().target {
            FreezeTarget::Member { member } if self.has_role(member, Role::PaymentService) => {
                Ok(freeze)
            }
            target => Err(OpenError::NodeFreeze {
                node: freeze.issuer().clone(),
                target: target.clone(),
            }),
        }
    }

    /// Opens an unfreeze: issued by a security officer, signed by as many different ones as `quorums.unfreeze` demands.
    /// Nobody else may sign. That an officer is frozen does not matter here: otherwise who freezes first could not be
    /// answered.
    ///
    /// # Errors
    /// [`OpenError`]: the first check that failed.
    pub fn open_unfreeze(&self, envelope: &Envelope) -> Result<Verified<Unfreeze>, OpenError> {
        let needed = self.content().quorums.unfreeze;
        self.open_by(envelope, Role::SecurityOfficer, needed)
    }

    /// Opens what a quorum of chain observers says; refused under a bundle that has no such quorum.
    ///
    /// # Errors
    /// [`OpenError`]: the first check that failed.
    pub fn open_observation(
        &self,
        envelope: &Envelope,
    ) -> Result<Verified<Observation>, OpenError> {
        let needed = self.content().quorums.observation;
        self.open_by(envelope, Role::ChainObserver, needed)
    }

    /// Opens a veto by one policy approver.
    ///
    /// # Errors
    /// [`StatementError`]: the first check that failed.
    pub fn open_veto(&self, envelope: &Envelope) -> Result<Verified<Veto>, StatementError> {
        self.directory().open(envelope)
    }

    /// Opens an approval or rejection by one officer. Whether it counts for a request is for
    /// [`ApprovalTally::count`](crate::approvals::ApprovalTally::count) to say.
    ///
    /// # Errors
    /// [`StatementError`]: the first check that failed.
    pub fn open_approval(&self, envelope: &Envelope) -> Result<Verified<Approval>, StatementError> {
        self.directory().open(envelope)
    }

    /// Every signer has the role, and there are enough of them. The directory counts each member once.
    fn open_by<B: Body>(
        &self,
        envelope: &Envelope,
        role: Role,
        needed: u16,
    ) -> Result<Verified<B>, OpenError> {
        if needed == 0 {
            return Err(OpenError::NoQuorum(B::KIND));
        }
        let opened = self.directory().open_quorum::<B>(envelope)?;
        if let Some(other) = opened.signers().iter().find(|m| !self.has_role(m, role)) {
            return Err(OpenError::Signer {
                member: other.clone(),
                kind: B::KIND,
                role,
            });
        }
        let found = opened.signers().len();
        if found < usize::from(needed) {
            return Err(OpenError::Quorum {
                kind: B::KIND,
                found,
                needed,
            });
        }
        Ok(opened)
    }
}
