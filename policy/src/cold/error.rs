//! Why a package is refused.

use crate::approvals::ApprovalProblem;
use crate::bundle::{ChainError, EvidenceError, OpenError};
use crate::canonical::CanonicalError;
use crate::hash::Hash;
use crate::id::{LedgerGroupId, MemberId, WalletId};
use crate::statement::StatementError;
use crate::time::Timestamp;

/// Why a package is refused: the first check that failed.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// More bytes than a package may have.
    #[error("the package has {size} bytes, more than any package")]
    TooLarge {
        /// Its size.
        size: usize,
    },
    /// Not canonical JSON of this form: cut, changed, or never one.
    #[error("the package is damaged or was changed")]
    Malformed(#[from] CanonicalError),
    /// Another kind of file.
    #[error("the file is no {expected}")]
    Kind {
        /// What was asked for.
        expected: &'static str,
    },
    /// Another version of the format.
    #[error(
        "the package has version {found} of the format, this program understands {} alone",
        super::VERSION
    )]
    Version {
        /// Its version.
        found: u64,
    },
    /// Of another deployment.
    #[error("the package is for genesis {found}, this machine pins {pinned}")]
    Genesis {
        /// In the package.
        found: Hash,
        /// Pinned.
        pinned: Hash,
    },
    /// The package has no bundle and the machine knows none.
    #[error(
        "the package has no policy bundle and this machine knows none: export it from the genesis"
    )]
    NoChain,
    /// A genesis bundle that is not acceptable.
    #[error("the genesis bundle is refused")]
    Chain(#[from] ChainError),
    /// A bundle that does not continue the chain, or for which too few nodes stand.
    #[error("a policy bundle is refused")]
    Bundle(#[from] EvidenceError),
    /// Another bundle of a version that is known.
    #[error(
        "version {version} of the policy is {found} in the package and {known} on this machine: a fork"
    )]
    Fork {
        /// The version.
        version: u64,
        /// In the package.
        found: Hash,
        /// Known.
        known: Hash,
    },
    /// A statement that is not acceptable.
    #[error("the {what} is refused")]
    Statement {
        /// Which.
        what: String,
        /// Why.
        #[source]
        source: StatementError,
    },
    /// A freeze that is not acceptable.
    #[error("a freeze is refused")]
    Freeze(#[from] OpenError),
    /// An approval that does not count.
    #[error("approval {index} does not count")]
    Approval {
        /// Its place.
        index: usize,
        /// Why.
        #[source]
        why: ApprovalProblem,
    },
    /// The authorization was made under another bundle than the newest one.
    #[error("the authorization was made under bundle {found}, the newest one is {active}")]
    OtherBundle {
        /// In the authorization.
        found: Hash,
        /// The newest of the chain.
        active: Hash,
    },
    /// The authorization is for another request.
    #[error("the authorization is for another request than the one in the package")]
    OtherRequest,
    /// The wallet is none whose key lies in a machine without a network.
    #[error("wallet {0} is not cold: nothing is signed for it here")]
    NotCold(WalletId),
    /// The authorization names another machine.
    #[error("the authorization names {named:?}, this machine is {me}")]
    OtherMachine {
        /// Whom it names.
        named: Vec<MemberId>,
        /// This machine.
        me: MemberId,
    },
    /// Too few nodes reserved it.
    #[error("{found} nodes of ledger group {group} reserved it, {needed} are needed")]
    TooFewWitnesses {
        /// The group.
        group: LedgerGroupId,
        /// How many did.
        found: usize,
        /// How many must.
        needed: usize,
    },
    /// A witness that keeps no ledger of the group.
    #[error("{0} is named as a witness and is not in the wallet's ledger group")]
    NotAWitness(MemberId),
    /// Another number of receipts or confirms than there are witnesses.
    #[error("{found} {what} for {needed} witnesses")]
    Missing {
        /// Receipts or confirms.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there must be.
        needed: usize,
    },
    /// A receipt or confirm stands in another one's place.
    #[error("the {what} in the place of {expected} is by {found}")]
    OutOfPlace {
        /// Receipt or confirm.
        what: &'static str,
        /// Whose place it is.
        expected: MemberId,
        /// Who said it.
        found: MemberId,
    },
    /// A receipt for other terms.
    #[error("the receipt of {0} is for another session, or for other terms")]
    OtherTerms(MemberId),
    /// The freezes in the package are not those that the nodes held.
    #[error("the freezes in the package are not those that {0} held")]
    OtherFreezes(MemberId),
    /// A confirm of another session, or after other receipts.
    #[error("the confirm of {0} is for another session, or for other receipts")]
    OtherConfirm(MemberId),
    /// A confirm that clears nothing.
    #[error("{0} confirmed, and did not say that nothing stands in the way")]
    NotCleared(MemberId),
    /// A confirm that was cleared under another bundle.
    #[error("{node} looked under bundle {found}, the newest one is {active}")]
    ClearedElsewhere {
        /// Who.
        node: MemberId,
        /// The bundle it followed.
        found: Hash,
        /// The newest of the chain.
        active: Hash,
    },
    /// Something was said after what must have come later.
    #[error("the {what} of {node} was signed at {at}, before what it answers ({after})")]
    Order {
        /// Receipt or confirm.
        what: &'static str,
        /// Who said it.
        node: MemberId,
        /// When.
        at: Timestamp,
        /// When what it answers was said.
        after: Timestamp,
    },
    /// A consent for something else, or by somebody who is frozen.
    #[error("the consent of {0} is for another package or machine, or its signer is frozen")]
    OtherConsent(MemberId),
    /// Too few operators agreed.
    #[error("{found} operators agreed at this machine, {needed} are needed")]
    TooFewConsents {
        /// How many did.
        found: usize,
        /// How many must.
        needed: usize,
    },
    /// The machine's clock is behind what somebody signed.
    #[error(
        "this machine's clock shows {now}, and {what} was signed at {signed}: the clock is behind; set it"
    )]
    ClockBehind {
        /// What was signed.
        what: String,
        /// When.
        signed: Timestamp,
        /// The machine's clock.
        now: Timestamp,
    },
}
