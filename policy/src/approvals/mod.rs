//! Approvals: who must look at a request before it may be signed, and who did.
//!
//! An approval names the digest of one sign request, so it is spent by that request by construction: a request is signed at
//! most once, and there is nothing else that the approval could be shown for. It dies with any change of the request, of
//! the bundle, of the officer's membership, with a freeze of the officer and with its own expiry, because every count is
//! made anew from the statements.

mod matching;
mod needs;
mod tally;
#[cfg(test)]
mod tests;

pub(crate) use matching::filled;
pub use needs::{Need, Needs, NeedsError};
pub use tally::{
    ApprovalProblem, ApprovalTally, CountedApproval, MAX_APPROVALS, MissingApprovals,
    RejectedApproval, Rejection,
};

use crate::bundle::ActiveBundle;
use crate::decide::Facts;
use crate::hash::Hash;
use crate::statement::{Approval, SignRequest, Verdict, Verified};
use crate::{Intent, SenderMismatch};

impl Approval {
    /// What an officer signs about a request whose facts the officer's own machine established.
    ///
    /// # Errors
    /// When the facts are about another request.
    pub fn of(
        bundle: &ActiveBundle,
        request: &Verified<SignRequest>,
        facts: &Facts,
        verdict: Verdict,
    ) -> Result<Self, SenderMismatch> {
        Ok(Self {
            request: request.digest(),
            digests: digests(facts),
            intent: shown_intent(facts)?,
            bundle: bundle.digest(),
            verdict,
        })
    }
}

/// The signing digests of the transaction, as computed from its bytes.
fn digests(facts: &Facts) -> Vec<Hash> {
    vec![Hash::from_bytes(*facts.transaction().digest().as_bytes())]
}

/// What an officer is shown: the intent as decoded, with the paying address.
fn shown_intent(facts: &Facts) -> Result<Intent, SenderMismatch> {
    facts
        .transaction()
        .intent()
        .clone()
        .with_sender(facts.source())
}
