//! What is known about a request besides its bytes and the bundle.

use crate::approvals::ApprovalTally;
use crate::freeze::FreezeSet;
use crate::limits::LimitHit;

/// What is known about a request besides its bytes and the bundle: who approved or rejected it, what is frozen, and which
/// limits it would pass.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    approvals: ApprovalTally,
    freezes: FreezeSet,
    limits: Vec<LimitHit>,
}

impl Standing {
    /// Nobody approved or rejected anything, nothing is frozen, and no limit is near.
    pub fn unencumbered() -> Self {
        Self::default()
    }

    /// `limits` are those that the ledgers say would be passed; limits per transaction are found by
    /// [`decide`](super::decide) itself.
    pub fn new(approvals: ApprovalTally, freezes: FreezeSet, limits: Vec<LimitHit>) -> Self {
        Self {
            approvals,
            freezes,
            limits,
        }
    }

    /// The approvals and rejections that count.
    pub fn approvals(&self) -> &ApprovalTally {
        &self.approvals
    }

    /// The freezes in force.
    pub fn freezes(&self) -> &FreezeSet {
        &self.freezes
    }

    /// The limits that would be passed.
    pub fn limits(&self) -> &[LimitHit] {
        &self.limits
    }
}
