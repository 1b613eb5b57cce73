//! The life of a sign request: its states, what may follow what, and what a final state claims.
//!
//! ```text
//! RECEIVED -> PENDING_APPROVAL <-> AUTHORIZED -> SIGNING -> SIGNED
//!     |              |                |            |
//!     +-> BLOCKED    +----------------+------------+--> STOPPING -> BLOCKED, REJECTED, EXPIRED, CANCELLED, FAILED
//! ```
//!
//! An authorized request waits for approvals again when a new bundle or a freeze took those that it had.
//!
//! A final state without a signature is a promise that nobody will ever see a signature of this request, so that it is
//! safe to pay another way. It is made only after `n - t + 1 + f` nodes durably acknowledged the stop. The one exception is
//! BLOCKED straight from RECEIVED: no authorization was ever made, and every signer comes to the same decision.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use countersign_policy::approvals::MissingApprovals;
use countersign_policy::statement::{CancelReason, StopOutcome};
use countersign_policy::{Hash, MemberId, Reason, Signature};
use utoipa::ToSchema;

/// Where a request stands, with the data of that state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "state",
    rename_all = "SCREAMING_SNAKE_CASE",
    deny_unknown_fields
)]
pub enum State {
    /// Stored; nothing was decided yet.
    Received,
    /// Policy asks for approvals that are not there yet.
    PendingApproval(Waiting),
    /// An authorization was stored, and may have been sent to its participants.
    Authorized {
        /// The attempt that the authorization belongs to.
        attempt: u32,
    },
    /// All receipts of the attempt may have been sent to its participants: a signature can exist.
    Signing {
        /// The attempt.
        attempt: u32,
    },
    /// Signed, verified against the pinned key and the intent's bytes.
    Signed(SignedData),
    /// It is to end without a signature; nodes are being asked to stop it. It may still be signed.
    Stopping {
        /// How it is to end.
        goal: Goal,
        /// Why.
        why: Why,
    },
    /// Policy said no.
    Blocked(Why),
    /// A person said no.
    Rejected(Why),
    /// Its time was over.
    Expired(Why),
    /// Its initiator or an officer ended it.
    Cancelled(Why),
    /// It broke.
    Failed(Why),
}

/// What a request waits for, as it was last decided.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiting {
    /// The bundle that it was decided under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<Hash>,
    /// The approvals that are missing, by group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<MissingApprovals>,
    /// Approvals that were given and count no more, by officer, with the reason: a new bundle, a freeze, their expiry.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub void: BTreeMap<MemberId, String>,
}

impl Waiting {
    /// For people.
    fn line(&self) -> String {
        let missing: Vec<String> = self
            .missing
            .iter()
            .map(|m| format!("{} of {} of {}", m.have, m.needed, m.group))
            .collect();
        let mut line = format!("waits for approvals: {}", missing.join(", "));
        for (member, why) in &self.void {
            line.push_str(&format!("; the approval of {member} counts no more: {why}"));
        }
        line
    }
}

/// What came out of a signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedData {
    /// The signature.
    pub signature: Signature,
    /// The transaction as the network takes it, in hexadecimal; with `0x` in front for EVM networks.
    pub signed: String,
    /// The transaction's id as the network's explorers write it.
    pub tx_id: String,
    /// The attempt that succeeded.
    pub attempt: u32,
    /// The nodes that signed.
    pub participants: Vec<MemberId>,
}

/// Why a request did not end in a signature.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Why {
    /// A stable code, such as `policy`, `expired`, `cancelled`, `nodes-unavailable`.
    pub code: String,
    /// For people.
    pub detail: String,
    /// Policy's reasons, when policy said no.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub reasons: Vec<Reason>,
    /// Nodes whose messages were wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub culprits: Vec<MemberId>,
    /// What each node that was asked last answered, by node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub nodes: BTreeMap<MemberId, String>,
}

