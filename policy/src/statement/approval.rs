//! What an officer says about one request.

use serde::{Deserialize, Serialize};

use super::{Body, Kind};
use crate::Intent;
use crate::hash::Hash;
use crate::plain::plain_text;

/// An officer looked at one request, as decoded from its bytes, and approves or rejects it.
///
/// It is bound to the request's digest, the exact signing digests, the decoded intent and the bundle under which it was
/// given. A change of any of them leaves it worthless, and so does its expiry or the end of the officer's membership.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Digest of the sign-request statement.
    pub request: Hash,
    /// The exact signing digests that the officer's own decoder computed.
    pub digests: Vec<Hash>,
    /// What the officer was shown: the intent as decoded, with the paying address filled in.
    pub intent: Intent,
    /// Digest of the bundle that was active.
    pub bundle: Hash,
    /// Yes or no.
    pub verdict: Verdict,
}

/// An officer's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Verdict {
    /// It may be signed.
    Approve,
    /// It must not be signed. One rejection by somebody whose approval would have counted ends a request.
    Reject {
        /// Why, for people; 1 to 128 bytes.
        reason: String,
    },
}

impl Body for Approval {
    const KIND: Kind = Kind::Approval;

    fn check(&self) -> Result<(), String> {
        super::session::check_digests(&self.digests)?;
        match &self.verdict {
            Verdict::Approve => Ok(()),
            Verdict::Reject { reason } => {
                plain_text(reason).map_err(|what| format!("the reason of a rejection {what}"))
            }
        }
    }
}
