//! How an execution fails, and who is to blame.

use std::collections::BTreeSet;

use thiserror::Error;

use super::{LinkError, PartyIndex, Protocol};

/// An execution that ended without its result.
///
/// `culprits` names the parties among whom **at least one** misbehaved ([`FaultReason::Timeout`]: who was missing). A single
/// name is certain. An empty set means that nobody can be blamed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reason}{}", named(.culprits))]
pub struct Fault {
    /// Who is to blame.
    pub culprits: BTreeSet<PartyIndex>,
    /// What happened.
    pub reason: FaultReason,
    /// True only for a DKLs23 cheating attempt that leaks reusable state: the (single) culprit must never take part in an
    /// execution with this key again, and the ban must be stored durably before anything else.
    pub ban: bool,
}

fn named(culprits: &BTreeSet<PartyIndex>) -> String {
    if culprits.is_empty() {
        return String::new();
    }
    let names: Vec<String> = culprits.iter().map(ToString::to_string).collect();
    format!(" (party {})", names.join(", "))
}

/// What went wrong in an execution.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FaultReason {
    /// Messages did not arrive before the deadline.
    #[error("no message for round {round} before the deadline")]
    Timeout {
        /// The first incomplete round.
        round: u16,
    },
    /// The link was closed under the protocol.
    #[error("the execution was cancelled")]
    Cancelled,
    /// Parties do not run the same execution (id, inputs or parameters differ): nobody is to blame.
    #[error("parties disagree about which execution this is")]
    ExecutionMismatch,
    /// A message could not be parsed, or claims another sender or recipient than its envelope.
    #[error("malformed message in round {round}: {what}")]
    Malformed {
        /// Round of the message.
        round: u16,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A message is larger than its round allows.
    #[error("message of {bytes} bytes in round {round}, at most {limit} allowed")]
    Oversized {
        /// Round of the message.
        round: u16,
        /// Its size.
        bytes: usize,
        /// The limit of that round.
        limit: usize,
    },
    /// A message for a round that the protocol does not have, or of the wrong kind for it.
    #[error("message that round {round} does not expect")]
    Unexpected {
        /// Round of the message.
        round: u16,
    },
    /// One party sent two different messages for one round.
    #[error("two different messages for round {round}")]
    Duplicate {
        /// Round of the messages.
        round: u16,
    },
    /// A broadcast did not reach everybody with the same bytes: its sender equivocated, or who reports it lies.
    #[error("broadcast of round {round} differs between parties")]
    Equivocation {
        /// Round of the broadcast.
        round: u16,
    },
    /// A proof, commitment, share or partial signature does not verify.
    #[error("invalid contribution: {what}")]
    InvalidContribution {
        /// What did not verify.
        what: String,
    },
    /// The parties' results differ, or the final signature does not verify.
    #[error("invalid result: {what}")]
    InvalidResult {
        /// What is wrong.
        what: &'static str,
    },
    /// Protocol code panicked; contained.
    #[error("protocol code panicked")]
    Panicked,
    /// Our own input or state is unusable; nobody else is to blame.
    #[error("local failure: {what}")]
    Local {
        /// What is unusable.
        what: String,
    },
    /// This call does not exist for this protocol.
    #[error("{protocol} has no such operation")]
    Unsupported {
        /// The protocol asked.
        protocol: Protocol,
    },
    /// What the gate released is not what this session is about.
    #[error("the release is for another digest or execution")]
    NotReleased,
}

impl Fault {
    /// A fault nobody can be blamed for.
    pub fn blameless(reason: FaultReason) -> Self {
        Self {
            culprits: BTreeSet::new(),
            reason,
            ban: false,
        }
    }

    /// A fault of one party, for certain.
    pub fn by(culprit: PartyIndex, reason: FaultReason) -> Self {
        Self::among([culprit], reason)
    }

    /// A fault of at least one of these parties.
    pub fn among(culprits: impl IntoIterator<Item = PartyIndex>, reason: FaultReason) -> Self {
        Self {
            culprits: culprits.into_iter().collect(),
            reason,
            ban: false,
        }
    }

    /// The one party that is certainly at fault, if known. Missing a deadline is no proof of fault.
    pub fn proven_culprit(&self) -> Option<PartyIndex> {
        match self.reason {
            FaultReason::Timeout { .. } => None,
            _ if self.culprits.len() == 1 => self.culprits.first().copied(),
            _ => None,
        }
    }

    pub(crate) fn local(what: impl ToString) -> Self {
        Self::blameless(FaultReason::Local {
            what: what.to_string(),
        })
    }

    pub(crate) fn malformed(from: PartyIndex, round: u16, what: &'static str) -> Self {
        Self::by(from, FaultReason::Malformed { round, what })
    }

    pub(crate) fn link(error: LinkError, round: u16, missing: BTreeSet<PartyIndex>) -> Self {
        match error {
            LinkError::Deadline => Self::among(missing, FaultReason::Timeout { round }),
            LinkError::Closed => Self::blameless(FaultReason::Cancelled),
            LinkError::ExecutionMismatch => Self::blameless(FaultReason::ExecutionMismatch),
        }
    }
}

/// Runs protocol code so that a panic in it becomes a [`Fault`].
pub(crate) fn contained<T>(run: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
        .unwrap_or_else(|_| Err(Fault::blameless(FaultReason::Panicked)))
}