/// The end that a request in [`State::Stopping`] is going to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Goal {
    /// Policy said no after an authorization had been made.
    Blocked,
    /// A person said no.
    Rejected,
    /// Its time is over.
    Expired,
    /// Its initiator or an officer ended it.
    Cancelled,
    /// It cannot be completed.
    Failed,
}

/// The names of the states, for filters and the database.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs, reason = "the variants of State say what they mean")]
pub enum StateName {
    Received,
    PendingApproval,
    Authorized,
    Signing,
    Signed,
    Stopping,
    Blocked,
    Rejected,
    Expired,
    Cancelled,
    Failed,
}

impl StateName {
    /// All of them.
    pub const ALL: [StateName; 11] = [
        Self::Received,
        Self::PendingApproval,
        Self::Authorized,
        Self::Signing,
        Self::Signed,
        Self::Stopping,
        Self::Blocked,
        Self::Rejected,
        Self::Expired,
        Self::Cancelled,
        Self::Failed,
    ];

    /// The name as the API and the database write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "RECEIVED",
            Self::PendingApproval => "PENDING_APPROVAL",
            Self::Authorized => "AUTHORIZED",
            Self::Signing => "SIGNING",
            Self::Signed => "SIGNED",
            Self::Stopping => "STOPPING",
            Self::Blocked => "BLOCKED",
            Self::Rejected => "REJECTED",
            Self::Expired => "EXPIRED",
            Self::Cancelled => "CANCELLED",
            Self::Failed => "FAILED",
        }
    }

    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.as_str() == text)
    }

    /// Whether nothing follows.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Received
            | Self::PendingApproval
            | Self::Authorized
            | Self::Signing
            | Self::Stopping => false,
            Self::Signed
            | Self::Blocked
            | Self::Rejected
            | Self::Expired
            | Self::Cancelled
            | Self::Failed => true,
        }
    }

    /// Whether `next` may follow. Everything that is not listed fails closed.
    pub const fn may_become(self, next: StateName) -> bool {
        use StateName as S;
        match (self, next) {
            (S::Received, S::PendingApproval | S::Authorized | S::Blocked | S::Stopping) => true,
            (S::PendingApproval, S::PendingApproval | S::Authorized | S::Stopping) => true,
            // A machine with no network answers an authorization that was given before its approvals died.
            (S::PendingApproval, S::Signed) => true,
            (S::Authorized, S::Authorized | S::Signing | S::Signed | S::Stopping) => true,
            (S::Signing, S::Authorized | S::Signed | S::Stopping) => true,
            // Its approvals died; what was authorized before runs out, and nothing final is claimed.
            (S::Authorized | S::Signing, S::PendingApproval) => true,
            // A new attempt while stopping is kept inside STOPPING; the goal may change when somebody cancels meanwhile.
            (S::Stopping, S::Stopping | S::Signed) => true,
            (S::Stopping, S::Blocked | S::Rejected | S::Expired | S::Cancelled | S::Failed) => true,
            _ => false,
        }
    }
}

impl State {
    /// The state's name.
    pub const fn name(&self) -> StateName {
        match self {
            Self::Received => StateName::Received,
            Self::PendingApproval(_) => StateName::PendingApproval,
            Self::Authorized { .. } => StateName::Authorized,
            Self::Signing { .. } => StateName::Signing,
            Self::Signed(_) => StateName::Signed,
            Self::Stopping { .. } => StateName::Stopping,
            Self::Blocked(_) => StateName::Blocked,
            Self::Rejected(_) => StateName::Rejected,
            Self::Expired(_) => StateName::Expired,
            Self::Cancelled(_) => StateName::Cancelled,
            Self::Failed(_) => StateName::Failed,
        }
    }

    /// Whether nothing follows.
    pub const fn is_final(&self) -> bool {
        self.name().is_final()
    }

    /// Why there is no signature, when there is none.
    pub const fn why(&self) -> Option<&Why> {
        match self {
            Self::Stopping { why, .. }
            | Self::Blocked(why)
            | Self::Rejected(why)
            | Self::Expired(why)
            | Self::Cancelled(why)
            | Self::Failed(why) => Some(why),
            Self::Received
            | Self::PendingApproval(_)
            | Self::Authorized { .. }
            | Self::Signing { .. }
            | Self::Signed(_) => None,
        }
    }

    /// What an event says about the change into this state.
    pub fn describe(&self) -> String {
        match self {
            Self::Received => "stored".to_owned(),
            Self::PendingApproval(waiting) => waiting.line(),
            Self::Authorized { attempt } => format!("attempt {attempt}"),
            Self::Signing { attempt } => format!("attempt {attempt}"),
            Self::Signed(data) => {
                let names: Vec<&str> = data.participants.iter().map(MemberId::as_str).collect();
                format!("attempt {}, by {}", data.attempt, names.join(", "))
            }
            Self::Stopping { goal, why } => {
                format!("towards {}: {}", goal.name().as_str(), why.line())
            }
            Self::Blocked(why)
            | Self::Rejected(why)
            | Self::Expired(why)
            | Self::Cancelled(why)
            | Self::Failed(why) => why.line(),
        }
    }
}

impl Goal {
    /// The state it leads to.
    pub fn reached(self, why: Why) -> State {
        match self {
            Self::Blocked => State::Blocked(why),
            Self::Rejected => State::Rejected(why),
            Self::Expired => State::Expired(why),
            Self::Cancelled => State::Cancelled(why),
            Self::Failed => State::Failed(why),
        }
    }

    /// The name of the state it leads to.
    pub const fn name(self) -> StateName {
        match self {
            Self::Blocked => StateName::Blocked,
            Self::Rejected => StateName::Rejected,
            Self::Expired => StateName::Expired,
            Self::Cancelled => StateName::Cancelled,
            Self::Failed => StateName::Failed,
        }
    }

    /// What a coordinator's own cancel statement says.
    pub const fn cancel_reason(self) -> CancelReason {
        match self {
            Self::Expired => CancelReason::Expired,
            Self::Blocked | Self::Rejected | Self::Cancelled | Self::Failed => CancelReason::Failed,
        }
    }
}

impl Why {
    /// A reason with a code and a text.
    pub fn new(code: &str, detail: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            detail: detail.into(),
            ..Self::default()
        }
    }

    /// Policy's no.
    pub fn policy(reasons: Vec<Reason>, by: &str) -> Self {
        let count = reasons.len();
        Self {
            reasons,
            ..Self::new("policy", format!("{by} says no, with {count} reason(s)"))
        }
    }

    fn line(&self) -> String {
        let mut line = format!("{}: {}", self.code, self.detail);
        if !self.culprits.is_empty() {
            let names: Vec<&str> = self.culprits.iter().map(MemberId::as_str).collect();
            line.push_str("; wrong messages from ");
            line.push_str(&names.join(", "));
        }
        line
    }
}

/// Whether the acknowledgements of a stop allow a final state, and what else they tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopStanding {
    /// Enough nodes will never sign: no signature can come into being.
    Settled,
    /// Some nodes released a share and too few stopped: the request may be signed.
    MayBeSigned {
        /// The nodes that released.
        released: Vec<MemberId>,
    },
    /// Not enough nodes answered yet.
    Waiting {
        /// How many more must acknowledge.
        missing: usize,
    },
}

impl StopStanding {
    /// Judges the acknowledgements of a key's nodes; `quorum` is `n - t + 1 + f`.
    pub fn judge(acks: &BTreeMap<MemberId, StopOutcome>, quorum: usize) -> Self {
        let stopped = acks.values().filter(|o| **o == StopOutcome::Stopped);
        let stopped = stopped.count();
        if stopped >= quorum {
            return Self::Settled;
        }
        let released: Vec<MemberId> = acks
            .iter()
            .filter(|(_, outcome)| **outcome == StopOutcome::Released)
            .map(|(node, _)| node.clone())
            .collect();
        if released.is_empty() {
            Self::Waiting {
                missing: quorum.saturating_sub(stopped),
            }
        } else {
            Self::MayBeSigned { released }
        }
    }
}

#[cfg(test)]
mod tests;
